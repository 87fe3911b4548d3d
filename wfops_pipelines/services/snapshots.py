"""Snapshots (§13): what an environment holds, kept; the contents are those that are stored already, each once.

A snapshot's manifest lists its workflows (:class:`~wfops_pipelines.domain.snapshot.SnapshotWorkflow`) and is a payload
itself, stored under its digest: two snapshots of an unchanged environment share it. Snapshots in words for people, and who
looked at which, are in ``snapshot_reports``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.canonical_json import encode, parse_json
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import Broken
from wfops_pipelines.domain.mapping import MappingStatus
from wfops_pipelines.domain.normalize import NORMALIZER_VERSION, content_hash
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.domain.snapshot import Snapshot, SnapshotKind, SnapshotWorkflow
from wfops_pipelines.domain.workflow import decode_content, digest
from wfops_pipelines.services.environment_sync import EnvironmentSync
from wfops_pipelines.services.holder import monotonic_ms
from wfops_pipelines.services.operations import RunningOperation, run_operation
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.sync_environment import read_environment
from wfops_pipelines.store.unit_of_work import UnitOfWork

_MANIFEST_VERSION: Final = 1
_HASHED_AT_ONCE: Final = 100  # contents in memory, when those of an older normaliser are hashed anew


@dataclass
class SnapshotReport:
    """A snapshot that was taken. ``workflows`` counts all in it, of which ``active`` ran and ``archived`` were archived;
    ``same_as`` is the id of the newest earlier snapshot that holds the same; ``problems`` are workflows that n8n answered
    with and that cannot be read (id, kind, message): they are in it as they were when they last could be, or not at all."""

    tenant: str
    environment: str
    snapshot_id: str
    operation_id: str
    kind: str
    name: str | None
    taken_at: str
    taken_by: str
    address: str
    workflows: int
    active: int
    archived: int
    same_as: str | None = None
    unreadable: int = 0
    problems: list[dict[str, str]] = field(default_factory=list)
    duration_ms: int = 0

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` and metadata show it."""
        return asdict(self)


async def take_snapshot(services: Services, context: Context, environment: Row[Any], *,
                        kind: SnapshotKind = SnapshotKind.MANUAL_BACKUP, name: str | None = None) -> SnapshotReport:
    """Read the environment and keep what it holds, as an operation of its own.

    Raises the ``OutsideError`` tree when n8n cannot be read whole: there is no snapshot then. Raises
    :class:`OperationRunning` when another operation holds the environment.
    """
    request = {"kind": str(kind), "name": name}
    async with run_operation(services, context, OperationKind.SNAPSHOT, environment, request=request) as operation:
        started = monotonic_ms()
        async with operation.step("environment") as result:
            inventory = await read_environment(operation)
            result.update(inventory.as_json())
        async with operation.step("snapshot") as result:
            report = await asyncio.to_thread(_take_and_tell, operation, kind, name, inventory)
            result.update({"snapshot_id": report.snapshot_id, "workflows": report.workflows})
        report.duration_ms = round(monotonic_ms() - started)
        operation.metrics.update(report.as_json())
        return report


def _take_and_tell(operation: RunningOperation, kind: SnapshotKind, name: str | None,
                   inventory: EnvironmentSync) -> SnapshotReport:
    with operation.services.store.unit_of_work(operation.context, "snapshot.take", held=operation.held) as work:
        snapshot_id = take(work, operation, kind, name=name)
        row = work.snapshots.by_id(snapshot_id)
        assert row is not None  # noqa: S101 - it was just added
        snapshot = load(work, row)
        same = next((other for other in work.snapshots.listed(operation.environment.id, limit=2)
                     if other.id != row.id and other.address == row.address), None)
    return SnapshotReport(
        tenant=operation.context.tenant_slug, environment=operation.environment.slug, snapshot_id=str(snapshot_id),
        operation_id=str(operation.id), kind=str(kind), name=row.name, taken_at=row.taken_at.isoformat(),
        taken_by=row.taken_by, address=row.address, workflows=len(snapshot.workflows),
        active=sum(each.active for each in snapshot.workflows), archived=sum(each.archived for each in snapshot.workflows),
        same_as=None if same is None else str(same.id), unreadable=inventory.errors, problems=inventory.problems)


def take(work: UnitOfWork, operation: RunningOperation, kind: SnapshotKind, *, name: str | None = None) -> UUID:
    """Keep what the store has just read of ``operation.environment``; returns the snapshot's id.

    Archived, untracked and ignored workflows are in it, missing and deleted ones are not. Inside the caller's unit of work,
    which holds the environment's lease; recorded as ``snapshot.taken``.
    """
    environment, context = operation.environment, work.context
    snapshot = Snapshot(str(environment.id), kind, context.now(), stored_workflows(work, environment.id))
    body = _manifest(snapshot.workflows)
    manifest = digest(body)
    work.payloads.save({manifest: body})
    snapshot_id = context.new_id()
    work.snapshots.add(id=snapshot_id, environment_id=environment.id, kind=str(kind), address=snapshot.address,
                       manifest_digest=manifest, workflows=len(snapshot.workflows), name=name, taken_by=context.actor,
                       operation_id=operation.id, taken_at=snapshot.taken_at)
    work.record("snapshot.taken", "snapshot", str(snapshot_id), environment=environment.slug, after=snapshot.address,
                kind=str(kind), name=name, workflows=len(snapshot.workflows))
    return snapshot_id


def load(work: UnitOfWork, row: Row[Any]) -> Snapshot:
    """The snapshot of a row of ``work.snapshots``, its content hashes those of today's normaliser (§4.6).

    :class:`Broken` when what it holds is not stored. Nothing is audited here: see ``snapshot_reports`` for people who look.
    """
    body = work.payloads.load([row.manifest_digest]).get(row.manifest_digest)
    if body is None:
        raise content_lost(row, "its list of workflows is")
    document = parse_json(body)
    workflows = tuple(SnapshotWorkflow.from_json(each) for each in document["workflows"])
    if document["normalizer_version"] != NORMALIZER_VERSION:
        workflows = _hashed_anew(work, row, workflows)
    return Snapshot(str(row.environment_id), SnapshotKind(row.kind), row.taken_at, workflows)


def stored_workflows(work: UnitOfWork, environment_id: UUID) -> tuple[SnapshotWorkflow, ...]:
    """The environment's workflows as a snapshot would hold them now: as they were last read, by name."""
    rows = [row for row in work.mappings.of_environment(environment_id) if row.missing_at is None and row.deleted_at is None]
    # A workflow that was put aside may name the canonical workflow that another one is by now: that one has it.
    owners: dict[UUID, UUID] = {}
    for row in sorted(rows, key=lambda row: (row.status != MappingStatus.LINKED, row.workflow_id)):
        if row.canonical_id is not None:
            owners.setdefault(row.canonical_id, row.id)
    return tuple(SnapshotWorkflow(
        workflow_id=row.workflow_id,
        canonical_id=str(row.canonical_id) if row.canonical_id is not None and owners[row.canonical_id] == row.id else None,
        name=row.name, live_digest=row.live_digest, draft_digest=row.draft_digest, content_hash=row.live_hash,
        active=row.active, archived=row.archived, tags=tuple(row.tags)) for row in rows)


def digests_of(manifest: bytes) -> frozenset[str]:
    """The contents that a manifest lists: what must be kept as long as a snapshot with that manifest is there."""
    return frozenset(each[name] for each in parse_json(manifest)["workflows"] for name in ("live_digest", "draft_digest"))


def _manifest(workflows: Sequence[SnapshotWorkflow]) -> bytes:
    return encode({"version": _MANIFEST_VERSION, "normalizer_version": NORMALIZER_VERSION,
                   "workflows": [each.as_json() for each in sorted(workflows, key=lambda each: each.workflow_id)]})


def _hashed_anew(work: UnitOfWork, row: Row[Any], workflows: Sequence[SnapshotWorkflow]) -> tuple[SnapshotWorkflow, ...]:
    hashed: list[SnapshotWorkflow] = []
    for start in range(0, len(workflows), _HASHED_AT_ONCE):
        some = workflows[start:start + _HASHED_AT_ONCE]
        bodies = work.payloads.load(each.live_digest for each in some)
        if absent := [each.name for each in some if each.live_digest not in bodies]:
            raise content_lost(row, f"{len(absent)} contents ({absent[0]!r} first) are")
        hashed += [replace(each, content_hash=content_hash(decode_content(bodies[each.live_digest]))) for each in some]
    return tuple(hashed)


def content_lost(row: Row[Any], what: str) -> Broken:
    """The error for something that a snapshot names and that is not stored."""
    return Broken(f"of snapshot {row.id} {what} not stored any more",
                  fix="restore a backup of the database, or use another snapshot")
