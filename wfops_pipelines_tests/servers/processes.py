"""Child processes of tests: where they find the code, and waiting for conditions instead of sleeping."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).parents[2]


def child_environment() -> dict[str, str]:
    """Our environment, in which a Python child finds this repository."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))}


def eventually(condition: Callable[[], bool], *, within: float = 60.0) -> None:
    """Return soon after the condition holds; fail when it does not hold within a generous time. Looking takes a quarter of
    the time at most: what is waited for wants the processor, too."""
    deadline = time.monotonic() + within
    looked = time.monotonic()
    while not condition():
        now = time.monotonic()
        assert now < deadline, "the condition did not come true"
        time.sleep(max(0.01, 3 * (now - looked)))
        looked = time.monotonic()


def processes_with(text: str) -> list[str]:
    """The command lines of this machine's living processes in which the text occurs, such as the URL of a test's server."""
    lines = (" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
    return [line for line in lines if text in line]
