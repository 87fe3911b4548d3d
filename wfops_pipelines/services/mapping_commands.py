"""Linking, unlinking and ignoring by hand (§5.3). Each is an operation on the environment, so that no sync that runs at
the same time writes over it; a conflict is refused and says with whom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import Blocked
from wfops_pipelines.domain.mapping import MappingStatus, UnlinkedReason, status_of
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.services.named import keep_undeleted, named_canonical, named_mapping
from wfops_pipelines.services.operations import run_operation
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.standing_conflicts import way_out
from wfops_pipelines.store.unit_of_work import Held, UnitOfWork


@dataclass(frozen=True, slots=True)
class MappingChange:
    """What happened, or with ``dry_run`` would happen, to a mapping."""

    tenant: str
    environment: str
    workflow_id: str
    name: str
    before: dict[str, Any]  # status and canonical_id
    after: dict[str, Any]
    dry_run: bool

    @property
    def changed(self) -> bool:
        """Whether there was something to do."""
        return self.before != self.after

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {"tenant": self.tenant, "environment": self.environment, "workflow_id": self.workflow_id,
                "name": self.name, "before": self.before, "after": self.after, "changed": self.changed,
                "dry_run": self.dry_run}


Values = dict[str, Any]
Decide = Callable[[UnitOfWork, Row[Any], Row[Any]], Values]
"""Environment and mapping → the columns to change, none if it is so already; raises to refuse."""


async def link(services: Services, context: Context, environment: str, workflow: str, canonical: str, *,
               dry_run: bool = False) -> MappingChange:
    """Say which canonical workflow an n8n workflow is. ``canonical`` is an id or a unique name.

    :class:`Blocked` when it is another one already, when another workflow of the environment is it, or when a file in
    Git says something else.
    """
    def decide(work: UnitOfWork, place: Row[Any], mapping: Row[Any]) -> Values:
        wanted = named_canonical(work, context, canonical)
        if mapping.canonical_id == wanted.id and mapping.status != MappingStatus.UNTRACKED:
            return {}
        if mapping.canonical_id is not None and mapping.canonical_id != wanted.id:
            raise Blocked(f"{mapping.name!r} is linked to another canonical workflow, {mapping.canonical_id}",
                          fix=f"wfops unlink {context.tenant_slug} {place.slug} {mapping.workflow_id}")
        _refuse_second_claim(work, context, place, mapping, wanted.id)
        for state in work.git_states.by_workflow(place.id, [mapping.workflow_id]).get(mapping.workflow_id, []):
            if state.canonical_id != wanted.id:
                raise Blocked(f"the file {state.path} says that {mapping.workflow_id} is canonical workflow "
                              f"{state.canonical_id}",
                              fix=way_out(work, context, place, mapping.workflow_id)
                              or "change its key wfops.canonical_id, or its id, in Git first")
        return {"canonical_id": wanted.id, "unlinked_reason": None}

    return await _change(services, context, environment, workflow, "mapping.linked", decide, dry_run=dry_run)


async def unlink(services: Services, context: Context, environment: str, workflow: str, *,
                 dry_run: bool = False) -> MappingChange:
    """Say that an n8n workflow is no canonical one. It stays untracked until somebody links it; its drift stays visible."""
    def decide(work: UnitOfWork, place: Row[Any], mapping: Row[Any]) -> Values:
        if mapping.canonical_id is None and mapping.unlinked_reason == UnlinkedReason.BY_HAND:
            return {}
        return {"canonical_id": None, "unlinked_reason": UnlinkedReason.BY_HAND, "in_sync_hash": None}

    return await _change(services, context, environment, workflow, "mapping.unlinked", decide, dry_run=dry_run)


async def ignore(services: Services, context: Context, environment: str, workflow: str, *,
                 dry_run: bool = False) -> MappingChange:
    """Leave an n8n workflow out of drift, plans and exports; it is still counted."""
    def decide(work: UnitOfWork, place: Row[Any], mapping: Row[Any]) -> Values:
        return {} if mapping.ignored_at is not None else {"ignored_at": context.now()}

    return await _change(services, context, environment, workflow, "mapping.ignored", decide, dry_run=dry_run)


async def unignore(services: Services, context: Context, environment: str, workflow: str, *,
                   dry_run: bool = False) -> MappingChange:
    """Take an n8n workflow back into drift, plans and exports."""
    def decide(work: UnitOfWork, place: Row[Any], mapping: Row[Any]) -> Values:
        if mapping.ignored_at is None:
            return {}
        if mapping.canonical_id is not None:
            _refuse_second_claim(work, context, place, mapping, mapping.canonical_id)
        return {"ignored_at": None}

    return await _change(services, context, environment, workflow, "mapping.unignored", decide, dry_run=dry_run)


async def _change(services: Services, context: Context, environment: str, workflow: str, action: str, decide: Decide, *,
                  dry_run: bool) -> MappingChange:
    place = await asyncio.to_thread(services.environment, context, environment)
    if dry_run:
        return await asyncio.to_thread(_write, services, context, place, workflow, action, decide, None)
    async with run_operation(services, context, OperationKind.MAPPING, place) as operation:
        change = await asyncio.to_thread(_write, services, operation.context, place, workflow, action, decide,
                                         operation.held)
        operation.metrics.update(change.as_json())
        return change


def _write(services: Services, context: Context, place: Row[Any], workflow: str, action: str, decide: Decide,
           held: Held | None) -> MappingChange:
    """Decide and, with the lease, write: in one transaction."""
    store = services.store
    with (store.read(context) if held is None else store.bookkeeping(context, action, held=held)) as work:
        mapping = named_mapping(work, context, place, workflow)
        values = decide(work, place, mapping)
        merged = {**mapping._mapping, **values}
        status = status_of(deleted=merged["deleted_at"] is not None, ignored=merged["ignored_at"] is not None,
                           missing=merged["missing_at"] is not None, canonical_id=merged["canonical_id"])
        before = {"status": str(mapping.status), "canonical_id": _text(mapping.canonical_id)}
        after = {"status": str(status), "canonical_id": _text(merged["canonical_id"])} if values else before
        if values and held is not None:
            resolved = mapping.resolved if merged["canonical_id"] == mapping.canonical_id else None
            if values.get("canonical_id") is not None:
                keep_undeleted(work, context, [values["canonical_id"]])
            work.mappings.change(mapping.id, **values, status=status, resolved=resolved)
            if merged["canonical_id"] is not None and not place.ever_mapped:
                work.fleet.set_environment(place.id, ever_mapped=True)
            work.record(action, "workflow", mapping.workflow_id, environment=place.slug, before=mapping.live_hash,
                        after=mapping.live_hash, name=mapping.name, by="hand", was=before, **after)
    return MappingChange(context.tenant_slug, place.slug, mapping.workflow_id, mapping.name, before, after,
                         dry_run=held is None)


def _refuse_second_claim(work: UnitOfWork, context: Context, place: Row[Any], mapping: Row[Any],
                         canonical_id: UUID) -> None:
    for other in work.mappings.of_environment(place.id, statuses=[MappingStatus.LINKED, MappingStatus.IGNORED]):
        if other.canonical_id == canonical_id and other.id != mapping.id:
            raise Blocked(
                f"{other.name!r} ({other.workflow_id}) is canonical workflow {canonical_id} in "
                f"{context.tenant_slug}/{place.slug} already",
                fix=way_out(work, context, place, mapping.workflow_id)
                or f"wfops unlink {context.tenant_slug} {place.slug} {other.workflow_id}, if it is not")


def _text(canonical_id: UUID | None) -> str | None:
    return None if canonical_id is None else str(canonical_id)
