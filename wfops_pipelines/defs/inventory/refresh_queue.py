"""Dagster's queue, for whoever stands outside of Dagster and must not wait: webhooks (§21).

A run is made and queued by the database alone, in part of a second and without a process for it. So it also works while
the daemon and the code server are away: the daemon takes the run when it is back.
"""

import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import OperationalError

from wfops_pipelines.defs.inventory import push_runs
from wfops_pipelines.domain.errors import StoreUnavailable
from wfops_pipelines.domain.pushes import Partition, RefreshRun
from wfops_pipelines.services.push_dispatch import ACTOR

LOCATION, REFRESH_JOB = "wfops", "refresh"
_CODE = JobPythonOrigin(REFRESH_JOB, RepositoryPythonOrigin(
    executable_path=sys.executable, code_pointer=ModuleCodePointer("wfops_pipelines.definitions", "defs"),
    container_image=os.environ.get("DAGSTER_CURRENT_IMAGE"), entry_point=["dagster"]))


class DagsterRefreshQueue:
    """The queue as pushes use it (``services.push_dispatch.RefreshQueue``); ``workspace`` is the file that names the code
    location to the daemon."""

    def __init__(self, instance: dg.DagsterInstance, job: dg.JobDefinition, workspace: Path) -> None:
        self._instance = instance
        self._workspace = workspace
        self._job = job

    def runs(self) -> list[RefreshRun]:
        """See ``RefreshQueue.runs``."""
        with _queue_errors():
            return push_runs.runs_of(self._instance)

    def submit(self, partitions: Collection[Partition], *, lane: str) -> str:
        """See ``RefreshQueue.submit``; :class:`StoreUnavailable` when Dagster's database is away."""
        config = {"ops": {"refresh_environments": {"config": push_runs.config_of(partitions, lane).model_dump()}}}
        with _queue_errors():
            run = self._instance.create_run_for_job(
                self._job, run_config=config, tags={**self._job.run_tags, **push_runs.tags_of(lane, ACTOR)},
                remote_job_origin=self._origin(), job_code_origin=_CODE)
            self._instance.report_dagster_event(dg.DagsterEvent.job_enqueue(run), run_id=run.run_id)  # the queue is a state
        return run.run_id

    def _origin(self) -> RemoteJobOrigin:
        """Where the daemon finds the job: read anew, for the system may have been started anew."""
        origins = WorkspaceFileTarget([str(self._workspace)]).create_origins()
        location = next((origin for origin in origins if origin.location_name == LOCATION), origins[0])
        return RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME).get_job_origin(REFRESH_JOB)


@contextmanager
def _queue_errors() -> Iterator[None]:
    try:
        yield
    except (DagsterPostgresException, OperationalError) as error:
        raise StoreUnavailable("Dagster's database does not answer", fix="is PostgreSQL up? `wfops doctor` looks") from error
