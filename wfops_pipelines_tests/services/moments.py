"""A fleet as somebody left it, again and again: tests that begin at the same moment build it once per process.

Building a fleet with drift and an acknowledged incident takes a second of work that such tests are not about. Going back
to it takes a twentieth: a copy of its database, its repository and home as they were, each n8n as it was, the clock set
back. Nothing is made up, and nothing that a test did is seen by the next one.
"""

from __future__ import annotations

import copy
import shutil
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from wfops_pipelines.n8n.sandbox import SandboxState
from wfops_pipelines.services import operations
from wfops_pipelines.store.engine import StoreUrls
from wfops_pipelines.store.unit_of_work import Store
from wfops_pipelines_tests.servers.postgres import PostgresServer
from wfops_pipelines_tests.servers.statements import share_statements
from wfops_pipelines_tests.services.fleet import FleetUnderTest

_GIVEN = ("clock", "new_id", "rng", "lock")  # what a sandbox was made with, and not what it holds


@dataclass
class Moment:
    """A fleet at one moment. It has a folder for itself, and only one of those who went back is at work at a time."""

    fleet: FleetUnderTest
    server: PostgresServer
    _now: FleetUnderTest | None = None
    _time: datetime = field(init=False)
    _kept: Path = field(init=False)
    _n8n: dict[str, dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.fleet.services.store.close()  # a database that somebody uses cannot be copied
        self._time = self.fleet.clock.time
        self._n8n = {slug: _held(environment.sandbox.state) for slug, environment in self.fleet.environments.items()}
        self._kept = self._place.with_name(f"{self._place.name}-kept")
        shutil.copytree(self._place, self._kept, symlinks=True)

    @property
    def _place(self) -> Path:
        return self.fleet.home.parent

    def again(self) -> FleetUnderTest:
        """The fleet as it was. Whoever went back before is done."""
        self.leave()
        operations._unended.clear()  # what this process could not end was after that moment
        shutil.rmtree(self._place)
        shutil.copytree(self._kept, self._place, symlinks=True)
        self.fleet.clock.time = self._time
        for slug, environment in self.fleet.environments.items():
            environment.sandbox.faults.clear()
            self.fleet.host.requests[environment.url.rpartition("/")[2]].clear()
            vars(environment.sandbox.state).update(copy.deepcopy(self._n8n[slug]))
        urls = self.server.copy_database(self.fleet.urls)
        store = share_statements(Store(StoreUrls(urls.owner, urls.app, urls.system), self.fleet.box))
        now = replace(self.fleet, urls=urls, services=replace(self.fleet.services, store=store), environments={},
                      document=copy.deepcopy(self.fleet.document), secrets=dict(self.fleet.secrets))
        now.environments |= {slug: replace(environment, fleet=now) for slug, environment in self.fleet.environments.items()}
        self._now = now
        return now

    def leave(self) -> None:
        """Give back what the last one used."""
        if self._now is not None:
            self._now.services.store.close()
            self.server.drop_database(self._now.urls.owner)
            self._now = None


def _held(state: SandboxState) -> dict[str, Any]:
    """A copy of what an n8n holds."""
    return copy.deepcopy({name: value for name, value in vars(state).items() if name not in _GIVEN})
