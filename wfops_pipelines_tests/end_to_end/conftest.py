"""Three real n8n servers, a bare repository served over HTTP, and a home for ``wfops``, once per module that asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from wfops_pipelines.embedded.n8n_server import N8nServer
from wfops_pipelines_tests.end_to_end.real_fleet import Person, RealFleet, own_home
from wfops_pipelines_tests.servers.n8n import V2, installed


@pytest.fixture(scope="module")
def real_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealFleet]:
    """dev, staging and prod as real n8n 2.x servers, empty; nothing is applied."""
    folder = tmp_path_factory.mktemp("fleet")
    n8n = installed(V2)
    with ExitStack() as running:
        servers = {slug: running.enter_context(N8nServer.start(n8n, folder / slug)) for slug in ("dev", "staging", "prod")}
        fleet = RealFleet(running.enter_context(own_home(folder)), servers)
        for slug, server in servers.items():
            fleet.people[slug] = Person(server)
            running.callback(fleet.people[slug].close)
        yield fleet
