"""Snapshots of environments (§13): rows that never change; what each holds is a payload, stored once."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, insert, select, tuple_

from wfops_pipelines.store.tables.snapshots import snapshots


class Snapshots:
    """A tenant's snapshots."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    def add(self, **values: Any) -> None:
        """A new one."""
        self._connection.execute(insert(snapshots).values(tenant_id=self._tenant_id, **values))

    def by_id(self, snapshot_id: UUID) -> Row[Any] | None:
        """One by its id."""
        return self._connection.execute(
            select(snapshots).where(self._mine, snapshots.c.id == snapshot_id)).one_or_none()

    def listed(self, environment_id: UUID | None = None, *, kind: str | None = None,
               before: tuple[datetime, UUID] | None = None, limit: int = 50) -> list[Row[Any]]:
        """A page, newest first; ``before`` is the ``(taken_at, id)`` of the last one of the page before."""
        query = select(snapshots).where(self._mine)
        if kind is not None:
            query = query.where(snapshots.c.kind == kind)
        if environment_id is not None:
            query = query.where(snapshots.c.environment_id == environment_id)
        if before is not None:
            query = query.where(tuple_(snapshots.c.taken_at, snapshots.c.id) < before)
        return list(self._connection.execute(
            query.order_by(snapshots.c.taken_at.desc(), snapshots.c.id.desc()).limit(limit)))

    def as_of(self, environment_id: UUID, at: datetime) -> Row[Any] | None:
        """The newest one of an environment that is not newer than a time."""
        return self._connection.execute(
            select(snapshots).where(self._mine, snapshots.c.environment_id == environment_id, snapshots.c.taken_at <= at)
            .order_by(snapshots.c.taken_at.desc(), snapshots.c.id.desc()).limit(1)).one_or_none()

    def between(self, environment_id: UUID, first: UUID, last: UUID, *, limit: int = 3) -> list[Row[Any]]:
        """Those of an environment whose ids lie within bounds, both among them: what a prefix of an id stands for."""
        return list(self._connection.execute(
            select(snapshots).where(self._mine, snapshots.c.environment_id == environment_id,
                                    snapshots.c.id.between(first, last)).order_by(snapshots.c.id).limit(limit)))

    def newest(self, environment_id: UUID, kind: str) -> Row[Any] | None:
        """The newest one of a kind."""
        return self._connection.execute(
            select(snapshots).where(self._mine, snapshots.c.environment_id == environment_id, snapshots.c.kind == kind)
            .order_by(snapshots.c.taken_at.desc(), snapshots.c.id.desc()).limit(1)).one_or_none()

    @property
    def _mine(self) -> Any:
        return snapshots.c.tenant_id == self._tenant_id
