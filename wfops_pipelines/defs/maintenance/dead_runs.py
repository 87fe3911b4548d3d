"""Runs whose process is gone: Dagster would show them as started for ever (``facts/dagster`` §6).

A run that a command did in its own process says host, boot and pid in its tags. One from the queue says at which code
server it was started; its process is a child of that one and does not outlive it.
"""

import json
import socket

import dagster as dg
import psutil

from wfops_pipelines.defs.launch import BOOT_TAG, HOST_TAG, PID_TAG
from wfops_pipelines.services.holder import boot_id

CODE_SERVER_TAG = ".dagster/grpc_info"  # what Dagster's default launcher writes
_AT_WORK = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def report_dead_runs(instance: dg.DagsterInstance, *, gone_code_server: str | None = None) -> list[str]:
    """Report runs at work whose process is gone as failed, and return their ids; those from the queue are then tried
    again by Dagster. ``gone_code_server`` is the socket of a code server that is known not to run."""
    dead = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=_AT_WORK)):
        run = record.dagster_run
        why = _why_dead(run, gone_code_server, started_at=record.start_time)
        if why is not None:
            instance.report_run_failed(run, message=f"The run's process is gone: {why}.")
            dead.append(run.run_id)
    return dead


def _why_dead(run: dg.DagsterRun, gone_code_server: str | None, *, started_at: float | None) -> str | None:
    """Why a run cannot be at work any more; nothing when it may be, or when nobody here can know."""
    if PID_TAG in run.tags:
        if run.tags.get(HOST_TAG) != socket.gethostname():
            return None
        if run.tags.get(BOOT_TAG) != boot_id():
            return "the machine was started anew"
        return None if _lives(int(run.tags[PID_TAG]), started_at) else f"process {run.tags[PID_TAG]} has ended"
    server = json.loads(run.tags.get(CODE_SERVER_TAG, "{}")).get("socket")
    if server is not None and server == gone_code_server:
        return "its code server was stopped"
    return None


def _lives(pid: int, started_at: float | None) -> bool:
    """Whether the process of a run lives: one that began after the run only has its number."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and (
            started_at is None or process.create_time() <= started_at + 2)
    except psutil.NoSuchProcess:
        return False
