"""How many runs wait and work, for monitoring."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

import dagster as dg
from sqlalchemy.exc import DBAPIError

from wfops_pipelines.bootstrap import Installation
from wfops_pipelines.defs.launch import StorageUnreachable, dagster_environment

WATCHED = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING,
           dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)


class RunCounts:
    """Counts runs by status; opens Dagster's instance when it is first asked, and keeps it. Nothing while its storage is
    away."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._instance: dg.DagsterInstance | None = None
        self._opening = threading.Lock()

    def __call__(self) -> Mapping[str, int]:
        """Runs that have not ended, by status; each status is there."""
        try:
            instance = self._opened()
            return {status.value: instance.get_runs_count(dg.RunsFilter(statuses=[status])) for status in WATCHED}
        except (StorageUnreachable, DBAPIError):  # no connection, or one that broke under the question
            return {}

    def close(self) -> None:
        """Give the instance back."""
        if self._instance is not None:
            self._instance.dispose()
            self._instance = None

    def _opened(self) -> dg.DagsterInstance:
        with self._opening:
            if self._instance is None:
                os.environ.update(dagster_environment(self._installation))
                self._instance = dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"])
            return self._instance
