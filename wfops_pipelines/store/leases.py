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

from sqlalchemy import Connection, bindparam, select, text, update

from wfops_pipelines.domain.errors import LeaseLost
from wfops_pipelines.store.tables.operations import environment_leases as leases

_SHARED = select(leases.c.epoch, leases.c.released_at, leases.c.operation_id).where(
    leases.c.tenant_id == bindparam("tenant"), leases.c.environment_id == bindparam("environment")
).with_for_update(read=True)
# As text, which is compiled once: an insert() with ON CONFLICT is compiled at each use.
_TAKE = text("""
    INSERT INTO environment_leases (tenant_id, environment_id, operation_id, holder, epoch, heartbeat_at)
    VALUES (:tenant, :environment, :operation, :holder, 1, :now)
    ON CONFLICT (tenant_id, environment_id) DO UPDATE
    SET operation_id = excluded.operation_id, holder = excluded.holder, heartbeat_at = excluded.heartbeat_at,
        released_at = NULL, epoch = environment_leases.epoch + 1
    RETURNING epoch""").bindparams(bindparam("holder", type_=leases.c.holder.type))


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
        self._connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:environment, 2))"),
                                 {"environment": f"{self._tenant_id}/{environment_id}"})
        row = self._connection.execute(self._of(environment_id).with_for_update()).one_or_none()
        return None if row is None else Lease(row.operation_id, row.holder, row.epoch, row.heartbeat_at,
                                              row.released_at)

    def current(self, environment_id: UUID) -> Lease | None:
        """The lease as it is."""
        row = self._connection.execute(self._of(environment_id)).one_or_none()
        return None if row is None else Lease(row.operation_id, row.holder, row.epoch, row.heartbeat_at,
                                              row.released_at)

    def take(self, environment_id: UUID, operation_id: UUID, holder: dict[str, Any], now: datetime) -> int:
        """Become the holder and return the new epoch. The caller decided, under :meth:`lock`, that it may."""
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
        self._connection.execute(
            update(leases).where(self._where(environment_id), leases.c.epoch == epoch).values(released_at=now)
        )

    def assert_held(self, environment_id: UUID, epoch: int) -> None:
        """Raise :class:`LeaseLost` unless this epoch holds; the answer stays true until the transaction ends."""
        row = self._connection.execute(
            _SHARED, {"tenant": self._tenant_id, "environment": environment_id}).one_or_none()
        if row is None or row.epoch != epoch or row.released_at is not None:
            raise LeaseLost(
                f"the environment was taken over by operation {row.operation_id if row else '?'} while this one was away",
                fix="nothing more was written; look at that operation",
            )

    def _where(self, environment_id: UUID) -> Any:
        return (leases.c.tenant_id == self._tenant_id) & (leases.c.environment_id == environment_id)

    def _of(self, environment_id: UUID) -> Any:
        return select(leases).where(self._where(environment_id))
