"""Incidents as they are listed, and everything about one (§10): what drifted and what drifts now, why, how far it
reaches, who did what when, what will happen by itself, and what can be done."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.audit import AuditEvent, decode
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.drift import DriftKind
from wfops_pipelines.domain.errors import UnknownEnvironment, UsageError
from wfops_pipelines.domain.escalation import Escalation, deadlines, past_ttl
from wfops_pipelines.domain.incident import IncidentStatus, Severity
from wfops_pipelines.domain.shown import iso
from wfops_pipelines.services.audit_reports import event_json
from wfops_pipelines.services.drift_policies import policy_of
from wfops_pipelines.services.explain_incident import similar
from wfops_pipelines.services.incident_names import named_incident
from wfops_pipelines.services.incident_next_steps import Situation, next_steps, refusal
from wfops_pipelines.services.incident_steps import find
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.unfinished_resolutions import unfinished_resolutions
from wfops_pipelines.store.incident_pages import IncidentFilter
from wfops_pipelines.store.unit_of_work import UnitOfWork

_EVENTS: Final = 1_000  # of one incident: far more than people cause
_RESOLVING: Final = frozenset({"git.exported", "repository.synced", "mapping.linked", "environment.writes_blocked"})
_STEPS: Final = ("acknowledged", "stabilized", "reconciled", "closed")


def list_incidents(services: Services, context: Context | None, *, environment: str | None = None,
                   statuses: Collection[str] = (), severities: Collection[str] = (), everything: bool = False,
                   cursor: str | None = None, limit: int = 50) -> tuple[list[dict[str, Any]], str | None]:
    """A page, newest first, and the cursor of the next one (none after the last): the id of the page's last incident.

    Of one tenant, or without a context of all tenants. Only open ones, unless ``everything`` or statuses are asked for.
    :class:`UsageError` for a status or severity that there is not.
    """
    _check(statuses, IncidentStatus, "status")
    _check(severities, Severity, "severity")
    wanted = IncidentFilter(
        environment_id=services.environment(context, environment).id if context and environment else None,
        environment=environment if context is None else None, statuses=frozenset(statuses),
        severities=frozenset(severities), open_only=not everything and not statuses, before=_cursor(services, cursor))
    if context is None:
        with services.store.system() as system:
            _check_environment(environment, {row.slug for row in system.environments()} if environment else set())
            rows = system.incidents(wanted, limit=limit + 1)
            workflows = system.workflows_of(rows[:limit])
    else:
        with services.store.read(context) as work:
            rows = work.incidents.listed(wanted, limit=limit + 1)
            workflows = work.incidents.workflows_of(rows[:limit])
    now, shown = services.now(), rows[:limit]
    return ([_listed(row, row.tenant_slug, row.environment, workflows.get(row.id, []), now) for row in shown],
            str(shown[-1].id) if len(rows) > limit else None)


def show_incident(services: Services, context: Context, number: int, *, any_tenant: bool = False) -> dict[str, Any]:
    """Everything about one incident; :class:`UnknownIncident`. Of other tenants it tells only with ``any_tenant``: the
    caller has checked that a platform admin asks (§2.2)."""
    with services.store.read(context) as work:
        incident, environment = find(work, context, number)
        snapshot = incident.drift_snapshot or {}
        status = IncidentStatus(incident.status)
        policy = policy_of(work, environment)
        approvals = [_approval(row) for row in work.incidents.approvals_of(incident.id)]
        now_drifting = work.drift.of_environment(environment.id) if status.is_open else []
        timeline = _timeline(work, incident)
        unfinished = unfinished_resolutions(services, work, incident)
        operations = [_operation(work, identity) for identity in _operations(incident)]
        now = context.now()
    workflows, since_then = _then_and_now(snapshot.get("workflows", []), now_drifting, is_open=status.is_open)
    name = f"{context.tenant_slug}#{incident.number}"
    refuses = refusal(environment._mapping["class"], allow_production=environment.allow_production,
                      blocked=environment.writes_blocked_at is not None, blocked_reason=environment.writes_blocked_reason)
    interrupted = next((one["resolution"] for one in unfinished if one["state"] == "interrupted"), None)
    steps = next_steps(Situation(name, context.tenant_slug, environment.slug, status, policy, approvals, refuses,
                                 interrupted))
    return {
        **_listed(incident, context.tenant_slug, environment.slug, workflows, now),
        "environment_class": environment._mapping["class"], "environment_status": environment.drift_status,
        "url": environment.base_url, "last_check_at": iso(environment.last_drift_check_at),
        "snapshot_at": snapshot.get("at"), "summary": snapshot.get("summary"), "drifting_since_then": since_then,
        "fingerprint": incident.drift_fingerprint, "forced": incident.forced,
        "steps": {name: {"at": iso(incident._mapping[f"{name}_at"]), "by": incident._mapping[f"{name}_by"]}
                  for name in _STEPS if incident._mapping[f"{name}_at"] is not None},
        "expired_at": iso(incident.expired_at), "payload_purged_at": iso(incident.payload_purged_at),
        "escalations": _escalations(incident), "cause": incident.cause, "reach": incident.reach,
        "change_group": incident.change_group, "same_change": [
            {**other, "name": f"{other['tenant']}#{other['number']}"}
            for other in similar(services, context, incident, any_tenant=any_tenant)],
        "policy": policy.as_json(), "approvals": approvals, "timeline": timeline, "operations": operations,
        "unfinished": unfinished,
        "next_steps": [step.as_json() for step in steps],
    }


def incident_history(services: Services, context: Context, number: int) -> list[dict[str, Any]]:
    """An incident's audit events, and those of the operations that resolved it or tried to, in order."""
    with services.store.read(context) as work:
        incident, _ = find(work, context, number)
        return _timeline(work, incident)


def _check(said: Collection[str], known: type[IncidentStatus] | type[Severity], what: str) -> None:
    wrong = sorted(set(said) - {str(value) for value in known})
    if wrong:
        raise UsageError(f"there is no {what} {wrong[0]!r}", fix=f"one of {', '.join(map(str, known))}")


def _check_environment(slug: str | None, known: set[str]) -> None:
    if slug is not None and slug not in known:
        raise UnknownEnvironment(f"no tenant has an environment {slug!r}",
                                 fix=f"environments: {', '.join(sorted(known)[:10]) or 'none yet'}")


def _cursor(services: Services, cursor: str | None) -> tuple[datetime, UUID] | None:
    if cursor is None:
        return None
    named = named_incident(services, cursor)
    with services.store.read(services.context(named.tenant, actor="system:look-up")) as work:
        row = work.incidents.by_number(named.number)
    assert row is not None  # noqa: S101 - it was just found, and incidents stay
    return row.detected_at, row.id


def _listed(row: Row[Any], tenant: str, environment: str, workflows: list[dict[str, Any]], now: datetime) -> dict[str, Any]:
    status = IncidentStatus(row.status)
    return {
        "id": str(row.id), "number": row.number, "name": f"{tenant}#{row.number}", "tenant": tenant,
        "environment": environment, "status": row.status, "open": status.is_open, "severity": row.severity,
        "escalation": row.escalation, "title": row.title, "owner": row.owner, "ticket": row.ticket, "reason": row.reason,
        "resolution": row.resolution, "affected": row.affected, "detected_at": iso(row.detected_at),
        "last_seen_at": iso(row.last_seen_at), "expires_at": iso(row.expires_at),
        "past_ttl": status.is_open and past_ttl(row.expires_at, now), "closed_at": iso(row.closed_at),
        "workflows": workflows,
    }


def _then_and_now(then: Sequence[Mapping[str, Any]], rows: Sequence[Row[Any]], *,
                  is_open: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The snapshot's workflows with what the last check says of each (``now``: ``same``, ``changed``, ``gone``; none of a
    closed incident), and what began to drift after it was opened."""
    current = {row.subject: row for row in rows if row.kind != DriftKind.UNPUBLISHED_CHANGES}
    shown = []
    for workflow in then:
        row = current.pop(workflow["workflow_id"] or workflow["path"], None)
        state = None
        if is_open:
            same = row is not None and (row.kind, row.runtime_hash, row.git_hash) == (
                workflow["kind"], workflow["runtime_hash"], workflow["git_hash"])
            state = "gone" if row is None else "same" if same else "changed"
        diff_now = row.diff if row is not None and state == "changed" else None
        shown.append({**workflow, "now": state, "diff_now": diff_now})
    added = [{"name": row.name, "kind": row.kind, "kinds": row.kinds, "workflow_id": row.workflow_id, "path": row.path,
              "canonical_id": str(row.canonical_id) if row.canonical_id else None, "active": row.active,
              "wants_active": row.wants_active, "since": iso(row.since), "diff": row.diff}
             for row in current.values()] if is_open else []
    return shown, added


def _escalations(incident: Row[Any]) -> list[dict[str, Any]]:
    """The levels with the times at which they are due. ``state`` is ``reached`` (the one recorded), ``to_come``, or
    ``over``: it will not come any more."""
    status, highest = IncidentStatus(incident.status), Escalation(incident.escalation)
    shown = []
    for level, at in deadlines(incident.detected_at, incident.expires_at).items():
        if level is highest:
            state = "reached"
        elif level < highest or not status.is_open or (level is Escalation.ESCALATED and status.is_acknowledged):
            state = "over"
        else:
            state = "to_come"
        shown.append({"level": str(level), "at": iso(at), "state": state})
    return shown


def _timeline(work: UnitOfWork, incident: Row[Any]) -> list[dict[str, Any]]:
    """Audit events about the incident, and what operations that were to resolve it wrote or undid, in order."""
    encoded = work.audit.events(subject=("incident", str(incident.number)), limit=_EVENTS)
    events: dict[int, AuditEvent] = {event.sequence: event for event in map(decode, encoded)}
    acted = work.operations.about_incident(incident.environment_id, incident.number, since=incident.detected_at)
    if incident.resolved_by_operation is not None and incident.resolved_by_operation not in acted:
        acted.append(incident.resolved_by_operation)
    for operation_id in acted:
        for event in map(decode, work.audit.events(operation_id=operation_id, limit=_EVENTS)):
            if event.action.startswith("runtime.") or event.action in _RESOLVING:
                events.setdefault(event.sequence, event)
    return [event_json(events[sequence]) for sequence in sorted(events)]


def _operations(incident: Row[Any]) -> list[tuple[str, UUID]]:
    found = [("opened", incident.opened_by_operation), ("resolved", incident.resolved_by_operation)]
    return [(what, operation_id) for what, operation_id in found if operation_id is not None]


def _operation(work: UnitOfWork, identity: tuple[str, UUID]) -> dict[str, Any]:
    what, operation_id = identity
    row = work.operations.get(operation_id)
    return {"what": what, "operation_id": str(operation_id), "kind": row.kind if row is not None else None,
            "state": row.state if row is not None else None, "run_id": row.run_id if row is not None else None,
            "actor": row.actor if row is not None else None}


def _approval(row: Row[Any]) -> dict[str, Any]:
    return {"id": str(row.id), "kind": row.kind, "status": row.status, "arguments": row.arguments, "reason": row.reason,
            "requested_by": row.requested_by, "requested_at": iso(row.requested_at), "decided_by": row.decided_by,
            "decided_at": iso(row.decided_at), "decision_reason": row.decision_reason,
            "executed_at": iso(row.executed_at)}
