"""Calls that may hang, in threads that nobody has to wait for.

A pool's threads are joined when the interpreter ends, and an event loop's when the loop does: one server that answers drop
by drop would keep the whole process. These are daemon threads, one for each call.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def call_unwaited(call: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> Future[T]:
    """Begin the call; what it gives, or raises, is in the future once it ends."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def work() -> None:
        try:
            result = call(*arguments, **options)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    Thread(target=work, name="unwaited", daemon=True).start()
    return future


async def in_own_thread(call: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """As ``asyncio.to_thread``, for what may take minutes: a loop has six threads on a machine of two cores, for all that
    is to be recorded, and some that hang would keep everybody from them."""
    context = contextvars.copy_context()
    return await asyncio.wrap_future(call_unwaited(lambda: context.run(call, *arguments, **options)))
