"""The clock of the host jumps by hours, forward or back, in the middle of things (§25)."""

from __future__ import annotations

import pytest

from wfops_pipelines.domain.errors import OperationRunning
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.services import sweeps
from wfops_pipelines.services.operations import run_operation
from wfops_pipelines.services.pausing import pause, pauses_now, resume
from wfops_pipelines.services.snapshot_sweep import due_environments
from wfops_pipelines.services.sweep_reports import SweepReport
from wfops_pipelines_tests.services.fleet import FleetUnderTest, run, workflow

hours = pytest.mark.parametrize("hours", [7, -7], ids=["forward", "back"])


@hours
def test_an_environment_that_is_held_stays_held_over_a_jump_and_is_given_back(fleet: FleetUnderTest, hours: int) -> None:
    """Leases live by the database's clock, and how long an operation may run by one that only goes on."""
    fleet.with_limits(lease_wait=0.0, longest_run=3600.0, heartbeat=0.02)
    prod = fleet["prod"]
    prod.create_in_n8n(workflow("A"))

    async def work() -> None:
        async with run_operation(fleet.services, fleet.context, OperationKind.ENVIRONMENT_SYNC, prod.row) as operation:
            fleet.clock.pass_time(hours=hours)
            with pytest.raises(OperationRunning) as refused:
                async with run_operation(fleet.services, fleet.context, OperationKind.SNAPSHOT, prod.row):
                    pass
            assert refused.value.operation_id == str(operation.id)
            async with operation.step("after the jump"):
                pass

    run(work())
    assert fleet.operations()[-1].state == "completed"
    assert prod.sync().seen == 1
    assert fleet.chain_verifies()


@hours
def test_drift_is_looked_for_once_after_a_jump_and_then_at_its_time(fleet: FleetUnderTest, hours: int) -> None:
    fleet["prod"].in_sync(workflow("A"))

    def look() -> SweepReport:
        return run(sweeps.sweep(fleet.services, interval=300, actor="system:drift_detection"))

    look()
    fleet.clock.pass_time(hours=hours)
    assert look().due == 1
    assert look().due == 0
    fleet.clock.pass_time(minutes=10)
    assert look().due == 1


@hours
def test_a_pause_ends_when_it_is_resumed_whatever_the_clock_says(fleet: FleetUnderTest, hours: int) -> None:
    pause(fleet.services, "acme", actor="local:ada")
    fleet.clock.pass_time(hours=hours)
    assert fleet.context.tenant_id in pauses_now(fleet.services) and due_environments(fleet.services) == []
    assert resume(fleet.services, "acme", actor="local:ada").changed
    assert fleet["prod"].sync().seen == 0


def test_an_instance_that_was_to_be_left_alone_by_a_clock_that_was_wrong_is_probed(fleet: FleetUnderTest) -> None:
    """Whoever asks whether a sweep is needed and the sweep itself are of one mind."""
    fleet.with_limits(sweep_patience=0.5, request_attempts=1)
    fleet["prod"].in_sync(workflow("A"))
    fleet.clock.pass_time(hours=24)
    fleet["prod"].sandbox.faults.add("reset")
    for _ in range(3):
        fleet.clock.pass_time(minutes=5)
        run(sweeps.sweep(fleet.services, interval=300, actor="system:drift_detection"))
    assert sweeps.due(fleet.services, 300) == 0
    fleet["prod"].sandbox.faults.clear()
    fleet.clock.pass_time(hours=-24)
    assert sweeps.due(fleet.services, 300) == 1
    assert run(sweeps.sweep(fleet.services, interval=300, actor="system:drift_detection")).counts == {"checked": 1}
