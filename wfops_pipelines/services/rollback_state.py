"""How far the rollback of a promotion is that somebody began by hand (§11.9): promotions stay completed until it is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.services.intended_writes import key_of
from wfops_pipelines.services.operations import is_running
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork

_BACK = ("done", "settled")


@dataclass(frozen=True, slots=True)
class RollbackState:
    """A rollback that has begun to write, and is not done: ``running`` in a living process, ``unfinished``, left to whoever
    comes next in the target, or ``given_up`` by an admin. ``rows`` are its writes."""

    operation_id: UUID
    state: Literal["running", "unfinished", "given_up"]
    by: str
    at: str
    reason: str
    rows: tuple[Row[Any], ...]

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {"operation_id": str(self.operation_id), "state": self.state, "by": self.by, "at": self.at,
                "reason": self.reason, "writes": len(self.rows), "done": sum(row.state in _BACK for row in self.rows)}

    def results(self, workflows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The results of the promotion, as far as its rollback came."""
        return with_states(workflows, self.rows, waiting=self.state != "given_up")


def rollback_states(services: Services, work: UnitOfWork, rows: Iterable[Row[Any]]) -> dict[UUID, RollbackState]:
    """Where the rollbacks of promotions are, by the promotion's id; without those that nobody began, that are done, or that
    were undone."""
    completed = {row.id: row for row in rows if row.status.startswith("completed")}
    found = {}
    for operation in work.operations.rollbacks_of(completed.values()):  # oldest first: the last one counts
        promotion_id = UUID(operation.checkpoint["promotion"])
        state = _state(services, work, operation)
        if state is not None:  # one that was undone leaves what an earlier one had come to
            found[promotion_id] = state
    return found


def _state(services: Services, work: UnitOfWork, operation: Row[Any]) -> RollbackState | None:
    rows = tuple(work.journal.of_operation(operation.id))
    states = {each.state for each in rows}
    state: Literal["running", "unfinished", "given_up"] | None = None
    if rows and is_running(services, work, operation.environment_id, operation.id):
        state = "running"
    elif "abandoned" in states:
        state = "given_up"
    elif states & {"intended", "done", "failed"}:
        state = "unfinished"
    return None if state is None else RollbackState(
        operation.id, state, operation.actor, rows[0].intended_at.isoformat(), operation.checkpoint["reason"], rows)


def with_states(workflows: Iterable[Mapping[str, Any]], rows: Iterable[Row[Any]], *, waiting: bool) -> list[dict[str, Any]]:
    """A promotion's results with what the journal of its rollback says of each workflow: what is back is ``rolled_back``,
    under the n8n id and with the hash that it has now; what is not is ``rollback_failed``, or, while that is ``waiting`` to
    be done, what it was, with why it could not be."""
    known = {name: row for row in rows for name in (key_of(row), row.workflow_id) if name is not None}
    found = []
    for each in workflows:
        row = known.get(each["key"]) or known.get(each["workflow_id"] or "")
        if row is None:
            found.append(dict(each))
        elif row.state in _BACK:
            found.append({**each, "status": "rolled_back", "workflow_id": row.workflow_id, "message": None,
                          "before_hash": (row.after or {}).get("live_hash")})
        elif row.state == "undone" or (waiting and row.state == "intended"):
            found.append(dict(each))
        else:
            found.append({**each, "message": row.error} if waiting else
                         {**each, "status": "rollback_failed", "message": row.error})
    return found
