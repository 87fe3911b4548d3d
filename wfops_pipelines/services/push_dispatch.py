"""From deliveries that were kept to runs that look at their branches: many pushes, few runs (§7, §20).

What waits for a run is what the store says waits, so whoever comes after a process that died goes on. An environment that a
queued run will look at anyway needs no other one: that run reads the branch as it is when it starts. So there are never
more than a run that works and one that waits for an environment, however many pushes there are. Which lanes there are, and
who goes into which, is :func:`domain.pushes.by_lane`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines import failpoints
from wfops_pipelines.domain import pushes
from wfops_pipelines.domain.errors import OutsideError, Paused
from wfops_pipelines.domain.pushes import Partition
from wfops_pipelines.services.refresh import Outcome, Part
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork

log = logging.getLogger("wfops.pushes")

ACTOR = "system:webhook"
LEFT_SECONDS = 15.0
AT_ONCE = 1000  # deliveries that are launched together


class RefreshQueue(Protocol):
    """Where refreshes are queued: Dagster's queue."""

    def runs(self) -> Sequence[pushes.RefreshRun]:
        """Those on account of pushes that have not ended."""
        ...

    def submit(self, partitions: Collection[Partition], *, lane: str) -> str:
        """Queue a refresh of partitions; the id of its run."""
        ...


@dataclass(frozen=True, slots=True)
class Dispatched:
    """What was launched: how many deliveries are looked after now, by which run each environment, and what the new runs look
    at."""

    deliveries: int = 0
    runs: Mapping[Partition, str] = field(default_factory=dict)
    launched: Mapping[str, frozenset[Partition]] = field(default_factory=dict)
    more: bool = False  # is waiting, for the next time


def dispatch(services: Services, queue: RefreshQueue, *, older_than: float = 0) -> Dispatched:
    """Launch what waits (for ``older_than`` seconds at least), as one run.

    Raises what the store and the queue raise; nothing is then lost, and what was launched may be launched once more.
    """
    began = services.now()
    left = _waiting(services, older_than)
    if not left.waits:
        return Dispatched()
    runs = queue.runs()
    covered = {partition: run_id for partition in left.partitions
               if (run_id := pushes.covering(partition, runs)) is not None}
    rest = left.partitions - set(covered)
    failpoints.reach("push.launch.before")
    lanes = pushes.by_lane(rest, runs, slow=in_trouble(services) if rest else ())
    launched = {queue.submit(partitions, lane=lane): partitions for lane, partitions in lanes.items()}
    failpoints.reach("push.launch.after")
    by_run = covered | {partition: run_id for run_id, partitions in launched.items() for partition in partitions}
    note_launched(services, left, by_run, began)
    return Dispatched(len(left.rows), by_run, launched, more=len(left.rows) >= AT_ONCE)


def in_trouble(services: Services) -> frozenset[Partition]:
    """Environments whose Git did not answer when it was last asked: they are waited for apart from the others."""
    with services.store.system() as system:
        return frozenset((row.tenant_slug, row.slug) for row in system.pushes.in_trouble())


@dataclass(frozen=True, slots=True)
class Left:
    """Deliveries that a receiver kept and launched nothing for (it died, or could not), environments whose refresh was
    refused by a pause that is over, and all that are to be refreshed for both."""

    rows: Sequence[Row[Any]]
    refused: Sequence[Row[Any]]
    partitions: frozenset[Partition]

    @property
    def waits(self) -> bool:
        """Whether there is anything."""
        return bool(self.rows or self.refused)


def left_behind(services: Services, *, older_than: float = LEFT_SECONDS) -> Left:
    """What a receiver that lives would have launched by now."""
    return _waiting(services, older_than)


def _waiting(services: Services, older_than: float) -> Left:
    before = services.now() - timedelta(seconds=older_than) if older_than else None
    with services.store.system() as system:
        waiting = system.pushes.waiting(before=before, limit=AT_ONCE)
        refused = system.pushes.refused(before=before)
        there = {(row.tenant_slug, row.slug) for row in system.environments()} if waiting else set()
    pushed = {(row.tenant_slug, slug) for row in waiting for slug in row.environments} & there
    return Left(waiting, refused, frozenset(pushed | {(row.tenant_slug, row.slug) for row in refused}))


def note_branches(services: Services, outcomes: Sequence[Outcome]) -> None:
    """Note which branches a run could read and which not: pushes to those that it could not keep no others waiting. A look
    at the head (:mod:`repository_poll`) says less: a server may tell that and hold on to whoever fetches."""
    by_tenant: dict[UUID, list[Outcome]] = {}
    for outcome in outcomes:
        asked = outcome.error is None or isinstance(outcome.error, OutsideError)
        if outcome.part is Part.REPOSITORY and asked and outcome.target.environment.repository_id is not None:
            by_tenant.setdefault(outcome.target.context.tenant_id, []).append(outcome)
    for ones in by_tenant.values():
        context = ones[0].target.context
        with services.store.bookkeeping(context, "branches.noted") as work:
            repositories = work.fleet.repositories()
            for one in ones:
                row = one.target.environment
                branch = row.branch or repositories[row.repository_id].branch
                if one.error is None:
                    work.pushes.was_read(row.repository_id, branch)
                else:
                    work.pushes.could_not_read(row.repository_id, branch, context.now())


def hand_back(services: Services, outcomes: Sequence[Outcome]) -> None:
    """What a pause refused, nobody looked at: it waits for the end of that, and is launched then, whoever had asked for it
    (§20)."""
    refused: dict[UUID, list[Outcome]] = {}
    for outcome in outcomes:
        if isinstance(outcome.error, Paused):
            refused.setdefault(outcome.target.context.tenant_id, []).append(outcome)
    for ones in refused.values():
        context = ones[0].target.context
        with services.store.bookkeeping(context, "push.handed_back") as work:
            work.pushes.refused({one.target.environment.id for one in ones}, context.now())


def note_launched(services: Services, left: Left, runs: Mapping[Partition, str], began: datetime) -> None:
    """Note that runs look after what waited, tenant by tenant. ``began`` is before they were launched."""
    by_tenant: dict[tuple[UUID, str], tuple[list[Row[Any]], list[Row[Any]]]] = {}
    for row in left.rows:
        by_tenant.setdefault((row.tenant_id, row.tenant_slug), ([], []))[0].append(row)
    for row in left.refused:
        by_tenant.setdefault((row.tenant_id, row.tenant_slug), ([], []))[1].append(row)
    for (tenant_id, slug), (rows, refused) in by_tenant.items():
        context = services.context_of(tenant_id, slug, ACTOR)
        with services.store.bookkeeping(context, "push.launched") as work:
            _note_deliveries(work, rows, runs, began)
            for row in refused:
                work.pushes.asked_again([row.id], now=began, run_id=runs.get((slug, row.slug)))


def _note_deliveries(work: UnitOfWork, rows: Sequence[Row[Any]], runs: Mapping[Partition, str], began: datetime) -> None:
    asked: dict[str | None, dict[UUID, str | None]] = {}
    ids = {row.slug: row.id for row in work.fleet.environments()} if rows else {}
    done: dict[str | None, list[UUID]] = {}
    for row in rows:
        own = (runs.get((row.tenant_slug, slug)) for slug in row.environments)
        done.setdefault(next(filter(None, own), None), []).append(row.id)
        for slug in row.environments:
            if slug in ids:
                asked.setdefault(runs.get((row.tenant_slug, slug)), {})[ids[slug]] = row.after_commit
    for run_id, deliveries in done.items():
        work.pushes.launched(deliveries, run_id, work.context.now())
    for run_id, heads in asked.items():
        work.pushes.ask(heads, by="webhook", now=began, run_id=run_id)
