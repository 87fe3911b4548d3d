"""Soft deletion of a canonical workflow, and taking it back (§5.3, §5.4).

The canonical workflow and its mappings in all environments change in one transaction, under the leases of every
environment that has it in n8n or in Git. n8n and Git stay as they are: what is deleted is what WorkflowOps knows.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import Blocked, UnknownWorkflow
from wfops_pipelines.domain.mapping import MappingStatus, status_of
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.services.named import named_canonical
from wfops_pipelines.services.operations import RunningOperation, run_operation
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork


@dataclass
class CanonicalChange:
    """What happened, or with ``dry_run`` would happen, to a canonical workflow (``deleted``: as it is afterwards).
    ``mappings`` are ``{environment, workflow_id, name, before, after}`` with the status; ``files`` are its files in Git,
    ``{environment, path}``, which stay."""

    tenant: str
    canonical_id: str
    name: str
    deleted: bool
    dry_run: bool
    changed: bool = False
    mappings: list[dict[str, Any]] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return asdict(self)


async def delete_canonical(services: Services, context: Context, workflow: str, *,
                           dry_run: bool = False) -> CanonicalChange:
    """Soft-delete a canonical workflow, named by id or unique name, with its mappings in every environment.

    It is left out of matrix, drift, plans and exports from then on, and no sync brings it back. Nothing changes where it
    is deleted already. :class:`OperationRunning` when an environment that has it is held by another operation.
    """
    return await _change(services, context, workflow, deleted=True, dry_run=dry_run)


async def undelete_canonical(services: Services, context: Context, workflow: str, *,
                             dry_run: bool = False) -> CanonicalChange:
    """Take a deleted canonical workflow back; the mappings that went with it return to what they were."""
    return await _change(services, context, workflow, deleted=False, dry_run=dry_run)


async def _change(services: Services, context: Context, workflow: str, *, deleted: bool,
                  dry_run: bool) -> CanonicalChange:
    canonical, places = await asyncio.to_thread(_look, services, context, workflow, deleted)
    if dry_run or (canonical.deleted_at is not None) == deleted:
        return await asyncio.to_thread(_preview, services, context, canonical, places, deleted, dry_run)
    async with AsyncExitStack() as stack:
        operations = [await stack.enter_async_context(run_operation(services, context, OperationKind.MAPPING, place))
                      for place in places]  # by slug: two deletions at once take them in the same order
        change = await asyncio.to_thread(_write, services, context, canonical, operations, places, deleted)
        for operation in operations:
            operation.metrics.update(change.as_json())
        return change


def _look(services: Services, context: Context, workflow: str, deleted: bool) -> tuple[Row[Any], list[Row[Any]]]:
    """The canonical workflow, and the environments that have it, by slug."""
    with services.store.read(context) as work:
        try:
            canonical = named_canonical(work, context, workflow, deleted=not deleted)
        except UnknownWorkflow as unknown:
            try:  # it is so already
                canonical = named_canonical(work, context, workflow, deleted=deleted)
            except UnknownWorkflow:
                raise unknown from None
        touched = {row.environment_id for row in (*work.mappings.of_canonical(canonical.id),
                                                  *work.git_states.of_canonical(canonical.id))}
        places = [row for row in work.fleet.environments(deleted=True) if row.id in touched]
        return canonical, sorted(places, key=lambda row: (row.slug, row.id))


def _preview(services: Services, context: Context, canonical: Row[Any], places: list[Row[Any]],
             deleted: bool, dry_run: bool) -> CanonicalChange:
    with services.store.read(context) as work:
        change = _described(context, work, canonical, places, deleted, dry_run=dry_run)
        if (canonical.deleted_at is not None) != deleted:
            change.changed = True
            change.mappings = [_shown(row, places, deleted) for row in _touched(work, canonical, deleted)]
        return change


def _write(services: Services, context: Context, canonical: Row[Any], operations: list[RunningOperation],
           places: list[Row[Any]], deleted: bool) -> CanonicalChange:
    """All of it, or nothing: one transaction, which commits only while every lease is held."""
    context = operations[0].context if operations else context
    action = "deleted" if deleted else "undeleted"
    name = "canonical.delete" if deleted else "canonical.undelete"
    held = operations[0].held if operations else None
    with services.store.bookkeeping(context, name, held=held) as work:
        for operation in operations[1:]:
            work.leases.assert_held(operation.held.environment_id, operation.held.epoch)
        canonical = work.mappings.lock_canonical(canonical.id)
        change = _described(context, work, canonical, places, deleted, dry_run=False)
        if (canonical.deleted_at is not None) == deleted:
            return change  # somebody else was faster
        rows = _touched(work, canonical, deleted)
        _refuse_unheld(context, rows, places)
        moment = context.now() if deleted else None
        change.changed, change.mappings = True, [_shown(row, places, deleted) for row in rows]
        work.mappings.set_deleted(canonical.id, moment)
        for row in rows:
            _change_mapping(work, context, row, places, moment)
        work.record(f"canonical.{action}", "canonical_workflow", str(canonical.id), name=canonical.name,
                    mappings=change.mappings, files=change.files,
                    operations=[str(operation.id) for operation in operations])
    return change


def _change_mapping(work: UnitOfWork, context: Context, row: Row[Any], places: list[Row[Any]],
                    moment: datetime | None) -> None:
    shown = _shown(row, places, moment is not None)
    if shown["after"] == MappingStatus.LINKED:
        _refuse_second_claim(work, context, row, shown["environment"])
    work.mappings.change(row.id, deleted_at=moment, status=shown["after"])
    work.record("mapping.deleted" if moment is not None else "mapping.undeleted", "workflow", row.workflow_id,
                environment=shown["environment"], before=row.live_hash, after=row.live_hash, name=row.name,
                canonical_id=str(row.canonical_id), was=shown["before"], status=shown["after"])


def _touched(work: UnitOfWork, canonical: Row[Any], deleted: bool) -> list[Row[Any]]:
    """Its mappings; for taking back, those that went with it."""
    return [row for row in work.mappings.of_canonical(canonical.id)
            if row.deleted_at == (None if deleted else canonical.deleted_at)]


def _described(context: Context, work: UnitOfWork, canonical: Row[Any], places: list[Row[Any]], deleted: bool, *,
               dry_run: bool) -> CanonicalChange:
    slugs = {place.id: place.slug for place in places}
    files = [{"environment": slugs[state.environment_id], "path": state.path}
             for state in work.git_states.of_canonical(canonical.id) if state.environment_id in slugs]
    return CanonicalChange(context.tenant_slug, str(canonical.id), canonical.name, deleted, dry_run,
                           files=sorted(files, key=lambda file: file["environment"]))


def _shown(row: Row[Any], places: list[Row[Any]], deleted: bool) -> dict[str, Any]:
    after = status_of(deleted=deleted, ignored=row.ignored_at is not None, missing=row.missing_at is not None,
                      canonical_id=row.canonical_id)
    slug = next((place.slug for place in places if place.id == row.environment_id), None)
    return {"environment": slug, "workflow_id": row.workflow_id, "name": row.name, "before": str(row.status),
            "after": str(after)}


def _refuse_unheld(context: Context, rows: list[Row[Any]], places: list[Row[Any]]) -> None:
    if not {row.environment_id for row in rows} <= {place.id for place in places}:
        raise Blocked(f"another environment of {context.tenant_slug} was linked to it meanwhile; nothing was changed",
                      fix="run the command again")


def _refuse_second_claim(work: UnitOfWork, context: Context, row: Row[Any], slug: str) -> None:
    """Nothing links to a deleted one; but if something did, it is not overwritten."""
    for other in work.mappings.of_canonical(row.canonical_id):
        if other.environment_id == row.environment_id and other.id != row.id and other.status == MappingStatus.LINKED:
            raise Blocked(f"{other.name!r} ({other.workflow_id}) is canonical workflow {row.canonical_id} in "
                          f"{context.tenant_slug}/{slug} already",
                          fix=f"wfops unlink {context.tenant_slug} {slug} {other.workflow_id}")
