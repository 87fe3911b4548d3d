"""POST and PUT /workflows: facts §6."""

from __future__ import annotations

import concurrent.futures
import copy
from typing import Any

import pytest

from wfops_pipelines_tests.n8n.conformance.target import (
    JsonObject,
    Target,
    link,
    manual,
    node,
    ok,
    refused,
    scheduled,
    unique,
    webhook,
    writable,
)


def _put(n8n: Target, workflow: JsonObject, body: JsonObject, **params: Any) -> JsonObject:
    return dict(ok(n8n.put(f"/workflows/{workflow['id']}", body, **params)))


@pytest.mark.parametrize("missing", ["name", "nodes", "connections", "settings"])
def test_four_keys_are_required(n8n: Target, missing: str) -> None:
    body = manual()
    del body[missing]
    assert missing in refused(n8n.post("/workflows", body), 400)
    workflow = n8n.create(manual())
    assert missing in refused(n8n.put(f"/workflows/{workflow['id']}", body), 400)


def test_a_create_answers_200_with_an_id_of_the_servers_choice(n8n: Target) -> None:
    answer = n8n.post("/workflows", manual())
    assert answer.status_code == 200
    n8n.forget_later(f"/workflows/{answer.json()['id']}")
    assert answer.json()["active"] is False


def test_names_need_not_be_unique(n8n: Target) -> None:
    name = unique("twin")
    assert n8n.create(manual(name))["id"] != n8n.create(manual(name))["id"]


def _takes(n8n: Target, key: str, value: Any) -> tuple[bool, bool]:
    """Whether (POST, PUT) takes a body with this key."""
    post = n8n.post("/workflows", {**manual(), key: value})
    if post.status_code == 200:
        n8n.forget_later(f"/workflows/{post.json()['id']}")
    workflow = n8n.create(manual())
    put = n8n.put(f"/workflows/{workflow['id']}", {**manual(), key: value})
    assert {post.status_code, put.status_code} <= {200, 400}, (post.text, put.text)
    return post.status_code == 200, put.status_code == 200


@pytest.mark.parametrize(("key", "value", "in_v1", "in_v2"), [
    ("staticData", {"a": 1}, (True, True), (True, True)),
    ("shared", [], (True, True), None),
    ("pinData", {}, (False, False), (True, True)),
    ("nodeGroups", [], (False, False), (True, True)),
    ("description", "text", (False, False), (False, True)),
    ("meta", {}, (False, False), (False, False)),
    ("active", True, (False, False), (False, False)),
    ("createdAt", "2026-01-01T00:00:00.000Z", (False, False), (False, False)),
    ("updatedAt", "2026-01-01T00:00:00.000Z", (False, False), (False, False)),
    ("tags", [], (False, False), (False, False)),
    ("activeVersion", None, (False, False), (False, False)),
    ("isArchived", False, (False, False), (False, False)),
    ("versionId", "x", (False, False), (False, False)),
    ("triggerCount", 0, (False, False), (False, False)),
])
def test_the_keys_of_a_body(n8n: Target, key: str, value: Any, in_v1: tuple[bool, bool],
                            in_v2: tuple[bool, bool] | None) -> None:
    expected = in_v1 if n8n.is_v1 else in_v2
    if expected is None:
        pytest.skip("not known of 2.x")
    assert _takes(n8n, key, value) == expected


def test_a_description_may_be_empty_but_not_null(n8n: Target) -> None:
    if n8n.is_v1:
        pytest.skip("1.x takes no description")
    assert _takes(n8n, "description", "")[1] is True
    assert _takes(n8n, "description", None)[1] is False


_NODE_VALUES: JsonObject = {
    "disabled": True, "notesInFlow": True, "notes": "text", "executeOnce": True, "alwaysOutputData": True,
    "retryOnFail": True, "maxTries": 3, "waitBetweenTries": 1000, "continueOnFail": True,
    "onError": "continueRegularOutput", "webhookId": "4b1a2a6e-7b1e-4a67-8d0c-0d5f9b6f3f11",
    "credentials": {"httpBasicAuth": {"id": "AAAAAAAAAAAAAAAA", "name": "gone"}},
}


def test_the_keys_of_a_node(n8n: Target) -> None:
    body = manual()
    body["nodes"][1].update(_NODE_VALUES)
    sent = n8n.create(body)["nodes"][1]
    assert {key: sent[key] for key in _NODE_VALUES} == _NODE_VALUES


@pytest.mark.parametrize(("key", "value"), [
    ("color", "#fff"), ("extendsCredential", "x"), ("rewireOutputLogTo", "main"), ("issues", {}),
    ("forceCustomOperation", {}), ("createdAt", "2026-01-01T00:00:00.000Z"), ("updatedAt", "2026-01-01T00:00:00.000Z"),
])
def test_any_other_key_of_a_node_is_refused(n8n: Target, key: str, value: Any) -> None:
    body = manual()
    body["nodes"][1][key] = value
    refused(n8n.post("/workflows", body), 400)


@pytest.mark.parametrize("key", ["id", "parameters", "credentials", "notes", "webhookId", "disabled", "typeVersion", "position"])
def test_null_is_refused_for_any_key_of_a_node(n8n: Target, key: str) -> None:
    body = manual()
    body["nodes"][1][key] = None
    assert key in refused(n8n.post("/workflows", body), 400)


_SETTINGS: JsonObject = {
    "saveExecutionProgress": True, "saveManualExecutions": True, "saveDataErrorExecution": "none",
    "saveDataSuccessExecution": "none", "executionTimeout": 60, "errorWorkflow": "AAAAAAAAAAAAAAAA",
    "timezone": "Europe/Berlin", "executionOrder": "v1", "callerPolicy": "any", "callerIds": "AAAAAAAAAAAAAAAA",
    "timeSavedPerExecution": 5, "availableInMCP": False,
}


def test_the_keys_of_settings(n8n: Target) -> None:
    sent = n8n.create(manual(settings=_SETTINGS))["settings"]
    assert {key: sent.get(key) for key in _SETTINGS} == _SETTINGS


@pytest.mark.parametrize(("key", "value"), [("timeSavedMode", "fixed"), ("binaryMode", "combined"),
                                            ("credentialResolverId", "x"), ("redactionPolicy", "none")])
def test_some_settings_are_taken_by_2x_alone(n8n: Target, key: str, value: str) -> None:
    answer = n8n.post("/workflows", manual(settings={key: value}))
    if n8n.is_v1:
        refused(answer, 400)
    else:
        n8n.forget_later(f"/workflows/{ok(answer)['id']}")


@pytest.mark.parametrize("settings", [{"maxExecutions": 1}, {"timezone": None}, {"saveDataErrorExecution": "sometimes"}])
def test_other_settings_and_null_are_refused(n8n: Target, settings: JsonObject) -> None:
    refused(n8n.post("/workflows", manual(settings=settings)), 400)


def test_settings_are_merged_on_put(n8n: Target) -> None:
    workflow = n8n.create(manual(settings={"timezone": "Europe/Berlin", "executionOrder": "v1", "saveManualExecutions": True}))
    after = _put(n8n, workflow, {**writable(workflow), "settings": {}})["settings"]
    assert (after["timezone"], after["executionOrder"], after["saveManualExecutions"]) == ("Europe/Berlin", "v1", True)


def test_three_settings_can_be_removed_by_a_value(n8n: Target) -> None:
    workflow = n8n.create(manual(settings={"timezone": "Europe/Berlin", "executionTimeout": 60,
                                           "errorWorkflow": "AAAAAAAAAAAAAAAA"}))
    sent = {"timezone": "DEFAULT", "executionTimeout": -1, **({"errorWorkflow": "DEFAULT"} if n8n.is_v2 else {})}
    after = _put(n8n, workflow, {**writable(workflow), "settings": sent})["settings"]
    assert "timezone" not in after
    assert "executionTimeout" not in after
    assert ("errorWorkflow" in after) == n8n.is_v1


def test_a_boolean_setting_can_be_set_but_not_removed(n8n: Target) -> None:
    workflow = n8n.create(manual(settings={"saveManualExecutions": True}))
    after = _put(n8n, workflow, {**writable(workflow), "settings": {"saveManualExecutions": False}})["settings"]
    assert after["saveManualExecutions"] is False


def test_1x_writes_the_caller_policy_again_when_left_out(n8n: Target) -> None:
    workflow = n8n.create(manual(settings={"callerPolicy": "any"}))
    after = _put(n8n, workflow, {**writable(workflow), "settings": {}})["settings"]
    assert after["callerPolicy"] == ("workflowsFromSameOwner" if n8n.is_v1 else "any")


def test_static_data_left_out_is_kept_and_null_clears_it(n8n: Target) -> None:
    workflow = n8n.create(manual(staticData={"a": 1}))
    _put(n8n, workflow, writable(workflow))
    assert n8n.workflow(workflow["id"])["staticData"] == {"a": 1}
    _put(n8n, workflow, {**writable(workflow), "staticData": None})
    assert not n8n.workflow(workflow["id"])["staticData"]


def test_static_data_may_be_json_as_text(n8n: Target) -> None:
    workflow = n8n.create(manual(staticData='{"a": 1}'))
    assert n8n.workflow(workflow["id"])["staticData"] in ('{"a": 1}', {"a": 1})


def test_pinned_data_left_out_are_kept_and_null_clears_them(n8n: Target) -> None:
    if n8n.is_v1:
        pytest.skip("1.x writes no pinned data through its API")
    pinned = {"Start": [{"json": {"a": 1}}]}
    workflow = n8n.create(manual(pinData=pinned))
    _put(n8n, workflow, writable(workflow))
    assert n8n.workflow(workflow["id"])["pinData"] == pinned
    _put(n8n, workflow, {**writable(workflow), "pinData": None})
    assert not n8n.workflow(workflow["id"])["pinData"]


def _odd(what: str) -> JsonObject:
    body = manual()
    if what == "dangling connection":
        body["connections"] = link("Nobody", "End")
    elif what == "connection to nobody":
        body["connections"] = link("Start", "Nobody")
    elif what == "duplicate names":
        body["nodes"][1]["name"] = "Start"
        body["connections"] = {}
    elif what == "node without position":
        del body["nodes"][1]["position"]
    elif what == "empty name":
        body["name"] = ""
    elif what == "name of 129 characters":
        body["name"] = "x" * 129
    elif what == "connections without nodes":
        body["nodes"] = []
    return body


@pytest.mark.parametrize("what", ["dangling connection", "connection to nobody", "duplicate names", "empty name",
                                  "name of 129 characters", "connections without nodes"])
def test_2x_validates_the_structure_and_1x_does_not(n8n: Target, what: str) -> None:
    answer = n8n.post("/workflows", _odd(what))
    if n8n.is_v1:
        n8n.forget_later(f"/workflows/{ok(answer)['id']}")
    else:
        refused(answer, 400)


def test_2x_says_which_connection_dangles(n8n: Target) -> None:
    if n8n.is_v1:
        pytest.skip("1.x validates nothing")
    message = refused(n8n.post("/workflows", _odd("dangling connection")), 400)
    assert message.startswith("Workflow structure is invalid. connections.Nobody (unknown_connection_source):")


@pytest.mark.parametrize("key", ["name", "type", "position"])
def test_a_node_lacks_a_key_that_2x_requires(n8n: Target, key: str) -> None:
    body = manual()
    body["connections"] = {}
    del body["nodes"][1][key]
    answer = n8n.post("/workflows", body)
    if n8n.is_v1:
        n8n.forget_later(f"/workflows/{ok(answer)['id']}")
    else:
        refused(answer, 400)


@pytest.mark.parametrize("key", ["id", "parameters", "typeVersion"])
def test_a_node_may_lack_its_other_keys(n8n: Target, key: str) -> None:
    body = manual()
    del body["nodes"][1][key]
    n8n.create(body)


def test_an_unknown_node_type_is_taken_and_refused_at_activation(n8n: Target) -> None:
    body = scheduled()
    body["nodes"][1]["type"] = "n8n-nodes-nowhere.nothing"
    workflow = n8n.create(body)
    message = refused(n8n.post(f"/workflows/{workflow['id']}/activate"), 400)
    assert "n8n-nodes-nowhere.nothing" in message


def test_a_put_while_active_stays_active_and_goes_live(n8n: Target) -> None:
    workflow = n8n.create(scheduled())
    n8n.activate(workflow)
    changed = copy.deepcopy(writable(workflow))
    changed["nodes"][1]["notes"] = "changed"
    after = _put(n8n, workflow, changed)
    assert after["active"] is True
    live = n8n.workflow(workflow["id"])
    assert live["activeVersionId"] == live["versionId"]
    assert live["activeVersion"]["nodes"][1]["notes"] == "changed"


def test_a_put_can_leave_the_published_version_alone_in_2x(n8n: Target) -> None:
    workflow = n8n.create(scheduled())
    n8n.activate(workflow)
    changed = copy.deepcopy(writable(workflow))
    changed["nodes"][1]["notes"] = "changed"
    answer = n8n.put(f"/workflows/{workflow['id']}", changed, publishIfActive="false")
    if n8n.is_v1:
        assert refused(answer, 400) == "Unknown query parameter 'publishIfActive'"
        return
    ok(answer)
    after = n8n.workflow(workflow["id"])
    assert after["active"] is True
    assert after["versionId"] != after["activeVersionId"]
    assert after["nodes"][1]["notes"] == "changed"
    assert "notes" not in after["activeVersion"]["nodes"][1]
    row = n8n.listed(workflow)
    assert row["activeVersion"]["versionId"] == row["activeVersionId"] != row["versionId"]


def test_a_put_that_cannot_be_published_saves_its_draft_in_2x(n8n: Target) -> None:
    workflow = n8n.create(scheduled())
    n8n.activate(workflow)
    without_trigger = {**writable(workflow), "nodes": [workflow["nodes"][1]], "connections": {}}
    refused(n8n.put(f"/workflows/{workflow['id']}", without_trigger), 400)
    after = n8n.workflow(workflow["id"])
    if n8n.is_v2:
        assert after["active"] is True
        assert [one["name"] for one in after["nodes"]] == ["End"]
        assert len(after["activeVersion"]["nodes"]) == 2
        assert after["versionId"] != after["activeVersionId"]


def test_there_is_no_optimistic_lock(n8n: Target) -> None:
    workflow = n8n.create(manual())

    def put(number: int) -> int:
        return n8n.put(f"/workflows/{workflow['id']}", {**writable(workflow), "name": f"writer {number}"}).status_code

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(put, range(8))) == {200}


def test_a_credential_that_is_not_there_is_taken_and_activates(n8n: Target) -> None:
    body = scheduled()
    body["nodes"][1] = node("End", "httpRequest", version=4.2, parameters={
        "url": "http://127.0.0.1:1/", "authentication": "genericCredentialType", "genericAuthType": "httpBasicAuth"},
        credentials={"httpBasicAuth": {"id": "AAAAAAAAAAAAAAAA", "name": "gone"}})
    workflow = n8n.create(body)
    assert workflow["nodes"][1]["credentials"] == {"httpBasicAuth": {"id": "AAAAAAAAAAAAAAAA", "name": "gone"}}
    n8n.activate(workflow)


def _credential_after_write(n8n: Target, reference: Any) -> Any:
    body = manual()
    body["nodes"][1] = node("End", "httpRequest", version=4.2, parameters={
        "url": "http://127.0.0.1:1/", "authentication": "genericCredentialType", "genericAuthType": "httpBasicAuth"},
        credentials={"httpBasicAuth": reference})
    return n8n.workflow(n8n.create(body)["id"])["nodes"][1]["credentials"]["httpBasicAuth"]


def test_a_stale_name_of_a_credential_is_refreshed(n8n: Target) -> None:
    credential = n8n.credential()
    assert _credential_after_write(n8n, {"id": credential["id"], "name": "stale"}) == _reference(credential)


@pytest.mark.parametrize("shape", ["unknown id", "null id", "no id", "text"])
def test_a_credential_is_found_by_its_name_where_the_id_is_unknown(n8n: Target, shape: str) -> None:
    credential = n8n.credential()
    name = credential["name"]
    sent = {"unknown id": {"id": "AAAAAAAAAAAAAAAA", "name": name}, "null id": {"id": None, "name": name},
            "no id": {"name": name}, "text": name}[shape]
    assert _credential_after_write(n8n, sent) == _reference(credential)


@pytest.mark.parametrize("sent", [{"id": None, "name": "nobody's"}, {"id": "AAAAAAAAAAAAAAAA", "name": "nobody's"}, "nobody's"])
def test_a_credential_that_no_name_finds_stays_as_it_was(n8n: Target, sent: object) -> None:
    assert _credential_after_write(n8n, sent) == sent


def test_a_name_that_two_credentials_have_finds_neither(n8n: Target) -> None:
    name = unique("twin")
    n8n.credential(name)
    n8n.credential(name)
    sent = {"id": None, "name": name}
    assert _credential_after_write(n8n, sent) == sent


def _reference(credential: JsonObject) -> JsonObject:
    return {"id": credential["id"], "name": credential["name"]}


def test_a_webhook_id_left_out_on_put_is_made_anew_in_2x(n8n: Target) -> None:
    workflow = n8n.create(webhook())
    body = copy.deepcopy(writable(n8n.workflow(workflow["id"])))
    before = body["nodes"][0].pop("webhookId", None)
    after = _put(n8n, workflow, body)["nodes"][0].get("webhookId")
    assert after != before if n8n.is_v2 else (before, after) == (None, None)


def test_a_marker_in_static_data_is_found_in_the_list_and_cleared_without_a_new_version(n8n: Target) -> None:
    marker = {"wfops": {"op": unique("op")}}
    workflow = n8n.create(manual(staticData=marker))
    row = n8n.listed(workflow)
    assert row["staticData"] == marker
    after = _put(n8n, workflow, {**writable(workflow), "staticData": {}})
    assert (after["versionId"] == workflow["versionId"]) == n8n.is_v2


@pytest.mark.parametrize(("text", "kept"), [('{"a": 1}', {"a": 1}), ("null", None), ('"x"', "x"), ("[1]", [1])])
def test_static_data_as_text_are_the_json_in_it_and_2x_keeps_objects_alone(n8n: Target, text: str, kept: Any) -> None:
    expected = kept if n8n.is_v1 or isinstance(kept, dict) else None
    workflow = n8n.create(manual(staticData=text))
    assert workflow["staticData"] == (text if n8n.is_v1 else expected)  # 1.x answers what it was sent
    assert n8n.workflow(workflow["id"])["staticData"] == expected
    put = ok(n8n.put(f"/workflows/{workflow['id']}", {**writable(workflow), "staticData": text}))
    assert put["staticData"] == n8n.workflow(workflow["id"])["staticData"] == expected
