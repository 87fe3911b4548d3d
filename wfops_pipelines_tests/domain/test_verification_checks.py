"""What to look at after a promotion, and what answers mean."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.verification_checks import (
    Check,
    Outcome,
    SmokeCall,
    ToVerify,
    Webhook,
    content_result,
    execution_number,
    execution_verdict,
    failed,
    is_registered,
    newer,
    other_triggers,
    smoke_answer,
    smoke_call,
    trigger_result,
    webhook_result,
    webhooks,
    why_it_failed,
)
from wfops_pipelines.domain.workflow import ListedWorkflow, read_listed

WANTED = ToVerify("w1", "Orders", "hash")
METHODS = st.frozensets(st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"]))


def node(kind: str, name: str, version: float = 2, **parameters: Any) -> dict[str, Any]:
    return {"name": name, "type": f"n8n-nodes-base.{kind}", "typeVersion": version, "position": [0, 0],
            "webhookId": str(uuid.uuid5(uuid.NAMESPACE_URL, name)), "parameters": parameters}


def workflow(*nodes: dict[str, Any], active: bool = True, **settings: Any) -> ListedWorkflow:
    return read_listed({"id": "w1", "name": "Orders", "active": active, "nodes": list(nodes), "connections": {},
                        "settings": settings})


# -- content ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seen", "live_hash", "outcome"), [
    (workflow(), "hash", Outcome.PASSED), (workflow(), "other", Outcome.FAILED),
    (workflow(active=False), "hash", Outcome.FAILED), (None, None, Outcome.FAILED)])
def test_content_passes_only_when_it_runs_and_is_the_same(seen: ListedWorkflow | None, live_hash: str | None,
                                                          outcome: Outcome) -> None:
    result = content_result(WANTED, seen, live_hash)
    assert (result.check, result.outcome, result.workflow_id, result.workflow) == (Check.CONTENT, outcome, "w1", "Orders")
    assert (result.fix is None) is (outcome is Outcome.PASSED)


def test_what_shall_be_off_must_not_run() -> None:
    off = ToVerify("w1", "Orders", "hash", active=False)
    assert content_result(off, workflow(), "hash").outcome is Outcome.FAILED
    assert content_result(off, workflow(active=False), "hash").outcome is Outcome.PASSED


# -- webhooks --------------------------------------------------------------------------------------------------------------


def test_each_path_of_each_node_is_a_webhook_with_its_methods() -> None:
    seen = workflow(node("webhook", "Many", path="many", httpMethod=["PUT", "POST"], multipleMethods=True),
                    node("webhook", "Plain", path="plain"), {**node("webhook", "Off", path="off"), "disabled": True},
                    node("webhook", "Made", path="={{ 1 }}"))
    assert [(one.node, one.path, set(one.methods)) for one in webhooks(seen.live, "w1")] == [
        ("Many", "/webhook/many", {"PUT", "POST"}), ("Plain", "/webhook/plain", {"GET"}), ("Made", None, {"GET"})]


@given(METHODS, METHODS)
def test_a_webhook_passes_exactly_when_n8n_takes_all_its_methods(methods: frozenset[str], there: frozenset[str]) -> None:
    result = webhook_result(WANTED, Webhook("Hook", "/webhook/a", methods), there)
    assert (result.outcome is Outcome.PASSED) is bool(there and methods <= there)
    assert (result.outcome is Outcome.PASSED) is is_registered(Webhook("Hook", "/webhook/a", methods), there)


def test_of_a_path_with_parameters_n8n_shows_one_method() -> None:
    webhook = Webhook("Hook", "/webhook/id/users/:id", frozenset({"PUT", "POST"}))
    assert webhook_result(WANTED, webhook, frozenset({"POST"})).outcome is Outcome.PASSED
    assert webhook_result(WANTED, webhook, frozenset({"GET"})).outcome is Outcome.FAILED
    assert webhook_result(WANTED, webhook, frozenset()).outcome is Outcome.FAILED


@pytest.mark.parametrize("path", ["/webhook/../api/v1/workflows", "/webhook/./a"])
def test_a_path_that_leads_elsewhere_is_never_asked_for(path: str) -> None:
    webhook = Webhook("Hook", path, frozenset({"GET"}))
    assert not webhook.can_be_asked_for
    assert webhook_result(WANTED, webhook, None).outcome is Outcome.NOT_CHECKED


def test_what_could_not_be_checked_speaks_against_nothing() -> None:
    results = [webhook_result(WANTED, Webhook("Hook", "/webhook/a", frozenset({"GET"})), answer)
               for answer in (None, frozenset[str](), frozenset({"GET"}))]
    assert [result.outcome for result in results] == [Outcome.NOT_CHECKED, Outcome.FAILED, Outcome.PASSED]
    assert failed(results) == [results[1]]


# -- other triggers --------------------------------------------------------------------------------------------------------


def test_schedules_services_and_mailboxes_are_triggers_and_what_is_called_is_none() -> None:
    seen = workflow(node("scheduleTrigger", "Times"), node("telegramTrigger", "Chat"), node("emailReadImap", "Mail"),
                    node("webhook", "Hook", path="a"), node("formTrigger", "Form"), node("executeWorkflowTrigger", "Called"),
                    node("errorTrigger", "Error"), node("manualTrigger", "Hand"),
                    {**node("cron", "Off"), "disabled": True})
    assert other_triggers(seen.live) == ["Times", "Chat", "Mail"]


@pytest.mark.parametrize(("count", "new", "generation", "outcome"), [
    (0, True, 2, Outcome.FAILED), (0, False, 2, Outcome.FAILED), (1, True, 2, Outcome.PASSED),
    (3, True, 2, Outcome.PASSED), (1, False, 2, Outcome.NOT_CHECKED), (None, True, 2, Outcome.FAILED),
    (0, False, 1, Outcome.PASSED), (1, True, 1, Outcome.PASSED)])
def test_a_count_is_a_proof_for_what_is_new_alone_and_1x_needs_none(count: Any, new: bool, generation: int,
                                                                    outcome: Outcome) -> None:
    wanted = ToVerify("w1", "Orders", "hash", new=new)
    result = trigger_result(wanted, ["Times"], count, generation=generation)
    assert (result.check, result.outcome, result.node) == (Check.TRIGGER, outcome, "Times")


# -- smoke workflow --------------------------------------------------------------------------------------------------------


def called(seen: ListedWorkflow) -> SmokeCall:
    call = smoke_call(seen)
    assert isinstance(call, SmokeCall), call
    return call


def test_a_webhook_is_called_by_post_where_it_takes_that() -> None:
    many = workflow(node("webhook", "Hook", path="a", httpMethod=["PUT", "POST"], multipleMethods=True))
    assert (called(many).method, called(many).fields) == ("POST", None)
    assert called(workflow(node("webhook", "Hook", path="a", httpMethod="DELETE"))).method == "DELETE"


def test_a_form_is_given_something_for_each_of_its_fields() -> None:
    fields = [{"fieldLabel": "Name"}, {"fieldLabel": "Age", "fieldType": "number"}, {"fieldType": "date"},
              {"fieldType": "email"}, {"fieldType": "dropdown", "fieldOptions": {"values": [{"option": "red"}]}}]
    call = called(workflow(node("formTrigger", "Form", 2.2, path="ask", formFields={"values": fields})))
    assert (call.method, call.webhook.path) == ("POST", "/form/ask")
    assert call.fields == (("field-0", "wfops"), ("field-1", "0"), ("field-2", "2000-01-01"),
                           ("field-3", "wfops@example.com"), ("field-4", "red"))


@pytest.mark.parametrize(("seen", "why"), [
    (workflow(node("webhook", "Hook", path="a"), active=False), "it does not run"),
    (workflow(node("webhook", "Hook", path="a"), saveDataSuccessExecution="none"), "its settings keep no successful"),
    (workflow(node("scheduleTrigger", "Times")), "it has no webhook or form"),
    (workflow(node("webhook", "Hook", path="users/:id")), "it has no webhook or form"),
    (workflow(node("webhook", "Hook", path="={{ 1 }}")), "it has no webhook or form"),
    (workflow(node("webhook", "Hook", path="a", authentication="headerAuth")), "it has no webhook or form"),
    (workflow(node("webhook", "Hook", path="a/../../api")), "it has no webhook or form")])
def test_what_cannot_be_called_says_why(seen: ListedWorkflow, why: str) -> None:
    assert str(smoke_call(seen)).startswith(why)


@pytest.mark.parametrize(("status", "verdict"), [
    ("success", Outcome.PASSED), ("error", Outcome.FAILED), ("crashed", Outcome.FAILED), ("canceled", Outcome.FAILED),
    ("unknown", Outcome.FAILED), (None, Outcome.FAILED), ("new", None), ("running", None), ("waiting", None)])
def test_every_status_of_an_execution_has_a_verdict(status: str | None, verdict: Outcome | None) -> None:
    assert execution_verdict({"id": "1", "status": status}) is verdict


@given(st.lists(st.integers(min_value=1, max_value=10**12), unique=True), st.integers(min_value=0, max_value=10**12))
def test_executions_since_are_told_by_their_number(numbers: list[int], after: int) -> None:
    rows = [{"id": str(number)} for number in numbers]
    assert [execution_number(row) for row in newer(rows, after)] == sorted(one for one in numbers if one > after)


@pytest.mark.parametrize("identity", [None, "", "abc", "-1", "١", {}])
def test_an_execution_without_a_number_is_never_newer(identity: Any) -> None:
    assert newer([{"id": identity}], 0) == []


@pytest.mark.parametrize(("execution", "said"), [
    ({"data": {"resultData": {"error": {"message": "boom", "node": {"name": "Stop"}}}}}, "Stop: boom"),
    ({"data": {"resultData": {"error": {"message": "boom"}, "lastNodeExecuted": "Last"}}}, "Last: boom"),
    ({"data": {"resultData": {"error": "boom"}}, "status": "error"}, "n8n says error"),
    ({"status": "crashed"}, "n8n says crashed"), ({"data": None, "status": "error"}, "n8n says error"),
    ({"data": "[]", "status": "error"}, "n8n says error"), ({"data": {"resultData": 1}, "status": "error"}, "n8n says error")])
def test_a_failed_execution_tells_its_node_and_message_where_it_has_them(execution: dict[str, Any], said: str) -> None:
    assert why_it_failed(execution) == said


def test_an_answer_against_it_is_one_line_and_shows_no_secret() -> None:
    call = called(workflow(node("webhook", "Hook", path="a")))
    assert smoke_answer(call, 200, "anything") is None
    assert smoke_answer(call, 302, "") is None
    said = smoke_answer(call, 500, "broken\nat sk-" + "a1B2" * 12 + " x" * 500)
    assert said is not None
    assert said.startswith("its webhook answered 500: broken")
    assert "a1B2" not in said
    assert "\n" not in said
    assert len(said) < 400
