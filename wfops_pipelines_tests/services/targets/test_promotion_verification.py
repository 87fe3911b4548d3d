"""What is looked at after a promotion, and what is found (§11.1)."""

from __future__ import annotations

import asyncio
import json
import uuid
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.types import Message, Receive, Scope, Send

from wfops_pipelines.domain.errors import Unreachable
from wfops_pipelines.domain.normalize import content_hash
from wfops_pipelines.domain.verification import Verification
from wfops_pipelines.domain.verification_checks import Outcome, ToVerify, VerificationResult
from wfops_pipelines.domain.workflow import read_listed
from wfops_pipelines.n8n.adapter import N8nProvider
from wfops_pipelines.n8n.provider import Connection
from wfops_pipelines.n8n.sandbox import Sandbox, create_sandbox
from wfops_pipelines.services.promotion_verification import verify_promotion
from wfops_pipelines_tests.n8n.conformance.target import (
    JsonObject,
    Target,
    link,
    node,
    ok,
    scheduled,
    unique,
    wait_until,
    writable,
)
from wfops_pipelines_tests.n8n.conformance.test_registration import form, hooked, no_cron
from wfops_pipelines_tests.servers.asgi import serve

EVERYTHING = Verification(webhooks=True, triggers=True, timeout_seconds=20)
AT_ONCE = Verification(webhooks=True, triggers=True, timeout_seconds=0)
PROD = cast("Any", SimpleNamespace(slug="prod"))


def promoted(n8n: Target, body: JsonObject, *, new: bool = True) -> ToVerify:
    """A workflow that runs in the target as it was meant to."""
    workflow = n8n.create(body)
    ok(n8n.post(f"/workflows/{workflow['id']}/activate"))
    return seen_now(n8n, workflow["id"], new=new)


def seen_now(n8n: Target, workflow_id: str, *, new: bool = True) -> ToVerify:
    listed = read_listed(n8n.workflow(workflow_id))
    return ToVerify(listed.id, listed.name, content_hash(listed.live), active=listed.active, new=new)


def verified(n8n: Target, verification: Verification, *workflows: ToVerify) -> list[VerificationResult]:
    results = n8n.provider(lambda provider: verify_promotion(provider, PROD, verification, workflows))
    assert json.loads(json.dumps([result.as_json() for result in results]))  # fit for the store, and for --json
    return results


def told(results: list[VerificationResult]) -> list[tuple[str, str, str | None]]:
    return [(str(result.check), str(result.outcome), result.node) for result in results]


def scheduled_and_hooked(path: str) -> JsonObject:
    body, times = hooked(path), scheduled()
    return {**body, "nodes": [*body["nodes"], times["nodes"][0]],
            "connections": body["connections"] | link("Every day", "End")}


def test_what_was_promoted_is_live_and_everything_that_starts_it_is_registered(n8n: Target) -> None:
    path = uuid.uuid4().hex
    wanted = [promoted(n8n, scheduled_and_hooked(path)), promoted(n8n, form(f"form-{path}"))]
    results = verified(n8n, EVERYTHING, *wanted)
    assert told(results) == [("content", "passed", None), ("webhook", "passed", "Hook"), ("trigger", "passed", "Every day"),
                             ("content", "passed", None), ("webhook", "passed", "Form")]
    assert results[1].path == f"/webhook/{path}"
    assert {result.workflow for result in results} == {one.name for one in wanted}


def test_nothing_is_started_by_looking(n8n: Target) -> None:
    path = uuid.uuid4().hex
    wanted = promoted(n8n, hooked(path))
    verified(n8n, EVERYTHING, wanted)
    assert n8n.get("/executions", workflowId=wanted.workflow_id).json()["data"] == []


def test_only_what_is_asked_for_is_looked_at(n8n: Target) -> None:
    wanted = promoted(n8n, scheduled_and_hooked(uuid.uuid4().hex))
    assert [check for check, _, _ in told(verified(n8n, Verification(webhooks=True), wanted))] == ["content", "webhook"]
    assert [check for check, _, _ in told(verified(n8n, Verification(triggers=True), wanted))] == ["content", "trigger"]


def test_a_workflow_that_somebody_changed_switched_off_or_deleted_is_found_out(n8n: Target) -> None:
    changed, off, gone = (promoted(n8n, scheduled()) for _ in range(3))
    body = writable(n8n.workflow(changed.workflow_id))
    body["nodes"][1]["parameters"] = {"changed": True}
    ok(n8n.put(f"/workflows/{changed.workflow_id}", body))
    ok(n8n.post(f"/workflows/{off.workflow_id}/deactivate"))
    ok(n8n.post(f"/workflows/{gone.workflow_id}/deactivate"))
    wait_until(lambda: n8n.delete(f"/workflows/{gone.workflow_id}").status_code == 200)
    results = verified(n8n, EVERYTHING, changed, off, gone)
    assert [(str(result.outcome), result.reason) for result in results] == [
        ("failed", "what is live is not what was promoted"), ("failed", "it does not run"),
        ("failed", "it is gone from the target")]


def test_one_that_shall_be_off_is_looked_at_for_its_content_alone(n8n: Target) -> None:
    workflow = n8n.create(hooked(uuid.uuid4().hex))
    assert told(verified(n8n, EVERYTHING, seen_now(n8n, workflow["id"]))) == [("content", "passed", None)]


def test_many_are_read_by_one_listing(n8n: Target) -> None:
    wanted = [seen_now(n8n, n8n.create(scheduled())["id"]) for _ in range(21)]
    assert {outcome for _, outcome, _ in told(verified(n8n, EVERYTHING, *wanted))} == {"passed"}


def test_a_trigger_that_2x_could_not_register_fails_when_it_is_new_and_cannot_be_told_otherwise(n8n: Target) -> None:
    if n8n.is_v1:
        pytest.skip("1.x refuses to activate it")
    new = promoted(n8n, no_cron())
    old = promoted(n8n, scheduled(), new=False)
    wait_until(lambda: n8n.workflow(old.workflow_id)["triggerCount"] == 1)
    ok(n8n.put(f"/workflows/{old.workflow_id}", {**writable(n8n.workflow(old.workflow_id)), "nodes": no_cron()["nodes"]}))
    results = verified(n8n, Verification(triggers=True, timeout_seconds=1), new,
                       seen_now(n8n, old.workflow_id, new=False))
    assert told(results) == [("content", "passed", None), ("trigger", "failed", "Every day"),
                             ("content", "passed", None), ("trigger", "not_checked", "Every day")]


def test_a_path_that_an_expression_makes_is_not_checked(n8n: Target) -> None:
    wanted = promoted(n8n, hooked("={{ 'a' + 'b' }}" + uuid.uuid4().hex))
    result = verified(n8n, Verification(webhooks=True), wanted)[1]
    assert (result.outcome, result.path) == (Outcome.NOT_CHECKED, None)
    assert "{{ 'a' + 'b' }}" in result.reason


# -- smoke workflow --------------------------------------------------------------------------------------------------------


def smoke(n8n: Target, name: str, seconds: int = 20, *workflows: ToVerify) -> VerificationResult:
    results = verified(n8n, Verification(smoke_workflow=name, timeout_seconds=seconds), *workflows)
    assert [str(result.check) for result in results[len(workflows):]] == ["smoke_workflow"]
    return results[-1]


def test_a_smoke_workflow_is_started_by_its_webhook_and_has_to_succeed(n8n: Target) -> None:
    wanted = promoted(n8n, hooked(uuid.uuid4().hex, httpMethod="POST"))
    for name in (wanted.name, wanted.workflow_id):
        result = smoke(n8n, name)
        assert (result.outcome, result.workflow_id, result.workflow) == (Outcome.PASSED, wanted.workflow_id, wanted.name)
    assert len(n8n.get("/executions", workflowId=wanted.workflow_id).json()["data"]) == 2


def test_a_smoke_workflow_may_be_a_form_or_answer_at_its_end(n8n: Target) -> None:
    for body in (form(uuid.uuid4().hex), hooked(uuid.uuid4().hex, responseMode="lastNode")):
        assert smoke(n8n, promoted(n8n, body).name).outcome is Outcome.PASSED


@pytest.mark.parametrize("mode", ["onReceived", "lastNode"])
def test_a_smoke_workflow_that_fails_tells_its_node_and_why(n8n: Target, mode: str) -> None:
    stop = node("Stop", "stopAndError", position=(200, 0), parameters={"errorMessage": "password sk-" + "a1B2" * 12})
    result = smoke(n8n, promoted(n8n, hooked(uuid.uuid4().hex, stop, responseMode=mode)).name)
    assert result.outcome is Outcome.FAILED
    assert "failed: Stop: password " in result.reason
    assert "a1B2" not in result.reason


def test_a_smoke_workflow_that_does_not_end_fails(n8n: Target) -> None:
    if not n8n.real:
        pytest.skip("the sandbox runs nothing")
    wait = node("Wait", "wait", version=1.1, position=(200, 0), webhookId=str(uuid.uuid4()),
                parameters={"amount": 20, "unit": "seconds"})
    for mode in ("onReceived", "lastNode"):
        result = smoke(n8n, promoted(n8n, hooked(uuid.uuid4().hex, wait, responseMode=mode)).name, 2)
        assert (result.outcome, "had not ended after 2 s" in result.reason) == (Outcome.FAILED, True), result.reason


def test_a_smoke_workflow_that_cannot_be_started_says_why(n8n: Target) -> None:
    off = n8n.create(hooked(uuid.uuid4().hex))
    twice = unique("twice")
    for _ in range(2):
        promoted(n8n, {**hooked(uuid.uuid4().hex), "name": twice})
    forgetful = {**hooked(uuid.uuid4().hex), "settings": {"saveDataSuccessExecution": "none"}}
    for name, reason in (
            ("no such workflow", "prod has no workflow of this name or id"), (off["name"], "it does not run"),
            (promoted(n8n, scheduled()).name, "it has no webhook or form with a path of its own that anybody may call"),
            (twice, "prod has 2 workflows of this name: name it by its id"),
            (promoted(n8n, forgetful).name, "its settings keep no successful executions, so that success could not be told")):
        result = smoke(n8n, name, 2)
        assert (result.outcome, result.reason) == (Outcome.FAILED, reason)


def test_a_smoke_workflow_is_not_started_when_something_else_failed(n8n: Target) -> None:
    bad, probe = promoted(n8n, scheduled()), promoted(n8n, hooked(uuid.uuid4().hex))
    ok(n8n.post(f"/workflows/{bad.workflow_id}/deactivate"))
    assert smoke(n8n, probe.name, 5, bad).outcome is Outcome.NOT_CHECKED
    assert n8n.get("/executions", workflowId=probe.workflow_id).json()["data"] == []


# -- what only the sandbox lets happen -------------------------------------------------------------------------------------


def _in_sandbox(sandbox: Sandbox, app: Any, verification: Verification, workflow_id: str) -> list[VerificationResult]:
    async def run(url: str) -> list[VerificationResult]:
        provider = N8nProvider(Connection(url, "key"))
        try:
            listed = read_listed(await provider.get_workflow(workflow_id))
            wanted = ToVerify(listed.id, listed.name, content_hash(listed.live), new=True)
            return await verify_promotion(provider, PROD, verification, [wanted])
        finally:
            await provider.aclose()

    with serve(app) as url:
        return asyncio.run(run(url))


def _sandbox_with(body: JsonObject) -> tuple[Sandbox, str]:
    sandbox = create_sandbox(generation=2, api_key="key")
    [workflow_id] = sandbox.state.seed_workflows([{**body, "active": True}])
    return sandbox, workflow_id


def test_a_webhook_that_stays_unregistered_fails() -> None:
    sandbox, workflow_id = _sandbox_with(hooked("orders"))
    sandbox.state.release(workflow_id)
    result = _in_sandbox(sandbox, sandbox.app, AT_ONCE, workflow_id)[1]
    assert (result.outcome, result.reason, result.path) == (Outcome.FAILED, "it is not registered", "/webhook/orders")


def test_a_path_that_another_workflow_holds_by_another_method_fails() -> None:
    sandbox, workflow_id = _sandbox_with(hooked("orders"))
    sandbox.state.release(workflow_id)
    sandbox.state.seed_workflows([{**hooked("orders", httpMethod="POST"), "active": True}])
    result = _in_sandbox(sandbox, sandbox.app, AT_ONCE, workflow_id)[1]
    assert (result.outcome, result.reason) == (Outcome.FAILED, "n8n takes POST there, and not GET")


class _Before:
    """Something before a sandbox that notes what comes by, and may answer OPTIONS in its place."""

    def __init__(self, sandbox: Sandbox, options: int | None = None) -> None:
        self._app, self._options = sandbox.app, options
        self.seen: list[tuple[str, str, dict[bytes, bytes]]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append((scope["method"], scope["path"], dict(scope["headers"])))
        if scope["method"] != "OPTIONS" or self._options is None:
            await self._app(scope, receive, send)
            return
        headers = [(b"access-control-allow-methods", b"OPTIONS, GET, POST")]
        start: Message = {"type": "http.response.start", "status": self._options, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize("status", [204, 200, 403, 405])
def test_what_something_before_n8n_says_in_its_place_is_not_taken_for_an_answer(status: int) -> None:
    sandbox, workflow_id = _sandbox_with(hooked("orders"))
    result = _in_sandbox(sandbox, _Before(sandbox, status), AT_ONCE, workflow_id)[1]
    assert result.outcome is Outcome.NOT_CHECKED
    assert "not n8n" in result.reason


def test_no_webhook_gets_to_see_the_key() -> None:
    sandbox, workflow_id = _sandbox_with(hooked("orders", httpMethod="POST"))
    before = _Before(sandbox)
    results = _in_sandbox(sandbox, before, Verification(webhooks=True, smoke_workflow=workflow_id), workflow_id)
    assert {str(result.outcome) for result in results} == {"passed"}
    outside = [headers for _, path, headers in before.seen if path.startswith("/webhook/")]
    assert len(outside) >= 3
    assert all(b"x-n8n-api-key" not in headers and b"key" not in headers.values() for headers in outside)
    assert all(headers[b"x-n8n-api-key"] == b"key" for _, path, headers in before.seen if path.startswith("/api/"))


def test_an_n8n_that_cannot_be_reached_raises() -> None:
    async def look(verification: Verification) -> list[VerificationResult]:
        provider = N8nProvider(Connection("http://127.0.0.1:9", "key", attempts=1))
        try:
            return await verify_promotion(provider, PROD, verification, [ToVerify("AAAAAAAAAAAAAAAA", "Orders", "hash")])
        finally:
            await provider.aclose()

    with pytest.raises(Unreachable):
        asyncio.run(look(EVERYTHING))
    assert asyncio.run(look(Verification())) == []  # nothing is asked for, so n8n is not asked
