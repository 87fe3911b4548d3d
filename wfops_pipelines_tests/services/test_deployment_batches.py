"""Batches of deployments over tenants, in waves that stop on failure (§12)."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from wfops_pipelines.domain.deployment import DeploymentEvent
from wfops_pipelines.domain.errors import Blocked, UnknownEnvironment, UnknownTenant, UsageError
from wfops_pipelines.services import deployment_batches
from wfops_pipelines.services.deployment_batches import (
    HALF_MADE,
    BatchTemplate,
    cancel_batch,
    move_batches,
    schedule_batch,
)
from wfops_pipelines.services.deployment_reports import BatchReport, NamedBatch, batch_report, named, named_deployment
from wfops_pipelines.services.deployment_run import run_deployment
from wfops_pipelines.services.deployments import due_deployments, find, step
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, run, workflow
from wfops_pipelines_tests.services.promotions import promoting_fleet

ACTOR = "system:scheduled_deployments"
TENANTS = ["acme", "bolt", "cargo", "delta", "echo"]


def many(new_fleet: NewFleet) -> FleetUnderTest:
    """Five tenants with dev and staging of their own n8n, each in its own place."""
    fleet = promoting_fleet(new_fleet, ("dev", "staging"), git=False)
    first = fleet.document["tenants"][0]
    for slug in TENANTS[1:]:
        tenant = copy.deepcopy(first)
        tenant.update({"slug": slug, "name": slug})
        for environment in tenant["environments"]:
            sandbox, url = fleet.host.start_n8n(fleet.clock.now)
            name = f"KEY_{slug}_{environment['slug']}".upper()
            fleet.secrets[name] = sandbox.api_key
            environment.update({"url": url, "api_key": f"env:{name}"})
            if environment["slug"] == "dev":
                sandbox.state.seed_workflows([workflow("Orders")])
        fleet.document["tenants"].append(tenant)
    fleet["dev"].create_in_n8n(workflow("Orders"))
    fleet.apply()
    return fleet


@pytest.fixture
def fleet(new_fleet: NewFleet) -> FleetUnderTest:
    return new_fleet.as_left_by(many)


def schedule(fleet: FleetUnderTest, tenants: list[str] | None = None, *, at: Any = None, dry_run: bool = False,
             source: str = "dev", target: str = "staging", **options: Any) -> BatchReport:
    return schedule_batch(fleet.services, TENANTS if tenants is None else tenants, BatchTemplate(source, target, **options),
                          actor="local:ada", at=at, dry_run=dry_run)


def statuses(fleet: FleetUnderTest, report: BatchReport) -> dict[str, str]:
    return {member["tenant"]: member["status"] for wave in now(fleet, report).waves for member in wave}


def now(fleet: FleetUnderTest, report: BatchReport) -> BatchReport:
    return batch_report(fleet.services, UUID(report.batch_id))


def take(fleet: FleetUnderTest, report: BatchReport, tenant: str, *events: DeploymentEvent) -> None:
    """Steps of a member that nobody carries out here."""
    member = next(m for wave in now(fleet, report).waves for m in wave if m["tenant"] == tenant)
    context = fleet.services.context(tenant, actor="local:test")
    for event in events:
        with fleet.services.store.unit_of_work(context, "test") as work:
            times = {"started_at": context.now()} if event is DeploymentEvent.START else {}
            step(work, find(work, UUID(member["deployment_id"])), event, reason="because", **times)


END_WELL = (DeploymentEvent.START, DeploymentEvent.COMPLETE)
END_BADLY = (DeploymentEvent.START, DeploymentEvent.FAIL)


def tick(fleet: FleetUnderTest) -> list[str]:
    return move_batches(fleet.services, actor=ACTOR)


def test_waves_begin_one_after_the_other_when_all_ended_well(fleet: FleetUnderTest) -> None:
    report = schedule(fleet, first=1, then=2)
    assert [[m["tenant"] for m in wave] for wave in report.waves] == [["acme"], ["bolt", "cargo"], ["delta", "echo"]]
    assert statuses(fleet, report) == {"acme": "scheduled", "bolt": "pending", "cargo": "pending", "delta": "pending",
                                       "echo": "pending"}
    assert tick(fleet) == []
    take(fleet, report, "acme", *END_WELL)
    assert tick(fleet) == ["bolt: scheduled", "cargo: scheduled"] and tick(fleet) == []
    take(fleet, report, "bolt", *END_WELL)
    assert tick(fleet) == []  # cargo is not through
    assert (now(fleet, report).progress["percent"], now(fleet, report).progress["wave"]) == (40, 2)
    take(fleet, report, "cargo", *END_WELL)
    tick(fleet)
    for tenant in ("delta", "echo"):
        take(fleet, report, tenant, *END_WELL)
    assert now(fleet, report).status == "completed" and tick(fleet) == []
    assert fleet.chain_verifies()


def test_a_failure_stops_it_and_what_has_not_begun_is_cancelled(fleet: FleetUnderTest) -> None:
    report = schedule(fleet, first=2, then=2)
    take(fleet, report, "bolt", DeploymentEvent.START)
    take(fleet, report, "acme", *END_BADLY)
    assert now(fleet, report).status == "stopping"
    assert sorted(tick(fleet)) == [f"{tenant}: cancelled, the batch stopped" for tenant in ("cargo", "delta", "echo")]
    take(fleet, report, "bolt", DeploymentEvent.COMPLETE)  # what runs is let to its end
    done = now(fleet, report)
    assert done.status == "stopped" and done.failed == ["acme", "cargo", "delta", "echo"]
    assert done.waves[1][0]["message"] == "the batch stopped: acme failed"


def test_tolerated_failures_do_not_stop_it(fleet: FleetUnderTest) -> None:
    report = schedule(fleet, first=1, then=4, tolerated=1)
    take(fleet, report, "acme", *END_BADLY)
    assert len(tick(fleet)) == 4
    take(fleet, report, "bolt", *END_BADLY)
    assert len(tick(fleet)) == 3 and now(fleet, report).status == "stopped"


def test_a_member_that_somebody_cancelled_is_left_out(fleet: FleetUnderTest) -> None:
    report = schedule(fleet, first=1, then=4)
    take(fleet, report, "acme", DeploymentEvent.CANCEL)
    assert len(tick(fleet)) == 4


def test_cancelling_the_batch_cancels_all_that_has_not_begun(fleet: FleetUnderTest) -> None:
    report = schedule(fleet, first=2)
    take(fleet, report, "acme", DeploymentEvent.START)
    batch_id = UUID(report.batch_id)
    planned = cancel_batch(fleet.services, batch_id, actor="local:ada", dry_run=True)
    assert planned.notes == ["would be cancelled: bolt, cargo, delta, echo"] and statuses(fleet, report)["bolt"] == "scheduled"
    cancel_batch(fleet.services, batch_id, actor="local:ada")
    assert statuses(fleet, report) == {"acme": "running", **dict.fromkeys(TENANTS[1:], "cancelled")}
    take(fleet, report, "acme", DeploymentEvent.COMPLETE)
    with pytest.raises(Blocked, match="nothing is left to cancel"):
        cancel_batch(fleet.services, batch_id, actor="local:ada")
    assert tick(fleet) == []


def test_it_begins_at_its_time_and_later_waves_at_once(fleet: FleetUnderTest) -> None:
    at = fleet.clock.now() + timedelta(hours=3)
    report = schedule(fleet, first=1, at=at)
    assert due_deployments(fleet.services, fleet.clock.now()) == []
    fleet.clock.pass_time(hours=4)
    (row,) = due_deployments(fleet.services, fleet.clock.now())
    assert row.tenant_slug == "acme" and row.starts_at == at
    take(fleet, report, "acme", *END_WELL)
    tick(fleet)
    assert all(row.starts_at > at for row in due_deployments(fleet.services, fleet.clock.now()))


def test_it_deploys_for_real_and_shows_it_in_one_view(fleet: FleetUnderTest) -> None:
    report = schedule(fleet, ["acme", "bolt"], first=1)
    for tenant in ("acme", "bolt"):
        (row,) = due_deployments(fleet.services, fleet.clock.now())
        assert row.tenant_slug == tenant
        done = run(run_deployment(fleet.services, fleet.services.context(tenant, actor=ACTOR), row.id, patience=0))
        assert done.status == "completed" and done.counts["success"] == 1, done
        tick(fleet)
    ended = now(fleet, report)
    assert ended.status == "completed" and ended.progress["percent"] == 100
    assert [wave[0]["promotion"] for wave in ended.waves] == ["acme/p1", "bolt/p1"]
    found = named(fleet.services, str(report.batch_id)[:8])
    assert found == NamedBatch(UUID(report.batch_id))
    with pytest.raises(UsageError, match="is a batch"):
        named_deployment(fleet.services, str(report.batch_id))


def test_nothing_is_scheduled_unless_it_can_be_for_every_tenant(fleet: FleetUnderTest) -> None:
    fleet.document["tenants"][1]["pipelines"][0]["stages"][0]["approvers"] = 1
    fleet.document["tenants"][3]["pipelines"][0]["stages"][0]["freezeWindows"] = [
        {"name": "fair", "from": "2026-02-01T00:00", "to": "2026-04-01T00:00"}]
    fleet.apply()
    with pytest.raises(Blocked, match=r"bolt: the stage from dev to staging asks for 1 approvals.*; delta: .*frozen"):
        schedule(fleet)
    assert schedule(fleet, ["acme", "cargo", "echo"]).status == "running"
    with pytest.raises(UnknownTenant):
        schedule(fleet, ["acme", "nobody"])
    with pytest.raises(UsageError, match="acme is in the batch twice"):
        schedule(fleet, ["acme", "acme"])
    with pytest.raises(UnknownEnvironment):
        schedule(fleet, target="prod")


def test_all_are_those_that_have_both_environments(fleet: FleetUnderTest) -> None:
    del fleet.document["tenants"][4]["environments"][1]
    del fleet.document["tenants"][4]["pipelines"]
    fleet.document["tenants"][4]["slug"] = "foxtrot"
    fleet.apply()
    planned = schedule_batch(fleet.services, None, BatchTemplate("dev", "staging"), actor="local:ada", dry_run=True)
    assert planned.batch_id is None and sum(len(wave) for wave in planned.waves) == 5
    assert planned.notes == ["left out, for want of dev or staging: foxtrot"]
    with pytest.raises(UsageError, match="no tenant has both dev and nowhere"):
        schedule_batch(fleet.services, None, BatchTemplate("dev", "nowhere"), actor="local:ada")


def test_one_that_was_not_asked_for_completely_never_begins_and_is_called_off(
        fleet: FleetUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def add(*arguments: Any, **values: Any) -> None:
        if values["batch_member"] == "acme":
            raise KeyboardInterrupt
        made.append(values["batch_id"])
        original(*arguments, **values)

    original = deployment_batches.add
    monkeypatch.setattr(deployment_batches, "add", add)
    with pytest.raises(KeyboardInterrupt):
        schedule(fleet, first=1)
    assert len(made) == 4 and tick(fleet) == [] and due_deployments(fleet.services, fleet.clock.now()) == []
    fleet.clock.time += HALF_MADE
    assert len(tick(fleet)) == 4
    report = batch_report(fleet.services, made[0])
    assert {m["status"] for m in report.waves[1]} == {"cancelled"} and tick(fleet) == []


def test_a_tenant_that_was_deleted_meanwhile_is_left_out(fleet: FleetUnderTest) -> None:
    report = schedule(fleet, ["acme", "bolt", "cargo"], first=1, then=1)
    context = fleet.services.context("bolt", actor="local:test")
    with fleet.services.store.bookkeeping(context, "test") as work:
        work.fleet.save_tenant(slug="bolt", name="bolt", deleted_at=fleet.clock.now())
    take(fleet, report, "acme", *END_WELL)
    assert tick(fleet) == ["cargo: scheduled"]
    take(fleet, report, "cargo", *END_WELL)
    assert now(fleet, report).status == "completed" and tick(fleet) == []
