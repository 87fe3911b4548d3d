"""Runs whose process is gone: Dagster would show them as started for ever (``facts/dagster`` §6).

A run that a command did in its own process says host, boot, pid and when that process began in its tags; on another host
its silence speaks (``services.command_runs``). One from the queue says at which code server it was started; its process is a
child of that one and does not outlive it. Dagster notices when a worker dies and its code server lives; when both died and
the server was started anew, the new one does not know the run.
"""

import json
import socket
from collections.abc import Collection, Mapping
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import GetCurrentRunsResult
from dagster._serdes import deserialize_value

from wfops_pipelines.defs.run_process import BEGAN_TAG, BOOT_TAG, HOST_TAG, NAMESPACE_TAG, PID_TAG
from wfops_pipelines.services.holder import boot_id, lives, pid_namespace

CODE_SERVER_TAG = ".dagster/grpc_info"  # what Dagster's default launcher writes
_AT_WORK = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def report_dead_runs(instance: dg.DagsterInstance, *, gone_code_server: str | None = None,
                     silent: Collection[str] = ()) -> list[str]:
    """End runs at work whose process is gone, and return their ids: those that were being cancelled as cancelled, others
    as failed, which Dagster tries again if they came from the queue. ``gone_code_server`` is the socket of a code server
    that is known not to run; ``silent`` are runs of commands whose processes have not said for long that they live."""
    dead = []
    servers = _CodeServers()
    for record in instance.get_run_records(dg.RunsFilter(statuses=_AT_WORK)):
        run = record.dagster_run
        why = _why_dead(run, gone_code_server, servers, started_at=record.start_time, silent=run.run_id in silent)
        if why is None:
            continue
        now = instance.get_run_by_id(run.run_id)
        if now is None or now.is_finished:  # it ended while we looked
            continue
        message = f"The run's process is gone: {why}."
        if now.status is dg.DagsterRunStatus.CANCELING:  # as failed it is tried again, by an id nobody cancelled
            instance.report_run_canceled(now, message=message)
        else:
            instance.report_run_failed(now, message=message)
        dead.append(run.run_id)
    return dead


class _CodeServers:
    """Code servers, each asked once which runs it has at work."""

    def __init__(self) -> None:
        self._runs: dict[str, set[str] | None] = {}

    def disown(self, server: Mapping[str, Any], run_id: str) -> bool:
        """Whether a code server answers, and does not know the run."""
        key = json.dumps(server, sort_keys=True)
        if key not in self._runs:
            self._runs[key] = _runs_at(server)
        runs = self._runs[key]
        return runs is not None and run_id not in runs


def _runs_at(server: Mapping[str, Any]) -> set[str] | None:
    """The runs whose processes a code server holds; none when it does not answer."""
    try:
        client = DagsterGrpcClient(port=server.get("port"), socket=server.get("socket"),
                                   host=server.get("host", "localhost"), use_ssl=bool(server.get("use_ssl", False)))
        answer = deserialize_value(client.get_current_runs(), GetCurrentRunsResult)
    except DagsterUserCodeUnreachableError:
        return None
    return None if answer.serializable_error_info is not None else set(answer.current_runs)


def _why_dead(run: dg.DagsterRun, gone_code_server: str | None, servers: _CodeServers, *,
              started_at: float | None, silent: bool) -> str | None:
    """Why a run cannot be at work any more; nothing when it may be, or when nobody here can know."""
    if PID_TAG in run.tags:
        return _why_ended(run.tags, silent=silent)
    server = _code_server(run.tags)
    if server is None:
        return None
    if gone_code_server is not None and server.get("socket") == gone_code_server:
        return "its code server was stopped"
    # A run that has started was made known to its server before; one that is starting may not be yet.
    if started_at is not None and servers.disown(server, run.run_id):
        return "its code server was started anew"
    return None


def _code_server(tags: Mapping[str, str]) -> dict[str, Any] | None:
    """How the code server of a run is reached; none when its tags do not say so. People can write tags, too."""
    try:
        server = json.loads(tags.get(CODE_SERVER_TAG, ""))
    except ValueError:
        return None
    return server if isinstance(server, dict) and (server.get("socket") or server.get("port")) else None


def _why_ended(tags: Mapping[str, str], *, silent: bool) -> str | None:
    """Why the process that a run's tags name is none any more. One of this host is looked up; of another's, or another
    container's, its silence alone is known. People can write tags."""
    try:
        pid, began_at = tags[PID_TAG], float(tags.get(BEGAN_TAG, ""))
    except ValueError:
        return None
    if tags.get(HOST_TAG) != socket.gethostname() or tags.get(NAMESPACE_TAG, pid_namespace()) != pid_namespace():
        return f"process {pid} of {tags.get(HOST_TAG)} has not been heard of" if silent else None
    if not pid.isdecimal():
        return None
    if tags.get(BOOT_TAG) != boot_id():
        return "the machine was started anew"
    return None if lives(int(pid), began_at) else f"process {pid} has ended"
