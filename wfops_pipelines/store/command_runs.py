"""Which runs that commands do in their own process still say that they live.

A process sets the count of its run back to nothing each time it speaks; whoever looks adds one. So no clock is asked, and a
database that was away, or a watcher that was, makes nobody dead: silence counts only where somebody looked.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from wfops_pipelines.store.tables.command_runs import command_runs


class CommandRuns:
    """The rows of such runs, as the application's role; they belong to no tenant."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def speak(self, run_id: str) -> None:
        """The run's process lives."""
        self._connection.execute(insert(command_runs).values(run_id=run_id, looks=0).on_conflict_do_update(
            index_elements=["run_id"], set_={"looks": 0}))

    def forget(self, run_ids: Collection[str]) -> None:
        """These runs have ended."""
        self._connection.execute(delete(command_runs).where(command_runs.c.run_id.in_(run_ids)))

    def look(self, *, silent_after: int) -> list[str]:
        """Look once; the runs that have said nothing for so many looks in a row, this one among them."""
        self._connection.execute(update(command_runs).values(looks=command_runs.c.looks + 1))
        silent = select(command_runs.c.run_id).where(command_runs.c.looks >= silent_after).order_by(command_runs.c.run_id)
        return list(self._connection.execute(silent).scalars())
