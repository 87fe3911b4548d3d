"""A job whose op says that it is at work, and then never ends: ``python hanging.py DAGSTER_HOME`` runs it in this process.

It is a code location, too.
"""

import os
import signal
import sys
from pathlib import Path

import dagster as dg

from wfops_pipelines.defs.run_process import process_tags

AT_WORK = "WFOPS_TEST_AT_WORK"  # the file that says so


@dg.op
def hang() -> None:
    """Never end."""
    Path(os.environ[AT_WORK]).touch()
    while True:
        signal.pause()


@dg.job(executor_def=dg.in_process_executor)
def hanging() -> None:
    """Never end."""
    hang()


defs = dg.Definitions(jobs=[hanging])


def main() -> None:
    """Run it here, as a command does."""
    with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
        hanging.execute_in_process(instance=instance, tags=dict(process_tags()))


if __name__ == "__main__":
    main()
