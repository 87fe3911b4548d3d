"""The steps of an incident that somebody takes (§10.2, §10.3, §10.6): each one transaction, audited, once.

What the policy's ``require_approval_for`` names becomes a request, which somebody else approves or rejects. Approving an
acknowledgement, an extension or a closing carries it out in the same transaction; a reconciliation is carried out
afterwards, by :mod:`incident_resolution`, which spends the approval when it begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.approval import KIND_OF_EVENT, ApprovalKind, ApprovalStatus, decide, spend
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import Blocked, UnknownIncident, UsageError
from wfops_pipelines.domain.escalation import Escalation, check_extension, extended, next_due
from wfops_pipelines.domain.incident import IncidentEvent, IncidentStatus, check_step, move
from wfops_pipelines.services.drift_policies import policy_of
from wfops_pipelines.services.notices import approval_requested, incident_ended
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork

STAMPS = {IncidentEvent.ACKNOWLEDGE: "acknowledged", IncidentEvent.STABILIZE: "stabilized",
          IncidentEvent.RECONCILE: "reconciled", IncidentEvent.CLOSE: "closed", IncidentEvent.CANCEL: "closed"}


@dataclass(frozen=True, slots=True)
class IncidentStep:
    """What happened, or with ``dry_run`` would happen. ``waiting``: it was requested and waits for somebody's approval."""

    tenant: str
    environment: str
    number: int
    step: str
    before: dict[str, Any]
    after: dict[str, Any]
    waiting: bool = False
    dry_run: bool = False
    notes: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {"tenant": self.tenant, "environment": self.environment, "number": self.number, "step": self.step,
                "before": self.before, "after": self.after, "waiting_for_approval": self.waiting,
                "dry_run": self.dry_run, "notes": list(self.notes)}


def take(services: Services, context: Context, number: int, event: IncidentEvent, *, reason: str | None = None,
         owner: str | None = None, ticket: str | None = None, forced: bool = False, dry_run: bool = False) -> IncidentStep:
    """Acknowledge, stabilise, close or cancel an incident.

    :class:`ForbiddenTransition` names what is possible from its status, :class:`UsageError` what the step needs.
    ``forced`` is an admin's: the caller has checked the role.
    """
    if event in (IncidentEvent.RECONCILE, IncidentEvent.EXPIRE):
        raise UsageError(f"{event} is no step to take by itself", fix="reconcile acts; expiry is the clock's")
    check_step(event, reason=reason)
    arguments = {"event": str(event), "reason": reason, "owner": owner, "ticket": ticket, "forced": forced}
    with _writing(services, context, f"incident.{event}", dry_run=dry_run) as work:
        incident, environment = find(work, context, number)
        move(IncidentStatus(incident.status), event, forced=forced)  # refused before anybody is asked to approve it
        kind = KIND_OF_EVENT.get(event)
        if kind is not None and _needs_approval(work, environment, kind):
            return _request(work, context, incident, environment, kind, arguments, dry_run=dry_run)
        return _take(work, context, incident, environment, arguments, dry_run=dry_run)


def extend(services: Services, context: Context, number: int, hours: int, *, reason: str | None,
           dry_run: bool = False) -> IncidentStep:
    """Give an open incident more time (§10.3)."""
    arguments = {"hours": hours, "reason": reason}
    with _writing(services, context, "incident.extend", dry_run=dry_run) as work:
        incident, environment = find(work, context, number)
        check_extension(IncidentStatus(incident.status), reason)
        extended(incident.expires_at, hours)
        if _needs_approval(work, environment, ApprovalKind.EXTEND_TTL):
            return _request(work, context, incident, environment, ApprovalKind.EXTEND_TTL, arguments, dry_run=dry_run)
        return _extend(work, context, incident, environment, arguments, dry_run=dry_run)


def decide_request(services: Services, context: Context, number: int, *, approve: bool, kind: ApprovalKind | None = None,
                   approval_id: UUID | None = None, reason: str | None = None, dry_run: bool = False) -> IncidentStep:
    """Approve or reject what waits, as somebody else than who asked; ``kind`` or ``approval_id`` where several wait."""
    with _writing(services, context, "incident.decide", dry_run=dry_run) as work:
        incident, environment = find(work, context, number)
        request = _waiting(work, incident, kind, approval_id)
        status = decide(ApprovalStatus(request.status), approve=approve, requested_by=request.requested_by,
                        decided_by=context.actor)
        if dry_run:
            return _shown(context, environment, incident, f"{'approve' if approve else 'reject'} {request.kind}",
                          {"approval": request.status}, {"approval": str(status)}, dry_run=True)
        now = context.now()
        work.incidents.decide(request.id, status=str(status), decided_by=context.actor, decided_at=now,
                              decision_reason=reason)
        work.record(f"incident.approval_{status}", "incident", str(incident.number), environment=environment.slug,
                    kind=request.kind, requested_by=request.requested_by, reason=reason)
        if approve and request.kind != ApprovalKind.RECONCILE:
            return _execute(work, context, incident, environment, request)
        notes = (("carry it out: wfops incident reconcile "
                  f"{context.tenant_slug}#{incident.number} --resolution {request.arguments.get('resolution')}",)
                 if approve else ())
        return _shown(context, environment, incident, f"{'approve' if approve else 'reject'} {request.kind}",
                      {"approval": request.status}, {"approval": str(status)}, notes=notes)


def find(work: UnitOfWork, context: Context, number: int) -> tuple[Row[Any], Row[Any]]:
    """The incident, locked, and its environment; :class:`UnknownIncident`."""
    incident = work.incidents.by_number(number, lock=not work.read_only)
    if incident is None:
        raise UnknownIncident(f"tenant {context.tenant_slug} has no incident #{number}",
                              fix=f"`wfops incident list {context.tenant_slug} --all` shows those there are")
    return incident, work.fleet.environment(incident.environment_id)


def request_reconciliation(work: UnitOfWork, context: Context, incident: Row[Any], environment: Row[Any],
                           arguments: Mapping[str, Any], *, dry_run: bool) -> IncidentStep | None:
    """Where the policy wants an approval of reconciling: the request that is waiting now, or none when this very
    reconciliation is approved."""
    if not _needs_approval(work, environment, ApprovalKind.RECONCILE):
        return None
    waiting = work.incidents.waiting(incident.id, ApprovalKind.RECONCILE, lock=not work.read_only)
    if waiting is not None and waiting.status == ApprovalStatus.APPROVED:
        if dict(waiting.arguments) != dict(arguments):
            raise Blocked(f"incident #{incident.number}: what was approved is {_said(waiting.arguments)}, not "
                          f"{_said(arguments)}", fix="carry out what was approved, or ask anew after it was rejected")
        return None
    return _request(work, context, incident, environment, ApprovalKind.RECONCILE, arguments, dry_run=dry_run)


def begin_reconciliation(work: UnitOfWork, incident: Row[Any], environment: Row[Any], arguments: Mapping[str, Any]) -> None:
    """Spend the approval of a reconciliation, in the transaction in which its writing begins. Somebody may have spent it,
    or the policy may have begun to want one, since :func:`request_reconciliation` looked: :class:`Blocked`."""
    waiting = work.incidents.waiting(incident.id, ApprovalKind.RECONCILE, lock=True)
    approved = (waiting is not None and waiting.status == ApprovalStatus.APPROVED
                and dict(waiting.arguments) == dict(arguments))
    if not approved and _needs_approval(work, environment, ApprovalKind.RECONCILE):
        raise Blocked(f"incident #{incident.number}: its reconciliation is not approved any more, or not yet",
                      fix="an approval serves once: ask anew")
    spend_reconciliation(work, incident)


def spend_reconciliation(work: UnitOfWork, incident: Row[Any]) -> None:
    """The approval of a reconciliation is used up, in the transaction in which the writing begins."""
    waiting = work.incidents.waiting(incident.id, ApprovalKind.RECONCILE)
    if waiting is not None and waiting.status == ApprovalStatus.APPROVED:
        work.incidents.decide(waiting.id, status=str(spend(ApprovalStatus(waiting.status))),
                              executed_at=work.context.now())


def move_to(work: UnitOfWork, incident: Row[Any], event: IncidentEvent, *, forced: bool = False,
            **values: Any) -> dict[str, Any]:
    """Take a step of the lifecycle: the columns that it changes, written."""
    now = work.context.now()
    status = move(IncidentStatus(incident.status), event, forced=forced)
    stamp = STAMPS[event]
    changes = {"status": str(status), f"{stamp}_at": now, f"{stamp}_by": work.context.actor, "next_due_at": next_due(
        status=status, reached=Escalation(incident.escalation), detected_at=incident.detected_at,
        expires_at=incident.expires_at), **{k: v for k, v in values.items() if v is not None}}
    work.incidents.change(incident.id, forced=forced, **changes)
    if not status.is_open:
        work.incidents.cancel_waiting(incident.id, now)
    return changes


def _take(work: UnitOfWork, context: Context, incident: Row[Any], environment: Row[Any], arguments: Mapping[str, Any], *,
          dry_run: bool = False) -> IncidentStep:
    event, forced = IncidentEvent(arguments["event"]), bool(arguments["forced"])
    status = move(IncidentStatus(incident.status), event, forced=forced)
    before, after = {"status": incident.status}, {"status": str(status)}
    if not dry_run:
        move_to(work, incident, event, forced=forced, reason=arguments["reason"], owner=arguments["owner"],
                ticket=arguments["ticket"])
        work.record(f"incident.{status}", "incident", str(incident.number), environment=environment.slug,
                    was=incident.status, reason=arguments["reason"], owner=arguments["owner"], ticket=arguments["ticket"],
                    forced=forced)
        if not status.is_open:
            incident_ended(work, environment, incident.id)
        _follow_status(work, environment, status)
    return _shown(context, environment, incident, str(event), before, after, dry_run=dry_run)


def _extend(work: UnitOfWork, context: Context, incident: Row[Any], environment: Row[Any], arguments: Mapping[str, Any],
            *, dry_run: bool = False) -> IncidentStep:
    check_extension(IncidentStatus(incident.status), arguments["reason"])
    end = extended(incident.expires_at, arguments["hours"])
    before, after = ({"expires_at": t.isoformat()} for t in (incident.expires_at, end))
    if not dry_run:
        work.incidents.change(incident.id, expires_at=end, next_due_at=next_due(
            status=IncidentStatus(incident.status), reached=Escalation(incident.escalation),
            detected_at=incident.detected_at, expires_at=end))
        work.record("incident.extended", "incident", str(incident.number), environment=environment.slug,
                    hours=arguments["hours"], reason=arguments["reason"], was=before["expires_at"], now=after["expires_at"])
    return _shown(context, environment, incident, "extend", before, after, dry_run=dry_run)


def _needs_approval(work: UnitOfWork, environment: Row[Any], kind: ApprovalKind) -> bool:
    return kind in policy_of(work, environment).require_approval_for


def _request(work: UnitOfWork, context: Context, incident: Row[Any], environment: Row[Any], kind: ApprovalKind,
             arguments: Mapping[str, Any], *, dry_run: bool) -> IncidentStep:
    waiting = work.incidents.waiting(incident.id, kind, lock=not work.read_only)
    if waiting is not None:
        if dict(waiting.arguments) == dict(arguments) and waiting.requested_by == context.actor:
            return _shown(context, environment, incident, str(kind), {"approval": waiting.status},
                          {"approval": waiting.status}, waiting=True, dry_run=dry_run, notes=_how(context, incident))
        raise Blocked(f"incident #{incident.number}: {kind} was asked for by {waiting.requested_by} already, and waits for "
                      "approval", fix=_how(context, incident)[0])
    if not dry_run:
        approval_id = context.new_id()
        work.incidents.request(id=approval_id, incident_id=incident.id, kind=str(kind), arguments=dict(arguments),
                               reason=arguments.get("reason"), requested_by=context.actor, requested_at=context.now())
        work.record("incident.approval_requested", "incident", str(incident.number), environment=environment.slug,
                    kind=str(kind), arguments=dict(arguments))
        approval_requested(work, environment, incident.id, approval_id, kind, arguments.get("reason"))
    return _shown(context, environment, incident, str(kind), {}, {"approval": "pending"}, waiting=True, dry_run=dry_run,
                  notes=_how(context, incident))


def _execute(work: UnitOfWork, context: Context, incident: Row[Any], environment: Row[Any],
             request: Row[Any]) -> IncidentStep:
    """Carry out what was approved, as it was asked for, once."""
    work.incidents.decide(request.id, status=str(spend(ApprovalStatus.APPROVED)), executed_at=context.now())
    if request.kind == ApprovalKind.EXTEND_TTL:
        return _extend(work, context, incident, environment, request.arguments)
    return _take(work, context, incident, environment, request.arguments)


def _waiting(work: UnitOfWork, incident: Row[Any], kind: ApprovalKind | None, approval_id: UUID | None) -> Row[Any]:
    pending = [row for row in work.incidents.approvals_of(incident.id)
               if row.status == ApprovalStatus.PENDING and kind in (None, row.kind) and approval_id in (None, row.id)]
    if not pending:
        raise UsageError(f"nothing of incident #{incident.number} waits for an approval"
                         + (f" of {kind}" if kind is not None else ""), fix="`wfops incident show` tells what happened")
    if len(pending) > 1:
        raise UsageError(f"several steps of incident #{incident.number} wait for an approval",
                         fix=f"say which: --kind {' | '.join(row.kind for row in pending)}")
    return pending[0]


def _follow_status(work: UnitOfWork, environment: Row[Any], status: IncidentStatus) -> None:
    """The environment's drift status says at once whether somebody takes care; what a check has to find out waits for it."""
    if environment.drift_status in ("DRIFT_INCIDENT_ACTIVE", "DRIFT_INCIDENT_ACKNOWLEDGED"):
        shown = "DRIFT_DETECTED" if not status.is_open else (
            "DRIFT_INCIDENT_ACKNOWLEDGED" if status.is_acknowledged else "DRIFT_INCIDENT_ACTIVE")
        work.fleet.set_environment(environment.id, drift_status=shown, last_good_drift_status=shown)


def _how(context: Context, incident: Row[Any]) -> tuple[str, ...]:
    return (f"somebody else: wfops incident approve {context.tenant_slug}#{incident.number}",)


def _said(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in sorted(arguments.items()) if value not in (None, False, [])) or "it"


def _shown(context: Context, environment: Row[Any], incident: Row[Any], step: str, before: dict[str, Any],
           after: dict[str, Any], **more: Any) -> IncidentStep:
    return IncidentStep(context.tenant_slug, environment.slug, incident.number, step, before, after, **more)


def _writing(services: Services, context: Context, name: str, *, dry_run: bool) -> Any:
    return services.store.read(context) if dry_run else services.store.bookkeeping(context, name)
