"""Drift incidents with their approvals (§10)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, and_, insert, or_, select, text, update

from wfops_pipelines.store.tables.fleet import environments
from wfops_pipelines.store.tables.incidents import drift_approvals as approvals
from wfops_pipelines.store.tables.incidents import drift_incidents as incidents

TERMINAL = ("closed", "cancelled")
_OPEN = text("status not in ('closed', 'cancelled')")  # as the partial index says it, literally
_NEXT_NUMBER = text("""
    INSERT INTO tenant_counters (tenant_id, name, value) VALUES (:tenant_id, 'incident', 1)
    ON CONFLICT (tenant_id, name) DO UPDATE SET value = tenant_counters.value + 1 RETURNING value""")
# what a list shows: the snapshot is large, and read for one incident alone
LISTED = tuple(c for c in incidents.c if c.name not in {"drift_snapshot", "cause", "reach"})


@dataclass(frozen=True, slots=True)
class IncidentFilter:
    """Which incidents a listing is about; what is not said does not narrow it."""

    environment_id: UUID | None = None
    statuses: Collection[str] = ()
    severities: Collection[str] = ()
    open_only: bool = False
    before: tuple[datetime, UUID] | None = None  # the last row of the page before: a cursor


class Incidents:
    """A tenant's incidents."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    def open_of(self, environment_id: UUID, *, lock: bool = False) -> Row[Any] | None:
        """The open incident of an environment; there is at most one (a unique index says so)."""
        query = select(incidents).where(self._mine, incidents.c.environment_id == environment_id, _OPEN)
        return self._connection.execute(query.with_for_update() if lock else query).one_or_none()

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

    def listed(self, wanted: IncidentFilter, *, limit: int = 50) -> list[Row[Any]]:
        """A page, newest first, with ``environment`` (slug); without the payloads."""
        conditions: list[ColumnElement[bool]] = [self._mine]
        if wanted.open_only:
            conditions.append(incidents.c.status.not_in(TERMINAL))
        if wanted.environment_id is not None:
            conditions.append(incidents.c.environment_id == wanted.environment_id)
        if wanted.statuses:
            conditions.append(incidents.c.status.in_(sorted(wanted.statuses)))
        if wanted.severities:
            conditions.append(incidents.c.severity.in_(sorted(wanted.severities)))
        if wanted.before is not None:
            at, incident_id = wanted.before
            conditions.append(or_(incidents.c.detected_at < at,
                                  and_(incidents.c.detected_at == at, incidents.c.id < incident_id)))
            conditions.append(incidents.c.detected_at <= at)
        return list(self._connection.execute(
            select(*LISTED, environments.c.slug.label("environment"))
            .join(environments, and_(environments.c.tenant_id == incidents.c.tenant_id,
                                     environments.c.id == incidents.c.environment_id))
            .where(*conditions).order_by(incidents.c.detected_at.desc(), incidents.c.id.desc()).limit(limit)))

    def add(self, **values: Any) -> int:
        """Open an incident; returns its number. An open one in the environment is :class:`StoreError`'s unique violation."""
        number = int(self._connection.execute(_NEXT_NUMBER, {"tenant_id": self._tenant_id}).scalar_one())
        self._connection.execute(insert(incidents).values(tenant_id=self._tenant_id, number=number, **values))
        return number

    def change(self, incident_id: UUID, **values: Any) -> None:
        """Set columns; the database refuses a transition that the lifecycle does not have, and a changed snapshot."""
        self._connection.execute(
            update(incidents).where(self._mine, incidents.c.id == incident_id).values({"forced": False, **values}))

    def purgeable(self, before: datetime, *, limit: int) -> Sequence[UUID]:
        """Incidents that ended before a time and still have their payload, oldest first."""
        return self._connection.execute(
            select(incidents.c.id).where(
                self._mine, incidents.c.closed_at < before, incidents.c.payload_purged_at.is_(None))
            .order_by(incidents.c.closed_at, incidents.c.id).limit(limit)).scalars().all()

    def purge(self, incident_ids: Collection[UUID], at: datetime) -> None:
        """Take away the payloads of incidents that have ended (§18); what they were stays."""
        self._connection.execute(
            update(incidents).where(self._mine, incidents.c.id.in_(incident_ids))
            .values(drift_snapshot=None, cause=None, reach=None, payload_purged_at=at, forced=False))

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

    @property
    def _mine(self) -> ColumnElement[bool]:
        return incidents.c.tenant_id == self._tenant_id
