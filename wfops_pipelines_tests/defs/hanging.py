"""A job whose op says that it is at work, and then never ends: ``python hanging.py DAGSTER_HOME DATABASE_URL`` runs it in this
process, as a command does.

It is a code location, too.
"""

import os
import signal
import sys
import uuid
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData

from wfops_pipelines.defs.maintenance.dead_workers import keep_noticing_dead_workers
from wfops_pipelines.defs.run_process import process_tags
from wfops_pipelines.services.command_runs import living_run
from wfops_pipelines.store.engine import StoreUrls
from wfops_pipelines.store.secrets import SecretBox
from wfops_pipelines.store.unit_of_work import Store
from wfops_pipelines_tests.servers.postgres import TEST_KEY

AT_WORK = "WFOPS_TEST_AT_WORK"  # the file that says so, with the process that is
AWAY, REFUSED = "away", "refused"  # files beside the database: the one says that it is away, the other that somebody noticed

keep_noticing_dead_workers()


class LeavingStorage(DagsterSqliteStorage):
    """A storage that cannot be opened while it is away. Who has it open keeps it."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> DagsterSqliteStorage:  # type: ignore[override]
        """Called by Dagster in every process that opens the instance, and by the code server for each worker that died."""
        directory = Path(config_value["base_dir"])
        if (directory / AWAY).exists():
            (directory / REFUSED).touch()
            raise ConnectionError("the database is away")
        return super().from_config_value(inst_data, config_value)


@dg.op
def hang() -> None:
    """Never end."""
    draft = Path(os.environ[AT_WORK] + ".draft")
    draft.write_text(str(os.getpid()))
    draft.rename(os.environ[AT_WORK])
    while True:
        signal.pause()


@dg.job(executor_def=dg.in_process_executor)
def hanging() -> None:
    """Never end."""
    hang()


defs = dg.Definitions(jobs=[hanging])


def main() -> None:
    """Run it here, as a command does."""
    home, url = sys.argv[1:]
    run_id, store = str(uuid.uuid4()), Store(StoreUrls(url, url, url), SecretBox([TEST_KEY]))
    with dg.DagsterInstance.from_config(home) as instance, living_run(store, run_id, every=0.05):
        hanging.execute_in_process(instance=instance, run_id=run_id, tags=dict(process_tags()))


if __name__ == "__main__":
    main()
