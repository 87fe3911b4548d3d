"""Real n8n servers as fixtures: ``n8n_v2`` (2.41.1) and ``n8n_v1`` (1.123.81), one of each per test process.

Tests that use them carry the mark ``n8n``. Where n8n is not installed they are skipped with the command that installs
it; with ``WFOPS_REQUIRE_N8N=1`` (CI) they fail instead. ``WFOPS_N8N_CACHE`` names another cache than the default.

With pytest-xdist run them by ``-n 2 --dist loadgroup``: tests marked ``xdist_group("n8n2")`` or ``("n8n1")`` then stay
in one worker, which starts one server of that version. Servers are never shared between processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from wfops_pipelines.embedded.n8n_server import N8nInstall, N8nServer, default_cache, find_install

V1 = "1.123.81"
V2 = "2.41.1"


def installed(version: str) -> N8nInstall:
    """The install of this version; without one the test is skipped, or fails where n8n is required."""
    found = find_install(version, Path(os.environ.get("WFOPS_N8N_CACHE") or default_cache()))
    if found is not None:
        return found
    missing = (f"n8n {version} is not installed: python -m wfops_pipelines.embedded.n8n_server install {version}"
               " (or make test-n8n)")
    if os.environ.get("WFOPS_REQUIRE_N8N") == "1":
        pytest.fail(missing)
    pytest.skip(missing)


def _server(version: str, folder: Path) -> Iterator[N8nServer]:
    with N8nServer.start(installed(version), folder) as server:
        yield server


@pytest.fixture(scope="session")
def n8n_v2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[N8nServer]:
    """A real n8n 2.41.1, empty at the start of the session."""
    yield from _server(V2, tmp_path_factory.mktemp("n8n2") / "server")


@pytest.fixture(scope="session")
def n8n_v1(tmp_path_factory: pytest.TempPathFactory) -> Iterator[N8nServer]:
    """A real n8n 1.123.81, empty at the start of the session."""
    yield from _server(V1, tmp_path_factory.mktemp("n8n1") / "server")
