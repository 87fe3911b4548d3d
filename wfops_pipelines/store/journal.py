"""The journal of writes to n8n (design decision 7): what was intended, and what became of it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, func, insert, select, text, update

from wfops_pipelines.store.any_of import any_of
from wfops_pipelines.store.tables.incidents import runtime_journal as journal

# The conditions are those of partial indexes, literally.
_IS_SETTLED = text("""
    SELECT environments.writes_blocked_at IS NULL AND NOT EXISTS (
        SELECT FROM runtime_journal WHERE tenant_id = :tenant AND environment_id = :environment
        AND state IN ('intended', 'done', 'failed')
    ) AND NOT EXISTS (
        SELECT FROM promotions WHERE tenant_id = :tenant AND target_environment_id = :environment AND status = 'running'
    ) AND NOT EXISTS (
        SELECT FROM promotions WHERE tenant_id = :tenant AND target_environment_id = :environment AND status = 'failed'
        AND rollback_incomplete
    ) FROM environments WHERE tenant_id = :tenant AND id = :environment""")


class RuntimeJournal:
    """A tenant's writes to its environments, in order, by operation."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    def of_operation(self, operation_id: UUID) -> list[Row[Any]]:
        """The writes of an operation, in order."""
        return list(self._connection.execute(
            select(journal).where(journal.c.tenant_id == self._tenant_id, journal.c.operation_id == operation_id)
            .order_by(journal.c.position)))

    def one(self, operation_id: UUID, position: int) -> Row[Any]:
        """A write of an operation, by its place."""
        return self._connection.execute(
            select(journal).where(journal.c.tenant_id == self._tenant_id, journal.c.operation_id == operation_id,
                                  journal.c.position == position)).one()

    def unfinished(self, environment_id: UUID) -> list[UUID]:
        """Operations whose writes to an environment were neither undone nor finished with all that follows from them,
        oldest first."""
        return list(self._connection.execute(
            select(journal.c.operation_id).where(
                journal.c.tenant_id == self._tenant_id, journal.c.environment_id == environment_id,
                text("state in ('intended', 'done', 'failed')"))  # as the partial index says it, literally
            .group_by(journal.c.operation_id).order_by(func.min(journal.c.intended_at))).scalars())

    def canonical_ids(self, environment_id: UUID, workflow_ids: Collection[str]) -> dict[str, UUID]:
        """Which canonical workflows those that were written in an environment were, by n8n id."""
        if not workflow_ids:
            return {}
        rows = self._connection.execute(select(journal.c.workflow_id, journal.c.canonical_id).where(
            journal.c.tenant_id == self._tenant_id, journal.c.environment_id == environment_id,
            any_of(journal.c.workflow_id, workflow_ids), journal.c.canonical_id.is_not(None))
            .order_by(journal.c.intended_at))
        return {row.workflow_id: row.canonical_id for row in rows}

    def is_settled(self, environment_id: UUID) -> bool:
        """Whether there is nothing to recover in an environment: no writes are unfinished, no promotion says that it runs or
        that its rollback is incomplete, and writes are allowed."""
        return bool(self._connection.execute(
            _IS_SETTLED, {"tenant": self._tenant_id, "environment": environment_id}).scalar_one())

    def intend(self, operation_id: UUID, position: int, *, now: datetime, **values: Any) -> None:
        """What is about to be written."""
        self._connection.execute(insert(journal).values(
            tenant_id=self._tenant_id, operation_id=operation_id, position=position, state="intended", intended_at=now,
            **values))

    def end(self, operation_id: UUID, position: int, state: str, *, now: datetime, **values: Any) -> None:
        """What became of it: ``done`` (until it is settled), ``undone`` or ``failed``."""
        self._connection.execute(
            update(journal).where(journal.c.tenant_id == self._tenant_id, journal.c.operation_id == operation_id,
                                  journal.c.position == position)
            .values(state=state, ended_at=now, **values))

    def amend(self, operation_id: UUID, position: int, **values: Any) -> None:
        """What was not known when it was intended: the id of what was created, the content with the ids of others."""
        self._connection.execute(
            update(journal).where(journal.c.tenant_id == self._tenant_id, journal.c.operation_id == operation_id,
                                  journal.c.position == position).values(**values))

    def abandon(self, environment_id: UUID, now: datetime) -> list[Row[Any]]:
        """Nobody comes back any more to what could not be restored in an environment, nor to what was to follow that; those
        workflows (``operation_id``, ``name``, ``workflow_id``)."""
        return list(self._connection.execute(
            update(journal).where(journal.c.tenant_id == self._tenant_id, journal.c.environment_id == environment_id,
                                  journal.c.state.in_(("failed", "intended")), journal.c.operation_id.in_(
                                      select(journal.c.operation_id).where(
                                          journal.c.tenant_id == self._tenant_id, journal.c.environment_id == environment_id,
                                          journal.c.state == "failed")))
            .values(state="abandoned", ended_at=now)
            .returning(journal.c.operation_id, journal.c.name, journal.c.workflow_id)))

    def settle(self, operation_id: UUID) -> None:
        """What follows from the writes of an operation has been done too: nobody has to come back to them."""
        self._connection.execute(
            update(journal).where(journal.c.tenant_id == self._tenant_id, journal.c.operation_id == operation_id,
                                  journal.c.state == "done").values(state="settled"))
