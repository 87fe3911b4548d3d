"""Who holds an environment (design decision 9): a row with holder, heartbeat and epoch.

A session advisory lock would outlive the pooled connection and die with a restart of PostgreSQL; a row does neither.
The epoch fences: a holder that was taken over cannot commit anything more, because each of its units of work asserts
its epoch under a share lock on the row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, bindparam, select, text, update

from wfops_pipelines.domain.errors import LeaseLost
from wfops_pipelines.store import tenancy
from wfops_pipelines.store.tables.operations import environment_leases as leases

_SHARED = select(leases.c.epoch, leases.c.released_at, leases.c.operation_id).where(
    leases.c.tenant_id == bindparam("tenant"), leases.c.environment_id == bindparam("environment")
).with_for_update(read=True)
_BECOME_HOLDER = {flush: text(f"""
    SELECT lease.epoch, lease.released_at, lease.operation_id FROM ({become}) AS now
    CROSS JOIN LATERAL (
        SELECT epoch, released_at, operation_id FROM environment_leases
        WHERE tenant_id = CAST(now.tenant AS uuid) AND environment_id = :environment FOR SHARE) AS lease
    """) for flush, become in tenancy.BECOME.items()}  # noqa: S608 - the statements are our own
"""By ``flush``. What the lease is looked up by is what setting the tenant answers, so row-level security comes second."""
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:environment, 2))")
_OF_ENVIRONMENT = select(leases).where(
    leases.c.tenant_id == bindparam("tenant"), leases.c.environment_id == bindparam("environment"))
_OF_ENVIRONMENT_LOCKED = _OF_ENVIRONMENT.with_for_update()
_RELEASE = update(leases).where(
    leases.c.tenant_id == bindparam("tenant"), leases.c.environment_id == bindparam("environment"),
    leases.c.epoch == bindparam("held")).values(released_at=bindparam("now"))
# As text, which is compiled once: an insert() with ON CONFLICT is compiled at each use.
_TAKE = text("""
    INSERT INTO environment_leases (tenant_id, environment_id, operation_id, holder, epoch, heartbeat_at)
    VALUES (:tenant, :environment, :operation, :holder, 1, coalesce(:now, clock_timestamp()))
    ON CONFLICT (tenant_id, environment_id) DO UPDATE
    SET operation_id = excluded.operation_id, holder = excluded.holder, heartbeat_at = excluded.heartbeat_at,
        released_at = NULL, epoch = environment_leases.epoch + 1
    RETURNING epoch""").bindparams(bindparam("holder", type_=leases.c.holder.type),
                                   bindparam("now", type_=leases.c.heartbeat_at.type))


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease row: held while ``released_at`` is none."""

    operation_id: UUID
    holder: dict[str, Any]
    epoch: int
    heartbeat_at: datetime
    released_at: datetime | None


class Leases:
    """The lease rows of a tenant's environments."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    def lock(self, environment_id: UUID) -> Lease | None:
        """The lease, locked until the transaction ends; none if the environment was never held.

        Before there is a row to lock, an advisory lock keeps two first holders apart; it ends with the transaction.
        """
        self._connection.execute(_LOCK, {"environment": f"{self._tenant_id}/{environment_id}"})
        row = self._connection.execute(_OF_ENVIRONMENT_LOCKED, self._key(environment_id)).one_or_none()
        return None if row is None else Lease(row.operation_id, row.holder, row.epoch, row.heartbeat_at,
                                              row.released_at)

    def current(self, environment_id: UUID) -> Lease | None:
        """The lease as it is."""
        row = self._connection.execute(_OF_ENVIRONMENT, self._key(environment_id)).one_or_none()
        return None if row is None else Lease(row.operation_id, row.holder, row.epoch, row.heartbeat_at,
                                              row.released_at)

    def take(self, environment_id: UUID, operation_id: UUID, holder: dict[str, Any],
             now: datetime | None = None) -> int:
        """Become the holder and return the new epoch. The caller decided, under :meth:`lock`, that it may. The heartbeat is
        by the database's clock, unless ``now`` says otherwise."""
        return int(self._connection.execute(_TAKE, {
            "tenant": self._tenant_id, "environment": environment_id, "operation": operation_id, "holder": holder,
            "now": now}).scalar_one())

    def heartbeat(self, environment_id: UUID, epoch: int, now: datetime) -> bool:
        """Say that the holder lives; false when it no longer holds."""
        result = self._connection.execute(
            update(leases).where(self._where(environment_id), leases.c.epoch == epoch, leases.c.released_at.is_(None))
            .values(heartbeat_at=now)
        )
        return result.rowcount == 1

    def release(self, environment_id: UUID, epoch: int, now: datetime) -> None:
        """Let go, if it is still ours."""
        self._connection.execute(_RELEASE, {**self._key(environment_id), "held": epoch, "now": now})

    def assert_held(self, environment_id: UUID, epoch: int) -> None:
        """Raise :class:`LeaseLost` unless this epoch holds; the answer stays true until the transaction ends."""
        _refuse_unless_held(self._connection.execute(_SHARED, self._key(environment_id)).one_or_none(), epoch)

    def _key(self, environment_id: UUID) -> dict[str, UUID]:
        return {"tenant": self._tenant_id, "environment": environment_id}

    def _where(self, environment_id: UUID) -> Any:
        return (leases.c.tenant_id == self._tenant_id) & (leases.c.environment_id == environment_id)


def become_holder(connection: Connection, tenant_id: UUID, environment_id: UUID, epoch: int, *, flush: bool = True) -> None:
    """:func:`tenancy.become`, then :meth:`Leases.assert_held`, as one statement: each unit of work of an operation begins
    with both."""
    _refuse_unless_held(connection.execute(
        _BECOME_HOLDER[flush], {"tenant": str(tenant_id), "environment": environment_id}).one_or_none(), epoch)


def _refuse_unless_held(row: Row[Any] | None, epoch: int) -> None:
    if row is None or row.epoch != epoch or row.released_at is not None:
        raise LeaseLost(
            f"the environment was taken over by operation {row.operation_id if row else '?'} while this one was away",
            fix="nothing more was written; look at that operation",
        )
