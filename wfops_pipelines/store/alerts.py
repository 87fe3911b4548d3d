"""Alert rules, their state and what they said (§16)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, delete, select
from sqlalchemy import insert as plain_insert
from sqlalchemy.dialects.postgresql import insert

from wfops_pipelines.store.tables.notices import alert_events, alert_rules, alert_states


class Alerts:
    """A tenant's alert rules."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    def rules(self) -> list[Row[Any]]:
        """Every rule with its state (``state``, ``firing``, ``value``, ``evaluated_at``; null before the first look)."""
        states = alert_states
        return list(self._connection.execute(
            select(alert_rules, states.c.state, states.c.firing, states.c.value, states.c.evaluated_at)
            .outerjoin(states, (states.c.tenant_id == alert_rules.c.tenant_id) & (states.c.rule_id == alert_rules.c.id))
            .where(alert_rules.c.tenant_id == self._tenant_id).order_by(alert_rules.c.name)))

    def save(self, **values: Any) -> None:
        """Insert a rule, or change the one of that name."""
        statement = insert(alert_rules).values(tenant_id=self._tenant_id, **values)
        keys = {"tenant_id", "id", "name"}
        self._connection.execute(statement.on_conflict_do_update(
            index_elements=["tenant_id", "name"], set_={k: statement.excluded[k] for k in values if k not in keys}))

    def remove(self, rule_id: UUID) -> None:
        """Forget a rule with its state and events."""
        self._connection.execute(
            delete(alert_rules).where(alert_rules.c.tenant_id == self._tenant_id, alert_rules.c.id == rule_id))

    def remember(self, rule_id: UUID, **values: Any) -> None:
        """The state of a rule after an evaluation."""
        statement = insert(alert_states).values(tenant_id=self._tenant_id, rule_id=rule_id, **values)
        self._connection.execute(statement.on_conflict_do_update(
            index_elements=["tenant_id", "rule_id"], set_={k: statement.excluded[k] for k in values}))

    def add_event(self, **values: Any) -> None:
        """A rule fired or cleared."""
        self._connection.execute(plain_insert(alert_events).values(tenant_id=self._tenant_id, **values))

    def events(self, rule_id: UUID, *, limit: int = 50) -> list[Row[Any]]:
        """What a rule said, newest first."""
        return list(self._connection.execute(
            select(alert_events).where(alert_events.c.tenant_id == self._tenant_id, alert_events.c.rule_id == rule_id)
            .order_by(alert_events.c.at.desc()).limit(limit)))
