"""What has been kept long enough (§18): counted, and removed a batch at a time.

Each kind is one query for the keys of rows to go, oldest first; what another one holds is left to it. Incidents are not
here: their rows stay, and only their payloads go (``Incidents.purge``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    text,
    union_all,
    update,
)

from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.store.any_of import any_of
from wfops_pipelines.store.purge import Purge
from wfops_pipelines.store.tables.drift import drift_check_history as history
from wfops_pipelines.store.tables.fleet import tenants
from wfops_pipelines.store.tables.incidents import drift_incidents as incidents
from wfops_pipelines.store.tables.incidents import runtime_journal as journal
from wfops_pipelines.store.tables.notices import outbox
from wfops_pipelines.store.tables.operations import environment_leases, operations
from wfops_pipelines.store.tables.promotions import promotions
from wfops_pipelines.store.tables.pushes import webhook_deliveries as deliveries
from wfops_pipelines.store.tables.snapshots import snapshots
from wfops_pipelines.store.unreferenced import UnreferencedPayloads

# From the eleventh batch on PostgreSQL would plan for any tenant, time and limit: 25 s for 500 of 100,000 operations.
_PLANNED_ANEW: Final = text("SELECT set_config('plan_cache_mode', 'force_custom_plan', true)")


class Kept(StrEnum):
    """Rows that are removed by age."""

    JOURNAL = "runtime_journal"  # of an environment: writes to n8n, by operations that have ended
    SNAPSHOTS = "snapshots"  # of an environment: not taken by hand, but for the newest and for what can be rolled back
    DRIFT_CHECKS = "drift_checks"  # of an environment: the history of checks, but for the newest entry
    MESSAGES = "messages"  # sent or dropped
    DEAD_MESSAGES = "dead_messages"  # that could not be sent
    DELIVERIES = "webhook_deliveries"  # that were launched, or left alone; of a deleted tenant all
    OPERATIONS = "operations"  # that have ended, with their steps, and that nothing refers to


@dataclass(frozen=True, slots=True)
class _Asked:
    """The rows of a tenant, or of one environment, from before a time."""

    tenant_id: UUID
    before: datetime
    environment_id: UUID | None


class Retention:
    """A tenant's rows, by age."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self.payloads = UnreferencedPayloads(connection, tenant_id)
        self.purge = Purge(connection, tenant_id)

    def count(self, kind: Kept, before: datetime, *, environment_id: UUID | None = None) -> int:
        """How many there are to remove; of the journal, how many operations."""
        found = _FOUND[kind](_Asked(self._tenant_id, before, environment_id)).subquery()
        return int(self._connection.execute(select(func.count()).select_from(found)).scalar_one())

    def remove(self, kind: Kept, before: datetime, *, limit: int, environment_id: UUID | None = None) -> int:
        """Remove at most ``limit``, the oldest first; returns how many."""
        self._connection.execute(_PLANNED_ANEW)
        query = _FOUND[kind](_Asked(self._tenant_id, before, environment_id)).limit(limit)
        if kind is not Kept.SNAPSHOTS:  # they never change, and so nobody may lock them
            query = query.with_for_update(skip_locked=True)
        ids = self._connection.execute(query).scalars().all()
        table, key = _REMOVED[kind]
        if ids:
            if kind is Kept.SNAPSHOTS:
                self._forget_snapshots(ids)
            self._connection.execute(delete(table).where(table.c.tenant_id == self._tenant_id, any_of(key, ids)))
        return len(ids)

    def _forget_snapshots(self, ids: Sequence[UUID]) -> None:
        """Promotions that are over, and cannot be rolled back any more, forget the snapshots around them."""
        for column in (promotions.c.pre_snapshot_id, promotions.c.post_snapshot_id):
            self._connection.execute(update(promotions).where(
                promotions.c.tenant_id == self._tenant_id, any_of(column, ids)).values({column: None}))


def _journals(asked: _Asked) -> Select[Any]:
    """Operations that have ended, and whose writes nobody has to come back to, nor can want to undo."""
    needed = select(promotions.c.operation_id).where(
        promotions.c.tenant_id == asked.tenant_id, promotions.c.operation_id.is_not(None), _needed(asked))
    own = (journal.c.tenant_id == operations.c.tenant_id) & (journal.c.operation_id == operations.c.id)
    return select(operations.c.id).where(
        operations.c.tenant_id == asked.tenant_id, operations.c.environment_id == asked.environment_id,
        operations.c.created_at < asked.before,  # by the index; what follows is exact
        operations.c.ended_at < asked.before, operations.c.state.not_in(("queued", "running")),
        exists().where(own), ~exists().where(own, journal.c.state.not_in(("settled", "undone", "abandoned"))),
        operations.c.id.not_in(needed),
    ).order_by(operations.c.created_at, operations.c.id)


def _needed(asked: _Asked) -> ColumnElement[bool]:
    """Promotions into the environment that are under way, that were not restored, or that may be rolled back: the last."""
    own = promotions.alias()
    last = select(own.c.id).where(
        own.c.tenant_id == asked.tenant_id, own.c.target_environment_id == asked.environment_id,
        own.c.status.in_(("completed", "completed_with_errors"))).order_by(own.c.number.desc()).limit(1)
    return or_(promotions.c.id == last.scalar_subquery(),
               promotions.c.status.in_(("pending", "pending_approval", "approved", "running")),
               and_(promotions.c.status == "failed", promotions.c.rollback_incomplete))


def _snapshots(asked: _Asked) -> Select[Any]:
    """Those that a promotion may still go back to stay, those that something was restored from, and the newest."""
    mine = (snapshots.c.tenant_id == asked.tenant_id, snapshots.c.environment_id == asked.environment_id)
    newest = select(snapshots.c.id).where(*mine).order_by(snapshots.c.taken_at.desc(), snapshots.c.id.desc()).limit(1)
    around = (promotions.c.tenant_id == snapshots.c.tenant_id) & or_(
        promotions.c.pre_snapshot_id == snapshots.c.id, promotions.c.post_snapshot_id == snapshots.c.id)
    restored = (promotions.c.tenant_id == snapshots.c.tenant_id) & (promotions.c.source_snapshot_id == snapshots.c.id)
    return select(snapshots.c.id).where(
        *mine, snapshots.c.kind != "manual_backup", snapshots.c.taken_at < asked.before,
        snapshots.c.id != newest.scalar_subquery(), ~exists().where(around, _needed(asked)), ~exists().where(restored),
    ).order_by(snapshots.c.taken_at, snapshots.c.id)


def _checks(asked: _Asked) -> Select[Any]:
    mine: tuple[ColumnElement[bool], ...] = (
        history.c.tenant_id == asked.tenant_id, history.c.environment_id == asked.environment_id)
    newest = select(history.c.id).where(*mine).order_by(history.c.last_at.desc(), history.c.id.desc()).limit(1)
    return select(history.c.id).where(
        *mine, history.c.last_at < asked.before, history.c.id != newest.scalar_subquery(),
    ).order_by(history.c.last_at, history.c.id)


def _operations(asked: _Asked) -> Select[Any]:
    """Of all environments. The last that held one stays, and what a journal, a promotion, a snapshot, a check or an incident
    tells of."""
    def told(by: Table) -> ColumnElement[bool]:
        return exists().where(by.c.tenant_id == asked.tenant_id, by.c.operation_id == operations.c.id)

    in_incidents = union_all(*(
        select(column).where(incidents.c.tenant_id == asked.tenant_id, column.is_not(None))
        for column in (incidents.c.opened_by_operation, incidents.c.resolved_by_operation)))
    return select(operations.c.id).where(
        operations.c.tenant_id == asked.tenant_id, operations.c.created_at < asked.before,  # by the index
        operations.c.ended_at < asked.before, operations.c.state.not_in(("queued", "running")),
        operations.c.kind != OperationKind.INCIDENT_RESOLUTION,  # an incident's story is told by them
        operations.c.id.not_in(in_incidents),
        *(~told(by) for by in (environment_leases, journal, promotions, snapshots, history)),
    ).order_by(operations.c.created_at, operations.c.id)


def _messages(*statuses: str) -> Callable[[_Asked], Select[Any]]:
    def found(asked: _Asked) -> Select[Any]:
        # of what was never sent, the last time that it was to be
        return select(outbox.c.id).where(
            outbox.c.tenant_id == asked.tenant_id, outbox.c.status.in_(statuses),
            func.coalesce(outbox.c.sent_at, outbox.c.not_before) < asked.before).order_by(outbox.c.sequence)

    return found


def _deliveries(asked: _Asked) -> Select[Any]:
    nobody_waits = exists().where(tenants.c.tenant_id == asked.tenant_id, tenants.c.deleted_at.is_not(None))
    return select(deliveries.c.id).where(
        deliveries.c.tenant_id == asked.tenant_id, deliveries.c.received_at < asked.before,
        or_(deliveries.c.status != "received", nobody_waits)).order_by(deliveries.c.received_at, deliveries.c.id)


_FOUND: Final[Mapping[Kept, Callable[[_Asked], Select[Any]]]] = MappingProxyType({
    Kept.JOURNAL: _journals, Kept.SNAPSHOTS: _snapshots, Kept.DRIFT_CHECKS: _checks,
    Kept.MESSAGES: _messages("sent", "dropped"), Kept.DEAD_MESSAGES: _messages("dead"),
    Kept.DELIVERIES: _deliveries, Kept.OPERATIONS: _operations,
})
_REMOVED: Final[Mapping[Kept, tuple[Table, ColumnElement[Any]]]] = MappingProxyType({
    Kept.JOURNAL: (journal, journal.c.operation_id), Kept.SNAPSHOTS: (snapshots, snapshots.c.id),
    Kept.DRIFT_CHECKS: (history, history.c.id),
    Kept.MESSAGES: (outbox, outbox.c.id), Kept.DEAD_MESSAGES: (outbox, outbox.c.id),
    Kept.DELIVERIES: (deliveries, deliveries.c.id), Kept.OPERATIONS: (operations, operations.c.id),
})
