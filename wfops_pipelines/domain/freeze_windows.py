"""Freeze windows (§11.5): when a stage promotes, and when it does not.

A window allows or denies, every week or once. The rules:

* **deny beats allow**: what one window denies, no other allows;
* with no window that allows, everything is allowed that none denies; with some, only what they cover;
* a weekly window covers every moment at which the clock of its zone shows a time in it, from its first to its last. One
  whose end is not after its start ends the next day, and belongs to the day on which it starts. Where clocks go forward
  and skip its start or end, that is the moment of the change; where they go back, it starts at the first time they
  show its start, and ends when they show its end for the last time;
* the start belongs to a window, the end does not.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any, Final, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, WithJsonSchema, model_validator

from wfops_pipelines.domain.errors import DocumentProblem, InvalidFields
from wfops_pipelines.domain.fleet_fields import ClockTime, Name
from wfops_pipelines.domain.fleet_problems import dotted, of_schema
from wfops_pipelines.domain.shown import moment, one_line
from wfops_pipelines.domain.spec_model import WEEK, Spec, Weekday

_EARLIEST, _LATEST = datetime(1970, 1, 2, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_HORIZON: Final = timedelta(days=400)  # every week of a year, and both changes of the clocks, lie within
_SECOND: Final = timedelta(seconds=1)
_MOMENT: Final = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2})?(Z|[+-]\d{2}:\d{2})?)?$"  # ``date-time`` asks for a zone
_NO_TIME: Final = "must be a time like 2026-12-20T18:00 (on the clock of the zone) or 2026-12-20T18:00+01:00"

Span = tuple[datetime, datetime]


class WindowKind(StrEnum):
    """What a window says about the time that it covers."""

    ALLOW = "allow"
    DENY = "deny"


def _check_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("must be a time zone by its IANA name, like Europe/Berlin or UTC") from None
    return name


def _read_moment(value: object) -> datetime:
    """An ISO 8601 time, or a date for its first moment; not yet with a zone where it names none."""
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        at = None
    if isinstance(at, date) and not isinstance(at, datetime):  # YAML reads dates by itself
        at = datetime.combine(at, time())
    if not isinstance(at, datetime):
        raise ValueError(_NO_TIME)  # noqa: TRY004  # what pydantic asks for
    if not _EARLIEST.year <= at.year < _LATEST.year:
        raise ValueError(f"must be between {_EARLIEST.year} and {_LATEST.year}")
    return at


Zone = Annotated[str, AfterValidator(_check_zone)]
Moment = Annotated[datetime, BeforeValidator(_read_moment), WithJsonSchema({"type": "string", "pattern": _MOMENT})]


class FreezeWindow(Spec):
    """One window: weekly by ``days``, ``start`` and ``end``, or once by ``from`` and ``to`` (``begins`` and ``ends`` in
    code). Make it with :func:`read_windows`, which names the field of what does not fit."""

    name: Name = Field(description="What people know it by.", examples=["year end"])
    kind: WindowKind = Field(WindowKind.DENY, description="Whether it allows promotions or denies them.", examples=["deny"])
    zone: Zone = Field("UTC", description="Time zone by its IANA name.", examples=["Europe/Berlin"])
    days: list[Weekday] | None = Field(None, description="Weekly: the days on which it starts; without it, every day.",
                                       examples=[["fri"]])
    start: ClockTime | None = Field(None, description="Weekly: when it starts, on the clock of the zone.",
                                    examples=["16:00"])
    end: ClockTime | None = Field(
        None, description="Weekly: when it ends; a time that is not after the start is that of the next day.",
        examples=["08:00"])
    begins: Moment | None = Field(None, alias="from", description="Once: its first moment; without an offset, on the clock "
                                  "of the zone.", examples=["2026-12-20T18:00"])
    ends: Moment | None = Field(None, alias="to", description="Once: the moment at which it is over.",
                                examples=["2027-01-04T08:00"])

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        once, weekly = {"from": self.begins, "to": self.ends}, {"start": self.start, "end": self.end}
        if any(once.values()) == (any(weekly.values()) or self.days is not None):
            raise ValueError("must be either weekly (days, start, end) or once (from, to)")
        for field, value in (once if any(once.values()) else weekly).items():
            if value is None:
                raise ValueError(f"{field}: is required")
        if self.days is not None and not self.days:
            raise ValueError("days: must name one day at least, or be left out for every day")
        if self.begins is not None and self.ends is not None and not operator.lt(*self._once(self.begins, self.ends)):
            raise ValueError("to: must be after from")
        return self

    @property
    def is_weekly(self) -> bool:
        """Whether it comes back every week."""
        return self.begins is None

    def as_json(self) -> dict[str, Any]:
        """As :func:`read_windows` takes it, without what was not said."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def spans(self, now: datetime) -> Iterator[Span]:
        """When the window holds, in UTC: all spans that cover ``now`` or begin within a week of it, perhaps some more. Where
        the clocks skip all of a span, there is none."""
        if self.begins is not None and self.ends is not None:
            yield self._once(self.begins, self.ends)
            return
        zone = ZoneInfo(self.zone)
        today = now.astimezone(zone).date()
        start, end = time.fromisoformat(self.start or ""), time.fromisoformat(self.end or "")
        days = set(self.days or WEEK)
        for offset in range(-3, 10):
            day = today + timedelta(days=offset)
            if WEEK[day.weekday()] not in days:
                continue
            last = day if end > start else day + timedelta(days=1)
            begin, over = _shown(day, start, zone, fold=0), _shown(last, end, zone, fold=1)
            if begin < over:
                yield begin, over

    def _once(self, begins: datetime, ends: datetime) -> Span:
        zone = ZoneInfo(self.zone)
        low, high = (at.astimezone(UTC) if at.tzinfo is not None else _shown(at.date(), at.time(), zone, fold=fold)
                     for fold, at in enumerate((begins, ends)))
        return low, high


@dataclass(frozen=True, slots=True)
class FreezeState:
    """Whether it is ``open`` at a moment, why (``reason``), and by which windows (names; none where nothing is said).
    ``opens_at``, in UTC, is the moment itself where it is open, and ``None`` where it will not open as things are."""

    open: bool
    reason: str
    windows: tuple[str, ...]
    opens_at: datetime | None


def read_windows(documents: Sequence[Mapping[str, Any]], *, whose: str = "freeze windows") -> tuple[FreezeWindow, ...]:
    """The windows as somebody gives them or as they are stored; :class:`InvalidFields` names every field that does not fit
    (``[1].zone``), and begins each line with ``whose``."""
    windows: list[FreezeWindow] = []
    problems: list[DocumentProblem] = []
    for index, document in enumerate(documents):
        try:
            windows.append(FreezeWindow.model_validate(dict(document)))
        except ValidationError as error:
            problems += [DocumentProblem(message, None, dotted([index, *path]))
                         for path, message in of_schema(error, FreezeWindow)]
    names = [window.name for window in windows]
    problems += [DocumentProblem("the name is given twice", None, "name") for name in sorted(set(names))
                 if names.count(name) > 1]
    if problems:
        raise InvalidFields(whose, problems)
    return tuple(windows)


def state(windows: Iterable[FreezeWindow], now: datetime) -> FreezeState:
    """What the windows say about ``now``, an aware time."""
    given = list(windows)
    at = now.astimezone(UTC)
    deny, allow = _of_kind(given, WindowKind.DENY), _of_kind(given, WindowKind.ALLOW)
    denying, allowing = _covering(deny, at), _covering(allow, at)
    if denying:
        return _closed("denied by", denying, next_open(given, at))
    if allow and not allowing:
        return _closed("outside of what is allowed by", allow, next_open(given, at))
    names = tuple(window.name for window in allowing)
    reason = f"allowed by {_named(allowing)}" if names else "no freeze window covers this time"
    return FreezeState(True, reason, names, at)


def is_open(windows: Iterable[FreezeWindow], now: datetime) -> bool:
    """Whether a promotion may run at ``now``."""
    given, at = list(windows), now.astimezone(UTC)
    allow = _of_kind(given, WindowKind.ALLOW)
    return not _covering(_of_kind(given, WindowKind.DENY), at) and (not allow or bool(_covering(allow, at)))


def next_open(windows: Iterable[FreezeWindow], now: datetime) -> datetime | None:
    """The first moment from ``now`` on at which it is open, in UTC; ``None`` where there is none within 400 days of ``now``
    and of the begin and end of every window that is once."""
    given, at = list(windows), now.astimezone(UTC)
    deny, allow = _of_kind(given, WindowKind.DENY), _of_kind(given, WindowKind.ALLOW)
    edges = {edge for window in given if not window.is_weekly for span in window.spans(at) for edge in span if edge > at}
    # Between two of them the weeks are alike: what does not open within the horizon does not until the next of them.
    for begin, end in pairwise([at, *sorted(edges), datetime.max.replace(tzinfo=UTC)]):
        found = _first_open(deny, allow, begin, min(end, begin + _HORIZON))
        if found is not None:
            return found
    return None


def _first_open(deny: Sequence[FreezeWindow], allow: Sequence[FreezeWindow], at: datetime,
                until: datetime) -> datetime | None:
    while at < until:
        ends = [high for low, high in _spans(deny, at) if low <= at < high]
        if ends:
            at = max(ends)
            continue
        if not allow or _covering(allow, at):
            return at
        starts = [low for low, _ in _spans(allow, at) if low > at]
        if not starts:  # only windows that are once, and over; or weekly ones whose times the clocks skip just now
            if not any(window.is_weekly for window in allow):
                return None
            at += timedelta(days=7)
            continue
        at = min(starts)
    return None


def _closed(why: str, windows: Sequence[FreezeWindow], opens_at: datetime | None) -> FreezeState:
    when = f"opens at {moment(opens_at)}" if opens_at is not None else "it does not open as the windows are"
    return FreezeState(False, f"{why} {_named(windows)}; {when}", tuple(window.name for window in windows), opens_at)


def _named(windows: Sequence[FreezeWindow]) -> str:
    return ", ".join(f"'{one_line(window.name)}' ({window.zone})" for window in windows)


def _of_kind(windows: Iterable[FreezeWindow], kind: WindowKind) -> list[FreezeWindow]:
    return [window for window in windows if window.kind is kind]


def _spans(windows: Iterable[FreezeWindow], at: datetime) -> list[Span]:
    return [span for window in windows for span in window.spans(at)]


def _covering(windows: Iterable[FreezeWindow], at: datetime) -> list[FreezeWindow]:
    return [window for window in windows if any(low <= at < high for low, high in window.spans(at))]


def _shown(day: date, clock: time, zone: ZoneInfo, *, fold: int) -> datetime:
    """When the clock of the zone shows a time, in UTC: for the first time (``fold`` 0) or the last (1); where it is
    skipped, the moment at which the clocks are changed."""
    local = datetime.combine(day, clock)
    at = local.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) == local:
        return at
    low, high = sorted(local.replace(tzinfo=zone, fold=side).astimezone(UTC) for side in (0, 1))
    before = low.astimezone(zone).utcoffset()
    while high - low > _SECOND:
        middle = low + timedelta(seconds=(high - low) // _SECOND // 2)
        low, high = (middle, high) if middle.astimezone(zone).utcoffset() == before else (low, middle)
    return high
