"""What the tests of the poll share: fleets that are polled, with somebody in the way of the looks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

from wfops_pipelines.services.repository_poll import Poll, RepositoryPoll
from wfops_pipelines.services.services import Services
from wfops_pipelines_tests.services.fleet import FleetUnderTest


@dataclass
class Looks:
    """Counts looks at branches, and gets in their way."""

    services: Services
    seen: list[str] = field(default_factory=list)
    error: Exception | None = None
    failing: Collection[str] | None = None  # the branches that have the error, all unless it is told
    held: threading.Event | None = None
    holding: Collection[str] | None = None  # the branches that are held, all unless it is told
    most_held: int = 0
    _held_now: int = 0
    _alone: threading.Lock = field(default_factory=threading.Lock)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def hold(self) -> None:
        """Keep one look waiting until ``held`` is set; ``most_held`` is how many were kept at once."""
        assert self.held is not None
        with self._alone:
            self._held_now += 1
            self.most_held = max(self.most_held, self._held_now)
        self.held.wait(60)
        with self._alone:
            self._held_now -= 1

    def watching(self) -> Services:
        """The services, whose repositories are looked at through this."""
        real, looks = self.services.open_repository, self

        def opened(source: Any, *, cache: Any) -> Any:
            repository = real(source, cache=cache)
            head = repository.head

            def look(branch: str) -> str | None:
                looks.seen.append(branch)
                looks.entered.release()
                if looks.held is not None and (looks.holding is None or branch in looks.holding):
                    looks.hold()
                if looks.error is not None and (looks.failing is None or branch in looks.failing):
                    raise looks.error
                return head(branch)
            repository.head = look  # type: ignore[method-assign]
            return repository
        return replace(self.services, open_repository=opened)


@dataclass
class Polled:
    """A fleet that is polled."""

    fleet: FleetUnderTest
    looks: Looks
    poll: RepositoryPoll

    def tick(self, **after: float) -> Poll:
        self.fleet.clock.pass_time(**after)
        return self.poll.tick(seconds=30)

    def moved(self, **after: float) -> list[tuple[str, str | None]]:
        """Who is to be refreshed; noted as asked for, as the sensor does."""
        poll = self.tick(**after)
        self.poll.note_asked(poll.moved)
        return [(one.environment, one.head) for one in poll.moved]

    def restart(self) -> None:
        self.poll = RepositoryPoll(self.looks.watching(), shortest=60)


def answering_late(services: Services, meanwhile: Callable[[], None]) -> Services:
    """The services, where something happens between the first head of a repository and that anybody hears of it."""
    real, to_come = services.open_repository, [meanwhile]

    def opened(source: Any, *, cache: Any) -> Any:
        repository = real(source, cache=cache)
        head = repository.head

        def late(branch: str) -> str | None:
            commit = head(branch)
            if to_come:
                to_come.pop()()
            return commit
        repository.head = late  # type: ignore[method-assign]
        return repository
    return replace(services, open_repository=opened)


def unreadable(polled: Polled) -> list[Any]:
    with polled.fleet.services.store.system() as system:
        return system.pushes.unreadable()


def with_tenants(fleet: FleetUnderTest, branches: dict[str, list[str]], url: str) -> None:
    """More tenants with environments that read a branch each; ``url`` has a place for the number of the branch."""
    first, number = fleet.tenant, 1
    for slug, names in branches.items():
        fleet.document["tenants"].append({**first, "slug": slug, "name": slug, "environments": []})
        for name in names:
            fleet.document["tenants"][-1]["environments"].append({
                **first["environments"][0], "slug": f"e{number}", "folder": name,
                "repository": {"url": url.format(number), "branch": name}})
            number += 1
    fleet.apply()
