"""Counting calls to n8n and Git, by what came of them, for the operation that makes them.

Providers say what they did (:func:`count`) and know nothing of operations; an operation says where that goes
(:func:`count_into`), which its tasks and threads inherit. Without one nothing is counted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Literal

from wfops_pipelines.domain.errors import WfopsError

Service = Literal["n8n", "git"]
OK: Final = "ok"
CALLS: Final = "calls"
_HARDLY = 0.5  # seconds

_into: ContextVar[dict[str, Any] | None] = ContextVar("calls counted into", default=None)
_end: ContextVar[float | None] = ContextVar("when calls end", default=None)
_alone = threading.Lock()


def count_into(metrics: dict[str, Any]) -> None:
    """From here on, calls of this task and of those that it begins are counted in ``metrics["calls"][service][outcome]``."""
    _into.set(metrics)


def end_by(deadline: float) -> None:
    """From here on, calls of this task, and of those that it begins, that a thread waits for end by then (by the monotonic
    clock): a thread cannot be cancelled, as a task can."""
    _end.set(deadline)


def seconds_left(limit: float) -> float:
    """How long a call may take that may take ``limit`` seconds at most."""
    deadline = _end.get()
    return limit if deadline is None else max(0.0, min(limit, deadline - time.monotonic()))


def unanswered(seconds: float) -> str:
    """What is said of a call that had so many seconds (:func:`seconds_left`). Where hardly any were left, it is not whoever
    was asked that took them."""
    if seconds < _HARDLY:
        return "no time was left to wait for an answer: what came before had taken it"
    return f"no whole answer within {max(1.0, seconds):.0f} s"


def count(service: Service, outcome: str = OK) -> None:
    """One call was made: ``outcome`` is ``ok`` or the kind of the error."""
    metrics = _into.get()
    if metrics is None:
        return
    with _alone:
        outcomes = metrics.setdefault(CALLS, {}).setdefault(service, {})
        outcomes[outcome] = outcomes.get(outcome, 0) + 1


@contextmanager
def counted(service: Service) -> Iterator[None]:
    """Count the call in the block by whether it raises one of our errors."""
    try:
        yield
    except WfopsError as error:
        count(service, error.kind)
        raise
    count(service)
