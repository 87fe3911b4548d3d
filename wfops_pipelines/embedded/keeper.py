"""Keeps the embedded PostgreSQL for a supervisor that may be killed.

The supervisor of ``wfops up`` holds the server, and the last holder stops it. One that is killed (``kill -9``) stops
nothing: the kernel takes its hold back, and the server would serve nobody. This program holds it too; it runs on a
leash, which tells it by SIGHUP when the supervisor is gone, and then it stays until it is the last.

Until then it watches the server: one that died, or ended itself because its disk was full, is started again.

``python -m wfops_pipelines.embedded.keeper HOME``, until SIGTERM.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil
import psycopg

from wfops_pipelines.domain.errors import WfopsError
from wfops_pipelines.postgres.embedded import EmbeddedPostgres, Holder

PATIENCE_SECONDS = 25.0  # the other programs of the supervisor have less time to end than this
POLL_SECONDS = 0.1  # between two looks whether anybody holds the server still
WATCH_SECONDS = 5.0  # between two looks whether the server lives
RETRY_SECONDS = 30.0  # after a start that failed: what keeps it from starting does not go away by itself
SUPERVISOR_GONE = signal.SIGHUP
_ENDING = {signal.SIGTERM, signal.SIGINT, SUPERVISOR_GONE}


def main(arguments: list[str]) -> int:
    """Hold the server of a home until a signal comes; without a supervisor, see to it that the last one stops it."""
    postgres = EmbeddedPostgres(Path(arguments[0]))
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # a signal waits until the hold is taken
    holder = postgres.acquire()
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(postgres, holder, over), name="watch", daemon=True)
    watch.start()
    number = signal.sigwait(_ENDING)
    over.set()
    watch.join()  # a server that it starts is one to let go of
    holder.close()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while SUPERVISOR_GONE in {number, *signal.sigpending()} and holder.stands():
        if postgres.stop_if_unheld():  # whoever held it last was killed as well
            break
        if signal.SIGTERM in signal.sigpending() or time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    if not holder.stands():
        holder.interrupt()
    return 0


def _watch(postgres: EmbeddedPostgres, holder: Holder, over: threading.Event) -> None:
    """Start the server again whenever it is gone. What keeps it from starting is said."""
    pause = WATCH_SECONDS
    while not over.wait(pause):
        pause = WATCH_SECONDS
        try:
            # A busy one is left alone.
            if _is_there(holder) and not holder.lives() and _is_there(holder):  # it may be deleted while we look
                _say("PostgreSQL is gone: it is started again")
                postgres.acquire().close()  # we hold it still: this does not stop it
                _say("PostgreSQL answers again")
        except (WfopsError, OSError, psutil.Error, psycopg.Error) as error:
            pause = RETRY_SECONDS
            _say(f"{error}\nIt is tried again in {pause:.0f} s.")


def _is_there(holder: Holder) -> bool:
    """Where somebody deleted the home, or the data, nobody wants an empty database in its place."""
    return holder.stands() and holder.data.is_dir()


def _say(text: str) -> None:
    with suppress(OSError):  # the disk may be full
        sys.stderr.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {text}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
