"""Reconciliation, database → database (§8): what each stage of a pipeline would have to carry over."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.diff import as_json, diff
from wfops_pipelines.domain.mapping import MappingStatus
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.domain.portable import to_portable
from wfops_pipelines.domain.reconciliation import DiffStatus, diff_status
from wfops_pipelines.domain.references import references
from wfops_pipelines.domain.workflow import Content, decode_content
from wfops_pipelines.services.hashing import credential_keys
from wfops_pipelines.services.holder import monotonic_ms
from wfops_pipelines.services.operations import RunningOperation, run_operation
from wfops_pipelines.services.pairing import match_environment, remember_in_sync, stored_sides
from wfops_pipelines.services.rehash import rehash_environment
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork

_BATCH = 50


@dataclass
class Reconciliation:
    """The stages into one environment: workflows by diff status, per source."""

    environment: str
    operation_id: str
    stages: dict[str, dict[str, int]] = field(default_factory=dict)  # source slug → status → count
    changed: int = 0
    duration_ms: int = 0

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` and metadata show it."""
        return asdict(self)


async def reconcile(services: Services, context: Context, environment: Row[Any]) -> Reconciliation:
    """Compare every stage that leads into ``environment``, from what the store holds. Asks neither n8n nor Git."""
    async with run_operation(services, context, OperationKind.RECONCILIATION, environment) as operation:
        return await asyncio.to_thread(reconcile_stages, operation)


def reconcile_stages(operation: RunningOperation) -> Reconciliation:
    """The reconciliation itself, inside whichever operation holds the environment."""
    started = monotonic_ms()
    rehash_environment(operation)
    result = Reconciliation(operation.environment.slug, str(operation.id))
    with operation.services.store.read(operation.context) as work:
        sources = {stage.source_environment_id for stage in work.fleet.stages()
                   if stage.target_environment_id == operation.environment.id}
        environments = {row.id: row for row in work.fleet.environments()}
        known = work.diffs.known_of(operation.environment.id)
    if operation.environment.repository_id is not None:
        with operation.services.store.bookkeeping(operation.context, "reconcile.in_sync", held=operation.held) as work:
            stored = stored_sides(work, operation.environment.id)
            remember_in_sync(work, stored, match_environment(work, operation.environment, stored))
    slugs = {i: row.slug for i, row in environments.items()}
    for source_id in sorted(sources & set(slugs), key=lambda i: slugs[i]):
        rehash_environment(operation, environments[source_id])
        counts, changed = _reconcile_stage(operation, source_id)
        result.stages[slugs[source_id]] = counts
        result.changed += changed
    for source_id in sorted(set(known) - (sources & set(slugs)), key=str):  # declared no more
        _forget(operation, source_id, known[source_id])
        result.changed += len(known[source_id])
    result.duration_ms = round(monotonic_ms() - started)
    operation.metrics.update(result.as_json())
    return result


@dataclass(frozen=True, slots=True)
class _Sides:
    """One canonical workflow on both sides of a stage, as hashes and as rows to take contents from."""

    canonical_id: UUID
    source: Row[Any] | None
    target: Row[Any] | None
    base: str | None

    @property
    def name(self) -> str:
        row = self.source if self.source is not None else self.target
        return row.name if row is not None else ""

    @property
    def status(self) -> DiffStatus | None:
        return diff_status(
            source=self.source.portable_hash if self.source is not None else None,
            target=self.target.portable_hash if self.target is not None else None,
            base=self.base, last_in_sync=self.target.in_sync_hash if self.target is not None else None,
        )


def _reconcile_stage(operation: RunningOperation, source_id: UUID) -> tuple[dict[str, int], int]:
    store, context, target_id = operation.services.store, operation.context, operation.environment.id
    with store.read(context) as work:
        sides = _sides(work, source_id, target_id)
        known = work.diffs.of_stage(source_id, target_id)
    counts = Counter(side.status for side in sides if side.status is not None)
    stale = [side for side in sides if side.status is not None and _differs(side, known.get(side.canonical_id))]
    gone = sorted(set(known) - {side.canonical_id for side in sides if side.status is not None}, key=str)
    for start in range(0, len(stale), _BATCH):
        batch = stale[start:start + _BATCH]
        with store.unit_of_work(context, "reconcile.batch", held=operation.held) as work:
            work.diffs.save(_rows(work, operation, source_id, batch))
            work.record("reconciliation.changed", "environment", operation.environment.slug,
                        environment=operation.environment.slug,
                        workflows={str(side.canonical_id): side.status for side in batch})
    if gone:
        _forget(operation, source_id, gone)
    return {str(status): counts[status] for status in DiffStatus if counts[status]}, len(stale) + len(gone)


def _forget(operation: RunningOperation, source_id: UUID, canonical_ids: list[UUID]) -> None:
    """Remove rows that say nothing any more."""
    store, slug = operation.services.store, operation.environment.slug
    with store.unit_of_work(operation.context, "reconcile.gone", held=operation.held) as work:
        work.diffs.remove(source_id, operation.environment.id, canonical_ids)
        work.record("reconciliation.gone", "environment", slug, environment=slug,
                    workflows=sorted(str(i) for i in canonical_ids))


def _sides(work: UnitOfWork, source_id: UUID, target_id: UUID) -> list[_Sides]:
    def linked(environment_id: UUID) -> dict[UUID, Row[Any]]:
        return {row.canonical_id: row
                for row in work.mappings.of_environment(environment_id, statuses=[MappingStatus.LINKED])
                if not row.archived}  # an archived workflow is not live

    source, target = linked(source_id), linked(target_id)
    base = {row.canonical_id: row.portable_hash for row in work.git_states.of_environment(target_id)}
    deleted = work.mappings.deleted_canonicals()
    return [
        _Sides(i, source.get(i), target.get(i), base.get(i))
        for i in sorted((set(source) | set(target)) - deleted, key=str)
    ]


def _differs(side: _Sides, row: Row[Any] | None) -> bool:
    if row is None:
        return True
    return (row.status, row.source_hash, row.target_hash, row.base_hash, row.name) != (
        str(side.status), _hash(side.source), _hash(side.target), side.base, side.name)


def _hash(row: Row[Any] | None) -> str | None:
    return None if row is None else row.portable_hash


def _rows(work: UnitOfWork, operation: RunningOperation, source_id: UUID, batch: list[_Sides]) -> list[dict[str, Any]]:
    target_id, now = operation.environment.id, operation.context.now()
    rows = [row for side in batch for row in (side.source, side.target) if row is not None]
    contents = {d: decode_content(b) for d, b in work.payloads.load(row.live_digest for row in rows).items()}
    shown = {
        "source": _portable(work, source_id, [s.source for s in batch if s.source is not None], contents),
        "target": _portable(work, target_id, [s.target for s in batch if s.target is not None], contents),
    }
    return [{
        "source_environment_id": source_id, "target_environment_id": target_id, "canonical_id": side.canonical_id,
        "name": side.name, "status": side.status, "source_hash": _hash(side.source), "target_hash": _hash(side.target),
        "base_hash": side.base, "computed_at": now,
        "diff": None if side.status is DiffStatus.UNCHANGED else as_json(diff(
            shown["target"].get(side.canonical_id), shown["source"].get(side.canonical_id))),
    } for side in batch]


def _portable(work: UnitOfWork, environment_id: UUID, rows: list[Row[Any]],
              contents: Mapping[str, Content]) -> dict[UUID, Content]:
    """Contents by canonical id in the form that diffs between environments are made of."""
    keys = credential_keys(work, environment_id)
    wanted = {i for row in rows for i in references(contents[row.live_digest]).workflow_ids}
    canonical = work.mappings.canonical_ids_of(environment_id, wanted)
    return {
        row.canonical_id: to_portable(contents[row.live_digest], self_id=row.workflow_id, canonical_id_of=canonical,
                                      credential_key_of=keys)
        for row in rows
    }
