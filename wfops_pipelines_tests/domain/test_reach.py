"""Blast radius (§10): callers, entry points, credentials, and what only a run can tell."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.reach import EnvironmentWorkflow, Reach, reach, render
from wfops_pipelines.domain.workflow import read_content
from wfops_pipelines_tests.domain.workflow_strategies import contents, law

EXECUTE = "n8n-nodes-base.executeWorkflow"
TOOL = "@n8n/n8n-nodes-langchain.toolWorkflow"
RETRIEVER = "@n8n/n8n-nodes-langchain.retrieverWorkflow"


def node(kind: str, name: str = "Node", *, version: float = 1, **more: Any) -> dict[str, Any]:
    parameters = more.pop("parameters", {})
    return {"name": name, "type": kind, "typeVersion": version, "parameters": parameters, **more}


def workflow(workflow_id: str, *nodes: dict[str, Any], active: bool = True, **settings: Any) -> EnvironmentWorkflow:
    content = {"name": workflow_id.upper(), "nodes": list(nodes), "connections": {}, "settings": settings}
    return EnvironmentWorkflow(workflow_id, workflow_id.upper(), active, content)


def calling(workflow_id: str, called: Any, kind: str = EXECUTE, **parameters: Any) -> EnvironmentWorkflow:
    return workflow(workflow_id, node(kind, "Call", parameters={"workflowId": called, **parameters}))


def callers(found: Reach) -> dict[str, int]:
    return {caller.workflow.workflow_id: caller.distance for caller in found.callers}


@pytest.mark.parametrize("kind", [EXECUTE, TOOL, RETRIEVER])
@pytest.mark.parametrize("called", [
    "a", {"__rl": True, "mode": "id", "value": "a"}, {"__rl": True, "mode": "list", "value": "a", "cachedResultName": "A"},
    {"__rl": True, "mode": "url", "value": "https://n8n.example.com/workflow/a"},
])
def test_a_caller_is_found_in_every_form_of_the_reference(kind: str, called: Any) -> None:
    found = reach([workflow("a"), calling("b", called, kind)], {"a"})
    assert callers(found) == {"b": 1}
    assert (found.callers[0].nodes, found.callers[0].calls, found.unknown) == (("Call",), ("a",), ())


def test_callers_of_callers_say_how_far_away_they_are_and_through_whom() -> None:
    found = reach([workflow("a"), calling("b", "a"), calling("c", "b"), calling("d", "c"), workflow("e")], {"a"})
    assert callers(found) == {"b": 1, "c": 2, "d": 3}
    assert found.callers[1].calls == ("b",)
    assert "C, through B" in render(found)


def test_workflows_that_call_each_other_are_each_listed_once() -> None:
    found = reach([calling("a", "c"), calling("b", "a"), calling("c", "b")], {"a"})
    assert callers(found) == {"b": 1, "c": 2, "a": 3}


def test_a_workflow_that_calls_itself_is_its_own_caller() -> None:
    found = reach([calling("a", {"__rl": True, "mode": "id", "value": "={{ $workflow.id }}"})], {"a"})
    assert callers(found) == {"a": 1}
    assert found.unknown == () and found.affected_elsewhere() == 0


def test_a_deleted_workflow_still_has_its_callers() -> None:
    found = reach([calling("b", "gone")], {"gone"})
    assert [ref.name for ref in found.affected] == [None]
    assert callers(found) == {"b": 1}


def test_an_expression_that_names_a_workflow_is_unknown_and_not_dropped() -> None:
    found = reach([workflow("a"), calling("b", "={{ $json.next }}")], {"a"})
    assert found.callers == ()
    assert [(u.kind, u.workflow.workflow_id, u.node, u.expression) for u in found.unknown] == [
        ("call", "b", "Call", "={{ $json.next }}")]


@pytest.mark.parametrize("parameters", [
    {"source": "localFile", "workflowPath": "/data/sub.json"}, {"source": "url", "workflowUrl": "https://example.com/w"},
    {"source": "={{ $json.source }}"}, {"source": "parameter", "workflowJson": "={{ $json.workflow }}"},
])
def test_a_sub_workflow_from_elsewhere_is_unknown(parameters: dict[str, Any]) -> None:
    found = reach([workflow("a"), workflow("b", node(EXECUTE, "Call", parameters=parameters))], {"a"})
    assert [unknown.kind for unknown in found.unknown] == ["call"]


def test_calls_and_credentials_of_a_workflow_as_json_in_a_node_are_read() -> None:
    inner = json.dumps({"nodes": [node(EXECUTE, "Inner", parameters={"workflowId": "a"},
                                       credentials={"slackApi": {"name": "bot"}})]})
    outer = workflow("b", node(TOOL, "Tool", parameters={"source": "parameter", "workflowJson": inner}))
    found = reach([workflow("a", node("x", credentials={"slackApi": {"name": "bot"}})), outer], {"a"})
    assert found.callers[0].nodes == ("Tool",)
    assert [ref.workflow_id for ref in found.credentials[0].others] == ["b"]


def test_a_disabled_node_calls_serves_and_uses_nothing() -> None:
    found = reach([workflow("a", node("n8n-nodes-base.webhook", parameters={"path": "x"}, disabled=True,
                                      credentials={"httpBasicAuth": {"name": "c"}})),
                   workflow("b", node(EXECUTE, parameters={"workflowId": "a"}, disabled=True))], {"a"})
    assert (found.callers, found.entry_points, found.credentials) == ((), (), ())


def test_workflows_whose_errors_it_handles_are_listed() -> None:
    found = reach([workflow("a"), workflow("b", errorWorkflow="a"), workflow("c", errorWorkflow="DEFAULT"),
                   workflow("d", errorWorkflow="={{ 'a' }}")], {"a"})
    assert [(e.workflow.workflow_id, e.handler) for e in found.handles_errors_of] == [("b", "a")]
    assert [(u.kind, u.workflow.workflow_id) for u in found.unknown] == [("error_workflow", "d")]


@pytest.mark.parametrize(("trigger", "paths"), [
    (node("n8n-nodes-base.webhook", webhookId="h", parameters={"path": "orders", "httpMethod": "POST"}),
     ["POST /webhook/orders"]),
    (node("n8n-nodes-base.webhook", webhookId="h", parameters={"path": "orders"}), ["GET /webhook/orders"]),
    (node("n8n-nodes-base.webhook", webhookId="h", parameters={"path": "users/:id"}), ["GET /webhook/h/users/:id"]),
    (node("n8n-nodes-base.webhook", "My Hook", parameters={"path": "x"}), ["GET /webhook/a/my%20hook/x"]),
    (node("n8n-nodes-base.webhook", version=2, webhookId="h",
          parameters={"path": "x", "multipleMethods": True, "httpMethod": ["PUT", "DELETE"]}),
     ["PUT /webhook/x", "DELETE /webhook/x"]),
    (node("n8n-nodes-base.webhook", version=2, webhookId="h", parameters={"path": "x", "multipleMethods": True}),
     ["GET /webhook/x", "POST /webhook/x"]),
    (node("n8n-nodes-base.formTrigger", version=1, webhookId="h", parameters={"path": "f"}),
     ["GET /webhook/f/n8n-form", "POST /webhook/f/n8n-form"]),
    (node("n8n-nodes-base.formTrigger", version=2.2, webhookId="h", parameters={"options": {"path": "ask"}}),
     ["GET /form/ask", "POST /form/ask"]),
    (node("n8n-nodes-base.formTrigger", version=2.2, webhookId="h"), ["GET /form/h", "POST /form/h"]),
    (node("@n8n/n8n-nodes-langchain.chatTrigger", webhookId="h", parameters={"public": True}),
     ["GET /webhook/h/chat", "POST /webhook/h/chat"]),
    (node("@n8n/n8n-nodes-langchain.chatTrigger", webhookId="h"), []),
    (node("@n8n/n8n-nodes-langchain.mcpTrigger", version=2, webhookId="h", parameters={"path": "m"}),
     ["GET /mcp/m", "POST /mcp/m"]),
])
def test_paths_are_those_that_n8n_serves(trigger: dict[str, Any], paths: list[str]) -> None:
    found = reach([workflow("a", trigger)], {"a"})
    assert [f"{served.entry.method} {served.entry.path}" for served in found.entry_points] == paths


@pytest.mark.parametrize("parameters", [{"path": "={{ $env.PATH }}"}, {"path": "x", "httpMethod": "={{ $env.M }}"}])
def test_a_path_that_an_expression_makes_is_unknown(parameters: dict[str, Any]) -> None:
    found = reach([workflow("a", node("n8n-nodes-base.webhook", "Hook", webhookId="h", parameters=parameters))], {"a"})
    assert None in (found.entry_points[0].entry.method, found.entry_points[0].entry.path)
    assert [(u.kind, u.node) for u in found.unknown] == [("path", "Hook")]


@pytest.mark.parametrize(("trigger", "words"), [
    (node("n8n-nodes-base.scheduleTrigger", parameters={"rule": {"interval": [{"field": "hours", "hoursInterval": 6}]}}),
     ["every 6 hours at minute 0"]),
    (node("n8n-nodes-base.scheduleTrigger", parameters={"rule": {"interval": [{}]}}), ["every day at 00:00"]),
    (node("n8n-nodes-base.scheduleTrigger", parameters={}), ["every day at 00:00"]),
    (node("n8n-nodes-base.scheduleTrigger", parameters={"rule": {"interval": [
        {"field": "cronExpression", "expression": "0 8 * * 1-5"},
        {"field": "weeks", "triggerAtDay": [1, 3], "triggerAtHour": 7}]}}),
     ["cron 0 8 * * 1-5", "every week on Mon, Wed at 07:00"]),
    (node("n8n-nodes-base.cron", parameters={"triggerTimes": {"item": [{"hour": 6}]}}), ["every day at 06:00"]),
    (node("n8n-nodes-base.interval", parameters={"unit": "minutes", "interval": 30}), ["every 30 minutes"]),
    (node("n8n-nodes-base.scheduleTrigger", parameters={"rule": {"interval": [{"triggerAtHour": "={{ 1 }}"}]}}), [None]),
])
def test_schedules_are_told_in_words(trigger: dict[str, Any], words: list[str | None]) -> None:
    found = reach([workflow("a", trigger)], {"a"})
    assert [scheduled.schedule.when for scheduled in found.schedules] == words
    assert ([u.kind for u in found.unknown] == ["schedule"]) is (None in words)


def test_triggers_of_services_are_listed() -> None:
    found = reach([workflow("a", node("n8n-nodes-base.telegramTrigger", "Bot"), node("n8n-nodes-base.manualTrigger"))], {"a"})
    assert [(t.trigger.type, t.trigger.node) for t in found.triggers] == [("n8n-nodes-base.telegramTrigger", "Bot")]


def test_a_credential_names_the_others_that_use_it() -> None:
    uses = {"slackApi": {"id": "1", "name": "bot"}}
    found = reach([workflow("a", node("x", credentials=uses)), workflow("b", node("x", credentials=uses), active=False),
                   workflow("c", node("x", credentials={"slackApi": {"name": "other"}}))], {"a"})
    (credential,) = found.credentials
    assert (credential.type, credential.name) == ("slackApi", "bot")
    assert [ref.workflow_id for ref in credential.others] == ["b"]
    assert "bot (slackApi), as do 1 others: B, not active" in render(found)


def test_a_credential_that_an_expression_chooses_is_unknown() -> None:
    found = reach([workflow("a", node("x", credentials={"slackApi": {"id": "={{ $json.id }}", "name": "="}}))], {"a"})
    assert found.credentials == ()
    assert [u.kind for u in found.unknown] == ["credential"]


def test_what_is_shown_is_masked_and_on_one_line() -> None:
    path = "x?token=ghp_0123456789abcdefghijABCDEFGHIJ012345"
    found = reach([workflow("a", node("n8n-nodes-base.webhook", "No\x1b[31mde\nName", webhookId="h", parameters={"path": path}))],
                  {"a"})
    for shown in (render(found), json.dumps(found.as_json())):
        assert "ghp_" not in shown and "\x1b" not in shown and "u001b" not in shown


def test_a_long_list_is_cut_and_counted() -> None:
    found = reach([workflow("a"), *(calling(f"b{i:02}", "a") for i in range(12))], {"a"})
    assert "called by (12):" in render(found) and "and 2 more" in render(found)


@law
@given(st.lists(contents(), max_size=3))
def test_any_workflow_that_can_be_read_has_a_reach(documents: list[dict[str, Any]]) -> None:
    known = [EnvironmentWorkflow(str(i), c["name"], True, read_content(c)) for i, c in enumerate(documents)]
    found = reach(known, {"0", "elsewhere"})
    assert json.loads(json.dumps(found.as_json())) == found.as_json()
    assert render(found)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=25))
def test_callers_are_exactly_the_workflows_from_which_calls_lead_there(calls: list[tuple[int, int]]) -> None:
    known = [workflow(str(i), *(node(EXECUTE, f"to {t}", parameters={"workflowId": str(t)}) for s, t in calls if s == i))
             for i in range(7)]
    lead: set[int] = set()
    for _ in range(8):
        lead |= {source for source, target in calls if target == 0 or target in lead}
    assert set(callers(reach(known, {"0"}))) == {str(i) for i in lead}


@pytest.mark.parametrize("kind", [{"a": 1}, ["x"], None, 5])
def test_a_node_whose_type_is_no_text_calls_nobody(kind: Any) -> None:
    found = reach([workflow("a"), calling("b", "a", kind)], {"a"})
    assert (found.callers, found.unknown) == ((), ())
