"""The tick that looks for dead runs, with a real instance and processes that are really killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget
from dagster._grpc.client import DagsterGrpcClient

from wfops_pipelines.defs.maintenance.sensors import dead_runs
from wfops_pipelines.defs.resources import Wfops
from wfops_pipelines.services.command_runs import SILENT_LOOKS
from wfops_pipelines_tests.defs import hanging
from wfops_pipelines_tests.defs.conftest import Given
from wfops_pipelines_tests.servers.processes import child_environment, eventually

LIVES = "every run at work has its process"


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


@pytest.fixture
def at_work(tmp_path: Path) -> Path:
    return tmp_path / "at-work"


@contextmanager
def started(command: list[str], at_work: Path, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a group; all of it is killed in the end."""
    process = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, env={
        **child_environment(), hanging.AT_WORK: str(at_work), "DAGSTER_HOME": str(home)})
    try:
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL for the process and its children."""
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def tick(instance: dg.DagsterInstance) -> str:
    """What the sensor says. It asks for no runs."""
    answer = dead_runs(dg.build_sensor_context(instance=instance, resources={"wfops": Wfops()}))
    assert isinstance(answer, dg.SkipReason)
    return str(answer.skip_message)


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_run_of_a_killed_command_is_failed_at_the_next_tick(given: Given, instance: dg.DagsterInstance, tmp_path: Path,
                                                              at_work: Path) -> None:
    home = tmp_path / "dagster"
    with started(hanging_command(given, home), at_work, home) as command:
        eventually(at_work.exists)
        (run,) = instance.get_runs()
        assert tick(instance) == LIVES
        kill(command)
        assert run.run_id in tick(instance)
    assert status(instance, run.run_id) is dg.DagsterRunStatus.FAILURE
    assert tick(instance) == LIVES
    assert len(instance.get_runs()) == 1


def test_a_run_of_a_killed_command_on_another_host_is_failed_when_it_was_silent_for_long(
        given: Given, instance: dg.DagsterInstance, tmp_path: Path, at_work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "dagster"
    with started(hanging_command(given, home), at_work, home) as command:
        eventually(at_work.exists)
        (run,) = instance.get_runs()
        monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")  # of whoever looks
        for _ in range(2 * SILENT_LOOKS):
            assert tick(instance) == LIVES
            eventually(lambda: looks(given) == {run.run_id: 0})  # it spoke
        kill(command)
    for _ in range(SILENT_LOOKS - 1):
        assert tick(instance) == LIVES
    assert status(instance, run.run_id) is dg.DagsterRunStatus.STARTED
    assert run.run_id in tick(instance)
    assert status(instance, run.run_id) is dg.DagsterRunStatus.FAILURE
    assert looks(given) == {}
    (told,) = [e.message for e in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)]
    assert "has not been heard of" in told


@pytest.mark.usefixtures("given")
def test_a_run_whose_code_server_died_with_it_is_failed_once_the_server_is_back(
        instance: dg.DagsterInstance, tmp_path: Path, at_work: Path) -> None:
    home = tmp_path / "dagster"
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # an address of a socket is short
        address = f"{short}/code.sock"
        with started(serving(address), at_work, home) as first:
            eventually(lambda: answers(address))
            run_id = launch(instance, address)
            eventually(at_work.exists)
            assert tick(instance) == LIVES
            kill(first)
            assert tick(instance) == LIVES  # nobody can know while the server is away
        Path(address).unlink(missing_ok=True)
        with started(serving(address), at_work, home):
            eventually(lambda: answers(address))
            assert run_id in tick(instance)
            assert tick(instance) == LIVES
    assert status(instance, run_id) is dg.DagsterRunStatus.FAILURE


@pytest.mark.usefixtures("given")
def test_a_worker_that_died_while_the_database_was_away_is_noticed_when_it_is_back(tmp_path: Path, at_work: Path) -> None:
    home = tmp_path / "leaving"
    home.mkdir()
    (home / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\n"
        f"storage: {{custom: {{module: {hanging.__name__}, class: LeavingStorage, config: {{base_dir: '{home}'}}}}}}\n")
    with dg.DagsterInstance.from_config(str(home)) as instance, code_server(at_work, home) as address:
        run_id = launch(instance, address)
        eventually(at_work.exists)
        (home / hanging.AWAY).touch()
        os.kill(int(at_work.read_text()), signal.SIGKILL)
        eventually((home / hanging.REFUSED).exists)
        assert tick(instance) == LIVES  # the server could not tell anybody, and names the run as its own
        (home / hanging.AWAY).unlink()
        eventually(lambda: status(instance, run_id) is dg.DagsterRunStatus.FAILURE)


def hanging_command(given: Given, home: Path) -> list[str]:
    return [sys.executable, hanging.__file__, str(home), given.installation.urls.app]


def looks(given: Given) -> dict[str, int]:
    """How often it was looked at each command's run since its process spoke."""
    with psycopg.connect(given.installation.urls.owner) as owner:
        return dict(owner.execute("SELECT run_id, looks FROM command_runs").fetchall())


@contextmanager
def code_server(at_work: Path, home: Path) -> Iterator[str]:
    """The address of a code server that answers."""
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # an address of a socket is short
        address = f"{short}/code.sock"
        with started(serving(address), at_work, home):
            eventually(lambda: answers(address))
            yield address


def serving(address: str) -> list[str]:
    return [sys.executable, "-m", "dagster", "api", "grpc", "--socket", address, "--module-name", hanging.__name__,
            "--location-name", "hanging", "--log-level", "warning"]


def answers(address: str) -> bool:
    try:
        return DagsterGrpcClient(socket=address, host="localhost").ping("") is not None
    except Exception:  # whatever a server that is not there yet makes of it
        return False


def launch(instance: dg.DagsterInstance, address: str) -> str:
    """Launch the job at a code server, as the daemon does."""
    target = GrpcServerTarget(host="localhost", socket=address, port=None, location_name="hanging")
    with WorkspaceProcessContext(instance, target) as process:
        workspace = process.create_request_context()
        location = workspace.get_code_location("hanging")
        (repository,) = location.get_repositories().values()
        job = repository.get_full_job("hanging")
        run = instance.create_run_for_job(
            hanging.hanging, remote_job_origin=job.get_remote_origin(), job_code_origin=job.get_python_origin())
        instance.launch_run(run.run_id, workspace)
        return run.run_id
