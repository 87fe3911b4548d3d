"""Ignore rules: drift that somebody said may be (§9)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, case, insert, or_, select, update

from wfops_pipelines.store.tables.incidents import drift_ignore_rules as rules


class IgnoreRules:
    """A tenant's ignore rules."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    def of_environment(self, environment_id: UUID, now: datetime) -> list[Row[Any]]:
        """Those that hold for an environment now, its own and the tenant's, oldest first."""
        return list(self._connection.execute(
            select(rules).where(
                rules.c.tenant_id == self._tenant_id, rules.c.removed_at.is_(None), rules.c.expires_at > now,
                or_(rules.c.environment_id.is_(None), rules.c.environment_id == environment_id))
            .order_by(rules.c.created_at, rules.c.id)))

    def all(self, *, removed: bool = False) -> list[Row[Any]]:
        """Every rule, oldest first; expired ones too."""
        query = select(rules).where(rules.c.tenant_id == self._tenant_id)
        if not removed:
            query = query.where(rules.c.removed_at.is_(None))
        return list(self._connection.execute(query.order_by(rules.c.created_at, rules.c.id)))

    def add(self, **values: Any) -> None:
        """A new rule."""
        self._connection.execute(insert(rules).values(tenant_id=self._tenant_id, **values))

    def change(self, rule_id: UUID, **values: Any) -> None:
        """Set columns of a rule."""
        self._connection.execute(
            update(rules).where(rules.c.tenant_id == self._tenant_id, rules.c.id == rule_id).values(**values))

    def count(self, hidden: Mapping[UUID, int], now: datetime) -> None:
        """How many changes each rule hid in the check just made."""
        if not hidden:
            return
        self._connection.execute(
            update(rules).where(rules.c.tenant_id == self._tenant_id, rules.c.id.in_(list(hidden)))
            .values(hides=case(dict(hidden), value=rules.c.id), last_hid_at=now))
