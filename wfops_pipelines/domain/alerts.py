"""Alert rules (§16): when a figure of an installation is out of bounds for long enough to tell somebody.

A rule looks at one metric of one tenant or environment, evaluated every few minutes. In words:

1. The figure *breaches* when it compares to the threshold as the rule says; it is *clear* when it no longer compares to
   the clear threshold. Between the two it is neither, and the rule stays what it was: that is the hysteresis.
2. A rule fires when the figure has breached for ``window`` (at two evaluations at least, unless the window is zero) and
   for ``evaluations`` in a row. Anything else in between starts both anew.
3. It clears after ``clear_evaluations`` in a row that are clear, and tells that once.
4. It never fires twice within ``cooldown``, counted from when it last fired. A breach that outlasts the cooldown without
   having been told fires when it ends. With ``repeat`` a rule that is still firing tells again after each cooldown.
5. A missing figure is no figure, not zero. By ``on_missing`` it keeps the state as it is (default), counts as clear, or
   counts as a breach (what cannot be measured is then itself the alarm).

The state is plain data that the store keeps between evaluations. Nothing here knows the time: it is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from wfops_pipelines.domain.errors import DocumentProblem, InvalidDocument
from wfops_pipelines.domain.incident import Severity

MAX_WINDOW: Final = timedelta(days=30)
MAX_COOLDOWN: Final = timedelta(days=30)
MAX_EVALUATIONS: Final = 1000


class Metric(StrEnum):
    """A figure that the store can answer now. ``description`` says of what, ``unit`` in what it is counted."""

    description: str
    unit: str

    def __new__(cls, value: str, description: str, unit: str) -> Metric:
        """A member with its description and unit."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.description = description
        member.unit = unit
        return member

    DRIFTED_ENVIRONMENTS = (
        "drifted_environments", "environments whose last check found drift, or that have an open incident",
        "environments")
    DRIFTED_WORKFLOWS = ("drifted_workflows", "workflows that drift now, all environments together", "workflows")
    DRIFT_AGE = ("drift_age", "age of the oldest drift that is still there", "hours")
    OPEN_INCIDENTS = ("open_incidents", "open incidents of any severity", "incidents")
    OPEN_INCIDENTS_CRITICAL = ("open_incidents_critical", "open incidents of severity critical", "incidents")
    OPEN_INCIDENTS_HIGH = ("open_incidents_high", "open incidents of severity high", "incidents")
    OPEN_INCIDENTS_MEDIUM = ("open_incidents_medium", "open incidents of severity medium", "incidents")
    OPEN_INCIDENTS_LOW = ("open_incidents_low", "open incidents of severity low", "incidents")
    OVERDUE_INCIDENTS = ("overdue_incidents", "open incidents past their end (TTL)", "incidents")
    FAILED_CHECKS_IN_A_ROW = (
        "failed_checks_in_a_row", "most drift checks in a row that ended in ERROR, of any environment", "checks")
    ENVIRONMENTS_IN_ERROR = ("environments_in_error", "environments whose last drift check ended in ERROR", "environments")
    SYNC_AGE = (
        "sync_age", "time since the last complete sync, of the environment where it is longest; of dev only if it is named",
        "hours")
    UNTRACKED_WORKFLOWS = ("untracked_workflows", "live workflows without a canonical workflow", "workflows")
    OUTBOX_DEAD_LETTERS = ("outbox_dead_letters", "notifications given up after the last attempt", "messages")
    OUTBOX_AGE = ("outbox_age", "age of the oldest notification that is due and not delivered", "hours")


def metric_named(word: str) -> Metric:
    """A metric by its word; :class:`ValueError` for any other."""
    for metric in Metric:
        if metric.value == word:
            return metric
    raise ValueError(f"no metric is called {word!r}")


class Comparison(StrEnum):
    """How a figure compares to a threshold when it breaches."""

    ABOVE = ">"
    AT_LEAST = ">="
    BELOW = "<"
    AT_MOST = "<="

    def holds(self, value: float, threshold: float) -> bool:
        """Whether ``value`` compares so to ``threshold``."""
        match self:
            case Comparison.ABOVE:
                return value > threshold
            case Comparison.AT_LEAST:
                return value >= threshold
            case Comparison.BELOW:
                return value < threshold
            case Comparison.AT_MOST:
                return value <= threshold

    @property
    def upwards(self) -> bool:
        """Whether large figures are the bad ones."""
        return self in (Comparison.ABOVE, Comparison.AT_LEAST)


class OnMissing(StrEnum):
    """What a missing figure means."""

    KEEP = "keep"
    CLEAR = "clear"
    BREACH = "breach"


@dataclass(frozen=True, slots=True)
class AlertRule:
    """One rule. ``clear_threshold`` is ``None`` where it is the threshold itself; times are non-negative."""

    name: str
    metric: Metric
    comparison: Comparison
    threshold: float
    severity: Severity = Severity.MEDIUM
    window: timedelta = timedelta(0)
    cooldown: timedelta = timedelta(hours=1)
    clear_threshold: float | None = None
    evaluations: int = 1
    clear_evaluations: int = 1
    on_missing: OnMissing = OnMissing.KEEP
    repeat: bool = False

    def words(self) -> str:
        """The rule as a sentence without its end: ``drifted_environments > 3 environments for 10 minutes``."""
        lasting = f" for {_duration(self.window)}" if self.window else ""
        return f"{self.metric.value} {self.comparison.value} {_counted(self.threshold, self.metric.unit)}{lasting}"


@dataclass(frozen=True, slots=True)
class AlertState:
    """What a rule remembers between evaluations. ``breaching_since`` is the first evaluation of those in a row that
    breached, ``fired_at`` when it last told that it fires."""

    firing: bool = False
    breaching_since: datetime | None = None
    breaches: int = 0
    clears: int = 0
    fired_at: datetime | None = None
    firing_since: datetime | None = None
    evaluated_at: datetime | None = None
    value: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON, times in ISO 8601; :meth:`from_json` undoes it."""
        return {key: item.isoformat() if isinstance(item, datetime) else item for key, item in asdict(self).items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> AlertState:
        """The state that :meth:`as_json` wrote; what is missing of it has its default."""
        times = {"breaching_since", "fired_at", "firing_since", "evaluated_at"}
        known: dict[str, Any] = {key: stored[key] for key in cls.__dataclass_fields__ if key in stored}
        for key in times & known.keys():
            known[key] = None if known[key] is None else datetime.fromisoformat(known[key])
        return cls(**known)


class AlertEventKind(StrEnum):
    """What an evaluation may tell."""

    FIRED = "fired"
    STILL_FIRING = "still_firing"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """What is to be told: ``value`` is ``None`` where the figure is missing; ``since`` the beginning of the breach (of
    the firing, when cleared). ``ended`` says why a rule that fired is watched no more, whatever the figure."""

    kind: AlertEventKind
    rule: AlertRule
    value: float | None
    at: datetime
    since: datetime
    ended: str = ""

    def words(self) -> str:
        """One line for people."""
        if self.ended:
            return f"{self.rule.name} fires no more: {self.ended} (rule: {self.rule.words()})"
        found = "no figure" if self.value is None else _counted(self.value, self.rule.metric.unit)
        verb = {AlertEventKind.FIRED: "fires", AlertEventKind.STILL_FIRING: "is still firing",
                AlertEventKind.CLEARED: "is clear again"}[self.kind]
        return f"{self.rule.name} {verb}: {found} (rule: {self.rule.words()})"


def evaluate(rule: AlertRule, state: AlertState, value: float | None,
             now: datetime) -> tuple[AlertState, AlertEvent | None]:
    """The state after this evaluation, and what is to be told of it, if anything.

    ``value`` is in the metric's unit; ``None`` and what is no number (NaN) are missing. ``now`` is aware. An evaluation
    that is not later than the last one (a clock set back, a second scheduler) changes nothing and tells nothing.
    """
    if state.evaluated_at is not None and now <= state.evaluated_at:
        return state, None
    figure = None if value is None or math.isnan(value) else float(value)
    state = replace(state, evaluated_at=now, value=figure)
    breach, clear = _judge(rule, figure)
    if breach:
        state = replace(state, breaches=min(state.breaches + 1, MAX_EVALUATIONS), clears=0,
                        breaching_since=state.breaching_since or now)
        return _breached(rule, state, now)
    if figure is None and not clear:
        return state, None  # kept as it is: neither a breach nor the end of one
    state = replace(state, breaches=0, breaching_since=None,
                    clears=min(state.clears + 1, MAX_EVALUATIONS) if clear else 0)
    if not state.firing or state.clears < rule.clear_evaluations:
        return state, None
    event = AlertEvent(AlertEventKind.CLEARED, rule, figure, now, state.firing_since or now)
    return replace(state, firing=False, firing_since=None), event


def _judge(rule: AlertRule, figure: float | None) -> tuple[bool, bool]:
    """Whether it breaches, and whether it is clear; never both."""
    if figure is None:
        return rule.on_missing is OnMissing.BREACH, rule.on_missing is OnMissing.CLEAR
    if rule.comparison.holds(figure, rule.threshold):
        return True, False
    clear_threshold = rule.threshold if rule.clear_threshold is None else rule.clear_threshold
    return False, not rule.comparison.holds(figure, clear_threshold)


def _breached(rule: AlertRule, state: AlertState, now: datetime) -> tuple[AlertState, AlertEvent | None]:
    since = state.breaching_since or now
    cooled = state.fired_at is None or now - state.fired_at >= rule.cooldown
    lasting = state.breaches >= rule.evaluations and now - since >= rule.window
    if state.firing:
        if not (rule.repeat and cooled):
            return state, None
        return replace(state, fired_at=now), AlertEvent(
            AlertEventKind.STILL_FIRING, rule, state.value, now, state.firing_since or since)
    if not (lasting and cooled):
        return state, None
    fired = replace(state, firing=True, firing_since=since, fired_at=now)
    return fired, AlertEvent(AlertEventKind.FIRED, rule, state.value, now, since)


def read_rule(raw: Mapping[str, Any], *, source: str = "alert rule") -> AlertRule:
    """A rule from plain JSON or YAML: ``name``, ``metric``, ``comparison``, ``threshold``, and where wanted ``severity``,
    ``window_minutes``, ``cooldown_minutes``, ``clear_threshold``, ``evaluations``, ``clear_evaluations``,
    ``on_missing``, ``repeat``.

    Raises :class:`InvalidDocument` with every problem, each naming its field; ``source`` stands for the document.
    """
    reader = _RuleReader(raw)
    rule = reader.read()
    if reader.problems:
        first, *more = reader.problems
        raise InvalidDocument(first.message, file=source, field=first.field, more=more)
    return rule


def rule_as_json(rule: AlertRule) -> dict[str, Any]:
    """What :func:`read_rule` reads."""
    return {
        "name": rule.name, "metric": rule.metric.value, "comparison": rule.comparison.value, "threshold": rule.threshold,
        "severity": rule.severity.value, "window_minutes": rule.window / timedelta(minutes=1),
        "cooldown_minutes": rule.cooldown / timedelta(minutes=1), "clear_threshold": rule.clear_threshold,
        "evaluations": rule.evaluations, "clear_evaluations": rule.clear_evaluations,
        "on_missing": rule.on_missing.value, "repeat": rule.repeat,
    }


class _RuleReader:
    """Reads a rule field by field and collects what is wrong; a wrong field has a stand-in meanwhile."""

    _FIELDS: Final = ("name", "metric", "comparison", "threshold", "severity", "window_minutes", "cooldown_minutes",
                      "clear_threshold", "evaluations", "clear_evaluations", "on_missing", "repeat")

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._raw = raw
        self.problems: list[DocumentProblem] = []

    def read(self) -> AlertRule:
        for key in self._raw:
            if key not in self._FIELDS:
                self._wrong(str(key), f"is no field of an alert rule; there are {', '.join(self._FIELDS)}")
        rule = AlertRule(
            name=self._name(), metric=self._word("metric", Metric, None),
            comparison=self._word("comparison", Comparison, None), threshold=self._figure("threshold"),
            severity=self._word("severity", Severity, Severity.MEDIUM),
            window=self._minutes("window_minutes", 0, MAX_WINDOW),
            cooldown=self._minutes("cooldown_minutes", 60, MAX_COOLDOWN),
            clear_threshold=None if self._raw.get("clear_threshold") is None else self._figure("clear_threshold"),
            evaluations=self._times("evaluations"), clear_evaluations=self._times("clear_evaluations"),
            on_missing=self._word("on_missing", OnMissing, OnMissing.KEEP), repeat=self._flag("repeat"),
        )
        if not self.problems:
            self._check_together(rule)
        return rule

    def _check_together(self, rule: AlertRule) -> None:
        clear = rule.clear_threshold
        if clear is not None and (clear > rule.threshold if rule.comparison.upwards else clear < rule.threshold):
            side = "at or below" if rule.comparison.upwards else "at or above"
            self._wrong("clear_threshold", f"must be {side} the threshold ({_number(rule.threshold)}) for "
                                           f"{rule.comparison.value}")
        if rule.repeat and not rule.cooldown:
            self._wrong("repeat", "needs a cooldown_minutes above 0, else it tells at every evaluation")

    def _wrong(self, field: str, message: str) -> None:
        self.problems.append(DocumentProblem(message, field=field))

    def _name(self) -> str:
        name = self._raw.get("name")
        if not isinstance(name, str) or not name.strip():
            self._wrong("name", "must be a text that is not empty")
        elif len(name) > 100 or not name.isprintable():
            self._wrong("name", "must be at most 100 characters on one line, all of them printable")
        return name if isinstance(name, str) else ""

    def _word(self, field: str, kind: type[StrEnum], default: Any) -> Any:
        word = self._raw.get(field, default)
        try:
            return kind(word)
        except ValueError:
            self._wrong(field, f"must be one of {', '.join(str(member.value) for member in kind)}")
            return next(iter(kind))

    def _figure(self, field: str) -> float:
        value = self._raw.get(field)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e15:
            return float(value)
        self._wrong(field, "must be a number")
        return 0.0

    def _minutes(self, field: str, default: float, most: timedelta) -> timedelta:
        value = self._raw.get(field, default)
        limit = most / timedelta(minutes=1)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= limit:
            return timedelta(minutes=value)
        self._wrong(field, f"must be a number of minutes from 0 to {_number(limit)}")
        return timedelta(0)

    def _times(self, field: str) -> int:
        value = self._raw.get(field, 1)
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_EVALUATIONS:
            return value
        self._wrong(field, f"must be a whole number from 1 to {MAX_EVALUATIONS}")
        return 1

    def _flag(self, field: str) -> bool:
        value = self._raw.get(field, False)
        if not isinstance(value, bool):
            self._wrong(field, "must be true or false")
        return value is True


def _counted(value: float, unit: str) -> str:
    number = _number(value)
    return f"{number} {unit.removesuffix('s') if number == '1' else unit}"


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _duration(span: timedelta) -> str:
    minutes = span / timedelta(minutes=1)
    return f"{_number(minutes)} minutes" if minutes < 120 else f"{_number(minutes / 60)} hours"
