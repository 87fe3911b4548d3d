"""Snapshots (§13): what they hold, how two differ, and what is restored from one."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.errors import UnknownWorkflow, UsageError
from wfops_pipelines.domain.lift import lift
from wfops_pipelines.domain.normalize import content_hash
from wfops_pipelines.domain.promotion_plan import Plan
from wfops_pipelines.domain.promotion_planning import make_plan
from wfops_pipelines.domain.snapshot import Snapshot, SnapshotKind, SnapshotWorkflow, as_of, diff_snapshots
from wfops_pipelines.domain.snapshot_restore import Restore, pair_for_restore
from wfops_pipelines.domain.transform_tables import EnvironmentTables
from wfops_pipelines.domain.workflow import digest, encode_content
from wfops_pipelines_tests.domain.plan_example import actions, change_of, content
from wfops_pipelines_tests.domain.workflow_strategies import law

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
STORED: dict[str, dict[str, Any]] = {}


def stored(inner: dict[str, Any]) -> str:
    address = digest(encode_content(inner))
    STORED[address] = inner
    return address


def was(workflow_id: str, inner: dict[str, Any] | None = None, *, canonical: str | None = None, **more: Any) -> SnapshotWorkflow:
    inner = inner or content(workflow_id.upper())
    address = stored(inner)
    return SnapshotWorkflow(**{
        "workflow_id": workflow_id, "canonical_id": canonical, "name": inner["name"], "live_digest": address,
        "draft_digest": address, "content_hash": content_hash(inner), "active": True, **more})


def snapshot(*workflows: SnapshotWorkflow, **more: Any) -> Snapshot:
    return Snapshot(**{"environment": "e", "kind": SnapshotKind.SCHEDULED, "taken_at": NOON, "workflows": workflows, **more})


# -- what a snapshot holds -------------------------------------------------------------------------------------------------

def test_an_unchanged_environment_has_one_address_whenever_and_why_ever_it_is_taken() -> None:
    one = snapshot(was("a"), was("b"))
    other = snapshot(was("b"), was("a"), kind=SnapshotKind.PRE_PROMOTION, taken_at=NOON + timedelta(days=1))
    assert one.address == other.address


@pytest.mark.parametrize("changed", [
    {"active": False}, {"archived": True}, {"tags": ("x",)}, {"canonical_id": "c"}, {"live_digest": "0"}, {"draft_digest": "0"},
    {"name": "Other"}, {"content_hash": "0"},
])
def test_every_part_of_a_workflow_changes_the_address(changed: dict[str, Any]) -> None:
    assert snapshot(replace(was("a"), **changed)).address != snapshot(was("a")).address


def test_it_names_the_contents_that_it_needs() -> None:
    drafted = replace(was("a"), draft_digest="draft")
    assert drafted.has_draft
    assert snapshot(drafted, was("b")).digests() == {drafted.live_digest, "draft", was("b").live_digest}


@pytest.mark.parametrize("pair", [
    (was("a"), was("a")), (was("a", canonical="c"), was("b", canonical="c")), (was("a"), was("b", canonical="a")),
])
def test_nothing_is_in_a_snapshot_twice(pair: tuple[SnapshotWorkflow, SnapshotWorkflow]) -> None:
    with pytest.raises(UsageError, match="twice"):
        snapshot(*pair)


def test_a_workflow_survives_the_store() -> None:
    workflow = was("a", canonical="c", tags=("x", "y"), archived=True)
    assert SnapshotWorkflow.from_json(json.loads(json.dumps(workflow.as_json()))) == workflow


def test_the_snapshot_as_of_a_time_is_the_newest_that_is_not_newer() -> None:
    taken = [snapshot(was(name), taken_at=NOON + timedelta(hours=hours)) for name, hours in (("b", 1), ("a", 0), ("c", 2))]
    assert as_of(taken, NOON + timedelta(minutes=90)) is taken[0]
    assert as_of(taken, NOON) is taken[1]
    assert as_of(taken, NOON - timedelta(seconds=1)) is None


# -- differences -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("changed", "words"), [
    ({"active": False}, ["active"]),
    ({"archived": True, "active": False}, ["active", "archived"]),
    ({"tags": ("x",)}, ["tags"]),
    ({"content_hash": "0", "live_digest": "0", "draft_digest": "0"}, ["content"]),
    ({"live_digest": "0", "draft_digest": "0"}, ["cosmetic"]),
    ({"draft_digest": "0"}, ["draft"]),
    ({"name": "Other"}, ["name"]),
    ({"canonical_id": None}, ["link"]),
    ({"workflow_id": "new"}, ["replaced"]),
])
def test_what_differs_in_a_workflow_is_named(changed: dict[str, Any], words: list[str]) -> None:
    workflow = was("a", canonical="c")
    (found,) = diff_snapshots([workflow], [replace(workflow, **changed)])
    assert list(found.changes) == words
    assert found.as_json()["changes"] == words


def test_what_came_and_what_went_is_named_in_order() -> None:
    found = diff_snapshots([was("a"), was("b")], [was("c"), was("b")])
    assert [(each.name, *each.changes) for each in found] == [("A", "removed"), ("C", "added")]


@st.composite
def inventories(draw: Any) -> list[SnapshotWorkflow]:
    ids = draw(st.sets(st.sampled_from("abcd")))
    canonical = draw(st.permutations(["1", "2", "3", None]))
    return [was(each, content(each, value=draw(st.integers(0, 1))), canonical=canonical["abcd".index(each)],
                active=draw(st.booleans()), archived=draw(st.booleans())) for each in sorted(ids)]


@law
@given(inventories(), inventories())
def test_the_difference_is_empty_exactly_where_the_addresses_are_equal_and_turns_around(
        one: list[SnapshotWorkflow], other: list[SnapshotWorkflow]) -> None:
    there, back = diff_snapshots(one, other), diff_snapshots(other, one)
    assert (there == ()) is (snapshot(*one).address == snapshot(*other).address)
    assert {(each.before, each.after) for each in there} == {(each.after, each.before) for each in back}


# -- restoring -------------------------------------------------------------------------------------------------------------

def plan_of(restore: Restore, **options: Any) -> Plan:
    def lifted(ids: dict[str, str]) -> Any:
        tables = EnvironmentTables("e", workflow_ids=ids)
        return lambda workflow: lift(STORED[workflow.live_digest], tables, self_id=workflow.workflow_id).content

    return make_plan(restore.inputs(lifted(restore.ids_then), lifted(restore.ids_now)),
                     **{"source": "snapshot 1", "target": "acme/prod", "generation": 2, **options})


def calling(name: str, called: str) -> dict[str, Any]:
    return {**content(name), "nodes": [{"name": "Call", "type": "n8n-nodes-base.executeWorkflow",
                                        "parameters": {"workflowId": called}}]}


def test_a_restore_brings_back_contents_activation_and_tags_whatever_was_done_since() -> None:
    then = [was("a", tags=("x",)), was("b"), was("c"), was("d")]
    now = [was("a", tags=()), replace(was("b"), active=False), was("c", content("C", value=9)), was("e")]
    plan = plan_of(pair_for_restore(then, now))
    assert actions(plan) == {"a": "update", "b": "update", "c": "update", "d": "create", "e": "keep"}
    assert not any(change.overwrites for change in plan.changes)
    assert [change_of(plan, key).content is None for key in "abcd"] == [True, True, False, False]
    assert actions(plan_of(pair_for_restore(then, now), prune=True))["e"] == "archive"


def test_what_was_archived_then_is_archived_again_only_with_prune() -> None:
    restore = pair_for_restore([replace(was("a"), archived=True, active=False)], [was("a")])
    assert actions(plan_of(restore)) == {"a": "keep"}
    assert actions(plan_of(restore, prune=True)) == {"a": "archive"}


def test_chosen_workflows_are_restored_alone() -> None:
    restore = pair_for_restore([was("a"), was("b")], [was("a", content("A", value=2)), was("b", content("B", value=2))])
    for named in ("a", "A"):
        assert actions(plan_of(restore, chosen=restore.select([named]))) == {"a": "update"}
    with pytest.raises(UnknownWorkflow, match="nobody"):
        restore.select(["nobody"])
    several = pair_for_restore([was("a", content("Same")), was("b", content("Same"))], [])
    with pytest.raises(UnknownWorkflow, match="2 workflows are called Same"):
        several.select(["Same"])
    assert several.select(["a", "b"]) == {"a", "b"}


def test_a_workflow_that_was_created_anew_is_restored_under_its_new_id_and_its_callers_call_that() -> None:
    then = [was("old", content("Sub"), canonical="c"), was("top", calling("Top", "old"))]
    now = [was("new", content("Sub"), canonical="c"), was("top", calling("Top", "old"))]
    restore = pair_for_restore(then, now)
    assert (restore.ids_then, restore.ids_now) == ({"c": "old", "top": "top"}, {"c": "new", "top": "top"})
    plan = plan_of(restore)
    assert actions(plan) == {"top": "update", "c": "unchanged"}  # what it calls now is nobody
    assert (change_of(plan, "c").workflow_id, plan.missing) == ("new", ())


def test_a_sub_workflow_that_nobody_manages_is_there_before_its_caller() -> None:
    plan = plan_of(pair_for_restore([was("a", calling("A", "z")), was("z")], []))
    assert list(actions(plan)) == ["z", "a"]
    assert plan.missing == ()


def test_a_canonical_workflow_that_another_one_became_since_is_not_taken_for_two() -> None:
    restore = pair_for_restore([was("a", canonical="c"), was("b")], [was("b", canonical="c")])
    assert {row.key: (row.then and row.then.workflow_id, row.now and row.now.workflow_id) for row in restore.rows} == {
        "a": ("a", None), "c": ("b", "b")}


@law
@given(inventories(), inventories())
def test_every_workflow_is_in_a_restore_once_and_one_of_what_is_there_writes_nothing(
        then: list[SnapshotWorkflow], now: list[SnapshotWorkflow]) -> None:
    restore = pair_for_restore(then, now)
    assert len({row.key for row in restore.rows}) == len(restore.rows)
    assert sorted(row.then.workflow_id for row in restore.rows if row.then) == [each.workflow_id for each in then]
    assert sorted(row.now.workflow_id for row in restore.rows if row.now) == [each.workflow_id for each in now]
    plan_of(restore, prune=True)
    assert plan_of(pair_for_restore(now, now), prune=True).is_empty


def test_what_was_created_anew_is_found_again_through_all_the_ids_that_it_had() -> None:
    ids = {"a": "b", "b": "c", "x": "y", "y": "x"}
    restore = pair_for_restore([was("a"), was("x")], [was("c")], ids)
    assert [(row.key, row.then and row.then.workflow_id, row.now and row.now.workflow_id) for row in restore.rows] == [
        ("c", "a", "c"), ("x", "x", None)]
    assert restore.ids_then == {"c": "a", "x": "x"} and restore.ids_now == {"c": "c"}
    both = pair_for_restore([was("a"), was("c")], [was("c")], ids)
    assert {row.key: row.now is not None for row in both.rows} == {"a": False, "c": True}
