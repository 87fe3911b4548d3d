"""The outbox (§16): messages are written with the event they tell of, in one transaction, and sent afterwards."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, func, select, update
from sqlalchemy.dialects.postgresql import insert

from wfops_pipelines.store.tables.notices import outbox


class Outbox:
    """A tenant's messages."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    def put(self, **values: Any) -> bool:
        """A message; one with the same target and key that is there already stays alone. Returns whether it is new."""
        done = self._connection.execute(
            insert(outbox).values(tenant_id=self._tenant_id, **values)
            .on_conflict_do_nothing(index_elements=["tenant_id", "target", "dedupe_key"]).returning(outbox.c.id))
        return done.first() is not None

    def pending(self, *, limit: int = 500) -> list[Row[Any]]:
        """What waits to be sent, in order of writing: all of it, so that order can be kept, locked against others."""
        return list(self._connection.execute(
            select(outbox).where(self._mine, outbox.c.status == "pending").order_by(outbox.c.sequence).limit(limit)
            .with_for_update(skip_locked=True)))

    def listed(self, status: str | None = None, *, limit: int = 100) -> list[Row[Any]]:
        """Messages, newest first."""
        query = select(outbox).where(self._mine)
        if status is not None:
            query = query.where(outbox.c.status == status)
        return list(self._connection.execute(query.order_by(outbox.c.sequence.desc()).limit(limit)))

    def change(self, message_id: UUID, **values: Any) -> None:
        """Set columns of a message."""
        self._connection.execute(update(outbox).where(self._mine, outbox.c.id == message_id).values(**values))

    def counts(self) -> dict[str, int]:
        """How many messages have each status."""
        rows = self._connection.execute(
            select(outbox.c.status, func.count()).where(self._mine).group_by(outbox.c.status))
        return {status: int(count) for status, count in rows}

    @property
    def _mine(self) -> Any:
        return outbox.c.tenant_id == self._tenant_id
