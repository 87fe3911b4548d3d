"""Starting and stopping a real n8n."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.embedded.n8n_server import N8nServer
from wfops_pipelines_tests.servers.n8n import V1, V2, installed

pytestmark = pytest.mark.n8n


def _names(server: N8nServer) -> list[str]:
    answer = httpx.get(f"{server.url}/api/v1/workflows", headers={"x-n8n-api-key": server.api_key}, trust_env=False)
    assert answer.status_code == 200
    return [workflow["name"] for workflow in answer.json()["data"]]


@pytest.mark.parametrize("version", [V2, V1])
def test_a_server_keeps_its_data_from_start_to_start(version: str, tmp_path: Path) -> None:
    n8n = installed(version)
    with N8nServer.start(n8n, tmp_path / "server") as server:
        assert _names(server) == []
        httpx.post(f"{server.url}/api/v1/workflows", headers={"x-n8n-api-key": server.api_key}, trust_env=False,
                   json={"name": "kept", "nodes": [], "connections": {}, "settings": {}}).raise_for_status()
    assert server.process.poll() is not None
    with N8nServer.start(n8n, tmp_path / "server") as again:
        assert _names(again) == ["kept"]


def test_two_servers_run_side_by_side(tmp_path: Path) -> None:
    n8n = installed(V2)
    with N8nServer.start(n8n, tmp_path / "one") as one, N8nServer.start(n8n, tmp_path / "two") as two:
        assert one.url != two.url
        assert _names(one) == _names(two) == []


def test_a_server_that_does_not_come_up_says_why(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UsageError, match="already in use") as raised:
        N8nServer.start(installed(V1), tmp_path / "server", port=taken.getsockname()[1])
    assert "n8n.log" in (raised.value.fix or "")


def test_it_runs_from_the_command_line_until_it_is_told_to_end(tmp_path: Path) -> None:
    cache = installed(V1).folder.parent
    command = [sys.executable, "-m", "wfops_pipelines.embedded.n8n_server", "start", V1, "--cache", str(cache),
               "--folder", str(tmp_path / "server")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            said = json.loads(process.stdout.readline())
            answer = httpx.get(f"{said['url']}/api/v1/workflows", headers={"x-n8n-api-key": said["api_key"]}, trust_env=False)
            assert answer.status_code == 200
        finally:
            process.terminate()
        assert process.wait(30) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(said["url"], trust_env=False)
