"""What only grows, since this process began to export it: ended operations and sweeps, each counted once.

An operation is found by when it was created, so those that ended since the last look are searched for among all that were
created within the time that one takes as a rule, and among the last that held their environment, however old; which of them
were counted already is remembered.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row

from wfops_pipelines.domain.errors import Blocked
from wfops_pipelines.domain.metrics import BY_NAME, Durations
from wfops_pipelines.domain.operation import OperationKind, OperationState
from wfops_pipelines.domain.sweep import Done

LONGEST: Final = timedelta(hours=2)
"""Longer than an operation takes as a rule (§20: an hour, and then it is cancelled)."""
_SKEW: Final = timedelta(minutes=10)  # between clocks of hosts, or a commit that took long
_BLOCKED: Final = "blocked"  # that is a gate's no, and nothing that broke (§11.2)
_ENDS: Final = ("completed", "failed", "cancelled", "compensated", _BLOCKED)
_SWEEP_ENDS: Final = ("completed", "failed", "died")

Key = tuple[str, ...]


class Totals:
    """Counters and histograms; ``begun`` is when counting begins. Not for several threads at once."""

    def __init__(self, begun: datetime) -> None:
        self._begun = begun
        self._now = begun
        self._seen: dict[Any, datetime] = {}
        self._counters: dict[str, dict[Key, float]] = defaultdict(lambda: defaultdict(float))
        self._durations: dict[str, dict[Key, Durations]] = defaultdict(dict)
        for kind in OperationKind:
            for end in _ENDS:
                self._counters["wfops_operations"][str(kind), end] = 0.0
        # What grows is seen from the second sample on: the first failure has to find one.
        self._counters["wfops_sweeps"] |= {("drift", end): 0.0 for end in _SWEEP_ENDS}
        self._counters["wfops_sweep_environments"] |= {("drift", str(done)): 0.0 for done in Done if done is not Done.TAKEN}
        self._counters["wfops_calls"] |= {(service, "ok"): 0.0 for service in ("n8n", "git")}

    @property
    def since(self) -> datetime:
        """What was created before ended long ago."""
        return self._now - LONGEST

    @property
    def ended(self) -> datetime:
        """What ended before is counted already, by whichever clock."""
        return max(self._begun, self._now - _SKEW)

    def counters(self) -> dict[str, dict[Key, float]]:
        """Values by metric and labels."""
        return {name: dict(values) for name, values in self._counters.items()}

    def durations(self) -> dict[str, dict[Key, Durations]]:
        """Histograms by metric and labels."""
        return self._durations

    def add_operations(self, rows: Iterable[Row[Any]], now: datetime) -> None:
        """Count those that ended since counting began, each attempt's end once."""
        for row in self._new(rows, lambda row: (row.id, row.attempts, row.state), now):
            kind = str(row.kind)
            self._counters["wfops_operations"][kind, _outcome(row)] += 1
            if row.error_kind is not None:
                self._counters["wfops_operation_errors"][kind, str(row.error_kind)] += 1
            if row.started_at is not None:
                self._measure("wfops_operation_duration_seconds", kind, row.started_at, row.ended_at)
            for service, outcomes in ((row.metrics or {}).get("calls") or {}).items():
                for outcome, number in outcomes.items():
                    self._counters["wfops_calls"][service, outcome] += number

    def add_sweeps(self, rows: Iterable[Row[Any]], now: datetime) -> None:
        """Count those that ended since counting began, however many steps shared the work."""
        for row in self._new(rows, lambda row: row.id, now):
            self._counters["wfops_sweeps"][row.kind, row.state] += 1
            for outcome, number in _together(row.counts).items():
                self._counters["wfops_sweep_environments"][row.kind, outcome] += number
            if row.seconds is not None:
                self._observe("wfops_sweep_duration_seconds", row.kind, row.seconds)

    def _new(self, rows: Iterable[Row[Any]], key_of: Any, now: datetime) -> list[Row[Any]]:
        self._now = now
        self._begun = min(self._begun, now)  # the clock was set back: what ends from now on counts all the same
        found = []
        for row in rows:
            key = key_of(row)
            if row.ended_at < self._begun or key in self._seen:
                continue
            self._seen[key] = row.ended_at
            found.append(row)
        forgotten = now - 2 * LONGEST
        self._seen = {key: ended for key, ended in self._seen.items() if ended >= forgotten}
        return found

    def _measure(self, name: str, kind: str, began: datetime, ended: datetime) -> None:
        self._observe(name, kind, (ended - began).total_seconds())

    def _observe(self, name: str, kind: str, seconds: float) -> None:
        measured = self._durations[name].setdefault((kind,), Durations(BY_NAME[name].buckets))
        measured.add(seconds)


def _outcome(row: Row[Any]) -> str:
    """How an operation ended: its state, but for one that was refused."""
    return _BLOCKED if row.state == OperationState.FAILED and row.error_kind == Blocked.kind else str(row.state)


def _together(steps: Iterable[Mapping[str, int]]) -> Counter[str]:
    """What the steps of a sweep did. An environment that a step left to another one is the other's to count; those that are
    left alone, each step finds by itself."""
    counts: Counter[str] = Counter()
    for step in steps:
        left_alone = max(counts[Done.CIRCUIT_OPEN], step.get(Done.CIRCUIT_OPEN, 0))
        counts.update(step)
        counts[Done.CIRCUIT_OPEN] = left_alone
    counts.pop(Done.TAKEN, None)
    return counts
