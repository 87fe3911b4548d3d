"""Limits of plans (§11.3): large, irreversible and impossible ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.domain.promotion_limits import PlanProblem, is_large, plan_problems, problems_left
from wfops_pipelines.domain.promotion_plan import BothSides, Plan
from wfops_pipelines_tests.domain.plan_example import change_of, changed, content, extra, held, new, planned, same


def of(updates: int, unchanged: int, *, created: int = 0, removed: int = 0, generation: int = 2) -> Plan:
    sides = [*(changed(f"u{i}") for i in range(updates)), *(same(f"s{i}") for i in range(unchanged)),
             *(new(f"n{i}") for i in range(created)), *(extra(f"x{i}") for i in range(removed))]
    return planned(*sides, prune=True, generation=generation)


@pytest.mark.parametrize(("plan", "large"), [
    (of(3, 7), False),  # 30 % sharp
    (of(4, 6), True),
    (of(2, 6, removed=2), True),
    (of(9, 0), False),  # fewer than ten workflows
    (of(0, 10, created=50), False),  # new ones harm nobody
    (of(0, 10, removed=4), False),  # of fourteen
    (of(0, 10, removed=5), True),
])
def test_updates_and_removals_of_more_than_30_percent_of_ten_or_more_are_large(plan: Plan, large: bool) -> None:
    assert is_large(plan) is large


def left(plan: Plan, **allowed: Any) -> tuple[PlanProblem, ...]:
    """What still speaks against a plan."""
    return problems_left(plan_problems(plan), **allowed)


def test_a_large_plan_needs_a_reason_of_its_own() -> None:
    plan = of(5, 5)
    (problem,) = left(plan, allow_irreversible=True)
    assert problem.kind == "large" and "5 of the 10 workflows" in problem.message and "--allow-large" in problem.fix
    with pytest.raises(UsageError, match="reason"):
        left(plan, allow_large="  ")
    assert left(plan, allow_large="a rename everywhere") == ()


def test_a_plan_without_problems_passes() -> None:
    assert plan_problems(of(1, 3, created=2)) == ()
    assert plan_problems(planned()) == ()


def test_deleting_on_n8n_1_cannot_be_undone_and_archiving_on_2_can() -> None:
    assert plan_problems(of(0, 1, removed=1)) == ()
    plan = of(0, 1, removed=1, generation=1)
    (problem,) = left(plan, allow_large="because")
    assert "could not be undone" in problem.message and problem.override == "--allow-irreversible"
    assert left(plan, allow_irreversible=True) == ()


def settings(before: dict[str, Any], after: dict[str, Any], generation: int) -> Plan:
    return planned(BothSides("a", held(content("A", **after)), held(content("A", **before))), generation=generation)


@pytest.mark.parametrize(("added", "generation", "stays"), [
    ({"saveManualExecutions": True}, 2, True),
    ({"timezone": "Europe/Paris", "executionTimeout": 60, "callerPolicy": "any"}, 2, False),
    ({"errorWorkflow": "handler"}, 2, False),
    ({"errorWorkflow": "handler"}, 1, True),
])
def test_a_setting_that_could_not_be_cleared_again_is_irreversible(
        added: dict[str, Any], generation: int, stays: bool) -> None:
    change = change_of(settings({}, added, generation), "a")
    assert bool(change.irreversible) is stays
    assert change.kept_settings == ()


@pytest.mark.parametrize(("there", "generation", "kept"), [
    ({"saveManualExecutions": True}, 2, ("saveManualExecutions",)),
    ({"errorWorkflow": "handler"}, 1, ("errorWorkflow",)),
    ({"errorWorkflow": "handler"}, 2, ()),
    ({"timezone": "Europe/Paris"}, 1, ()),
])
def test_a_setting_of_the_target_that_cannot_be_cleared_is_never_counted_as_success(
        there: dict[str, Any], generation: int, kept: tuple[str, ...]) -> None:
    plan = settings(there, {}, generation)
    assert change_of(plan, "a").kept_settings == kept
    assert [problem.override for problem in plan_problems(plan)] == [None] * len(kept)
    if kept:
        (problem,) = left(plan, allow_large="because", allow_irreversible=True)
        assert kept[0] in problem.message


def test_a_setting_that_only_changes_its_value_is_neither() -> None:
    change = change_of(settings({"saveManualExecutions": True}, {"saveManualExecutions": False}, 2), "a")
    assert (change.kept_settings, change.irreversible) == ((), ())


def test_a_missing_sub_workflow_stops_the_plan_whatever_is_allowed() -> None:
    plan = planned(new("a", calls=("b",)), new("b"), chosen=["a"], with_needs=False)
    (problem,) = left(plan, allow_large="because", allow_irreversible=True)
    assert "'A' needs the workflow 'B'" in problem.message and "promote it too" in problem.fix
    assert plan_problems(planned(new("a", callerIds="gone"))) == ()  # it runs without


def test_the_archive_of_n8n_1_gives_nothing_back() -> None:
    archived = replace(changed("a"), target=held(content("A"), archived=True, active=False))
    assert plan_problems(planned(archived)) == ()
    (problem,) = left(planned(archived, generation=1), allow_irreversible=True)
    assert "archive" in problem.message


def test_all_that_speaks_against_a_plan_is_said_at_once() -> None:
    plan = planned(*(changed(f"u{i}") for i in range(10)), new("a", calls=("nobody",)), extra("x"), prune=True, generation=1)
    assert [problem.as_json()["kind"] for problem in left(plan)] == ["large", "irreversible", "missing_workflow"]


def test_a_caller_of_what_is_not_published_stops_the_plan() -> None:
    stopped = BothSides("b", held(content("B")), held(content("B"), active=False))
    (problem,) = left(planned(new("a", calls=("b",)), stopped))
    assert "'A' calls B" in problem.message
