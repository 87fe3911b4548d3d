"""Reads across tenants, as the system role: look-ups by slug and what sweeps are made of. It cannot write."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Column, ColumnElement, Connection, Row, Select, Table, func, literal, or_, select, text, tuple_

from wfops_pipelines.domain.pause import Pauses
from wfops_pipelines.store.exposition import ExpositionReads
from wfops_pipelines.store.incident_pages import IncidentFilter, page, workflows_of
from wfops_pipelines.store.outbox import by_wrong_clock
from wfops_pipelines.store.pauses import read_pauses
from wfops_pipelines.store.pushes import PushReads
from wfops_pipelines.store.tables.deployments import deployments
from wfops_pipelines.store.tables.fleet import environments, secrets, tenants
from wfops_pipelines.store.tables.incidents import drift_approvals, drift_incidents, runtime_journal
from wfops_pipelines.store.tables.notices import alert_rules, outbox
from wfops_pipelines.store.tables.operations import environment_leases, operations
from wfops_pipelines.store.tables.promotions import promotions
from wfops_pipelines.store.tables.snapshots import snapshots


class SystemReads:
    """The tenants and their environments, across tenants."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.pushes = PushReads(connection)
        self.exposition = ExpositionReads(connection)

    def tenants(self, *, deleted: bool = False) -> list[Row[Any]]:
        """Tenants by slug; with ``deleted`` also those that are, whose audit events stay (§2.7)."""
        query = select(tenants)
        if not deleted:
            query = query.where(tenants.c.deleted_at.is_(None))
        return list(self._connection.execute(query.order_by(tenants.c.slug, tenants.c.created_at)))

    def tenant(self, slug: str) -> Row[Any] | None:
        """One tenant by slug."""
        return self._connection.execute(
            select(tenants).where(tenants.c.slug == slug, tenants.c.deleted_at.is_(None))
        ).one_or_none()

    def lock_slug(self, slug: str) -> None:
        """One process declares or deletes the tenant of a slug at a time, also while there is none of it yet; held until
        this transaction ends. Whoever waited sees what the one before committed."""
        self._connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:slug, 1))"), {"slug": slug})

    def environments(self) -> list[Row[Any]]:
        """Every environment with its tenant's slug (``tenant_slug``), in a stable order."""
        return list(self._connection.execute(
            select(environments, tenants.c.slug.label("tenant_slug"))
            .join(tenants, tenants.c.tenant_id == environments.c.tenant_id)
            .where(environments.c.deleted_at.is_(None), tenants.c.deleted_at.is_(None))
            .order_by(tenants.c.slug, environments.c.position, environments.c.slug)
        ))

    def snapshot_schedule(self, now: datetime, *, failed_since: datetime) -> list[Row[Any]]:
        """Every environment that scheduled snapshots are taken of, with ``tenant_slug``, when the newest of them was taken
        (``last_taken``; one from the future, by a clock that was wrong, does not count), and when the last was begun, of any
        kind, that failed since then (``last_failed``); both may be none."""
        taken = select(func.max(snapshots.c.taken_at)).where(
            snapshots.c.tenant_id == environments.c.tenant_id, snapshots.c.environment_id == environments.c.id,
            snapshots.c.kind == "scheduled", snapshots.c.taken_at <= now)
        failed = select(func.max(operations.c.created_at)).where(
            operations.c.tenant_id == environments.c.tenant_id, operations.c.environment_id == environments.c.id,
            operations.c.kind == "snapshot", operations.c.state.in_(("failed", "cancelled")),
            operations.c.created_at.between(failed_since, now))
        return list(self._connection.execute(
            select(environments, tenants.c.slug.label("tenant_slug"),
                   taken.correlate(environments).scalar_subquery().label("last_taken"),
                   failed.correlate(environments).scalar_subquery().label("last_failed"))
            .join(tenants, tenants.c.tenant_id == environments.c.tenant_id)
            .where(environments.c.snapshot_hours > 0, environments.c.deleted_at.is_(None), tenants.c.deleted_at.is_(None))
            .order_by(tenants.c.slug, environments.c.position, environments.c.slug)))

    def pauses(self) -> Pauses:
        """What is at rest, and what was."""
        return read_pauses(self._connection)

    def operations_of_run(self, run_id: str) -> list[Row[Any]]:
        """The operations of a run of Dagster, of any tenant, with ``tenant_slug``, the oldest first."""
        return list(self._connection.execute(
            select(operations, tenants.c.slug.label("tenant_slug"))
            .join(tenants, tenants.c.tenant_id == operations.c.tenant_id)
            .where(operations.c.run_id == run_id).order_by(operations.c.created_at)))

    def operation(self, operation_id: UUID) -> Row[Any] | None:
        """An operation of any tenant, with ``tenant_slug``."""
        return self._connection.execute(
            select(operations, tenants.c.slug.label("tenant_slug"))
            .join(tenants, tenants.c.tenant_id == operations.c.tenant_id)
            .where(operations.c.id == operation_id)).first()

    def secret_keys(self) -> dict[str, int]:
        """How many secrets each key encrypted."""
        counted: dict[str, int] = {}
        for key_id in self._connection.execute(select(secrets.c.key_id)).scalars():
            counted[key_id] = counted.get(key_id, 0) + 1
        return counted

    def secrets_not_under(self, key_id: str) -> dict[UUID, int]:
        """How many secrets of each tenant another key encrypted than this one."""
        rows = self._connection.execute(
            select(secrets.c.tenant_id, func.count()).where(secrets.c.key_id != key_id).group_by(secrets.c.tenant_id)
        )
        return {tenant_id: int(count) for tenant_id, count in rows}

    def running(self) -> list[Row[Any]]:
        """Operations that run, with the lease they hold."""
        return list(self._connection.execute(
            select(operations, environment_leases.c.holder, environment_leases.c.heartbeat_at)
            .outerjoin(environment_leases, (environment_leases.c.tenant_id == operations.c.tenant_id)
                       & (environment_leases.c.operation_id == operations.c.id)
                       & (environment_leases.c.released_at.is_(None)))
            .where(operations.c.state == "running")
        ))

    def due_incidents(self, now: datetime, *, after: tuple[datetime, UUID] | None = None,
                      limit: int = 1000) -> list[Row[Any]]:
        """Open incidents whose next escalation is due, with ``next_due_at`` and ``tenant_slug``, soonest first: a page,
        ``after`` the ``(next_due_at, id)`` of the last row of the one before."""
        found = drift_incidents.c
        query = (select(found.tenant_id, found.id, found.next_due_at, tenants.c.slug.label("tenant_slug"))
                 .join(tenants, tenants.c.tenant_id == found.tenant_id)
                 .where(found.next_due_at <= now, tenants.c.deleted_at.is_(None)))
        if after is not None:
            query = query.where(found.next_due_at >= after[0], tuple_(found.next_due_at, found.id) > after)
        return list(self._connection.execute(query.order_by(found.next_due_at, found.id).limit(limit)))

    def tenants_with_mail(self, now: datetime) -> list[str]:
        """Slugs of tenants with messages that may be sent now."""
        return list(self._connection.execute(
            select(tenants.c.slug).where(tenants.c.deleted_at.is_(None), tenants.c.tenant_id.in_(
                select(outbox.c.tenant_id).where(text("outbox.status = 'pending'"),
                                                 or_(outbox.c.not_before <= now, by_wrong_clock(now)))))
            .order_by(tenants.c.slug)).scalars())

    def incidents(self, wanted: IncidentFilter, *, limit: int = 50) -> list[Row[Any]]:
        """A page of every tenant's incidents, newest first, with ``tenant_slug`` and ``environment``."""
        return list(self._connection.execute(page(wanted, limit=limit)))

    def workflows_of(self, rows: Collection[Row[Any]]) -> dict[UUID, list[dict[str, Any]]]:
        """What drifted when each of a page's incidents was opened, by incident."""
        return workflows_of(self._connection, rows)

    def incidents_between(self, first: UUID, last: UUID, *, limit: int = 3) -> list[Row[Any]]:
        """Incidents whose ids lie within bounds, both among them: what a prefix of an id stands for. With
        ``tenant_slug`` and ``environment``."""
        return list(self._connection.execute(
            select(drift_incidents.c.id, drift_incidents.c.number, tenants.c.slug.label("tenant_slug"),
                   environments.c.slug.label("environment"))
            .join(tenants, tenants.c.tenant_id == drift_incidents.c.tenant_id)
            .join(environments, (environments.c.tenant_id == drift_incidents.c.tenant_id)
                  & (environments.c.id == drift_incidents.c.environment_id))
            .where(drift_incidents.c.id.between(first, last), tenants.c.deleted_at.is_(None))
            .order_by(drift_incidents.c.id).limit(limit)))

    def promotions_between(self, first: UUID, last: UUID, *, limit: int = 3) -> list[Row[Any]]:
        """Promotions whose ids lie within bounds, both among them, with ``number`` and ``tenant_slug``."""
        return list(self._connection.execute(
            select(promotions.c.id, promotions.c.number, tenants.c.slug.label("tenant_slug"))
            .join(tenants, tenants.c.tenant_id == promotions.c.tenant_id)
            .where(promotions.c.id.between(first, last), tenants.c.deleted_at.is_(None))
            .order_by(promotions.c.id).limit(limit)))

    def promotions_ready(self) -> list[Row[Any]]:
        """Promotions that are approved and shall be carried out when they are ready, oldest first: ``id``, ``number``,
        ``changed_at``, ``gates``, both environments' ids, ``tenant_slug``. One that was ever scheduled is not among them:
        its time decides, or a person."""
        scheduled = select(literal(1)).select_from(deployments).where(
            deployments.c.tenant_id == promotions.c.tenant_id, deployments.c.promotion_id == promotions.c.id
        ).correlate(promotions).exists()
        return list(self._connection.execute(
            select(promotions.c.id, promotions.c.number, promotions.c.changed_at, promotions.c.gates,
                   promotions.c.tenant_id, promotions.c.source_environment_id, promotions.c.target_environment_id,
                   tenants.c.slug.label("tenant_slug"))
            .join(tenants, tenants.c.tenant_id == promotions.c.tenant_id)
            .where(text("promotions.status = 'approved'"), promotions.c.kind == "promotion",
                   promotions.c.options["when_ready"].astext == "true", tenants.c.deleted_at.is_(None), ~scheduled)
            .order_by(promotions.c.requested_at, promotions.c.id)))

    def environments_left(self) -> list[Row[Any]]:
        """Environments where something was begun and not ended: writes in the journal, a promotion that runs (``writing``),
        writes blocked by an incomplete rollback (``blocked``), a promotion's commit that is to be made (``git``). With
        ``tenant_slug``, and when the last attempt to recover was begun (``tried_at``, none yet)."""
        def any_of(table: Table, environment: Column[Any], *conditions: Any) -> ColumnElement[bool]:
            return select(literal(1)).select_from(table).where(
                table.c.tenant_id == environments.c.tenant_id, environment == environments.c.id, *conditions
            ).correlate(environments).exists()

        target = promotions.c.target_environment_id
        unfinished = text("runtime_journal.state in ('intended', 'done', 'failed')")
        writing = or_(any_of(runtime_journal, runtime_journal.c.environment_id, unfinished),
                      any_of(promotions, target, text("promotions.status = 'running'")))
        git = any_of(promotions, target, text("git_status in ('pending', 'failed')"))
        blocked = environments.c.writes_blocked_at.is_not(None)
        tried = select(func.max(operations.c.created_at)).where(
            operations.c.tenant_id == environments.c.tenant_id, operations.c.environment_id == environments.c.id,
            operations.c.kind == "recovery").correlate(environments).scalar_subquery()
        return list(self._connection.execute(
            select(environments.c.id, environments.c.slug, tenants.c.slug.label("tenant_slug"), tried.label("tried_at"),
                   writing.label("writing"), blocked.label("blocked"), git.label("git"))
            .join(tenants, tenants.c.tenant_id == environments.c.tenant_id)
            .where(or_(writing, git, blocked), environments.c.deleted_at.is_(None), tenants.c.deleted_at.is_(None))
            .order_by(tenants.c.slug, environments.c.position, environments.c.slug)))

    def approval(self, approval_id: UUID) -> Row[Any] | None:
        """A request by its id: ``kind``, ``status``, the incident's ``number``, ``tenant_slug`` and ``environment``."""
        return self._connection.execute(
            select(drift_approvals.c.kind, drift_approvals.c.status, drift_incidents.c.number,
                   tenants.c.slug.label("tenant_slug"), environments.c.slug.label("environment"))
            .join(drift_incidents, (drift_incidents.c.tenant_id == drift_approvals.c.tenant_id)
                  & (drift_incidents.c.id == drift_approvals.c.incident_id))
            .join(environments, (environments.c.tenant_id == drift_incidents.c.tenant_id)
                  & (environments.c.id == drift_incidents.c.environment_id))
            .join(tenants, tenants.c.tenant_id == drift_approvals.c.tenant_id)
            .where(drift_approvals.c.id == approval_id, tenants.c.deleted_at.is_(None))).one_or_none()

    def tenants_with_alert_rules(self) -> list[str]:
        """Slugs of tenants with rules that are looked at."""
        return list(self._connection.execute(
            select(tenants.c.slug).where(tenants.c.deleted_at.is_(None), tenants.c.tenant_id.in_(
                select(alert_rules.c.tenant_id).where(alert_rules.c.enabled))).order_by(tenants.c.slug)).scalars())

    def same_change(self, change_group: str) -> list[Row[Any]]:
        """Open incidents about one and the same change, of any tenant, with ``tenant_slug`` and ``environment``."""
        return list(self._connection.execute(
            select(drift_incidents.c.id, drift_incidents.c.number, tenants.c.slug.label("tenant_slug"),
                   environments.c.slug.label("environment"))
            .join(tenants, tenants.c.tenant_id == drift_incidents.c.tenant_id)
            .join(environments, (environments.c.tenant_id == drift_incidents.c.tenant_id)
                  & (environments.c.id == drift_incidents.c.environment_id))
            .where(drift_incidents.c.change_group == change_group, text("status not in ('closed', 'cancelled')"))
            .order_by(tenants.c.slug, environments.c.slug)))

    def busy_environments(self, stale_after: float) -> set[UUID]:
        """Environments that a living operation holds: sweeps leave them alone. A holder lives whose heartbeat is younger
        than ``stale_after`` seconds by the database's clock, by which leases live."""
        return set(self._connection.execute(
            select(environment_leases.c.environment_id).where(
                environment_leases.c.released_at.is_(None),
                environment_leases.c.heartbeat_at > func.clock_timestamp() - timedelta(seconds=stale_after))
        ).scalars())

    # -- deployments (§12) ---------------------------------------------------------------------------------------------

    def scheduled_deployments(self, until: datetime, *, after: tuple[datetime, UUID] | None = None,
                              limit: int = 500) -> list[Row[Any]]:
        """Deployments whose time has come, the longest waiting first, as :meth:`deployments` gives them: a page, ``after``
        the ``(starts_at, id)`` of the last row of the one before."""
        query = _deployments().where(text("deployments.status = 'scheduled'"), deployments.c.starts_at <= until,
                                     tenants.c.deleted_at.is_(None))
        if after is not None:
            query = query.where(tuple_(deployments.c.starts_at, deployments.c.id) > after)
        return list(self._connection.execute(query.order_by(deployments.c.starts_at, deployments.c.id).limit(limit)))

    def running_deployments(self) -> list[Row[Any]]:
        """Deployments that run, also of tenants that were deleted since, the oldest first."""
        return list(self._connection.execute(
            _deployments().where(text("deployments.status = 'running'")).order_by(deployments.c.started_at)))

    def deployments(self, *, tenant_id: UUID | None = None, statuses: Collection[str] | None = None,
                    before: tuple[datetime, UUID] | None = None, limit: int = 50) -> list[Row[Any]]:
        """A page of deployments, of one tenant or of all, newest first, with ``tenant_slug``, ``tenant_deleted_at``,
        ``source``, ``target`` and ``promotion_number``; ``before`` is the ``(requested_at, id)`` of the last one of the
        page before."""
        query = _deployments().where(tenants.c.deleted_at.is_(None))
        if tenant_id is not None:
            query = query.where(deployments.c.tenant_id == tenant_id)
        if statuses is not None:
            query = query.where(deployments.c.status.in_(statuses))
        if before is not None:
            query = query.where(tuple_(deployments.c.requested_at, deployments.c.id) < before)
        return list(self._connection.execute(
            query.order_by(deployments.c.requested_at.desc(), deployments.c.id.desc()).limit(limit)))

    def deployments_between(self, first: UUID, last: UUID, *, limit: int = 3) -> list[Row[Any]]:
        """Deployments whose ids lie within bounds, both among them: what a prefix of an id stands for."""
        return list(self._connection.execute(
            _deployments().where(deployments.c.id.between(first, last), tenants.c.deleted_at.is_(None))
            .order_by(deployments.c.id).limit(limit)))

    def batches_between(self, first: UUID, last: UUID, *, limit: int = 3) -> list[UUID]:
        """Batches of deployments whose ids lie within bounds, both among them."""
        return list(self._connection.execute(
            select(deployments.c.batch_id).where(deployments.c.batch_id.is_not(None),
                                                 deployments.c.batch_id.between(first, last))
            .distinct().order_by(deployments.c.batch_id).limit(limit)).scalars())

    def open_batches(self) -> list[UUID]:
        """Batches of which somebody has not ended."""
        return list(self._connection.execute(
            select(deployments.c.batch_id).where(deployments.c.batch_id.is_not(None),
                                                 deployments.c.status.in_(("pending", "scheduled", "running")))
            .distinct().order_by(deployments.c.batch_id)).scalars())

    def batch(self, batch_id: UUID) -> list[Row[Any]]:
        """The members of a batch, also those of tenants that were deleted since, as :meth:`deployments` gives them."""
        return list(self._connection.execute(
            _deployments().where(deployments.c.batch_id == batch_id)
            .order_by(deployments.c.wave, tenants.c.slug, deployments.c.id)))


def _deployments() -> Select[Any]:
    source, target = environments.alias("source_environment"), environments.alias("target_environment")
    return (select(deployments, tenants.c.slug.label("tenant_slug"), tenants.c.deleted_at.label("tenant_deleted_at"),
                   source.c.slug.label("source"), target.c.slug.label("target"),
                   promotions.c.number.label("promotion_number"))
            .join(tenants, tenants.c.tenant_id == deployments.c.tenant_id)
            .outerjoin(promotions, (promotions.c.tenant_id == deployments.c.tenant_id)
                       & (promotions.c.id == deployments.c.promotion_id))
            .join(source, (source.c.tenant_id == deployments.c.tenant_id)
                  & (source.c.id == deployments.c.source_environment_id))
            .join(target, (target.c.tenant_id == deployments.c.tenant_id)
                  & (target.c.id == deployments.c.target_environment_id)))
