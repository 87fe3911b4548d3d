"""The clock of a host is set back while a system runs."""

from __future__ import annotations

import queue
from dataclasses import dataclass

from wfops_pipelines.embedded.host_clock import ClockWatch, HostClock


@dataclass
class Times:
    """Two clocks, as a test says."""

    wall: float = 1_800_000_000.0
    steady: float = 500.0

    def clock(self) -> HostClock:
        return HostClock(lambda: self.wall, lambda: self.steady)

    def go_on(self, seconds: float, *, set_by: float = 0.0) -> None:
        self.steady += seconds
        self.wall += seconds + set_by


def test_it_is_told_once_and_by_how_much() -> None:
    times = Times()
    clock = times.clock()
    times.go_on(30)
    assert clock.set_back() == 0
    times.go_on(30, set_by=-7 * 3600)
    assert clock.set_back() == 7 * 3600
    times.go_on(30)
    assert clock.set_back() == 0


def test_small_corrections_and_a_clock_that_is_set_forward_are_none() -> None:
    times = Times()
    clock = times.clock()
    for set_by in (-5, 7 * 3600, 30, -59):
        times.go_on(30, set_by=set_by)
        assert clock.set_back() == 0


def test_a_watch_tells_from_a_thread_of_its_own() -> None:
    times, told = Times(), queue.SimpleQueue[float]()
    with ClockWatch(told.put, times.clock(), every=0.001):
        times.wall -= 3600
        assert told.get(timeout=60) == 3600
