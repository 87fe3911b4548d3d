"""Refreshing many environments at once: each one's failure stays its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest

from wfops_pipelines.domain.errors import Broken, TimedOut, Unreachable
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.services import refresh as refreshing
from wfops_pipelines.services.detect_drift import DriftCheck
from wfops_pipelines.services.operations import run_operation
from wfops_pipelines.services.push_dispatch import in_trouble, note_branches
from wfops_pipelines.services.refresh import Outcome, Part, Target, refresh
from wfops_pipelines.services.sync_environment import sync_environment
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, run, workflow

EVERYTHING = tuple(Part)


def refreshed(fleet: FleetUnderTest, parts: Any = EVERYTHING, *slugs: str) -> list[Outcome]:
    context = fleet.context
    targets = [Target(context, fleet[slug].row) for slug in slugs or fleet.environments]
    told: list[Outcome] = []
    outcomes = run(refresh(fleet.services, targets, parts, report=told.append))
    assert told == outcomes
    return outcomes


def by_name(outcomes: list[Outcome]) -> dict[tuple[str, Part], Outcome]:
    assert max(Counter((o.target.environment.slug, o.part) for o in outcomes).values()) == 1
    return {(o.target.environment.slug, o.part): o for o in outcomes}


@pytest.fixture
def three(new_fleet: NewFleet) -> FleetUnderTest:
    fleet = new_fleet(("dev", "staging", "prod"), pipelines=[{"name": "p", "stages": [
        {"source": "dev", "target": "staging"}, {"source": "staging", "target": "prod"}]}])
    for slug in fleet.environments:
        fleet[slug].push_workflow("a.json", workflow("A"))
        fleet[slug].create_in_n8n(workflow("A"))
    return fleet


def test_every_part_of_every_environment_has_one_outcome(three: FleetUnderTest) -> None:
    outcomes = by_name(refreshed(three))
    assert set(outcomes) == {(slug, part) for slug in three.environments for part in Part}
    assert all(outcome.error is None and outcome.result is not None for outcome in outcomes.values())
    assert outcomes["prod", Part.DIFF].result.as_json()["stages"] == {"staging": {"unchanged": 1}}  # type: ignore[union-attr]


def test_an_environment_that_nobody_answers_for_does_not_fail_its_neighbours(three: FleetUnderTest) -> None:
    three.declared("staging")["url"] = "http://127.0.0.1:9"
    three.apply()
    outcomes = by_name(refreshed(three))
    assert len(outcomes) == 12
    broken = outcomes["staging", Part.ENVIRONMENT]
    assert broken.result is None and broken.error is not None and broken.error.kind == "unreachable"
    assert outcomes["staging", Part.REPOSITORY].error is None
    check = outcomes["staging", Part.DRIFT].result
    assert isinstance(check, DriftCheck) and check.status == "ERROR"
    for slug in ("dev", "prod"):
        assert all(outcomes[slug, part].error is None for part in Part)
        assert outcomes[slug, Part.DRIFT].result.status == "IN_SYNC"  # type: ignore[union-attr]


def test_an_environment_that_another_operation_holds_is_an_outcome_like_others(three: FleetUnderTest) -> None:
    async def both() -> list[Outcome]:
        async with run_operation(three.services, three.context, OperationKind.EXPORT, three["prod"].row):
            context = three.context
            return await refresh(three.services, [Target(context, three[s].row) for s in ("dev", "prod")], EVERYTHING)
    outcomes = by_name(run(both()))
    assert {outcomes["prod", part].error.kind for part in Part} == {"operation_running"}  # type: ignore[union-attr]
    assert all(outcomes["dev", part].error is None for part in Part)


def test_parts_can_be_refreshed_alone(three: FleetUnderTest) -> None:
    outcomes = by_name(refreshed(three, [Part.REPOSITORY], "prod"))
    assert set(outcomes) == {("prod", Part.REPOSITORY)}
    outcomes = by_name(refreshed(three, [Part.DRIFT], "prod"))
    assert outcomes["prod", Part.DRIFT].result.inventory is None  # type: ignore[union-attr]


def test_without_a_repository_the_inventory_is_refreshed_all_the_same(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("prod",), git=False)
    fleet["prod"].create_in_n8n(workflow("A"))
    outcomes = by_name(refreshed(fleet))
    assert len(outcomes) == 4 and all(outcome.error is None for outcome in outcomes.values())
    assert outcomes["prod", Part.ENVIRONMENT].result.created == 1  # type: ignore[union-attr]
    assert outcomes["prod", Part.DRIFT].result.status == "UNKNOWN"  # type: ignore[union-attr]


def test_an_error_that_nobody_expected_is_told_as_one_of_ours_and_keeps_no_neighbour_from_its_comparison(
        three: FleetUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(services: Any, context: Any, environment: Any) -> Any:
        if environment.slug == "dev":
            raise ZeroDivisionError
        return await sync_environment(services, context, environment)
    monkeypatch.setattr(refreshing, "sync_environment", broken)
    outcomes = by_name(refreshed(three, [Part.ENVIRONMENT, Part.DIFF]))
    error = outcomes["dev", Part.ENVIRONMENT].error
    assert isinstance(error, Broken) and "ZeroDivisionError" in str(error)
    assert len(three["staging"].mappings()) == len(three["prod"].mappings()) == 1
    assert outcomes["prod", Part.DIFF].result is not None


def test_what_could_not_be_begun_in_time_is_told_and_no_fault_of_its_git(three: FleetUnderTest) -> None:
    targets = [Target(three.context, three[slug].row) for slug in three.environments]
    outcomes = run(refresh(three.services, targets, [Part.REPOSITORY, Part.DRIFT], begin_by=time.monotonic() - 1))
    assert [type(outcome.error) for outcome in outcomes] == [TimedOut] * 6
    note_branches(three.services, outcomes)
    assert in_trouble(three.services) == frozenset()


def test_no_tenant_has_all_places_of_a_run(three: FleetUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    three.with_limits(sweep_concurrency=8)
    working: set[str] = set()
    most = 0

    async def noted(services: Any, context: Any, environment: Any) -> Any:
        nonlocal most
        working.add(environment.slug)
        most = max(most, len(working))
        await asyncio.sleep(0)
        working.discard(environment.slug)
        return await sync_environment(services, context, environment)
    monkeypatch.setattr(refreshing, "sync_environment", noted)
    refreshed(three, [Part.ENVIRONMENT])
    assert most == 2


def test_who_waited_for_an_environment_once_does_not_wait_for_each_of_its_parts(three: FleetUnderTest) -> None:
    three.with_limits(lease_wait=0.2)
    context, environment = three.context, three["prod"].row

    async def while_held() -> list[Outcome]:
        async with run_operation(three.services, context, OperationKind.EXPORT, environment):
            return await refresh(three.services, [Target(context, environment)],
                                 [Part.REPOSITORY, Part.ENVIRONMENT, Part.DIFF])

    outcomes = run(while_held())
    assert [type(outcome.error).__name__ for outcome in outcomes] == ["OperationRunning"] * 3
    assert len({id(outcome.error) for outcome in outcomes}) == 1  # one wait, told for every part


def test_gits_that_hang_take_no_threads_from_what_is_to_be_recorded(three: FleetUnderTest) -> None:
    all_at_once = threading.Barrier(len(three.environments))

    @dataclass
    class Hanging:
        def head(self, _branch: str) -> str:
            all_at_once.wait(30)
            raise Unreachable("no answer", target="git")

        def close(self) -> None:
            pass

    services = replace(three.services, open_repository=lambda *_, **__: Hanging())

    async def with_one_thread() -> list[Outcome]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        return await refresh(services, [Target(three.context, three[slug].row) for slug in three.environments], (Part.REPOSITORY,))

    assert [outcome.error.kind if outcome.error else None for outcome in run(with_one_thread())] == ["unreachable"] * 3
