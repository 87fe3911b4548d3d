"""The circuit breaker of an instance (§3, §9): one that does not answer is left alone for a while, and then probed.

::

    closed ──failure, the ``threshold``-th in a row──▶ open ──its time has come──▶ half_open
      ▲                                                 ▲                              │
      └──────────────── an answer, in any state ────────┼──────────────────────────────┤
                                                        └───────── failure, later ─────┘

Failures are those of reaching it: no connection, no answer in time, and a listing that takes so long that it is given up.
An instance that answers, be it with a refusal, is there. While a circuit is open nothing is asked of the instance; each
opening without an answer in between lasts twice as long as the one before, up to a limit. Nothing here knows the time or
chance: both come in as arguments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

_SLOWLY = 0.2  # of the time for a whole check is what a slow one has …
_WHOLE_AGAIN = 6  # … but at each sixth probe, some hours later: it may have had a bad day, or simply need that long
_CLOCK_WAS_WRONG = timedelta(hours=3)  # no probe is that far off


class CircuitState(StrEnum):
    """Where a circuit stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitEvent(StrEnum):
    """What happens to a circuit."""

    ANSWERED = "answered"
    FAILED = "failed"  # and it is one of few
    FAILED_AGAIN = "failed_again"  # the one that makes the row too long
    TIME_HAS_COME = "time_has_come"


TRANSITIONS: dict[tuple[CircuitState, CircuitEvent], CircuitState] = {
    (CircuitState.CLOSED, CircuitEvent.ANSWERED): CircuitState.CLOSED,
    (CircuitState.CLOSED, CircuitEvent.FAILED): CircuitState.CLOSED,
    (CircuitState.CLOSED, CircuitEvent.FAILED_AGAIN): CircuitState.OPEN,
    (CircuitState.OPEN, CircuitEvent.TIME_HAS_COME): CircuitState.HALF_OPEN,
    # Somebody asked by hand meanwhile, or a sweep that began before it was opened.
    (CircuitState.OPEN, CircuitEvent.ANSWERED): CircuitState.CLOSED,
    (CircuitState.OPEN, CircuitEvent.FAILED_AGAIN): CircuitState.OPEN,
    (CircuitState.HALF_OPEN, CircuitEvent.ANSWERED): CircuitState.CLOSED,
    (CircuitState.HALF_OPEN, CircuitEvent.FAILED_AGAIN): CircuitState.OPEN,
    # Its probe never came to an end: the process died. The next one probes.
    (CircuitState.HALF_OPEN, CircuitEvent.TIME_HAS_COME): CircuitState.HALF_OPEN,
}
"""Every transition there is."""


class Passage(StrEnum):
    """What a circuit lets through."""

    FREE = "free"
    PROBE = "probe"  # one careful request
    NONE = "none"


@dataclass(frozen=True, slots=True)
class CircuitPolicy:
    """``threshold`` failures in a row open a circuit; seconds until the first probe, and at most between two."""

    threshold: int = 3
    first_delay: float = 300.0
    longest_delay: float = 3600.0


@dataclass(frozen=True, slots=True)
class Circuit:
    """A circuit with failures behind it; one without is none. ``failures`` and ``openings`` count since the last answer,
    ``since`` is the first failure of the row, ``reason`` the kind of the last one's error."""

    state: CircuitState
    failures: int
    openings: int
    since: datetime
    probe_at: datetime | None
    reason: str
    message: str


def is_left_alone(probe_at: datetime | None, now: datetime) -> bool:
    """Whether an instance waits for its probe. A time that no probe can have was computed by a clock that was wrong."""
    return probe_at is not None and now < probe_at <= now + _CLOCK_WAS_WRONG


def passage(circuit: Circuit | None, now: datetime) -> Passage:
    """What may be asked of the instance now."""
    if circuit is None or circuit.state is CircuitState.CLOSED:
        return Passage.FREE
    return Passage.NONE if is_left_alone(circuit.probe_at, now) else Passage.PROBE


def probing(circuit: Circuit) -> Circuit:
    """The circuit while its probe is under way."""
    return replace(circuit, state=TRANSITIONS[circuit.state, CircuitEvent.TIME_HAS_COME])


def answered(circuit: Circuit | None) -> None:
    """The circuit after an answer: closed, with nothing to remember."""
    if circuit is not None:
        assert TRANSITIONS[circuit.state, CircuitEvent.ANSWERED] is CircuitState.CLOSED  # noqa: S101 - the table says so


def failed(circuit: Circuit | None, now: datetime, *, reason: str, message: str, policy: CircuitPolicy,
           chance: float) -> Circuit:
    """The circuit after a failure. ``chance`` in [0, 1) spreads the probes of instances that failed together."""
    state = circuit.state if circuit is not None else CircuitState.CLOSED
    failures = (circuit.failures if circuit is not None else 0) + 1
    openings = circuit.openings if circuit is not None else 0
    since = circuit.since if circuit is not None else now
    again = state is not CircuitState.CLOSED or failures >= policy.threshold
    after = TRANSITIONS[state, CircuitEvent.FAILED_AGAIN if again else CircuitEvent.FAILED]
    probe_at = None
    if after is CircuitState.OPEN:
        openings += 1
        probe_at = now + timedelta(seconds=delay(openings, policy, chance))
    return Circuit(after, failures, openings, since, probe_at, reason, message)


def delay(openings: int, policy: CircuitPolicy, chance: float) -> float:
    """Seconds until the probe of the so-many-th opening in a row: doubled each time, give or take a quarter."""
    whole = min(policy.longest_delay, policy.first_delay * 2.0 ** min(openings - 1, 32))
    return whole * (0.75 + 0.5 * chance)


def share_of_time(circuit: Circuit | None) -> float:
    """Which part of the time for a whole check an instance has that took too long before, or whose neighbour did."""
    return 1.0 if circuit is not None and _is_whole_again(circuit) else _SLOWLY


def has_whole_look(circuit: Circuit | None) -> bool:
    """Whether a small question has all its time for an answer, or half of it: one that is away costs a sweep the time, but
    one that needs more than half would never come back from a failure."""
    return circuit is None or circuit.state is CircuitState.CLOSED or _is_whole_again(circuit)


def _is_whole_again(circuit: Circuit) -> bool:
    return circuit.openings > 0 and circuit.openings % _WHOLE_AGAIN == 0
