"""Laws of ignore rules (§9), whatever drifts and whatever is hidden."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.diff import diff
from wfops_pipelines.domain.drift import WorkflowDrift, has_drift
from wfops_pipelines.domain.ignore_rules import DriftedWorkflow, Ignored, IgnoreRule, apply, node_types
from wfops_pipelines_tests.domain.test_ignore_rules import (
    ACTIVATION,
    ADDED,
    ELSEWHERE,
    HERE,
    MISSING,
    MODIFIED,
    NOW,
    SOON,
    UNPUBLISHED,
    rule,
)
from wfops_pipelines_tests.domain.workflow_strategies import NODE_TYPES, brief_law, contents


@st.composite
def rows(draw: Any) -> list[DriftedWorkflow]:
    found = []
    for i in range(draw(st.integers(0, 2))):
        git = draw(contents(min_nodes=1))
        live = draw(contents()) if draw(st.booleans()) else copy.deepcopy(git)
        live["nodes"] = live["nodes"] + copy.deepcopy(draw(st.lists(st.sampled_from(git["nodes"]), max_size=2)))
        live["name"] = draw(st.sampled_from([git["name"], git["name"], live["name"]]))
        kinds = draw(st.sampled_from([(MODIFIED,), (MODIFIED, ACTIVATION), (ACTIVATION,), (ADDED,), (MISSING,), (UNPUBLISHED,),
                                      (MODIFIED, UNPUBLISHED), (ADDED, UNPUBLISHED)]))
        drift = WorkflowDrift(live["name"], None, f"w{i}", "file.json", kinds[0], kinds, "new", "old", True, True)
        has_diff = MODIFIED in kinds and draw(st.booleans())
        found.append(DriftedWorkflow(drift, diff(git, live) if has_diff else None, node_types(git, live)))
    return found


paths = st.sampled_from(["parameters", "**.a", "parameters.*", "credentials", "typeVersion", "settings", "name", "active",
                         "disabled", "parameters.**[*]"])
rules_of_some_kind = st.fixed_dictionaries({
    "id": st.uuids(), "environment_id": st.sampled_from([None, HERE, ELSEWHERE]), "expires_at": st.sampled_from([NOW, SOON]),
    "owner": st.just("ann"), "reason": st.just("known"),
    "workflow": st.sampled_from([None, "w0", "w1", "w*"]),
    "node_type": st.sampled_from([None, "n8n-nodes-base.*", *NODE_TYPES]), "parameter_path": st.none() | paths,
}).filter(lambda says: says["workflow"] or says["node_type"] or says["parameter_path"]).map(IgnoreRule.model_validate)
rule_lists = st.lists(rules_of_some_kind, max_size=5, unique_by=lambda rule: rule.id)


def run(rules: list[IgnoreRule], drifts: list[DriftedWorkflow]) -> Ignored:
    return apply(rules, drifts, environment_id=HERE, now=NOW)


def units(drifts: Any) -> int:
    return sum(len(one.diff.changes) - 1 if one.diff is not None and one.diff.changes and MODIFIED in one.drift.kinds else 0
               for one in drifts) + sum(kind is not UNPUBLISHED for one in drifts for kind in one.drift.kinds)


@brief_law
@given(rows())
def test_without_rules_everything_stays(drifts: list[DriftedWorkflow]) -> None:
    found = run([], drifts)
    assert [(rest.drift, rest.diff, rest.hidden_changes) for rest in found.remaining] == [(d.drift, d.diff, 0) for d in drifts]
    assert (found.hidden, found.hidden_changes, found.hides) == ((), 0, {})


@brief_law
@given(rule_lists, rows())
def test_what_is_hidden_and_what_is_left_are_everything_and_nothing_twice(rules: list[IgnoreRule],
                                                                         drifts: list[DriftedWorkflow]) -> None:
    found = run(rules, drifts)
    everything = [row.drift for row in found.hidden] + [rest.drift for rest in found.remaining]
    assert sorted(str(drift.workflow_id) for drift in everything) == [row.drift.workflow_id for row in drifts]
    assert units(found.remaining) + found.hidden_changes == units(drifts)
    assert sum(rest.hidden_changes for rest in found.remaining) + units(found.hidden) == found.hidden_changes
    assert all(has_drift([hidden.drift]) for hidden in found.hidden)


@brief_law
@given(rule_lists, rows(), st.randoms(use_true_random=False))
def test_the_order_of_the_rules_makes_no_difference(rules: list[IgnoreRule], drifts: list[DriftedWorkflow],
                                                    random: Random) -> None:
    shuffled = list(rules)
    random.shuffle(shuffled)
    assert run(shuffled, drifts) == run(rules, drifts)


@brief_law
@given(rule_lists, rules_of_some_kind, rows())
def test_one_rule_more_never_shows_more(rules: list[IgnoreRule], another: IgnoreRule, drifts: list[DriftedWorkflow]) -> None:
    fewer, more = run(rules, drifts), run([*rules, another], drifts)
    assert more.hidden_changes >= fewer.hidden_changes
    assert {id(row) for row in fewer.hidden} <= {id(row) for row in more.hidden}


@brief_law
@given(rule_lists, rows())
def test_rules_that_are_over_or_for_elsewhere_might_as_well_not_be(rules: list[IgnoreRule],
                                                                   drifts: list[DriftedWorkflow]) -> None:
    there = [rule for rule in rules if rule.holds(HERE, NOW)]
    found, without = run(rules, drifts), run(there, drifts)
    assert (found.remaining, found.hidden) == (without.remaining, without.hidden)
    assert all(found.hides[rule.id] == (without.hides[rule.id] if rule in there else 0) for rule in rules)


@brief_law
@given(rule_lists, rows())
def test_each_rule_counts_what_it_would_hide_alone(rules: list[IgnoreRule], drifts: list[DriftedWorkflow]) -> None:
    found = run(rules, drifts)
    assert found.hides == {rule.id: run([rule], drifts).hidden_changes for rule in rules}
    assert max(found.hides.values(), default=0) <= found.hidden_changes <= sum(found.hides.values())


@brief_law
@given(rules_of_some_kind, rows(), st.sampled_from(["workflow", "node_type", "parameter_path"]))
def test_a_rule_with_one_condition_less_hides_no_less(narrow: IgnoreRule, drifts: list[DriftedWorkflow], dropped: str) -> None:
    wide = {**narrow.model_dump(), dropped: None}
    if wide["workflow"] or wide["node_type"] or wide["parameter_path"]:
        assert run([IgnoreRule.model_validate(wide)], drifts).hidden_changes >= run([narrow], drifts).hidden_changes


# A pattern of names sees both names of a renamed workflow, and one of them once another rule has hidden the renaming.
@brief_law
@given(st.lists(rules_of_some_kind.filter(lambda rule: rule.workflow != "w*"), max_size=5, unique_by=lambda rule: rule.id), rows())
def test_what_is_left_is_hidden_no_further(rules: list[IgnoreRule], drifts: list[DriftedWorkflow]) -> None:
    types = {d.drift.workflow_id: d.node_types for d in drifts}
    left = [DriftedWorkflow(rest.drift, rest.diff, types[rest.drift.workflow_id]) for rest in run(rules, drifts).remaining]
    assert run(rules, left).hidden_changes == 0


@brief_law
@given(rows())
def test_a_rule_for_a_workflow_hides_all_of_its_drift_and_none_of_another(drifts: list[DriftedWorkflow]) -> None:
    found = run([rule(workflow="w1")], drifts)
    assert not any(has_drift([rest.drift]) for rest in found.remaining if rest.drift.workflow_id == "w1")
    assert all(rest.hidden_changes == 0 for rest in found.remaining if rest.drift.workflow_id != "w1")
