"""Carrying out an approved promotion (§11.6): one at a time per target, all or nothing, verified, told.

The source is read first. Then the target is held: it is read, the plan is computed again and must be the one that was
approved, the gates are evaluated again. What is written is journaled (:mod:`runtime_writes`); everything that follows from
the writes is in :mod:`promotion_outcome`, which a later command also gets to when this process dies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import Blocked, LeaseLost, StoreError, WfopsError
from wfops_pipelines.domain.gates import Gate, GateOutcome
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.domain.promotion import PromotionEvent, PromotionStatus
from wfops_pipelines.domain.snapshot import SnapshotKind
from wfops_pipelines.n8n.provider import WorkflowProvider
from wfops_pipelines.services import promotion_outcome, snapshots
from wfops_pipelines.services.intended_writes import Written
from wfops_pipelines.services.operations import RunningOperation, run_operation
from wfops_pipelines.services.promotion_facts import Asked, Seen
from wfops_pipelines.services.promotion_look import Judged, ask_target, judge_promotion, look_at_source, look_within
from wfops_pipelines.services.promotion_moves import moved
from wfops_pipelines.services.promotion_new_ones import adopt_new_ones
from wfops_pipelines.services.promotion_options import PromotionOptions, PromotionReport
from wfops_pipelines.services.promotion_placeholders import create_missing_credentials
from wfops_pipelines.services.promotion_plans import Credentials, wanted_workflows
from wfops_pipelines.services.promotion_request import find, report_of, step
from wfops_pipelines.services.restore_plans import judge_stored_restore
from wfops_pipelines.services.runtime_writes import write
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.write_permission import refuse_production
from wfops_pipelines.store.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class Ends:
    """Where a promotion leads from and to; ``source`` is none of a restore."""

    source: Row[Any] | None
    target: Row[Any]


Judge = Callable[[UnitOfWork, Row[Any], Ends, Seen, int, Credentials], Judged]


async def execute_promotion(services: Services, context: Context, number: int, *,
                            checksum: str | None = None) -> PromotionReport:
    """Carry out a promotion that is approved. ``checksum`` is that of the plan that somebody has looked at (or its
    beginning).

    Raises :class:`Blocked` where a gate says no or not now, or the plan is not the one that was approved; what n8n refused,
    after everything was restored; :class:`RollbackIncomplete` when that did not succeed; :class:`OperationRunning` while
    something else holds the target.
    """
    return await execute(services, context, number, judge_stored, checksum=checksum)


def judge_stored(work: UnitOfWork, row: Row[Any], ends: Ends, seen: Seen, generation: int,
                 credentials: Credentials) -> Judged:
    """The promotion or restore of a row, planned and judged again."""
    if row.kind == "restore":
        return judge_stored_restore(work, row, ends.target, seen, generation=generation, credentials=credentials)
    assert ends.source is not None  # noqa: S101 - a promotion has a source
    return judge_promotion(work, ends.source, ends.target, PromotionOptions.from_json(row.options), seen,
                           _asked(work, row), generation=generation, credentials=credentials)


async def execute(services: Services, context: Context, number: int, judge: Judge, *,
                  checksum: str | None = None) -> PromotionReport:
    """As :func:`execute_promotion`, of whatever ``judge`` plans."""
    row, ends = await asyncio.to_thread(_ready, services, context, number, checksum)
    source_check = None if ends.source is None else await look_at_source(services, context, ends.source)
    async with run_operation(services, context, OperationKind.PROMOTION, ends.target) as operation:
        # Recovery may just have ended it.
        row, ends = await asyncio.to_thread(_ready, services, operation.context, number, checksum)
        seen = Seen(source=source_check, target=await look_within(operation))
        generation, credentials = await ask_target(services, context, ends.target)

        def judged() -> Judged:
            with services.store.read(operation.context) as work:
                return judge(work, row, ends, seen, generation, credentials)

        async with operation.step("plan") as told:
            found = await asyncio.to_thread(judged)
            told.update({"checksum": found.prepared.plan.checksum, "counts": found.prepared.plan.counts()})
        async with operation.step("gates") as told:
            told.update({"verdict": str(found.gates.verdict)})
            await asyncio.to_thread(_pass_or_block, operation, row, found)
        if found.prepared.plan.is_empty:
            raise Blocked(f"{context.tenant_slug}/p{number}: nothing is left to write", fix="plan anew")
        if ends.source is not None:
            await adopt_new_ones(services, context, ends.source, operation, found.prepared)
        provider = services.provider_of(operation.context, ends.target)
        try:
            found = await create_missing_credentials(operation, provider, found)
            await _carry_out(operation, provider, row, found, generation)
        finally:
            await provider.aclose()
        operation.metrics.update({"promotion": number, "writes": len(found.prepared.plan.writes)})
    return await asyncio.to_thread(report_of, services, context, number)


async def _carry_out(operation: RunningOperation, provider: WorkflowProvider, row: Row[Any], found: Judged,
                     generation: int) -> None:
    wanted = wanted_workflows(found.prepared, generation=generation)
    checkpoint = promotion_outcome.checkpoint(row, found)
    written: list[Written] | None = None
    try:
        async with operation.step("write") as told:
            written = await write(operation, provider, wanted, checkpoint=checkpoint, atomic=found.stage.atomic,
                                  within=lambda work: _start(work, operation, row, found))
            told["writes"] = [item.as_json() for item in written]
    except (LeaseLost, StoreError):
        raise
    except BaseException as error:
        if written is None:  # else all of it is written, and recovery tells so
            with operation.stop.uncut():
                await _tell_failure(operation, checkpoint, error)
        raise
    await promotion_outcome.settle(operation, operation.id, checkpoint, provider=provider)


async def _tell_failure(operation: RunningOperation, checkpoint: dict[str, Any], error: BaseException) -> None:
    """Record what became of it. That this fails too changes nothing about why: recovery comes back to it."""
    try:
        await promotion_outcome.settle(operation, operation.id, checkpoint, error=error)
    except WfopsError as secondary:
        error.add_note(f"and what became of it could not be recorded: {secondary}")


def _ready(services: Services, context: Context, number: int, checksum: str | None) -> tuple[Row[Any], Ends]:
    """The promotion, if it may begin now as far as it says itself."""
    with services.store.read(context) as work:
        row = find(work, number)
        moved(context, row, PromotionEvent.START)
        if checksum is not None and not (row.approved_checksum or "").startswith(checksum):
            raise Blocked(f"{context.tenant_slug}/p{number} was approved with another plan",
                          fix="look at its plan, and confirm that")
        source = work.fleet.environment(row.source_environment_id) if row.source_environment_id else None
        target = work.fleet.environment(row.target_environment_id)
    refuse_production(context, target)
    return row, Ends(source, target)


def _pass_or_block(operation: RunningOperation, row: Row[Any], found: Judged) -> None:
    """Go on, or say why not. A plan that is not the approved one and a gate's no end the promotion; a gate that only holds
    leaves it approved, for later."""
    reasons = list(found.refusals)
    plan = found.prepared.plan
    if plan.checksum != row.approved_checksum:
        reasons.insert(0, "the plan is not the one that was approved: what it would write has changed since")
    if reasons:
        with operation.services.store.unit_of_work(operation.context, "promotion.block", held=operation.held) as work:
            step(work, find(work, row.number, lock=True), PromotionEvent.BLOCK, reason="; ".join(reasons),
                 gates=found.gates.as_json(), operation_id=operation.id, run_id=operation.context.run_id)
        raise Blocked(f"{operation.context.tenant_slug}/p{row.number} is blocked: {'; '.join(reasons)}",
                      fix="; ".join(dict.fromkeys(r.fix for r in found.gates.refusals if r.fix)) or "promote anew")
    waits = [each for each in found.gates.results if each.outcome is GateOutcome.HELD and not (
        each.gate is Gate.APPROVALS and PromotionStatus(row.status) is PromotionStatus.APPROVED)]
    if waits:
        raise Blocked(f"{operation.context.tenant_slug}/p{row.number} waits: {'; '.join(w.reason for w in waits)}",
                      fix="; ".join(dict.fromkeys(w.fix for w in waits if w.fix)))


def _start(work: UnitOfWork, operation: RunningOperation, row: Row[Any], found: Judged) -> None:
    """In the transaction in which the writing begins: running, with the snapshot before it."""
    promotion_outcome.keep_contents(work, found)
    snapshot: UUID = snapshots.take(work, operation, SnapshotKind.PRE_PROMOTION, name=f"before p{row.number}")
    now = work.context.now()
    step(work, find(work, row.number, lock=True), PromotionEvent.START, checksum=found.prepared.plan.checksum,
         operation_id=operation.id, run_id=operation.context.run_id, pre_snapshot_id=snapshot, started_at=now,
         plan=found.prepared.plan.as_json(), gates=found.gates.as_json())


def _asked(work: UnitOfWork, row: Row[Any]) -> Asked:
    return Asked(row.requested_by, row.requested_through, tuple(work.promotions.decisions_of(row.id)))
