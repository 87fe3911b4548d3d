"""What the tests of the use cases start: a database each, and one server for all sandboxes of the process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from wfops_pipelines import failpoints
from wfops_pipelines.services.repository_poll import RepositoryPoll
from wfops_pipelines.store import installation, migrate
from wfops_pipelines.store.engine import open_engine
from wfops_pipelines.store.secrets import SecretBox
from wfops_pipelines_tests.servers.asgi import serve
from wfops_pipelines_tests.servers.bare import make_bare
from wfops_pipelines_tests.servers.github import GitHubServer
from wfops_pipelines_tests.servers.postgres import TEST_KEY, PostgresServer
from wfops_pipelines_tests.services.fleet import Clock, FleetUnderTest, NewFleet, services_over
from wfops_pipelines_tests.services.hosting import SandboxHost
from wfops_pipelines_tests.services.moments import Moment
from wfops_pipelines_tests.services.polling import Looks, Polled


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


@dataclass
class Fleets:
    """Makes fleets, each with a database and a folder of its own."""

    server: PostgresServer
    host: SandboxHost
    folder: Path
    moments: dict[Callable[[NewFleet], FleetUnderTest], Moment]
    new_folder: Callable[[str], Path]
    made: list[FleetUnderTest] = field(default_factory=list)

    def __call__(self, slugs: Any = ("prod",), *, repository_url: str | None = None, repository_options: Any = None,
                 **options: Any) -> FleetUnderTest:
        urls, clock = self.server.create_database(prepare), Clock()
        place = self.folder / f"fleet-{len(self.made)}" if self.made else self.folder
        fleet = FleetUnderTest(
            services=services_over(urls, self.server.box, place / "home", clock), host=self.host,
            repository=make_bare(place / "acme.git"), clock=clock, urls=urls, box=self.server.box,
            home=place / "home", repository_url=repository_url, repository_options=repository_options or {})
        self.made.append(fleet)
        fleet.declare(slugs, **options)
        return fleet

    def as_left_by(self, build: Callable[[NewFleet], FleetUnderTest]) -> FleetUnderTest:
        if build not in self.moments:
            apart = replace(self, folder=self.new_folder("moment") / "fleet", made=[])
            self.moments[build] = Moment(build(apart), self.server)
        return self.moments[build].again()

    def close(self) -> None:
        for fleet in self.made:
            fleet.services.store.close()
            self.server.drop_database(fleet.urls.owner)
        for moment in self.moments.values():
            moment.leave()


@pytest.fixture(scope="session")
def moments() -> dict[Callable[[NewFleet], FleetUnderTest], Moment]:
    """The moments that tests of this process have gone back to, by what built them."""
    return {}


@pytest.fixture
def new_fleet(postgres_server: PostgresServer, sandbox_host: SandboxHost, tmp_path: Path,
              tmp_path_factory: pytest.TempPathFactory, moments: Any) -> Iterator[NewFleet]:
    """``new_fleet(slugs, **tenant)``: a tenant with an n8n per slug and an empty repository, applied."""
    fleets = Fleets(postgres_server, sandbox_host, tmp_path, moments, tmp_path_factory.mktemp)
    yield fleets
    failpoints.disarm()
    fleets.close()


def one_production(new_fleet: NewFleet) -> FleetUnderTest:
    """A tenant with one production environment."""
    return new_fleet()


@pytest.fixture
def fleet(new_fleet: NewFleet) -> FleetUnderTest:
    """A tenant with one production environment."""
    return new_fleet.as_left_by(one_production)


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


@pytest.fixture
def polled_of(new_fleet: NewFleet) -> Iterator[Callable[..., Polled]]:
    made: list[Polled] = []

    def make(*arguments: Any, **options: Any) -> Polled:
        fleet = new_fleet(*arguments, **options)
        looks = Looks(fleet.services)
        made.append(Polled(fleet, looks, RepositoryPoll(looks.watching(), shortest=60)))
        return made[-1]

    yield make
    for polled in made:
        if polled.looks.held is not None:
            polled.looks.held.set()
