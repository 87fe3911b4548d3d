"""Drift incidents with their approvals (§10)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, func, insert, or_, select, text, update
from sqlalchemy.dialects.postgresql import JSONB

from wfops_pipelines.store.any_of import any_in, any_of
from wfops_pipelines.store.incident_pages import LISTED, IncidentFilter, page, workflows_of
from wfops_pipelines.store.tables.fleet import drift_policies as policies
from wfops_pipelines.store.tables.fleet import environments
from wfops_pipelines.store.tables.incidents import drift_approvals as approvals
from wfops_pipelines.store.tables.incidents import drift_incidents as incidents

_OPEN = text("status not in ('closed', 'cancelled')")  # as the partial index says it, literally
_OPEN_OF = select(incidents).where(
    incidents.c.tenant_id == bindparam("tenant"), incidents.c.environment_id == bindparam("environment"), _OPEN)
_OPEN_OF_LOCKED = _OPEN_OF.with_for_update()
_NEXT_NUMBER = text("""
    INSERT INTO tenant_counters (tenant_id, name, value) VALUES (:tenant_id, 'incident', 1)
    ON CONFLICT (tenant_id, name) DO UPDATE SET value = tenant_counters.value + 1 RETURNING value""")
_ESCALATE = text("""
    UPDATE drift_incidents i SET escalation = given.level, status = given.becomes, next_due_at = given.next, forced = false,
        expired_at = coalesce(given.expired, i.expired_at)
    FROM jsonb_to_recordset(:rows) AS given
        (incident uuid, level text, becomes text, next timestamptz, expired timestamptz)
    WHERE i.tenant_id = :tenant AND i.id = given.incident""").bindparams(bindparam("rows", type_=JSONB))
_own, _general = policies.alias("own"), policies.alias("general")
_DUE = select(
    incidents.c.id, incidents.c.number, incidents.c.environment_id, incidents.c.status, incidents.c.severity,
    incidents.c.escalation, incidents.c.title, incidents.c.owner, incidents.c.detected_at, incidents.c.expires_at,
    func.jsonb_path_query_array(incidents.c.drift_snapshot, text("'$.workflows[*].name'")).label("workflows"),
    incidents.c.cause["summary"].astext.label("cause"), incidents.c.reach["summary"].astext.label("reach"),
    environments.c.slug.label("environment"), environments.c["class"], environments.c.drift_handling_mode,
    _general.c.policy.label("tenant_policy"), _own.c.policy.label("environment_policy"),
).join(environments, and_(environments.c.tenant_id == incidents.c.tenant_id,
                          environments.c.id == incidents.c.environment_id)
).outerjoin(_general, and_(_general.c.tenant_id == incidents.c.tenant_id, _general.c.environment_id.is_(None))
).outerjoin(_own, and_(_own.c.tenant_id == incidents.c.tenant_id, _own.c.environment_id == incidents.c.environment_id)
).where(
    incidents.c.tenant_id == bindparam("tenant"), any_in(incidents.c.id, "ids"), incidents.c.next_due_at <= bindparam("now"),
).order_by(incidents.c.next_due_at, incidents.c.id).with_for_update(skip_locked=True, of=incidents)


class Incidents:
    """A tenant's incidents."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    def open_of(self, environment_id: UUID, *, lock: bool = False) -> Row[Any] | None:
        """The open incident of an environment; there is at most one (a unique index says so)."""
        return self._connection.execute(_OPEN_OF_LOCKED if lock else _OPEN_OF, {
            "tenant": self._tenant_id, "environment": environment_id}).one_or_none()

    def last_of(self, environment_id: UUID) -> Row[Any] | None:
        """The newest incident of an environment, open or not, without its payloads."""
        return self._connection.execute(
            select(*LISTED).where(self._mine, incidents.c.environment_id == environment_id)
            .order_by(incidents.c.detected_at.desc(), incidents.c.id.desc()).limit(1)).one_or_none()

    def by_number(self, number: int, *, lock: bool = False) -> Row[Any] | None:
        """One incident by the number that people use."""
        query = select(incidents).where(self._mine, incidents.c.number == number)
        return self._connection.execute(query.with_for_update() if lock else query).one_or_none()

    def by_id(self, incident_id: UUID, *, lock: bool = False) -> Row[Any] | None:
        """One incident by its id."""
        query = select(incidents).where(self._mine, incidents.c.id == incident_id)
        return self._connection.execute(query.with_for_update() if lock else query).one_or_none()

    def wants_explanation(self, incident_id: UUID) -> bool:
        """Whether an incident has no cause yet, or one for which something could not be asked for the moment."""
        return bool(self._connection.execute(
            select(or_(incidents.c.cause.is_(None), incidents.c.cause["again"].as_boolean()))
            .where(self._mine, incidents.c.id == incident_id)).scalar_one_or_none())

    def listed(self, wanted: IncidentFilter, *, limit: int = 50) -> list[Row[Any]]:
        """A page, newest first, with ``environment`` (slug); without the payloads."""
        return list(self._connection.execute(page(wanted, limit=limit, tenant_id=self._tenant_id)))

    def workflows_of(self, rows: Collection[Row[Any]]) -> dict[UUID, list[dict[str, Any]]]:
        """What drifted when each of a page's incidents was opened, by incident."""
        return workflows_of(self._connection, rows)

    def add(self, **values: Any) -> int:
        """Open an incident; returns its number. An open one in the environment is :class:`StoreError`'s unique violation."""
        number = int(self._connection.execute(_NEXT_NUMBER, {"tenant_id": self._tenant_id}).scalar_one())
        self._connection.execute(insert(incidents).values(tenant_id=self._tenant_id, number=number, **values))
        return number

    def change(self, incident_id: UUID, **values: Any) -> None:
        """Set columns; the database refuses a transition that the lifecycle does not have, and a changed snapshot."""
        self._connection.execute(
            update(incidents).where(self._mine, incidents.c.id == incident_id).values({"forced": False, **values}))

    def lock_due(self, incident_ids: Collection[UUID], now: datetime) -> list[Row[Any]]:
        """Those whose next escalation is due still, soonest first, locked: without their payloads, but with what a notice
        says of them (``workflows``, names; ``cause`` and ``reach`` in a line), and with ``environment`` (slug), ``class``,
        ``drift_handling_mode``, ``tenant_policy`` and ``environment_policy``. What another sweep holds is left to it."""
        return list(self._connection.execute(
            _DUE, {"tenant": self._tenant_id, "ids": list(incident_ids), "now": now}))

    def escalate(self, rows: Sequence[dict[str, Any]]) -> None:
        """Set levels: ``incident``, ``level``, ``becomes`` (the status), ``expired`` (when, or none) and ``next``."""
        if rows:
            self._connection.execute(_ESCALATE, {"tenant": self._tenant_id, "rows": rows})

    def purgeable(self, environment_id: UUID, before: datetime | None, *, limit: int) -> list[Row[Any]]:
        """Incidents of an environment that ended before a time, or all, that have their payload still: ``id`` and
        ``number``, oldest first, locked. What another one holds is left to it."""
        query = (select(incidents.c.id, incidents.c.number).where(*self._ended(environment_id, before))
                 .order_by(incidents.c.closed_at, incidents.c.id).limit(limit))
        return list(self._connection.execute(query.with_for_update(skip_locked=True)))

    def count_purgeable(self, environment_id: UUID, before: datetime | None) -> int:
        """How many :meth:`purgeable` would find in all."""
        return int(self._connection.execute(
            select(func.count()).where(*self._ended(environment_id, before))).scalar_one())

    def purge(self, incident_ids: Collection[UUID], at: datetime) -> None:
        """Take away the payloads of incidents that have ended (§18); what they were stays."""
        self._connection.execute(
            update(incidents).where(self._mine, any_of(incidents.c.id, incident_ids))
            .values(drift_snapshot=None, cause=None, reach=None, payload_purged_at=at))

    def request(self, **values: Any) -> None:
        """A step that waits for somebody else's approval."""
        self._connection.execute(insert(approvals).values(tenant_id=self._tenant_id, status="pending", **values))

    def approvals_of(self, incident_id: UUID) -> list[Row[Any]]:
        """What was asked for, oldest first."""
        return list(self._connection.execute(
            select(approvals).where(approvals.c.tenant_id == self._tenant_id, approvals.c.incident_id == incident_id)
            .order_by(approvals.c.requested_at, approvals.c.id)))

    def waiting(self, incident_id: UUID, kind: str, *, lock: bool = True) -> Row[Any] | None:
        """The request of a kind that is pending, or approved and not executed yet."""
        query = select(approvals).where(
            approvals.c.tenant_id == self._tenant_id, approvals.c.incident_id == incident_id, approvals.c.kind == kind,
            approvals.c.status.in_(("pending", "approved")))
        return self._connection.execute(query.with_for_update() if lock else query).one_or_none()

    def cancel_waiting(self, incident_id: UUID, now: datetime) -> None:
        """The incident went on without them: nothing that waits will be done any more."""
        self._connection.execute(
            update(approvals).where(approvals.c.tenant_id == self._tenant_id, approvals.c.incident_id == incident_id,
                                    approvals.c.status.in_(("pending", "approved")))
            .values(status="cancelled", decided_at=now))

    def decide(self, approval_id: UUID, **values: Any) -> None:
        """Set columns of a request; the database refuses what its lifecycle does not have."""
        self._connection.execute(
            update(approvals).where(approvals.c.tenant_id == self._tenant_id, approvals.c.id == approval_id)
            .values(**values))

    def _ended(self, environment_id: UUID, before: datetime | None) -> tuple[ColumnElement[bool], ...]:
        ended = () if before is None else (incidents.c.closed_at < before,)
        return (self._mine, incidents.c.environment_id == environment_id, *ended, incidents.c.payload_purged_at.is_(None))

    @property
    def _mine(self) -> ColumnElement[bool]:
        return incidents.c.tenant_id == self._tenant_id
