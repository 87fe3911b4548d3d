"""Asking for a promotion, and deciding about it (§11.2, §11.3, §11.9): everything until it runs."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.approval import people
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import Blocked, Denied, UnknownPromotion, UsageError
from wfops_pipelines.domain.fleet_fields import NotificationEvent
from wfops_pipelines.domain.incident import Severity
from wfops_pipelines.domain.notices import PromotionNotice
from wfops_pipelines.domain.promotion import PromotionEvent, PromotionStatus, after_gates, check_step
from wfops_pipelines.domain.promotion_limits import check_reason
from wfops_pipelines.services.notices import tell
from wfops_pipelines.services.promotion_facts import Asked, Seen
from wfops_pipelines.services.promotion_look import Judged, ask_target, judge_promotion, look_at_source, look_at_target
from wfops_pipelines.services.promotion_moves import moved
from wfops_pipelines.services.promotion_new_ones import adopt_at_request
from wfops_pipelines.services.promotion_options import JsonObject, PromotionOptions, PromotionReport
from wfops_pipelines.services.rollback_state import rollback_states
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.stage_rules import stage_between
from wfops_pipelines.store.unit_of_work import UnitOfWork

NOTHING = "unchanged"
"""The status of a report about a plan that writes nothing: no promotion is begun."""


async def request_promotion(services: Services, context: Context, source: Row[Any], target: Row[Any],
                            options: PromotionOptions, *, dry_run: bool = False,
                            checksum: str | None = None) -> PromotionReport:
    """Plan a promotion from both ends as they are now, and evaluate its gates. It is then ``approved`` or
    ``pending_approval``, or ``blocked`` with every reason; with ``dry_run`` nothing is begun, and a plan that writes nothing
    begins nothing either. ``checksum`` is that of the plan that somebody has looked at (or its beginning): nothing is begun
    with another one, which is :class:`Blocked`.

    Raises :class:`UsageError` where no pipeline leads there, and the ``OutsideError`` tree when an end cannot be read.
    """
    if source.id == target.id:
        raise UsageError("source and target are one environment", fix="promote to another one")
    check_reason(options.allow_large)
    with services.store.read(context) as work:
        stage_between(work, source, target)  # a way that nobody declared is refused before anything is read
    seen = Seen(source=await look_at_source(services, context, source),
                target=await look_at_target(services, context, target))
    generation, credentials = await ask_target(services, context, target)

    def judge(work: UnitOfWork) -> Judged:
        return judge_promotion(work, source, target, options, seen, Asked(context.actor, context.impersonator),
                               generation=generation, credentials=credentials)

    def judged_now() -> Judged:
        with services.store.read(context) as work:
            return judge(work)

    judged = await asyncio.to_thread(judged_now)
    if not dry_run:
        await adopt_at_request(services, context, source, target, judged.prepared)
    return await asyncio.to_thread(_begin, services, context, source, target, options, judged, dry_run, checksum)


def _begin(services: Services, context: Context, source: Row[Any], target: Row[Any], options: PromotionOptions,
           judged: Judged, dry_run: bool, checksum: str | None) -> PromotionReport:
    report = _report(context, source, target, judged)
    report.dry_run = dry_run
    if judged.prepared.plan.is_empty:
        report.status = NOTHING
        report.notes.append(f"{report.target} holds already what would be promoted: nothing is written")
        return report
    if dry_run:
        report.status = str(PromotionStatus.BLOCKED if judged.refusals else
                            PromotionStatus.PENDING_APPROVAL if judged.stage.rules.approvers else PromotionStatus.APPROVED)
        return report
    if checksum is not None and not (report.checksum or "").startswith(checksum):
        raise Blocked(f"the plan from {report.source} to {report.target} is another one by now than the one that was shown",
                      fix="look at it, and confirm that")
    with services.store.unit_of_work(context, "promotion.request") as work:
        promotion_id = context.new_id()
        now = context.now()
        number = work.promotions.add(
            id=promotion_id, kind="promotion", source_environment_id=source.id, target_environment_id=target.id,
            pipeline=judged.stage.pipeline, options=options.as_json(), checksum=report.checksum, plan=report.plan,
            gates=report.gates, requested_by=context.actor, requested_through=context.impersonator, requested_at=now,
            changed_at=now)
        work.record("promotion.requested", "promotion", f"p{number}", environment=target.slug, source=source.slug,
                    checksum=report.checksum, counts=report.plan["counts"], reason=options.reason)
        event = after_gates(judged.refusals, approvers=judged.stage.rules.approvers)
        row = work.promotions.by_id(promotion_id)
        assert row is not None  # noqa: S101 - just added
        step(work, row, event, reason="; ".join(judged.refusals) or None, checksum=report.checksum,
             approved_checksum=report.checksum if event is PromotionEvent.APPROVE else None)
        if event is PromotionEvent.REQUEST_APPROVAL:
            _tell_waiting(work, row, source, target, judged)
    return report_of(services, context, number, judged=judged)


def _tell_waiting(work: UnitOfWork, row: Row[Any], source: Row[Any], target: Row[Any], judged: Judged) -> None:
    """Whoever may approve it hears of it (§16)."""
    name, needed = _name(work.context, row.number), judged.stage.rules.approvers
    writes = len(judged.prepared.plan.writes)
    asked = f"{row.requested_by} asks for {name}: {writes} workflow{'' if writes == 1 else 's'}, {needed} approval" + (
        "" if needed == 1 else "s")
    tell(work, PromotionNotice(work.context.tenant_slug, work.context.now(), target.slug,
                               f"{asked} needed: wfops approve {name}", row.id, NotificationEvent.PROMOTION_WAITING,
                               source.slug, severity=Severity.MEDIUM))


def step(work: UnitOfWork, row: Row[Any], event: PromotionEvent, *, reason: str | None = None, checksum: str | None = None,
         approved_checksum: str | None = None, approvals: int = 0, approvers: int = 0, atomic: bool = True,
         **values: Any) -> PromotionStatus:
    """Take one step of a promotion's life in the caller's unit of work, with its audit event."""
    before = PromotionStatus(row.status)
    after = moved(work.context, row, event)
    check_step(before, event, reason=reason, checksum=checksum or row.checksum,
               approved_checksum=approved_checksum or row.approved_checksum, approvals=approvals, approvers=approvers,
               atomic=atomic)
    now = work.context.now()
    if approved_checksum is not None:
        values["approved_checksum"] = approved_checksum
    if reason is not None:
        values["reason"] = reason
    if after.is_terminal or after.has_run:
        values.setdefault("ended_at", now)
    work.promotions.change(row.id, now=now, status=str(after), **values)
    slug = work.fleet.environment(row.target_environment_id).slug
    work.record(f"promotion.{after}", "promotion", f"p{row.number}", environment=slug, was=str(before), reason=reason,
                checksum=checksum or row.checksum)
    return after


def decide_promotion(services: Services, context: Context, number: int, *, approve: bool,
                     reason: str | None = None, checksum: str | None = None) -> PromotionReport:
    """Approve or reject the plan of a promotion that waits for it, as somebody else than who asked. ``checksum`` is that of
    the plan that was looked at (or its beginning): another one is :class:`Blocked`."""
    if not approve and not (reason or "").strip():
        raise UsageError("rejecting a promotion needs a reason", fix="say in a few words why")
    with services.store.unit_of_work(context, "promotion.decide") as work:
        row = find(work, number, lock=True)
        event = PromotionEvent.APPROVE if approve else PromotionEvent.REJECT
        moved(context, row, event)
        if PromotionStatus(row.status) is not PromotionStatus.PENDING_APPROVAL:
            raise Blocked(f"{_name(context, number)} is not planned yet", fix="wait until its plan is made")
        if checksum is not None and not (row.checksum or "").startswith(checksum):
            raise Blocked(f"the plan of {_name(context, number)} is another one by now",
                          fix="look at it, and decide on that")
        deciding = people(context.actor, context.impersonator)
        if approve and deciding & people(row.requested_by, row.requested_through):
            raise Denied(f"{context.actor} asked for {_name(context, number)}, and nobody approves what he or she asked for",
                         fix="somebody else has to approve it")
        decisions = work.promotions.decisions_of(row.id)
        if any(deciding & people(d.decided_by, d.decided_through) for d in decisions):
            raise Blocked(f"{context.actor} has decided about this plan of {_name(context, number)} already",
                          fix="somebody else has to")
        work.promotions.decide(row.id, id=context.new_id(), decided_by=context.actor, decided_through=context.impersonator,
                               checksum=row.checksum, approve=approve, reason=reason, decided_at=context.now())
        slug = work.fleet.environment(row.target_environment_id).slug
        work.record(f"promotion.decision_{'approve' if approve else 'reject'}", "promotion", f"p{number}", environment=slug,
                    checksum=row.checksum, reason=reason)
        needed = _approvers(work, row)
        given = sum(d.approve for d in decisions) + 1  # each by somebody else
        if not approve:
            step(work, row, PromotionEvent.REJECT, reason=reason)
        elif given >= needed:
            step(work, row, PromotionEvent.APPROVE, approved_checksum=row.checksum, approvals=given, approvers=needed)
    report = report_of(services, context, number)
    if approve and given < needed:
        report.notes.append(f"{given} of {needed} approvals are there")
    return report


def cancel_promotion(services: Services, context: Context, number: int, *, reason: str | None = None) -> PromotionReport:
    """Cancel a promotion that has not begun to write (§11.9)."""
    with services.store.unit_of_work(context, "promotion.cancel") as work:
        step(work, find(work, number, lock=True), PromotionEvent.CANCEL, reason=reason)
    return report_of(services, context, number)


def _approvers(work: UnitOfWork, row: Row[Any]) -> int:
    """As many as the stage asked for when the promotion was asked for, or more if it does now."""
    if row.source_environment_id is None:
        return 0
    source, target = (work.fleet.environment(i) for i in (row.source_environment_id, row.target_environment_id))
    return max(int(row.approvers), stage_between(work, source, target).rules.approvers)


def find(work: UnitOfWork, number: int, *, lock: bool = False) -> Row[Any]:
    """A promotion by its number; :class:`UnknownPromotion`."""
    row = work.promotions.by_number(number, lock=lock and not work.read_only)
    if row is None:
        tenant = work.context.tenant_slug
        raise UnknownPromotion(f"tenant {tenant} has no promotion p{number}",
                               fix=f"`wfops promotion list {tenant}` shows those there are")
    return row


def _name(context: Context, number: int) -> str:
    return f"{context.tenant_slug}/p{number}"


# -- told --------------------------------------------------------------------------------------------------------------


def _report(context: Context, source: Row[Any], target: Row[Any], judged: Judged) -> PromotionReport:
    plan = judged.prepared.plan
    return PromotionReport(
        tenant=context.tenant_slug, kind="promotion", source=source.slug, target=target.slug,
        status=str(PromotionStatus.PENDING), pipeline=judged.stage.pipeline, checksum=plan.checksum, plan=plan.as_json(),
        problems=[problem.as_json() for problem in judged.problems], gates=judged.gates.as_json(),
        requested_by=context.actor, reason="; ".join(judged.refusals) or None,
        text=judged.as_text())


def report_of(services: Services, context: Context, number: int, *, judged: Judged | None = None) -> PromotionReport:
    """A promotion as the store has it."""
    with services.store.read(context) as work:
        row = find(work, number)
        environments = {each.id: each for each in work.fleet.environments()}
        slugs = {each.id: each.slug for each in environments.values()}
        deployed = [_decision(each) for each in work.promotions.decisions_of(row.id)]
        rollback = rollback_states(services, work, [row]).get(row.id)
    results = row.results or {}
    source = slugs.get(row.source_environment_id) if row.source_environment_id else f"snapshot {row.source_snapshot_id}"
    report = PromotionReport(
        tenant=context.tenant_slug, kind=row.kind, source=source or "(deleted)",
        target=slugs.get(row.target_environment_id, "(deleted)"), status=row.status, number=row.number,
        promotion_id=str(row.id), pipeline=row.pipeline, checksum=row.checksum, plan=row.plan or {}, gates=row.gates or {},
        workflows=results.get("workflows", []), verification=results.get("verification", []),
        drift_status=results.get("drift_status"), git_status=row.git_status, commit=row.git_commit,
        pull_request=row.git_pull_request, reason=row.reason, rollback_incomplete=row.rollback_incomplete,
        requested_by=row.requested_by, decisions=deployed, operation_id=_text(row.operation_id),
        pre_snapshot=_text(row.pre_snapshot_id), post_snapshot=_text(row.post_snapshot_id))
    if rollback is not None:  # what was so when it was carried out is so no more
        report.workflows = rollback.results(report.workflows)
        report.rollback, report.drift_status = rollback.as_json(report.workflows), None
    target = environments.get(row.target_environment_id)
    report.takes_writes = target is None or target.writes_blocked_at is None
    if row.git_error:
        report.notes.append(f"not in Git yet: {row.git_error}")
    if judged is not None:
        report.text = judged.as_text()
        report.problems = [problem.as_json() for problem in judged.problems]
    return report


def _decision(row: Row[Any]) -> JsonObject:
    return {"by": row.decided_by, "approve": row.approve, "checksum": row.checksum, "reason": row.reason,
            "at": row.decided_at.isoformat()}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
