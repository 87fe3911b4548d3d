"""Operations are stopped from elsewhere and by the clock, and gone on with (§20)."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import (
    Blocked,
    Cancelled,
    ForbiddenTransition,
    IncompleteRead,
    OperationRunning,
    Paused,
    TimedOut,
    Unreachable,
    UsageError,
)
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.services import operations, runtime_writes
from wfops_pipelines.services.operation_control import cancel_operation, cancel_run, resume_operation
from wfops_pipelines.services.operations import run_operation
from wfops_pipelines.services.pausing import pause, resume
from wfops_pipelines.services.promotion_execution import execute_promotion
from wfops_pipelines.services.promotion_recovery import recover_environment
from wfops_pipelines.services.refresh import Part, Target, refresh
from wfops_pipelines.services.stopping import Stop
from wfops_pipelines.store.tables.operations import operations as operations_table
from wfops_pipelines_tests.services.child import run_in_child
from wfops_pipelines_tests.services.fleet import ACTOR, FleetUnderTest, NewFleet, run, workflow
from wfops_pipelines_tests.services.promotion_histories import two_edited
from wfops_pipelines_tests.services.promotions import execute, held, told

PATIENCE = 60
Act = Callable[[], object]
AtFailpoint = Callable[[str, Act], None]


@pytest.fixture
def at_failpoint(monkeypatch: pytest.MonkeyPatch) -> AtFailpoint:
    """``at_failpoint("sync.batch.after_commit@2", act)``: ``act()`` when it is passed for the second time, and then nothing
    goes on there until the operation was told to stop."""
    heard = threading.Event()
    ask = Stop.ask

    def told_to_stop(stop: Stop, why: Any) -> None:
        ask(stop, why)
        heard.set()

    monkeypatch.setattr(Stop, "ask", told_to_stop)

    def arrange(point: str, act: Act) -> None:
        left = [act]

        def once(_: float) -> None:
            if left:
                left.pop()()
                assert heard.wait(PATIENCE)

        monkeypatch.setattr(failpoints, "time", SimpleNamespace(sleep=once))
        name, _, nth = point.partition("@")
        failpoints.arm(f"{name}=delay:1@{nth or 1}")

    return arrange


def current(fleet: FleetUnderTest) -> UUID:
    """The operation that runs."""
    (found,) = [row.id for row in fleet.operations() if row.state == "running"]
    return UUID(str(found))


def quick(fleet: FleetUnderTest, **limits: Any) -> FleetUnderTest:
    fleet.with_limits(heartbeat=0.02, **limits)
    return fleet


def test_a_sync_that_is_cancelled_keeps_its_batches_and_gives_the_environment_back(
        fleet: FleetUnderTest, at_failpoint: AtFailpoint) -> None:
    quick(fleet, batch_size=1, page_size=2)
    fleet["prod"].create_in_n8n(*(workflow(f"W{n}") for n in range(6)))
    at_failpoint("sync.batch.after_commit@2", lambda: cancel_operation(
        fleet.services, fleet.context, current(fleet), reason="wrong n8n"))
    with pytest.raises(Cancelled, match="cancelled by local:ada: wrong n8n") as stopped:
        fleet["prod"].sync()
    assert stopped.value.exit_code == 7
    operation = fleet.operations()[-1]
    assert (operation.state, operation.error_kind, operation.cancel_reason) == ("cancelled", "cancelled", "wrong n8n")
    assert 2 <= len(fleet["prod"].mappings()) < 6
    assert len(fleet.events("operation.cancel_requested")) == 1
    failpoints.disarm()
    again = fleet["prod"].sync()  # nobody holds it, and it is an operation of its own
    assert again.seen == 6 and not again.resumed and again.operation_id != str(operation.id)
    assert fleet.chain_verifies()


def test_a_promotion_that_is_cancelled_puts_back_what_it_wrote(new_fleet: NewFleet, at_failpoint: AtFailpoint) -> None:
    fleet = quick(two_edited(new_fleet))
    before = held(fleet["prod"])
    at_failpoint("runtime.record.after_commit@1", lambda: cancel_operation(fleet.services, fleet.context, current(fleet)))
    with pytest.raises(Cancelled):
        execute(fleet, 2)
    assert held(fleet["prod"]) == before
    assert told(fleet, 2).status == "rolled_back"
    assert [row.state for row in fleet.operations() if row.kind == "promotion"][-1] == "cancelled"
    assert fleet.chain_verifies()


@pytest.mark.parametrize("call", ["update_workflow", "create_workflow"])
def test_what_n8n_does_with_a_call_while_it_is_cancelled_is_put_back_too(new_fleet: NewFleet, call: str) -> None:
    fleet = quick(two_edited(new_fleet))  # two, and one that is new
    before = held(fleet["prod"])
    real, left = fleet.services.open_provider, [call]

    def opened(connection: Any) -> Any:
        provider = real(connection)
        carried_out = getattr(provider, call)

        async def slowly(*arguments: Any, **options: Any) -> Any:
            await asyncio.sleep(0.5)
            return await getattr(real(connection), call)(*arguments, **options)

        async def asked(*arguments: Any, **options: Any) -> Any:
            if not left or (call == "update_workflow" and arguments[1]["name"] == "Three"):  # that one would go again
                return await carried_out(*arguments, **options)
            left.pop()
            await asyncio.to_thread(cancel_operation, fleet.services, fleet.context, current(fleet))
            return await asyncio.shield(asyncio.create_task(slowly(*arguments, **options)))  # n8n hears of no cancelling
        setattr(provider, call, asked)
        return provider

    fleet.services = replace(fleet.services, open_provider=opened)

    async def promote() -> None:
        with pytest.raises(Cancelled):
            await execute_promotion(fleet.services, fleet.services.context("acme", actor=ACTOR), 2)
        await asyncio.sleep(1)  # whatever n8n is still at, it has done by now
    run(promote())
    assert left == [] and held(fleet["prod"]) == before
    assert told(fleet, 2).status == "rolled_back"


def test_a_promotion_that_is_cancelled_while_it_notes_what_it_is_to_write_writes_nothing_later(
        new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = quick(two_edited(new_fleet))
    before, noted = held(fleet["prod"]), runtime_writes.intend
    heard, ask = threading.Event(), Stop.ask

    def told_to_stop(stop: Stop, why: Any) -> None:
        ask(stop, why)
        heard.set()

    def slowly(*arguments: Any) -> None:
        cancel_operation(fleet.services, fleet.context, current(fleet))
        assert heard.wait(PATIENCE)
        time.sleep(0.3)  # who does not wait for this has looked by then
        noted(*arguments)

    monkeypatch.setattr(Stop, "ask", told_to_stop)
    monkeypatch.setattr(runtime_writes, "intend", slowly)
    with pytest.raises(Cancelled):
        execute(fleet, 2)
    run(recover_environment(fleet.services, fleet.context, fleet["prod"].row))
    assert held(fleet["prod"]) == before
    assert told(fleet, 2).status == "failed"  # nothing was written yet


def test_to_cancel_a_promotion_that_has_written_everything_comes_too_late(
        new_fleet: NewFleet, at_failpoint: AtFailpoint) -> None:
    fleet = quick(two_edited(new_fleet))
    at_failpoint("promotion.settled.after_commit", lambda: cancel_operation(
        fleet.services, fleet.context, current(fleet)))
    assert execute(fleet, 2).status == "completed"
    assert len(fleet.events("operation.cancel_requested")) == 1


def test_the_longest_time_ends_a_sync_but_no_promotion_in_the_middle_of_its_writes(
        new_fleet: NewFleet, at_failpoint: AtFailpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = quick(two_edited(new_fleet), batch_size=1)

    def hours_pass() -> None:
        """Until the heartbeat has seen it: it looks every few seconds, and what runs here is quicker than that."""
        looked = threading.Event()

        def late() -> float:
            looked.set()
            return time.monotonic() + 7200

        monkeypatch.setattr(operations, "time", SimpleNamespace(monotonic=late))
        assert looked.wait(60)

    at_failpoint("runtime.record.after_commit@1", hours_pass)
    assert execute(fleet, 2).status == "completed"
    failpoints.disarm()
    monkeypatch.setattr(operations, "time", time)
    at_failpoint("sync.batch.after_commit@1", hours_pass)
    fleet["prod"].create_in_n8n(workflow("More"))
    with pytest.raises(TimedOut, match="longer than 3600 s") as stopped:
        fleet["prod"].sync()
    assert stopped.value.exit_code == 8
    assert (fleet.operations()[-1].state, fleet.operations()[-1].error_kind) == ("cancelled", "timed_out")


def test_each_kind_may_have_a_longest_time_of_its_own(fleet: FleetUnderTest) -> None:
    fleet.with_limits(longest_run=60.0, longest_runs={"environment_sync": 5.0})
    limits = fleet.services.limits
    assert [limits.longest(OperationKind.ENVIRONMENT_SYNC), limits.longest(OperationKind.EXPORT)] == [5.0, 60.0]


def test_what_has_ended_or_finishes_what_was_left_is_not_cancelled(fleet: FleetUnderTest) -> None:
    sync = fleet["prod"].sync()
    with pytest.raises(ForbiddenTransition, match="is completed"):
        cancel_operation(fleet.services, fleet.context, UUID(sync.operation_id))
    with pytest.raises(UsageError):
        cancel_operation(fleet.services, fleet.context, uuid4())

    async def recovering() -> None:
        async with run_operation(fleet.services, fleet.context, OperationKind.RECOVERY, fleet["prod"].row) as operation:
            with pytest.raises(Blocked, match="half-written"):
                cancel_operation(fleet.services, fleet.context, operation.id)

    run(recovering())


def test_an_operation_whose_process_died_ends_when_it_is_cancelled_and_is_not_taken_up_again(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.create_in_n8n(workflow("A"))
    assert run_in_child(prod, "sync", "sync.batch.before_commit=kill").returncode == -signal.SIGKILL
    dead = current(fleet)
    assert cancel_operation(fleet.services, fleet.context, dead).states == {str(dead): "cancelled"}
    assert not prod.sync().resumed


def test_a_run_that_was_cancelled_begins_nothing_more(fleet: FleetUnderTest) -> None:
    cancel_run(fleet.services, "some-run", actor="local:ada", reason="not now")
    context = replace(fleet.context, run_id="some-run")

    async def begin() -> None:
        async with run_operation(fleet.services, context, OperationKind.ENVIRONMENT_SYNC, fleet["prod"].row):
            pass

    with pytest.raises(Cancelled, match="some-run was cancelled by local:ada: not now"):
        run(begin())
    assert not [row for row in fleet.operations() if row.run_id == "some-run"]


def fails_after_a_batch(fleet: FleetUnderTest) -> UUID:
    """A sync of four workflows whose listing was cut off after some were stored."""
    fleet.with_limits(batch_size=1, page_size=1, request_attempts=1)
    fleet["prod"].create_in_n8n(*(workflow(f"W{n}") for n in range(4)))
    fleet["prod"].sandbox.faults.cut_listing(after_page=2)
    with pytest.raises((IncompleteRead, Unreachable)):
        fleet["prod"].sync()
    fleet["prod"].sandbox.faults.clear()
    return UUID(str(fleet.operations()[-1].id))


def test_a_sync_that_failed_is_gone_on_with_under_its_id(fleet: FleetUnderTest) -> None:
    failed = fails_after_a_batch(fleet)
    stored = len(fleet["prod"].mappings())
    done = run(resume_operation(fleet.services, fleet.context, failed))
    assert (done.operation_id, done.state, done.attempts) == (str(failed), "completed", 2)
    assert done.result is not None
    assert (done.result["resumed"], done.result["created"], done.result["unchanged"]) == (True, 4 - stored, stored)
    with pytest.raises(ForbiddenTransition, match="is completed"):
        run(resume_operation(fleet.services, fleet.context, failed))
    assert len(fleet.events("operation.resumed")) == 1
    assert fleet.chain_verifies()


def test_two_who_go_on_with_it_at_once_are_one_who_does(fleet: FleetUnderTest) -> None:
    failed = fails_after_a_batch(fleet)
    fleet.with_limits(lease_wait=60)

    async def both() -> list[Any]:
        return await asyncio.gather(*(resume_operation(fleet.services, fleet.context, failed) for _ in range(2)),
                                    return_exceptions=True)

    done = run(both())
    assert sorted(type(one).__name__ for one in done) == ["ForbiddenTransition", "ResumeReport"]
    assert [(row.state, row.attempts) for row in fleet.operations() if row.kind == "environment_sync"] == [("completed", 2)]
    assert len(fleet.events("operation.resumed")) == 1 and fleet.chain_verifies()


def test_nothing_is_gone_on_with_in_an_environment_that_was_deleted(fleet: FleetUnderTest) -> None:
    failed = fails_after_a_batch(fleet)
    fleet.tenant["environments"] = [each for each in fleet.tenant["environments"] if each["slug"] != "prod"]
    fleet.apply(prune=True)
    for afresh in (False, True):
        with pytest.raises(Blocked, match="no environment prod any more: it was deleted"):
            run(resume_operation(fleet.services, fleet.context, failed, afresh=afresh))
    assert {row.id: row.state for row in fleet.operations()}[failed] == "failed" and not fleet.events("operation.resumed")


def test_nothing_is_gone_on_with_while_the_tenant_is_paused(fleet: FleetUnderTest) -> None:
    failed = fails_after_a_batch(fleet)
    pause(fleet.services, "acme", actor="local:ada")
    with pytest.raises(Paused):
        run(resume_operation(fleet.services, fleet.context, failed))
    assert (fleet.operations()[-1].state, len(fleet.events("operation.resumed"))) == ("failed", 0)
    resume(fleet.services, "acme", actor="local:ada")
    assert run(resume_operation(fleet.services, fleet.context, failed)).state == "completed"


def test_a_wish_to_cancel_that_came_too_late_cancels_nothing_that_is_gone_on_with(fleet: FleetUnderTest) -> None:
    failed = fails_after_a_batch(fleet)
    with fleet.services.store.bookkeeping(fleet.context, "test.wish") as work:
        work.connection.execute(update(operations_table).where(operations_table.c.id == failed).values(
            cancel_requested_at=fleet.clock.time, cancel_requested_by="local:ada", cancel_reason=None))
    quick(fleet)
    assert run(resume_operation(fleet.services, fleet.context, failed)).state == "completed"
    row = fleet.operations()[-1]
    assert (str(row.id), row.cancel_requested_at) == (str(failed), None)


def test_without_a_checkpoint_it_begins_afresh_only_when_told(fleet: FleetUnderTest) -> None:
    fleet["prod"].sandbox.faults.cut_listing(after_page=0)
    fleet.with_limits(request_attempts=1)
    with pytest.raises((IncompleteRead, Unreachable)):
        fleet["prod"].sync()
    fleet["prod"].sandbox.faults.clear()
    failed = UUID(str(fleet.operations()[-1].id))
    with pytest.raises(Blocked, match=r"checkpoint of operation .* is gone") as refused:
        run(resume_operation(fleet.services, fleet.context, failed))
    assert refused.value.fix is not None and "--afresh" in refused.value.fix
    done = run(resume_operation(fleet.services, fleet.context, failed, afresh=True))
    assert (done.state, done.attempts, done.afresh) == ("completed", 2, True)


def test_what_runs_is_not_gone_on_with(fleet: FleetUnderTest) -> None:
    async def work() -> None:
        async with run_operation(fleet.services, fleet.context, OperationKind.ENVIRONMENT_SYNC, fleet["prod"].row) as one:
            with pytest.raises(OperationRunning) as refused:
                await resume_operation(fleet.services, fleet.context, one.id)
            assert refused.value.operation_id == str(one.id)

    run(work())


def test_a_promotion_whose_process_died_is_finished_from_its_journal(new_fleet: NewFleet) -> None:
    fleet = two_edited(new_fleet)
    assert run_in_child(fleet["prod"], "execute", "runtime.record.after_commit=kill").returncode == -signal.SIGKILL
    dead = next(row for row in fleet.operations() if row.kind == "promotion" and row.state == "running")
    done = run(resume_operation(fleet.services, fleet.context, dead.id))
    assert done.state == "completed" and told(fleet, 2).status == "completed"
    with pytest.raises(Blocked, match="is completed"):
        run(resume_operation(fleet.services, fleet.context, dead.id))


def test_an_operation_that_was_cut_off_by_a_transient_error_goes_on_by_itself_a_few_times(fleet: FleetUnderTest) -> None:
    fleet.with_limits(batch_size=1, page_size=1, request_attempts=1, operation_backoff=0.0)
    prod = fleet["prod"]
    prod.create_in_n8n(*(workflow(f"W{n}") for n in range(4)))
    prod.sandbox.faults.cut_listing(after_page=2, times=1)
    (outcome,) = run(refresh(fleet.services, [Target(fleet.context, prod.row)], [Part.ENVIRONMENT]))
    assert outcome.error is None
    operation = fleet.operations()[-1]
    assert (operation.state, operation.attempts) == ("completed", 2)
    prod.sandbox.faults.cut_listing(after_page=2)
    prod.create_in_n8n(*(workflow(f"V{n}") for n in range(4)))
    (outcome,) = run(refresh(fleet.services, [Target(fleet.context, prod.row)], [Part.ENVIRONMENT]))
    assert outcome.error is not None and outcome.error.transient
    assert fleet.operations()[-1].attempts <= 3
