"""Asking for a restore (§13): an environment, whole or in part, as a snapshot holds it.

It is a promotion of the kind ``restore``: ``promotion_execution.execute_promotion`` carries it out, and it is journaled,
read back, committed and rolled back like any other.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import Blocked, UnknownSnapshot
from wfops_pipelines.domain.gates import Gate
from wfops_pipelines.domain.promotion import PromotionEvent, PromotionStatus, after_gates
from wfops_pipelines.domain.promotion_limits import check_reason
from wfops_pipelines.services.promotion_facts import Asked, Seen
from wfops_pipelines.services.promotion_look import Judged, ask_target, look_at_target
from wfops_pipelines.services.promotion_options import PromotionOptions, PromotionReport
from wfops_pipelines.services.promotion_request import NOTHING, report_of, step
from wfops_pipelines.services.restore_plans import judge_restore
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.write_permission import production_refusal, refuse_production
from wfops_pipelines.store.unit_of_work import UnitOfWork


async def request_restore(services: Services, context: Context, environment: Row[Any], snapshot_id: UUID,
                          options: PromotionOptions, *, dry_run: bool = False,
                          checksum: str | None = None) -> PromotionReport:
    """Plan a restore of the environment as it is now from one of its snapshots, and evaluate the gates that are about it. It
    is then ``approved``, or ``blocked`` with every reason; with ``dry_run`` nothing is begun, and a plan that writes nothing
    begins nothing either. ``checksum`` is that of the plan that somebody has looked at, or its beginning.

    What is restored is what ran: contents, activation, tags. What came since stays without ``prune``. Of chosen workflows,
    what they need comes along with ``with_needs``; without, only what is gone by now.

    Raises :class:`UnknownSnapshot`, :class:`UnknownWorkflow`, :class:`Broken` when something of the snapshot is lost,
    :class:`Blocked` for a production environment that nothing may be written to and for another plan than ``checksum``, and
    the ``OutsideError`` tree when the environment cannot be read.
    """
    check_reason(options.allow_large)
    snapshot = await asyncio.to_thread(_snapshot, services, context, environment, snapshot_id)
    if not dry_run:
        refuse_production(context, environment)
    seen = Seen(target=await look_at_target(services, context, environment))
    generation, credentials = await ask_target(services, context, environment)

    def judge() -> Judged:
        with services.store.read(context) as work:
            return judge_restore(work, snapshot, work.fleet.environment(environment.id), options, seen,
                                 Asked(context.actor, context.impersonator), generation=generation,
                                 credentials=credentials)

    judged = await asyncio.to_thread(judge)
    report = _report(context, snapshot, environment, judged)
    report.dry_run = dry_run
    if judged.prepared.plan.is_empty:
        report.status = NOTHING
        report.notes.append(f"{context.tenant_slug}/{environment.slug} is as the snapshot holds it: nothing is written")
        return report
    credentials_say = judged.gates.of(Gate.CREDENTIALS)
    if credentials_say.details.get("absent"):
        report.notes.append(f"{credentials_say.reason}: nodes fail until they are there")
    if dry_run:
        _tell_production(report, context, environment)
        return report
    if checksum is not None and not (report.checksum or "").startswith(checksum):
        raise Blocked(f"what the restore of {context.tenant_slug}/{environment.slug} would write is something else by now "
                      "than what was shown", fix="look at it, and confirm that")
    return await asyncio.to_thread(_begin, services, context, snapshot, environment, options, judged, report)


def _tell_production(report: PromotionReport, context: Context, environment: Row[Any]) -> None:
    """A dry run says too that nothing may be written there."""
    refusal = production_refusal(context, environment)
    if refusal is not None:
        report.status = str(PromotionStatus.BLOCKED)
        report.reason = "; ".join(filter(None, [report.reason, str(refusal)]))


def _snapshot(services: Services, context: Context, environment: Row[Any], snapshot_id: UUID) -> Row[Any]:
    with services.store.read(context) as work:
        row = work.snapshots.by_id(snapshot_id)
    if row is None or row.environment_id != environment.id:
        words = f"{context.tenant_slug} {environment.slug}"
        raise UnknownSnapshot(f"{context.tenant_slug}/{environment.slug} has no snapshot {snapshot_id}",
                              fix=f"`wfops snapshot list {words}` shows those there are")
    return row


def _begin(services: Services, context: Context, snapshot: Row[Any], environment: Row[Any], options: PromotionOptions,
           judged: Judged, report: PromotionReport) -> PromotionReport:
    with services.store.unit_of_work(context, "restore.request") as work:
        promotion_id, now = context.new_id(), context.now()
        number = work.promotions.add(
            id=promotion_id, kind="restore", source_snapshot_id=snapshot.id, target_environment_id=environment.id,
            options=options.as_json(), checksum=report.checksum, plan=report.plan, gates=report.gates,
            requested_by=context.actor, requested_through=context.impersonator, requested_at=now, changed_at=now)
        work.record("promotion.requested", "promotion", f"p{number}", environment=environment.slug,
                    source=f"snapshot {snapshot.id}", checksum=report.checksum, counts=report.plan["counts"],
                    reason=options.reason)
        _decide(work, promotion_id, judged)
    told = report_of(services, context, number)
    told.text, told.problems, told.notes = report.text, report.problems, [*report.notes, *told.notes]
    return told


def _decide(work: UnitOfWork, promotion_id: UUID, judged: Judged) -> None:
    row = work.promotions.by_id(promotion_id)
    assert row is not None  # noqa: S101 - just added
    event = after_gates(judged.refusals, approvers=0)
    step(work, row, event, reason="; ".join(judged.refusals) or None, checksum=row.checksum,
         approved_checksum=row.checksum if event is PromotionEvent.APPROVE else None)


def _report(context: Context, snapshot: Row[Any], environment: Row[Any], judged: Judged) -> PromotionReport:
    plan = judged.prepared.plan
    return PromotionReport(
        tenant=context.tenant_slug, kind="restore", source=f"snapshot {snapshot.id}", target=environment.slug,
        status=str(PromotionStatus.BLOCKED if judged.refusals else PromotionStatus.APPROVED), checksum=plan.checksum,
        plan=plan.as_json(), problems=[problem.as_json() for problem in judged.problems], gates=judged.gates.as_json(),
        requested_by=context.actor, reason="; ".join(judged.refusals) or None,
        text=judged.as_text())
