"""Snapshots as people name them, list them, look into them and compare them (§13).

Whoever looks into one is in the audit trail (§19.3): ``snapshot.read`` for what it lists, ``payload.read`` for a content.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.diff import as_json as diff_json
from wfops_pipelines.domain.diff import diff
from wfops_pipelines.domain.errors import UnknownSnapshot, UnknownWorkflow, UsageError
from wfops_pipelines.domain.snapshot import SnapshotDifference, SnapshotKind, SnapshotWorkflow, diff_snapshots
from wfops_pipelines.domain.workflow import Content, JsonObject, decode_content
from wfops_pipelines.services.id_prefixes import SHORTEST, ids_that_begin
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.snapshots import content_lost, load, stored_workflows
from wfops_pipelines.store.unit_of_work import UnitOfWork

LATEST: Final = "latest"
NOW: Final = "now"
_COMPARED_AT_ONCE: Final = 50  # pairs of contents in memory


def find_snapshot(work: UnitOfWork, context: Context, environment: Row[Any], name: str | None = None, *,
                  at: datetime | None = None) -> Row[Any]:
    """The environment's snapshot of that id, of the one that begins so, or the newest (``latest``, or no name); with ``at``
    the newest that is not newer than that time.

    :class:`UnknownSnapshot` when there is none, :class:`UsageError` when the name can be none or stands for several.
    """
    place = f"{context.tenant_slug}/{environment.slug}"
    if at is not None:
        if name is not None:
            raise UsageError("a snapshot is named by its id or by a time, not by both", fix="leave out one of them")
        row = work.snapshots.as_of(environment.id, at)
        missing = f"{place} has no snapshot from {at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC or before"
    elif name in (None, LATEST):
        row = next(iter(work.snapshots.listed(environment.id, limit=1)), None)
        missing = f"{place} has no snapshot"
    else:
        row, missing = _by_id(work, environment, name), f"{place} has no snapshot {name!r}"
    if row is None:
        words = f"{context.tenant_slug} {environment.slug}"
        raise UnknownSnapshot(missing, fix=f"`wfops snapshot list {words}` shows those there are, "
                                           f"`wfops snapshot create {words}` takes one")
    return row


def named_snapshot(services: Services, context: Context, environment: Row[Any], name: str | None = None, *,
                   at: datetime | None = None) -> UUID:
    """The id of the snapshot that is meant, as :func:`find_snapshot` finds it."""
    with services.store.read(context) as work:
        snapshot_id: UUID = find_snapshot(work, context, environment, name, at=at).id
    return snapshot_id


def _by_id(work: UnitOfWork, environment: Row[Any], name: str) -> Row[Any] | None:
    first, last = ids_that_begin(
        name, what="snapshot", ways=f"its id, at least the first {SHORTEST} characters of it, or {LATEST}")
    found = work.snapshots.between(environment.id, first, last)
    if len(found) > 1:
        raise UsageError(f"{name!r} is the beginning of several snapshots' ids",
                         fix=f"write more of it: {', '.join(str(row.id) for row in found)}")
    return found[0] if found else None


def read_time(text: str) -> datetime:
    """A time as ISO 8601 writes it, in UTC where it names no zone; :class:`UsageError` for anything else."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"{text!r} is no time", fix="write it as 2026-11-20T18:00 (UTC), 2026-11-20T18:00+01:00 or "
                                                     "2026-11-20 (its beginning)") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


# -- listing ---------------------------------------------------------------------------------------------------------------

def list_snapshots(services: Services, context: Context, environment: str | None = None, *, kind: SnapshotKind | None = None,
                   before: UUID | None = None, limit: int = 50) -> list[JsonObject]:
    """A tenant's snapshots, or one environment's, newest first: a page, ``before`` the id of the last of the one before."""
    place = services.environment(context, environment) if environment is not None else None
    with services.store.read(context) as work:
        slugs = {row.id: row.slug for row in work.fleet.environments(deleted=True)}
        after = None
        if before is not None:
            last = work.snapshots.by_id(before)
            if last is None:
                raise UnknownSnapshot(f"tenant {context.tenant_slug} has no snapshot {before}",
                                      fix=f"`wfops snapshot list {context.tenant_slug}` begins with the newest")
            after = (last.taken_at, last.id)
        rows = work.snapshots.listed(place.id if place is not None else None, kind=kind, before=after, limit=limit)
    return [_row_json(context, slugs[row.environment_id], row) for row in rows]


def _row_json(context: Context, environment: str, row: Row[Any]) -> JsonObject:
    return {"snapshot_id": str(row.id), "tenant": context.tenant_slug, "environment": environment, "kind": row.kind,
            "name": row.name, "taken_at": row.taken_at.isoformat(), "taken_by": row.taken_by, "workflows": row.workflows,
            "address": row.address, "operation_id": str(row.operation_id) if row.operation_id else None}


# -- looking into one ------------------------------------------------------------------------------------------------------

def show_snapshot(services: Services, context: Context, environment: str, name: str | None = None, *,
                  at: datetime | None = None) -> JsonObject:
    """One snapshot with its workflows, by name: that of :func:`list_snapshots`, ``workflows`` being a list."""
    place = services.environment(context, environment)
    with services.store.unit_of_work(context, "snapshot.read") as work:
        row = find_snapshot(work, context, place, name, at=at)
        workflows = sorted(load(work, row).workflows, key=lambda each: (each.name, each.workflow_id))
        _record(work, place, row, "show")
    return _row_json(context, place.slug, row) | {"workflows": [
        each.as_json() | {"has_draft": each.has_draft} for each in workflows]}


def content_of(services: Services, context: Context, environment: str, workflow: str, name: str | None = None, *,
               at: datetime | None = None, draft: bool = False) -> Content:
    """A workflow of a snapshot as it can be imported into n8n: what ran, or with ``draft`` its draft. It is named by its
    n8n id, canonical id, or name where one alone has it; :class:`UnknownWorkflow` otherwise."""
    place = services.environment(context, environment)
    with services.store.unit_of_work(context, "payload.read") as work:
        row = find_snapshot(work, context, place, name, at=at)
        found = _named(load(work, row).workflows, workflow, f"snapshot {row.id}")
        wanted = found.draft_digest if draft else found.live_digest
        body = work.payloads.load([wanted]).get(wanted)
        if body is None:
            raise content_lost(row, f"the content of {found.name!r} is")
        work.record("payload.read", "workflow", found.key, environment=place.slug, name=found.name, digest=wanted,
                    source="snapshot", snapshot=str(row.id))
    return decode_content(body)


def _named(workflows: Sequence[SnapshotWorkflow], wanted: str, where: str) -> SnapshotWorkflow:
    for column in ("workflow_id", "canonical_id", "name"):
        found = [each for each in workflows if getattr(each, column) == wanted]
        if len(found) > 1:
            raise UsageError(f"{where} has {len(found)} workflows {wanted!r}",
                             fix=f"name it by its n8n id: {', '.join(each.workflow_id for each in found[:10])}")
        if found:
            return found[0]
    raise UnknownWorkflow(f"{where} has no workflow {wanted!r}",
                          fix="`wfops snapshot show` lists what it holds, with ids")


# -- comparing -------------------------------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class SnapshotSide:
    """One side of a comparison: a snapshot, or the environment as it was last read (``snapshot_id`` is none; ``taken_at`` is
    none where it never was)."""

    snapshot_id: str | None
    kind: str | None
    name: str | None
    taken_at: str | None

    def as_json(self) -> JsonObject:
        """As ``--json`` shows it."""
        return {"snapshot_id": self.snapshot_id, "kind": self.kind, "name": self.name, "taken_at": self.taken_at}

    def __str__(self) -> str:
        return f"snapshot {self.snapshot_id[:8]}" if self.snapshot_id is not None else NOW


@dataclass(frozen=True, slots=True)
class SnapshotComparison:
    """What differs between two snapshots, by workflow name. ``workflows`` are those of
    :meth:`~wfops_pipelines.domain.snapshot.SnapshotDifference.as_json`; where the content that ran differs, ``diff`` is the
    semantic diff of it, masked (``domain.diff.as_json``), and ``draft_diff`` that of the drafts."""

    tenant: str
    environment: str
    before: SnapshotSide
    after: SnapshotSide
    workflows: list[JsonObject]

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not self.workflows

    def as_json(self) -> JsonObject:
        """As ``--json`` shows it."""
        return {"tenant": self.tenant, "environment": self.environment, "equal": self.equal,
                "before": self.before.as_json(), "after": self.after.as_json(), "workflows": self.workflows}


def compare_snapshots(services: Services, context: Context, environment: str, before: str | None, after: str | None, *,
                      at: datetime | None = None) -> SnapshotComparison:
    """Compare two snapshots of an environment, or one with what it held when it was last read (``after`` is ``now``, or
    none). With ``at`` the first is the one as of that time."""
    place = services.environment(context, environment)
    with services.store.unit_of_work(context, "snapshot.compare") as work:
        old = find_snapshot(work, context, place, before, at=at)
        new = None if after in (None, NOW) else find_snapshot(work, context, place, after)
        now = stored_workflows(work, place.id) if new is None else load(work, new).workflows
        found = diff_snapshots(load(work, old).workflows, now)
        differences = list(_with_diffs(work, old, found))
        _record(work, place, old, "compare", other=NOW if new is None else str(new.id))
        if new is not None:
            _record(work, place, new, "compare", other=str(old.id))
    last = place.last_sync_at
    return SnapshotComparison(
        context.tenant_slug, place.slug, _side(old),
        _side(new) if new is not None else SnapshotSide(None, None, None, last.isoformat() if last is not None else None),
        differences)


def _side(row: Row[Any]) -> SnapshotSide:
    return SnapshotSide(str(row.id), row.kind, row.name, row.taken_at.isoformat())


def _with_diffs(work: UnitOfWork, row: Row[Any], found: Sequence[SnapshotDifference]) -> Iterator[JsonObject]:
    """The differences as JSON, with the diffs of contents: a few at a time, for contents can be large."""
    for start in range(0, len(found), _COMPARED_AT_ONCE):
        some = found[start:start + _COMPARED_AT_ONCE]
        bodies = work.payloads.load({digest for each in some for pair in _pairs(each).values() for digest in pair})
        for each in some:
            shown = each.as_json()
            for name, pair in _pairs(each).items():
                if absent := [digest for digest in pair if digest not in bodies]:
                    raise content_lost(row, f"the content {absent[0]} of {each.name!r} is")
                shown[name] = diff_json(diff(*(decode_content(bodies[digest]) for digest in pair)))
            yield shown


def _pairs(each: SnapshotDifference) -> dict[str, tuple[str, str]]:
    """Which contents of a workflow are compared."""
    if each.before is None or each.after is None:
        return {}
    pairs = {}
    if each.before.live_digest != each.after.live_digest:
        pairs["diff"] = (each.before.live_digest, each.after.live_digest)
    drafts = (each.before.draft_digest, each.after.draft_digest)
    if drafts[0] != drafts[1] and drafts != pairs.get("diff"):
        pairs["draft_diff"] = drafts
    return pairs


def _record(work: UnitOfWork, place: Row[Any], row: Row[Any], purpose: str, **details: str) -> None:
    work.record("snapshot.read", "snapshot", str(row.id), environment=place.slug, purpose=purpose, **details)
