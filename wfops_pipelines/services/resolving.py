"""``wfops resolve`` (§5.3): ending a conflict in favour of Git, of the runtime, or by splitting into two.

What is decided is written into the mappings, and for files into their Git states: a state remembers in what its file was
overruled, and the repository sync does not hear that claim again while the file says the same (``unless_overruled``).
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.conflicts import Keep, Outcome, settle
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.domain.mapping import UnlinkedReason, status_of
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.services.linking import link_untracked
from wfops_pipelines.services.named import keep_undeleted, named_mapping
from wfops_pipelines.services.operations import run_operation
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.standing_conflicts import sides_of
from wfops_pipelines.store.unit_of_work import Held, UnitOfWork


@dataclass
class Resolution:
    """What happened, or with ``dry_run`` would happen. ``workflows`` are ``{workflow_id, name, before, after}`` with
    status and canonical id, the named one first; ``files`` are ``{path, before, after}`` with the canonical and the n8n id
    that count. ``canonical_id`` is the one that begins with a split."""

    tenant: str
    environment: str
    workflow_id: str
    name: str
    keep: str
    dry_run: bool
    workflows: list[dict[str, Any]] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    canonical_id: str | None = None

    @property
    def changed(self) -> bool:
        """Whether there was something to do."""
        return bool(self.workflows or self.files)

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {**asdict(self), "changed": self.changed}


async def resolve(services: Services, context: Context, environment: str, workflow: str, keep: Keep, *,
                  path: str | None = None, dry_run: bool = False) -> Resolution:
    """End the conflict that an n8n workflow is in, for good.

    ``git``: it is what its file says (``path``, where several files name it); whoever had that before becomes untracked,
    by hand. ``runtime``: it is what it is linked to, else what it claims; files that say otherwise are overruled, and
    rewritten by the next export. ``split``: it begins a canonical workflow of its own.

    :class:`UsageError` when it is in no conflict, or more has to be said; :class:`Blocked` when that way out would not
    last, or nothing speaks for it. A second time in the same favour changes nothing.
    """
    place = await asyncio.to_thread(services.environment, context, environment)
    if dry_run:
        return await asyncio.to_thread(_settle, services, context, place, workflow, keep, path, None)
    async with run_operation(services, context, OperationKind.MAPPING, place) as operation:
        resolution = await asyncio.to_thread(_settle, services, operation.context, place, workflow, keep, path,
                                             operation.held)
        if resolution.changed:
            await asyncio.to_thread(link_untracked, operation)  # what has become free is taken by who claims it
        operation.metrics.update(resolution.as_json())
        return resolution


def _settle(services: Services, context: Context, place: Row[Any], workflow: str, keep: Keep, path: str | None,
            held: Held | None) -> Resolution:
    """Decide and, with the lease, write: in one transaction."""
    store = services.store
    with (store.read(context) if held is None else store.bookkeeping(context, "mapping.resolve", held=held)) as work:
        mapping = named_mapping(work, context, place, workflow)
        resolution = Resolution(context.tenant_slug, place.slug, mapping.workflow_id, mapping.name, str(keep),
                                dry_run=held is None)
        outcome = settle(sides_of(work, place.id), mapping.workflow_id, keep, new_id=context.new_id(), path=path)
        if outcome is None:
            if mapping.resolved != keep:
                _refuse(context, place, mapping)
            return resolution
        _plan(work, place, outcome, resolution)
        if held is not None:
            _write(work, context, place, mapping, outcome, resolution)
    return resolution


def _refuse(context: Context, place: Row[Any], mapping: Row[Any]) -> None:
    where = f"{context.tenant_slug} {place.slug}"
    raise UsageError(f"{mapping.name!r} ({mapping.workflow_id}) of {context.tenant_slug}/{place.slug} is in no conflict",
                     fix=f"`wfops conflicts {where}` lists those there are; `wfops link`, `unlink` say what a workflow is "
                         "where nothing contradicts")


def _plan(work: UnitOfWork, place: Row[Any], outcome: Outcome, resolution: Resolution) -> None:
    """What changes, before and after."""
    rows = work.mappings.by_workflow(place.id, list(outcome.links))
    for workflow_id in sorted(rows, key=lambda i: (i != resolution.workflow_id, i)):
        row, canonical_id = rows[workflow_id], outcome.links[workflow_id]
        status = status_of(deleted=row.deleted_at is not None, ignored=row.ignored_at is not None,
                           missing=row.missing_at is not None, canonical_id=canonical_id)
        resolution.workflows.append({
            "workflow_id": workflow_id, "name": row.name,
            "before": {"status": str(row.status), "canonical_id": _text(row.canonical_id)},
            "after": {"status": str(status), "canonical_id": _text(canonical_id)}})
    for state in work.git_states.of_environment(place.id):
        if state.path in outcome.files or state.path in outcome.unclaimed:
            resolution.files.append({
                "path": state.path,
                "before": {"canonical_id": _text(state.canonical_id), "workflow_id": state.workflow_id},
                "after": {"canonical_id": _text(outcome.files.get(state.path, state.canonical_id)),
                          "workflow_id": None if state.path in outcome.unclaimed else state.workflow_id}})
    resolution.canonical_id = _text(outcome.created)


def _write(work: UnitOfWork, context: Context, place: Row[Any], mapping: Row[Any], outcome: Outcome,
           resolution: Resolution) -> None:
    if outcome.created is not None:
        work.mappings.save_canonicals({outcome.created: mapping.name}, context.now())
    keep_undeleted(work, context, {i for i in (*outcome.links.values(), *outcome.files.values()) if i is not None})
    rows = work.mappings.by_workflow(place.id, list({*outcome.links, mapping.workflow_id}))
    for change in sorted(resolution.workflows, key=lambda c: c["after"]["canonical_id"] is not None):  # who loses it, first
        row, canonical_id = rows[change["workflow_id"]], outcome.links[change["workflow_id"]]
        work.mappings.change(
            row.id, canonical_id=canonical_id, status=change["after"]["status"], in_sync_hash=None, resolved=None,
            unlinked_reason=UnlinkedReason.BY_HAND if canonical_id is None else None)
        if row.workflow_id != mapping.workflow_id:
            work.record("mapping.unlinked" if canonical_id is None else "mapping.linked", "workflow", row.workflow_id,
                        environment=place.slug, before=row.live_hash, after=row.live_hash, name=row.name, by="resolve",
                        was=change["before"], **change["after"])
    work.mappings.change(rows[mapping.workflow_id].id, resolved=resolution.keep)
    states = {state.path: state for state in work.git_states.of_environment(place.id)}
    for change in resolution.files:
        state = states[change["path"]]
        work.git_states.set(place.id, state.path, **_overruling(state, outcome))
        work.record("git.claim_overruled", "file", state.path, environment=place.slug, before=state.content_hash,
                    after=state.content_hash, was=change["before"], **change["after"])
    if not place.ever_mapped and any(outcome.links.values()):
        work.fleet.set_environment(place.id, ever_mapped=True)
    work.record("mapping.resolved", "workflow", mapping.workflow_id, environment=place.slug, before=mapping.live_hash,
                after=mapping.live_hash, name=mapping.name, keep=resolution.keep,
                workflows=resolution.workflows, files=resolution.files)


def _overruling(state: Row[Any], outcome: Outcome) -> dict[str, Any]:
    """The columns of a state whose file is overruled in its key, its n8n id, or both."""
    values: dict[str, Any] = {}
    if state.path in outcome.files:
        values |= {"canonical_id": outcome.files[state.path],
                   "overruled_canonical_id": state.overruled_canonical_id or state.canonical_id}
    if state.path in outcome.unclaimed:
        values |= {"workflow_id": None, "overruled_workflow_id": state.workflow_id}
    return values


def _text(canonical_id: UUID | None) -> str | None:
    return None if canonical_id is None else str(canonical_id)
