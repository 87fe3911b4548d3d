"""When environments are due, and in which order: nobody twice, nobody forgotten, nobody starved."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from wfops_pipelines.domain.chance import chance_of
from wfops_pipelines.domain.sweep import (
    DAY,
    fair_order,
    is_due,
    jitter_of,
    lag,
    next_due,
    phase_of,
    whole_check_due,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ids = st.uuids()
intervals = st.sampled_from([60.0, 300.0, 900.0, 3600.0])
times = st.integers(0, 10**7).map(lambda seconds: NOON + timedelta(seconds=seconds))


@settings(deadline=None)
@given(ids, intervals, times)
def test_the_next_check_is_half_an_interval_to_one_and_a_half_after_the_last(one: UUID, interval: float, last: datetime) -> None:
    due = next_due(last, interval=interval, phase=phase_of(one, interval))
    assert due is not None
    assert interval / 2 - 0.01 <= (due - last).total_seconds() < 1.5 * interval + 0.01


@settings(deadline=None)
@given(ids, intervals, times, st.floats(0, 0.49))
def test_checks_that_are_late_by_less_than_half_an_interval_keep_the_pace(one: UUID, interval: float, begin: datetime,
                                                                     late: float) -> None:
    phase = phase_of(one, interval)
    first = next_due(begin, interval=interval, phase=phase)
    assert first is not None
    then = next_due(first + timedelta(seconds=late * interval), interval=interval, phase=phase)
    assert then is not None
    assert abs((then - first).total_seconds() - interval) < 0.01


@settings(deadline=None)
@given(ids, intervals, times, st.integers(1, 50), st.integers(2, 50))
def test_a_late_sweep_checks_once_however_many_times_were_missed(one: UUID, interval: float, last: datetime, missed: int,
                                                               ticks: int) -> None:
    phase, now, checks = phase_of(one, interval), last + timedelta(seconds=missed * interval), 0
    for _ in range(ticks):  # a tick each second after an outage
        if is_due(last, now, interval=interval, phase=phase):
            last, checks = now, checks + 1
        now += timedelta(seconds=min(1.0, interval / 200))
    assert checks <= 1


@settings(deadline=None)
@given(ids, intervals, times)
def test_what_was_just_checked_is_not_due_and_in_two_intervals_it_is(one: UUID, interval: float, now: datetime) -> None:
    phase = phase_of(one, interval)
    assert not is_due(now, now, interval=interval, phase=phase)
    assert is_due(now, now + timedelta(seconds=1.5 * interval), interval=interval, phase=phase)
    assert is_due(None, now, interval=interval, phase=phase)
    assert lag(None, now, interval=interval, phase=phase) == 0


@settings(deadline=None)
@given(ids, intervals, times)
def test_sweeps_that_begin_each_interval_take_every_environment_each_time(one: UUID, interval: float, begin: datetime) -> None:
    phase = phase_of(one, interval)
    tick = datetime.fromtimestamp(begin.timestamp() // interval * interval, UTC)
    last = tick
    for _ in range(5):
        tick += timedelta(seconds=interval)
        assert is_due(last, tick, interval=interval, phase=phase)
        last = tick + timedelta(seconds=interval / 10)  # the sweep takes its time


@settings(deadline=None)
@given(ids, intervals)
def test_the_jitter_is_the_environments_own_and_small(one: UUID, interval: float) -> None:
    assert phase_of(one, interval) == phase_of(UUID(str(one)), interval)
    assert abs(phase_of(one, interval)) <= jitter_of(interval) <= min(30, interval / 10)
    assert 0 <= chance_of(f"{one}/x") < 1


@settings(deadline=None)
@given(ids, times, st.lists(st.integers(1, 7200), min_size=50, max_size=80))
def test_a_whole_check_is_made_once_within_each_day(one: UUID, begin: datetime, steps: list[int]) -> None:
    checked, now = begin, begin
    for step in steps:
        now += timedelta(seconds=step)
        if whole_check_due(one, checked, now):
            checked = now
        assert (now - checked).total_seconds() < DAY + step


tenants = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 1000)), max_size=120)


def ordered(items: list[tuple[int, int]], turn: int = 4) -> list[tuple[int, int]]:
    return fair_order(items, tenant=lambda item: item[0], due=lambda item: NOON + timedelta(seconds=item[1]), turn=turn)


@settings(deadline=None)
@given(tenants)
def test_everybody_is_there_once_and_each_tenants_own_in_the_order_of_due_times(items: list[tuple[int, int]]) -> None:
    found = ordered(items)
    assert Counter(found) == Counter(items)
    for tenant in {item[0] for item in items}:
        mine = [item[1] for item in found if item[0] == tenant]
        assert mine == sorted(mine)


@settings(deadline=None)
@given(tenants, st.integers(1, 6))
def test_a_large_tenant_delays_nobody_by_more_than_its_turns(items: list[tuple[int, int]], turn: int) -> None:
    """Before a tenant's nth environment, no other one has had more than as many turns."""
    found = ordered(items, turn)
    had: Counter[int] = Counter()
    for tenant, _ in found:
        turns = had[tenant] // turn + 1
        assert all(count <= turns * turn for other, count in had.items() if other != tenant)
        had[tenant] += 1


def test_one_with_five_hundred_does_not_starve_the_others() -> None:
    found = ordered([(0, -1000)] * 500 + [(tenant, 0) for tenant in range(1, 100) for _ in range(3)])
    assert max(position for position, item in enumerate(found) if item[0]) < 99 * 3 + 4


def test_a_clock_that_was_wrong_delays_nothing() -> None:
    one, future = UUID(int=1), NOON + timedelta(days=3)
    assert is_due(future, NOON, interval=300, phase=phase_of(one, 300))
    assert lag(future, NOON, interval=300, phase=phase_of(one, 300)) == 0
    assert whole_check_due(one, future, NOON)
