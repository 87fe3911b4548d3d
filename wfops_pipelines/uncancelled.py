"""Waiting for what goes on whether anybody waits or not: a thread, a server that was asked.

Cancelling the task that waits ends neither. Who then looked at what it had done so far, to undo it, would look too early.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def to_its_end(work: Coroutine[Any, Any, T], patience: float | None = None) -> T:
    """What the work gives, or raises. Who is cancelled meanwhile is so once it has ended, however it did, or ``patience``
    seconds later, when it is cancelled, too; who is cancelled again does not wait."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        _, hanging = await asyncio.wait({task}, timeout=patience)
        if hanging:
            task.cancel()
        elif not task.cancelled():
            task.exception()  # it is known: the cancellation is what is told
        raise


async def in_thread(call: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """As ``asyncio.to_thread``, :func:`to_its_end`."""
    return await to_its_end(asyncio.to_thread(call, *arguments, **options))
