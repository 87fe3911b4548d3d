"""What happens to one environment in a sweep, and what does not happen to its neighbours for it."""

from __future__ import annotations

import asyncio
import itertools
import threading
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from wfops_pipelines.domain.errors import StoreBusy, TimedOut, Unreachable
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.services import sweep_visits
from wfops_pipelines.store.sweeps import SweepWrites
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, workflow
from wfops_pipelines_tests.services.polling import with_tenants
from wfops_pipelines_tests.services.test_sweeps import circuit, swept, three

MANY = 9  # more than a host has places


def test_an_environment_that_another_transaction_precedes_stays_due_and_ends_no_sweep(
        new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = new_fleet.as_left_by(three)
    for slug in fleet.environments:
        (edited,) = fleet[slug].mappings()
        fleet[slug].edit_in_n8n(edited, "another")
    check = sweep_visits.check_drift

    async def preceded(services: Any, context: Any, environment: Any, **more: Any) -> Any:
        if environment.slug == "eu":
            raise StoreBusy("a deadlock was broken up")
        return await check(services, context, environment, **more)

    monkeypatch.setattr(sweep_visits, "check_drift", preceded)
    assert swept(fleet).counts == {"checked": 2, "skipped_busy": 1}
    monkeypatch.undo()
    assert swept(fleet, seconds=1).counts == {"checked": 1}


def test_checks_that_could_not_be_counted_for_another_transaction_stay_due_and_end_no_sweep(
        new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = new_fleet.as_left_by(three)
    (edited,) = fleet["eu"].mappings()
    fleet["eu"].edit_in_n8n(edited, "another")

    def preceded(*_: object) -> set[UUID]:
        raise StoreBusy("a deadlock was broken up")

    monkeypatch.setattr(SweepWrites, "repeat", preceded)
    assert swept(fleet).counts == {"checked": 1, "skipped_busy": 2}
    monkeypatch.undo()
    assert swept(fleet, seconds=1).counts == {"unchanged": 2}


def test_a_git_on_the_host_of_n8n_that_is_away_opens_no_circuit_of_n8n(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(three)
    well = fleet.services

    class Away:
        def head(self, _branch: str) -> str:
            raise Unreachable("the server cannot answer now (HTTP 502)", target=f"{fleet.host.url}/git/acme.git", status=502)

        def close(self) -> None:
            """Nothing is open."""

    fleet.services = replace(well, open_repository=lambda *_, **__: Away())  # type: ignore[arg-type, return-value]
    for _ in range(4):
        assert swept(fleet).statuses == {"ERROR": 3}
    assert [circuit(fleet[slug]) for slug in fleet.environments] == [None] * 3
    fleet.services = well
    assert swept(fleet).statuses == {"IN_SYNC": 3}


def test_a_git_that_takes_the_time_of_a_whole_check_is_named_and_shortens_those_of_its_own_host(
        new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = new_fleet(("prod", "us", "eu"))
    elsewhere = fleet.repository.url.replace("file://", "file://localhost")
    fleet.declared("us")["repository"] = {"url": elsewhere, "branch": "main"}
    fleet.apply()
    fleet.with_limits(sweep_concurrency=1, longest_run=5.0, heartbeat=0.1)
    opened, check, go_on, looks = fleet.services.open_repository, sweep_visits.check_drift, threading.Event(), itertools.count(1)
    given: dict[str, float] = {}

    def holding(source: Any, *, cache: Any) -> Any:
        repository = opened(source, cache=cache)
        head = repository.head

        def look(branch: str) -> str | None:
            if source.url != elsewhere and next(looks) == 2:  # the first is of the sweep, for prod and eu
                go_on.wait(60)
            return head(branch)
        repository.head = look  # type: ignore[method-assign]
        return repository

    async def checked(services: Any, context: Any, environment: Any, **more: Any) -> Any:
        given[environment.slug] = services.limits.longest(OperationKind.DRIFT_DETECTION)
        return await check(services, context, environment, **more)

    fleet.services = replace(fleet.services, open_repository=holding)
    monkeypatch.setattr(sweep_visits, "check_drift", checked)
    try:
        swept(fleet)
    finally:
        go_on.set()
    assert given == {"prod": 5.0, "us": 5.0, "eu": 1.0}
    row = fleet["prod"].row
    assert row.drift_error.startswith(f"{fleet.repository.url}: the whole check took too long")
    assert circuit(fleet["prod"]).reason == TimedOut.kind, "it is checked more seldom"


def two_tenants(new_fleet: NewFleet) -> FleetUnderTest:
    """Each with many environments, all on the same host."""
    fleet = new_fleet(tuple(f"e{number}" for number in range(MANY)))
    fleet.document["tenants"].append({**fleet.tenant, "slug": "other", "name": "Other", "environments": [
        {**environment, "folder": f"other-{environment['slug']}"} for environment in fleet.tenant["environments"]]})
    fleet.apply()
    return fleet


def test_heads_that_hang_take_no_places_of_a_host_of_n8n(new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = new_fleet(("prod",))
    fleet["prod"].in_sync(workflow("A"))
    held = [f"held-{number}" for number in range(MANY)]
    for branch in held:
        fleet.repository.git("update-ref", f"refs/heads/{branch}", "refs/heads/main")
    with_tenants(fleet, {f"t-{branch}": [branch] for branch in held} | {"well": ["main"]}, fleet.repository.url)
    opened, check, well = fleet.services.open_repository, sweep_visits.check_drift, threading.Event()

    def holding(source: Any, *, cache: Any) -> Any:
        repository = opened(source, cache=cache)
        head = repository.head

        def look(branch: str) -> str | None:
            if branch in held:
                well.wait(60)
            return head(branch)
        repository.head = look  # type: ignore[method-assign]
        return repository

    async def checked(services: Any, context: Any, environment: Any, **more: Any) -> Any:
        if context.tenant_slug == "well":
            well.set()
        return await check(services, context, environment, **more)

    fleet.services = replace(fleet.services, open_repository=holding)
    monkeypatch.setattr(sweep_visits, "check_drift", checked)
    try:
        assert swept(fleet).counts == {"checked": MANY + 2}
    finally:
        well.set()


def test_one_tenants_checks_that_hang_leave_places_of_their_host_to_others(
        new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet, all_met, met = two_tenants(new_fleet), asyncio.Event(), set[str]()
    check = sweep_visits.check_drift

    async def hanging(services: Any, context: Any, environment: Any, **more: Any) -> Any:
        if context.tenant_slug == "other":
            met.add(environment.slug)
            if len(met) == MANY:
                all_met.set()
        else:
            await asyncio.wait_for(all_met.wait(), 20)
        return await check(services, context, environment, **more)

    monkeypatch.setattr(sweep_visits, "check_drift", hanging)
    assert swept(fleet).counts == {"checked": 2 * MANY}
