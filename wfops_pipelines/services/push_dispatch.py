"""From deliveries that were kept to runs that look at their branches: many pushes, few runs (§7, §20).

What waits for a run is what the store says waits, so whoever comes after a process that died goes on. An environment that a
queued run will look at anyway needs no other one: that run reads the branch as it is when it starts. So there are never
more than a run that works and one that waits for an environment, however many pushes there are.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines import failpoints
from wfops_pipelines.domain import pushes
from wfops_pipelines.domain.pushes import Partition
from wfops_pipelines.services.services import Services

log = logging.getLogger("wfops.pushes")

ACTOR = "system:webhook"
LEFT_SECONDS = 15.0
_AT_ONCE = 1000


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
    """What was launched: how many deliveries are looked after now, by which new run, for which partitions."""

    deliveries: int = 0
    run_id: str | None = None
    partitions: frozenset[Partition] = frozenset()
    covered: frozenset[Partition] = frozenset()  # by a run that was queued already


def dispatch(services: Services, queue: RefreshQueue, *, older_than: float = 0) -> Dispatched:
    """Launch what waits (for ``older_than`` seconds at least), as one run.

    Raises what the store and the queue raise; nothing is then lost, and what was launched may be launched once more.
    """
    left = _waiting(services, older_than)
    if not left.rows:
        return Dispatched()
    runs = queue.runs()
    covered = {partition: run_id for partition in left.partitions
               if (run_id := pushes.covering(partition, runs)) is not None}
    rest = left.partitions - set(covered)
    failpoints.reach("push.launch.before")
    run_id = queue.submit(rest, lane=pushes.lane_for(rest, runs)) if rest else None
    failpoints.reach("push.launch.after")
    note_launched(services, left.rows, {**covered, **dict.fromkeys(rest, run_id)})
    return Dispatched(len(left.rows), run_id, rest, frozenset(covered))


@dataclass(frozen=True, slots=True)
class Left:
    """Deliveries that a receiver kept and launched nothing for: it died, or could not."""

    rows: Sequence[Row[Any]]
    partitions: frozenset[Partition]


def left_behind(services: Services, *, older_than: float = LEFT_SECONDS) -> Left:
    """What a receiver that lives would have launched by now."""
    return _waiting(services, older_than)


def _waiting(services: Services, older_than: float) -> Left:
    before = services.now() - timedelta(seconds=older_than) if older_than else None
    with services.store.system() as system:
        waiting = system.pushes.waiting(before=before, limit=_AT_ONCE)
        there = {(row.tenant_slug, row.slug) for row in system.environments()} if waiting else set()
    return Left(waiting, frozenset({(row.tenant_slug, slug) for row in waiting for slug in row.environments} & there))


def note_launched(services: Services, waiting: Sequence[Row[Any]], runs: Mapping[Partition, str | None]) -> None:
    """Note that runs look after deliveries, tenant by tenant."""
    by_tenant: dict[UUID, list[Row[Any]]] = {}
    for row in waiting:
        by_tenant.setdefault(row.tenant_id, []).append(row)
    for tenant_id, rows in by_tenant.items():
        context = services.context_of(tenant_id, rows[0].tenant_slug, ACTOR)
        asked: dict[str | None, dict[UUID, str | None]] = {}
        with services.store.bookkeeping(context, "push.launched") as work:
            ids = {row.slug: row.id for row in work.fleet.environments()}
            done: dict[str | None, list[UUID]] = {}
            for row in rows:
                own = [runs.get((context.tenant_slug, slug)) for slug in row.environments]
                done.setdefault(own[0] if own else None, []).append(row.id)
                for slug, run_id in zip(row.environments, own, strict=True):
                    if slug in ids:
                        asked.setdefault(run_id, {})[ids[slug]] = row.after_commit
            for run_id, deliveries in done.items():
                work.pushes.launched(deliveries, run_id, context.now())
            for run_id, heads in asked.items():
                work.pushes.ask(heads, by="webhook", now=context.now(), run_id=run_id)
