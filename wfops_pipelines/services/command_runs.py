"""Runs that a command does in its own process say that they live, so that another host can tell when they do not.

On the same host the process is looked up, and a dead one is known at once (``defs.maintenance.dead_runs``). From elsewhere,
out of another container say, it is known by its silence alone, as the holder of a lease is (spec §20).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator

from wfops_pipelines.domain.errors import StoreError
from wfops_pipelines.store.unit_of_work import Store

SPEAK_SECONDS = 10.0
SILENT_LOOKS = 12
"""Looks are ten seconds apart at least (the sensor's shortest interval), and by default thirty: two to six minutes."""


@contextlib.contextmanager
def living_run(store: Store, run_id: str, *, every: float = SPEAK_SECONDS) -> Iterator[None]:
    """Say that the run lives, now and every so many seconds until the block ends. A database that is away meanwhile is no
    concern of the block; :class:`StoreError` when it is away at the start."""
    with store.command_runs() as runs:
        runs.speak(run_id)
    ended = threading.Event()
    voice = threading.Thread(target=_speak, args=(store, run_id, every, ended), name="living-run", daemon=True)
    voice.start()
    try:
        yield
    finally:
        ended.set()
        voice.join(timeout=every)
        with contextlib.suppress(StoreError), store.command_runs() as runs:  # else whoever looks forgets it
            runs.forget([run_id])


def _speak(store: Store, run_id: str, every: float, ended: threading.Event) -> None:
    while not ended.wait(every):
        with contextlib.suppress(StoreError), store.command_runs() as runs:  # the next time tells
            runs.speak(run_id)


def silent_runs(store: Store) -> list[str]:
    """Look once, and name the runs that have been silent for so long that their process is taken for dead."""
    with store.command_runs() as runs:
        return runs.look(silent_after=SILENT_LOOKS)


def forget(store: Store, run_ids: Collection[str]) -> None:
    """Runs that are known to have ended are looked at no more."""
    if run_ids:
        with store.command_runs() as runs:
            runs.forget(run_ids)
