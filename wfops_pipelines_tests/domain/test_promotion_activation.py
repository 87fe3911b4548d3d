"""Whose activation holds (§11.3): kept, or the source's; what is published along, and what a switch takes apart."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from wfops_pipelines.domain.fleet_fields import Activation
from wfops_pipelines.domain.promotion_limits import is_large, plan_problems
from wfops_pipelines.domain.promotion_picture import plan_svg
from wfops_pipelines.domain.promotion_plan import BothSides, Plan
from wfops_pipelines.domain.promotion_plan_text import plan_document, plan_markdown, render_plan
from wfops_pipelines.domain.reach import EnvironmentWorkflow
from wfops_pipelines_tests.domain.plan_example import (
    SUB,
    actions,
    change_of,
    changed,
    content,
    held,
    new,
    planned,
    same,
)
from wfops_pipelines_tests.domain.plan_strategies import environments, options
from wfops_pipelines_tests.domain.workflow_strategies import law

SOURCE = Activation.SOURCE


def switched(sides: BothSides, *, source: bool, target: bool) -> BothSides:
    """The same workflow, on or off on each side."""
    assert sides.source is not None
    return replace(sides, source=replace(sides.source, active=source),
                   target=None if sides.target is None else replace(sides.target, active=target))


def on_in_source(sides: BothSides) -> BothSides:
    return switched(sides, source=True, target=False)


def off_in_source(sides: BothSides) -> BothSides:
    return switched(sides, source=False, target=True)


def runs(plan: Plan) -> dict[str, bool]:
    return {change.key: change.after is not None and change.after.active for change in plan.changes}


def kinds(plan: Plan) -> list[str]:
    return [str(problem.kind) for problem in plan_problems(plan)]


# -- kept, and said ----------------------------------------------------------------------------------------------------


def test_the_targets_activation_is_kept_and_every_difference_is_said() -> None:
    plan = planned(on_in_source(same("a")), off_in_source(changed("b")), same("c"))
    assert actions(plan) == {"b": "update", "a": "unchanged", "c": "unchanged"}
    assert runs(plan) == {"a": False, "b": True, "c": True}
    assert {change.key: change.source_active for change in plan.changes} == {"a": True, "b": False, "c": None}
    shown = json.loads(json.dumps(plan_document(plan)))
    assert {change["key"]: change["source_active"] for change in shown["changes"]} == {"a": True, "b": False, "c": None}
    for text in (render_plan(plan, colour=False), plan_markdown(shown)):
        assert "stays on, though the source's is off" in text
        assert "A: on in the source, off in the target" in text
        assert "activation source" in text
    assert "≠ off in the source" in plan_svg(shown) and "≠ on or off otherwise than in the source: 2" in plan_svg(shown)


def test_a_plan_of_before_that_says_nothing_of_activation_is_still_shown() -> None:
    document = plan_document(planned(changed("a")))
    for change in document["changes"]:
        for name in ("source_active", "cut_off", "revives"):
            change.pop(name, None)
    for name in ("activation", "literals"):
        document.pop(name)
    assert "update A" in plan_markdown(document) or "| update | A |" in plan_markdown(document)
    assert "<svg" in plan_svg(document)


def test_many_differences_are_counted_and_not_all_listed() -> None:
    plan = planned(*(on_in_source(same(f"w{number:02}")) for number in range(30)))
    text = render_plan(plan, colour=False)
    assert text.count("on in the source, off in the target") == 20
    assert "and 10 more" in text


# -- taken from the source ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sides", [same("a"), changed("a")], ids=["equal", "changed"])
@pytest.mark.parametrize("on", [True, False])
def test_with_the_sources_activation_a_workflow_runs_as_it_does_there(sides: BothSides, *, on: bool) -> None:
    plan = planned(switched(sides, source=on, target=not on), activation=SOURCE)
    change = change_of(plan, "a")
    assert (change.action, change.switches, runs(plan)) == ("update", True, {"a": on})
    assert change.source_active is None
    assert f"is switched {'on' if on else 'off'}" in render_plan(plan, colour=False)
    assert plan.checksum != planned(switched(sides, source=on, target=not on)).checksum
    assert planned(switched(sides, source=on, target=on), activation=SOURCE).checksum == planned(
        switched(sides, source=on, target=on)).checksum


def test_switches_count_as_changes_in_the_limits() -> None:
    sides = [*(off_in_source(same(f"s{i}")) for i in range(4)), *(same(f"k{i}") for i in range(6))]
    assert is_large(planned(*sides, activation=SOURCE))
    assert not is_large(planned(*sides))


def test_new_ones_and_those_that_are_not_chosen_are_as_ever() -> None:
    fresh = new("n")
    assert fresh.source is not None
    off = replace(fresh, source=replace(fresh.source, active=False))
    assert runs(planned(off, activation=SOURCE)) == {"n": False}
    assert actions(planned(on_in_source(same("a")), on_in_source(same("b")), chosen=["a"], activation=SOURCE)) == {
        "a": "update"}
    wanted = replace(on_in_source(same("a")), wants_active=False)
    assert planned(wanted, activation=SOURCE).is_empty


# -- callers and what they call ----------------------------------------------------------------------------------------


def test_a_caller_and_what_it_calls_are_switched_on_in_the_order_that_n8n_2_takes() -> None:
    plan = planned(on_in_source(same("a", calls=("b",))), on_in_source(same("b", start=SUB)), activation=SOURCE)
    assert list(actions(plan)) == ["b", "a"]
    assert plan_problems(plan) == ()
    both = planned(on_in_source(same("a", calls=("b",))), on_in_source(same("b", calls=("a",))), activation=SOURCE)
    assert {change.key: change.late for change in both.changes} == {"b": ("a",), "a": ()}


def test_they_are_switched_off_callers_first() -> None:
    tells = same("t", start=SUB)  # the source runs one that only workflows start: it is no n8n 1.x
    sides = (off_in_source(same("a", calls=("b",))), off_in_source(same("b", start=SUB, calls=("c",))),
             off_in_source(same("c", start=SUB)), tells)
    plan = planned(*sides, activation=SOURCE)
    assert [key for key, action in actions(plan).items() if action == "update"] == ["a", "b", "c"]
    assert plan_problems(plan) == ()


def test_what_is_not_called_any_more_is_switched_off_after_who_called_it() -> None:
    caller = BothSides("z", held(content("Z")), held(content("Z", calls=("b",))))
    plan = planned(caller, off_in_source(same("b")), activation=SOURCE)
    assert list(actions(plan)) == ["z", "b"]


def test_what_would_be_switched_off_under_a_caller_that_stays_is_a_problem_with_a_way_out() -> None:
    caller, called = same("a", calls=("b",)), off_in_source(same("b"))
    plan = planned(caller, called, activation=SOURCE)
    (problem,) = plan_problems(plan)
    assert problem.kind == "cut_off" and "'B' would be switched off" in problem.message and "A" in problem.message
    assert "--activation keep" in problem.fix and problem.override is None
    assert "off, and running ones call it" in plan_svg(plan_document(plan))
    by_hand = EnvironmentWorkflow("x", "By hand", True, content("By hand", calls=("b",)))
    assert kinds(planned(called, unmanaged=[by_hand], activation=SOURCE)) == ["cut_off"]
    assert kinds(planned(called, unmanaged=[replace(by_hand, active=False)], activation=SOURCE)) == []
    assert kinds(planned(caller, called, generation=1, activation=SOURCE)) == []
    assert kinds(planned(caller, called)) == []


def test_a_published_caller_of_what_is_not_published_is_a_problem_whichever_is_kept() -> None:
    caller, called = changed("a", calls=("b",)), on_in_source(same("b"))
    kept = planned(caller, called)
    (problem,) = plan_problems(kept)
    assert problem.kind == "unpublished_call" and "--activation source" in problem.fix
    assert kinds(planned(caller, called, activation=SOURCE)) == []
    nowhere = switched(same("b"), source=False, target=False)
    (problem,) = plan_problems(planned(caller, nowhere, activation=SOURCE))
    assert "publish it in the source" in problem.fix
    alone = planned(caller, called, chosen=["a"], with_needs=False, activation=SOURCE)
    assert kinds(alone) == ["unpublished_call"]


def test_what_is_new_and_off_in_the_source_is_started_for_its_callers_where_the_target_decides_alone() -> None:
    caller, called = on_in_source(new("a", calls=("b",))), off_in_source(new("b"))
    kept = planned(caller, called)
    assert runs(kept) == {"a": True, "b": True} and "its own triggers start it" in change_of(kept, "b").notes[0]
    assert plan_problems(kept) == ()
    as_there = planned(caller, called, activation=SOURCE)
    assert runs(as_there)["b"] is False  # the next promotion would switch it off under its caller
    (problem,) = plan_problems(as_there)
    assert problem.kind == "unpublished_call" and "--activation keep" in problem.fix
    only_called = off_in_source(new("b", start=SUB))
    assert runs(planned(caller, only_called, activation=SOURCE)) == {"a": True, "b": True}


def test_what_only_workflows_start_is_published_for_its_callers_though_nothing_else_of_it_changes() -> None:
    called = switched(same("b", start=SUB), source=False, target=False)
    plan = planned(on_in_source(same("a", calls=("b",))), called, activation=SOURCE)
    assert (list(actions(plan)), runs(plan)) == (["b", "a"], {"b": True, "a": True})
    assert "though the" in change_of(plan, "b").notes[0] and plan_problems(plan) == ()


def test_a_source_that_cannot_run_sub_workflows_says_nothing_about_them() -> None:
    called = off_in_source(same("b", start=SUB))  # as n8n 1.x has all of them
    assert planned(called, activation=SOURCE).is_empty
    assert change_of(planned(called), "b").source_active is None
    tells = same("t", start=SUB)
    assert runs(planned(called, tells, activation=SOURCE))["b"] is False
    assert change_of(planned(called, tells), "b").source_active is False
    left = planned(called, tells, same("a", calls=("b",)), activation=SOURCE)
    assert left.is_empty and change_of(left, "b").source_active is False  # a running one calls it: it stays


def test_on_n8n_1_what_only_workflows_start_is_never_switched_on() -> None:
    plan = planned(on_in_source(same("b", start=SUB)), generation=1, activation=SOURCE)
    assert plan.is_empty and change_of(plan, "b").source_active is None


# -- what comes back from the archive ----------------------------------------------------------------------------------


def test_what_somebody_archived_in_the_target_comes_back_with_a_word() -> None:
    archived = held(content("A"), archived=True, active=False)
    by_hand = BothSides("a", held(content("A")), archived, archived_by_hand=True)
    change = change_of(planned(by_hand), "a")
    assert change.revives and "though somebody archived it there" in change.notes[0]
    assert "archived there by somebody" in plan_svg(plan_document(planned(by_hand)))
    ours = change_of(planned(replace(by_hand, archived_by_hand=False)), "a")
    assert not ours.revives and ours.notes == ("it comes back from the target's archive",)


# -- laws --------------------------------------------------------------------------------------------------------------


@law
@given(environments(), options)
def test_whatever_runs_and_calls_what_does_not_is_named(sides: list[BothSides], given_options: dict[str, Any]) -> None:
    plan = planned(*sides, **given_options)
    states = {change.key: change for change in plan.changes}
    for change in plan.writes:
        if given_options["generation"] < 2 or change.after is None or not change.after.active:
            continue
        for called in change.names.calls - {change.key}:
            other = states.get(called)
            if other is not None and other.after is not None and not other.after.archived and not other.after.active:
                assert change.unpublished, (change.key, called)
