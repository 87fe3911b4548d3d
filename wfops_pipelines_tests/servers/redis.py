"""A Redis server of a test's own, in memory, on a free port of loopback.

Tests that use it are skipped where ``redis-server`` is not installed; with ``WFOPS_REQUIRE_REDIS=1`` (CI) they fail instead.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from wfops_pipelines_tests.servers.processes import eventually


def redis_program() -> str:
    """The server's program; without one the test is skipped, or fails where Redis is required."""
    found = shutil.which("redis-server")
    if found is not None:
        return found
    missing = "redis-server is not installed: apt-get install redis-server"
    if os.environ.get("WFOPS_REQUIRE_REDIS") == "1":
        pytest.fail(missing)
    pytest.skip(missing)


@contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    """The URL of a server that is there until the block is left."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen([redis_program(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                                    "--dir", str(folder)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        eventually(lambda: process.poll() is not None or _answers(port), within=30)
        assert process.poll() is None, (folder / "redis.log").read_text()
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(30)


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")
    return False
