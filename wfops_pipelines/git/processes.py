"""Processes of git, of which none outlives what it is for.

Who started one ends it (:func:`end`), with its helpers (git-remote-https, ssh): each has a session, and so a process group,
of its own. Threads that nobody waits for may still wait for one when our interpreter ends; it is killed then. And where
we are killed ourselves, ``timeout`` (of coreutils) does it, as whose child git runs when it talks to a network: some 2 ms
a call. Local commands have no need of that: they come to their end, or to a pipe that nobody reads.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_GRACE = 5  # seconds that we have to end what is over its time, before ``timeout`` does
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.05  # seconds between two looks whether a process has exited

_SHELL = Path("/bin/sh")
_BLOCK_BYTES = 512  # in which a shell counts (POSIX)
#: A shell sets the limit, and is git from then on: between fork and exec, Python may run nothing where there are threads.
#: Without the signal, git says that a file is too large. Where the machine has a lower limit, that one stays.
_LIMITED = 'trap "" XFSZ; ulimit -f "$0" 2> /dev/null; exec "$@"'


class _Running:
    """What was started, and has not ended."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, as in a forked child: what its parent started is not its to end, nor its parent's lock to wait for."""
        self.alone = threading.RLock()
        self.processes: set[subprocess.Popen[bytes]] = set()


_running = _Running()
os.register_at_fork(after_in_child=_running.forget)


def start(command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], stdin: IO[bytes] | int, stderr: int,
          seconds: float | None = None, largest_file: int | None = None) -> subprocess.Popen[bytes]:
    """Start a process whose output is read through a pipe, for :func:`end` to end. ``seconds`` is how long it is waited for:
    somewhat later it is killed even if we are no more, where this machine has ``timeout``. No file that it writes gets
    larger than ``largest_file`` bytes."""
    watch = shutil.which("timeout") if seconds is not None else None
    if watch is not None and seconds is not None:
        command = [watch, "-s", "KILL", str(math.ceil(seconds) + _GRACE), *command]
    if largest_file is not None and _SHELL.exists():
        command = [str(_SHELL), "-c", _LIMITED, str(largest_file // _BLOCK_BYTES), *command]
    with _running.alone:
        process = subprocess.Popen(command, cwd=cwd, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, env=environment,
                                   start_new_session=True)
        _running.processes.add(process)
    return process


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has exited. It stays to be waited for where that can be, so that :func:`end` still finds its helpers."""
    if hasattr(os, "waitid") and process.returncode is None:
        with contextlib.suppress(ChildProcessError):  # it has, and somebody else has waited for it
            return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    return process.poll() is not None  # macOS before Python 3.13


def wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait until it has exited; :class:`TimeoutError` when that takes more than ``seconds``."""
    deadline = time.monotonic() + seconds
    pause = _SHORTEST_PAUSE
    while not has_ended(process):
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(pause)  # who has closed its pipes is gone in a moment
        pause = min(2 * pause, _LONGEST_PAUSE)


def end(process: subprocess.Popen[bytes]) -> None:
    """Make sure that the process and its helpers are gone and its pipes closed."""
    _kill(process)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()
    with _running.alone:
        _running.processes.discard(process)


@atexit.register
def _end_all() -> None:
    """Kill what runs when our interpreter ends. The lock is kept: nobody starts another one after that, and the threads that
    waited for these learn nothing of their end, which they would take for an answer."""
    _running.alone.acquire()
    for process in _running.processes:
        _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill it and its helpers, which may outlive it. Nobody else gets its number before it is waited for."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
            os.killpg(process.pid, signal.SIGKILL)
