"""Deployments: promotions that start at their time (§12)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from sqlalchemy import func, select

from wfops_pipelines.domain.deployment import DeploymentEvent
from wfops_pipelines.domain.errors import Blocked, ForbiddenTransition, UnknownDeployment, UsageError
from wfops_pipelines.services.deployment_reports import NamedDeployment, list_deployments, named
from wfops_pipelines.services.deployments import due_deployments, fail_missed, find, schedule_deployment, step
from wfops_pipelines.services.holder import this_process
from wfops_pipelines.services.promotion_options import PromotionOptions
from wfops_pipelines_tests.services.deployments import (
    cancel,
    deploy,
    id_of,
    later,
    results,
    schedule,
    schedule_number,
    shown,
)
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, workflow
from wfops_pipelines_tests.services.outbox import declare as declare_targets
from wfops_pipelines_tests.services.outbox import outbox
from wfops_pipelines_tests.services.promotions import by_name, decide, execute, held, promote, promoting_fleet, request, told


def with_one(new_fleet: NewFleet, **options: object) -> FleetUnderTest:
    """dev with a workflow that prod lacks."""
    fleet = promoting_fleet(new_fleet, ("dev", "prod"), **options)  # type: ignore[arg-type]
    fleet["dev"].create_in_n8n(workflow("One"))
    return fleet


@pytest.fixture
def fleet(new_fleet: NewFleet) -> FleetUnderTest:
    return new_fleet.as_left_by(with_one)


# -- its time ----------------------------------------------------------------------------------------------------------


def test_it_is_due_at_its_time_and_not_before(fleet: FleetUnderTest) -> None:
    made = schedule(fleet, at=later(fleet, hours=2))
    now = schedule(fleet)
    assert [row.id for row in due_deployments(fleet.services, fleet.clock.now())] == [id_of(now)]
    fleet.clock.pass_time(hours=2)
    assert [row.id for row in due_deployments(fleet.services, fleet.clock.now())] == [id_of(now), id_of(made)]
    (first, _) = due_deployments(fleet.services, fleet.clock.now())
    assert (first.tenant_slug, first.source, first.target) == ("acme", "dev", "prod")
    assert fleet.actions()["deployment.scheduled"] == 2


@pytest.mark.parametrize(("at", "said"), [
    (datetime(2026, 3, 2, 12), "no time zone"),
    (datetime.fromisoformat("2026-03-01T11:00+00:00"), "is past"),
])
def test_a_time_without_a_zone_or_in_the_past_is_refused(fleet: FleetUnderTest, at: datetime, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        schedule(fleet, at=at)


def test_one_that_nobody_started_for_an_hour_fails_and_is_told(fleet: FleetUnderTest) -> None:
    declare_targets(fleet, pager={"url": "json://127.0.0.1:9/hook", "events": ["deployment.failed"]})
    made = schedule(fleet, at=later(fleet, minutes=5))
    fleet.clock.pass_time(minutes=64)
    rows = due_deployments(fleet.services, fleet.clock.now())
    assert fail_missed(fleet.services, rows, fleet.clock.now(), actor="system:test") == set()
    fleet.clock.pass_time(minutes=2)
    assert fail_missed(fleet.services, rows, fleet.clock.now(), actor="system:test") == {id_of(made)}
    assert shown(fleet, made).status == "failed" and "nothing started it" in (shown(fleet, made).message or "")
    assert due_deployments(fleet.services, fleet.clock.now()) == []
    assert not fleet["prod"].sandbox.state.workflows
    (message,) = outbox(fleet)
    assert message.event == "deployment.failed"


def test_a_dry_run_schedules_nothing(fleet: FleetUnderTest) -> None:
    made = schedule(fleet, dry_run=True, at=later(fleet, hours=1))
    assert made.dry_run and made.deployment_id is None
    assert list_deployments(fleet.services, fleet.context) == []


# -- what is refused when it is scheduled ------------------------------------------------------------------------------


def test_a_stage_that_asks_for_approvals_wants_an_approved_promotion(new_fleet: NewFleet) -> None:
    fleet = with_one(new_fleet, stage={"approvers": 1})
    with pytest.raises(Blocked, match="asks for 1 approvals") as refused:
        schedule(fleet)
    assert "--promotion acme/p" in (refused.value.fix or "")


def test_a_time_within_a_freeze_window_is_refused(new_fleet: NewFleet) -> None:
    window = {"name": "weekend", "kind": "deny", "from": "2026-03-07T00:00", "to": "2026-03-09T00:00"}
    fleet = with_one(new_fleet, stage={"freezeWindows": [window]})
    with pytest.raises(Blocked, match="frozen at 2026-03-08 12:00 UTC: denied by 'weekend'"):
        schedule(fleet, at=datetime.fromisoformat("2026-03-08T12:00+00:00"))
    assert schedule(fleet, at=datetime.fromisoformat("2026-03-09T12:00+00:00")).status == "scheduled"


def test_production_that_may_not_be_written_to_and_ways_that_nobody_declared_are_refused(fleet: FleetUnderTest) -> None:
    with pytest.raises(UsageError, match="no pipeline of acme leads from prod to dev"):
        schedule(fleet, "prod", "dev")
    with pytest.raises(UsageError, match="one environment"):
        schedule(fleet, "prod", "prod")
    fleet.declared("prod")["allow_production"] = False
    fleet.apply()
    with pytest.raises(Blocked, match="production environment"):
        schedule(fleet)


# -- running -----------------------------------------------------------------------------------------------------------


def test_it_promotes_what_the_source_holds_then_and_keeps_what_became_of_each_workflow(fleet: FleetUnderTest) -> None:
    made = schedule(fleet, at=later(fleet, hours=1))
    fleet["dev"].create_in_n8n(workflow("Later"))
    fleet.clock.pass_time(hours=1)
    done = deploy(fleet, made, run_id="r1")
    assert done.status == "completed" and done.error is None, done
    assert results(done) == {"One": "success", "Later": "success"}
    assert done.counts == {"success": 2, "failed": 0, "skipped": 0}
    assert (done.promotion, done.promotion_status, done.run_id) == ("acme/p1", "completed", "r1")
    assert done.progress["percentage"] == 100
    promotion = told(fleet, 1)
    assert promotion.requested_by == "local:ada"  # who asked for the deployment, whoever starts it
    assert sorted(by_name(fleet["prod"])) == ["Later", "One"]
    story = [event.action for event in fleet.events() if event.subject_id == made.deployment_id]
    assert story == ["deployment.requested", "deployment.scheduled", "deployment.running", "deployment.completed"]
    assert fleet.chain_verifies()


def test_the_options_reach_the_promotion(fleet: FleetUnderTest) -> None:
    fleet["dev"].create_in_n8n(workflow("Two"))
    done = deploy(fleet, schedule(fleet, workflows=("Two",), reason="release 7"))
    assert done.status == "completed" and list(by_name(fleet["prod"])) == ["Two"]


def test_nothing_to_write_completes_it(fleet: FleetUnderTest) -> None:
    promote(fleet)
    done = deploy(fleet, schedule(fleet))
    assert done.status == "completed" and done.promotion is None and "already" in (done.message or "")


def test_what_a_gate_says_no_to_fails_it_and_is_told(fleet: FleetUnderTest) -> None:
    declare_targets(fleet, pager={"url": "json://127.0.0.1:9/hook", "events": ["deployment.failed"]})
    promote(fleet)
    fleet["prod"].edit_in_n8n(by_name(fleet["prod"])["One"], "hotfix")
    before = held(fleet["prod"])
    done = deploy(fleet, schedule(fleet, prune=True))
    assert done.status == "failed" and "hotfix" in (done.message or "") and isinstance(done.error, Blocked)
    assert done.promotion_status == "blocked" and held(fleet["prod"]) == before
    assert [message.event for message in outbox(fleet)] == ["deployment.failed"]


def test_a_freeze_window_that_came_meanwhile_fails_it_and_its_promotion_is_called_off(fleet: FleetUnderTest) -> None:
    made = schedule(fleet, at=later(fleet, hours=1))
    fleet.document["tenants"][0]["pipelines"][0]["stages"][0]["freezeWindows"] = [
        {"name": "fair", "kind": "deny", "from": "2026-03-01T12:30", "to": "2026-03-03T00:00"}]
    fleet.apply()
    fleet.clock.pass_time(hours=1)
    done = deploy(fleet, made)
    assert done.status == "failed" and "fair" in (done.message or "")
    assert done.promotion_status == "cancelled" and results(done) == {"One": "skipped"}
    assert not fleet["prod"].sandbox.state.workflows


def test_what_n8n_refuses_is_restored_and_each_workflow_says_so(fleet: FleetUnderTest) -> None:
    promote(fleet)
    (two,) = fleet["dev"].create_in_n8n(workflow("Two"))
    fleet["dev"].edit_in_n8n(min(i for i in fleet["dev"].sandbox.state.workflows if i != two), "x")
    before = held(fleet["prod"])
    fleet["prod"].sandbox.faults.add("status", method="PUT", path=r"/workflows/[^/]+$", status=400)
    done = deploy(fleet, schedule(fleet))
    fleet["prod"].sandbox.faults.clear()
    assert done.status == "failed" and done.promotion_status in ("failed", "rolled_back")
    assert set(results(done).values()) <= {"failed", "skipped"} and held(fleet["prod"]) == before
    assert done.error is not None


def test_a_target_that_something_else_holds_fails_it_only_after_a_while(fleet: FleetUnderTest) -> None:
    made = schedule(fleet)
    fleet.with_limits(lease_wait=0.0)
    with fleet.services.store.bookkeeping(fleet.context, "test") as work:
        operation = fleet.context.new_id()
        work.operations.create(operation, "environment_sync", environment_id=fleet["prod"].row.id, actor="local:x",
                               run_id=None, now=fleet.clock.now())
        now = work.connection.execute(select(func.clock_timestamp())).scalar_one()
        work.leases.take(fleet["prod"].row.id, operation, this_process(), now)
    done = deploy(fleet, made, patience=0)
    assert done.status == "failed" and str(operation) in (done.message or "")


def test_one_that_runs_is_not_started_twice(fleet: FleetUnderTest) -> None:
    made = schedule(fleet)
    with fleet.services.store.unit_of_work(fleet.context, "test") as work:
        now = fleet.clock.now()
        step(work, find(work, id_of(made)), DeploymentEvent.START, started_at=now, heartbeat_at=now, run_id="other")
    with pytest.raises(Blocked, match="runs already, in run other"):
        deploy(fleet, made, run_alive=lambda _: True)
    assert shown(fleet, made).status == "running"


def test_one_that_has_ended_is_not_started_again(fleet: FleetUnderTest) -> None:
    made = schedule(fleet)
    deploy(fleet, made)
    with pytest.raises(ForbiddenTransition):
        deploy(fleet, made)
    with pytest.raises(ForbiddenTransition):
        cancel(fleet, made)


def test_a_cancelled_one_is_not_due_and_does_not_start(fleet: FleetUnderTest) -> None:
    made = schedule(fleet)
    assert cancel(fleet, made).status == "cancelled"
    assert due_deployments(fleet.services, fleet.clock.now()) == []
    with pytest.raises(ForbiddenTransition):
        deploy(fleet, made)


# -- promotions that exist ---------------------------------------------------------------------------------------------


def test_an_approved_promotion_is_carried_out_at_its_time(new_fleet: NewFleet) -> None:
    fleet = with_one(new_fleet, stage={"approvers": 1})
    asked = request(fleet)
    waiting = schedule_number(fleet, asked.number, at=later(fleet, hours=1))
    assert waiting.notes == ["acme/p1 waits for approvals: without them it fails at its time"]
    with pytest.raises(Blocked, match="is scheduled already"):
        schedule_number(fleet, asked.number)
    decide(fleet, 1)
    done = deploy(fleet, waiting)
    assert done.status == "completed" and done.promotion == "acme/p1"
    assert told(fleet, 1).checksum == asked.checksum


def test_without_its_approvals_it_fails_and_the_promotion_waits_on(new_fleet: NewFleet) -> None:
    fleet = with_one(new_fleet, stage={"approvers": 1})
    asked = request(fleet)
    done = deploy(fleet, schedule_number(fleet, asked.number))
    assert done.status == "failed" and "not approved" in (done.message or "")
    assert told(fleet, 1).status == "pending_approval"
    decide(fleet, 1)
    assert deploy(fleet, schedule_number(fleet, 1)).status == "completed"  # scheduled again


def test_a_plan_that_changed_after_its_approval_is_not_carried_out(new_fleet: NewFleet) -> None:
    fleet = with_one(new_fleet, stage={"approvers": 1})
    asked = request(fleet)
    made = schedule_number(fleet, asked.number)
    decide(fleet, 1)
    fleet["dev"].create_in_n8n(workflow("Slipped in"))
    done = deploy(fleet, made)
    assert done.status == "failed" and "not the one that was approved" in (done.message or "")
    assert not fleet["prod"].sandbox.state.workflows


def test_one_that_somebody_carried_out_before_completes(fleet: FleetUnderTest) -> None:
    asked = request(fleet)
    made = schedule_number(fleet, asked.number, at=later(fleet, hours=1))
    execute(fleet, asked.number)
    assert deploy(fleet, made).status == "completed"
    with pytest.raises(Blocked, match="p1 is completed"):
        schedule_number(fleet, asked.number)


# -- names and lists ---------------------------------------------------------------------------------------------------


def test_they_are_listed_newest_first_page_by_page_and_named_by_the_beginning_of_their_id(fleet: FleetUnderTest) -> None:
    made = [schedule(fleet, at=later(fleet, hours=n + 1)).deployment_id for n in range(3)]
    cancel(fleet, str(made[0]))
    rows = list_deployments(fleet.services, fleet.context)
    assert [row["deployment_id"] for row in rows] == made[::-1]
    assert [row["deployment_id"] for row in list_deployments(fleet.services, before=made[2])] == [made[1], made[0]]
    assert [row["deployment_id"] for row in list_deployments(fleet.services, statuses=["cancelled"])] == [made[0]]
    assert named(fleet.services, str(made[1])[:8]) == NamedDeployment("acme", id_of(str(made[1])), "prod")
    with pytest.raises(UsageError, match="there is no status 'gone'"):
        list_deployments(fleet.services, statuses=["gone"])
    with pytest.raises(UnknownDeployment):
        named(fleet.services, "00000000")
    with pytest.raises(UsageError, match="names no deployment"):
        named(fleet.services, "prod")


def test_who_stands_behind_who_asked_is_kept(fleet: FleetUnderTest) -> None:
    context = replace(fleet.context, impersonator="local:root")
    made = schedule_deployment(fleet.services, context, fleet["dev"].row, fleet["prod"].row, PromotionOptions(prune=True))
    assert made.requested_through == "local:root" and made.options["prune"]
    done = deploy(fleet, made)
    assert done.status == "completed"
    (asked,) = fleet.events("promotion.requested")
    assert (asked.actor, asked.impersonator) == ("local:ada", "local:root")

