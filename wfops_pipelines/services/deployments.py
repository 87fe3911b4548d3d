"""Deployments: promotions that are started at their time (§12).

A deployment plans its promotion when it starts, from both ends as they are then; or it carries out one that exists and was
approved before, whose plan has to be the approved one still. It starts at its time whatever the gates will say: what a
gate blocks, holds (a freeze window, a soak time) or wants approvals for fails it with the gate's reason, and nothing is
written. Nobody waits in a queue for a gate, and nothing starts hours after the time that was chosen. What can be told
when it is scheduled is refused then: approvals that the stage asks for, a freeze window over that time.

How one runs is in ``deployment_run``, many tenants at once in ``deployment_batches``, how they are shown in
``deployment_reports``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain import freeze_windows
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.deployment import (
    DeploymentEvent,
    DeploymentStatus,
    ScheduledDeployment,
    check_time,
    due,
    missed,
    move_deployment,
)
from wfops_pipelines.domain.errors import Blocked, UnknownDeployment, UsageError
from wfops_pipelines.domain.notices import DeploymentFailed
from wfops_pipelines.domain.promotion import PromotionStatus
from wfops_pipelines.domain.promotion_limits import check_reason
from wfops_pipelines.domain.shown import moment, one_line
from wfops_pipelines.services.deployment_reports import DeploymentReport, report_of
from wfops_pipelines.services.notices import tell
from wfops_pipelines.services.promotion_options import JsonObject, PromotionOptions
from wfops_pipelines.services.promotion_request import find as find_promotion
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.stage_rules import stage_between
from wfops_pipelines.services.write_permission import refuse_production
from wfops_pipelines.store.unit_of_work import UnitOfWork

_REASON = 500  # characters of a message


def schedule_deployment(services: Services, context: Context, source: Row[Any], target: Row[Any],
                        options: PromotionOptions, *, at: datetime | None = None, dry_run: bool = False) -> DeploymentReport:
    """Deploy from one environment to another at a time, or at once. With ``dry_run`` nothing is scheduled.

    Raises :class:`UsageError` for a time that is past or has no zone, and where no pipeline leads there; :class:`Blocked`
    where the stage asks for approvals, is frozen at that time, or the target may not be written to.
    """
    starts_at = _time(context, at)
    with services.store.read(context) as work:
        check_stage(work, source, target, options, starts_at)
    if dry_run:
        return _planned(context, source, target, options, starts_at)
    deployment_id = context.new_id()
    with services.store.unit_of_work(context, "deployment.schedule") as work:
        add(work, deployment_id, source, target, options, starts_at)
        step(work, find(work, deployment_id), DeploymentEvent.SCHEDULE, starts_at=starts_at)
    return report_of(services, context, deployment_id)


def schedule_promotion(services: Services, context: Context, number: int, *, at: datetime | None = None,
                       dry_run: bool = False) -> DeploymentReport:
    """Carry out a promotion that exists at a time, or at once: approved, or waiting for approvals that it has to have by
    then. What is carried out is the plan that was approved, and no other. From now on it begins at that time or by hand,
    and not by itself as soon as it is approved.

    Raises what :func:`schedule_deployment` raises, and :class:`Blocked` for a promotion that has begun or ended, or that
    another deployment starts.
    """
    starts_at = _time(context, at)
    with services.store.read(context) as work:
        row, source, target = _promotion(work, number)
        _check_window(work, source, target, starts_at)
    refuse_production(context, target)
    if dry_run:
        report = _planned(context, source, target, PromotionOptions.from_json(row.options), starts_at)
        report.promotion, report.promotion_status = f"{context.tenant_slug}/p{number}", row.status
        return report
    deployment_id = context.new_id()
    with services.store.unit_of_work(context, "deployment.schedule") as work:
        row, source, target = _promotion(work, number, lock=True)
        add(work, deployment_id, source, target, PromotionOptions.from_json(row.options), starts_at, promotion_id=row.id)
        step(work, find(work, deployment_id), DeploymentEvent.SCHEDULE, starts_at=starts_at)
    report = report_of(services, context, deployment_id)
    if row.status == PromotionStatus.PENDING_APPROVAL:
        report.notes.append(f"{report.promotion} waits for approvals: without them it fails at its time")
    return report


def cancel_deployment(services: Services, context: Context, deployment_id: UUID, *, reason: str | None = None,
                      dry_run: bool = False) -> DeploymentReport:
    """Call a deployment off that has not begun; its promotion stays as it is. :class:`ForbiddenTransition` when it has."""
    if dry_run:
        with services.store.read(context) as work:
            move_deployment(DeploymentStatus(find(work, deployment_id).status), DeploymentEvent.CANCEL)
        report = report_of(services, context, deployment_id)
        report.dry_run = True
        return report
    with services.store.unit_of_work(context, "deployment.cancel") as work:
        row = find(work, deployment_id, lock=True)
        step(work, row, DeploymentEvent.CANCEL, reason=reason or f"cancelled by {context.actor}")
    return report_of(services, context, deployment_id)


def due_deployments(services: Services, now: datetime) -> list[Row[Any]]:
    """Deployments of any tenant whose time has come, the longest waiting first, with ``tenant_slug``, ``source`` and
    ``target`` (slugs); without those of tenants that are paused: their time comes when they are resumed (§20)."""
    found: list[Row[Any]] = []
    after: tuple[datetime, UUID] | None = None
    with services.store.system() as system:
        while rows := system.scheduled_deployments(now, after=after):
            found += rows
            after = (rows[-1].starts_at, rows[-1].id)
        pauses = system.pauses()
    by_id = {row.id: row for row in found if row.tenant_id not in pauses}
    return [by_id[each.deployment_id] for each in due(
        (ScheduledDeployment(r.id, r.starts_at) for r in by_id.values()), now)]


def fail_missed(services: Services, rows: Sequence[Row[Any]], now: datetime, *, actor: str) -> set[UUID]:
    """Fail those of ``rows`` (due ones) that missed their time; returns their ids."""
    with services.store.system() as system:
        pauses = system.pauses()
    late = [row for row in rows if missed(pauses.due_since(row.tenant_id, row.starts_at), now)]
    for row in late:
        fail_unstarted(services, services.context(row.tenant_slug, actor=actor), row.id, (
            f"it was to start at {moment(row.starts_at)}, and nothing started it within an hour: was `wfops up` running?"))
    return {row.id for row in late}


def fail_unstarted(services: Services, context: Context, deployment_id: UUID, reason: str) -> None:
    """Fail a scheduled deployment that cannot be started, and tell so. One that is scheduled no more stays as it is."""
    with services.store.bookkeeping(context, "deployment.unstarted") as work:
        row = find(work, deployment_id, lock=True)
        if row.status != DeploymentStatus.SCHEDULED:
            return
        now = work.context.now()
        step(work, row, DeploymentEvent.START, started_at=now)
        step(work, find(work, deployment_id), DeploymentEvent.FAIL, reason=reason)
        tell_failed(work, row, reason)


# -- steps, for the other parts of deployments -------------------------------------------------------------------------


def find(work: UnitOfWork, deployment_id: UUID, *, lock: bool = False) -> Row[Any]:
    """A deployment by its id; :class:`UnknownDeployment`."""
    row = work.deployments.by_id(deployment_id, lock=lock)
    if row is None:
        tenant = work.context.tenant_slug
        raise UnknownDeployment(f"tenant {tenant} has no deployment {deployment_id}",
                                fix=f"`wfops deploy list {tenant}` shows those there are")
    return row


def add(work: UnitOfWork, deployment_id: UUID, source: Row[Any], target: Row[Any], options: PromotionOptions,
        starts_at: datetime, **values: Any) -> None:
    """A new deployment, pending, with its audit event. Who is behind the one who asks is kept with the options."""
    context = work.context
    asked: JsonObject = options.as_json()
    if context.impersonator is not None:
        asked["requested_through"] = context.impersonator
    work.deployments.add(
        id=deployment_id, source_environment_id=source.id, target_environment_id=target.id, options=asked,
        requested_by=context.actor, requested_at=context.now(), starts_at=starts_at, **values)
    work.record("deployment.requested", "deployment", str(deployment_id), environment=target.slug, source=source.slug,
                starts_at=starts_at.isoformat(), options=options.as_json(),
                **({"batch": str(values["batch_id"]), "wave": values["wave"]} if values.get("batch_id") else {}))


def step(work: UnitOfWork, row: Row[Any], event: DeploymentEvent, *, reason: str | None = None,
         **values: Any) -> DeploymentStatus:
    """Take one step of a deployment's life in the caller's unit of work, with its audit event."""
    before = DeploymentStatus(row.status)
    after = move_deployment(before, event)
    if reason is not None:
        values["message"] = one_line(reason, _REASON)
    if after.is_terminal:
        values.setdefault("ended_at", work.context.now())
    work.deployments.change(row.id, status=str(after), **values)
    slug = work.fleet.environment(row.target_environment_id).slug
    work.record(f"deployment.{after}", "deployment", str(row.id), environment=slug, was=str(before),
                reason=values.get("message"))
    return after


def tell_failed(work: UnitOfWork, row: Row[Any], reason: str) -> None:
    """Whoever wants to know hears that a deployment failed."""
    slug = work.fleet.environment(row.target_environment_id).slug
    tell(work, DeploymentFailed(work.context.tenant_slug, work.context.now(), slug, reason, row.id))


def check_stage(work: UnitOfWork, source: Row[Any], target: Row[Any], options: PromotionOptions,
                starts_at: datetime) -> None:
    """Pass when, as far as can be told now, a promotion may be begun and carried out at that time."""
    if source.id == target.id:
        raise UsageError("source and target are one environment", fix="deploy to another one")
    check_reason(options.allow_large)
    stage = _check_window(work, source, target, starts_at)
    refuse_production(work.context, target)
    if stage.rules.approvers:
        tenant = work.context.tenant_slug
        raise Blocked(
            f"the stage from {source.slug} to {target.slug} asks for {stage.rules.approvers} approvals of a plan",
            fix=f"ask for the promotion (wfops promote {tenant} --from {source.slug} --to {target.slug}), let it be "
                f"approved, and schedule that: wfops deploy schedule --promotion {tenant}/pNUMBER")


def _check_window(work: UnitOfWork, source: Row[Any], target: Row[Any], starts_at: datetime) -> Any:
    stage = stage_between(work, source, target)
    then = freeze_windows.state(stage.freeze_windows, starts_at)
    if not then.open:
        raise Blocked(f"promotions from {source.slug} to {target.slug} are frozen at {moment(starts_at)}: {then.reason}",
                      fix="choose a time at which they are not: --at")
    return stage


def _promotion(work: UnitOfWork, number: int, *, lock: bool = False) -> tuple[Row[Any], Row[Any], Row[Any]]:
    """A promotion that may be scheduled, and both its ends."""
    row = find_promotion(work, number, lock=lock)
    name = f"{work.context.tenant_slug}/p{number}"
    if row.source_environment_id is None:
        raise UsageError(f"{name} restores a snapshot: only promotions are scheduled", fix="carry it out by hand")
    if row.status not in (PromotionStatus.APPROVED, PromotionStatus.PENDING_APPROVAL):
        raise Blocked(f"{name} is {row.status}: it cannot be scheduled", fix="promote anew")
    other = work.deployments.of_promotion(row.id)
    if other is not None and not DeploymentStatus(other.status).is_terminal:
        raise Blocked(f"{name} is scheduled already, by deployment {other.id}", fix=f"wfops deploy cancel {other.id}")
    source, target = (work.fleet.environment(i) for i in (row.source_environment_id, row.target_environment_id))
    return row, source, target


def _time(context: Context, at: datetime | None) -> datetime:
    now = context.now()
    if at is None:
        return now
    check_time(at, now)
    return at.astimezone(UTC)


def _planned(context: Context, source: Row[Any], target: Row[Any], options: PromotionOptions,
             starts_at: datetime) -> DeploymentReport:
    return DeploymentReport(
        tenant=context.tenant_slug, source=source.slug, target=target.slug, status=str(DeploymentStatus.SCHEDULED),
        starts_at=starts_at.isoformat(), requested_by=context.actor, options=options.as_json(), dry_run=True)
