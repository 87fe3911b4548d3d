"""Identity: the status of a mapping and the auto-link decision (§5.1, §5.2)."""

from __future__ import annotations

from itertools import product
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.mapping import LinkDecision, MappingStatus, UnlinkedReason, decide_link, status_of

A, B, C = (UUID(int=n) for n in (1, 2, 3))
some_ids = st.frozensets(st.sampled_from([A, B, C]))


@pytest.mark.parametrize(("deleted", "ignored", "missing", "canonical_id"),
                         list(product([True, False], [True, False], [True, False], [None, A])))
def test_the_status_is_the_first_that_holds(deleted: bool, ignored: bool, missing: bool,
                                            canonical_id: UUID | None) -> None:
    holds = {
        MappingStatus.DELETED: deleted,
        MappingStatus.IGNORED: ignored,
        MappingStatus.MISSING: missing,
        MappingStatus.UNTRACKED: canonical_id is None,
        MappingStatus.LINKED: True,
    }
    expected = next(status for status in MappingStatus if holds[status])
    assert status_of(deleted=deleted, ignored=ignored, missing=missing, canonical_id=canonical_id) is expected


def decide(*, file: UUID | None = None, registry: frozenset[UUID] = frozenset(),
           deleted: frozenset[UUID] = frozenset(), mapped: frozenset[UUID] = frozenset(),
           collision: bool = False) -> LinkDecision:
    return decide_link(file_canonical_id=file, registry_candidates=registry, deleted_canonical_ids=deleted,
                       canonical_ids_mapped_here=mapped, collision=collision)


def unlinked(reason: UnlinkedReason) -> LinkDecision:
    return LinkDecision(None, reason, None)


def test_the_file_with_the_n8n_id_says_what_the_workflow_is() -> None:
    assert decide(file=A) == LinkDecision(A, None, "file")


def test_the_file_wins_over_the_hash() -> None:
    assert decide(file=A, registry=frozenset({B})) == LinkDecision(A, None, "file")


def test_a_collision_of_hashes_does_not_touch_what_a_file_says() -> None:
    assert decide(file=A, collision=True) == LinkDecision(A, None, "file")


def test_a_file_whose_workflow_is_taken_leaves_it_untracked_whatever_the_hash_says() -> None:
    decision = decide(file=A, registry=frozenset({B}), mapped=frozenset({A}))
    assert decision == unlinked(UnlinkedReason.ALREADY_MAPPED)


def test_a_file_of_a_deleted_workflow_does_not_bring_it_back() -> None:
    assert decide(file=A, deleted=frozenset({A})) == unlinked(UnlinkedReason.CANONICAL_DELETED)


def test_the_only_candidate_of_the_registry_links() -> None:
    assert decide(registry=frozenset({A}), deleted=frozenset({B}), mapped=frozenset({C})) == LinkDecision(A, None, "hash")


def test_without_a_candidate_there_is_no_match() -> None:
    assert decide() == unlinked(UnlinkedReason.NO_MATCH)


def test_two_candidates_are_ambiguous_even_when_one_is_deleted() -> None:
    assert decide(registry=frozenset({A, B}), deleted=frozenset({B})) == unlinked(UnlinkedReason.AMBIGUOUS)


def test_a_deleted_candidate_does_not_link() -> None:
    assert decide(registry=frozenset({A}), deleted=frozenset({A})) == unlinked(UnlinkedReason.CANONICAL_DELETED)


def test_a_candidate_with_another_live_mapping_here_does_not_link() -> None:
    assert decide(registry=frozenset({A}), mapped=frozenset({A})) == unlinked(UnlinkedReason.ALREADY_MAPPED)


def test_a_collision_stops_the_link() -> None:
    assert decide(registry=frozenset({A}), collision=True) == unlinked(UnlinkedReason.COLLISION)


def test_of_several_reasons_the_first_condition_is_recorded() -> None:
    everything_wrong = frozenset({A})
    assert decide(registry=frozenset({A, B}), deleted=frozenset({A, B}), mapped=frozenset({A, B}),
                  collision=True).reason is UnlinkedReason.COLLISION
    assert decide(registry=everything_wrong, deleted=everything_wrong,
                  mapped=everything_wrong).reason is UnlinkedReason.CANONICAL_DELETED


def test_a_list_that_names_one_candidate_twice_is_not_ambiguous() -> None:
    decision = decide_link(file_canonical_id=None, registry_candidates=[A, A], deleted_canonical_ids=[],
                           canonical_ids_mapped_here=[])
    assert decision == LinkDecision(A, None, "hash")


@given(st.none() | st.sampled_from([A, B, C]), some_ids, some_ids, some_ids, st.booleans())
def test_a_link_needs_every_condition_of_the_contract(file: UUID | None, registry: frozenset[UUID],
                                                      deleted: frozenset[UUID], mapped: frozenset[UUID],
                                                      collision: bool) -> None:
    decision = decide(file=file, registry=registry, deleted=deleted, mapped=mapped, collision=collision)
    assert (decision.canonical_id is None) == (decision.by is None) == (decision.reason is not None)
    by_hash = not collision and len(registry) == 1 and not registry & (deleted | mapped)
    by_file = file is not None and file not in deleted | mapped
    assert (decision.canonical_id is not None) == (by_file if file is not None else by_hash)
    if decision.canonical_id is not None:
        assert decision.canonical_id == (file if file is not None else next(iter(registry)))
