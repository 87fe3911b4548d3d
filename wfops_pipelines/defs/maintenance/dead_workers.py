"""The code server goes on noticing workers that died, also after the database was away.

A thread of the server looks for them twice a second, reports their runs, and forgets them. It opens the instance for that,
and Dagster lets the first error end it: from then on the server names runs whose worker is gone as its own, and nobody ends
them (``dead_runs`` believes it) before the longest run time.
"""

import logging
import time

from dagster._grpc.server import DagsterApiServer

_PAUSE_SECONDS = 5.0  # after an error: most are a database that is away, and tell nothing new twice a second
_look = DagsterApiServer._check_for_orphaned_runs
log = logging.getLogger("wfops.dead_workers")


def keep_noticing_dead_workers() -> None:
    """Let the code server of this process, if it is one, look again after an error. The thread asks the class for the method
    each time, so it does not matter that the server was made before; twice is as good as once.

    This replaces one private method. Nothing public says whether that thread lives or which process a run has; to doubt the
    server from outside would need more private names (its thread's, its table of workers, the texts of events), and would
    leave it without a thread, which also ends the server once it was told to stop. Where Dagster renames the method, the
    import fails, and is noticed.
    """
    DagsterApiServer._check_for_orphaned_runs = _look_or_say  # type: ignore[assignment,method-assign]


def _look_or_say(server: DagsterApiServer) -> None:
    try:
        _look(server)
    except Exception as error:  # whatever opening an instance and writing to it may raise
        log.warning("workers that died could not be looked for, and will be again: %s", type(error).__name__)
        time.sleep(_PAUSE_SECONDS)  # the server's lock is free meanwhile
