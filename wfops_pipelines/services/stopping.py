"""How an operation that runs is stopped: by whoever cancels it from elsewhere, or because it ran for too long (§20).

The heartbeat's thread learns of it; the task that runs the operation is cancelled as by Ctrl-C, wherever it waits. That is
a safe point everywhere but in sections that say otherwise: work in batches is committed or not begun, and writes to n8n are
undone from their journal, in a section that nothing cuts off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from wfops_pipelines.domain.errors import Cancelled, TimedOut


class Stop:
    """Stops the task in which it was made."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - there is one wherever a loop runs
        self._task = task
        self._wanted: Cancelled | TimedOut | None = None
        self._sent = False
        self._over = False
        self._uncut = 0
        self._writing = 0

    def ask(self, why: Cancelled | TimedOut) -> None:
        """Ask for it, from any thread. Once is enough; somebody's word comes before the clock's."""
        with suppress(RuntimeError):  # the loop is closed: there is nothing to stop
            self._loop.call_soon_threadsafe(self._take, why)

    def _take(self, why: Cancelled | TimedOut) -> None:
        if self._sent or self._over:
            return
        if self._wanted is None or isinstance(why, Cancelled):
            self._wanted = why
        if self._uncut or (self._writing and isinstance(self._wanted, TimedOut)):
            return
        self._sent = True
        self._task.cancel()

    def reason(self, error: BaseException) -> BaseException:
        """What an error is: the cancellation that was asked for here, or itself."""
        if isinstance(error, asyncio.CancelledError) and self._sent and self._wanted is not None:
            self._task.uncancel()
            self._sent = False
            return self._wanted
        return error

    def check(self) -> None:
        """Stop here, if it was asked for."""
        if self._wanted is not None and not self._sent and not self._over:
            raise self._wanted

    def too_late(self) -> None:
        """What is left is the end itself."""
        self._over = True

    @contextmanager
    def uncut(self) -> Iterator[None]:
        """A section that is not cut off; what is asked for meanwhile is told by :meth:`check`, or comes too late."""
        self._uncut += 1
        try:
            yield
        finally:
            self._uncut -= 1

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A section that the clock does not cut off, and people do: what it did is undone then."""
        self._writing += 1
        try:
            yield
        finally:
            self._writing -= 1
