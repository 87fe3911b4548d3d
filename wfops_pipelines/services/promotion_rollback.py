"""Rolling a completed promotion back by hand (§11.9): the target as the snapshot before it says, workflow by workflow.

What is restored comes from the promotion's own journal, which names the contents that its snapshot holds. Only what is still
what the promotion made of it is touched: somebody's later work is named, and nothing is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import Blocked, LeaseLost, StoreError, UsageError, WfopsError
from wfops_pipelines.domain.fleet_fields import NotificationEvent
from wfops_pipelines.domain.notices import PromotionNotice
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.domain.promotion import PromotionEvent, PromotionStatus
from wfops_pipelines.domain.references import called_workflow
from wfops_pipelines.domain.runtime_write import RuntimeState, WriteAction
from wfops_pipelines.domain.workflow import Content, decode_content
from wfops_pipelines.services.detect_drift import compare_within
from wfops_pipelines.services.intended_writes import WantedWorkflow, Written, key_of, written
from wfops_pipelines.services.notices import tell
from wfops_pipelines.services.operations import RunningOperation, run_operation
from wfops_pipelines.services.promotion_git import commit_promotion
from wfops_pipelines.services.promotion_incident import raise_incident
from wfops_pipelines.services.promotion_look import look_within
from wfops_pipelines.services.promotion_moves import moved
from wfops_pipelines.services.promotion_options import PromotionReport
from wfops_pipelines.services.promotion_outcome import link_created
from wfops_pipelines.services.promotion_request import find, report_of, step
from wfops_pipelines.services.runtime_writes import write
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.sync_environment import read_environment
from wfops_pipelines.services.write_permission import refuse_production
from wfops_pipelines.store.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class _Plan:
    """What is written to go back, and what somebody else changed since, in words."""

    writes: tuple[WantedWorkflow, ...]
    changed: tuple[str, ...]

    def shown(self) -> list[dict[str, Any]]:
        return [{"action": str(item.action), "name": item.name, "workflow_id": item.workflow_id, "active": item.active}
                for item in self.writes]


async def roll_back_promotion(services: Services, context: Context, number: int, *, reason: str,
                              dry_run: bool = False) -> PromotionReport:
    """Bring the target back to how it was before a promotion: contents, activation, archive and tags of what it wrote, and
    without what it created. Then Git follows.

    Raises :class:`ForbiddenTransition` for a promotion that is not completed, :class:`Blocked` with the names of workflows
    that somebody changed since, and what :func:`~wfops_pipelines.services.runtime_writes.write` raises, after undoing.
    """
    if not reason.strip():
        raise UsageError("rolling back a promotion needs a reason", fix="say in a few words why: --reason")
    row, target = await asyncio.to_thread(_ready, services, context, number)
    async with run_operation(services, context, OperationKind.ROLLBACK, target) as operation:
        row, _ = await asyncio.to_thread(_ready, services, operation.context, number)
        await look_within(operation)
        async with operation.step("plan") as told:
            plan = await asyncio.to_thread(_plan, operation, row)
            told.update({"writes": len(plan.writes), "changed": list(plan.changed)})
        if plan.changed:
            raise Blocked(f"{context.tenant_slug}/p{number}: changed since by somebody else: {'; '.join(plan.changed[:5])}",
                          fix="follow that drift first, or restore the snapshot before it: `wfops snapshot restore`")
        if not dry_run:
            provider = services.provider_of(operation.context, target)
            checkpoint = {"promotion": str(row.id), "reason": reason}
            try:
                async with operation.step("write") as told:
                    done = await write(operation, provider, plan.writes, checkpoint=checkpoint,
                                       within=lambda work: _begin(work, row, reason), forward=True)
                    told["writes"] = [item.as_json() for item in done]
            except (LeaseLost, StoreError):
                raise
            except WfopsError as error:
                await asyncio.to_thread(tell_failure, operation, operation.id, checkpoint, error)
                raise
            finally:
                await provider.aclose()
            await settle(operation, operation.id, checkpoint)
        operation.metrics.update({"promotion": number, "writes": len(plan.writes)})
    report = await asyncio.to_thread(report_of, services, context, number)
    report.dry_run = dry_run
    if dry_run:
        report.plan = {"changes": plan.shown()}
    return report


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
        if not any(row.state in ("intended", "failed") for row in rows):  # an admin gave up on the rest
            with operation.services.store.bookkeeping(operation.context, "rollback.settled", held=operation.held) as work:
                work.journal.settle(journal_id)
        return
    async with operation.step("read-back") as said:
        said.update((await read_environment(operation)).as_json())
    if PromotionStatus(promotion.status).has_run and promotion.status != PromotionStatus.ROLLED_BACK:
        await asyncio.to_thread(_rolled_back, operation, promotion, rows, str(told.get("reason") or ""))
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
            raise Blocked(f"{context.tenant_slug}/p{number} failed: recovery restores what it had written, nobody by hand",
                          fix="`wfops drift` tries again once n8n answers")
        target = work.fleet.environment(row.target_environment_id)
        later = [each.number for each in work.promotions.listed(environment_ids=[target.id], statuses=(
            PromotionStatus.COMPLETED, PromotionStatus.COMPLETED_WITH_ERRORS), limit=200)
            if each.started_at and row.started_at and each.started_at > row.started_at and _share(work, each.number, row)]
    if later:
        raise Blocked(f"{context.tenant_slug}/p{max(later)} wrote some of the same workflows later",
                      fix=f"roll that back first: wfops rollback {context.tenant_slug}/p{max(later)}")
    refuse_production(context, target)
    return row, target


def _share(work: UnitOfWork, number: int, row: Row[Any]) -> bool:
    other = work.promotions.by_number(number)
    return other is not None and bool(_written_ids(other) & _written_ids(row))


def _written_ids(row: Row[Any]) -> set[str]:
    return {each["workflow_id"] for each in (row.results or {}).get("workflows", [])
            if each["status"] == "success" and each["workflow_id"]}


def _plan(operation: RunningOperation, promotion: Row[Any]) -> _Plan:
    """The reverse of the promotion's journal, last write first."""
    with operation.services.store.read(operation.context) as work:
        rows = [row for row in work.journal.of_operation(promotion.operation_id) if row.state in ("done", "settled")]
        if not rows and _written_ids(promotion):
            raise Blocked(f"{operation.context.tenant_slug}/p{promotion.number} was so long ago that its journal is gone",
                          fix=f"restore a snapshot: wfops snapshot list {operation.name.replace('/', ' ')}")
        mappings = work.mappings.by_workflow(operation.environment.id, [row.workflow_id for row in rows if row.workflow_id])
        digests = {told.get(name) for row in rows for told in (row.before or {}, row.after or {})
                   for name in ("live_digest", "draft_digest")}
        digests |= {digest for mapping in mappings.values() for digest in (mapping.live_digest, mapping.draft_digest)}
        contents = {digest: decode_content(body) for digest, body in work.payloads.load(
            digest for digest in digests if digest).items()}
    writes, changed = [], []
    for row in reversed(rows):
        mapping = mappings.get(row.workflow_id or "")
        there = mapping if mapping is not None and mapping.missing_at is None and mapping.deleted_at is None else None
        if why := _changed(row, there):
            changed.append(f"{row.name!r} ({row.workflow_id}) {why}")
        else:
            writes.append(_reverse(row, there, contents))
    return _Plan(tuple(_with_late_calls(writes)), tuple(changed))


def _with_late_calls(writes: Sequence[WantedWorkflow]) -> Iterator[WantedWorkflow]:
    """Which of them call others that come after them, and that do not run now: they may call each other."""
    for place, item in enumerate(writes):
        calls = {called_workflow(node) for node in item.live["nodes"]} if item.live is not None and item.active else set()
        late = [other.key for other in writes[place + 1:] if other.key is not None and other.workflow_id in calls
                and other.active and other.before is not None and not other.before.active]
        yield replace(item, late=tuple(late)) if late else item


def _changed(row: Row[Any], there: Row[Any] | None) -> str | None:
    if row.after is None:
        return None if there is None else "is there again"
    if there is None:
        return "is gone"
    expected = RuntimeState.from_json(row.after)
    actual = RuntimeState(there.live_hash, there.draft_hash, there.active, there.archived)
    if expected.archived and actual.archived:
        return None
    return None if actual == expected else "is not what was promoted any more"


def _reverse(row: Row[Any], there: Row[Any] | None, contents: Mapping[str, Content]) -> WantedWorkflow:
    before = row.before
    key = key_of(row) or str(row.canonical_id or row.workflow_id)
    now = None if there is None else RuntimeState(there.live_hash, there.draft_hash, there.active, there.archived)
    wanted = WantedWorkflow(
        WriteAction.DELETE, row.name, None if there is None else row.workflow_id, row.canonical_id, None, before=now,
        before_live=None if there is None else contents[there.live_digest],
        before_draft=None if there is None else contents[there.draft_digest], key=key)
    if before is None:
        return wanted
    live, draft = contents[before["live_digest"]], contents[before["draft_digest"]]
    action = WriteAction.CREATE if there is None else WriteAction.UNARCHIVE if there.archived else (
        WriteAction.ARCHIVE if before["archived"] else WriteAction.UPDATE)
    tags = before.get("tags")
    return _as(wanted, action, live, draft if before["draft_digest"] != before["live_digest"] else None, before, tags,
               None if there is None else tuple(there.tags))


def _as(wanted: WantedWorkflow, action: WriteAction, live: Content, draft: Content | None, before: Mapping[str, Any],
        tags: Sequence[str] | None, tags_now: tuple[str, ...] | None) -> WantedWorkflow:
    return replace(wanted, action=action, live=live, draft=draft, active=before["active"], archived=before["archived"],
                   tags=None if tags is None else tuple(tags), before_tags=None if tags is None else tags_now)


def _begin(work: UnitOfWork, row: Row[Any], reason: str) -> None:
    slug = work.fleet.environment(row.target_environment_id).slug
    work.record("promotion.rollback_begun", "promotion", f"p{row.number}", environment=slug, reason=reason)


def _rolled_back(operation: RunningOperation, promotion: Row[Any], rows: Sequence[Row[Any]], reason: str) -> None:
    ids = {row.workflow_id: row for row in rows}
    results: dict[str, Any] = dict(promotion.results or {})
    results["workflows"] = [{**each, "status": "rolled_back"} if each["workflow_id"] in ids or each["status"] == "success"
                            else each for each in results.get("workflows", [])]
    with operation.services.store.unit_of_work(operation.context, "promotion.rolled_back", held=operation.held) as work:
        _link_recreated(work, operation, rows)
        _forget_promoted(work, operation, promotion)
        environment = work.fleet.environment(operation.environment.id)
        has_git = environment.repository_id is not None and promotion.git_status != "none"
        step(work, promotion, PromotionEvent.ROLL_BACK, reason=reason, results=results,
             git_status="pending" if has_git else promotion.git_status)
        source = {each.id: each.slug for each in work.fleet.environments()}.get(promotion.source_environment_id)
        tell(work, PromotionNotice(work.context.tenant_slug, work.context.now(), environment.slug, reason, promotion.id,
                                   NotificationEvent.PROMOTION_ROLLED_BACK, source or "snapshot"))


def _link_recreated(work: UnitOfWork, operation: RunningOperation, rows: Sequence[Row[Any]]) -> None:
    link_created(work, operation, [Written(row.action, row.state, row.name, row.workflow_id, row.canonical_id, None, None)
                                   for row in rows])


def _forget_promoted(work: UnitOfWork, operation: RunningOperation, promotion: Row[Any]) -> None:
    """What was promoted before this promotion is what was promoted last again."""
    before: dict[str, Any] = (promotion.results or {}).get("promoted_before") or {}
    target = operation.environment.id
    work.promotions.forget(target, [UUID(key) for key, old in before.items() if old is None])
    work.promotions.remember([
        {"environment_id": target, "canonical_id": UUID(key), "digest": old["digest"], "portable_hash": old["portable_hash"],
         "content_hash": old["content_hash"], "promotion_id": UUID(old["promotion_id"]),
         "promoted_at": operation.context.now()} for key, old in before.items() if old is not None])


def tell_failure(operation: RunningOperation, journal_id: UUID, told: Mapping[str, Any], error: WfopsError) -> None:
    """Record why a rollback failed, and raise an incident about what is now neither as before nor as after (§11.7)."""
    slug = operation.environment.slug
    with operation.services.store.unit_of_work(operation.context, "promotion.rollback_failed", held=operation.held) as work:
        promotion = work.promotions.by_id(UUID(told["promotion"]))
        assert promotion is not None  # noqa: S101 - promotions are never deleted
        work.record("promotion.rollback_failed", "promotion", f"p{promotion.number}", environment=slug, reason=str(error))
        lost = [written(row) for row in work.journal.of_operation(journal_id) if row.state == "failed"]
        if lost:
            raise_incident(work, work.fleet.environment(operation.environment.id), promotion, lost)
