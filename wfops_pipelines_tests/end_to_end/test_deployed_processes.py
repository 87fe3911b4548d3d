"""The commands of ``deploy/compose.yaml``, run as they are but for addresses: code server, read-only UI and API find the database,
the definitions and each other."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import yaml

from wfops_pipelines.embedded.dagster_web import DagsterWeb
from wfops_pipelines_tests.cli.fleet import database_settings
from wfops_pipelines_tests.deploy.files import read
from wfops_pipelines_tests.servers.postgres import PostgresServer
from wfops_pipelines_tests.servers.processes import REPOSITORY, eventually
from wfops_pipelines_tests.servers.system import clean_environment

pytestmark = pytest.mark.system

MODULES = {"dagster": "dagster", "dagster-webserver": "dagster_webserver"}
_WIPE = "mutation { wipeAssets(assetPartitionRanges: []) { __typename } }"


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def command_of(service: str, replaced: dict[str, str]) -> list[str]:
    """What Compose starts, with other addresses."""
    program, *arguments = read("compose.yaml")["services"][service]["command"]
    arguments = [replaced.get(argument, argument) for argument in arguments]
    return [sys.executable, *arguments] if program == "python" else [sys.executable, "-m", MODULES[program], *arguments]


@contextmanager
def running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is gone with its children when the block is left."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, cwd=log.parent, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                   start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def answers(url: str) -> bool:
    """Whether it answers with success."""
    with suppress(httpx.HTTPError):
        return httpx.get(url, trust_env=False, timeout=5).is_success
    return False


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.fixture
def environment(tmp_path: Path, postgres_server: PostgresServer) -> dict[str, str]:
    """As in the container: a database elsewhere, the image's directories."""
    dagster = tmp_path / "dagster"
    dagster.mkdir()
    shutil.copyfile(REPOSITORY / "dagster.yaml", dagster / "dagster.yaml")
    return clean_environment(tmp_path / "home", DAGSTER_HOME=str(dagster), WFOPS_METRICS_TOKEN="t0ken",
                             **database_settings(postgres_server))


def test_code_server_read_only_ui_and_api_work_as_compose_starts_them(tmp_path: Path, environment: dict[str, str]) -> None:
    code, ui, api = free_ports(3)
    workspace = tmp_path / "home" / "run" / "workspace.yaml"
    workspace.parent.mkdir(parents=True)
    document = read("dagster/workspace.yaml")
    document["load_from"][0]["grpc_server"] |= {"host": "127.0.0.1", "port": code}
    workspace.write_text(yaml.safe_dump(document))
    other = {"0.0.0.0": "127.0.0.1", "4000": str(code), "3000": str(ui), "3900": str(api),
             "/opt/dagster/workspace.yaml": str(workspace)}
    with ExitStack() as stack:
        def start(name: str, is_ready: Callable[[], bool]) -> None:
            log = tmp_path / f"{name}.log"
            process = stack.enter_context(running(command_of(name, other), environment, log))
            eventually(lambda: process.poll() is not None or is_ready(), within=240)
            assert process.poll() is None, log.read_text()[-4000:]

        web = DagsterWeb(f"http://127.0.0.1:{ui}")
        stack.callback(web.close)
        start("code", lambda: listens(code))
        start("ui-readonly", web.answers)
        start("api", lambda: answers(f"http://127.0.0.1:{api}/api/v1/health"))
        eventually(web.location_loaded, within=120)
        health = subprocess.run([sys.executable, "-m", "dagster", "api", "grpc-health-check", "--port", str(code)],
                                env=environment, capture_output=True, text=True, check=False)
        assert health.returncode == 0, health.stderr
        assert answers(f"http://127.0.0.1:{ui}/server_info")
        refused = httpx.post(f"http://127.0.0.1:{ui}/graphql", json={"query": _WIPE}, trust_env=False, timeout=30).json()
        assert refused["data"]["wipeAssets"]["__typename"] == "UnauthorizedError"

        assert httpx.get(f"http://127.0.0.1:{api}/metrics", trust_env=False).status_code == 401
        figures = httpx.get(f"http://127.0.0.1:{api}/metrics", headers={"Authorization": "Bearer t0ken"}, trust_env=False,
                            timeout=60).text
        assert "wfops_store_up 1.0" in figures
        assert 'wfops_runs{status="QUEUED"} 0.0' in figures
