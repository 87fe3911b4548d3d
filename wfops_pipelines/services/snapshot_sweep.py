"""Snapshots of many environments at once: those that somebody names, and those that are due (§13, §24).

Environments run concurrently, bounded; each one's failure stays its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.errors import WfopsError
from wfops_pipelines.domain.snapshot import SnapshotKind
from wfops_pipelines.domain.snapshot_schedule import RETRY, snapshot_due
from wfops_pipelines.services.refresh import Target
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.snapshots import SnapshotReport, take_snapshot


@dataclass(frozen=True, slots=True)
class SnapshotOutcome:
    """One environment: its snapshot, or the error that stood in the way; neither where it was not due any more."""

    target: Target
    report: SnapshotReport | None = None
    error: WfopsError | None = None

    @property
    def was_due(self) -> bool:
        """Whether one was to be taken."""
        return self.report is not None or self.error is not None


Tell = Callable[[SnapshotOutcome], None]


def due_environments(services: Services) -> list[Row[Any]]:
    """The environments whose next scheduled snapshot is due, with ``tenant_slug``; without those that an operation holds
    right now: their turn comes at the next look, and without those of tenants that are paused."""
    now = services.now()
    with services.store.system() as system:
        rows = system.snapshot_schedule(now, failed_since=now - RETRY)
        busy = system.busy_environments(services.limits.lease_stale) if rows else set()
        pauses = system.pauses()
    return [row for row in rows if row.id not in busy and row.tenant_id not in pauses and snapshot_due(
        row.snapshot_hours, last_taken=row.last_taken, last_failed=row.last_failed, now=now)]


async def take_snapshots(services: Services, targets: Sequence[Target], *, kind: SnapshotKind = SnapshotKind.MANUAL_BACKUP,
                         name: str | None = None, tell: Tell = lambda _: None) -> list[SnapshotOutcome]:
    """A snapshot of every target; ``tell`` hears each outcome as it comes. Of kind ``scheduled`` only where it is due
    still: two sweeps that were asked for one after the other do not take two. An expected error (``WfopsError``) becomes
    an outcome; an unexpected one is raised after the others are done."""
    gate = asyncio.Semaphore(services.limits.sweep_concurrency)
    scheduled = kind is SnapshotKind.SCHEDULED
    due = {row.id for row in await asyncio.to_thread(due_environments, services)} if scheduled else set()

    async def one(target: Target) -> SnapshotOutcome:
        async with gate:
            outcome = SnapshotOutcome(target)
            if not scheduled or target.environment.id in due:
                outcome = await _one(services, target, kind, name)
        tell(outcome)
        return outcome

    found = await asyncio.gather(*(one(target) for target in targets), return_exceptions=True)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return [each for each in found if isinstance(each, SnapshotOutcome)]


async def _one(services: Services, target: Target, kind: SnapshotKind, name: str | None) -> SnapshotOutcome:
    try:
        report = await take_snapshot(services, target.context, target.environment, kind=kind, name=name)
    except WfopsError as error:
        return SnapshotOutcome(target, error=error)
    return SnapshotOutcome(target, report)
