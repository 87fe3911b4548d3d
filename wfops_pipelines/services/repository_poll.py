"""The poll (§7, §24): the safety net under webhooks. One cheap request per repository and branch, each at its own time.

When a branch is due stands in the store, so a restart does not look at all of them at once, and a late tick does not look
twice. A look ends after ``limits.poll_patience``; a tick waits for less, and what is not answered by then is noted by
whoever waits for it. What hangs takes a few threads and no more, whether it is one host or one tenant's many; a branch that
cannot be read is looked at more and more seldom, and all of these together leave half of the threads to the others.

Which environments are to be refreshed is read from the store alone: a look that is newer than the environment's last
repository sync, and says another commit. Tenants share nothing here, not even an answer about the same URL.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines import calls, failpoints
from wfops_pipelines.domain import pushes
from wfops_pipelines.domain.errors import Broken, StoreError, WfopsError
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.sync_repository import LOOK_AGAIN
from wfops_pipelines.store.tables.base import storable
from wfops_pipelines.unwaited import call_unwaited

log = logging.getLogger("wfops.pushes")

ACTOR = "system:repository_poll"
THREADS = 32
PER_TENANT = 4  # looks at once; repositories of one tenant that hang leave the others threads, on whatever hosts they are
PER_HOST = 8  # looks at once; a host that hangs leaves the other threads free, and no tenant takes a host from the others
TICK_SECONDS = 20.0  # that a tick waits for answers; Dagster gives a sensor 60
_FREE_POLL = 0.05  # seconds between two looks whether a host is free: another tick's looks tell us nothing

_LATEST = 1.5  # times the interval, or the backoff, a look comes at most: what is later, a clock computed that was wrong
_SKEW = timedelta(minutes=10)  # between clocks of hosts; what is later than that has not happened yet

BranchKey = tuple[UUID, UUID, str]
Place = tuple[str, Hashable]


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch that is read, with one of the environments that read it."""

    environment: Row[Any]

    @property
    def key(self) -> BranchKey:
        """Tenant, repository and branch."""
        return (self.environment.tenant_id, self.environment.repository_id, self.environment.branch)

    @property
    def name(self) -> str:
        """What its place in the interval is computed from."""
        return f"{self.environment.repository_id}/{self.environment.branch}"

    @property
    def host(self) -> str:
        """Who answers; a disk is one, too."""
        return pushes.remote_host(self.environment.url, self.environment.api_url)

    @property
    def failed(self) -> bool:
        """Whether it could not be read when it was last looked at, and so may well hang."""
        return bool(self.environment.failures)

    def due(self, now: datetime, interval: float) -> bool:
        """Whether it is to be looked at; at once when it never was, or when its time is later than it can be."""
        at, failures = self.environment.next_look_at, self.environment.failures
        longest = max(interval, pushes.LONGEST_BACKOFF if failures else pushes.LONGEST_INTERVAL)
        return at is None or at <= now or at > now + timedelta(seconds=_LATEST * longest)


@dataclass(frozen=True, slots=True)
class Moved:
    """An environment whose branch stands elsewhere than at its last sync; ``head`` is none when the branch is gone.
    ``again``: a refresh for this head came to nothing."""

    tenant_id: UUID
    tenant: str
    environment_id: UUID
    environment: str
    head: str | None
    again: bool = False


@dataclass(slots=True)
class Poll:
    """A tick: how many branches there are, were due, answered, failed; who is to be refreshed, and what went wrong."""

    branches: int = 0
    due: int = 0
    looked: int = 0
    unanswered: int = 0
    interval: float = 0.0
    moved: list[Moved] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class RepositoryPoll:
    """Looks at branches, in ``threads`` at once. ``shortest`` is the interval for a few. Looks that are under way when a
    tick's time is over go on, and count at the ticks after it."""

    def __init__(self, services: Services, *, shortest: float, threads: int = THREADS) -> None:
        self._services = services
        self._shortest = shortest
        self._threads = threads
        self._flying: dict[BranchKey, Future[str | None]] = {}
        self._taken: Counter[Place] = Counter()
        self._taken_by_failed: Counter[Place] = Counter()
        self._lock = threading.Lock()

    def tick(self, *, seconds: float = TICK_SECONDS) -> Poll:
        """Look at what is due, for so long at most, and say who is to be refreshed. Raises what the store raises."""
        under_way = self._under_way()  # before the rows are read: what lands meanwhile is noted in none of them
        rows = self._watched()
        branches = list({branch.key: branch for branch in map(Branch, rows)}.values())
        poll = Poll(branches=len(branches), interval=pushes.poll_interval(len(branches), self._shortest))
        now = self._services.now()
        due = [branch for branch in _in_turns(branches) if branch.due(now, poll.interval) and branch.key not in under_way]
        poll.due = len(due)
        if due:
            self._look_at(due, poll, time.monotonic() + seconds)
            rows = self._watched()
        poll.moved = list(_moved(rows, self._services.now()))
        return poll

    def note_asked(self, moved: Sequence[Moved], run_id: str | None = None) -> None:
        """Note that refreshes of these environments were asked for, tenant by tenant."""
        by_tenant: dict[UUID, list[Moved]] = {}
        for one in moved:
            by_tenant.setdefault(one.tenant_id, []).append(one)
        for tenant_id, ones in by_tenant.items():
            context = self._services.context_of(tenant_id, ones[0].tenant, ACTOR)
            with self._services.store.bookkeeping(context, "poll.asked") as work:
                work.pushes.ask({one.environment_id: one.head for one in ones}, by="poll", now=context.now(), run_id=run_id)

    def _watched(self) -> list[Row[Any]]:
        """What may be looked at: of tenants that are paused, nothing."""
        with self._services.store.system() as system:
            pauses = system.pauses()
            return [row for row in system.pushes.watched() if row.tenant_id not in pauses]

    def _under_way(self) -> set[BranchKey]:
        with self._lock:
            return set(self._flying)

    def _look_at(self, due: list[Branch], poll: Poll, deadline: float) -> None:
        """Begin looks while threads, hosts and time allow; what could not be begun stays due."""
        mine: set[Future[str | None]] = set()
        waiting = list(due)
        while (waiting or mine) and time.monotonic() < deadline:
            waiting = [branch for branch in waiting if not self._begin(branch, poll.interval, mine)]
            if not mine:  # others' hosts are taken by looks of an earlier tick
                time.sleep(min(_FREE_POLL, max(0.0, deadline - time.monotonic())))
                continue
            done, mine = wait(mine, timeout=max(0.0, deadline - time.monotonic()), return_when=FIRST_COMPLETED)
            for future in done:
                poll.looked += 1
                error = future.result()
                if error is not None:
                    poll.errors.append(error)
        poll.unanswered = len(mine) + len(waiting)

    def _begin(self, branch: Branch, interval: float, mine: set[Future[str | None]]) -> bool:
        places = self._places(branch)
        with self._lock:
            if not all(self._is_free(place, most, branch) for place, most in places.items()):
                return False
            future = call_unwaited(self._look_and_land, branch, interval)  # it lands under the lock, and so after this
            self._taken.update(places.keys())
            if branch.failed:
                self._taken_by_failed.update(places.keys())
            self._flying[branch.key] = future
        mine.add(future)
        return True

    def _look_and_land(self, branch: Branch, interval: float) -> str | None:
        """One look; whoever waits for it finds its places free. What the store does not take of one branch leaves that due,
        and is no end of the others' looks."""
        try:
            return self._look(branch, interval)
        except StoreError as error:
            if not error.of_data:
                raise
            return f"{branch.environment.tenant_slug}/{branch.environment.slug}: the look could not be noted: {error}"
        finally:
            self._land(branch)

    def _land(self, branch: Branch) -> None:
        with self._lock:
            self._flying.pop(branch.key, None)
            self._taken.subtract(self._places(branch).keys())
            if branch.failed:
                self._taken_by_failed.subtract(self._places(branch).keys())

    def _places(self, branch: Branch) -> dict[Place, int]:
        """What a look at a branch takes one place of, and how many places each has."""
        return {("threads", None): self._threads, ("host", branch.host): PER_HOST,
                ("tenant", branch.environment.tenant_id): PER_TENANT}

    def _is_free(self, place: Place, most: int, branch: Branch) -> bool:
        """Whether there is a place for the branch; to those that failed half of them are enough."""
        return self._taken[place] < most and not (branch.failed and self._taken_by_failed[place] >= max(1, most // 2))

    def _look(self, branch: Branch, interval: float) -> str | None:
        """One look, noted; what stood in its way, for the log. Runs in a thread of its own."""
        services, row = self._services, branch.environment
        calls.end_by(time.monotonic() + services.limits.poll_patience)
        context = services.context_of(row.tenant_id, row.tenant_slug, ACTOR)
        began = services.now()  # an answer is as old as its question
        try:
            head, error = services.head_of(context, row), None
        except failpoints.FailpointReached:
            raise
        except Exception as raised:
            head, error = None, _of_the_branch(raised, branch)
        failpoints.reach("poll.look.answered")
        with services.store.bookkeeping(context, "poll.look", flush=False) as work:
            known = work.pushes.head(row.repository_id, row.branch)
            now = services.now()
            if error is None:
                since = known.moved_at if known is not None and known.looked_at is not None and known.head == head else now
                work.pushes.save_head(
                    row.repository_id, row.branch, head=head, moved_at=since, looked_at=began,
                    next_look_at=pushes.next_look(now, branch.name, interval), failures=0, failing_since=None, error=None)
                return None
            failures = (known.failures if known is not None else 0) + 1
            work.pushes.save_head(
                row.repository_id, row.branch, failures=failures, error=storable(f"{error.kind}: {error}"),
                failing_since=known.failing_since if known is not None and known.failing_since else now,
                next_look_at=pushes.next_attempt(now, branch.name, failures, interval))
            return f"{row.tenant_slug}/{row.slug}: {error} ({failures} in a row)"


def _of_the_branch(raised: Exception, branch: Branch) -> WfopsError:
    """What stands in the way of one branch, and keeps nobody from looking at the others; raises what concerns all."""
    if isinstance(raised, StoreError) and not raised.of_data:
        raise raised
    if isinstance(raised, WfopsError):
        return raised
    log.error("the head of %s could not be read", branch.name, exc_info=raised)
    return Broken.by(raised)


def _in_turns(branches: Sequence[Branch]) -> Iterator[Branch]:
    """One of each tenant after the other, those first that have waited longest: a tenant with many is no tenant's wait."""
    tenants: dict[UUID, list[Branch]] = {}
    for branch in sorted(branches, key=lambda b: (b.environment.next_look_at is not None, b.environment.next_look_at)):
        tenants.setdefault(branch.environment.tenant_id, []).append(branch)
    for turn in zip_longest(*tenants.values()):
        yield from (branch for branch in turn if branch is not None)


def _moved(rows: Sequence[Row[Any]], now: datetime) -> Iterator[Moved]:
    def happened(at: datetime | None) -> bool:
        return at is not None and at <= now + _SKEW

    for row in rows:
        if not happened(row.looked_at) or (happened(row.git_synced_at) and row.git_synced_at >= row.looked_at):
            continue  # nothing is known, or an older look than what the environment was read at
        asked = pushes.Asked(row.asked_head, row.asked_at, row.attempts) if happened(row.asked_at) else None
        if pushes.wants_refresh(now, head=row.head, commit=row.git_commit, gone_known=row.git_version == LOOK_AGAIN,
                                asked=asked):
            yield Moved(row.tenant_id, row.tenant_slug, row.id, row.slug, row.head,
                        again=asked is not None and asked.head == row.head)
