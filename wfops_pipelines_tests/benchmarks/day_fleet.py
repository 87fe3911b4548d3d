"""The fleet of a simulated day: tenants with dev, staging and prod, their n8n behind one port, their Git repositories on disk,
and what goes wrong with all of them (:class:`Weather`)."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from wfops_pipelines.bootstrap import Installation
from wfops_pipelines.services.alert_rules import set_rule
from wfops_pipelines.services.services import Services
from wfops_pipelines_tests.servers.bare import BareRepository, make_bare
from wfops_pipelines_tests.services.fleet import Clock, Environment, FleetUnderTest, calling, workflow
from wfops_pipelines_tests.services.hosting import SandboxHost

INTERVAL = 1800.0  # seconds between two checks of an environment, and between two looks at a repository
SLUGS = ("dev", "staging", "prod")
NAMES = ("Orders", "Invoices", "Reminders", "Digest", "Library")
VERSIONS = 4  # of a workflow that a sandbox keeps: its memory is not what is measured

FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "status", "status": 500}, {"kind": "status", "status": 503, "html": True}, {"kind": "html", "status": 200},
    {"kind": "status", "status": 400, "method": "PUT"}, {"kind": "status", "status": 400}, {"kind": "reset"},
    {"kind": "late_reset", "method": "PUT", "times": 2}, {"kind": "late_reset", "method": "POST", "times": 2}, {"kind": "cut"},
    {"kind": "refuse"}, {"kind": "forbid"}, {"kind": "wrong_json"}, {"kind": "rate_limit", "retry_after": 0},
    {"kind": "latency", "ms": 7000, "times": 2}, {"kind": "endless", "path": "/workflows$", "method": "GET", "times": 40},
    {"kind": "drip", "ms": 50, "times": 2}, {"kind": "status", "status": 500, "after": 2, "times": 3})
"""What an n8n does when it is not well."""


@dataclass
class DayHost(SandboxHost):
    """All the n8n, and ``/told``, which takes the messages that people get. Keeps no list of what it was asked."""

    messages: Counter[str] = field(default_factory=Counter)
    deaf: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/told":
            self.messages["refused" if self.deaf else "taken"] += 1
            await PlainTextResponse("", 503 if self.deaf else 200)(scope, receive, send)
            return
        await super().__call__(scope, receive, send)

    def forget(self) -> None:
        """What was asked, and old versions of workflows."""
        for asked in self.requests.values():
            asked.clear()
        for sandbox in self.sandboxes.values():
            with sandbox.state.lock:
                for record in sandbox.state.workflows.values():
                    kept = {record.version_id, record.active_id, *list(record.versions)[-VERSIONS:]}
                    for version in [each for each in record.versions if each not in kept]:
                        del record.versions[version]


def make_tenant(number: int, services: Services, installed: Installation, host: DayHost, clock: Clock,
                folder: Path) -> FleetUnderTest:
    """One tenant, applied; its n8n hold the same workflows, and its repository is empty."""
    slug = f"t{number:03d}"
    fleet = FleetUnderTest(
        services=services, host=host, repository=make_bare(folder / f"{slug}.git"), clock=clock, urls=installed.urls,
        box=installed.secrets, home=installed.settings.home, slug=slug)
    fleet.secrets["TOLD"] = host.url.replace("http://", "json://") + "/told"
    fleet.declare(
        SLUGS, name=f"Tenant {number}",
        drift_policy={"auto_create_incidents": True, "auto_create_for_production_only": number % 3 == 0,
                      "severity_ttls": {"critical": 2, "high": 4, "medium": 6, "low": 12}},
        notifications=[{"name": "on-call", "url": "env:TOLD", "digest_minutes": 15 * (number % 3)}],
        pipelines=[{"name": "standard", "stages": [{"source": one, "target": other} for one, other in pairwise(SLUGS)]}])
    for environment in SLUGS:
        fleet.declared(environment).update(allow_production=True, snapshot_hours=6 if environment == "prod" else 0)
        fill(fleet[environment], number)
    fleet.apply()
    if number % 4 == 0:
        set_rule(services, fleet.context, "drift", {"metric": "drifted_workflows", "comparison": ">=", "threshold": 1})
    return fleet


def fill(environment: Environment, number: int) -> None:
    """The same workflows under the same ids everywhere, one of which calls another."""
    made = [workflow(name, text=f"{name} of {number}", id=f"w{number}{name}", active=name != "Library")
            for name in NAMES[1:]]
    environment.create_in_n8n(*made, calling(NAMES[0], f"w{number}Library", id=f"w{number}{NAMES[0]}"))


def share(fleet: FleetUnderTest) -> None:
    """What was exported of dev is in Git for the others too."""
    files = fleet["dev"].files()
    fleet.repository.commit({f"{slug}/{path}": data for slug in SLUGS[1:] for path, data in files.items()})


def read_one(repository: BareRepository, folder: str, chance: random.Random) -> tuple[str, dict[str, Any]] | None:
    """A workflow's file in a folder, and what it says."""
    if repository.head() is None:
        return None
    names = [name for name in repository.text("ls-tree", "-r", "--name-only", "main", f"{folder}/").splitlines()
             if name.endswith(".json")]
    if not names:
        return None
    path = chance.choice(sorted(names))
    return path, json.loads(repository.git("cat-file", "blob", f"main:{path}"))


@dataclass
class Weather:
    """What is away or broken, until which tick. It changes with each tick, by chance."""

    fleets: list[FleetUnderTest]
    clock: Clock
    admin_url: str
    chance: random.Random
    sick: dict[str, int] = field(default_factory=dict)  # n8n by name
    away: dict[str, int] = field(default_factory=dict)  # repositories by tenant
    deaf_until: int = 0
    met: Counter[str] = field(default_factory=Counter)

    def change(self, tick: int) -> None:
        """What is over, and what begins."""
        for fleet in self.fleets:
            for environment in fleet.environments.values():
                self._n8n(environment, tick)
            self._repository(fleet, tick)
        host = self._host()
        if host.deaf and tick >= self.deaf_until:
            host.deaf = False
        elif self.chance.random() < 0.01:
            host.deaf, self.deaf_until = True, tick + self.chance.randint(1, 6)
            self.met["receiver of messages away"] += 1
        if self.chance.random() < 0.03:
            self.clock.pass_time(seconds=-self.chance.choice([1, 30, 90, 240]))
            self.met["clock back"] += 1

    def _host(self) -> DayHost:
        host = self.fleets[0].host
        assert isinstance(host, DayHost)
        return host

    def _n8n(self, environment: Environment, tick: int) -> None:
        name = environment.url
        if name in self.sick and tick >= self.sick[name]:
            environment.sandbox.faults.clear()
            del self.sick[name]
        if name not in self.sick and self.chance.random() < 0.004:
            fault = dict(self.chance.choice(FAULTS))
            self.met[f"n8n: {fault['kind']} {fault.get('status', '')}".rstrip()] += 1
            environment.sandbox.faults.add(fault.pop("kind"), **fault)
            self.sick[name] = tick + self.chance.randint(1, 6)

    def _repository(self, fleet: FleetUnderTest, tick: int) -> None:
        path = fleet.repository.path
        if fleet.slug in self.away and tick >= self.away[fleet.slug]:
            path.with_suffix(".away").rename(path)
            del self.away[fleet.slug]
        elif fleet.slug not in self.away and self.chance.random() < 0.001:
            path.rename(path.with_suffix(".away"))
            self.away[fleet.slug] = tick + self.chance.randint(1, 4)
            self.met["repository away"] += 1

    def cut_connections(self, share: float = 1.0) -> None:
        """PostgreSQL ends connections of everybody, as an administrator does it."""
        with psycopg.connect(self.admin_url, autocommit=True) as admin:
            ended = admin.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid() AND random() < %s", (share,)).fetchone()
        assert ended is not None
        self.met["connections cut"] += ended[0]

    def clear_up(self) -> None:
        """Everything is well, and everybody there, again."""
        for fleet in self.fleets:
            for environment in fleet.environments.values():
                environment.sandbox.faults.clear()
            if fleet.slug in self.away:
                fleet.repository.path.with_suffix(".away").rename(fleet.repository.path)
        self.sick.clear()
        self.away.clear()
        self._host().deaf = False


