"""What the tests of the use cases start: a database each, and one server for all sandboxes of the process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wfops_pipelines import failpoints
from wfops_pipelines.store import installation, migrate
from wfops_pipelines.store.engine import open_engine
from wfops_pipelines.store.secrets import SecretBox
from wfops_pipelines_tests.servers.asgi import serve
from wfops_pipelines_tests.servers.bare import make_bare
from wfops_pipelines_tests.servers.github import GitHubServer
from wfops_pipelines_tests.servers.postgres import TEST_KEY, PostgresServer
from wfops_pipelines_tests.services.fleet import Clock, FleetUnderTest, NewFleet, services_over
from wfops_pipelines_tests.services.hosting import SandboxHost


def prepare(owner_url: str) -> None:
    """A migrated database with its audit key: made once per run, then copied."""
    migrate.upgrade(owner_url)
    owner = open_engine(owner_url, pool_size=1)
    try:
        installation.ensure_audit_key(owner, SecretBox([TEST_KEY]), bytes(32))
    finally:
        owner.dispose()


@pytest.fixture(scope="session")
def sandbox_host() -> Iterator[SandboxHost]:
    host = SandboxHost()
    with serve(host) as url:
        host.url = url
        yield host


@pytest.fixture
def new_fleet(postgres_server: PostgresServer, fresh_database_urls: Callable[..., Any], sandbox_host: SandboxHost,
              tmp_path: Path) -> Iterator[Callable[..., FleetUnderTest]]:
    """``new_fleet(slugs, **tenant)``: a tenant with an n8n per slug and an empty repository, applied."""
    made: list[FleetUnderTest] = []

    def create(slugs: Any = ("prod",), *, repository_url: str | None = None, repository_options: Any = None,
               **options: Any) -> FleetUnderTest:
        urls, clock = fresh_database_urls(prepare), Clock()
        place = tmp_path / f"fleet-{len(made)}" if made else tmp_path
        fleet = FleetUnderTest(
            services=services_over(urls, postgres_server.box, place / "home", clock), host=sandbox_host,
            repository=make_bare(place / "acme.git"), clock=clock, urls=urls, box=postgres_server.box,
            home=place / "home", repository_url=repository_url, repository_options=repository_options or {})
        made.append(fleet)
        fleet.declare(slugs, **options)
        return fleet

    yield create
    failpoints.disarm()
    for fleet in made:
        fleet.services.store.close()


@pytest.fixture
def fleet(new_fleet: Callable[..., FleetUnderTest]) -> FleetUnderTest:
    """A tenant with one production environment."""
    return new_fleet()


@pytest.fixture
def hub_fleet(new_fleet: NewFleet, tmp_path: Path) -> Any:
    """A fleet whose repository is on a GitHub, and that GitHub."""
    with GitHubServer(tmp_path / "hub", tokens={"tok": "rw"}) as hub:
        bare = hub.make("acme/flows")
        fleet = new_fleet(git=False)
        fleet.repository = bare
        fleet.secrets["TOKEN"] = "tok"
        fleet.tenant["repository"] = {"url": f"{hub.url}/acme/flows", "provider": "github", "token": "env:TOKEN",
                                      "api_url": hub.api_url}
        fleet.declared("prod").update({"folder": "prod", "write_mode": "pull_request"})
        fleet.apply()
        yield fleet, hub
