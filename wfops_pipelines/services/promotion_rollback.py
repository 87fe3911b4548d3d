"""Rolling a completed promotion back by hand (§11.9): the target as the snapshot before it says, workflow by workflow.

What is restored comes from the promotion's own journal, which names the contents that its snapshot holds. Only what is still
what the promotion made of it is touched: somebody's later work is named, and nothing is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.audit import decode
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import Blocked, LeaseLost, StoreError, UsageError
from wfops_pipelines.domain.fleet_fields import NotificationEvent
from wfops_pipelines.domain.notices import PromotionNotice
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.domain.promotion import PromotionEvent, PromotionStatus
from wfops_pipelines.services.detect_drift import compare_within
from wfops_pipelines.services.intended_writes import written
from wfops_pipelines.services.notices import tell
from wfops_pipelines.services.operations import RunningOperation, run_operation
from wfops_pipelines.services.promotion_git import commit_promotion
from wfops_pipelines.services.promotion_incident import raise_incident
from wfops_pipelines.services.promotion_look import look_within
from wfops_pipelines.services.promotion_moves import moved
from wfops_pipelines.services.promotion_options import PromotionReport
from wfops_pipelines.services.promotion_outcome import link_created
from wfops_pipelines.services.promotion_request import find, report_of, step
from wfops_pipelines.services.rollback_plan import RollbackPlan, plan_rollback, written_keys
from wfops_pipelines.services.rollback_state import brought_back, is_undoing, with_states
from wfops_pipelines.services.runtime_writes import why_it_ended, write
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.sync_environment import read_environment
from wfops_pipelines.services.write_permission import allow_writes, refuse_production
from wfops_pipelines.store.unit_of_work import UnitOfWork


async def roll_back_promotion(services: Services, context: Context, number: int, *, reason: str,
                              dry_run: bool = False) -> PromotionReport:
    """Bring the target back to how it was before a promotion: contents, activation, archive and tags of what it wrote, and
    without what it created. Then Git follows.

    Raises :class:`ForbiddenTransition` for a promotion that is not completed, :class:`Blocked` with the names of workflows
    that somebody changed since, and what :func:`~wfops_pipelines.services.runtime_writes.write` raises, after undoing.
    """
    if not reason.strip():
        raise UsageError("rolling back a promotion needs a reason", fix="say in a few words why: --reason")
    _, target = await asyncio.to_thread(_ready, services, context, number)
    if dry_run:
        report = await asyncio.to_thread(report_of, services, context, number)
        if report.rollback is not None and report.rollback["state"] == "unfinished":  # a dry run does nothing about that
            report.dry_run, report.plan = True, {"changes": []}
            report.notes.append("an earlier rollback of it is unfinished: whatever comes next there, this without --dry-run "
                                "too, finishes or undoes that first")
            return report
    plan: RollbackPlan | None = None
    async with run_operation(services, context, OperationKind.ROLLBACK, target) as operation:
        if not await asyncio.to_thread(_is_rolled_back, operation, number):  # by finishing what an earlier one left
            row, _ = await asyncio.to_thread(_ready, services, operation.context, number)
            plan = await _planned(operation, row)
            if not dry_run:
                await _carry_out(operation, row, plan, reason)
            operation.metrics.update({"writes": len(plan.writes)})
        operation.metrics.update({"promotion": number})
    report = await asyncio.to_thread(report_of, services, context, number)
    if plan is None:
        report.notes.append("an earlier rollback of it had been interrupted, and was finished now")
    elif not dry_run:  # the plan says it with each change
        report.notes += plan.notes
    report.dry_run = dry_run and plan is not None
    if dry_run and plan is not None:
        report.plan = {"changes": plan.shown()}
    return report


async def _planned(operation: RunningOperation, row: Row[Any]) -> RollbackPlan:
    """What is to be written; :class:`Blocked` with the names of workflows that somebody changed since."""
    await look_within(operation)
    async with operation.step("plan") as told:
        plan = await asyncio.to_thread(plan_rollback, operation, row)
        told.update({"writes": len(plan.writes), "changed": list(plan.changed)})
    if plan.changed:
        raise Blocked(f"{operation.context.tenant_slug}/p{row.number}: changed since by somebody else: "
                      f"{'; '.join(plan.changed[:5])}",
                      fix="bring them back in n8n to what was promoted, or restore the snapshot before it: `wfops snapshot "
                          "restore`")
    return plan


async def _carry_out(operation: RunningOperation, row: Row[Any], plan: RollbackPlan, reason: str) -> None:
    provider = operation.services.provider_of(operation.context, operation.environment)
    checkpoint = {"promotion": str(row.id), "reason": reason, "back": list(plan.back)}
    try:
        async with operation.step("write") as told:
            done = await write(operation, provider, plan.writes, checkpoint=checkpoint,
                               within=lambda work: _begin(work, row, reason), forward=True)
            told["writes"] = [item.as_json() for item in done]
    except (LeaseLost, StoreError):
        raise
    except BaseException as error:
        with operation.stop.uncut():  # also of one that somebody interrupted
            await asyncio.to_thread(tell_failure, operation, operation.id, checkpoint, error)
        raise
    finally:
        await provider.aclose()
    await settle(operation, operation.id, checkpoint)


def _is_rolled_back(operation: RunningOperation, number: int) -> bool:
    with operation.services.store.read(operation.context) as work:
        return bool(find(work, number).status == PromotionStatus.ROLLED_BACK)


async def settle(operation: RunningOperation, journal_id: UUID, told: Mapping[str, Any]) -> None:
    """After the writes of a rollback, also of one that died: the promotion is rolled back, Git follows, and both sides are
    compared. One whose writes were undone leaves the promotion as it was."""
    if "promotion" not in told:
        return
    with operation.services.store.read(operation.context) as work:
        promotion = work.promotions.by_id(UUID(told["promotion"]))
        rows = work.journal.of_operation(journal_id)
    assert promotion is not None  # noqa: S101 - promotions are never deleted
    if not all(row.state in ("done", "settled") for row in rows):
        if any(row.state == "abandoned" for row in rows) and not any(row.state in ("intended", "failed") for row in rows):
            await settle_what_went_back(operation, promotion, journal_id, rows)
        return
    async with operation.step("read-back") as said:
        said.update((await read_environment(operation)).as_json())
    if PromotionStatus(promotion.status).has_run and promotion.status != PromotionStatus.ROLLED_BACK:
        await asyncio.to_thread(_rolled_back, operation, promotion, journal_id, rows, told)
    with operation.services.store.read(operation.context) as work:
        promotion = work.promotions.by_id(promotion.id)
    assert promotion is not None  # noqa: S101 - promotions are never deleted
    if promotion.git_status == "pending":
        async with operation.step("commit"):
            await commit_promotion(operation, promotion)
    check = await asyncio.to_thread(compare_within, operation)
    with operation.services.store.bookkeeping(operation.context, "rollback.settled", held=operation.held) as work:
        work.promotions.change(promotion.id, now=operation.context.now(),
                               results={**(promotion.results or {}), "drift_status": str(check.status)})
        work.journal.settle(journal_id)


def _ready(services: Services, context: Context, number: int) -> tuple[Row[Any], Row[Any]]:
    with services.store.read(context) as work:
        row = find(work, number)
        moved(context, row, PromotionEvent.ROLL_BACK)
        if PromotionStatus(row.status) is PromotionStatus.FAILED:
            raise _no_way_back(context, row, work.fleet.environment(row.target_environment_id))
        target = work.fleet.environment(row.target_environment_id)
        later = [each.number for each in work.promotions.listed(environment_ids=[target.id], statuses=(
            PromotionStatus.COMPLETED, PromotionStatus.COMPLETED_WITH_ERRORS), limit=200)
            if each.started_at and row.started_at and each.started_at > row.started_at and _share(work, each.number, row)]
    if later:
        raise Blocked(f"{context.tenant_slug}/p{max(later)} wrote some of the same workflows later",
                      fix=f"roll that back first: wfops rollback {context.tenant_slug}/p{max(later)}")
    refuse_production(context, target)
    return row, target


def _no_way_back(context: Context, row: Row[Any], target: Row[Any]) -> Blocked:
    """Nobody rolls back by hand what failed."""
    if target.writes_blocked_at is None:
        return Blocked(f"{context.tenant_slug}/p{row.number} failed, and an admin gave up on what could not be restored",
                       fix=f"restore the snapshot before it: wfops snapshot list {context.tenant_slug} {target.slug}")
    return Blocked(f"{context.tenant_slug}/p{row.number} failed: recovery restores what it had written, nobody by hand",
                   fix="`wfops drift` tries again once n8n answers")


def _share(work: UnitOfWork, number: int, row: Row[Any]) -> bool:
    other = work.promotions.by_number(number)
    return other is not None and bool(written_keys(other) & written_keys(row))


def _begin(work: UnitOfWork, row: Row[Any], reason: str) -> None:
    slug = work.fleet.environment(row.target_environment_id).slug
    work.record("promotion.rollback_begun", "promotion", f"p{row.number}", environment=slug, reason=reason)


async def settle_what_went_back(operation: RunningOperation, promotion: Row[Any], journal_id: UUID,
                                rows: Sequence[Row[Any]]) -> None:
    """Of a rollback that an admin gave up on: what it did bring back is what it was before, to the next plan and to Git
    too."""
    if not brought_back(rows):
        return
    async with operation.step("read-back") as said:
        said.update((await read_environment(operation)).as_json())
    await asyncio.to_thread(_remember_what_went_back, operation, promotion, journal_id, rows)
    if operation.environment.repository_id is not None and promotion.git_status != "none":
        async with operation.step("commit"):
            told = with_states((promotion.results or {}).get("workflows", []), rows, ())
            await commit_promotion(operation, promotion, back=told)


def _remember_what_went_back(operation: RunningOperation, promotion: Row[Any], journal_id: UUID,
                             rows: Sequence[Row[Any]]) -> None:
    back = brought_back(rows)
    with operation.services.store.bookkeeping(operation.context, "rollback.settled", held=operation.held) as work:
        link_created(work, operation, [written(row) for row in back])
        _forget_promoted(work, operation, promotion, _hashes(back, ()))
        work.journal.settle(journal_id)


def _rolled_back(operation: RunningOperation, promotion: Row[Any], journal_id: UUID, rows: Sequence[Row[Any]],
                 told: Mapping[str, Any]) -> None:
    results: dict[str, Any] = dict(promotion.results or {})
    reason, back = str(told.get("reason") or ""), told.get("back") or []
    results["workflows"] = with_states(results.get("workflows", []), rows, back)
    with operation.services.store.unit_of_work(operation.context, "promotion.rolled_back", held=operation.held) as work:
        link_created(work, operation, [written(row) for row in rows])
        _forget_promoted(work, operation, promotion, _hashes(rows, back))
        environment = work.fleet.environment(operation.environment.id)
        if set(work.journal.unfinished(environment.id)) <= {journal_id}:
            allow_writes(work, environment, "rolled back")
        has_git = environment.repository_id is not None and promotion.git_status != "none"
        step(work, promotion, PromotionEvent.ROLL_BACK, reason=reason, results=results,
             git_status="pending" if has_git else promotion.git_status)
        source = {each.id: each.slug for each in work.fleet.environments()}.get(promotion.source_environment_id)
        tell(work, PromotionNotice(work.context.tenant_slug, work.context.now(), environment.slug, reason, promotion.id,
                                   NotificationEvent.PROMOTION_ROLLED_BACK, source or "snapshot"))


def _hashes(rows: Sequence[Row[Any]], back: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    """By key, the content hash that what is back has now."""
    return {each["key"]: each["hash"] for each in back} | {
        str(row.canonical_id): (row.after or {}).get("live_hash") for row in rows if row.canonical_id is not None}


def _forget_promoted(work: UnitOfWork, operation: RunningOperation, promotion: Row[Any],
                     now: Mapping[str, str | None]) -> None:
    """What was promoted before this promotion is what was promoted last again, of what is back (its hashes ``now``, by
    key). One with another content for the ids of now counts with that."""
    results = promotion.results or {}
    before: dict[str, Any] = results.get("promoted_before") or {}
    hashes = {each["key"]: each["before_hash"] for each in results.get("workflows", [])}
    target = operation.environment.id
    work.promotions.forget(target, [UUID(key) for key, old in before.items() if old is None and key in now])
    work.promotions.remember([
        {"environment_id": target, "canonical_id": UUID(key), "digest": old["digest"], "portable_hash": old["portable_hash"],
         "content_hash": now[key] if old["content_hash"] == hashes.get(key) else old["content_hash"],
         "promotion_id": UUID(old["promotion_id"]), "promoted_at": operation.context.now()}
        for key, old in before.items() if old is not None and key in now])


def tell_failure(operation: RunningOperation, journal_id: UUID, told: Mapping[str, Any], error: BaseException) -> None:
    """Record why a rollback failed, and raise an incident about what is now neither as before nor as after (§11.7). Once:
    whoever tries again, and fails for the same reason, has nothing new to tell."""
    slug, why = operation.environment.slug, why_it_ended(error)
    with operation.services.store.bookkeeping(operation.context, "promotion.rollback_failed", held=operation.held) as work:
        promotion = work.promotions.by_id(UUID(told["promotion"]))
        assert promotion is not None  # noqa: S101 - promotions are never deleted
        for last in map(decode, work.audit.events(subject=("promotion", f"p{promotion.number}"), limit=1)):
            if (last.action, last.details.get("reason")) == ("promotion.rollback_failed", why):
                return
        work.record("promotion.rollback_failed", "promotion", f"p{promotion.number}", environment=slug, reason=why)
        rows = work.journal.of_operation(journal_id)
        lost = [written(row) for row in rows if row.state == "failed" or (row.state == "intended" and not is_undoing(rows))]
        if lost:
            raise_incident(work, work.fleet.environment(operation.environment.id), promotion, lost)
