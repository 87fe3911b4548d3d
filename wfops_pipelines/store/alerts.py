"""Alert rules, their state and what they said (§16)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Select, delete, select
from sqlalchemy import insert as plain_insert
from sqlalchemy.dialects.postgresql import insert

from wfops_pipelines.store.tables.fleet import environments
from wfops_pipelines.store.tables.notices import alert_events, alert_rules, alert_states


class Alerts:
    """A tenant's alert rules."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    def rules(self) -> list[Row[Any]]:
        """Every rule with its state (``state``, ``firing``, ``value``, ``evaluated_at``; null before the first look) and
        the slug of its ``environment`` (null: the whole tenant)."""
        return list(self._connection.execute(self._rules()))

    def rule(self, name: str, *, lock: bool = False) -> Row[Any] | None:
        """One rule with its state, by name."""
        query = self._rules().where(alert_rules.c.name == name)
        return self._connection.execute(query.with_for_update(of=alert_rules) if lock else query).one_or_none()

    def enabled(self) -> list[Row[Any]]:
        """The rules that are looked at, with their state, held against others until this transaction ends."""
        mine = (alert_rules.c.tenant_id == self._tenant_id) & alert_rules.c.enabled
        self._connection.execute(select(alert_rules.c.id).where(mine).order_by(alert_rules.c.id).with_for_update())
        # Read only now: a state that was written while we waited for the rule is one that we have to know.
        return list(self._connection.execute(self._rules().where(alert_rules.c.enabled)))

    def _rules(self) -> Select[Any]:
        states = alert_states
        return (select(alert_rules, states.c.state, states.c.firing, states.c.value, states.c.evaluated_at,
                       environments.c.slug.label("environment"))
                .outerjoin(states, (states.c.tenant_id == alert_rules.c.tenant_id) & (states.c.rule_id == alert_rules.c.id))
                .outerjoin(environments, (environments.c.tenant_id == alert_rules.c.tenant_id)
                           & (environments.c.id == alert_rules.c.environment_id))
                .where(alert_rules.c.tenant_id == self._tenant_id).order_by(alert_rules.c.name))

    def forget_state(self, rule_id: UUID) -> None:
        """Let a rule begin anew."""
        self._connection.execute(delete(alert_states).where(
            alert_states.c.tenant_id == self._tenant_id, alert_states.c.rule_id == rule_id))

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

    def events(self, rule_id: UUID | None = None, *, limit: int = 50) -> list[Row[Any]]:
        """What a rule said, or all of them, newest first, with the rule's ``name``, ``metric`` and ``severity``."""
        query = (select(alert_events, alert_rules.c.name, alert_rules.c.metric, alert_rules.c.severity)
                 .join(alert_rules, (alert_rules.c.tenant_id == alert_events.c.tenant_id)
                       & (alert_rules.c.id == alert_events.c.rule_id))
                 .where(alert_events.c.tenant_id == self._tenant_id))
        if rule_id is not None:
            query = query.where(alert_events.c.rule_id == rule_id)
        return list(self._connection.execute(query.order_by(alert_events.c.at.desc(), alert_events.c.id).limit(limit)))
