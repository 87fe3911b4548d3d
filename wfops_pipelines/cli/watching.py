"""Following something until it has ended: a line for each thing that changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from wfops_pipelines.cli import terminal

_POLL: Final = 1.0  # seconds between two looks: it happens in other processes, which tell us nothing

Shown = dict[str, Any]


def follow(look: Callable[[], Shown], line: Callable[[Shown], str], *, goes_on: Callable[[Shown], bool]) -> Shown:
    """What ``look`` shows when it no longer ``goes_on``. Until then each new ``line`` about it goes to the error stream, the
    last one too."""
    said = ""
    while True:
        shown = look()
        if (text := line(shown)) != said:
            terminal.note(text)
            said = text
        if not goes_on(shown):
            return shown
        time.sleep(_POLL)
