"""Which environments a sweep looks at, and in which order (§9, §20): due times, and fairness between tenants.

When an environment is due follows from its last check and the interval alone, so there is nothing to keep in step: a check
by hand, a sweep that comes late and one that runs twice are all the same to it. Due times lie on a grid of the interval,
shifted for each environment by some seconds that are its own (:func:`phase_of`). Seconds everywhere.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeVar
from uuid import UUID

from wfops_pipelines.domain.chance import chance_of

T = TypeVar("T")

DAY = 86_400.0
_JITTER = 0.1  # of the interval, before and after
_LONGEST_JITTER = 30.0


class Done(StrEnum):
    """What a sweep did with an environment."""

    UNCHANGED = "unchanged"  # what was read last time still stands, byte for byte
    CHECKED = "checked"  # read and compared whole
    FAILED = "failed"  # could not be read
    BUSY = "skipped_busy"  # another operation holds it
    PAUSED = "skipped_paused"  # its tenant was paused while the sweep was under way
    CIRCUIT_OPEN = "circuit_open"  # it did not answer lately, and is left alone for now
    TAKEN = "skipped_taken"  # another sweep looks at it, or has just done so
    BROKEN = "broken"  # an error of ours


def jitter_of(interval: float) -> float:
    """How far due times lie from the interval's grid at most."""
    return min(interval * _JITTER, _LONGEST_JITTER)


def phase_of(environment_id: UUID, interval: float) -> float:
    """The environment's own shift of the grid."""
    return (2.0 * chance_of(str(environment_id)) - 1.0) * jitter_of(interval)


def next_due(last: datetime | None, *, interval: float, phase: float) -> datetime | None:
    """When the next check is due: the first time on the environment's grid that is half an interval or more after the last
    check. None if there was none: at once.

    A check that was late by less than half an interval does not shift the ones after it; one that was later leaves one out.
    """
    if last is None:
        return None
    earliest = last.timestamp() + interval / 2.0
    return datetime.fromtimestamp(math.ceil((earliest - phase) / interval) * interval + phase, UTC)


def is_due(last: datetime | None, now: datetime, *, interval: float, phase: float) -> bool:
    """Whether a sweep that starts now takes the environment along: due, or so soon that it is not worth another sweep. A
    last check from the future was made by a clock that was wrong, and does not count."""
    if last is not None and last > now + timedelta(seconds=interval):
        return True
    due = next_due(last, interval=interval, phase=phase)
    return due is None or due <= now + timedelta(seconds=jitter_of(interval))


def lag(last: datetime | None, now: datetime, *, interval: float, phase: float,
        since: Callable[[datetime], datetime] = lambda due: due) -> float:
    """Seconds that a check made now is behind its due time, or behind what ``since`` makes of that: the end of a pause."""
    due = next_due(last, interval=interval, phase=phase)
    return 0.0 if due is None else max(0.0, (now - since(due)).total_seconds())


def whole_check_due(environment_id: UUID, checked_at: datetime, now: datetime) -> bool:
    """Whether the environment is read and compared whole though nothing changed, once within each day, at its own time: so
    that what a partition shows in the UI is never older, and a mistake of ours heals."""
    shift = chance_of(f"{environment_id}/whole") * DAY
    return math.floor((now.timestamp() - shift) / DAY) != math.floor((checked_at.timestamp() - shift) / DAY)


def fair_order(items: Iterable[T], *, tenant: Callable[[T], Hashable], due: Callable[[T], datetime | None],
               turn: int = 4) -> list[T]:
    """Tenants in turn, up to ``turn`` environments each time, those that are due longest first; the tenant that waits
    longest begins. One with many environments delays the first ones of no other by more than a turn."""
    begin = datetime.min.replace(tzinfo=UTC)
    queues: dict[Hashable, list[T]] = {}
    for item in items:
        queues.setdefault(tenant(item), []).append(item)
    for queue in queues.values():
        queue.sort(key=lambda item: due(item) or begin)
    waiting = deque(deque(queue) for queue in sorted(queues.values(), key=lambda queue: due(queue[0]) or begin))
    ordered: list[T] = []
    while waiting:
        of_tenant = waiting.popleft()
        ordered += [of_tenant.popleft() for _ in range(min(turn, len(of_tenant)))]
        if of_tenant:
            waiting.append(of_tenant)
    return ordered
