"""Reconciliation (§8): what a canonical workflow's content in a target environment is, seen from the source.

Three contents decide, compared by portable hash, so that the ids and values of environments make no difference:

* ``S``, the source's content;
* ``T``, the target's live content;
* ``B``, the base: the target's Git content, else the content last promoted there.

A fourth, what was last seen in sync in the target (live content equal to Git's), tells two cases with ``S = B`` apart:
somebody edited the target (a hotfix), or Git moved on and the target still holds what was right before (to promote).
"""

from __future__ import annotations

from enum import StrEnum


class DiffStatus(StrEnum):
    """What the target's content is, seen from the source (§8)."""

    ADDED = "added"  # only in the source
    TARGET_ONLY = "target_only"  # only in the target
    UNCHANGED = "unchanged"  # the same in both
    MODIFIED = "modified"  # the source went on; the target holds what it should have held
    TARGET_HOTFIX = "target_hotfix"  # the target was edited; the source did not go on
    CONFLICT = "conflict"  # both went on, or nobody knows from where


def diff_status(*, source: str | None, target: str | None, base: str | None,
                last_in_sync: str | None) -> DiffStatus | None:
    """The row of §8's table that holds for these portable hashes; ``None`` where the workflow is in neither.

    ``last_in_sync`` counts only where ``S = B ≠ T``: with everything different it is a conflict, whatever was in sync
    once. ``None`` there (never seen in sync) means that nothing excuses the target's content: a hotfix.
    """
    if source is None or target is None:
        return _one_sided(source, target)
    if source == target:
        return DiffStatus.UNCHANGED
    if base is None:
        return DiffStatus.CONFLICT
    if target == base:
        return DiffStatus.MODIFIED
    if source == base:
        return DiffStatus.MODIFIED if target == last_in_sync else DiffStatus.TARGET_HOTFIX
    return DiffStatus.CONFLICT


def _one_sided(source: str | None, target: str | None) -> DiffStatus | None:
    if source is not None:
        return DiffStatus.ADDED
    return None if target is None else DiffStatus.TARGET_ONLY
