"""The conflicts there are (§5.3): read from the store, for ``wfops conflicts``, for refusals and for drift checks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.conflicts import Conflict, ConflictKind, File, Sides, Workflow, find_conflicts
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.mapping import MappingStatus, UnlinkedReason
from wfops_pipelines.domain.normalize import NORMALIZER_VERSION
from wfops_pipelines.services.pairing import StoredSides, stored_sides
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork

REASON = "conflict"  # of a problem that a drift check reports


def conflicts_of_tenant(services: Services, context: Context, environment: str | None = None) -> list[dict[str, Any]]:
    """What needs resolving, in the order of the environments; as ``wfops conflicts --json`` shows it."""
    places = services.environments(context, [environment] if environment is not None else None)
    with services.store.read(context) as work:
        return [as_json(context, place, conflict) for place in places
                for conflict in find_conflicts(sides_of(work, place.id))]


def sides_of(work: UnitOfWork, environment_id: UUID, stored: StoredSides | None = None) -> Sides:
    """An environment's workflows and files as they may contradict each other."""
    both = stored or stored_sides(work, environment_id)
    loose = [row.portable_hash for row in both.workflows
             if row.canonical_id is None and row.unlinked_reason != UnlinkedReason.NO_MATCH]
    registered = work.mappings.registered(loose, NORMALIZER_VERSION)
    return Sides(
        [Workflow(row.workflow_id, row.name, row.canonical_id, row.unlinked_reason,
                  frozenset(r.canonical_id for r in registered.get(row.portable_hash, ())) - both.deleted,
                  aside=row.status == MappingStatus.IGNORED) for row in both.workflows],
        [File(row.path, row.canonical_id, row.workflow_id, row.read_only) for row in both.files], both.deleted)


def way_out(work: UnitOfWork, context: Context, place: Row[Any], workflow_id: str) -> str | None:
    """How to end a workflow's conflict; none where it is in none."""
    found = any(workflow_id in (c.workflow_id, *c.holders) for c in find_conflicts(sides_of(work, place.id)))
    return _resolve(context, place, workflow_id) if found else None


def conflict_problems(context: Context, place: Row[Any], conflicts: Iterable[Conflict]) -> list[dict[str, str]]:
    """An environment's conflicts as problems of a drift check: n8n id, reason, message with the way out."""
    return [{"workflow_id": c.workflow_id, "reason": REASON,
             "message": f"{describe(c)}; {_resolve(context, place, c.workflow_id)}"} for c in conflicts]


def as_json(context: Context, place: Row[Any], conflict: Conflict) -> dict[str, Any]:
    """One conflict as ``--json`` shows it."""
    return {"tenant": context.tenant_slug, "environment": place.slug, "workflow_id": conflict.workflow_id,
            "name": conflict.name, "kind": str(conflict.kind),
            "canonical_ids": [str(i) for i in conflict.canonical_ids], "holders": list(conflict.holders),
            "paths": list(conflict.paths), "message": describe(conflict),
            "fix": _resolve(context, place, conflict.workflow_id)}


def describe(conflict: Conflict) -> str:
    """The conflict in words."""
    who = f"{conflict.name!r} ({conflict.workflow_id})"
    what = ", ".join(str(i) for i in conflict.canonical_ids) or "one"
    held = f", which {', '.join(conflict.holders)} is here" if conflict.holders else ""
    match conflict.kind:
        case ConflictKind.CLAIMED_BY_FILE:
            return f"the file {conflict.paths[0]} says that {who} is canonical workflow {what}{held}"
        case ConflictKind.LINKED_OTHERWISE:
            return f"{who} is linked to another canonical workflow than its file {conflict.paths[0]} says: {what}"
        case ConflictKind.SEVERAL_FILES:
            return f"{len(conflict.paths)} files name {who}: {', '.join(conflict.paths)}"
        case ConflictKind.ALREADY_MAPPED:
            return f"{who} looks like canonical workflow {what}{held}"
        case ConflictKind.AMBIGUOUS:
            return f"{who} looks like several canonical workflows: {what}"
    return f"the hash of {who} stands for another content ({what})"


def _resolve(context: Context, place: Row[Any], workflow_id: str) -> str:
    return f"wfops resolve {context.tenant_slug} {place.slug} {workflow_id} --keep git|runtime|split"
