"""Notices when the clock of this host is set back while a system runs.

Dagster's daemon keeps in its memory when it looked at its schedules last, and looks at none before that time comes again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

TOLERANCE = 60.0  # seconds; by less than that nobody waits long
_EVERY = 30.0


class HostClock:
    """The clock of the host beside one that only goes on. Both are given in tests."""

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._steady = wall, steady
        self._ahead = wall() - steady()

    def set_back(self) -> float:
        """By how many seconds the clock was set back since this was asked last; 0 where it was not, or by little."""
        before, self._ahead = self._ahead, self._wall() - self._steady()
        seconds = before - self._ahead
        return seconds if seconds > TOLERANCE else 0.0


class ClockWatch:
    """Inside its ``with`` block, ``tell`` is called by another thread with the seconds by which the clock was set back."""

    def __init__(self, tell: Callable[[float], None], clock: HostClock | None = None, *, every: float = _EVERY) -> None:
        self._tell = tell
        self._clock = clock or HostClock()
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="clock-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(self._every):
            seconds = self._clock.set_back()
            if seconds:
                self._tell(seconds)
