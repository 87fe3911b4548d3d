"""Operations and their steps (§19.2). Which transition is allowed is the domain's table, and the database's trigger."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, bindparam, func, insert, select, text, update

from wfops_pipelines.domain.operation import OperationKind, OperationState, check_transition
from wfops_pipelines.store.any_of import any_of
from wfops_pipelines.store.tables.operations import operation_steps, operations

_THIS = (operations.c.tenant_id == bindparam("tenant")) & (operations.c.id == bindparam("operation"))
_STATE_LOCKED = select(operations.c.state).where(_THIS).with_for_update()
_START = update(operations).where(_THIS).values(
    state=OperationState.RUNNING, run_id=bindparam("run"), attempts=operations.c.attempts + 1, error_kind=None,
    error_message=None, ended_at=None, started_at=func.coalesce(operations.c.started_at, bindparam("now")),
).returning(operations.c.attempts)
_END = update(operations).where(_THIS).values(
    state=bindparam("to"), ended_at=bindparam("now"), metrics=bindparam("measured"), error_kind=bindparam("failure"),
    error_message=bindparam("message"))
_CHECKPOINT = update(operations).where(_THIS).values(checkpoint=bindparam("reached"))
_LAST = select(operations).where(
    operations.c.tenant_id == bindparam("tenant"), operations.c.environment_id == bindparam("environment"),
    operations.c.kind == bindparam("kind")).order_by(operations.c.created_at.desc()).limit(1)
# As text, which is compiled once: an insert() with ON CONFLICT is compiled at each use, and no write is as frequent.
_STEP = text("""
    INSERT INTO operation_steps (tenant_id, operation_id, name, position, state, started_at, ended_at, result)
    VALUES (:tenant, :operation, :name, :position, :state, :now, :ended, :result)
    ON CONFLICT (tenant_id, operation_id, name) DO UPDATE
    SET state = excluded.state, ended_at = excluded.ended_at, result = excluded.result,
        attempts = operation_steps.attempts + CASE WHEN excluded.state = 'running' THEN 1 ELSE 0 END
    """).bindparams(bindparam("result", type_=operation_steps.c.result.type))


class Operations:
    """A tenant's operations."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    def create(self, operation_id: UUID, kind: str, *, environment_id: UUID | None, actor: str, run_id: str | None,
               now: datetime, request: dict[str, Any] | None = None) -> None:
        """A new operation, queued; ``request`` is what was asked for, as far as a resume has to know it."""
        self._connection.execute(insert(operations).values(
            tenant_id=self._tenant_id, id=operation_id, kind=kind, environment_id=environment_id,
            state=OperationState.QUEUED, actor=actor, run_id=run_id, created_at=now, request=request,
        ))

    def get(self, operation_id: UUID) -> Row[Any] | None:
        """One operation."""
        return self._connection.execute(
            select(operations).where(operations.c.tenant_id == self._tenant_id, operations.c.id == operation_id)
        ).one_or_none()

    def start(self, operation_id: UUID, *, run_id: str | None, now: datetime) -> int:
        """Begin an attempt (also a resumed one); returns its number."""
        self._check(operation_id, OperationState.RUNNING)
        return int(self._connection.execute(_START, {**self._key(operation_id), "run": run_id, "now": now}).scalar_one())

    def ask_to_stop(self, operation_id: UUID, *, by: str, reason: str | None, now: datetime) -> bool:
        """Ask the process that runs it to stop; false where somebody has, or it does not run."""
        asked = self._connection.execute(
            update(operations).where(operations.c.tenant_id == self._tenant_id, operations.c.id == operation_id,
                                     operations.c.state == OperationState.RUNNING,
                                     operations.c.cancel_requested_at.is_(None))
            .values(cancel_requested_at=now, cancel_requested_by=by, cancel_reason=reason))
        return asked.rowcount == 1

    def forget_asked_to_stop(self, operation_id: UUID) -> None:
        """Somebody wants it to go on: what was asked of it before is not."""
        self._connection.execute(
            update(operations).where(operations.c.tenant_id == self._tenant_id, operations.c.id == operation_id)
            .values(cancel_requested_at=None, cancel_requested_by=None, cancel_reason=None))

    def asked_to_stop(self, operation_id: UUID) -> Row[Any] | None:
        """Who asked it to stop (``cancel_requested_by``, ``cancel_reason``); none if nobody did."""
        return self._connection.execute(
            select(operations.c.cancel_requested_by, operations.c.cancel_reason).where(
                operations.c.tenant_id == self._tenant_id, operations.c.id == operation_id,
                operations.c.cancel_requested_at.is_not(None))).one_or_none()

    def checkpoint(self, operation_id: UUID, checkpoint: dict[str, Any] | None) -> None:
        """Where to go on after a crash."""
        self._connection.execute(_CHECKPOINT, {**self._key(operation_id), "reached": checkpoint})

    def end(self, operation_id: UUID, state: OperationState, *, now: datetime, metrics: dict[str, Any] | None = None,
            error_kind: str | None = None, error_message: str | None = None) -> None:
        """Complete, fail, cancel or compensate."""
        self._check(operation_id, state)
        self._connection.execute(_END, {**self._key(operation_id), "to": state, "now": now, "measured": metrics,
                                        "failure": error_kind, "message": error_message})

    def step(self, operation_id: UUID, name: str, *, position: int, state: str, now: datetime,
             result: dict[str, Any] | None = None) -> None:
        """Record a step: the first call starts it, a later one repeats or ends it."""
        ended = None if state == OperationState.RUNNING else now
        self._connection.execute(_STEP, {
            **self._key(operation_id), "name": name, "position": position, "state": str(state),
            "now": now, "ended": ended, "result": result})

    def steps(self, operation_id: UUID) -> list[Row[Any]]:
        """The steps of an operation, in order."""
        return list(self._connection.execute(
            select(operation_steps)
            .where(operation_steps.c.tenant_id == self._tenant_id, operation_steps.c.operation_id == operation_id)
            .order_by(operation_steps.c.position)
        ))

    def recent(self, *, environment_id: UUID | None = None, limit: int = 50) -> list[Row[Any]]:
        """The newest operations first."""
        query = select(operations).where(operations.c.tenant_id == self._tenant_id)
        if environment_id is not None:
            query = query.where(operations.c.environment_id == environment_id)
        return list(self._connection.execute(query.order_by(operations.c.created_at.desc()).limit(limit)))

    def last(self, environment_id: UUID, kind: str) -> Row[Any] | None:
        """The newest operation of a kind on an environment."""
        return self._connection.execute(_LAST, {
            "tenant": self._tenant_id, "environment": environment_id, "kind": kind}).one_or_none()

    def rollbacks_of(self, promotions: Collection[Row[Any]]) -> list[Row[Any]]:
        """The operations that began to take one of some promotions back, oldest first."""
        if not promotions:
            return []
        about = operations.c.checkpoint["promotion"].astext
        return list(self._connection.execute(
            select(operations).where(
                operations.c.tenant_id == self._tenant_id, operations.c.kind == "rollback",
                any_of(operations.c.environment_id, {row.target_environment_id for row in promotions}),
                operations.c.created_at >= min(row.requested_at for row in promotions),
                any_of(about, {str(row.id) for row in promotions}))
            .order_by(operations.c.created_at, operations.c.id)))

    def about_incident(self, environment_id: UUID, number: int, *, since: datetime) -> list[UUID]:
        """The operations of an environment that began to write for one of its incidents, however they ended."""
        return list(self._connection.execute(
            select(operations.c.id).where(
                operations.c.tenant_id == self._tenant_id, operations.c.environment_id == environment_id,
                operations.c.kind == OperationKind.INCIDENT_RESOLUTION, operations.c.created_at >= since,
                operations.c.checkpoint["incident"].as_integer() == number)
            .order_by(operations.c.created_at)).scalars())

    def _check(self, operation_id: UUID, to: OperationState) -> None:
        """Refuse a transition that there is not; the operation stays as it is until the transaction ends."""
        state = self._connection.execute(_STATE_LOCKED, self._key(operation_id)).scalar_one()
        check_transition(OperationState(state), to)

    def _key(self, operation_id: UUID) -> dict[str, UUID]:
        return {"tenant": self._tenant_id, "operation": operation_id}
