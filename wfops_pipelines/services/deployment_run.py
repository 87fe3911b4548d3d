"""Carrying out a deployment (§12): begin, promote, say what became of each workflow, end.

The promotion belongs to whoever asked for the deployment: nobody approves or overrides in the name of a sensor. It is
found again by what stands in its reason, so that a process that dies between asking for it and noting which it is leaves
nothing that nobody knows of. A process that dies later leaves the deployment ``running``: its promotion is recovered first
(§11.8), and the deployment ends as that did (:func:`end_stale`, or :func:`run_deployment` once more).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.deployment import (
    DeploymentEvent,
    DeploymentStatus,
    Stale,
    WorkflowResult,
    not_reached,
    outcome_of,
    results_of_promotion,
    staleness,
)
from wfops_pipelines.domain.errors import Blocked, LeaseLost, OperationRunning, StoreError, WfopsError
from wfops_pipelines.domain.promotion import WAITING, PromotionEvent, PromotionStatus
from wfops_pipelines.domain.shown import one_line
from wfops_pipelines.services.deployment_reports import DeploymentReport, asked_options, report_of
from wfops_pipelines.services.deployments import find, step, tell_failed
from wfops_pipelines.services.operations import work_has_begun
from wfops_pipelines.services.promotion_execution import execute_promotion
from wfops_pipelines.services.promotion_options import PromotionOptions
from wfops_pipelines.services.promotion_recovery import recover_environment
from wfops_pipelines.services.promotion_request import NOTHING, request_promotion
from wfops_pipelines.services.promotion_request import step as step_promotion
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork

log = logging.getLogger("wfops.deployments")
T = TypeVar("T")

PATIENCE: Final = 900.0
"""Seconds that a deployment waits for other operations on its environments to end: a drift check is no reason to fail."""

_POLL = 1.0  # seconds between two tries while another operation holds the target, maybe of another process
_DIED = "the process that carried it out died before anything was written"


def nobody_knows(_: str) -> bool | None:
    """Whether a run lives, where Dagster is not asked: only the heartbeat tells."""
    return None


async def run_deployment(services: Services, context: Context, deployment_id: UUID, *, patience: float = PATIENCE,
                         run_alive: Callable[[str], bool | None] = nobody_knows) -> DeploymentReport:
    """Carry out a deployment that is scheduled, whatever its time; or bring one to its end whose process died.

    What fails it, is in the report (``error``) and not raised: a gate that blocks or holds, what n8n refused. Raised is
    what keeps it from beginning (:class:`Blocked` while it runs already or waits for its wave,
    :class:`ForbiddenTransition` when it has ended), and what keeps it from ending: then it is ``running`` still, and
    recovery comes back to it. ``run_alive`` says of a Dagster run whether it lives, or ``None``.
    """
    begun = await asyncio.to_thread(_begin, services, context, deployment_id, run_alive)
    work_has_begun(context.tenant_id)
    beat = _Heartbeat(services, context, deployment_id)
    beat.start()
    error: WfopsError | None = None
    try:
        if begun.recovers:
            await _recover(services, context, begun.row, patience)
        else:
            await _promote(services, context, begun.row, patience)
    except (LeaseLost, StoreError):
        raise  # what became of it cannot be told here: it stays running, and is recovered
    except WfopsError as failure:
        error = failure
    except BaseException:  # interrupted, or a mistake of ours
        _end_after_all(services, context, deployment_id)
        raise
    finally:
        beat.stop()
    ended = await asyncio.to_thread(conclude, services, context, deployment_id, error)
    if not ended:
        raise error or Blocked(f"deployment {deployment_id} waits for its promotion to be recovered",
                               fix=f"wfops promotion recover {context.tenant_slug} {begun.target}")
    report = await asyncio.to_thread(report_of, services, context, deployment_id)
    if report.status == DeploymentStatus.FAILED:
        report.error = error or WfopsError(report.message or "it failed")
    return report


# -- beginning ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Begun:
    row: Row[Any]
    target: str
    recovers: bool


def _begin(services: Services, context: Context, deployment_id: UUID, run_alive: Callable[[str], bool | None]) -> _Begun:
    """Running, by this run: one of two that try at once gets it."""
    with services.store.unit_of_work(context, "deployment.begin") as work:
        row = find(work, deployment_id, lock=True)
        now, status = context.now(), DeploymentStatus(row.status)
        target = work.fleet.environment(row.target_environment_id).slug
        if status is DeploymentStatus.PENDING:
            raise Blocked(f"deployment {deployment_id} waits for the wave of its batch before it",
                          fix=f"`wfops deploy show {row.batch_id}` tells how far that is")
        if status is DeploymentStatus.RUNNING:
            why = _staleness(row, run_alive, context)
            if why is None:
                raise Blocked(f"deployment {deployment_id} runs already{f', in run {row.run_id}' if row.run_id else ''}",
                              fix=f"`wfops deploy show {deployment_id}` tells how far it is")
            work.deployments.change(row.id, run_id=context.run_id, heartbeat_at=now)
            work.record("deployment.taken_over", "deployment", str(row.id), environment=target, reason=str(why),
                        run=row.run_id)
        else:
            pause = work.pause.now()
            if pause is not None and not context.even_paused:
                raise pause.refusal()  # it stays scheduled
            step(work, row, DeploymentEvent.START, started_at=now, heartbeat_at=now, run_id=context.run_id)
        return _Begun(find(work, deployment_id), target, recovers=status is DeploymentStatus.RUNNING)


def _staleness(row: Row[Any], run_alive: Callable[[str], bool | None], context: Context) -> Stale | None:
    return staleness(started_at=row.started_at, heartbeat_at=row.heartbeat_at, now=context.now(),
                     run_alive=run_alive(row.run_id) if row.run_id else None)


# -- promoting ---------------------------------------------------------------------------------------------------------


async def _promote(services: Services, context: Context, row: Row[Any], patience: float) -> None:
    asker = replace(context, actor=row.requested_by, impersonator=row.options.get("requested_through"))
    number = await asyncio.to_thread(_number, services, context, row)
    if number is None:
        with services.store.read(context) as work:
            source, target = (work.fleet.environment(i) for i in (row.source_environment_id, row.target_environment_id))
        options = _marked(row, asked_options(row))
        report = await _patiently(patience, lambda: request_promotion(services, asker, source, target, options))
        if report.status == NOTHING:
            await asyncio.to_thread(conclude, services, context, row.id, None, nothing=report.notes)
            return
        assert report.number is not None  # noqa: S101 - only a plan that writes nothing begins nothing
        number = report.number
        await asyncio.to_thread(_claim, services, context, row, number)
        if report.status == PromotionStatus.BLOCKED:
            raise Blocked(f"{report.name} is blocked: {report.reason}", fix=f"wfops promotion show {report.name}")
    await asyncio.to_thread(_refuse_unapproved, services, context, number)
    await asyncio.to_thread(_claim, services, context, row, number)
    await _patiently(patience, lambda: execute_promotion(services, asker, number))


def _refuse_unapproved(services: Services, context: Context, number: int) -> None:
    """It does not wait for approvals: its time is now."""
    with services.store.read(context) as work:
        row = work.promotions.by_number(number)
    if row is not None and row.status == PromotionStatus.PENDING_APPROVAL:
        raise Blocked(f"{context.tenant_slug}/p{number} is not approved",
                      fix="let it be approved, and schedule it: wfops deploy schedule --promotion "
                          f"{context.tenant_slug}/pNUMBER")


async def _patiently(patience: float, attempt: Callable[[], Awaitable[T]]) -> T:
    """Try again while another operation holds an environment. That is told before anything is begun."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return await attempt()
        except OperationRunning:
            if time.monotonic() >= deadline:
                raise
            await asyncio.sleep(_POLL)


def _mark(row: Row[Any]) -> str:
    return f"deployment {row.id}"


def _marked(row: Row[Any], options: PromotionOptions) -> PromotionOptions:
    """Whose promotion it is stands in its reason, for people, and for us to find it again."""
    return replace(options, reason=f"{options.reason} ({_mark(row)})" if options.reason else _mark(row), when_ready=False)


def _is_own(row: Row[Any], promotion: Row[Any]) -> bool:
    """Whether a promotion was asked for by this deployment, and not before it by somebody."""
    return _mark(row) in str(promotion.options.get("reason") or "")


def _promotion_of(work: UnitOfWork, row: Row[Any]) -> Row[Any] | None:
    """The promotion of a deployment, also where the process died before it could note which that is."""
    if row.promotion_id is not None:
        return work.promotions.by_id(row.promotion_id)
    own = next((each for each in work.promotions.waiting_for(row.target_environment_id) if _is_own(row, each)), None)
    return None if own is None else work.promotions.by_id(own.id)


def _number(services: Services, context: Context, row: Row[Any]) -> int | None:
    with services.store.read(context) as work:
        promotion = _promotion_of(work, row)
    return None if promotion is None else int(promotion.number)


def _claim(services: Services, context: Context, row: Row[Any], number: int) -> None:
    """Note the promotion of a deployment that this run still carries out. :class:`Blocked` where somebody has ended it
    meanwhile, because a clock was set, or the machine slept: people were told, and nothing is written after that."""
    with services.store.bookkeeping(context, "deployment.promotion") as work:
        now, promotion = find(work, row.id, lock=True), work.promotions.by_number(number)
        assert promotion is not None  # noqa: S101 - it was asked for, or found
        if now.status == DeploymentStatus.RUNNING and now.run_id == context.run_id:
            work.deployments.change(row.id, promotion_id=promotion.id)
            return
        if PromotionStatus(promotion.status) in WAITING and _is_own(row, promotion):
            step_promotion(work, promotion, PromotionEvent.CANCEL, reason=f"its {_mark(row)} was ended before")
    raise Blocked(f"deployment {row.id} was ended while this run was at it: {now.status}",
                  fix=f"`wfops deploy show {row.id}` tells how; schedule it anew")


# -- ending ------------------------------------------------------------------------------------------------------------


def conclude(services: Services, context: Context, deployment_id: UUID, error: WfopsError | None = None, *,
             nothing: list[str] | None = None) -> bool:
    """End a running deployment as its promotion did, in one transaction with the results; whether it has ended.

    It has not while the promotion is at its writes: that has to be recovered first. One whose promotion has not begun to
    write fails with ``error``, or because its process died; a promotion of its own is then called off, one that was
    approved before stays as it is. ``nothing`` are the words of a plan that writes nothing: that is done already.
    """
    with services.store.bookkeeping(context, "deployment.conclude") as work:
        row = find(work, deployment_id, lock=True)
        if DeploymentStatus(row.status) is not DeploymentStatus.RUNNING:
            return True
        promotion = _promotion_of(work, row)
        if promotion is not None and promotion.status == PromotionStatus.RUNNING:
            return False
        if nothing is not None:
            step(work, row, DeploymentEvent.COMPLETE, reason="; ".join(nothing) or "nothing to write")
            return True
        event, reason, results = _outcome(work, row, promotion, error)
        work.deployments.save_results(row.id, [
            {"key": each.key, "name": one_line(each.name, 200), "action": each.action, "status": str(each.status),
             "message": one_line(each.message, 500), "at": each.at} for each in results])
        step(work, row, event, reason=reason, promotion_id=promotion.id if promotion is not None else None)
        if event is DeploymentEvent.FAIL:
            tell_failed(work, row, reason)
    return True


def _outcome(work: UnitOfWork, row: Row[Any], promotion: Row[Any] | None,
             error: WfopsError | None) -> tuple[DeploymentEvent, str, list[WorkflowResult]]:
    now = work.context.now()
    if promotion is None:
        return DeploymentEvent.FAIL, str(error) if error is not None else _DIED, []
    name, status = f"{work.context.tenant_slug}/p{promotion.number}", PromotionStatus(promotion.status)
    if status in WAITING or not status.has_run:
        reason = str(error) if error is not None else (promotion.reason or _DIED)
        if status in WAITING and _is_own(row, promotion):
            step_promotion(work, promotion, PromotionEvent.CANCEL, reason=f"its {_mark(row)} failed: {reason}")
        return DeploymentEvent.FAIL, reason, not_reached(
            [each for each in (promotion.plan or {}).get("changes", ()) if each.get("after") or each.get("before")],
            f"{name} was not carried out", now)
    results = results_of_promotion((promotion.results or {}).get("workflows", ()), promotion.ended_at or now)
    event = outcome_of(status)
    assert event is not None  # noqa: S101 - it has ended
    words = f"{name} {str(status).replace('_', ' ')}"
    why = str(error) if error is not None else promotion.reason if event is DeploymentEvent.FAIL else None
    return event, f"{words}: {why}" if why else words, results


def _end_after_all(services: Services, context: Context, deployment_id: UUID) -> None:
    """After an interruption: what the store says of it now; where that cannot be had, recovery does it."""
    try:
        conclude(services, context, deployment_id, WfopsError("it was interrupted"))
    except WfopsError as secondary:
        log.info("deployment %s was interrupted, and is ended later: %s", deployment_id, secondary,
                 extra={"tenant": context.tenant_slug, "error": secondary.kind})


# -- recovering --------------------------------------------------------------------------------------------------------


async def _recover(services: Services, context: Context, row: Row[Any], patience: float) -> None:
    """Bring the promotion of a dead process to its end; one that did not write needs none."""
    with services.store.read(context) as work:
        promotion = _promotion_of(work, row)
        target = work.fleet.environment(row.target_environment_id)
    if promotion is not None and promotion.status == PromotionStatus.RUNNING:
        await _patiently(patience, lambda: recover_environment(services, context, target))


def end_stale(services: Services, *, actor: str, run_alive: Callable[[str], bool | None]) -> dict[str, bool]:
    """Look at every running deployment: one that is stale, and whose promotion is at its writes no more, is ended here.
    Returns the stale ones by name (``acme/0a5f0c1e``), and whether they have ended: the others wait for the recovery of
    their target, which any operation on it begins with."""
    found: dict[str, bool] = {}
    with services.store.system() as system:
        rows = system.running_deployments()
    for row in rows:
        if row.tenant_deleted_at is not None:
            continue
        context = services.context(row.tenant_slug, actor=actor)
        try:
            if _staleness(row, run_alive, context) is not None:
                found[f"{row.tenant_slug}/{str(row.id)[:8]}"] = conclude(services, context, row.id)
        except WfopsError as error:  # one that cannot be ended is no reason not to look at the others
            log.info("deployment %s of %s is stale, and cannot be ended: %s", row.id, row.tenant_slug, error,
                     extra={"tenant": row.tenant_slug, "error": error.kind})
            found[f"{row.tenant_slug}/{str(row.id)[:8]}"] = False
    return found


class _Heartbeat(threading.Thread):
    """Says every few seconds that the process lives, whatever the event loop is busy with."""

    def __init__(self, services: Services, context: Context, deployment_id: UUID) -> None:
        super().__init__(name=f"deployment-{deployment_id}", daemon=True)
        self._services, self._context, self._deployment_id = services, context, deployment_id
        self._stopped = threading.Event()

    def run(self) -> None:
        """Until :meth:`stop`."""
        while not self._stopped.wait(self._services.limits.heartbeat):
            try:
                with self._services.store.bookkeeping(self._context, "deployment.heartbeat") as work:
                    work.deployments.beat(self._deployment_id, self._context.run_id, self._context.now())
            except StoreError:
                continue  # the next unit of work tells; a heartbeat missed is no failure yet

    def stop(self) -> None:
        """Stop, and wait for a heartbeat that is under way."""
        self._stopped.set()
        self.join(timeout=10)
