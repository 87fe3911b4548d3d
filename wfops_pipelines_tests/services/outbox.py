"""Given: a tenant with notification targets, what is told them, and receivers that keep what they got."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from sqlalchemy import Row

from wfops_pipelines.domain.incident import IncidentStatus, Severity
from wfops_pipelines.domain.notices import IncidentClosed, IncidentOf, IncidentOpened, Notice
from wfops_pipelines.services.notices import tell
from wfops_pipelines.services.send_notifications import Sent, send_waiting
from wfops_pipelines_tests.servers.hostile import HostileServer, Request, http
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet


@dataclass
class Receiver:
    """A webhook: ``told`` are the messages it took, in their order. ``answer`` decides the status of each."""

    answer: Callable[[dict[str, Any]], int] = lambda message: 200
    told: list[dict[str, Any]] = field(default_factory=list)
    asked: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        self._server = HostileServer(self._take).__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.__exit__(*error)

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self._server.port}/hook"

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.told]

    @property
    def keys(self) -> list[str]:
        return [message["id"] for message in self.told]

    def _take(self, request: Request) -> bytes:
        message = json.loads(request.body)
        status = self.answer(message)
        with self._lock:
            self.asked += 1
            if status == 200:
                self.told.append(message)
        return http(status, {})


def with_targets(new_fleet: NewFleet, **urls: str) -> FleetUnderTest:
    """A tenant without environments that tells these targets."""
    fleet = new_fleet((), git=False)
    declare(fleet, **{name: {"url": url} for name, url in urls.items()})
    return fleet


def declare(fleet: FleetUnderTest, **targets: dict[str, Any]) -> None:
    """Make these the notification targets of the tenant; a target's ``url`` is kept as a secret."""
    declared = []
    for name, options in targets.items():
        variable = f"URL_{name.upper()}"
        if "url" in options:
            fleet.secrets[variable] = options["url"]
        declared.append({**options, "name": name, "url": f"env:{variable}"})
    fleet.tenant["notifications"] = declared
    fleet.apply(prune=True)


@dataclass(frozen=True)
class Incident:
    """Something to tell of."""

    fleet: FleetUnderTest
    title: str = "1 workflow changed"
    severity: Severity = Severity.HIGH
    incident_id: uuid.UUID = field(default_factory=uuid.uuid4)

    def opened(self) -> Notice:
        return IncidentOpened(self._of(IncidentStatus.DETECTED), self.fleet.clock.now())

    def closed(self) -> Notice:
        return IncidentClosed(self._of(IncidentStatus.CLOSED), self.fleet.clock.now(), by="local:ada")

    def _of(self, status: IncidentStatus) -> IncidentOf:
        return IncidentOf(self.incident_id, self.fleet.slug, "prod", self.title, self.severity, status,
                          self.fleet.clock.now())


def told(fleet: FleetUnderTest, *notices: Notice) -> None:
    """Each notice is put into the outbox, as its use case does it."""
    for notice in notices:
        with fleet.services.store.bookkeeping(fleet.context, "test") as work:
            tell(work, notice)


def send(fleet: FleetUnderTest) -> Sent:
    """One round."""
    return send_waiting(fleet.services)


def outbox(fleet: FleetUnderTest, status: str | None = None) -> list[Row[Any]]:
    """Messages, oldest first."""
    with fleet.services.store.read(fleet.context) as work:
        return work.outbox.listed(status, limit=10_000)[::-1]


@contextmanager
def receivers(number: int) -> Iterator[list[Receiver]]:
    """Several webhooks."""
    made = [Receiver().__enter__() for _ in range(number)]
    try:
        yield made
    finally:
        for receiver in made:
            receiver.__exit__(None, None, None)
