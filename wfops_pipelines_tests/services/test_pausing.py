"""A tenant, or everything, at rest (§20): nothing begins, what runs ends, what is half-written is finished."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import Paused, UnknownTenant
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.services import sweeps
from wfops_pipelines.services.listings import tenant_listing
from wfops_pipelines.services.operations import run_operation
from wfops_pipelines.services.pausing import pause, pauses_now, resume
from wfops_pipelines.services.reconcile import reconcile
from wfops_pipelines.services.retention import run_retention
from wfops_pipelines.services.snapshot_sweep import due_environments
from wfops_pipelines.services.sync_environment import sync_environment
from wfops_pipelines_tests.services.fleet import FleetUnderTest, run, workflow

ADA = "local:ada"


@pytest.mark.parametrize("scope", ["acme", None])
def test_nothing_begins_while_paused_and_the_way_out_is_told(fleet: FleetUnderTest, scope: str | None) -> None:
    done = pause(fleet.services, scope, actor=ADA, reason="n8n moves")
    assert done.changed and done.scope == (scope or "everything")
    with pytest.raises(Paused) as refused:
        fleet["prod"].sync()
    assert "n8n moves" in str(refused.value) and f"wfops resume{' acme' if scope else ''}" in str(refused.value)
    assert refused.value.exit_code == 4
    assert not [row for row in fleet.operations() if row.kind == "environment_sync"]
    assert resume(fleet.services, scope, actor=ADA).changed
    assert fleet["prod"].sync().seen == 0
    said = "tenant" if scope else "everything"
    assert [len(fleet.events(f"{said}.{what}")) for what in ("paused", "resumed")] == [1, 1]
    assert fleet.chain_verifies()


def test_pausing_twice_changes_nothing_and_keeps_the_first_word(fleet: FleetUnderTest) -> None:
    pause(fleet.services, "acme", actor=ADA, reason="first")
    again = pause(fleet.services, "acme", actor="local:bob", reason="second")
    assert not again.changed and again.pause is not None and again.pause.reason == "first"
    assert not resume(fleet.services, None, actor=ADA).changed  # everything was not paused
    assert len(fleet.events("tenant.paused")) == 1


def test_a_dry_run_pauses_nothing(fleet: FleetUnderTest) -> None:
    assert pause(fleet.services, "acme", actor=ADA, dry_run=True).changed
    assert pause(fleet.services, None, actor=ADA, dry_run=True).changed
    assert fleet.context.tenant_id not in pauses_now(fleet.services)
    with pytest.raises(UnknownTenant):
        pause(fleet.services, "nobody", actor=ADA)


def test_a_tenant_that_is_resumed_stays_at_rest_while_everything_is_paused(fleet: FleetUnderTest) -> None:
    pause(fleet.services, "acme", actor=ADA)
    pause(fleet.services, None, actor=ADA)
    done = resume(fleet.services, "acme", actor=ADA)
    assert done.changed and done.still is not None and done.still.tenant is None
    with pytest.raises(Paused, match="everything is paused"):
        fleet["prod"].sync()


def test_what_has_begun_ends_and_what_follows_within_it_too(fleet: FleetUnderTest) -> None:
    async def work() -> None:
        async with run_operation(fleet.services, fleet.context, OperationKind.ENVIRONMENT_SYNC, fleet["prod"].row):
            pause(fleet.services, "acme", actor=ADA)
        await reconcile(fleet.services, fleet.context, fleet["prod"].row)

    run(work())
    assert [row.state for row in fleet.operations()[-2:]] == ["completed", "completed"]
    with pytest.raises(Paused):
        run(reconcile(fleet.services, fleet.context, fleet["prod"].row))


def test_a_person_may_begin_something_even_so(fleet: FleetUnderTest) -> None:
    pause(fleet.services, "acme", actor=ADA)
    run(sync_environment(fleet.services, replace(fleet.context, even_paused=True), fleet["prod"].row))
    with pytest.raises(Paused):
        fleet["prod"].sync()


def test_recovery_runs_although_paused(fleet: FleetUnderTest) -> None:
    pause(fleet.services, "acme", actor=ADA)

    async def recover() -> None:
        async with run_operation(fleet.services, fleet.context, OperationKind.RECOVERY, fleet["prod"].row):
            pass

    run(recover())
    assert fleet.operations()[-1].state == "completed"


def test_sweeps_and_retention_leave_a_paused_tenant_out_and_find_it_due_once_afterwards(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.create_in_n8n(workflow("A"))
    pause(fleet.services, "acme", actor=ADA)
    fleet.clock.pass_time(hours=5)
    assert sweeps.due(fleet.services, 300) == 0
    assert run(sweeps.sweep(fleet.services, interval=300, actor="system:drift_detection")).due == 0
    assert due_environments(fleet.services) == []
    assert run_retention(fleet.services, actor=ADA).paused == ["acme"]
    resume(fleet.services, "acme", actor=ADA)
    assert sweeps.due(fleet.services, 300) == 1
    assert run(sweeps.sweep(fleet.services, interval=300, actor="system:drift_detection")).due == 1
    assert sweeps.due(fleet.services, 300) == 0


def test_a_pause_that_begins_in_the_middle_of_a_sweep_is_no_error_of_it(
        fleet: FleetUnderTest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    fleet["prod"].create_in_n8n(workflow("A"))

    def reach(name: str) -> None:
        if name == "sweep.claimed":
            pause(fleet.services, "acme", actor=ADA)
    monkeypatch.setattr(failpoints, "reach", reach)
    report = run(sweeps.sweep(fleet.services, interval=300, actor="system:drift_detection"))
    assert report.counts == {"skipped_paused": 1}
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
    resume(fleet.services, "acme", actor=ADA)
    assert sweeps.due(fleet.services, 300) == 1


def test_tenants_are_listed_with_their_pause(fleet: FleetUnderTest) -> None:
    assert tenant_listing(fleet.services)[0]["paused"] is None
    pause(fleet.services, None, actor=ADA, reason="maintenance")
    said = tenant_listing(fleet.services)[0]["paused"]
    assert (said["scope"], said["paused_by"], said["reason"]) == ("everything", ADA, "maintenance")
