"""Laws of plans (§11.3): what the checksum says, what it leaves out, and what no plan ever does."""

from __future__ import annotations

import copy
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wfops_pipelines.domain.fleet_fields import Activation
from wfops_pipelines.domain.normalize import content_hash
from wfops_pipelines.domain.promotion_plan import BothSides, Plan, PlanAction, PortableWorkflow, content_digest
from wfops_pipelines_tests.domain.plan_example import change_of, changed, content, extra, held, new, planned, same
from wfops_pipelines_tests.domain.plan_strategies import environments, options
from wfops_pipelines_tests.domain.workflow_strategies import contents, law, shuffled_keys, with_numbers


@law
@given(environments(), options, st.randoms(use_true_random=False))
def test_the_order_of_the_input_and_of_keys_and_the_ids_of_n8n_make_no_difference(
        sides: list[BothSides], given_options: dict[str, Any], random: Random) -> None:
    def elsewhere(workflow: PortableWorkflow | None) -> PortableWorkflow | None:
        if workflow is None:
            return None
        return replace(workflow, workflow_id=f"{random.random()}",
                       content=with_numbers(shuffled_keys(workflow.content, random), float))

    plan = planned(*sides, **given_options)
    other = [replace(each, source=elsewhere(each.source), target=elsewhere(each.target)) for each in sides]
    random.shuffle(other)
    again = planned(*other, **given_options)
    assert again.checksum == plan.checksum
    assert [change.key for change in again.changes] == [change.key for change in plan.changes]


@law
@given(contents(), contents())
def test_different_workflows_have_different_digests(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert content_digest(copy.deepcopy(one)) == content_digest(one)
    assert content_digest(one) != content_digest(other) or content_hash(one) == content_hash(other)


def moved(sides: BothSides) -> BothSides:
    assert sides.source is not None
    inner = copy.deepcopy(sides.source.content)
    inner["nodes"][0]["position"] = [500, 500]
    return replace(sides, source=replace(sides.source, content=inner))


CHANGES = {
    "another value": lambda a, b: (changed("a", value=3), b),
    "another place on the canvas": lambda a, b: (moved(a), b),
    "another name": lambda a, b: (replace(a, source=held({**a.source.content, "name": "Other"})), b),
    "another setting": lambda a, b: (replace(a, source=held({**a.source.content, "settings": {"timezone": "UTC"}})), b),
    "switched on or off": lambda a, b: (replace(a, wants_active=False), b),
    "tags": lambda a, b: (replace(a, wants_tags=("x",)), b),
    "what the target holds": lambda a, b: (replace(a, target=held(content("A", value=7))), b),
    "whether the target's runs": lambda a, b: (replace(a, target=replace(a.target, active=False), wants_active=True), b),
    "whether the target's is archived": lambda a, b: (replace(a, target=replace(a.target, archived=True)), b),
    "one workflow less": lambda a, b: (a,),
    "one more": lambda a, b: (a, b, new("c")),
    "a removal": lambda a, b: (a, replace(b, source=None, target=held(content("B")))),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_checksum_changes_with_everything_that_is_written_or_replaced(what: str) -> None:
    a, b = changed("a"), new("b")
    assert planned(*CHANGES[what](a, b), prune=True).checksum != planned(a, b, prune=True).checksum  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("option", [{"source": "acme/other"}, {"target": "acme/prod"}, {"generation": 1},
                                    {"bindings": {"stripe": "stripe-live"}}])
def test_the_checksum_is_of_these_environments_and_bindings(option: dict[str, Any]) -> None:
    assert planned(changed("a"), **option).checksum != planned(changed("a")).checksum


def test_what_is_not_written_and_what_is_for_people_does_not_count() -> None:
    plan = planned(changed("a"))
    sides = changed("a")
    assert sides.source is not None
    with_draft = replace(sides, source=replace(sides.source, has_draft=True))
    for other in (planned(changed("a"), same("b"), extra("c")), planned(with_draft),
                  planned(changed("a"), transformations=[{"what": "lowered"}])):
        assert other.checksum == plan.checksum


@law
@given(contents(), contents())
def test_the_same_content_on_both_sides_is_never_written(one: dict[str, Any], other: dict[str, Any]) -> None:
    plan = planned(BothSides("a", held(one), held(copy.deepcopy(one))), BothSides("b", held(other), held(copy.deepcopy(other))))
    assert plan.is_empty
    assert plan.checksum == planned().checksum


def after(plan: Plan, sides: list[BothSides]) -> list[BothSides]:
    """Both sides after the plan was carried out to the letter."""
    changes = {change.key: change for change in plan.writes}

    def target(each: BothSides) -> PortableWorkflow | None:
        change = changes.get(each.key)
        if change is None:
            return each.target
        if change.after is None:
            return None
        inner = change.content if change.content is not None else each.target.content if each.target is not None else {}
        return held(inner, active=change.after.active, archived=change.after.archived)

    return [replace(each, target=target(each)) for each in sides]


@law
@given(environments(), options)
@example([replace(new("a", calls=("b",)), source=held(content("A", calls=("b",)), active=True)), new("b")],
         {"generation": 2, "activation": Activation.SOURCE})
def test_a_plan_that_was_carried_out_leaves_nothing_to_do(sides: list[BothSides], given_options: dict[str, Any]) -> None:
    plan = planned(*sides, **given_options)
    assert planned(*after(plan, sides), **given_options).is_empty


@law
@given(environments(), options)
def test_every_plan_says_what_it_does_consistently(sides: list[BothSides], given_options: dict[str, Any]) -> None:
    plan = planned(*sides, **given_options)
    kinds = [change.action for change in plan.changes]
    assert kinds == [*(k for k in kinds if k.writes and not k.removes), *(k for k in kinds if k.removes),
                     *(k for k in kinds if not k.writes)]
    assert given_options["prune"] or not any(kind.removes for kind in kinds)
    place = {change.key: number for number, change in enumerate(plan.writes)}
    together = {(a, b) for cycle in plan.cycles for a in cycle for b in cycle}
    missing = {(each.key, each.reference) for each in plan.missing}
    for change in plan.writes:
        if change.action.removes:
            continue
        for needed in change.names.needs:
            other = next((each for each in plan.changes if each.key == needed), None)
            if other is not None and other.action is PlanAction.CREATE and needed != change.key:
                assert place[needed] < place[change.key] or (change.key, needed) in together
                assert (needed in change.late) is (place[needed] > place[change.key])
            held_by_target = other is not None and other.after is not None and not other.after.archived
            assert ((change.key, needed) in missing) is not held_by_target


def test_what_would_be_written_is_in_the_change() -> None:
    plan = planned(changed("a"))
    assert change_of(plan, "a").content == content("A", value=2)
