"""One operation at a time per environment, and what follows when its process dies (§6, §19.2, §20)."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from datetime import timedelta
from typing import Any

import psutil
import pytest
from sqlalchemy import func, select, update

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import Blocked, LeaseLost, OperationRunning
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.services.holder import this_process
from wfops_pipelines.services.operations import run_operation
from wfops_pipelines.services.sync_environment import sync_environment
from wfops_pipelines.store.tables.operations import environment_leases as leases
from wfops_pipelines_tests.services.child import run_in_child
from wfops_pipelines_tests.services.fleet import Environment, FleetUnderTest, NewFleet, calling, file_bytes, run, workflow

SYNC = OperationKind.ENVIRONMENT_SYNC


def created_ids(fleet: FleetUnderTest) -> list[str]:
    """Ids that batches say they created, each as often as they say it."""
    return sorted(i for event in fleet.events("environment.batch_synced") for i in event.details["created"])


def set_lease(environment: Environment, **values: Any) -> None:
    environment.fleet.writing(lambda work: work.connection.execute(update(leases).values(**values)))


def abandon_a_sync(environment: Environment) -> None:
    """A sync that could not write its end: the lease stays, without a heartbeat."""
    failpoints.arm("operation.end.before_commit=raise")
    with pytest.raises(failpoints.FailpointReached):
        environment.sync()
    failpoints.disarm()


def test_a_second_sync_is_refused_with_the_id_of_the_one_that_runs(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]

    async def both() -> tuple[str, OperationRunning]:
        async with run_operation(fleet.services, fleet.context, SYNC, prod.row) as first:
            with pytest.raises(OperationRunning) as refused:
                await sync_environment(fleet.services, fleet.context, prod.row)
            return str(first.id), refused.value

    first, refused = run(both())
    assert refused.operation_id == first and first in str(refused)
    assert [row.state for row in fleet.operations()[-1:]] == ["completed"]  # the refused one left no operation
    assert prod.sync().seen == 0


def test_a_second_sync_waits_for_the_first_and_then_runs(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.create_in_n8n(workflow("A"))
    fleet.with_limits(lease_wait=60.0)

    async def both() -> tuple[bool, int]:
        async with run_operation(fleet.services, fleet.context, SYNC, prod.row):
            second = asyncio.create_task(sync_environment(fleet.services, fleet.context, prod.row))
            done, _ = await asyncio.wait([second], timeout=0.3)
        return bool(done), (await second).created

    assert run(both()) == (False, 1)


def test_many_first_operations_at_once_are_one_at_a_time(fleet: FleetUnderTest) -> None:
    """Nobody ever held the environment: there is no lease row to lock yet."""
    fleet.with_limits(lease_wait=0.0)
    inside, most = 0, 0

    async def one() -> bool:
        nonlocal inside, most
        try:
            async with run_operation(fleet.services, fleet.context, SYNC, fleet["prod"].row):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.05)
                inside -= 1
                return True
        except OperationRunning:
            return False

    async def all_of_them() -> list[bool]:
        return await asyncio.gather(*(one() for _ in range(6)))

    assert run(all_of_them()).count(True) >= 1
    assert most == 1


def test_environments_do_not_wait_for_each_other(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"))

    async def both() -> None:
        async with run_operation(fleet.services, fleet.context, SYNC, fleet["staging"].row):
            await sync_environment(fleet.services, fleet.context, fleet["prod"].row)
    run(both())


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_sync_whose_process_is_killed_is_taken_over_and_repeats_nothing(fleet: FleetUnderTest, place: str) -> None:
    prod = fleet["prod"]
    fleet.with_limits(batch_size=2)
    ids = prod.create_in_n8n(workflow("Callee", id="callee"), *(calling(f"W{n}", "callee") for n in range(6)))
    died = run_in_child(prod, "sync", f"sync.batch.{place}_commit=kill@2")
    assert died.returncode == -signal.SIGKILL
    stored = 2 if place == "before" else 4
    assert len(prod.mappings()) == stored
    assert [row.state for row in fleet.operations()] == ["completed", "running"]  # apply, and the dead one
    result = prod.sync()
    assert (result.seen, result.created, result.unchanged, result.resumed) == (7, 7 - stored, stored, True)
    (_, operation) = fleet.operations()
    assert (str(operation.id), operation.state, operation.attempts) == (result.operation_id, "completed", 2)
    assert created_ids(fleet) == sorted(ids)  # each once
    assert {str(e.operation_id) for e in fleet.events("environment.batch_synced")} == {result.operation_id}
    assert fleet.chain_verifies()


def test_an_operation_of_another_kind_fails_the_dead_one_and_is_its_own(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.create_in_n8n(workflow("A"))
    assert run_in_child(prod, "sync", "sync.batch.before_commit=kill").returncode == -signal.SIGKILL
    prod.read_git()
    (_, dead, after) = fleet.operations()
    assert (dead.kind, dead.state, dead.error_kind) == ("environment_sync", "failed", "holder_died")
    assert (after.kind, after.state) == ("repository_sync", "completed")


def test_an_exception_in_the_middle_fails_the_operation_and_gives_the_environment_back(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    fleet.with_limits(batch_size=1)
    ids = prod.create_in_n8n(*(workflow(f"W{n}") for n in range(3)))
    failpoints.arm("sync.batch.before_commit=raise@2")
    with pytest.raises(failpoints.FailpointReached):
        prod.sync()
    assert (fleet.operations()[-1].state, fleet.operations()[-1].error_kind) == ("failed", "unexpected")
    assert len(prod.mappings()) == 1
    result = prod.sync()
    assert (result.created, result.unchanged) == (2, 1)
    assert created_ids(fleet) == sorted(ids)


@pytest.mark.parametrize(("error", "level", "named"), [
    (Blocked("not now", fix="wait"), "INFO", "blocked"), (RuntimeError("a mistake of ours"), "ERROR", "unexpected"),
    (asyncio.CancelledError(), "INFO", "cancelled")], ids=["expected", "unexpected", "cancelled"])
def test_an_operation_that_fails_is_logged_with_tenant_operation_and_run(
        fleet: FleetUnderTest, caplog: pytest.LogCaptureFixture, error: BaseException, level: str, named: str) -> None:
    context = fleet.services.context("acme", actor="local:ada", run_id="run-7")

    async def fail() -> None:
        async with run_operation(fleet.services, context, SYNC, fleet["prod"].row):
            raise error

    with caplog.at_level(logging.INFO, "wfops.operations"), pytest.raises(type(error)):
        run(fail())
    (record,) = [each for each in caplog.records if each.name == "wfops.operations"]
    told: Any = record
    assert record.levelname == level and "acme/prod" in record.getMessage()
    assert (told.tenant, told.environment, told.run, told.kind, told.error) == (
        "acme", "prod", "run-7", "environment_sync", named)
    assert told.operation == str(fleet.operations()[-1].id)
    assert (record.exc_info is not None) == (level == "ERROR")
    if level == "ERROR":
        assert record.exc_info is not None and record.exc_info[1] is error


def test_an_operation_that_ends_well_logs_nothing(fleet: FleetUnderTest, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "wfops.operations"):
        fleet["prod"].sync()
    assert [each for each in caplog.records if each.name == "wfops.operations"] == []


def test_a_failure_at_any_statement_leaves_whole_batches_and_a_later_sync_ends_it(fleet: FleetUnderTest) -> None:
    """Every statement of a sync fails once, one sync after the other; what is stored is always whole."""
    prod = fleet["prod"]
    fleet.with_limits(batch_size=2)
    ids = prod.create_in_n8n(*(workflow(f"W{n}") for n in range(4)))
    nth, failures = 1, 0
    while True:
        failpoints.arm(f"store.statement=raise@{nth}")
        try:
            prod.sync()
        except failpoints.FailpointReached:
            failures += 1
        else:
            break
        finally:
            failpoints.disarm()
        assert len(prod.mappings()) in (0, 2, 4)
        assert created_ids(fleet) == sorted(prod.mappings())
        set_lease(prod, released_at=func.now())  # a store that fails twice leaves the lease to time
        nth += 1
    assert failures > 10
    assert created_ids(fleet) == sorted(ids)
    assert fleet.chain_verifies()


@pytest.mark.parametrize("use_case", ["read_git", "check", "export", "reconcile"])
def test_a_use_case_that_fails_at_any_statement_is_done_by_the_next_as_if_nothing_had_been(new_fleet: NewFleet, use_case: str) -> None:
    """At every third statement, one run after the other."""
    fleet = new_fleet(("staging", "prod"), pipelines=[{"name": "p", "stages": [{"source": "staging", "target": "prod"}]}])
    prod = fleet["prod"]
    if use_case != "export":
        prod.push_files({f"{n}.json": file_bytes(workflow(f"W{n}", id=f"w{n}")) for n in range(3)})
    prod.create_in_n8n(*(workflow(f"W{n}", id=f"w{n}") for n in range(3)))
    if use_case == "reconcile":
        for environment in (fleet["staging"], prod):
            environment.sync()
        prod.read_git()
    failures = 0
    while True:
        failpoints.arm(f"store.statement=raise@{1 + failures * 3}")
        try:
            result = getattr(prod, use_case)()
        except failpoints.FailpointReached:
            failures += 1
        else:
            break
        finally:
            failpoints.disarm()
        set_lease(prod, released_at=func.now())
    assert failures > 5
    if use_case == "export":
        assert fleet.repository.text("rev-list", "--count", "main") == "1"
        assert prod.read_git().files == 3
    elif use_case == "reconcile":
        assert result.stages == {"staging": {"target_only": 3}}
    if use_case != "read_git":
        assert created_ids(fleet) == ["w0", "w1", "w2"]
        assert prod.check().status == "IN_SYNC"
    assert len(prod.git_states()) == 3
    assert len(fleet.reading(lambda work: work.mappings.canonicals())) == 3
    assert fleet.chain_verifies()


def test_a_cancelled_operation_says_so_and_gives_the_environment_back(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.create_in_n8n(workflow("A"))

    async def cancelled() -> None:
        started = asyncio.Event()

        async def forever() -> None:
            async with run_operation(fleet.services, fleet.context, SYNC, prod.row):
                started.set()
                await asyncio.Event().wait()
        task = asyncio.create_task(forever())
        await started.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    run(cancelled())
    assert fleet.operations()[-1].state == "cancelled"
    assert prod.sync().created == 1


def test_one_that_is_cancelled_while_it_begins_leaves_nothing_held(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    failpoints.arm("operation.acquire.after_commit=delay:200")

    async def cancelled() -> None:
        task = asyncio.create_task(sync_environment(fleet.services, fleet.context, prod.row))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])
    run(cancelled())
    failpoints.disarm()
    assert prod.sync().seen == 0


# -- leases ----------------------------------------------------------------------------------------------------------------


def test_a_holder_without_a_heartbeat_is_taken_over_and_can_write_no_more(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.create_in_n8n(workflow("A"))

    async def overtaken() -> None:
        async with run_operation(fleet.services, fleet.context, OperationKind.REPOSITORY_SYNC, prod.row) as first:
            set_lease(prod, heartbeat_at=func.now() - timedelta(hours=1))
            assert (await sync_environment(fleet.services, fleet.context, prod.row)).created == 1
            with pytest.raises(LeaseLost), fleet.services.store.bookkeeping(fleet.context, "late", held=first.held):
                pass
    with pytest.raises(LeaseLost):
        run(overtaken())
    assert [row.state for row in fleet.operations()[1:]] == ["failed", "completed"]


@pytest.mark.parametrize("holder", [{"host": "elsewhere", "boot": "b"}, {"host": "elsewhere"}, {"namespace": "pid:[1]"}])
def test_a_holder_on_another_host_or_in_another_container_lives_as_long_as_its_heart_beats(
        fleet: FleetUnderTest, holder: dict[str, Any]) -> None:
    prod = fleet["prod"]
    abandon_a_sync(prod)
    set_lease(prod, holder={**this_process(), "pid": 2**22 + 1, "began": 0, **holder}, heartbeat_at=func.now())
    with pytest.raises(OperationRunning):
        prod.sync()
    set_lease(prod, heartbeat_at=func.now() - timedelta(seconds=61))
    assert prod.sync().resumed


@pytest.mark.parametrize("holder", [{"boot": "another boot"}, {"pid": 2**22 + 1}, {"began": 5}])
def test_a_process_that_is_not_the_holder_does_not_hold(fleet: FleetUnderTest, holder: dict[str, Any]) -> None:
    prod = fleet["prod"]
    abandon_a_sync(prod)
    set_lease(prod, holder={**this_process(), **holder}, heartbeat_at=func.now())
    assert prod.sync().resumed


@pytest.mark.parametrize("seconds", [3, -3, 3600])
def test_a_holder_lives_on_when_the_clock_of_its_machine_is_set(fleet: FleetUnderTest, monkeypatch: pytest.MonkeyPatch,
                                                                seconds: float) -> None:
    """What Linux counts the boot from moves with the clock, and with it when psutil says that a process was made."""
    prod = fleet["prod"]
    abandon_a_sync(prod)
    set_lease(prod, holder=this_process(), heartbeat_at=func.now())
    created = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: created(process) + seconds)
    with pytest.raises(OperationRunning):
        prod.sync()


def test_a_wrong_clock_takes_no_environment_away(fleet: FleetUnderTest) -> None:
    """Leases live by the database's time (§25)."""
    prod = fleet["prod"]

    async def both() -> None:
        async with run_operation(fleet.services, fleet.context, SYNC, prod.row):
            fleet.clock.pass_time(days=1)
            with pytest.raises(OperationRunning):
                await sync_environment(fleet.services, fleet.context, prod.row)
    run(both())


def test_the_lease_says_who_holds(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]

    async def look() -> Any:
        async with run_operation(fleet.services, fleet.context, SYNC, prod.row):
            return fleet.reading(lambda work: work.connection.execute(select(leases)).one())
    assert run(look()).holder["pid"] == os.getpid()
