"""One deployment to many tenants, in waves, which stop on failure (§12).

A member of a batch is a deployment of one tenant, and each member's row holds the whole of the waves. What the batch does
next follows from its members' statuses alone (:func:`move_batches`, asked every few seconds), so that it resumes after
anything. Members are made from the last wave to the first: while the first is not there nothing begins, and a batch that
was never asked for completely is called off.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.deployment import DeploymentEvent, DeploymentStatus, check_time
from wfops_pipelines.domain.deployment_batch import BatchStatus, Waves, plan_waves
from wfops_pipelines.domain.errors import Blocked, ForbiddenTransition, UnknownEnvironment, UsageError, WfopsError
from wfops_pipelines.services.deployment_reports import Batch, BatchReport, batch_report, read_batch
from wfops_pipelines.services.deployments import add, check_stage, find, step
from wfops_pipelines.services.promotion_options import PromotionOptions
from wfops_pipelines.services.services import Services

log = logging.getLogger("wfops.deployments")

HALF_MADE: Final = timedelta(minutes=10)
"""After so long a batch that is not whole is called off: whoever asked for it died over it."""


@dataclass(frozen=True, slots=True)
class BatchTemplate:
    """What every tenant of a batch gets: from which environment to which (slugs), and the promotion's options. The first
    wave has ``first`` members, each later one ``then`` (none: all the rest); ``tolerated`` failures stop nothing."""

    source: str
    target: str
    options: PromotionOptions = field(default_factory=PromotionOptions)
    first: int = 1
    then: int | None = None
    tolerated: int = 0


@dataclass(frozen=True)
class _Member:
    context: Context
    source: Row[Any]
    target: Row[Any]


def schedule_batch(services: Services, tenants: Sequence[str] | None, template: BatchTemplate, *, actor: str,
                   at: datetime | None = None, dry_run: bool = False) -> BatchReport:
    """Deploy to many tenants, in their order; ``None`` are all that have both environments. The first wave starts at
    ``at``, or at once, each later one when all of the wave before it ended well.

    Nothing is scheduled unless every tenant can be: :class:`UsageError` and :class:`Blocked` name those that cannot.
    """
    now = services.now()
    if at is not None:
        check_time(at, now)
    starts_at = now if at is None else at.astimezone(UTC)
    if template.source == template.target:
        raise UsageError("source and target are one environment", fix="deploy to another one")
    if template.tolerated < 0:
        raise UsageError("a number of failures is not negative", fix="give 0 or more")
    members, left_out = _members(services, tenants, template, actor)
    waves = plan_waves(list(members), first=template.first, then=template.then)
    _check(services, members, template, starts_at)
    notes = [f"left out, for want of {template.source} or {template.target}: {', '.join(left_out)}"] if left_out else []
    if dry_run:
        return BatchReport(
            source=template.source, target=template.target, status=str(BatchStatus.RUNNING), dry_run=True, notes=notes,
            starts_at=starts_at.isoformat(), requested_by=actor, tolerated=template.tolerated,
            waves=[[{"tenant": key, "status": str(DeploymentStatus.PENDING)} for key in wave] for wave in waves])
    batch_id = services.new_id()
    _make(services, batch_id, members, waves, template, starts_at)
    move_batch(services, batch_id, actor=actor)
    report = batch_report(services, batch_id)
    report.notes += notes
    return report


def cancel_batch(services: Services, batch_id: UUID, *, actor: str, reason: str | None = None,
                 dry_run: bool = False) -> BatchReport:
    """Call off every member that has not begun; what runs is let to its end. :class:`Blocked` when there is none."""
    batch = read_batch(services, batch_id)
    open_ones = [row for key, row in batch.members.items()
                 if not batch.statuses[key].is_terminal and row.status != DeploymentStatus.RUNNING]
    if not open_ones:
        raise Blocked(f"nothing is left to cancel of batch {batch_id}", fix=f"`wfops deploy show {batch_id}` tells why")
    if dry_run:
        report = batch_report(services, batch_id)
        report.dry_run = True
        report.notes.append(f"would be cancelled: {', '.join(row.batch_member for row in open_ones)}")
        return report
    for row in sorted(open_ones, key=lambda each: -each.wave):  # from the end: nothing begins meanwhile
        _move(services, row, DeploymentEvent.CANCEL, actor=actor, reason=reason or f"cancelled by {actor}, with its batch")
    return batch_report(services, batch_id)


def move_batches(services: Services, *, actor: str) -> list[str]:
    """Let every batch take its next step; what was done, in words. One that cannot is no reason to stop the others."""
    done = []
    with services.store.system() as system:
        batches = system.open_batches()
    for batch_id in batches:
        try:
            done += move_batch(services, batch_id, actor=actor)
        except WfopsError as error:
            log.info("batch %s did not move: %s", batch_id, error, extra={"error": error.kind})
    return done


def move_batch(services: Services, batch_id: UUID, *, actor: str) -> list[str]:
    """Start what may begin now, or cancel what may not any more; in words."""
    batch = read_batch(services, batch_id)
    if not batch.is_whole:
        return _give_up(services, batch, actor)
    todo = batch.next_step()
    done = []
    for key in todo.start:
        if _move(services, batch.members[key], DeploymentEvent.SCHEDULE, actor=actor):
            done.append(f"{key}: scheduled")
    failed = ", ".join(key for key, status in batch.statuses.items() if status is DeploymentStatus.FAILED)
    for key in todo.cancel:
        why = f"the batch stopped: {failed} failed"
        if _move(services, batch.members[key], DeploymentEvent.CANCEL, actor=actor, reason=why):
            done.append(f"{key}: cancelled, the batch stopped")
    return done


def _give_up(services: Services, batch: Batch, actor: str) -> list[str]:
    if services.now() - max(row.requested_at for row in batch.members.values()) < HALF_MADE:
        return []
    return [f"{key}: cancelled" for key, row in batch.members.items() if _move(
        services, row, DeploymentEvent.CANCEL, actor=actor, reason="the batch was not asked for completely")]


def _move(services: Services, row: Row[Any], event: DeploymentEvent, *, actor: str, reason: str | None = None) -> bool:
    """One step of a member; false where somebody else was faster, or its tenant was deleted."""
    if row.tenant_deleted_at is not None:
        return False
    context = services.context(row.tenant_slug, actor=actor)
    try:
        with services.store.unit_of_work(context, "deployment.batch") as work:
            now = context.now()
            late = {"starts_at": max(row.starts_at, now)} if event is DeploymentEvent.SCHEDULE else {}
            step(work, find(work, row.id, lock=True), event, reason=reason, **late)
    except ForbiddenTransition:
        return False
    return True


# -- asking for one ----------------------------------------------------------------------------------------------------


def _members(services: Services, tenants: Sequence[str] | None, template: BatchTemplate,
             actor: str) -> tuple[dict[str, _Member], list[str]]:
    """The tenants' environments, by slug, and which of all tenants have them not."""
    if tenants is None:
        with services.store.system() as system:
            wanted = [row.slug for row in system.tenants()]
    else:
        wanted = list(tenants)
        plan_waves(wanted)  # names those that are given twice
    members: dict[str, _Member] = {}
    left_out: list[str] = []
    for slug in wanted:
        context = services.context(slug, actor=actor)
        try:
            source, target = services.environments(context, [template.source, template.target])
        except UnknownEnvironment:
            if tenants is not None:
                raise
            left_out.append(slug)
        else:
            members[slug] = _Member(context, source, target)
    if not members:
        raise UsageError(f"no tenant has both {template.source} and {template.target}",
                         fix="`wfops environments TENANT` names those of one")
    return members, left_out


def _check(services: Services, members: dict[str, _Member], template: BatchTemplate, starts_at: datetime) -> None:
    """Pass when a promotion may be begun for every tenant; else all that cannot are told at once."""
    problems: list[tuple[str, WfopsError]] = []
    for slug, member in members.items():
        try:
            with services.store.read(member.context) as work:
                check_stage(work, member.source, member.target, template.options, starts_at)
        except (UsageError, Blocked) as error:
            problems.append((slug, error))
    if problems:
        kind = Blocked if all(isinstance(error, Blocked) for _, error in problems) else UsageError
        raise kind("; ".join(f"{slug}: {error.message}" for slug, error in problems),
                   fix="; ".join(dict.fromkeys(error.fix for _, error in problems if error.fix)) or None)


def _make(services: Services, batch_id: UUID, members: dict[str, _Member], waves: Waves, template: BatchTemplate,
          starts_at: datetime) -> None:
    planned = {"waves": [list(wave) for wave in waves], "tolerated": template.tolerated}
    for number, wave in reversed(list(enumerate(waves, 1))):
        for key in wave:
            member = members[key]
            with services.store.unit_of_work(member.context, "deployment.member") as work:
                add(work, member.context.new_id(), member.source, member.target, template.options, starts_at,
                    batch_id=batch_id, wave=number, batch_member=key, batch_waves=planned)
