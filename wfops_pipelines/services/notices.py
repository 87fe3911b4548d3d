"""Telling people (§16): messages go into the outbox in the transaction of the event they tell of."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.approval import ApprovalKind
from wfops_pipelines.domain.delivery import Timing
from wfops_pipelines.domain.escalation import Escalation
from wfops_pipelines.domain.fleet_specs import QuietHoursSpec
from wfops_pipelines.domain.incident import IncidentStatus, Resolution, Severity
from wfops_pipelines.domain.notices import (
    ApprovalRequested,
    IncidentClosed,
    IncidentEscalated,
    IncidentOf,
    IncidentOpened,
    IncidentSeverityRisen,
    Notice,
)
from wfops_pipelines.domain.notification import dedupe_key, render
from wfops_pipelines.store.unit_of_work import UnitOfWork


def timing(target: Row[Any]) -> Timing:
    """When a notification target wants its messages."""
    quiet = target.quiet_hours
    return Timing(None if quiet is None else QuietHoursSpec.model_validate(quiet).hours(),
                  timedelta(minutes=target.digest_minutes))


def tell(work: UnitOfWork, notice: Notice) -> int:
    """Put a notice into the outbox for every target that wants to hear of it; returns for how many that was new.

    Quiet hours and digests say when it may go out at the earliest; who sends it looks at the quiet hours again."""
    put, message, now = 0, None, work.context.now()
    for target in work.fleet.notification_targets():
        if target.events and notice.event not in target.events:
            continue
        if not notice.good and notice.severity < Severity(target.min_severity):
            continue
        message = message or render(notice, work.context.base_url)
        put += work.outbox.put(
            id=work.context.new_id(), target=target.name, event=str(notice.event or "test"), subject=notice.subject,
            severity=str(notice.severity), dedupe_key=dedupe_key(notice, target.name), message=message.as_json(),
            not_before=timing(target).not_before(now, notice.severity), created_at=now)
    return put


def incident_opened(work: UnitOfWork, environment: Row[Any], incident_id: UUID) -> None:
    """A check opened it."""
    tell(work, IncidentOpened(_of(work, environment, incident_id), work.context.now()))


def incident_severity_rose(work: UnitOfWork, environment: Row[Any], incident_id: UUID, before: Severity) -> None:
    """Its drift grew."""
    tell(work, IncidentSeverityRisen(_of(work, environment, incident_id), work.context.now(), before))


def incident_ended(work: UnitOfWork, environment: Row[Any], incident_id: UUID) -> None:
    """It was closed or cancelled, or closed itself."""
    incident = work.incidents.by_id(incident_id)
    assert incident is not None  # noqa: S101 - it was just written
    resolution = Resolution(incident.resolution) if incident.resolution else None
    tell(work, IncidentClosed(_of(work, environment, incident_id), work.context.now(), by=work.context.actor,
                              resolution=resolution, reason=incident.reason))


def incident_escalated(work: UnitOfWork, environment: Row[Any], incident_id: UUID, level: Escalation,
                       missed: tuple[Escalation, ...]) -> None:
    """It reached a level; ``missed`` are those that nobody was told of."""
    tell(work, IncidentEscalated(_of(work, environment, incident_id), work.context.now(), level, missed))


def approval_requested(work: UnitOfWork, environment: Row[Any], incident_id: UUID, approval_id: UUID, kind: ApprovalKind,
                       reason: str | None) -> None:
    """Somebody else is asked to approve a step."""
    tell(work, ApprovalRequested(_of(work, environment, incident_id), work.context.now(), approval_id, kind,
                                 work.context.actor, reason))


def _of(work: UnitOfWork, environment: Row[Any], incident_id: UUID) -> IncidentOf:
    row = work.incidents.by_id(incident_id)
    assert row is not None  # noqa: S101 - the caller holds it
    snapshot = row.drift_snapshot or {}
    return IncidentOf(
        incident_id=row.id, tenant=work.context.tenant_slug, environment=environment.slug, title=row.title,
        severity=Severity(row.severity), status=IncidentStatus(row.status), detected_at=row.detected_at,
        expires_at=row.expires_at, owner=row.owner,
        workflows=tuple(workflow["name"] for workflow in snapshot.get("workflows", ())),
        cause=(row.cause or {}).get("summary"), reach=(row.reach or {}).get("summary"))
