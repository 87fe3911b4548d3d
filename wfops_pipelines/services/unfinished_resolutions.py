"""Resolutions of an incident that have begun to write to n8n, and have not come to their end (§11.8)."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Row

from wfops_pipelines.services.operations import is_running
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork

_WRITTEN: Final = frozenset({"done", "settled"})


def unfinished_resolutions(services: Services, work: UnitOfWork, incident: Row[Any]) -> list[dict[str, Any]]:
    """Each with its ``resolution``, who began it and when (``by``, ``at``), how many of its ``writes`` are known to be
    ``done``, and its ``state``: ``running``, or ``interrupted`` where the process died, or could neither finish nor undo
    it. The next operation of the environment goes on with an interrupted one before it does anything else."""
    found = []
    for operation_id in work.journal.unfinished(incident.environment_id):
        operation = work.operations.get(operation_id)
        checkpoint = (operation.checkpoint if operation is not None else None) or {}
        if operation is None or checkpoint.get("incident") != incident.number:
            continue
        rows = work.journal.of_operation(operation_id)
        running = is_running(services, work, incident.environment_id, operation_id)
        found.append({
            "operation_id": str(operation_id), "resolution": checkpoint["choice"]["resolution"], "by": operation.actor,
            "at": min(row.intended_at for row in rows).isoformat(), "writes": len(rows),
            "done": sum(row.state in _WRITTEN for row in rows), "state": "running" if running else "interrupted"})
    return found
