"""Retention (§18): what has been kept long enough goes, tenant by tenant, in batches that each are one unit of work.

How long: payloads of ended incidents, the journal of writes, and snapshots that nobody took by hand as the drift policy
says, by environment; the history of drift checks, operations, messages and deliveries of webhooks as the installation's
settings say. What belongs to tenants and environments that were deleted goes some time after that (§2.7): secrets, what was
known of n8n and Git, contents, payloads of incidents; their own rows stay, for what tells of them. Workflow contents go
last, when nothing refers to them any more (``payload_retention``). Never touched: open incidents of what lives, what
unfinished work needs, and audit events.

What a run did is not found by the next one, so one that was cut off goes on where it stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.drift_policy import effective
from wfops_pipelines.domain.errors import StoreUnavailable, WfopsError
from wfops_pipelines.domain.retention import KeepDays
from wfops_pipelines.services.payload_retention import remove_unreferenced
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.retention import Kept
from wfops_pipelines.store.unit_of_work import UnitOfWork

log = logging.getLogger("wfops.retention")

BATCH: Final = 500
INCIDENT_PAYLOADS: Final = "incident_payloads"
UNREFERENCED: Final = "payloads"
SECRETS: Final = "secrets"  # that nothing declared refers to any more
INVENTORY: Final = "inventory"  # of a deleted environment: what was known of its n8n and of Git, and its snapshots


@dataclass(frozen=True, slots=True)
class Removed:
    """How many of a kind went, or with ``dry_run`` would go; of the journal, of how many operations. ``before`` is none for
    what does not go by age."""

    tenant: str
    environment: str | None
    what: str
    before: datetime | None
    count: int

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {"tenant": self.tenant, "environment": self.environment, "what": self.what,
                "before": self.before.isoformat() if self.before is not None else None, "count": self.count}


@dataclass(frozen=True, slots=True)
class RetentionRun:
    """What went, by tenant, environment and kind (those of which nothing did are left out), and who failed. ``waiting``:
    by tenant, contents that were not removed because operations ran; the next run removes them. With ``dry_run`` operations
    and contents are counted as they are now: what goes before them may free more."""

    dry_run: bool
    removed: list[Removed] = field(default_factory=list)
    waiting: dict[str, int] = field(default_factory=dict)
    failed: dict[str, WfopsError] = field(default_factory=dict)
    paused: list[str] = field(default_factory=list)  # tenants at rest: of those nothing went

    @property
    def total(self) -> int:
        """Of every kind together."""
        return sum(one.count for one in self.removed)

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {"dry_run": self.dry_run, "removed": [one.as_json() for one in self.removed], "total": self.total,
                "waiting": [{"tenant": tenant, "what": UNREFERENCED, "count": count}
                            for tenant, count in sorted(self.waiting.items())],
                "paused": self.paused,
                "failed": [{"tenant": tenant, "error": str(error)} for tenant, error in sorted(self.failed.items())]}


@dataclass(frozen=True, slots=True)
class _Part:
    """One kind of rows of one environment, or of the tenant, from before a time."""

    what: str
    before: datetime
    environment: Row[Any] | None
    count: Callable[[UnitOfWork], int]
    take: Callable[[UnitOfWork, int], tuple[int, dict[str, Any]]]  # at most so many; how many, and what the audit says


def run_retention(services: Services, tenants: Sequence[str] = (), *, actor: str, keep: KeepDays | None = None,
                  run_id: str | None = None, dry_run: bool = False, batch_size: int = BATCH,
                  even_paused: bool = False) -> RetentionRun:
    """Remove what is old enough, of the tenants named or of all. A tenant that fails does not stop the others; one that is
    paused is left alone.

    :class:`UnknownTenant` before anything is removed, :class:`StoreUnavailable` when the database is gone.
    """
    with services.store.system() as system:
        rows = [] if tenants else system.tenants(deleted=True)
        pauses = system.pauses()
    gone = {row.tenant_id for row in rows if row.deleted_at is not None}
    run = RetentionRun(dry_run)
    contexts = [services.context(slug, actor=actor, run_id=run_id) for slug in dict.fromkeys(tenants)]
    contexts += [services.context_of(row.tenant_id, row.slug, actor, run_id=run_id) for row in rows]
    for context in contexts:
        # nobody can resume a tenant that is no more: the pause of everything alone keeps what belonged to it
        paused = context.tenant_id in (replace(pauses, tenants={}) if context.tenant_id in gone else pauses)
        if paused and not even_paused:
            run.paused.append(context.tenant_slug)
            continue
        try:
            _of_tenant(services, context, keep or KeepDays(), run, batch_size)
        except StoreUnavailable:
            raise
        except WfopsError as error:
            log.info("retention of %s failed: %s", context.tenant_slug, error,
                     extra={"tenant": context.tenant_slug, "error": error.kind})
            run.failed[context.tenant_slug] = error
    return run


def _of_tenant(services: Services, context: Context, keep: KeepDays, run: RetentionRun, batch_size: int) -> None:
    with services.store.read(context) as work:
        parts = _parts(work, services.now(), keep)
        counts = [part.count(work) for part in parts]
    for part, count in zip(parts, counts, strict=True):
        if count and not run.dry_run:
            count = _remove(services, context, part, batch_size)  # noqa: PLW2901 - what really went
        if count:
            run.removed.append(Removed(context.tenant_slug, part.environment.slug if part.environment else None, part.what,
                                       part.before, count))
    contents = remove_unreferenced(services, context, dry_run=run.dry_run)
    if contents.count:
        run.removed.append(Removed(context.tenant_slug, None, UNREFERENCED, None, contents.count))
    if contents.waiting:
        run.waiting[context.tenant_slug] = contents.waiting


def _remove(services: Services, context: Context, part: _Part, batch_size: int) -> int:
    total, last = 0, batch_size
    while last >= batch_size:
        with services.store.bookkeeping(context, "retention.batch") as work:
            last, details = part.take(work, batch_size)
            if last:
                work.record("retention.removed", "tenant", context.tenant_slug, what=part.what, count=last,
                            environment=part.environment.slug if part.environment else None,
                            older_than=part.before.isoformat(), **details)
        total += last
    return total


def _parts(work: UnitOfWork, now: datetime, keep: KeepDays) -> list[_Part]:
    policies = {row.environment_id: row.policy for row in work.fleet.policies()}
    purged = now - timedelta(days=keep.deleted)  # what was deleted before is purged
    parts: list[_Part] = []
    for environment in work.fleet.environments(deleted=True):
        policy = effective(policies.get(None), policies.get(environment.id), environment._mapping["class"],
                           environment.drift_handling_mode)
        parts += [
            _incident_payloads(environment, now - timedelta(days=policy.closed_incident_retention_days), among="ended"),
            _rows(Kept.JOURNAL, now, policy.reconciliation_artifact_retention_days, environment),
            _rows(Kept.SNAPSHOTS, now, policy.snapshot_retention_days, environment),
            _rows(Kept.DRIFT_CHECKS, now, keep.drift_checks, environment),
        ]
        if environment.deleted_at is not None and environment.deleted_at < purged:
            parts += [_inventory(environment, purged), _incident_payloads(environment, purged, among="all")]
    return [*parts, _rows(Kept.OPERATIONS, now, keep.operations),
            _rows(Kept.MESSAGES, now, keep.messages), _rows(Kept.DEAD_MESSAGES, now, keep.dead_messages),
            _rows(Kept.DELIVERIES, now, keep.deliveries), _secrets(purged)]


def _rows(kind: Kept, now: datetime, days: int, environment: Row[Any] | None = None) -> _Part:
    before, of = now - timedelta(days=days), environment.id if environment is not None else None
    return _Part(str(kind), before, environment,
                 lambda work: work.retention.count(kind, before, environment_id=of),
                 lambda work, limit: (work.retention.remove(kind, before, environment_id=of, limit=limit), {}))


def _secrets(before: datetime) -> _Part:
    def take(work: UnitOfWork, limit: int) -> tuple[int, dict[str, Any]]:
        names = work.retention.purge.remove_secrets(before, limit)
        return len(names), {"names": sorted(names)}

    return _Part(SECRETS, before, None, lambda work: work.retention.purge.count_secrets(before), take)


def _inventory(environment: Row[Any], before: datetime) -> _Part:
    return _Part(INVENTORY, before, environment,
                 lambda work: work.retention.purge.count_inventory(environment.id, before),
                 lambda work, limit: (work.retention.purge.remove_inventory(environment.id, before, limit), {}))


def _incident_payloads(environment: Row[Any], before: datetime, *, among: Literal["ended", "all"]) -> _Part:
    """Of incidents that ended before a time; of ``all``, of those, too, that nobody can end any more."""
    ended_before = before if among == "ended" else None

    def take(work: UnitOfWork, limit: int) -> tuple[int, dict[str, Any]]:
        found = work.incidents.purgeable(environment.id, ended_before, limit=limit)
        work.incidents.purge([row.id for row in found], work.context.now())
        return len(found), {"incidents": [row.number for row in found]}

    return _Part(INCIDENT_PAYLOADS, before, environment,
                 lambda work: work.incidents.count_purgeable(environment.id, ended_before), take)
