"""Locks that the kernel gives back: `flock` on small files, so that a killed process leaves nothing stale.

A lock belongs to the open file, not to the process: whoever inherits the descriptor holds it too, until the last of
them is gone.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.02  # between two tries: a file lock that is awaited has no time limit of its own
LOOK_SECONDS = POLL_SECONDS / 2  # whoever only looks has a lock for no longer: it is tried twice


class LockFile:
    """One open lock file. Closing it gives the lock back, unless another process inherited it."""

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._process = os.getpid()

    def fileno(self) -> int:
        """The descriptor, to be passed on to a child that is to hold the lock as well."""
        if self._descriptor is None:
            raise ValueError("the lock file is closed")
        return self._descriptor

    def try_exclusive(self) -> bool:
        """Take the lock alone, if nobody else holds it at all."""
        try:
            fcntl.flock(self.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def shared(self) -> None:
        """Take the lock together with others, as soon as nobody holds it alone."""
        fcntl.flock(self.fileno(), fcntl.LOCK_SH)

    def exclusive(self, *, within: float) -> bool:
        """Wait up to ``within`` seconds for the lock alone."""
        deadline = time.monotonic() + within
        while not self.try_exclusive():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def release(self) -> None:
        """Give the lock back also for processes that were forked off meanwhile, and close."""
        if self._descriptor is not None and self._process == os.getpid():
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self.close()

    def close(self) -> None:
        """Close the file; processes that inherited the descriptor keep the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextmanager
def opened(path: Path) -> Iterator[LockFile]:
    """A lock file that is closed at the end."""
    lock = LockFile(path)
    try:
        yield lock
    finally:
        lock.close()
