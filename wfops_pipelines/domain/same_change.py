"""The same change in several environments or tenants, found as one (§10).

Two drifting workflows hold the same change when their semantic diffs say the same, or when they drift in the same way
to the same live content. Values that belong to one environment (names of credentials, ids of other workflows) are left
out of the comparison; so are secrets, which stored diffs do not hold: a change of which a secret is part is the same
only *probably*, and the group says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from wfops_pipelines.domain.canonical_json import encode
from wfops_pipelines.domain.diff import ABSENT, Change, ChangeKind, WorkflowDiff, masked
from wfops_pipelines.domain.drift import DriftKind
from wfops_pipelines.domain.masking import MASKED

_LOCAL_PATHS: Final = ("parameters.workflowId", "errorWorkflow", "callerIds")
_CREATED_OR_GONE: Final = frozenset({ChangeKind.WORKFLOW_ADDED, ChangeKind.WORKFLOW_REMOVED})


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One drifting workflow. ``live_hash`` is the portable hash of what runs where there is one, ``None`` when n8n has
    it no more; ``diff`` its semantic diff, as stored or as computed."""

    tenant: str
    environment: str
    subject: str  # the workflow in its environment: n8n id, else path
    name: str
    kind: DriftKind
    live_hash: str | None = None
    diff: WorkflowDiff | None = None
    canonical_id: UUID | None = None
    active: bool | None = None


@dataclass(frozen=True, slots=True)
class ChangeGroup:
    """Rows that hold the same change, in the order of tenant, environment and subject; ``key`` is stable for the same
    rows. ``certain`` is false where a secret or a value of one environment was left out of the comparison."""

    key: str
    rows: tuple[ChangeRow, ...]
    certain: bool

    @property
    def environments(self) -> tuple[tuple[str, str], ...]:
        """The (tenant, environment) pairs, each once."""
        return tuple(dict.fromkeys((row.tenant, row.environment) for row in self.rows))


def fingerprint(diff: WorkflowDiff) -> str | None:
    """SHA-256, in hex, of what a diff says, apart from values of one environment; ``None`` where it says too little to
    tell changes apart (it is equal, or only that a workflow came or went)."""
    changes = [_comparable(change) for change in diff.changes]
    if diff.equal or not changes or all(change.kind in _CREATED_OR_GONE for change in diff.changes):
        return None
    return hashlib.sha256(encode(sorted(changes, key=encode))).hexdigest()


def group_same_change(rows: Iterable[ChangeRow]) -> tuple[ChangeGroup, ...]:
    """Every row in exactly one group, largest groups first. It does not depend on the order of ``rows``; rows with an
    equal fingerprint or hash are together, also by way of a third one."""
    ordered = sorted(rows, key=lambda row: (row.tenant, row.environment, row.subject, row.kind.value))
    leader = list(range(len(ordered)))

    def find(index: int) -> int:
        while leader[index] != index:
            leader[index] = leader[leader[index]]
            index = leader[index]
        return index

    seen: dict[tuple[Any, ...], int] = {}
    for index, row in enumerate(ordered):
        for key in _keys(row):
            one, other = sorted((find(seen.setdefault(key, index)), find(index)))
            leader[other] = one
    members: dict[int, list[ChangeRow]] = {}
    for index, row in enumerate(ordered):
        members.setdefault(find(index), []).append(row)
    groups = [_group(tuple(found)) for found in members.values()]
    return tuple(sorted(groups, key=lambda group: -len(group.rows)))


def _keys(row: ChangeRow) -> list[tuple[Any, ...]]:
    keys: list[tuple[Any, ...]] = []
    if row.live_hash is not None:
        keys.append(("hash", row.kind, row.live_hash, row.active if row.kind is DriftKind.ACTIVATION else None))
    if row.diff is not None and (printed := fingerprint(row.diff)) is not None:
        keys.append(("diff", row.kind, printed))
    if not keys and row.canonical_id is not None:
        keys.append(("gone", row.kind, row.tenant, row.canonical_id))  # deleted in several environments
    return keys


def _group(rows: tuple[ChangeRow, ...]) -> ChangeGroup:
    first = rows[0]
    by_hash = first.live_hash is not None and all(row.live_hash == first.live_hash for row in rows)
    certain = len(rows) == 1 or by_hash or not any(row.diff is not None and _leaves_out(row.diff) for row in rows)
    identity = [[row.tenant, row.environment, row.subject, row.kind.value] for row in rows]
    return ChangeGroup(hashlib.sha256(encode(identity)).hexdigest()[:16], rows, certain)


def _leaves_out(diff: WorkflowDiff) -> bool:
    return any(_is_local(change) or _holds_mask(masked(change).before) or _holds_mask(masked(change).after)
               for change in diff.changes)


def _comparable(change: Change) -> list[Any]:
    shown = masked(change)
    sides = [] if _is_local(change) else [_side(shown.before), _side(shown.after)]
    return [shown.kind.value, shown.node, shown.path, *sides]


def _is_local(change: Change) -> bool:
    return change.kind is ChangeKind.CREDENTIALS_CHANGED or (change.path or "").startswith(_LOCAL_PATHS)


def _side(value: Any) -> list[Any]:
    """Absent is not null. A node that came or went brings names of credentials, which belong to one environment."""
    if value is ABSENT:
        return []
    if isinstance(value, dict) and isinstance(value.get("credentials"), dict):
        value = {**value, "credentials": sorted(map(str, value["credentials"]))}
    return [value]


def _holds_mask(value: Any) -> bool:
    if isinstance(value, str):
        return MASKED in value
    if isinstance(value, dict):
        return "credentials" in value or any(map(_holds_mask, value.values()))
    return isinstance(value, list) and any(map(_holds_mask, value))
