"""The only door from the command line and the API into Dagster (``design``: who executes).

Every act is a run, so that the run and event log tells the whole story. A job runs *in this process* against the Dagster
instance, which needs no daemon and shows in the UI like any other run, or is *submitted* to the queue.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_postgres.utils import DagsterPostgresException
from dagster_shared.error import SerializableErrorInfo

from wfops_pipelines.bootstrap import Installation, use_installation
from wfops_pipelines.defs.actors import ACTOR_TAG, actor_tags
from wfops_pipelines.defs.actors import EVEN_PAUSED_TAG as _EVEN_PAUSED
from wfops_pipelines.defs.inventory.refresh_queue import REFRESH_JOB, DagsterRefreshQueue
from wfops_pipelines.defs.location import defs
from wfops_pipelines.defs.maintenance import cancelling
from wfops_pipelines.defs.partitions import sync_partitions
from wfops_pipelines.defs.run_process import process_tags
from wfops_pipelines.defs.storage import STORAGE_VARIABLE
from wfops_pipelines.domain.errors import QueueFull, WfopsError
from wfops_pipelines.domain.run_tags import REQUEST_TAG, TENANT_TAG
from wfops_pipelines.services.command_runs import living_run

EVEN_PAUSED_TAG = _EVEN_PAUSED
Interrupted = dg.DagsterExecutionInterruptedError
"""What Ctrl-C becomes while a job runs in this process; it is no ``Exception``."""
StorageUnreachable = DagsterPostgresException
"""What Dagster's storage raises when it has tried to connect for a while."""
LAUNCH_SECONDS = 240
"""How long the code server may take to start a worker. By Dagster's 60 s a busy machine fails runs whose workers come up
a little later; it is less than what run monitoring gives a start (dagster.yaml), which would fail them too."""
_SUBMIT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Launched:
    """A run: its outputs when it was run here, nothing but its id when it was submitted."""

    run_id: str
    success: bool
    outputs: list[dict[str, Any]]
    failure: str | None = None
    waited_already: bool = False  # the same was asked for before, and waits in the queue: this is that run


def dagster_environment(installation: Installation) -> dict[str, str]:
    """The variables that Dagster's processes need, for this process and its children."""
    home = prepare_home(installation)
    return {
        "DAGSTER_HOME": str(home), STORAGE_VARIABLE: installation.dagster_url(),
        "WFOPS_HOME": str(installation.settings.home),
        "DAGSTER_EVENT_BATCH_SIZE": "500", "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS": "true",
        "DAGSTER_DISABLE_TELEMETRY": "1", "DAGSTER_GRPC_TIMEOUT_SECONDS": str(LAUNCH_SECONDS),
    }


def prepare_home(installation: Installation) -> Path:
    """DAGSTER_HOME with our ``dagster.yaml`` in it. One that is there and differs was made by an earlier version of ours,
    unless the user named the directory: then it is the user's and stays."""
    home = installation.settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    target = home / "dagster.yaml"
    source = Path(__file__).parent / "dagster.yaml"
    ours = "DAGSTER_HOME" not in os.environ
    if not target.exists() or (ours and target.read_bytes() != source.read_bytes()):
        draft = home / f".dagster.yaml.{os.getpid()}"
        shutil.copyfile(source, draft)
        draft.replace(target)
    return home


@contextmanager
def dagster_instance(installation: Installation) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of this installation."""
    os.environ.update(dagster_environment(installation))
    with dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as instance:
        yield instance


def follow_fleet(installation: Installation) -> None:
    """Make Dagster's partitions those of the database's tenants and environments, without waiting for the sensor."""
    with dagster_instance(installation) as instance:
        sync_partitions(instance, installation.services)


def run_job(installation: Installation, job: str, ops: Mapping[str, Mapping[str, Any]], *, actor: str,
            tags: Mapping[str, str] | None = None, detach: bool = False) -> Launched:
    """Run a job with the config of its ops, here, or with ``detach`` through the queue of the running daemon. Dagster's
    partitions follow the fleet first.

    :class:`Interrupted` when Ctrl-C ended it here: its operations have recorded that they were cancelled.
    """
    config: dict[str, Any] = {"ops": {name: {"config": dict(values)} for name, values in ops.items()}}
    use_installation(installation)
    run_id = str(uuid.uuid4())
    proved = {**(tags or {}), **actor_tags(actor, run_id, installation.services.store.audit_key)}
    with dagster_instance(installation) as instance:
        sync_partitions(instance, installation.services)
        if detach:
            with installation.services.store.one_at_a_time(f"queue of {(tags or {}).get(TENANT_TAG, '')}"):
                waiting = _waiting(instance, job, config, proved, installation.settings.longest_queue)
                return waiting or _submit(job, config, run_id, proved | {REQUEST_TAG: _request(job, config, proved)})
        config["loggers"] = {"console": {"config": {"log_level": "CRITICAL"}}}  # the screen is the caller's
        with living_run(installation.services.store, run_id):
            result = defs.resolve_job_def(job).execute_in_process(
                instance=instance, run_config=config, raise_on_error=False,
                run_id=run_id, tags={**proved, **process_tags()})
    outputs: list[dict[str, Any]] = []
    for name in ops:
        if any(event.is_successful_output and event.node_name == name for event in result.all_events):
            outputs += result.output_for_node(name)
    failed = next((e for e in result.all_events if e.is_step_failure), None)
    ended = next((e for e in result.all_events if e.event_type is dg.DagsterEventType.PIPELINE_FAILURE), None)
    cancelled = any(event.event_type is dg.DagsterEventType.PIPELINE_CANCELED for event in result.all_events)
    if cancelled or (failed is not None and _was_interrupted(failed.step_failure_data.error)) or (
            ended is not None and _was_interrupted(ended.job_failure_data.error)):  # between two steps, or before the first
        raise Interrupted
    message = _reason(failed) if failed is not None else _reason_of_run(ended) if ended is not None else None
    return Launched(result.run_id, result.success, outputs, message)


@contextmanager
def open_refresh_queue(installation: Installation) -> Iterator[DagsterRefreshQueue]:
    """The queue of an installation, with the code location as the running system names it, where there is one."""
    use_installation(installation)
    running = installation.settings.home / "run" / "workspace.yaml"
    with dagster_instance(installation) as instance:
        workspace = running if running.exists() else Path(__file__).parent / "workspace.yaml"
        yield DagsterRefreshQueue(instance, defs.resolve_job_def(REFRESH_JOB), workspace)


def _was_interrupted(error: SerializableErrorInfo | None) -> bool:
    return error is not None and error.cls_name in {"DagsterExecutionInterruptedError", "KeyboardInterrupt"}


def _reason(failed: dg.DagsterEvent) -> str:
    """Why a step failed: the description of a failure that was told, else the first cause."""
    data = failed.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return data.user_failure_data.description
    return _first_cause(data.error)


def _reason_of_run(ended: dg.DagsterEvent) -> str:
    """Why a run failed beside its steps: Dagster's own storage was away, say."""
    return _first_cause(ended.job_failure_data.error) if ended.job_failure_data.error is not None else ended.message or ""


def _first_cause(error: SerializableErrorInfo | None) -> str:
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else "no reason recorded"


def _request(job: str, config: Mapping[str, Any], tags: Mapping[str, str]) -> str:
    """What is asked for, by whom: the same for the same."""
    return hashlib.sha256(json.dumps([job, config, tags.get(TENANT_TAG), tags[ACTOR_TAG], tags.get(EVEN_PAUSED_TAG)],
                                     sort_keys=True).encode()).hexdigest()


def _waiting(instance: dg.DagsterInstance, job: str, config: Mapping[str, Any], tags: Mapping[str, str],
             longest: int) -> Launched | None:
    """The run that waits already for what is asked for; one that works may have read too early. :class:`QueueFull` where the
    tenant has as many waiting as it may (§20)."""
    waits = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]
    same = instance.get_runs(dg.RunsFilter(tags={REQUEST_TAG: _request(job, config, tags)}, statuses=waits), limit=1)
    if same:
        return Launched(same[0].run_id, success=True, outputs=[], waited_already=True)
    tenant = tags.get(TENANT_TAG)
    count = instance.get_runs_count(dg.RunsFilter(tags={TENANT_TAG: tenant}, statuses=waits)) if tenant is not None else 0
    if count >= longest:
        raise QueueFull(f"{count} runs of {tenant} wait in the queue, and no more than {longest} may",
                        fix="wait, cancel some (wfops cancel RUN), or raise WFOPS_LONGEST_QUEUE")
    return None


def run_of_operation_stops(installation: Installation, run_id: str | None) -> bool:
    """Say of an operation's run that it is being cancelled, where it works for that environment alone; whether it does."""
    with dagster_instance(installation) as instance:
        return cancelling.run_of_operation_stops(instance, run_id)


def run_to_cancel(installation: Installation, run_id: str) -> str | None:
    """The status of a run, none if there is none such; :class:`ForbiddenTransition` for one that has ended."""
    with dagster_instance(installation) as instance:
        cancelling.refuse_ended(instance, run_id)
        return cancelling.run_status(instance, run_id)


def cancel_run(installation: Installation, run_id: str) -> str:
    """Cancel a run as the UI does; its status afterwards."""
    with dagster_instance(installation) as instance:
        return cancelling.cancel_run(instance, run_id)


def _submit(job: str, config: Mapping[str, Any], run_id: str, tags: Mapping[str, str]) -> Launched:
    """Submit through Dagster's own command: it loads the workspace and leaves the run to the daemon's queue."""
    workspace = Path(__file__).parent / "workspace.yaml"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "dagster", "job", "launch", "-w", str(workspace), "-j", job, "--run-id", run_id,
             "--config-json", json.dumps(config), "--tags", json.dumps(dict(tags))],
            env={**os.environ, "PYTHONSAFEPATH": "1"}, capture_output=True, text=True, timeout=_SUBMIT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise WfopsError(f"the run {run_id} could not be submitted within {_SUBMIT_SECONDS:.0f} seconds",
                         fix="ask again when the machine is less busy, unless the UI shows a run of that id") from None
    if done.returncode != 0:
        raise WfopsError(f"the run could not be submitted: {done.stderr.strip().splitlines()[-1:]}",
                         fix="is the database reachable? `wfops doctor` looks")
    return Launched(run_id, success=True, outputs=[])
