"""Pauses of tenants and of everything, and runs that shall begin nothing any more (§20)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, bindparam, delete, literal, select, text
from sqlalchemy.dialects.postgresql import insert

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.pause import Pause, Pauses
from wfops_pipelines.store import tenancy
from wfops_pipelines.store.audit import AuditTrail
from wfops_pipelines.store.tables.fleet import tenants
from wfops_pipelines.store.tables.pauses import cancelled_runs, installation_pause, tenant_pauses

_SAID = ("paused_at", "paused_by", "reason", "resumed_at")
_BOTH = select(literal(True).label("own"), *(tenant_pauses.c[name] for name in _SAID)).where(
    tenant_pauses.c.tenant_id == bindparam("tenant")).union_all(
    select(literal(False), *(installation_pause.c[name] for name in _SAID)))
KEPT_CANCELLATIONS = timedelta(days=30)


def _pause(row: Row[Any], tenant: str | None) -> Pause:
    said = row._mapping
    return Pause(tenant, said["paused_at"], said["paused_by"], said["reason"], said["resumed_at"])


def everything_paused(connection: Connection) -> Pause | None:
    """The last pause of everything."""
    row = connection.execute(select(installation_pause)).one_or_none()
    return None if row is None else _pause(row, None)


def read_pauses(connection: Connection) -> Pauses:
    """The last pauses, across tenants: as the system role."""
    rows = connection.execute(select(tenant_pauses, tenants.c.slug).join(
        tenants, tenants.c.tenant_id == tenant_pauses.c.tenant_id).where(tenants.c.deleted_at.is_(None)))
    return Pauses(everything_paused(connection), {row.tenant_id: _pause(row, row.slug) for row in rows})


class TenantPause:
    """A tenant's pause, everything's, and runs that were cancelled, within a unit of work of the tenant."""

    def __init__(self, connection: Connection, tenant_id: UUID, tenant: str) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._tenant = tenant

    def now(self) -> Pause | None:
        """What keeps the tenant at rest; none if nothing does."""
        both = {row.own: row for row in self._connection.execute(_BOTH, {"tenant": self._tenant_id})}
        return Pauses(_pause(both[False], None) if False in both else None,
                      {self._tenant_id: _pause(both[True], self._tenant)} if True in both else {}).of(self._tenant_id)

    def own(self) -> Pause | None:
        """The tenant's last pause."""
        row = self._connection.execute(
            select(tenant_pauses).where(tenant_pauses.c.tenant_id == self._tenant_id)).one_or_none()
        return None if row is None else _pause(row, self._tenant)

    def lock(self) -> None:
        """Whoever pauses or resumes the tenant does it alone until the transaction ends."""
        self._connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:tenant, 5))"),
                                 {"tenant": str(self._tenant_id)})

    def save(self, pause: Pause) -> None:
        """The tenant's pause as it stands now."""
        values = {"paused_at": pause.paused_at, "paused_by": pause.paused_by, "reason": pause.reason,
                  "resumed_at": pause.resumed_at}
        self._connection.execute(insert(tenant_pauses).values(tenant_id=self._tenant_id, **values)
                                 .on_conflict_do_update(index_elements=["tenant_id"], set_=values))

    def cancelled_run(self, run_id: str | None) -> Row[Any] | None:
        """Who cancelled a run (``requested_by``, ``reason``); none if nobody did."""
        if run_id is None:
            return None
        return self._connection.execute(select(cancelled_runs).where(cancelled_runs.c.run_id == run_id)).one_or_none()


class InstallationWrites:
    """What belongs to no tenant, as the application's role, and what every tenant's audit trail says of it: one
    transaction."""

    def __init__(self, connection: Connection, audit_key: bytes) -> None:
        self._connection = connection
        self._audit_key = audit_key

    def save(self, pause: Pause) -> None:
        """The pause of everything as it stands now."""
        values = {"paused_at": pause.paused_at, "paused_by": pause.paused_by, "reason": pause.reason,
                  "resumed_at": pause.resumed_at}
        self._connection.execute(insert(installation_pause).values(one=True, **values)
                                 .on_conflict_do_update(index_elements=["one"], set_=values))

    def record(self, contexts: Sequence[Context], action: str, **details: Any) -> None:
        """The same event in the trail of each of these tenants; always in the order of their ids."""
        for context in sorted(contexts, key=lambda one: one.tenant_id):
            tenancy.become(self._connection, context.tenant_id)
            trail = AuditTrail(self._connection, context, self._audit_key)
            trail.add(action, "tenant", context.tenant_slug, environment=None, before=None, after=None, details=details)
            trail.flush()

    def everything(self) -> Pause | None:
        """The last pause of everything; nobody else changes it until the transaction ends."""
        self._connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('everything paused', 5))"))
        return everything_paused(self._connection)

    def cancel_run(self, run_id: str, *, by: str, reason: str | None, now: datetime) -> None:
        """A run begins nothing any more; what is old goes."""
        self._connection.execute(delete(cancelled_runs).where(cancelled_runs.c.requested_at < now - KEPT_CANCELLATIONS))
        self._connection.execute(insert(cancelled_runs).values(
            run_id=run_id, requested_at=now, requested_by=by, reason=reason).on_conflict_do_nothing())
