"""Named places where a test can make the process fail: before and after each commit and each outside call.

A failpoint is a call ``reach("sync.batch.before_commit")`` that does nothing until it is armed. Arming takes
a specification, one or more ``NAME=ACTION[@N]`` separated by commas: the action happens when the name is reached
for the Nth time (default the first) and only that once, except ``delay`` which happens every time from then on.

=============  ======================================================
``raise``      raise :class:`FailpointReached`
``kill``       SIGKILL this process: nothing gets to clean up
``delay:MS``   sleep so many milliseconds, in the calling thread
=============  ======================================================

Nothing is armed in production: the only readers of a specification are tests and ``WFOPS_FAILPOINTS`` (settings).
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass


class FailpointReached(RuntimeError):
    """Raised by an armed failpoint; deliberately outside our tree of errors, so that no handler expects it."""


@dataclass(slots=True)
class _Armed:
    action: str
    nth: int
    reached: int = 0


_armed: dict[str, _Armed] = {}
_met: Counter[str] | None = None
_lock = threading.Lock()


def parse(specification: str) -> dict[str, tuple[str, int]]:
    """``"a=kill@3,b=raise"`` → ``{"a": ("kill", 3), "b": ("raise", 1)}``; :class:`ValueError` names a bad part."""
    parsed: dict[str, tuple[str, int]] = {}
    for part in filter(None, (p.strip() for p in specification.split(","))):
        name, equals, rest = part.partition("=")
        action, at, nth = rest.partition("@")
        known = action in {"raise", "kill"} or (action.startswith("delay:") and action[6:].isdigit())
        if not (name and equals and known) or (at and not (nth.isdigit() and int(nth) > 0)):
            raise ValueError(f"bad failpoint {part!r}: expected NAME=raise|kill|delay:MS[@N]")
        parsed[name] = (action, int(nth) if at else 1)
    return parsed


def arm(specification: str) -> None:
    """Arm the failpoints of a specification, in addition to those armed already."""
    with _lock:
        for name, (action, nth) in parse(specification).items():
            _armed[name] = _Armed(action, nth)


def disarm() -> None:
    """Disarm everything and stop recording."""
    global _met  # noqa: PLW0603 - one process, one set of failpoints
    with _lock:
        _armed.clear()
        _met = None


def record() -> Counter[str]:
    """Start recording the names that are reached, and how often; the returned counter fills as they are."""
    global _met  # noqa: PLW0603
    _met = Counter()
    return _met


def reach(name: str) -> None:
    """Pass a failpoint. Inert, and one dictionary look-up long, unless a test armed it."""
    if _met is not None:
        _met[name] += 1
    if not _armed:
        return
    with _lock:
        armed = _armed.get(name)
        if armed is None:
            return
        armed.reached += 1
        due = armed.reached == armed.nth or (armed.action.startswith("delay:") and armed.reached > armed.nth)
    if not due:
        return
    if armed.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif armed.action == "raise":
        raise FailpointReached(name)
    else:
        time.sleep(int(armed.action[6:]) / 1000)
