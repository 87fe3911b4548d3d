"""The circuit breaker of an instance: every walk through its table, and what never happens on one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfops_pipelines.domain.circuit import (
    TRANSITIONS,
    Circuit,
    CircuitEvent,
    CircuitPolicy,
    CircuitState,
    Passage,
    answered,
    delay,
    failed,
    has_whole_look,
    passage,
    probing,
    share_of_time,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
POLICY = CircuitPolicy(threshold=3, first_delay=100, longest_delay=1000)
chances = st.floats(0, 1, exclude_max=True)


def fail(circuit: Circuit | None, at: datetime = NOON, *, chance: float = 0.5) -> Circuit:
    return failed(circuit, at, reason="unreachable", message="no connection", policy=POLICY, chance=chance)


def opened() -> Circuit:
    circuit = None
    for _ in range(POLICY.threshold):
        circuit = fail(circuit)
    assert circuit is not None
    return circuit


def test_it_opens_at_the_threshold_and_not_before() -> None:
    first = fail(None)
    second = fail(first)
    assert (first.state, second.state, fail(second).state) == (CircuitState.CLOSED, CircuitState.CLOSED, CircuitState.OPEN)
    assert passage(second, NOON) is Passage.FREE
    assert second.probe_at is None


def test_an_open_one_lets_nothing_through_until_its_time_and_then_a_probe() -> None:
    circuit = opened()
    assert circuit.probe_at == NOON + timedelta(seconds=100)
    assert passage(circuit, NOON + timedelta(seconds=99)) is Passage.NONE
    assert passage(circuit, NOON + timedelta(seconds=100)) is Passage.PROBE
    half = probing(circuit)
    assert half.state is CircuitState.HALF_OPEN
    assert passage(half, NOON + timedelta(seconds=100)) is Passage.PROBE  # its sweep died: the next one probes
    assert passage(circuit, NOON - timedelta(days=1)) is Passage.PROBE  # the clock was wrong


def test_a_probe_that_fails_opens_it_for_longer_and_keeps_since_when() -> None:
    again = fail(probing(opened()), NOON + timedelta(seconds=100))
    assert (again.state, again.openings, again.failures, again.since) == (CircuitState.OPEN, 2, 4, NOON)
    assert again.probe_at == NOON + timedelta(seconds=300)


@pytest.mark.parametrize("state", CircuitState)
def test_an_answer_closes_it_whatever_it_was(state: CircuitState) -> None:
    assert TRANSITIONS[state, CircuitEvent.ANSWERED] is CircuitState.CLOSED
    assert answered(Circuit(state, 3, 1, NOON, None if state is CircuitState.CLOSED else NOON, "unreachable", "")) is None


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5000), st.booleans(), chances), max_size=40))
def test_on_every_walk_nothing_is_asked_while_it_is_open_and_delays_stay_within_bounds(
        walk: list[tuple[int, bool, float]]) -> None:
    circuit, now, row = None, NOON, 0
    for seconds, answers, chance in walk:
        now += timedelta(seconds=seconds)
        through = passage(circuit, now)
        assert (through is Passage.NONE) == (circuit is not None and circuit.probe_at is not None and circuit.probe_at > now)
        if through is Passage.NONE:
            continue
        if through is Passage.PROBE and circuit is not None:
            circuit = probing(circuit)
        if answers:
            circuit, row = answered(circuit), 0  # type: ignore[func-returns-value]
            continue
        row += 1
        circuit = fail(circuit, now, chance=chance)
        assert circuit.failures == row
        assert (circuit.state is CircuitState.OPEN) == (row >= POLICY.threshold)
        if circuit.probe_at is not None:
            assert timedelta(seconds=75) <= circuit.probe_at - now <= timedelta(seconds=1250)


@settings(deadline=None)
@given(st.integers(1, 200), chances, chances)
def test_delays_grow_up_to_the_longest(openings: int, one: float, other: float) -> None:
    assert delay(openings, POLICY, one) <= delay(openings + 2, POLICY, other) or openings >= 3
    assert delay(openings, POLICY, one) <= 1.25 * POLICY.longest_delay


def test_a_slow_one_has_a_part_of_the_time_and_at_times_the_whole() -> None:
    assert share_of_time(None) == share_of_time(fail(None)) == share_of_time(opened()) < 1  # its neighbour was slow, or it was
    assert [each.openings for each in probes(20) if share_of_time(each) == 1] == [6, 12, 18]


def test_a_small_question_has_all_its_time_until_the_circuit_opens_and_at_some_probes() -> None:
    assert has_whole_look(None) and has_whole_look(fail(fail(None)))
    assert [each.openings for each in probes(20) if has_whole_look(each)] == [6, 12, 18]


def probes(count: int) -> list[Circuit]:
    """A circuit that opened, after each of so many probes that failed."""
    found = [opened()]
    for _ in range(count - 1):
        found.append(fail(probing(found[-1])))
    return found
