"""Keeps the embedded PostgreSQL for a supervisor that may be killed.

The supervisor of ``wfops up`` holds the server, and the last holder stops it. One that is killed (``kill -9``) stops
nothing: the kernel takes its hold back, and the server would serve nobody. This program holds it too; it runs on a
leash, so that it is told when the supervisor is gone, and then stays until it is the last.

``python -m wfops_pipelines.embedded.keeper HOME SUPERVISOR_PID``, until SIGTERM.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import psutil

from wfops_pipelines.postgres.embedded import EmbeddedPostgres

PATIENCE_SECONDS = 25.0  # the other programs of the supervisor have less time to end than this
POLL_SECONDS = 0.1  # between two looks at a supervisor that is not our child, and at the server
_ENDING = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def main(arguments: list[str]) -> int:
    """Hold the server of a home until a signal comes; without a supervisor, see to it that the last one stops it."""
    postgres, supervisor = EmbeddedPostgres(Path(arguments[0])), psutil.Process(int(arguments[1]))
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # a signal waits until the hold is taken
    holder = postgres.acquire()
    signal.sigwait(_ENDING)
    holder.close()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _lives(supervisor) and postgres.status().lives and time.monotonic() < deadline:
        if not postgres.status().held:  # whoever held it last was killed as well
            postgres.acquire().close()
            break
        time.sleep(POLL_SECONDS)
    return 0


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
