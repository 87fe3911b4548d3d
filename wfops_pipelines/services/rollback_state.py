"""How far the rollback of a promotion is that somebody began by hand (§11.9): promotions stay completed until it is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.services.intended_writes import key_of
from wfops_pipelines.services.operations import is_running
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork

_BACK = ("done", "settled")
_LEFT = ("failed", "abandoned")
State = Literal["running", "unfinished", "given_up"]


@dataclass(frozen=True, slots=True)
class RollbackState:
    """A rollback that has begun to write, and is not done: ``running`` in a living process, ``unfinished``, left to whoever
    comes next in the target, or ``given_up`` by an admin. ``undoing``: something failed before it was too late, and it is
    itself taken back. ``attempts`` are the operations that began one, with their journals, oldest first."""

    attempts: tuple[tuple[Row[Any], tuple[Row[Any], ...]], ...]
    state: State

    @property
    def undoing(self) -> bool:
        """Of the last attempt."""
        return is_undoing(self.attempts[-1][1])

    def as_json(self, workflows: Sequence[Mapping[str, Any]] | None = None) -> dict[str, Any]:
        """As ``--json`` shows it; with the promotion's results also how many ``writes`` there were to take back, and how
        many are ``done``."""
        operation, rows = self.attempts[-1]
        told = {"operation_id": str(operation.id), "state": self.state, "undoing": self.undoing, "by": operation.actor,
                "at": rows[0].intended_at.isoformat(), "reason": operation.checkpoint["reason"]}
        if workflows is None:
            return told
        written = [each for each in workflows if each["status"] in ("success", "rolled_back", "rollback_failed")]
        return told | {"writes": len(written), "done": sum(each["status"] == "rolled_back" for each in written)}

    def results(self, workflows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The results of the promotion, as far as its rollback came."""
        found = [dict(each) for each in workflows]
        for operation, rows in self.attempts:
            found = with_states(found, rows, operation.checkpoint.get("back") or ())
        return found


def rollback_states(services: Services, work: UnitOfWork, rows: Iterable[Row[Any]]) -> dict[UUID, RollbackState]:
    """Where the rollbacks of promotions are, by the promotion's id; without those that nobody began, that are done, or that
    were undone."""
    completed = {row.id: row for row in rows if row.status.startswith("completed")}
    found: dict[UUID, RollbackState] = {}
    for operation in work.operations.rollbacks_of(completed.values()):  # oldest first
        promotion_id = UUID(operation.checkpoint["promotion"])
        journal = tuple(work.journal.of_operation(operation.id))
        state = _state(services, work, operation, journal)
        if state is not None:  # one that was undone leaves what an earlier one had come to
            earlier = found[promotion_id].attempts if promotion_id in found else ()
            found[promotion_id] = RollbackState((*earlier, (operation, journal)), state)
    return found


def _state(services: Services, work: UnitOfWork, operation: Row[Any], rows: Sequence[Row[Any]]) -> State | None:
    states = {each.state for each in rows}
    if rows and is_running(services, work, operation.environment_id, operation.id):
        return "running"
    if "abandoned" in states:
        return "given_up"
    return "unfinished" if states & {"intended", "done", "failed"} else None


def is_undoing(rows: Iterable[Row[Any]]) -> bool:
    """Whether a rollback is itself taken back."""
    return any(row.state == "undone" for row in rows)


def brought_back(rows: Sequence[Row[Any]]) -> list[Row[Any]]:
    """The writes of a rollback that hold: what it brought back, and what it could not bring forward again."""
    return [row for row in rows if row.state in _BACK or (row.state in _LEFT and is_undoing(rows))]


def with_states(workflows: Iterable[Mapping[str, Any]], rows: Sequence[Row[Any]], back: Iterable[Mapping[str, Any]]) -> (
        list[dict[str, Any]]):
    """A promotion's results with what the journal of its rollback says of each workflow: what is back is ``rolled_back``,
    under the n8n id and with the hash that it has now, also what was ``back`` already; what an admin gave up on is
    ``rollback_failed``; what waits is what it was, with why it could not be done yet."""
    known = {name: row for row in rows for name in (row.workflow_id, str(row.canonical_id), key_of(row)) if name is not None}
    already, holds = {each["key"]: each for each in back}, {row.position for row in brought_back(rows)}
    found = []
    for each in workflows:
        row = known.get(each["key"]) or known.get(each["workflow_id"] or "")
        if each["key"] in already:
            now = already[each["key"]]
            found.append({**each, "status": "rolled_back", "workflow_id": now["workflow_id"], "message": None,
                          "before_hash": now["hash"]})
        elif row is None or row.state == "undone":
            found.append(dict(each))
        elif row.position in holds:
            found.append({**each, "status": "rolled_back", "workflow_id": row.workflow_id, "message": row.error,
                          "before_hash": (row.after or {}).get("live_hash")})
        elif row.state == "abandoned":
            found.append({**each, "status": "rollback_failed", "message": row.error})
        else:
            found.append({**each, "message": row.error})
    return found
