"""Telling people (§16): messages go into the outbox in the transaction of the event they tell of."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.approval import ApprovalKind
from wfops_pipelines.domain.delivery import Timing
from wfops_pipelines.domain.escalation import Due
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

log = logging.getLogger("wfops.notifications")


def timing(target: Row[Any]) -> Timing:
    """When a notification target wants its messages. Quiet hours that this host cannot read (a time zone that it does not
    know) are none: the event comes first, and its message rather too early than never."""
    quiet = None
    if target.quiet_hours is not None:
        try:
            quiet = QuietHoursSpec.model_validate(target.quiet_hours).hours()
        except ValueError:
            log.error("the quiet hours of a notification target cannot be read: it is told at once",  # noqa: TRY400
                      extra={"target": target.name})
    return Timing(quiet, timedelta(minutes=target.digest_minutes))


def tell(work: UnitOfWork, *notices: Notice) -> int:
    """Put notices into the outbox for every target that wants to hear of them; returns how many messages are new.

    Quiet hours and digests say when one may go out at the earliest; who sends it looks at the quiet hours again."""
    messages: list[dict[str, Any]] = []
    targets = [(target, timing(target)) for target in work.fleet.notification_targets()] if notices else []
    for notice in notices:
        message, now = None, work.context.now()
        for target, wanted in targets:
            if target.events and notice.event not in target.events:
                continue
            if not notice.good and notice.severity < Severity(target.min_severity):
                continue
            message = message or render(notice, work.context.base_url).as_json()
            messages.append({
                "id": work.context.new_id(), "target": target.name, "event": str(notice.event or "test"),
                "subject": notice.subject, "severity": str(notice.severity), "message": message,
                "dedupe_key": dedupe_key(notice, target.name), "created_at": now,
                "not_before": wanted.not_before(now, notice.severity)})
    return work.outbox.put(messages)


def incident_opened(work: UnitOfWork, environment: Row[Any], incident_id: UUID) -> None:
    """A check opened it."""
    tell(work, IncidentOpened(_of(work, environment, incident_id), work.context.now()))


def incident_explained(work: UnitOfWork, environment: Row[Any], incident_id: UUID, picture: str | None) -> None:
    """Its cause and reach are known: whoever has not been told of it yet is told of them too, with a picture (SVG)."""
    incident = _of(work, environment, incident_id)
    notice = IncidentOpened(incident, incident.detected_at)
    message = replace(render(notice, work.context.base_url), picture=picture)
    work.outbox.rewrite(notice.subject, str(notice.event), message.as_json())


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


def incidents_escalated(work: UnitOfWork, reached: Sequence[tuple[Row[Any], IncidentStatus, Due]]) -> None:
    """Incidents reached a level: each as ``Incidents.lock_due`` found it, with the status that it has now."""
    tell(work, *(IncidentEscalated(_as_found(work, row, status), work.context.now(), due.level, due.missed)
                 for row, status, due in reached))


def _as_found(work: UnitOfWork, row: Row[Any], status: IncidentStatus) -> IncidentOf:
    return IncidentOf(
        incident_id=row.id, tenant=work.context.tenant_slug, environment=row.environment, title=row.title,
        severity=Severity(row.severity), status=status, detected_at=row.detected_at, expires_at=row.expires_at,
        owner=row.owner, workflows=tuple(row.workflows or ()), cause=row.cause, reach=row.reach)


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
