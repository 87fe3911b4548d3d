"""What can be told of a published workflow's webhooks and triggers, and of what a call of them came to."""

from __future__ import annotations

import copy
import uuid
from typing import Any

import pytest

from wfops_pipelines.domain.errors import NotFound, Rejected
from wfops_pipelines.n8n.provider import WebhookAnswer, WebhookCall
from wfops_pipelines_tests.n8n.conformance.target import (
    JsonObject,
    Target,
    link,
    node,
    ok,
    refused,
    scheduled,
    unique,
    wait_until,
    writable,
)

ELSEWHERE = "http://elsewhere.example"


def hooked(path: str, *after: JsonObject, **parameters: Any) -> JsonObject:
    """A workflow with a webhook on a path, and one node after it."""
    hook = node("Hook", "webhook", version=2, webhookId=str(uuid.uuid4()),
                parameters={"path": path, "options": {}, **parameters})
    nodes = [hook, *(after or [node("End", "noOp", position=(200, 0))])]
    return {"name": unique("hooked"), "nodes": nodes, "connections": link("Hook", nodes[1]["name"]), "settings": {}}


def form(path: str) -> JsonObject:
    trigger = node("Form", "formTrigger", version=2.2, webhookId=str(uuid.uuid4()), parameters={
        "formTitle": "Ask", "formFields": {"values": [{"fieldLabel": "Name"}]}, "options": {"path": path}})
    return {"name": unique("form"), "nodes": [trigger], "connections": {}, "settings": {}}


def no_cron(name: str | None = None) -> JsonObject:
    """A schedule that n8n cannot register."""
    body = scheduled(name)
    body["nodes"][0]["parameters"] = {"rule": {"interval": [{"field": "cronExpression", "expression": "now and then"}]}}
    return body


def _methods(n8n: Target, path: str) -> frozenset[str] | None:
    return n8n.provider(lambda provider: provider.webhook_methods(path))


def _registered(n8n: Target, path: str, *methods: str) -> None:
    """Wait until the path has exactly these methods."""
    wait_until(lambda: _methods(n8n, path) == frozenset(methods))


def _called(n8n: Target, method: str, path: str, content: bytes | None = None, kind: str | None = None) -> WebhookAnswer:
    answer = n8n.provider(lambda provider: provider.call_webhook(WebhookCall(method, path, content, kind), patience=20))
    assert answer is not None
    return answer


def _runs(n8n: Target, workflow: JsonObject) -> list[JsonObject]:
    rows, _ = n8n.provider(lambda provider: provider.list_executions(workflow_id=workflow["id"]))
    return list(rows)


def test_the_methods_of_a_path_are_told_to_whoever_says_where_it_comes_from(n8n: Target) -> None:
    path = uuid.uuid4().hex
    workflow = n8n.create(hooked(path, httpMethod=["PUT", "POST"], multipleMethods=True))
    asked = n8n.http.options(f"/webhook/{path}", headers={"origin": ELSEWHERE})
    assert (asked.status_code, asked.headers["access-control-allow-methods"]) == (204, "OPTIONS")
    n8n.activate(workflow)
    _registered(n8n, f"/webhook/{path}", "PUT", "POST")
    assert "access-control-allow-methods" not in n8n.http.options(f"/webhook/{path}").headers
    ok(n8n.post(f"/workflows/{workflow['id']}/deactivate"))
    _registered(n8n, f"/webhook/{path}")
    assert _runs(n8n, workflow) == []


def test_what_is_below_no_webhook_tells_no_methods(n8n: Target) -> None:
    assert _methods(n8n, "/healthz") is None


def test_forms_chats_and_mcp_servers_tell_their_methods_too(n8n: Target) -> None:
    path, chat_id = uuid.uuid4().hex, str(uuid.uuid4())
    chat = {"name": unique("chat"), "connections": {}, "settings": {}, "nodes": [
        {**node("Chat", "x", version=1.1), "type": "@n8n/n8n-nodes-langchain.chatTrigger", "webhookId": chat_id,
         "parameters": {"public": True, "options": {}}}]}
    mcp = {"name": unique("mcp"), "connections": {}, "settings": {}, "nodes": [
        {**node("Mcp", "x", version=1), "type": "@n8n/n8n-nodes-langchain.mcpTrigger", "webhookId": str(uuid.uuid4()),
         "parameters": {"path": f"mcp-{path}"}}]}
    for body in (form(path), chat, mcp):
        n8n.activate(n8n.create(body))
    for where in (f"/form/{path}", f"/webhook/{chat_id}/chat"):
        _registered(n8n, where, "GET", "POST")
    _registered(n8n, f"/mcp/mcp-{path}/sse", "GET")
    _registered(n8n, f"/mcp/mcp-{path}/messages", "POST")


def test_a_webhook_of_another_method_names_those_there_are(n8n: Target) -> None:
    path = uuid.uuid4().hex
    n8n.activate(n8n.create(hooked(path, httpMethod=["PUT", "POST"], multipleMethods=True)))
    wait_until(lambda: _methods(n8n, f"/webhook/{path}"))
    answer = _called(n8n, "GET", f"/webhook/{path}")
    assert answer.status == 404
    assert "not registered for GET requests. Did you mean to make a P" in answer.text
    nowhere = _called(n8n, "GET", f"/webhook/{path}/further")
    assert nowhere.status == 404
    assert f'The requested webhook "GET {path}/further" is not registered.' in nowhere.text


def _run_of(n8n: Target, body: JsonObject) -> tuple[WebhookAnswer, JsonObject]:
    """What the webhook of a workflow answered, and the execution, with its data, that this left."""
    workflow = n8n.create(body)
    n8n.activate(workflow)
    path = f"/webhook/{body['nodes'][0]['parameters']['path']}"
    _registered(n8n, path, "GET")
    answer = _called(n8n, "GET", path)
    wait_until(lambda: _runs(n8n, workflow))
    [run] = _runs(n8n, workflow)
    return answer, n8n.provider(lambda provider: provider.get_execution(run["id"], include_data=True))


def test_a_call_of_a_webhook_leaves_an_execution(n8n: Target) -> None:
    answer, run = _run_of(n8n, hooked(uuid.uuid4().hex))
    assert (answer.status, answer.text) == (200, '{"message":"Workflow was started"}')
    assert (run["status"], run["mode"]) == ("success", "webhook")


def test_a_failed_execution_tells_its_node_and_why(n8n: Target) -> None:
    stop = node("Stop", "stopAndError", position=(200, 0), parameters={"errorMessage": "no more"})
    answer, run = _run_of(n8n, hooked(uuid.uuid4().hex, stop, responseMode="lastNode"))
    assert answer.status == 500
    assert "Error in workflow" in answer.text
    assert run["status"] == "error"
    result = run["data"]["resultData"]
    assert (result["error"]["message"], result["error"]["node"]["name"], result["lastNodeExecuted"]) == (
        "no more", "Stop", "Stop")


def test_a_success_leaves_nothing_where_the_workflow_keeps_none(n8n: Target) -> None:
    path = uuid.uuid4().hex
    body = hooked(path, responseMode="lastNode")
    workflow = n8n.create({**body, "settings": {"saveDataSuccessExecution": "none"}})
    n8n.activate(workflow)
    wait_until(lambda: _methods(n8n, f"/webhook/{path}"))
    assert _called(n8n, "GET", f"/webhook/{path}").status == 200
    wait_until(lambda: n8n.provider(
        lambda provider: provider.list_executions(workflow_id=workflow["id"], status="running"))[0] == [])
    assert _runs(n8n, workflow) == []


def test_a_form_takes_parts_and_is_shown_without_being_started(n8n: Target) -> None:
    path = uuid.uuid4().hex
    workflow = n8n.create(form(path))
    n8n.activate(workflow)
    wait_until(lambda: _methods(n8n, f"/form/{path}"))
    assert n8n.http.get(f"/form/{path}").text.lstrip().lower().startswith("<!doctype html>")
    assert _runs(n8n, workflow) == []
    sent = n8n.http.post(f"/form/{path}", files={"field-0": (None, "Ada")})
    assert (sent.status_code, sent.json()) == (200, {"status": 200})
    wait_until(lambda: [run["status"] for run in _runs(n8n, workflow)] == ["success"])
    assert n8n.http.post(f"/form/{path}", json={}).status_code == (500 if n8n.is_v1 else 415)


def test_a_trigger_that_cannot_be_registered_is_refused_by_1x_and_not_counted_by_2x(n8n: Target) -> None:
    workflow = n8n.create(no_cron())
    answer = n8n.post(f"/workflows/{workflow['id']}/activate")
    if n8n.is_v1:
        assert refused(answer, 400) == 'There was a problem activating the workflow: "Invalid cron expression"'
        return
    assert ok(answer)["active"] is True
    after = n8n.create(scheduled())
    n8n.activate(after)  # what was published later is registered by now
    seen = n8n.workflow(workflow["id"])
    assert (seen["active"], seen["triggerCount"]) == (True, 0)


def test_2x_goes_on_counting_a_trigger_that_an_update_made_impossible(n8n: Target) -> None:
    workflow = n8n.create(scheduled())
    n8n.activate(workflow)
    changed = {**writable(workflow), "nodes": no_cron()["nodes"]}
    answer = n8n.put(f"/workflows/{workflow['id']}", changed)
    if n8n.is_v1:
        refused(answer, 400)
        assert n8n.workflow(workflow["id"])["active"] is False
        return
    assert ok(answer)["active"] is True
    n8n.activate(n8n.create(scheduled()))
    assert n8n.workflow(workflow["id"])["triggerCount"] == 1


def _callee() -> JsonObject:
    trigger = node("When called", "executeWorkflowTrigger", version=1.1, parameters={"inputSource": "passthrough"})
    return {"name": unique("callee"), "nodes": [trigger, node("End", "noOp", position=(200, 0))],
            "connections": link("When called", "End"), "settings": {}}


def _with_call(body: JsonObject, reference: Any, **more: Any) -> JsonObject:
    calling = copy.deepcopy(body)
    calling["nodes"][1] = node("End", "executeWorkflow", version=1.2, position=(200, 0),
                               parameters={"workflowId": reference, "options": {}}, **more)
    return calling


def _locator(mode: str, value: str) -> JsonObject:
    return {"__rl": True, "mode": mode, "value": value}


def test_a_workflow_that_is_only_called_is_published_by_2x_alone(n8n: Target) -> None:
    callee = n8n.create(_callee())
    answer = n8n.post(f"/workflows/{callee['id']}/activate")
    if n8n.is_v1:
        assert "has no node to start the workflow" in refused(answer, 400)
    else:
        assert ok(answer)["active"] is True


def test_2x_looks_up_every_call_but_those_it_cannot_know(n8n: Target) -> None:
    """Ids in any form, also of nodes that nothing leads to; a URL is taken for an id, and never found."""
    callee = n8n.create(_callee())
    known = [callee["id"], _locator("id", callee["id"]), _locator("list", callee["id"]),
             _locator("url", f"{n8n.url}/workflow/{callee['id']}"), "AAAAAAAAAAAAAAAA", "{{wfops.workflow.x}}"]
    for reference in known:
        caller = n8n.create(_with_call(scheduled(), reference))
        answer = n8n.post(f"/workflows/{caller['id']}/activate")
        if n8n.is_v1:
            ok(answer)
        else:
            assert refused(answer, 400).startswith('Cannot publish workflow: Node "End" references workflow ')
    for body in (_with_call(scheduled(), "={{ $json.id }}"), _with_call(scheduled(), _locator("id", "={{ $json.id }}")),
                 _with_call(scheduled(), callee["id"], disabled=True),
                 {**scheduled(), "settings": {"errorWorkflow": callee["id"], "callerIds": "AAAAAAAAAAAAAAAA"}}):
        ok(n8n.post(f"/workflows/{n8n.create(body)['id']}/activate"))


def test_what_a_published_workflow_calls_can_be_taken_away_and_then_it_cannot_be_written(n8n: Target) -> None:
    if n8n.is_v1:
        pytest.skip("1.x looks up no calls")
    callee = n8n.create(_callee())
    ok(n8n.post(f"/workflows/{callee['id']}/publish", {}))
    caller = n8n.create(_with_call(scheduled(), _locator("id", callee["id"])))
    n8n.activate(caller)
    ok(n8n.post(f"/workflows/{callee['id']}/unpublish"))
    assert n8n.workflow(caller["id"])["active"] is True
    path = f"/workflows/{caller['id']}"
    assert "which is not published" in refused(n8n.put(path, {**writable(caller), "name": unique("renamed")}), 400)
    ok(n8n.put(path, writable(caller), publishIfActive="false"))


def test_two_that_call_each_other_are_published_by_way_of_one_that_does_not_yet(n8n: Target) -> None:
    if n8n.is_v1:
        pytest.skip("1.x does not activate what is only called")
    first = n8n.create(_callee())
    second = n8n.create(_with_call(_callee(), _locator("id", first["id"])))
    whole = _with_call(writable(first), _locator("id", second["id"]))
    without = copy.deepcopy(whole)
    without["nodes"][1]["disabled"] = True
    ok(n8n.put(f"/workflows/{first['id']}", whole))
    for one in (first, second):
        refused(n8n.post(f"/workflows/{one['id']}/publish", {}), 400)
    ok(n8n.put(f"/workflows/{first['id']}", without))
    for one in (first, second):
        ok(n8n.post(f"/workflows/{one['id']}/publish", {}))
    ok(n8n.put(f"/workflows/{first['id']}", whole))
    for one in (first, second):
        after = n8n.workflow(one["id"])
        assert (after["active"], after["activeVersionId"]) == (True, after["versionId"])
        assert "disabled" not in after["activeVersion"]["nodes"][1]


def test_a_credential_is_tested_by_2x_alone(n8n: Target) -> None:
    credential = n8n.credential()
    if n8n.is_v1:
        with pytest.raises(Rejected, match=r"1\.x"):
            n8n.provider(lambda provider: provider.test_credential(credential["id"]))
        return
    assert n8n.provider(lambda provider: provider.test_credential(credential["id"])) == {
        "status": "Error", "message": "No testing function found for this credential."}
    with pytest.raises(NotFound, match="was not found"):
        n8n.provider(lambda provider: provider.test_credential("AAAAAAAAAAAAAAAA"))
