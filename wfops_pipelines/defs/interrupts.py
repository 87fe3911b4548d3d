"""Interrupts of runs: Ctrl-C, "Terminate" in the UI, SIGTERM (§20).

Dagster raises an interrupt wherever the main thread happens to be. Inside an event loop that may be a callback of a future
or of a timer, and asyncio swallows there whatever is not a ``KeyboardInterrupt``: the run would go on as if nobody had
asked. So while a use case runs, an interrupt cancels its task, and Dagster's exception follows at the end.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine
from contextlib import suppress
from types import FrameType
from typing import Any, Final, TypeVar

import dagster as dg

T = TypeVar("T")

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def run_interruptibly(work: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` for ops and assets: each interrupt cancels ``work``, as cancelling a task does.

    Raises :class:`DagsterExecutionInterruptedError` once ``work`` has ended if there was any, even if it came too late to
    stop it: what would follow in the run does not. Outside the main thread no signal arrives, and nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        return asyncio.run(work)
    interrupts = _Interrupts()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        for number in _SIGNALS:
            signal.signal(number, interrupts.take)
        result = asyncio.run(interrupts.cancelling(work))
    except asyncio.CancelledError:
        if not interrupts.received:
            raise
        raise dg.DagsterExecutionInterruptedError from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if interrupts.received:
        raise dg.DagsterExecutionInterruptedError
    return result


class _Interrupts:
    """The interrupts of one use case."""

    def __init__(self) -> None:
        self.received = 0
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None

    def take(self, _number: int, _frame: FrameType | None) -> None:
        """The handler of the signals. The loop may be waiting, and a task must not be touched in the middle of a step."""
        self.received += 1
        if self._running is not None:
            loop, task = self._running
            with suppress(RuntimeError):  # the loop is closed: there is nothing to stop
                loop.call_soon_threadsafe(task.cancel)

    async def cancelling(self, work: Coroutine[Any, Any, T]) -> T:
        """``work``, which interrupts cancel from here on."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - there is one wherever a loop runs
        self._running = asyncio.get_running_loop(), task
        if self.received:
            task.cancel()
        return await work
