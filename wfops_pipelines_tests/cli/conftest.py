"""What the tests of the command line start: one database server per run, one fleet per module that asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from wfops_pipelines_tests.cli.fleet import Fleet, running_fleet
from wfops_pipelines_tests.servers.postgres import PostgresServer, postgres_server

__all__ = ["postgres_server"]


@pytest.fixture(scope="module")
def fleet(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Tenant ``acme`` with dev, staging and prod, three workflows in each; nothing is applied, nothing is in Git."""
    with running_fleet(postgres_server, tmp_path_factory.mktemp("fleet")) as fleet:
        fleet.seed()
        yield fleet
