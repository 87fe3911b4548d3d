"""The clock's part in an incident's life (§10.3): levels of escalation as its TTL runs, and expiry."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.drift_policy import effective
from wfops_pipelines.domain.errors import StoreUnavailable, WfopsError
from wfops_pipelines.domain.escalation import Due, Escalation, due, next_due
from wfops_pipelines.domain.incident import IncidentEvent, IncidentStatus, move
from wfops_pipelines.services.notices import incidents_escalated
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork

log = logging.getLogger("wfops.incidents")

AT_ONCE = 4  # tenants: while the database writes for one, the notices of another are written
BATCH = 200  # incidents of one tenant in a transaction
PAGE = 2000  # incidents that are looked up at once, of all tenants
MOST = 20_000  # incidents of one sweep: the next one, a minute later, goes on


@dataclass(frozen=True, slots=True)
class Escalated:
    """An incident that reached a level; ``missed`` are those passed unseen, ``expired`` whether nobody had taken care."""

    tenant: str
    environment: str
    number: int
    level: Escalation
    missed: tuple[Escalation, ...]
    expired: bool


@dataclass(frozen=True, slots=True)
class TtlSweep:
    """What a sweep did, and the tenants that failed, with why."""

    escalated: list[Escalated] = field(default_factory=list)
    failed: dict[str, WfopsError] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """One line for people."""
        expired = sum(1 for one in self.escalated if one.expired)
        words = [f"escalated {len(self.escalated)}" + (f", {expired} of them expired" if expired else "")
                 if self.escalated else "nothing is due"]
        return "; ".join(words + [f"{tenant} failed: {error}" for tenant, error in sorted(self.failed.items())])


def escalate_incidents(services: Services, *, actor: str, limit: int = MOST) -> TtlSweep:
    """Record what is due for every open incident, soonest first: its level, expiry, and a notice where the policy enforces
    the SLA (``enforce_sla``).

    One transaction for each batch of a tenant. Rows that another sweep holds are left to it, so two at once do nothing
    twice; a tenant that fails does not stop the others. :class:`StoreUnavailable` when there is no database to ask.
    """
    sweep, now = TtlSweep(), services.now()

    def of_tenant(tenant: _Tenant, ids: Sequence[UUID]) -> tuple[list[Escalated], WfopsError | None]:
        return _of_tenant(services, services.context_of(tenant.id, tenant.slug, actor), ids, now)

    with ThreadPoolExecutor(AT_ONCE, "wfops-ttl") as threads:
        for page in _pages(services, now, limit):
            found = {tenant: ids for tenant, ids in _by_tenant(page).items() if tenant.slug not in sweep.failed}
            for tenant, (done, error) in zip(found, threads.map(of_tenant, found.keys(), found.values()), strict=True):
                sweep.escalated.extend(done)
                if error is not None:
                    sweep.failed[tenant.slug] = error
    return sweep


@dataclass(frozen=True, slots=True)
class _Tenant:
    id: UUID
    slug: str


def _pages(services: Services, now: datetime, limit: int) -> Iterator[Sequence[Row[Any]]]:
    after: tuple[datetime, UUID] | None = None
    while limit > 0:
        with services.store.system() as system:
            rows = system.due_incidents(now, after=after, limit=min(PAGE, limit))
        yield rows
        if len(rows) < min(PAGE, limit):
            return
        limit -= len(rows)
        after = (rows[-1].next_due_at, rows[-1].id)


def _by_tenant(rows: Sequence[Row[Any]]) -> dict[_Tenant, list[UUID]]:
    found: dict[_Tenant, list[UUID]] = {}
    for row in rows:
        found.setdefault(_Tenant(row.tenant_id, row.tenant_slug), []).append(row.id)
    return found


def _of_tenant(services: Services, context: Context, ids: Sequence[UUID],
               now: datetime) -> tuple[list[Escalated], WfopsError | None]:
    """What was done, and what stopped it."""
    done: list[Escalated] = []
    for start in range(0, len(ids), BATCH):
        try:
            # Not flushed: what a crash of the database's server undoes is due still, and done by the next sweep.
            with services.store.bookkeeping(context, "incident.ttl", flush=False) as work:
                batch = _escalate(work, ids[start:start + BATCH], now)
        except StoreUnavailable:
            raise
        except WfopsError as error:
            log.info("the incidents of %s were not escalated: %s", context.tenant_slug, error,
                     extra={"tenant": context.tenant_slug, "error": error.kind})
            return done, error
        done += batch
    return done, None


def _escalate(work: UnitOfWork, ids: Sequence[UUID], now: datetime) -> list[Escalated]:
    incidents = work.incidents.lock_due(ids, now)
    if not incidents:
        return []  # others were faster, or they are not due any more
    found = [(incident, _due(incident, now)) for incident in incidents]
    work.incidents.escalate([_changes(incident, reached, now) for incident, reached in found])
    done, told = [], []
    for incident, reached in found:
        if reached is None:  # its time was wrong, and was set anew: there is nothing to tell
            continue
        _record(work, incident, reached)
        if _enforced(incident):
            told.append((incident, _status_after(incident, reached), reached))
        done.append(Escalated(work.context.tenant_slug, incident.environment, incident.number, reached.level,
                              reached.missed, reached.expires))
    incidents_escalated(work, told)
    return done


def _due(incident: Row[Any], now: datetime) -> Due | None:
    return due(status=IncidentStatus(incident.status), reached=Escalation(incident.escalation),
               detected_at=incident.detected_at, expires_at=incident.expires_at, now=now)


def _changes(incident: Row[Any], reached: Due | None, now: datetime) -> dict[str, Any]:
    status, level = IncidentStatus(incident.status), Escalation(incident.escalation)
    if reached is not None:
        level = reached.level
        status = _status_after(incident, reached)
    expired = now if reached is not None and reached.expires else None
    return {"incident": incident.id, "level": str(level), "becomes": str(status), "expired": expired, "next": next_due(
        status=status, reached=level, detected_at=incident.detected_at, expires_at=incident.expires_at)}


def _status_after(incident: Row[Any], reached: Due) -> IncidentStatus:
    status = IncidentStatus(incident.status)
    return move(status, IncidentEvent.EXPIRE) if reached.expires else status


def _record(work: UnitOfWork, incident: Row[Any], reached: Due) -> None:
    work.record("incident.escalated", "incident", str(incident.number), environment=incident.environment,
                was=incident.escalation, level=str(reached.level), missed=[str(level) for level in reached.missed],
                expires_at=incident.expires_at.isoformat())
    if reached.expires:
        work.record("incident.expired", "incident", str(incident.number), environment=incident.environment,
                    was=incident.status)


def _enforced(incident: Row[Any]) -> bool:
    """Whether the policy of an incident's environment wants its escalations told."""
    return effective(incident.tenant_policy, incident.environment_policy, incident._mapping["class"],
                     incident.drift_handling_mode).enforce_sla
