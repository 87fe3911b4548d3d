"""Interrupts of runs reach the use case wherever its event loop is just then (§20)."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress

import dagster as dg
import pytest
from dagster._utils.interrupts import raise_interrupts_as

from wfops_pipelines.defs.interrupts import run_interruptibly


@pytest.fixture(autouse=True)
def _as_in_a_step() -> Iterator[None]:
    """Signals as Dagster has them while a step runs."""
    with raise_interrupts_as(dg.DagsterExecutionInterruptedError):
        yield


def interrupt(number: signal.Signals = signal.SIGINT) -> None:
    """One arrives at this process."""
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_in_the_middle_of_a_callback_is_not_lost(number: signal.Signals) -> None:
    undone: list[str] = []

    async def work() -> None:
        asyncio.get_running_loop().call_soon(interrupt, number)
        try:
            await asyncio.Event().wait()
        finally:
            undone.append("what was begun")

    with pytest.raises(dg.DagsterExecutionInterruptedError):
        run_interruptibly(work())
    assert undone == ["what was begun"]


def test_an_interrupt_before_the_first_step_lets_nothing_begin() -> None:
    begun: list[str] = []

    async def work() -> None:
        await asyncio.sleep(0)
        begun.append("something")

    waiting = work()
    original = asyncio.run

    def late(coroutine: object) -> object:
        interrupt()
        return original(coroutine)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch, pytest.raises(dg.DagsterExecutionInterruptedError):
        patch.setattr(asyncio, "run", late)
        run_interruptibly(waiting)
    assert begun == []


def test_one_that_comes_too_late_to_stop_the_work_still_ends_the_run() -> None:
    async def work() -> str:
        interrupt()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return "written"

    with pytest.raises(dg.DagsterExecutionInterruptedError):
        run_interruptibly(work())


def test_afterwards_signals_go_where_they_went_before() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    async def work() -> int:
        return 3

    assert run_interruptibly(work()) == 3
    assert {number: signal.getsignal(number) for number in before} == before


def test_a_cancellation_of_its_own_is_not_taken_for_an_interrupt() -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run_interruptibly(work())


def test_in_another_thread_work_runs_as_it_is() -> None:
    done: list[int] = []

    async def work() -> int:
        return 5

    thread = threading.Thread(target=lambda: done.append(run_interruptibly(work())))
    thread.start()
    thread.join()
    assert done == [5]
