"""Conflicts (§5.3): what they are, and that settling one ends it without beginning another claim to the same."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wfops_pipelines.domain.conflicts import (
    ConflictKind,
    File,
    Keep,
    Outcome,
    Sides,
    Workflow,
    find_conflicts,
    settle,
)
from wfops_pipelines.domain.errors import Blocked, UsageError
from wfops_pipelines.domain.identity import Standing, unless_overruled
from wfops_pipelines.domain.mapping import UnlinkedReason

A, B, C, D, NEW = (uuid.UUID(int=n) for n in range(1, 6))
IDS = ("v", "w", "x", "y")


def kinds(workflows: list[Workflow], files: list[File], deleted: tuple[uuid.UUID, ...] = ()) -> dict[str, str]:
    return {c.workflow_id: c.kind for c in find_conflicts(Sides(workflows, files, deleted))}


def held(workflow_id: str, canonical_id: uuid.UUID | None = None, **more: object) -> Workflow:
    return Workflow(workflow_id, workflow_id, canonical_id, **more)  # type: ignore[arg-type]


def after(sides: Sides, outcome: Outcome) -> Sides:
    """The sides as an outcome leaves them."""
    def linked(workflow: Workflow) -> Workflow:
        if workflow.workflow_id not in outcome.links:
            return workflow
        canonical_id = outcome.links[workflow.workflow_id]
        return replace(workflow, canonical_id=canonical_id, reason=UnlinkedReason.BY_HAND if canonical_id is None else None)

    return Sides([linked(w) for w in sides.workflows.values()], [
        replace(f, canonical_id=outcome.files.get(f.path, f.canonical_id),
                workflow_id=None if f.path in outcome.unclaimed else f.workflow_id) for f in sides.files])


@st.composite
def folders(draw: st.DrawFn) -> Sides:
    """Any environment that the store can hold: a canonical workflow is one workflow and one file at most."""
    linked = draw(st.lists(st.sampled_from([A, B, C, None]), min_size=4, max_size=4))
    seen: set[uuid.UUID] = set()
    workflows = []
    for workflow_id, canonical_id in zip(IDS, linked, strict=True):
        known = None if canonical_id in seen else canonical_id
        seen |= {known} if known else set()
        reason = draw(st.sampled_from([*UnlinkedReason])) if known is None else None
        looks = draw(st.frozensets(st.sampled_from([A, B, C, D]), max_size=3)) if known is None else frozenset()
        workflows.append(Workflow(workflow_id, workflow_id, known, reason, looks, aside=draw(st.booleans()) and known is not None))
    files = [File(f"{i.int}.json", i, draw(st.sampled_from([*IDS, "gone", None])))
             for i in draw(st.sets(st.sampled_from([A, B, C, D])))]
    return Sides(workflows, files)


def test_a_file_names_another_workflow_than_the_one_that_is_it() -> None:
    assert kinds([held("x", A), held("y")], [File("a", A, "y")]) == {"y": ConflictKind.CLAIMED_BY_FILE}


def test_a_file_that_names_a_workflow_which_may_have_it_is_no_conflict() -> None:
    assert kinds([held("x", B), held("y")], [File("a", A, "y")]) == {}


def test_a_workflow_whose_file_says_something_else() -> None:
    assert kinds([held("x", A)], [File("b", B, "x")]) == {"x": ConflictKind.LINKED_OTHERWISE}


def test_two_files_of_one_workflow() -> None:
    assert kinds([held("x", A)], [File("a", A, "x"), File("b", B, "x")]) == {"x": ConflictKind.SEVERAL_FILES}


def test_what_was_put_aside_or_deleted_is_in_no_conflict() -> None:
    by_hand = held("y", reason=UnlinkedReason.BY_HAND)
    assert kinds([held("x", A), by_hand], [File("a", A, "y")]) == {}
    assert kinds([held("x", A, aside=True)], [File("b", B, "x")]) == {}
    assert kinds([held("x", A)], [File("b", B, "x")], deleted=(B,)) == {}


def test_a_reason_of_which_nothing_is_left_is_no_conflict() -> None:
    twin = held("y", reason=UnlinkedReason.ALREADY_MAPPED, candidates=frozenset({A}))
    assert kinds([held("x", A), twin], []) == {"y": ConflictKind.ALREADY_MAPPED}
    assert kinds([twin], []) == {}


def test_a_file_that_n8n_writes_is_not_overruled() -> None:
    sides = Sides([held("x", A), held("y")], [File("a", A, "y", read_only=True)])
    with pytest.raises(Blocked, match="Source Control"):
        settle(sides, "x", Keep.RUNTIME, new_id=NEW)
    assert settle(sides, "y", Keep.GIT, new_id=NEW) == Outcome(links={"x": None, "y": A})


@given(folders(), st.sampled_from(IDS), st.sampled_from(Keep))
def test_what_is_settled_is_settled(sides: Sides, workflow_id: str, keep: Keep) -> None:
    try:
        outcome = settle(sides, workflow_id, keep, new_id=NEW)
    except (Blocked, UsageError) as refused:
        assert refused.fix
        return
    assume(outcome is not None)
    assert outcome is not None
    settled = after(sides, outcome)
    assert workflow_id not in {c.workflow_id for c in find_conflicts(settled)}
    linked = [w.canonical_id for w in settled.workflows.values() if w.canonical_id is not None]
    standing = [f.canonical_id for f in settled.files]
    assert len(set(linked)) == len(linked) and len(set(standing)) == len(standing)
    named = settled.workflows[workflow_id]
    if keep is Keep.SPLIT:
        assert named.canonical_id == outcome.created == NEW
    elif keep is Keep.RUNTIME:
        assert named.canonical_id is not None
        assert all(not c.paths for c in find_conflicts(settled) if workflow_id in c.holders)  # at most it looks like it
    else:
        assert not outcome.files


@given(st.sampled_from([None, A, B, C]), st.sampled_from([None, "x", "y"]), st.booleans())
def test_a_claim_that_was_not_overruled_is_heard(key: uuid.UUID | None, workflow_id: str | None, duplicate: bool) -> None:
    for before in (None, Standing(A, "x", None, None)):
        assert unless_overruled(key, workflow_id, before, duplicate=duplicate) == (key, workflow_id)


def test_what_was_overruled_counts_again_once_the_file_says_something_else() -> None:
    id_overruled = Standing(A, None, None, "y")
    assert unless_overruled(A, "y", id_overruled) == (A, None)
    assert unless_overruled(None, "y", id_overruled) == (None, None)
    assert unless_overruled(B, "y", id_overruled) == (B, "y")
    assert unless_overruled(B, "y", id_overruled, duplicate=True) == (B, None)
    assert unless_overruled(A, "x", id_overruled) == (A, "x")
    key_overruled = Standing(A, "x", B, None)
    assert unless_overruled(B, "x", key_overruled) == (None, "x")
    assert unless_overruled(A, "x", key_overruled) == (A, "x")
    assert unless_overruled(C, "x", key_overruled) == (C, "x")
    assert unless_overruled(B, "y", key_overruled) == (B, "y")
