"""Which canonical workflow a file in an environment's folder is (§5.6, §7).

In this order: the key in the file; the path it has; the mapping of the n8n id in the file; a file that vanished with the
same content (a rename); the path a file had that was removed before; the one canonical workflow that the hash registry
names; else it is a new one. A canonical workflow stands once in a folder: of two files with one key, the one whose
path had it before keeps it, else the first by path; the other is an error that names both, and is known by its path
from then on. What somebody overruled (``wfops resolve``) is no claim as long as the file says the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

Reason = Literal["key", "path", "mapping", "rename", "hash", "new"]


@dataclass(frozen=True, slots=True)
class FileClaim:
    """A file that was added or changed, as it speaks for itself."""

    path: str
    key: UUID | None
    workflow_id: str | None
    portable_hash: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What a file was known as, and what it claimed then and was overruled in by hand (§5.3)."""

    canonical_id: UUID
    workflow_id: str | None
    overruled_canonical_id: UUID | None
    overruled_workflow_id: str | None


def unless_overruled(key: UUID | None, workflow_id: str | None, before: Standing | None, *,
                     duplicate: bool = False) -> tuple[UUID | None, str | None]:
    """The key and the n8n id of a file as they count: what was overruled does not, while the file claims the same.

    A file that claims something else, in either part, is heard anew. ``duplicate``: another file keeps its key, so the
    key says nothing of what it is known as.
    """
    if before is None or (before.overruled_canonical_id is None and before.overruled_workflow_id is None):
        return key, workflow_id
    same_key = key is None or duplicate or key in (before.canonical_id, before.overruled_canonical_id)
    if not same_key or workflow_id not in (before.workflow_id, before.overruled_workflow_id):
        return key, workflow_id
    return (None if key == before.overruled_canonical_id else key,
            None if workflow_id == before.overruled_workflow_id else workflow_id)


@dataclass(frozen=True, slots=True)
class Assignment:
    """The answer for one file; ``duplicate_of`` is the path that keeps the key this file claims too."""

    path: str
    canonical_id: UUID
    by: Reason
    duplicate_of: str | None = None


def assign(
    claims: Sequence[FileClaim], *, held: Mapping[str, UUID], known: Mapping[str, UUID], formerly: Mapping[str, UUID],
    vanished: Mapping[str, tuple[UUID, str]], mapped: Mapping[str, UUID], registry: Mapping[str, Collection[UUID]],
    deleted: Collection[UUID], new_id: Callable[[], UUID],
) -> list[Assignment]:
    """One assignment per claim, by path.

    ``held`` gives the canonical ids of paths that stay as they were, ``known`` those that each path has, ``formerly``
    those of paths whose file was removed before, ``vanished`` (canonical id, portable hash) of those removed now,
    ``mapped`` the canonical id of n8n ids in this environment, ``registry`` the canonical ids per portable hash,
    ``deleted`` the canonical ids a user deleted.
    """
    taken: dict[UUID, str] = {canonical_id: path for path, canonical_id in held.items()}
    keepers = _keepers(claims, known, taken)
    taken |= keepers
    assigned: dict[str, Assignment] = {}
    for claim in claims:
        if claim.key is not None and keepers.get(claim.key, taken.get(claim.key)) == claim.path:
            assigned[claim.path] = Assignment(claim.path, claim.key, "key")
    waiting = sorted((c for c in claims if c.path not in assigned), key=lambda c: c.path)
    rules: tuple[tuple[Reason, Callable[[FileClaim], UUID | None]], ...] = (
        ("path", lambda claim: known.get(claim.path)),
        ("mapping", lambda claim: mapped.get(claim.workflow_id) if claim.workflow_id else None),
        ("rename", lambda claim: _only(i for i, h in vanished.values() if h == claim.portable_hash)),
        ("path", lambda claim: formerly.get(claim.path)),
        ("hash", lambda claim: _only(i for i in registry.get(claim.portable_hash, ()) if i not in deleted)),
        ("new", lambda _: new_id()),
    )
    for by, rule in rules:  # a rule is tried for every file before the next: a path beats another file's hash
        for claim in waiting:
            if claim.path in assigned or (by in ("mapping", "rename", "hash") and claim.key is not None):
                continue  # a copy of a keyed file is its own workflow; the hash would say otherwise
            canonical_id = rule(claim)
            if canonical_id is None or taken.get(canonical_id, claim.path) != claim.path:
                continue
            taken[canonical_id] = claim.path
            duplicate = keepers.get(claim.key) or taken.get(claim.key) if claim.key is not None else None
            assigned[claim.path] = Assignment(claim.path, canonical_id, by, duplicate_of=duplicate)
    return [assigned[path] for path in sorted(assigned)]


def _keepers(claims: Sequence[FileClaim], known: Mapping[str, UUID], taken: Mapping[UUID, str]) -> dict[UUID, str]:
    """The path that keeps each key that changed files claim."""
    claimants: dict[UUID, list[str]] = {}
    for claim in claims:
        if claim.key is not None:
            claimants.setdefault(claim.key, []).append(claim.path)
    keepers: dict[UUID, str] = {}
    for key, paths in claimants.items():
        if key in taken:
            keepers[key] = taken[key]
            continue
        before = [path for path in paths if known.get(path) == key]
        keepers[key] = min(before or paths)
    return keepers


def _only(ids: Iterable[UUID]) -> UUID | None:
    found = set(ids)
    return found.pop() if len(found) == 1 else None
