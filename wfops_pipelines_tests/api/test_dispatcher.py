"""The dispatcher: what was kept is launched, also where nobody tells it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from wfops_pipelines.api import dispatcher
from wfops_pipelines.api.dispatcher import Dispatcher
from wfops_pipelines.services import push_dispatch
from wfops_pipelines.services.pausing import pause, resume
from wfops_pipelines.services.push_delivery import receive
from wfops_pipelines_tests.servers.processes import eventually
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet
from wfops_pipelines_tests.services.pushing import NotedQueue, delivered, deliveries, push_document, signing_fleet


@pytest.fixture
def fleet(new_fleet: NewFleet) -> FleetUnderTest:
    """A tenant with dev and prod, whose repository signs its webhooks."""
    return signing_fleet(new_fleet)


@contextmanager
def dispatching(fleet: FleetUnderTest) -> Iterator[NotedQueue]:
    queue = NotedQueue()

    @contextmanager
    def opened() -> Iterator[NotedQueue]:
        yield queue

    running = Dispatcher(fleet.services, opened)
    running.start()
    try:
        yield queue
    finally:
        running.stop()


def told_of(fleet: FleetUnderTest) -> set[str]:
    return {row.status for row in deliveries(fleet)}


def test_more_than_is_launched_at_once_is_launched_all_the_same(
        fleet: FleetUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_dispatch, "AT_ONCE", 2)
    for number in range(5):
        receive(fleet.services, delivered(push_document("prod/a.json", after=f"{number + 1:040x}")))
    with dispatching(fleet):
        eventually(lambda: told_of(fleet) == {"launched"})


def test_what_a_pause_held_back_is_launched_when_it_is_over_though_nobody_tells(
        fleet: FleetUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "LEFT_SECONDS", 0.05)
    pause(fleet.services, "acme", actor="local:ada", reason="work")
    with dispatching(fleet) as queue:
        receive(fleet.services, delivered(push_document("prod/a.json")))
        resume(fleet.services, "acme", actor="local:ada")
        eventually(lambda: told_of(fleet) == {"launched"})
    assert queue.submitted == [{("acme", "prod")}]
