"""A check's drift becomes an incident, adds to one, or closes it (§10.1, §10.4), in the transaction of the check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.drift import DriftKind
from wfops_pipelines.domain.drift_policy import opens_incident
from wfops_pipelines.domain.escalation import Escalation, expires_at, next_due, on_severity_risen
from wfops_pipelines.domain.incident import (
    IncidentEvent,
    IncidentStatus,
    Resolution,
    Severity,
    incident_title,
    move,
    risen,
    severity_of,
)
from wfops_pipelines.domain.operation import OperationKind, OperationState
from wfops_pipelines.services.drift_policies import policy_of
from wfops_pipelines.services.notices import incident_ended, incident_opened, incident_severity_rose
from wfops_pipelines.store.unit_of_work import UnitOfWork

MAX_DIFFS = 200  # workflows of a snapshot that carry their diff; the others are named with their hashes


@dataclass(frozen=True, slots=True)
class Followed:
    """The environment's open incident after a check, and what the check did to it."""

    number: int | None = None
    state: Literal["active", "acknowledged"] | None = None
    incident_id: UUID | None = None
    opened: bool = False
    closed: int | None = None  # number of the incident that closed itself


def follow(work: UnitOfWork, context: Context, environment: Row[Any], *, rows: Sequence[dict[str, Any]],
           fingerprint: str, tracked: bool, operation_id: UUID | None) -> Followed:
    """Bring the environment's incident in step with what a check found. ``rows`` are the drift rows as they are stored,
    unpublished changes among them; ``tracked`` is false where there is nothing to drift from."""
    now = context.now()
    drifted = [row for row in rows if row["kind"] != DriftKind.UNPUBLISHED_CHANGES]
    incident = work.incidents.open_of(environment.id, lock=True)
    if not drifted or not tracked:
        if incident is None:
            return Followed()
        if work.fleet.environment(environment.id).writes_blocked_at is not None:
            return _stays(incident)  # what a rollback could not restore need not be drift
        return _close(work, environment, incident)
    if incident is None:
        return _open(work, context, environment, drifted, fingerprint, now, operation_id)
    return _grow(work, environment, incident, drifted, fingerprint, now)


def _open(work: UnitOfWork, context: Context, environment: Row[Any], drifted: list[dict[str, Any]], fingerprint: str,
          now: datetime, operation_id: UUID | None) -> Followed:
    policy = policy_of(work, environment)
    opening = opens_incident(policy, has_feature=True, affected=len(drifted), has_open_incident=False)
    if not opening.opens or _accepted(work, environment, fingerprint):
        return Followed()
    severity = severity_of(len(drifted))
    end = expires_at(now, severity, policy.severity_ttls)
    title = incident_title([(row["name"], DriftKind(row["kind"])) for row in drifted], tenant=context.tenant_slug,
                           environment=environment.slug)
    incident_id = context.new_id()
    number = work.incidents.add(
        id=incident_id, environment_id=environment.id, status=str(IncidentStatus.DETECTED), severity=str(severity),
        escalation=str(Escalation.NONE), title=title, owner=environment.owner, affected=len(drifted),
        drift_fingerprint=fingerprint, detected_at=now, last_seen_at=now, expires_at=end,
        next_due_at=next_due(status=IncidentStatus.DETECTED, reached=Escalation.NONE, detected_at=now, expires_at=end),
        opened_by_operation=operation_id, drift_snapshot=_snapshot(work, context, environment, drifted, now))
    work.record("incident.opened", "incident", str(number), environment=environment.slug, after=fingerprint, title=title,
                severity=str(severity), expires_at=end.isoformat(),
                workflows=[{"name": row["name"], "kind": str(row["kind"]), "workflow_id": row["workflow_id"],
                            "path": row["path"]} for row in drifted[:MAX_DIFFS]])
    incident_opened(work, environment, incident_id)
    return Followed(number, "active", incident_id, opened=True)


def _accepted(work: UnitOfWork, environment: Row[Any], fingerprint: str) -> bool:
    """Whether exactly this drift was accepted when the environment's last incident was closed: it opens no other one."""
    last = work.incidents.last_of(environment.id)
    return (last is not None and last.resolution == Resolution.ACKNOWLEDGE and last.status == IncidentStatus.CLOSED
            and last.drift_fingerprint == fingerprint)


def _grow(work: UnitOfWork, environment: Row[Any], incident: Row[Any], drifted: list[dict[str, Any]], fingerprint: str,
          now: datetime) -> Followed:
    """More drift, or other: severity rises and never falls, and the earlier end holds (§10.1, §10.3)."""
    status, before = IncidentStatus(incident.status), Severity(incident.severity)
    severity = risen(before, severity_of(len(drifted)))
    values: dict[str, Any] = {"last_seen_at": now}
    if fingerprint != incident.drift_fingerprint:
        values |= {"affected": len(drifted), "drift_fingerprint": fingerprint}
    if severity is not before:
        end = on_severity_risen(incident.expires_at, incident.detected_at, severity,
                                policy_of(work, environment).severity_ttls)
        values |= {"severity": str(severity), "expires_at": end, "next_due_at": next_due(
            status=status, reached=Escalation(incident.escalation), detected_at=incident.detected_at, expires_at=end)}
    work.incidents.change(incident.id, **values)
    if severity is not before:
        work.record("incident.severity_rose", "incident", str(incident.number), environment=environment.slug,
                    was=str(before), severity=str(severity), affected=len(drifted),
                    expires_at=values["expires_at"].isoformat())
        incident_severity_rose(work, environment, incident.id, before)
    elif "drift_fingerprint" in values:
        work.record("incident.drift_changed", "incident", str(incident.number), environment=environment.slug,
                    before=incident.drift_fingerprint, after=fingerprint, affected=len(drifted))
    return _stays(incident)


def _stays(incident: Row[Any]) -> Followed:
    acknowledged = IncidentStatus(incident.status).is_acknowledged
    return Followed(incident.number, "acknowledged" if acknowledged else "active", incident.id)


def accept(work: UnitOfWork, environment: Row[Any], reason: str) -> None:
    """Close the environment's open incident, if there is one, because somebody says that it stays as it is: where no check
    could ever find that it does not any more."""
    incident = work.incidents.open_of(environment.id, lock=True)
    if incident is not None:
        _end(work, environment, incident, Resolution.ACKNOWLEDGE, reason)


def _close(work: UnitOfWork, environment: Row[Any], incident: Row[Any]) -> Followed:
    """The drift is gone: the incident closes itself, as whatever it was resolved before, else as that."""
    resolution = incident.resolution or _interrupted_resolution(work, environment, incident) or str(Resolution.DRIFT_GONE)
    _end(work, environment, incident, resolution, "drift_gone")
    return Followed(closed=incident.number)


def _end(work: UnitOfWork, environment: Row[Any], incident: Row[Any], resolution: str, reason: str) -> None:
    now, status = work.context.now(), move(IncidentStatus(incident.status), IncidentEvent.CLOSE)
    work.incidents.change(incident.id, status=str(status), resolution=str(resolution), closed_at=now, affected=0,
                          closed_by=work.context.actor, next_due_at=None)
    work.incidents.cancel_waiting(incident.id, now)
    work.record("incident.closed", "incident", str(incident.number), environment=environment.slug,
                before=incident.drift_fingerprint, was=incident.status, resolution=str(resolution), reason=reason)
    incident_ended(work, environment, incident.id)


def _interrupted_resolution(work: UnitOfWork, environment: Row[Any], incident: Row[Any]) -> str | None:
    """How the incident was being resolved by a process that died: its commit is why the drift is gone."""
    last = work.operations.last(environment.id, OperationKind.INCIDENT_RESOLUTION)
    if last is None or last.state != OperationState.FAILED or (last.checkpoint or {}).get("incident") != incident.number:
        return None
    return str(last.checkpoint["choice"]["resolution"])


def _snapshot(work: UnitOfWork, context: Context, environment: Row[Any], drifted: list[dict[str, Any]],
              now: datetime) -> dict[str, Any]:
    """What was found, as it never changes again (§10.5): with the digests by which both contents are found."""
    mappings = work.mappings.by_workflow(environment.id, [r["workflow_id"] for r in drifted if r["workflow_id"]])
    files = {row.path: row for row in work.git_states.of_environment(environment.id)}
    workflows = []
    for position, row in enumerate(drifted):
        mapping, file = mappings.get(row["workflow_id"] or ""), files.get(row["path"] or "")
        workflows.append({
            "name": row["name"], "workflow_id": row["workflow_id"], "path": row["path"], "kind": str(row["kind"]),
            "canonical_id": str(row["canonical_id"]) if row["canonical_id"] else None, "kinds": list(row["kinds"]),
            "runtime_hash": row["runtime_hash"], "git_hash": row["git_hash"], "active": row["active"],
            "wants_active": row["wants_active"], "since": row["since"].isoformat(),
            "runtime_digest": mapping.live_digest if mapping is not None else None,
            "git_digest": file.digest if file is not None else None, "commit": file.commit if file is not None else None,
            "diff": row["diff"] if position < MAX_DIFFS else None,
        })
    kinds: dict[str, int] = {}
    for row in drifted:
        kinds[str(row["kind"])] = kinds.get(str(row["kind"]), 0) + 1
    return {"tenant": context.tenant_slug, "environment": environment.slug, "at": now.isoformat(),
            "summary": {"workflows": len(drifted), "kinds": kinds}, "workflows": workflows}
