"""Operations as they are listed, and one operation's whole story in order (§19.2, §19.3)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.audit import decode
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.domain.shown import iso
from wfops_pipelines.services.audit_reports import event_json
from wfops_pipelines.services.services import Services

_EVENTS = 10_000  # more than any operation records


def list_operations(services: Services, context: Context, *, environment: str | None = None,
                    limit: int = 50) -> list[dict[str, Any]]:
    """A tenant's operations, or those of one environment, the newest first."""
    environment_id = services.environment(context, environment).id if environment is not None else None
    with services.store.read(context) as work:
        slugs = {row.id: row.slug for row in work.fleet.environments(deleted=True)}
        rows = work.operations.recent(environment_id=environment_id, limit=limit)
    return [_operation_json(context, row, slugs) for row in rows]


def show_operation(services: Services, context: Context, operation_id: UUID) -> dict[str, Any]:
    """One operation with its steps and audit events, in order; :class:`UsageError` when the tenant has none such."""
    with services.store.read(context) as work:
        row = work.operations.get(operation_id)
        if row is None:
            raise UsageError(f"tenant {context.tenant_slug} has no operation {operation_id}",
                             fix=f"`wfops operation list {context.tenant_slug}` lists them")
        slugs = {e.id: e.slug for e in work.fleet.environments(deleted=True)}
        steps = work.operations.steps(operation_id)
        events = [decode(event) for event in reversed(work.audit.events(operation_id=operation_id, limit=_EVENTS))]
    return {
        **_operation_json(context, row, slugs), "checkpoint": row.checkpoint,
        "steps": [{"name": s.name, "state": s.state, "attempts": s.attempts, "started_at": iso(s.started_at),
                   "ended_at": iso(s.ended_at), "result": s.result} for s in steps],
        "events": [event_json(event) for event in events],
    }


def _operation_json(context: Context, row: Row[Any], slugs: dict[UUID, str]) -> dict[str, Any]:
    error = {"kind": row.error_kind, "message": row.error_message} if row.error_kind else None
    return {
        "operation_id": str(row.id), "tenant": context.tenant_slug, "environment": slugs.get(row.environment_id),
        "kind": row.kind, "state": row.state, "actor": row.actor, "run_id": row.run_id, "attempts": row.attempts,
        "created_at": iso(row.created_at), "started_at": iso(row.started_at), "ended_at": iso(row.ended_at),
        "error": error, "metrics": row.metrics,
    }
