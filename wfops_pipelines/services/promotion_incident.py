"""The incident about a rollback that could not restore everything (§11.7)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.escalation import Escalation, expires_at, next_due, on_severity_risen
from wfops_pipelines.domain.incident import IncidentStatus, Severity
from wfops_pipelines.services.drift_policies import policy_of
from wfops_pipelines.services.intended_writes import Written
from wfops_pipelines.services.notices import incident_opened, incident_severity_rose
from wfops_pipelines.store.unit_of_work import UnitOfWork


def raise_incident(work: UnitOfWork, environment: Row[Any], promotion: Row[Any], lost: Sequence[Written]) -> int:
    """Make the environment's open incident critical, or open one that is; returns its number."""
    now, context = work.context.now(), work.context
    ttls = policy_of(work, environment).severity_ttls
    incident = work.incidents.open_of(environment.id, lock=True)
    if incident is not None:
        before = Severity(incident.severity)
        if before is not Severity.CRITICAL:
            end = on_severity_risen(incident.expires_at, incident.detected_at, Severity.CRITICAL, ttls)
            work.incidents.change(incident.id, severity=str(Severity.CRITICAL), expires_at=end, next_due_at=next_due(
                status=IncidentStatus(incident.status), reached=Escalation(incident.escalation),
                detected_at=incident.detected_at, expires_at=end))
            work.record("incident.severity_rose", "incident", str(incident.number), environment=environment.slug,
                        was=str(before), severity=str(Severity.CRITICAL), reason="rollback_incomplete",
                        promotion=f"p{promotion.number}")
            incident_severity_rose(work, environment, incident.id, before)
        return int(incident.number)
    end = expires_at(now, Severity.CRITICAL, ttls)
    incident_id = context.new_id()
    title = (f"{context.tenant_slug}/{environment.slug}: the rollback of promotion p{promotion.number} is incomplete, "
             f"{len(lost)} {'workflow is' if len(lost) == 1 else 'workflows are'} not as before")
    fingerprint = hashlib.sha256(f"rollback {promotion.id}".encode()).hexdigest()
    number = work.incidents.add(
        id=incident_id, environment_id=environment.id, status=str(IncidentStatus.DETECTED), severity=str(Severity.CRITICAL),
        escalation=str(Escalation.NONE), title=title, owner=environment.owner, affected=len(lost),
        drift_fingerprint=fingerprint, detected_at=now, last_seen_at=now, expires_at=end,
        next_due_at=next_due(status=IncidentStatus.DETECTED, reached=Escalation.NONE, detected_at=now, expires_at=end),
        opened_by_operation=context.operation_id, drift_snapshot=_snapshot(work, environment, promotion, lost))
    work.record("incident.opened", "incident", str(number), environment=environment.slug, after=fingerprint, title=title,
                severity=str(Severity.CRITICAL), expires_at=end.isoformat(), reason="rollback_incomplete",
                promotion=f"p{promotion.number}", workflows=[each.as_json() for each in lost])
    incident_opened(work, environment, incident_id)
    return number


def _snapshot(work: UnitOfWork, environment: Row[Any], promotion: Row[Any], lost: Sequence[Written]) -> dict[str, Any]:
    """In the shape of what a check finds, so that an incident shows it the same way."""
    now = work.context.now().isoformat()
    workflows = [{
        "name": each.name, "workflow_id": each.workflow_id, "path": None, "kind": "modified",
        "canonical_id": str(each.canonical_id) if each.canonical_id else None, "kinds": ["modified"],
        "runtime_hash": each.after_hash, "git_hash": each.before_hash, "active": None, "wants_active": None, "since": now,
        "runtime_digest": None, "git_digest": None, "commit": None, "diff": None} for each in lost]
    return {"tenant": work.context.tenant_slug, "environment": environment.slug, "at": now,
            "promotion": f"p{promotion.number}", "reason": "rollback_incomplete",
            "summary": {"workflows": len(lost), "kinds": {"modified": len(lost)}}, "workflows": workflows}
