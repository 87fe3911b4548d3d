"""What follows from the writes of a promotion (§11.6, §11.7): verified, linked, kept as a snapshot, committed, told.

All of it is found in the journal and in the checkpoint of the operation that wrote, so that whoever holds the target next
gets to the same end when that process died; each part can be done twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import NotVerified, RollbackIncomplete, WfopsError
from wfops_pipelines.domain.fleet_fields import NotificationEvent
from wfops_pipelines.domain.lift import hash_portable
from wfops_pipelines.domain.mapping import MappingStatus
from wfops_pipelines.domain.notices import PromotionNotice
from wfops_pipelines.domain.promotion import (
    PromotionEvent,
    PromotionStatus,
    after_restoring,
    after_run,
    rollback_incomplete,
)
from wfops_pipelines.domain.promotion_plan import PlannedChange
from wfops_pipelines.domain.snapshot import SnapshotKind
from wfops_pipelines.domain.verification import Verification
from wfops_pipelines.domain.verification_checks import ToVerify, VerificationResult, failed
from wfops_pipelines.n8n.provider import WorkflowProvider
from wfops_pipelines.services import runtime_writes, snapshots
from wfops_pipelines.services.detect_drift import compare_within
from wfops_pipelines.services.hashing import bodies, encoded
from wfops_pipelines.services.intended_writes import Written, written
from wfops_pipelines.services.notices import tell
from wfops_pipelines.services.operations import RunningOperation
from wfops_pipelines.services.promotion_git import commit_promotion
from wfops_pipelines.services.promotion_incident import raise_incident
from wfops_pipelines.services.promotion_look import Judged
from wfops_pipelines.services.promotion_request import step
from wfops_pipelines.services.promotion_verification import verify_promotion
from wfops_pipelines.services.sync_environment import read_environment
from wfops_pipelines.store.unit_of_work import UnitOfWork

_DONE = ("done", "settled")
_LOST = ("failed", "abandoned")  # not as before, and nobody could, or wants to, change that
_INTERRUPTED = "the process that carried it out died"


def checkpoint(row: Row[Any], found: Judged) -> dict[str, Any]:
    """What whoever finishes has to know beside the journal."""
    prepared = found.prepared
    skipped = [_skipped(change) for change in prepared.plan.changes if not change.action.writes]
    return {
        "promotion": str(row.id), "atomic": found.stage.atomic, "verification": found.stage.verification.as_json(),
        "source": str(row.source_environment_id) if row.source_environment_id else None, "skipped": skipped,
        "promoted": {key: {"hash": hash_portable(content), "digest": encoded(content).digest}
                     for key, content in prepared.promoted.items()}}


def keep_contents(work: UnitOfWork, found: Judged) -> None:
    """Store the portable contents that a checkpoint names."""
    work.payloads.save(bodies(encoded(content) for content in found.prepared.promoted.values()))


async def settle(operation: RunningOperation, journal_id: UUID, told: Mapping[str, Any], *,
                 provider: WorkflowProvider | None = None, error: BaseException | None = None) -> None:
    """Bring a promotion whose writes have ended, well or badly, to its end.

    ``error`` is why they ended badly. Raises what the verification found, where the stage rolls back for it and once that
    is done, and :class:`RollbackIncomplete`.
    """
    if "promotion" not in told:
        return
    promotion_id = UUID(told["promotion"])
    promotion, writes = await asyncio.to_thread(_stored, operation, promotion_id, journal_id)
    if PromotionStatus(promotion.status) is PromotionStatus.FAILED and promotion.rollback_incomplete:
        await asyncio.to_thread(_restored_after_all, operation, journal_id, promotion, writes)
        return
    results: list[VerificationResult] = []
    if PromotionStatus(promotion.status) is PromotionStatus.RUNNING:
        kept = [item for item in writes if item.state in _DONE]
        if _was_cut_off(writes, error):
            return  # neither written nor taken back: it runs still, until whoever comes next has brought it to its end
        if error is None and kept:
            results, error = await _verify(operation, journal_id, told, kept, provider)
            promotion, writes = await asyncio.to_thread(_stored, operation, promotion_id, journal_id)
        if error is not None or not kept:
            await asyncio.to_thread(_ended_badly, operation, promotion, writes, error, results)
            if isinstance(error, NotVerified | RollbackIncomplete) and kept:
                raise error
            return
        async with operation.step("read-back") as said:
            said.update((await read_environment(operation)).as_json())
        failpoints.reach("promotion.complete.before")
        await asyncio.to_thread(_complete, operation, promotion, writes, told, results)
        failpoints.reach("promotion.complete.after")
        promotion, _ = await asyncio.to_thread(_stored, operation, promotion_id, journal_id)
    if PromotionStatus(promotion.status) in (PromotionStatus.COMPLETED, PromotionStatus.COMPLETED_WITH_ERRORS):
        await _follow_up(operation, journal_id, promotion_id)


async def _follow_up(operation: RunningOperation, journal_id: UUID, promotion_id: UUID) -> None:
    """Git, and where both sides stand then. Nobody has to come back to the writes after that."""
    promotion, _ = await asyncio.to_thread(_stored, operation, promotion_id, journal_id)
    if promotion.git_status == "pending":
        async with operation.step("commit") as said:
            await commit_promotion(operation, promotion)
            said["promotion"] = promotion.number
    check = await asyncio.to_thread(compare_within, operation)
    with operation.services.store.bookkeeping(operation.context, "promotion.settled", held=operation.held) as work:
        row = work.promotions.by_id(promotion_id)
        assert row is not None  # noqa: S101 - it was there
        work.promotions.change(promotion_id, now=operation.context.now(),
                               results={**(row.results or {}), "drift_status": str(check.status)})
        work.journal.settle(journal_id)


def _stored(operation: RunningOperation, promotion_id: UUID, journal_id: UUID) -> tuple[Row[Any], list[Written]]:
    with operation.services.store.read(operation.context) as work:
        row = work.promotions.by_id(promotion_id)
        assert row is not None  # noqa: S101 - promotions are never deleted
        return row, [written(each) for each in work.journal.of_operation(journal_id)]


# -- verification ------------------------------------------------------------------------------------------------------


async def _verify(operation: RunningOperation, journal_id: UUID, told: Mapping[str, Any], kept: Sequence[Written],
                  provider: WorkflowProvider | None) -> tuple[list[VerificationResult], BaseException | None]:
    """What the stage wants to be so, and why it is rolled back, if it is."""
    verification = Verification.from_json(told.get("verification") or {})
    if not verification.asks_for_something:
        return [], None
    own = provider or operation.services.provider_of(operation.context, operation.environment)
    try:
        async with operation.step("verification") as said:
            try:
                results = await verify_promotion(own, operation.environment, verification, await asyncio.to_thread(
                    _to_verify, operation, journal_id, kept))
            except WfopsError as error:
                if not verification.rollback_on_failure:
                    said["problem"] = str(error)
                    return [], None
                cause: WfopsError = error
                results = []
            else:
                said["results"] = [each.as_json() for each in results]
                bad = failed(results)
                if not bad or not verification.rollback_on_failure:
                    return results, None
                cause = NotVerified(f"{operation.name} is not as it should be after the promotion: " + "; ".join(
                    f"{each.workflow}: {each.reason}" for each in bad[:5]),
                    fix="look at what was verified, and promote anew")
        try:
            await runtime_writes.undo(operation, own, journal_id, cause)
        except RollbackIncomplete as incomplete:
            return results, incomplete
        return results, cause
    finally:
        if provider is None:
            await own.aclose()


def _to_verify(operation: RunningOperation, journal_id: UUID, kept: Sequence[Written]) -> list[ToVerify]:
    ids = {item.workflow_id for item in kept}
    with operation.services.store.read(operation.context) as work:
        rows = work.journal.of_operation(journal_id)
    return [ToVerify(row.workflow_id, row.name, row.after["live_hash"], row.after["active"], new=row.action == "create")
            for row in rows if row.workflow_id in ids and row.after and not row.after.get("archived")]


# -- the end -----------------------------------------------------------------------------------------------------------


def _complete(operation: RunningOperation, promotion: Row[Any], writes: Sequence[Written], told: Mapping[str, Any],
              results: Sequence[VerificationResult]) -> None:
    """In one transaction: links, the snapshot after it, what was promoted, and the status."""
    bad = [item for item in writes if item.state not in _DONE]
    with operation.services.store.unit_of_work(operation.context, "promotion.complete", held=operation.held) as work:
        link_created(work, operation, writes)
        before = _remember(work, operation, promotion, writes, told)
        snapshot = snapshots.take(work, operation, SnapshotKind.POST_PROMOTION, name=f"after p{promotion.number}")
        has_git = work.fleet.environment(operation.environment.id).repository_id is not None
        step(work, promotion, after_run(failed=len(bad), atomic=bool(told.get("atomic", True))), post_snapshot_id=snapshot,
             atomic=bool(told.get("atomic", True)), git_status="pending" if has_git else "none",
             results=_results(writes, told, results) | {"promoted_before": before},
             reason="; ".join(f"{item.name}: {item.error}" for item in bad) or None)


def link_created(work: UnitOfWork, operation: RunningOperation, writes: Sequence[Written]) -> None:
    """What was created is the canonical workflow that it came from."""
    created = {item.workflow_id: item for item in writes if item.action == "create" and item.state in _DONE
               and item.canonical_id is not None and item.workflow_id is not None}
    slug = operation.environment.slug
    for workflow_id, row in work.mappings.by_workflow(operation.environment.id, list(created), lock=True).items():
        item = created[workflow_id]
        if item.canonical_id is None or (row.canonical_id == item.canonical_id and row.status == MappingStatus.LINKED):
            continue
        for other in work.mappings.of_canonical(item.canonical_id):
            if other.environment_id == operation.environment.id and other.id != row.id and (
                    other.status == MappingStatus.LINKED):  # gone from n8n before: this one takes its place
                work.mappings.change(other.id, canonical_id=None, status=MappingStatus.MISSING)
        work.mappings.change(row.id, canonical_id=item.canonical_id, unlinked_reason=None, status=MappingStatus.LINKED)
        work.record("mapping.linked", "workflow", workflow_id, environment=slug, after=row.live_hash, name=row.name,
                    by="promotion", canonical_id=str(item.canonical_id))
    if created:
        work.fleet.set_environment(operation.environment.id, ever_mapped=True)


def _remember(work: UnitOfWork, operation: RunningOperation, promotion: Row[Any], writes: Sequence[Written],
              told: Mapping[str, Any]) -> dict[str, Any]:
    """What was promoted, for the next plan, at both ends; what was remembered of the target before comes back."""
    now, target = operation.context.now(), operation.environment.id
    old = work.promotions.promoted_in(target)
    known = work.mappings.canonicals()
    rows, before = [], {}
    for item in writes:
        promoted = (told.get("promoted") or {}).get(item.key)
        if item.state not in _DONE or promoted is None or item.canonical_id not in known:
            continue
        previous = old.get(item.canonical_id)
        before[str(item.canonical_id)] = None if previous is None else {
            "digest": previous.digest, "portable_hash": previous.portable_hash, "content_hash": previous.content_hash,
            "promotion_id": str(previous.promotion_id)}
        same = {"canonical_id": item.canonical_id, "digest": promoted["digest"], "portable_hash": promoted["hash"],
                "promotion_id": promotion.id, "promoted_at": now}
        rows.append({**same, "environment_id": target, "content_hash": item.after_hash})
        if told.get("source"):
            rows.append({**same, "environment_id": UUID(told["source"]), "content_hash": None})
    work.promotions.remember(rows)
    return before


def _ended_badly(operation: RunningOperation, promotion: Row[Any], writes: Sequence[Written],
                 error: BaseException | None, results: Sequence[VerificationResult]) -> None:
    lost = [item for item in writes if item.state in _LOST]
    counts = _counts(writes)
    reason = (runtime_writes.why_it_ended(error) if error is not None
              else next((item.error for item in writes if item.error), _INTERRUPTED))
    with operation.services.store.unit_of_work(operation.context, "promotion.failed", held=operation.held) as work:
        environment = work.fleet.environment(operation.environment.id)
        step(work, promotion, PromotionEvent.FAIL, reason=reason, rollback_incomplete=rollback_incomplete(**counts),
             results=_results(writes, {}, results), **_git_follows(environment, writes))
        if rollback_incomplete(**counts):
            raise_incident(work, environment, promotion, lost)
            _tell(work, promotion, NotificationEvent.PROMOTION_FAILED, f"the rollback is incomplete: {reason}")
        elif after_restoring(**counts) is PromotionEvent.ROLL_BACK:
            again = work.promotions.by_id(promotion.id)
            assert again is not None  # noqa: S101 - it was just changed
            step(work, again, PromotionEvent.ROLL_BACK, reason=reason)
            _tell(work, promotion, NotificationEvent.PROMOTION_ROLLED_BACK, reason)
        else:
            _tell(work, promotion, NotificationEvent.PROMOTION_FAILED, reason)


def _was_cut_off(writes: Sequence[Written], error: BaseException | None) -> bool:
    """Whether taking back what failed was itself cut off: by an error of ours, or a second Ctrl-C. What is there then of
    one that takes back no more than it has to (:class:`RollbackIncomplete`) stays."""
    return error is not None and not isinstance(error, RollbackIncomplete) and any(
        item.state == "intended" or item.state in _DONE for item in writes)


def _counts(writes: Sequence[Written]) -> dict[str, int]:
    """How many writes were applied, and how many of those were restored, for the rules of the domain."""
    applied = [item for item in writes if item.was_applied]
    return {"applied": len(applied), "restored": sum(item.state not in _LOST for item in applied)}


def _restored_after_all(operation: RunningOperation, journal_id: UUID, promotion: Row[Any],
                        writes: Sequence[Written]) -> None:
    """A rollback that was incomplete, and is complete now. One that an admin gave up on stays as it is: nobody comes back
    to what it wrote."""
    if rollback_incomplete(**_counts(writes)):
        if not any(item.state == "failed" for item in writes):
            with operation.services.store.bookkeeping(operation.context, "promotion.settled", held=operation.held) as work:
                work.journal.settle(journal_id)
        return
    with operation.services.store.unit_of_work(operation.context, "promotion.restored", held=operation.held) as work:
        environment = work.fleet.environment(operation.environment.id)
        step(work, promotion, PromotionEvent.ROLL_BACK, reason=promotion.reason, rollback_incomplete=False,
             results={**(promotion.results or {}), "workflows": _results(writes, {}, ())["workflows"]},
             **_git_follows(environment, writes))


def _git_follows(environment: Row[Any], writes: Sequence[Written]) -> dict[str, Any]:
    """What was undone is in Git as it was; but what had to be made again, and who names it, have another id."""
    renewed = environment.repository_id is not None and any(item.made_again for item in writes)
    return {"git_status": "pending"} if renewed else {}


def _tell(work: UnitOfWork, promotion: Row[Any], event: NotificationEvent, reason: str) -> None:
    slugs = {each.id: each.slug for each in work.fleet.environments()}
    source = slugs.get(promotion.source_environment_id) or "snapshot"
    tell(work, PromotionNotice(work.context.tenant_slug, work.context.now(), slugs.get(promotion.target_environment_id),
                               reason, promotion.id, event, source))


def _results(writes: Sequence[Written], told: Mapping[str, Any], results: Sequence[VerificationResult]) -> dict[str, Any]:
    words = {"done": "success", "settled": "success", "undone": "rolled_back", "failed": "rollback_failed",
             "abandoned": "rollback_failed", "intended": "failed"}
    workflows = [{
        "key": item.key or str(item.canonical_id or item.workflow_id), "name": item.name, "action": item.action,
        "status": words[item.state] if item.was_applied else "not_written", "workflow_id": item.workflow_id,
        "before_hash": item.before_hash, "after_hash": item.after_hash, "message": item.error} for item in writes]
    return {"workflows": [*workflows, *told.get("skipped", [])], "verification": [each.as_json() for each in results]}


def _skipped(change: PlannedChange) -> dict[str, Any]:
    return {"key": change.key, "name": change.name, "action": str(change.action), "status": "skipped",
            "workflow_id": change.workflow_id, "before_hash": None, "after_hash": None, "message": str(change.action)}
