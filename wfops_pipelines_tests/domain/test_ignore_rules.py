"""Ignore rules (§9): what they hide, what stays, and what is counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from wfops_pipelines.domain.diff import ChangeKind, as_json, diff, from_json
from wfops_pipelines.domain.drift import DriftKind, WorkflowDrift, has_drift
from wfops_pipelines.domain.errors import InvalidFields
from wfops_pipelines.domain.ignore_rules import DriftedWorkflow, Ignored, IgnoreRule, apply, expiring, new_rule, node_types
from wfops_pipelines_tests.domain.workflow_strategies import JsonObject

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SOON = NOW + timedelta(days=1)
HERE, ELSEWHERE = UUID(int=1), UUID(int=2)
CANONICAL = UUID(int=7)
HTTP, SET, SLACK = "n8n-nodes-base.httpRequest", "n8n-nodes-base.set", "n8n-nodes-base.slack"
MODIFIED, ADDED, MISSING, ACTIVATION, UNPUBLISHED = DriftKind


def rule(number: int = 1, **says: Any) -> IgnoreRule:
    return IgnoreRule.model_validate({"id": UUID(int=number), "owner": "ann", "reason": "known", "expires_at": SOON, **says})


def node(name: str, kind: str = HTTP, credentials: dict[str, str] | None = None, **parameters: Any) -> JsonObject:
    made: JsonObject = {"id": name, "name": name, "type": kind, "typeVersion": 1, "position": [0, 0], "parameters": parameters}
    if credentials:
        made["credentials"] = {key: {"id": value, "name": value} for key, value in credentials.items()}
    return made


def workflow(*nodes: JsonObject, name: str = "Orders", **settings: Any) -> JsonObject:
    return {"name": name, "nodes": list(nodes), "connections": {}, "settings": settings}


def row(git: JsonObject, live: JsonObject, *, kinds: tuple[DriftKind, ...] = (MODIFIED,)) -> DriftedWorkflow:
    return DriftedWorkflow(drifted(live["name"], *kinds), diff(git, live), node_types(git, live))


def drifted(name: str, *kinds: DriftKind) -> WorkflowDrift:
    return WorkflowDrift(name, CANONICAL, "w1", "prod/orders.json", kinds[0], kinds, "new", "old", True, True)


def hide(row: DriftedWorkflow, *rules: IgnoreRule) -> Ignored:
    return apply(rules, [row], environment_id=HERE, now=NOW)


def is_hidden(row: DriftedWorkflow, *rules: IgnoreRule) -> bool:
    return not hide(row, *rules).remaining


URL = row(workflow(node("Call", url="a")), workflow(node("Call", url="b")))
URL_AND_BODY = row(workflow(node("Call", url="a", body="x")), workflow(node("Call", url="b", body="y")))


# -- by workflow -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("named", ["w1", str(CANONICAL), "Orders", "Ord*", "*rd*s"])
def test_a_workflow_is_named_by_id_canonical_id_or_a_pattern_of_its_name(named: str) -> None:
    assert is_hidden(URL_AND_BODY, rule(workflow=named))


@pytest.mark.parametrize("named", ["w", "orders", "Order", "Orders2", "w*1x", str(UUID(int=8))])
def test_another_one_is_not(named: str) -> None:
    assert not is_hidden(URL_AND_BODY, rule(workflow=named))


@pytest.mark.parametrize("kinds", [(ADDED,), (MISSING,), (ACTIVATION,), (MODIFIED, ACTIVATION), (ADDED, UNPUBLISHED)])
def test_a_rule_for_the_workflow_hides_every_kind_of_drift(kinds: tuple[DriftKind, ...]) -> None:
    found = hide(DriftedWorkflow(drifted("Orders", *kinds)), rule(workflow="Orders"))
    assert not has_drift(rest.drift for rest in found.remaining)
    assert [rest.drift.kinds for rest in found.remaining] == ([(UNPUBLISHED,)] if UNPUBLISHED in kinds else [])


def test_a_workflow_is_not_hidden_by_giving_it_a_name_that_is_ignored() -> None:
    renamed = row(workflow(node("Call"), name="Orders"), workflow(node("Call", url="evil"), name="tmp orders"))
    assert not is_hidden(renamed, rule(workflow="tmp*"))
    assert is_hidden(renamed, rule(workflow="*rders"))
    assert is_hidden(renamed, rule(workflow="w1"))


# -- by path ---------------------------------------------------------------------------------------------------------------

def test_a_row_is_hidden_only_when_every_change_is() -> None:
    assert is_hidden(URL, rule(parameter_path="parameters.url"))
    found = hide(URL_AND_BODY, rule(parameter_path="parameters.url"))
    assert not found.hidden
    (rest,) = found.remaining
    assert rest.diff is not None
    assert [change.path for change in rest.diff.changes] == ["parameters.body"]
    assert (rest.hidden_changes, found.hidden_changes, rest.drift) == (1, 1, URL_AND_BODY.drift)


def test_several_rules_hide_together_what_none_hides_alone() -> None:
    assert is_hidden(URL_AND_BODY, rule(1, parameter_path="parameters.url"), rule(2, parameter_path="parameters.body"))


def test_conditions_of_one_rule_must_hold_together() -> None:
    all_hold: dict[str, Any] = {"workflow": "Orders", "node_type": HTTP, "parameter_path": "parameters.url"}
    assert is_hidden(URL, rule(**all_hold))
    for other in ({"workflow": "Billing"}, {"node_type": SET}, {"parameter_path": "parameters.body"}):
        assert not is_hidden(URL, rule(**{**all_hold, **other}))


def test_settings_credentials_the_name_and_activation_have_paths_too() -> None:
    settings = row(workflow(node("Call"), timezone="UTC"), workflow(node("Call"), timezone="Asia/Tokyo"))
    assert is_hidden(settings, rule(parameter_path="settings.timezone"))
    assert not is_hidden(settings, rule(parameter_path="timezone"))
    renamed = row(workflow(node("Call"), name="Orders"), workflow(node("Call"), name="Orders 2"))
    assert is_hidden(renamed, rule(parameter_path="name"))
    credentials = row(workflow(node("Call", credentials={"slackApi": "one"})),
                      workflow(node("Call", credentials={"slackApi": "two"})))
    assert is_hidden(credentials, rule(parameter_path="credentials.slackApi"))
    assert not is_hidden(credentials, rule(parameter_path="credentials.httpBasicAuth"))
    switched = DriftedWorkflow(drifted("Orders", ACTIVATION))
    assert is_hidden(switched, rule(parameter_path="active"))
    assert not is_hidden(switched, rule(parameter_path="parameters"))


def test_an_object_that_came_as_a_whole_is_hidden_when_each_value_in_it_is() -> None:
    came = row(workflow(node("Call")), workflow(node("Call", options={"timeout": 3})))
    more = row(workflow(node("Call")), workflow(node("Call", options={"timeout": 3, "retry": True})))
    timeout = rule(parameter_path="parameters.options.timeout")
    assert is_hidden(came, timeout)
    assert not is_hidden(more, timeout)


def test_an_object_that_became_something_else_is_not_hidden_by_what_was_in_it() -> None:
    became = row(workflow(node("Call", options={"timeout": 3})), workflow(node("Call", options="={{ $json.evil }}")))
    assert not is_hidden(became, rule(parameter_path="parameters.options.timeout"))
    assert is_hidden(became, rule(parameter_path="parameters.options"))


def test_a_path_never_hides_that_a_node_or_a_connection_came() -> None:
    git, live = workflow(node("A")), workflow(node("A"), node("B"))
    live["connections"] = {"A": {"main": [[{"node": "B", "type": "main", "index": 0}]]}}
    found = hide(row(git, live), rule(parameter_path="**.x"), rule(2, parameter_path="parameters"))
    assert found.hidden_changes == 0


def test_drift_without_a_diff_is_hidden_by_its_workflow_alone() -> None:
    unknown = DriftedWorkflow(drifted("Orders", MODIFIED))
    assert not is_hidden(unknown, rule(parameter_path="parameters"), rule(2, node_type="*n8n*"))
    assert is_hidden(unknown, rule(workflow="Orders"))


def test_when_the_content_is_hidden_the_other_kinds_stay() -> None:
    both = row(workflow(node("Call", url="a")), workflow(node("Call", url="b")), kinds=(MODIFIED, ACTIVATION, UNPUBLISHED))
    (rest,) = hide(both, rule(parameter_path="parameters.url")).remaining
    assert (rest.drift.kind, rest.drift.kinds, rest.diff) == (ACTIVATION, (ACTIVATION, UNPUBLISHED), None)


# -- by node type ----------------------------------------------------------------------------------------------------------

def test_a_node_type_hides_what_happens_to_such_nodes() -> None:
    git = workflow(node("Call", url="a"), node("Say", SLACK, text="x"), node("Gone", SLACK))
    live = workflow(node("Call", url="b"), node("Say", SLACK, text="y"), node("New", SLACK, text="z"))
    (rest,) = hide(row(git, live), rule(node_type=SLACK)).remaining
    assert rest.diff is not None
    assert [(change.kind, change.node) for change in rest.diff.changes] == [(ChangeKind.NODE_CHANGED, "Call")]
    assert is_hidden(row(git, live), rule(node_type="n8n-nodes-base.*"))


def test_connections_belong_to_the_workflow() -> None:
    git, live = workflow(node("A", SLACK)), workflow(node("A", SLACK), node("B", SLACK))
    live["connections"] = {"A": {"main": [[{"node": "B", "type": "main", "index": 0}]]}}
    (rest,) = hide(row(git, live), rule(node_type=SLACK)).remaining
    assert rest.diff is not None
    assert [change.kind for change in rest.diff.changes] == [ChangeKind.CONNECTION_ADDED]


def test_a_node_whose_type_changed_matches_by_both_or_not_at_all() -> None:
    swapped = row(workflow(node("A", SLACK, text="x")), workflow(node("A", HTTP, text="y")))
    assert hide(swapped, rule(node_type=SLACK)).hidden_changes == 0
    assert hide(swapped, rule(node_type=HTTP)).hidden_changes == 0
    assert is_hidden(swapped, rule(node_type="n8n-nodes-base.*"))


def test_a_renamed_node_keeps_its_type() -> None:
    old, new = node("A", SLACK), node("B", SLACK)
    old["id"] = new["id"] = "same"
    assert is_hidden(row(workflow(old), workflow(new)), rule(node_type=SLACK))


def test_a_node_that_got_another_name_and_type_matches_by_both_types_or_not_at_all() -> None:
    old, new = node("A", HTTP, url="a"), node("B", SLACK, text="b")
    old["id"] = new["id"] = "same"
    both = row(workflow(old), workflow(new))
    assert both.diff is not None
    assert ChangeKind.NODE_RENAMED in {change.kind for change in both.diff.changes}
    assert hide(both, rule(1, node_type=SLACK), rule(2, node_type=HTTP)).hidden_changes == 0
    assert is_hidden(both, rule(node_type="n8n-nodes-base.*"))


def test_without_knowing_the_types_nothing_is_hidden_by_them() -> None:
    assert not is_hidden(DriftedWorkflow(URL.drift, URL.diff), rule(node_type="n8n*"))


def test_a_diff_read_back_from_the_store_is_hidden_alike() -> None:
    secret = "ghp_" + "a1B2" * 9
    git = workflow(node(f"Call {secret}", url="a", options={}), node("Say", SLACK))
    live = workflow(node(f"Call {secret}", url="b", options={"timeout": 3}), node("Say2", SLACK))
    fresh = row(git, live)
    assert fresh.diff is not None
    stored = DriftedWorkflow(fresh.drift, from_json(as_json(fresh.diff)), fresh.node_types)
    for chosen in (rule(node_type=HTTP), rule(node_type=SLACK), rule(parameter_path="parameters.url"),
                   rule(parameter_path="parameters.options.timeout")):
        assert hide(stored, chosen).hidden_changes == hide(fresh, chosen).hidden_changes > 0


# -- scope and time --------------------------------------------------------------------------------------------------------

def test_a_rule_holds_for_its_environment_or_for_all() -> None:
    assert is_hidden(URL, rule(workflow="w1"))
    assert is_hidden(URL, rule(workflow="w1", environment_id=HERE))
    assert not is_hidden(URL, rule(workflow="w1", environment_id=ELSEWHERE))


def test_an_expired_rule_hides_nothing_and_is_counted_with_nothing() -> None:
    found = hide(URL, rule(workflow="w1", expires_at=NOW))
    assert len(found.remaining) == 1
    assert found.hides == {UUID(int=1): 0}
    assert is_hidden(URL, rule(workflow="w1", expires_at=NOW + timedelta(microseconds=1)))


def test_each_rule_counts_what_it_covers() -> None:
    found = hide(URL_AND_BODY, rule(1, parameter_path="parameters.url"), rule(2, parameter_path="parameters"),
                 rule(3, workflow="Billing"))
    assert found.hides == {UUID(int=1): 1, UUID(int=2): 2, UUID(int=3): 0}
    assert found.hidden_changes == 2


def test_unpublished_changes_are_no_drift_and_stay_as_they_are() -> None:
    draft = DriftedWorkflow(drifted("Orders", UNPUBLISHED), URL.diff)
    found = hide(draft, rule(workflow="w1"))
    assert [(rest.drift, rest.diff, rest.hidden_changes) for rest in found.remaining] == [(draft.drift, draft.diff, 0)]
    assert found.hides == {UUID(int=1): 0}


def test_rules_that_end_soon_come_first_to_end_first() -> None:
    rules = [rule(i, workflow="w1", expires_at=NOW + timedelta(days=i)) for i in (9, 3, 1, 0)]
    assert [r.id.int for r in expiring(rules, now=NOW, within=timedelta(days=7))] == [1, 3]


# -- what a rule has to say --------------------------------------------------------------------------------------------------

GIVEN = {"id": UUID(int=1), "workflow": "Orders", "owner": "ann", "reason": "known", "expires_at": SOON}


def test_a_rule_can_be_given_as_text_and_made_of_a_row() -> None:
    class Row:
        id, environment_id, workflow, node_type, parameter_path = UUID(int=1), None, "Orders", None, None
        owner, reason, expires_at, created_by = "ann", "known", SOON, "bob"

    assert new_rule({**GIVEN, "id": str(UUID(int=1)), "expires_at": SOON.isoformat()}, now=NOW) == new_rule(GIVEN, now=NOW)
    assert IgnoreRule.model_validate(Row()) == new_rule(GIVEN, now=NOW)


@pytest.mark.parametrize(("changed", "said"), [
    ({"workflow": None}, "ignore rule: must name a workflow, a node_type or a parameter_path"),
    ({"workflow": "*"}, "ignore rule: would hide everything"),
    ({"workflow": " "}, "ignore rule: workflow: must be 1 to 500 characters"),
    ({"workflow": "*", "parameter_path": "**"}, "ignore rule: would hide everything"),
    ({"parameter_path": "a..b"}, "ignore rule: parameter_path: is no path from character 2 on"),
    ({"owner": ""}, "ignore rule: owner: must be 1 to 200 characters"),
    ({"reason": " "}, "ignore rule: reason: must say why"),
    ({"expires_at": NOW}, "ignore rule: expires_at: must be in the future"),
    ({"expires_at": datetime(2027, 1, 1)}, "ignore rule: expires_at: should have timezone info"),
    ({"nodetype": "x"}, "ignore rule: nodetype: is no field here (did you mean node_type?)"),
])
def test_what_does_not_fit_is_refused_by_its_name(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        new_rule({**GIVEN, **changed}, now=NOW)
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize("field", ["owner", "reason", "expires_at"])
def test_a_rule_has_an_owner_a_reason_and_an_end(field: str) -> None:
    with pytest.raises(InvalidFields, match=f"{field}: is required"):
        new_rule({key: value for key, value in GIVEN.items() if key != field}, now=NOW)
