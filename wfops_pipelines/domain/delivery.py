"""When and in which order messages go out (§16): quiet hours, retries, order per incident, digests.

In words:

1. Messages to one target about one subject (an incident) are a *lane* and go out in the order they were written. One
   that fails and will be tried again holds the lane up; a dead one does not.
2. A message that failed is tried again with growing pauses, and is *dead* after the last attempt or a permanent failure.
3. Quiet hours put a message off until they end. A critical one passes through them if the target says so; what waits
   before it in its lane for no other reason than quiet hours then goes out before it, so that the story stays in order.
4. Where many messages wait for one target at once (after quiet hours, after an outage) they go out as one digest.
   A target that wants digests gets what comes up within so many minutes as one message; critical ones go at once.
5. What was tried as one message is tried again as that same message, with its key: the receiver may have it already.

Nothing here knows the time or draws lots: both are arguments.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.domain.incident import Severity

_EVERY_DAY: Final = frozenset(range(7))
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MAX_DIGEST: Final = 50  # so that each one's title is in it
_MANY: Final = 5  # what quiet hours held back is one message from so many on


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From ``start`` to ``end`` on the wall clock of ``zone`` (an IANA name). An ``end`` that is not after ``start`` is
    that of the next day. ``days`` are the days on which they begin (0 is Monday), ``whole_days`` those that are quiet
    from midnight to midnight beside that. Raises :class:`UsageError` for an unknown zone, and for hours that never end.
    """

    start: time
    end: time
    zone: str = "UTC"
    days: frozenset[int] = _EVERY_DAY
    whole_days: frozenset[int] = frozenset()
    critical_passes: bool = True

    def __post_init__(self) -> None:
        _zone(self.zone)
        if not (self.days | self.whole_days) <= _EVERY_DAY:
            raise UsageError("quiet hours: days are numbers from 0 (Monday) to 6 (Sunday)")
        if self.start.tzinfo is not None or self.end.tzinfo is not None:
            raise UsageError("quiet hours: start and end are wall clock times without an offset", fix="set the zone instead")
        if self._never_end():
            raise UsageError("quiet hours: they would never end", fix="let them end before they begin again")

    def _never_end(self) -> bool:
        """Seven whole days; or whole days and spans that leave no gap (checked on a week without a change of clocks)."""
        minute = timedelta(minutes=1)
        begin = datetime(2024, 1, 1, tzinfo=UTC)  # a Monday
        fixed = [(low, high) for day in range(-1, 9) for low, high in self._spans(begin.date() + timedelta(days=day), UTC)]
        at = begin
        while at < begin + timedelta(days=7):
            ends = [high for low, high in fixed if low <= at < high]
            if not ends:
                return False
            at = max(*ends, at + minute)
        return True

    def until(self, now: datetime) -> datetime | None:
        """When the quiet hours that ``now`` lies in end, in UTC, those that follow without a gap included; ``None`` when
        it lies in none."""
        zone, at = _zone(self.zone), now.astimezone(UTC)
        found: datetime | None = None
        for _ in range(32):  # a week has at most 14 spans; a change of clocks may add some
            day = at.astimezone(zone).date()
            spans = [span for offset in (-2, -1, 0, 1) for span in self._spans(day + timedelta(days=offset), zone)]
            ends = [high for low, high in spans if low <= at < high]
            if not ends:
                break
            found = at = max(ends)
        return found

    def deliver_at(self, now: datetime, severity: Severity = Severity.LOW) -> datetime:
        """When a message may go out at the earliest: ``now`` itself (in UTC), or the end of the quiet hours."""
        if self.critical_passes and severity is Severity.CRITICAL:
            return now.astimezone(UTC)
        return self.until(now) or now.astimezone(UTC)

    def _spans(self, day: date, zone: tzinfo) -> list[tuple[datetime, datetime]]:
        """The quiet spans that begin on a day, in UTC. A time that the clocks skip is the instant they would show it at
        had they not been changed."""
        def instant(when: date, at: time) -> datetime:
            return datetime.combine(when, at, tzinfo=zone).astimezone(UTC)

        spans = []
        if day.weekday() in self.days:
            last = day if self.end > self.start else day + timedelta(days=1)
            spans.append((instant(day, self.start), instant(last, self.end)))
        if day.weekday() in self.whole_days:
            spans.append((instant(day, time.min), instant(day + timedelta(days=1), time.min)))
        return spans


@dataclass(frozen=True, slots=True)
class Timing:
    """When a target wants its messages: ``quiet`` hours, and a ``digest`` of so much time (zero: each by itself)."""

    quiet: QuietHours | None = None
    digest: timedelta = timedelta(0)

    def urgent(self, severity: Severity) -> bool:
        """Whether a message waits for nothing."""
        return severity is Severity.CRITICAL and (self.quiet is None or self.quiet.critical_passes)

    def not_before(self, now: datetime, severity: Severity) -> datetime:
        """When a message that is written now may go out at the earliest, in UTC. Digests end at multiples of their time
        since the epoch, so that whoever writes one needs to know of no other."""
        at = now.astimezone(UTC)
        if self.digest and severity is not Severity.CRITICAL:
            at += self.digest - (at - _EPOCH) % self.digest
        return at if self.quiet is None else self.quiet.deliver_at(at, severity)

    def digest_from(self) -> int | None:
        """From how many waiting messages on they go out as one."""
        if self.digest:
            return 2
        return _MANY if self.quiet is not None else None


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between attempts: ``first``, then ``factor`` times the one before, never above ``cap``. After
    ``max_attempts`` a message is dead. The defaults try for about six hours."""

    first: timedelta = timedelta(seconds=30)
    factor: float = 2.0
    cap: timedelta = timedelta(hours=1)
    max_attempts: int = 12

    def pause(self, attempts: int, jitter: float) -> timedelta:
        """The pause after ``attempts`` failed attempts (1 or more). ``jitter`` from 0 to 1 takes up to half of it away, so
        that what failed together is not tried again together."""
        growth = min(self.factor ** min(attempts - 1, 64), self.cap / self.first)
        return min(self.first * growth, self.cap) * (1 - 0.5 * min(max(jitter, 0.0), 1.0))

    def retry_at(self, attempts: int, now: datetime, *, transient: bool, jitter: float,
                 not_before: datetime | None = None) -> datetime | None:
        """When to try again after an attempt that failed, the ``attempts``-th; ``None``: it is dead. ``not_before`` is
        what the receiver asked for (Retry-After), as far as the cap allows."""
        if not transient or attempts >= self.max_attempts:
            return None
        at = now + self.pause(attempts, jitter)
        return at if not_before is None else max(at, min(not_before, now + self.cap))


class EntryStatus(StrEnum):
    """Where a message is; the words are the outbox's."""

    PENDING = "pending"
    SENT = "sent"
    DEAD = "dead"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Entry:
    """A message of the outbox. ``sequence`` is the order of writing; ``claimed_until`` says that somebody is sending it;
    ``urgent`` that it passes through quiet hours; ``together`` is equal for those that were tried as one message."""

    id: UUID
    sequence: int
    target: str
    subject: str
    not_before: datetime
    status: EntryStatus = EntryStatus.PENDING
    attempts: int = 0
    claimed_until: datetime | None = None
    urgent: bool = False
    together: UUID | None = None

    @property
    def lane(self) -> tuple[str, str]:
        """Target and subject."""
        return self.target, self.subject


def sendable(queue: Iterable[Entry], now: datetime) -> tuple[Entry, ...]:
    """The messages that may be sent now, in order of writing: of each lane the first that is neither sent nor dead, if
    it is due and nobody is sending it."""
    return tuple(ready[0] for ready in _ready(queue, now))


def next_to_send(queue: Iterable[Entry], now: datetime) -> Entry | None:
    """The one to send next: the oldest of :func:`sendable`."""
    return next(iter(sendable(queue, now)), None)


def batches(queue: Iterable[Entry], now: datetime, *, digest_from: int | None = None) -> tuple[tuple[Entry, ...], ...]:
    """What may be sent now, each batch as one message: alone, or as a digest where at least ``digest_from`` messages may
    go to one target, following ones of a lane included. No digest without ``digest_from``, none of more than
    :data:`MAX_DIGEST`. What was tried together goes together again, and alone with its like."""
    entries = list(queue)
    tried: dict[UUID, set[UUID]] = {}
    for entry in entries:
        if entry.together is not None and entry.status is EntryStatus.PENDING:
            tried.setdefault(entry.together, set()).add(entry.id)
    by_target: dict[str, list[list[Entry]]] = {}
    again: dict[UUID, list[Entry]] = {}
    for ready in _ready(entries, now):
        like = next(list(some) for _, some in groupby(ready, key=attrgetter("together")))
        if like[0].together is None:
            by_target.setdefault(like[0].target, []).append(like)
        else:
            again.setdefault(like[0].together, []).extend(like)
    found = [_in_order(batch) for key, batch in again.items() if {entry.id for entry in batch} == tried[key]]
    for lanes in by_target.values():
        together = _in_order(entry for lane in lanes for entry in lane)
        if digest_from is not None and len(together) >= max(digest_from, 2):
            found.append(together[:MAX_DIGEST])
        else:
            found += [(lane[0],) for lane in lanes]
    return tuple(sorted(found, key=lambda batch: batch[0].sequence))


def _in_order(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.sequence))


def _ready(queue: Iterable[Entry], now: datetime) -> list[list[Entry]]:
    """Of each lane that can move, its entries from the first on that may go now, one after the other."""
    lanes: dict[tuple[str, str], list[Entry]] = {}
    for entry in sorted(queue, key=lambda entry: entry.sequence):
        if entry.status is EntryStatus.PENDING:
            lanes.setdefault(entry.lane, []).append(entry)
    found = []
    for lane in lanes.values():
        # The last urgent one that is due pulls along whatever only waits for the end of quiet hours before it.
        pulled = max((i for i, entry in enumerate(lane) if entry.urgent and entry.not_before <= now), default=-1)
        ready: list[Entry] = []
        for index, entry in enumerate(lane):
            if entry.claimed_until is not None and entry.claimed_until > now:
                break
            if entry.not_before > now and not (index < pulled and entry.attempts == 0):
                break
            ready.append(entry)
        if ready:
            found.append(ready)
    return sorted(found, key=lambda ready: ready[0].sequence)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(f"quiet hours: no time zone is called {name!r:.60}",
                         fix="use a name such as Europe/Berlin or UTC") from error
