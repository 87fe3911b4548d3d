"""Waivers: findings of the lint that somebody answers for, for a while (§11.5)."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, insert, select, text, update

from wfops_pipelines.store.tables.promotions import lint_waivers as waivers

_STANDING = text("removed_at is null")  # as the partial index says it, literally


class LintWaivers:
    """A tenant's waivers."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    def standing(self) -> list[Row[Any]]:
        """Those that nobody removed, oldest first; expired ones too: the lint names those that it would have needed."""
        return list(self._connection.execute(
            select(waivers).where(waivers.c.tenant_id == self._tenant_id, _STANDING)
            .order_by(waivers.c.created_at, waivers.c.id)))

    def all(self) -> list[Row[Any]]:
        """Every waiver, oldest first; removed ones too."""
        return list(self._connection.execute(
            select(waivers).where(waivers.c.tenant_id == self._tenant_id).order_by(waivers.c.created_at, waivers.c.id)))

    def add(self, **values: Any) -> None:
        """A new waiver."""
        self._connection.execute(insert(waivers).values(tenant_id=self._tenant_id, **values))

    def remove(self, waiver_id: UUID, now: datetime) -> None:
        """Take a waiver away."""
        self._connection.execute(
            update(waivers).where(waivers.c.tenant_id == self._tenant_id, waivers.c.id == waiver_id)
            .values(removed_at=now))
