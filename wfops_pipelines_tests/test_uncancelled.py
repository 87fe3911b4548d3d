"""Who is cancelled while a thread is at work hears of it once the thread has ended."""

from __future__ import annotations

import asyncio
import threading

import pytest

from wfops_pipelines.uncancelled import in_thread, to_its_end

PATIENCE = 60


def work_that_waits(begun: threading.Event, go_on: threading.Event, done: list[str]) -> str:
    begun.set()
    assert go_on.wait(PATIENCE)
    done.append("done")
    return "result"


def test_who_is_not_cancelled_gets_the_result_or_the_error() -> None:
    async def fails() -> None:
        raise ValueError("no")

    assert asyncio.run(in_thread(lambda: "result")) == "result"
    with pytest.raises(ValueError, match="no"):
        asyncio.run(to_its_end(fails()))


@pytest.mark.parametrize("fails", [False, True])
def test_who_is_cancelled_hears_of_it_when_the_work_has_ended_however_it_did(fails: bool) -> None:
    begun, go_on, done = threading.Event(), threading.Event(), list[str]()

    def work() -> str:
        result = work_that_waits(begun, go_on, done)
        if fails:
            raise ValueError(result)
        return result

    async def story() -> list[str]:
        waiting = asyncio.create_task(in_thread(work))
        await asyncio.to_thread(begun.wait, PATIENCE)
        waiting.cancel()
        await asyncio.sleep(0)
        assert not waiting.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return list(done)

    assert asyncio.run(story()) == ["done"]


def test_who_is_cancelled_twice_does_not_wait() -> None:
    begun, go_on, done = threading.Event(), threading.Event(), list[str]()

    async def story() -> list[str]:
        waiting = asyncio.create_task(in_thread(work_that_waits, begun, go_on, done))
        await asyncio.to_thread(begun.wait, PATIENCE)
        for _ in range(2):
            waiting.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        left = list(done)
        go_on.set()
        return left

    assert asyncio.run(story()) == []


def test_who_is_cancelled_waits_no_longer_than_told_for_what_hangs() -> None:
    ended: list[str] = []

    async def hangs() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled, too")
            raise

    async def story() -> None:
        waiting = asyncio.create_task(to_its_end(hangs(), 0.01))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.sleep(0)

    asyncio.run(story())
    assert ended == ["cancelled, too"]
