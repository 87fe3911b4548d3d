"""Identity (§5): the status of a mapping, and which canonical workflow an untracked one is.

A mapping stands for one n8n workflow of one environment. Its status is derived, never set: the first row that holds.

=============  ============================================================
``deleted``    it, or its canonical workflow, was soft-deleted here
``ignored``    a user said so; left out of drift, plans and exports
``missing``    it was there, and n8n has it no more (§5.5)
``untracked``  no canonical workflow is known for it
``linked``     it is that canonical workflow in this environment
=============  ============================================================
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal
from uuid import UUID


class MappingStatus(StrEnum):
    """Status of a mapping, highest precedence first (§5.1)."""

    DELETED = "deleted"
    IGNORED = "ignored"
    MISSING = "missing"
    UNTRACKED = "untracked"
    LINKED = "linked"


def status_of(*, deleted: bool, ignored: bool, missing: bool, canonical_id: UUID | None) -> MappingStatus:
    """The status that these facts make, by the precedence of §5.1."""
    if deleted:
        return MappingStatus.DELETED
    if ignored:
        return MappingStatus.IGNORED
    if missing:
        return MappingStatus.MISSING
    return MappingStatus.UNTRACKED if canonical_id is None else MappingStatus.LINKED


class UnlinkedReason(StrEnum):
    """Why a workflow stays untracked (§5.2)."""

    NO_MATCH = "no_match"  # nothing in Git or the registry is like it
    AMBIGUOUS = "ambiguous"  # the registry names several canonical workflows
    ALREADY_MAPPED = "already_mapped"  # another live mapping of this environment has the canonical workflow
    CANONICAL_DELETED = "canonical_deleted"  # the canonical workflow is soft-deleted
    COLLISION = "collision"  # one hash, two contents (§4.9)
    BY_HAND = "by_hand"  # somebody unlinked it: only somebody links it again


@dataclass(frozen=True, slots=True)
class LinkDecision:
    """Either a canonical workflow and what named it (``by``), or the reason why there is none."""

    canonical_id: UUID | None
    reason: UnlinkedReason | None
    by: Literal["file", "hash"] | None


def decide_link(*, file_canonical_id: UUID | None, registry_candidates: Collection[UUID],
                deleted_canonical_ids: Collection[UUID], canonical_ids_mapped_here: Collection[UUID],
                collision: bool = False) -> LinkDecision:
    """Which canonical workflow an untracked workflow is, if that is certain (§5.2).

    ``file_canonical_id`` belongs to the file in this environment's own folder whose ``id`` is the n8n id. Such a file
    says what the workflow is, whatever the hashes say: if its canonical workflow is deleted or taken, the workflow
    stays untracked and no hash is asked, since a second opinion would contradict the file.

    ``registry_candidates`` are the canonical workflows that the hash registry names for its portable hash;
    ``collision`` says that the registry knows this hash for another content. ``canonical_ids_mapped_here`` are those
    with another live mapping in this environment.

    Where several reasons hold, the recorded one is the first in the order of the conditions of §5.2, which is also
    what has to be cleared up first: ``collision``, ``no_match``, ``ambiguous`` (also when only one of the several is
    not deleted), ``canonical_deleted``, ``already_mapped``.
    """
    if file_canonical_id is not None:
        return _claim(file_canonical_id, "file", deleted_canonical_ids, canonical_ids_mapped_here)
    if collision:
        return LinkDecision(None, UnlinkedReason.COLLISION, None)
    candidates = set(registry_candidates)
    if not candidates:
        return LinkDecision(None, UnlinkedReason.NO_MATCH, None)
    if len(candidates) > 1:
        return LinkDecision(None, UnlinkedReason.AMBIGUOUS, None)
    return _claim(candidates.pop(), "hash", deleted_canonical_ids, canonical_ids_mapped_here)


def _claim(canonical_id: UUID, by: Literal["file", "hash"], deleted: Collection[UUID],
           taken: Collection[UUID]) -> LinkDecision:
    if canonical_id in deleted:
        return LinkDecision(None, UnlinkedReason.CANONICAL_DELETED, None)
    if canonical_id in taken:
        return LinkDecision(None, UnlinkedReason.ALREADY_MAPPED, None)
    return LinkDecision(canonical_id, None, by)
