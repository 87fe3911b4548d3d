"""Deployments whose process died, or is silent: the promotion is recovered first, then they end as it did (§12, §11.8)."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from wfops_pipelines.domain.deployment import STALE_AFTER
from wfops_pipelines.domain.errors import Blocked, RollbackIncomplete
from wfops_pipelines.services import deployment_run
from wfops_pipelines.services.deployment_reports import DeploymentReport
from wfops_pipelines.services.deployment_run import end_stale
from wfops_pipelines.services.promotion_due import unfinished_environments
from wfops_pipelines.services.promotion_recovery import recover_environment
from wfops_pipelines_tests.services.deployment_child import deploy_in_child
from wfops_pipelines_tests.services.deployments import deploy, id_of, results, schedule, schedule_number, shown
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, run, workflow
from wfops_pipelines_tests.services.promotions import by_name, held, promote, promoting_fleet, request, told


def with_changes(new_fleet: NewFleet) -> FleetUnderTest:
    """dev has one workflow that prod has otherwise, and one that prod lacks."""
    fleet = promoting_fleet(new_fleet, ("dev", "prod"))
    (one,) = fleet["dev"].create_in_n8n(workflow("One"))
    promote(fleet)
    fleet["dev"].edit_in_n8n(one, "better")
    fleet["dev"].create_in_n8n(workflow("Two"))
    return fleet


@pytest.fixture
def fleet(new_fleet: NewFleet) -> FleetUnderTest:
    return new_fleet.as_left_by(with_changes)


def killed(fleet: FleetUnderTest, made: DeploymentReport, failpoint: str) -> None:
    done = deploy_in_child(fleet, id_of(made), f"{failpoint}=kill")
    assert done.returncode == -9, done.stderr


def dead(_: str) -> bool | None:
    return False


def alive(_: str) -> bool | None:
    return True


def sweep(fleet: FleetUnderTest, run_alive: Any = dead) -> list[bool]:
    """Whether the stale ones have ended."""
    return list(end_stale(fleet.services, actor="system:scheduled_deployments", run_alive=run_alive).values())


BEFORE_WRITING = ["deployment.begin.after_commit", "promotion.request.before_commit", "promotion.request.after_commit",
                  "deployment.promotion.before_commit", "deployment.promotion.after_commit", "runtime.intend.before_commit"]
WHILE_WRITING = ["runtime.intend.after_commit", "runtime.create.before", "runtime.create.after", "runtime.put.before",
                 "runtime.put.after", "runtime.record.after_commit", "promotion.complete.before",
                 "promotion.complete.before_commit"]
AFTERWARDS = ["promotion.complete.after", "deployment.conclude.before_commit"]


@pytest.mark.parametrize("failpoint", BEFORE_WRITING)
def test_killed_before_it_wrote_it_fails_and_leaves_no_promotion_behind(fleet: FleetUnderTest, failpoint: str) -> None:
    before = held(fleet["prod"])
    made = schedule(fleet, reason="OPS-12")
    killed(fleet, made, failpoint)
    assert shown(fleet, made).status == "running"
    assert sweep(fleet, alive) == [] and shown(fleet, made).status == "running"
    assert sweep(fleet) == [True]
    done = shown(fleet, made)
    assert done.status == "failed" and "died before anything was written" in (done.message or "")
    assert held(fleet["prod"]) == before
    with fleet.services.store.read(fleet.context) as work:
        assert work.promotions.waiting_for(fleet["prod"].row.id) == []
    assert sweep(fleet) == []
    assert deploy(fleet, schedule(fleet)).status == "completed"


@pytest.mark.parametrize("by_hand", [False, True], ids=["sweep", "run"])
@pytest.mark.parametrize("failpoint", WHILE_WRITING)
def test_killed_while_it_wrote_its_promotion_is_recovered_first(fleet: FleetUnderTest, failpoint: str,
                                                                by_hand: bool) -> None:
    before = held(fleet["prod"])
    made = schedule(fleet)
    killed(fleet, made, failpoint)
    assert sweep(fleet) == [False] and shown(fleet, made).status == "running"
    if by_hand:
        done = deploy(fleet, made, run_id="second", run_alive=dead)
        assert fleet.actions()["deployment.taken_over"] == 1
    else:
        run(recover_environment(fleet.services, fleet.context, fleet["prod"].row))
        assert sweep(fleet) == [True]
        done = shown(fleet, made)
    promotion = told(fleet, 2)
    assert promotion.status in ("completed", "rolled_back")
    if promotion.status == "completed":
        assert done.status == "completed" and results(done) == {"One": "success", "Two": "success"}
        assert sorted(by_name(fleet["prod"])) == ["One", "Two"]
    else:
        assert done.status == "failed" and set(results(done).values()) <= {"failed", "skipped"}
        assert held(fleet["prod"]) == before
    assert fleet["prod"].check().status == "IN_SYNC"
    assert fleet.chain_verifies()


@pytest.mark.parametrize("failpoint", AFTERWARDS)
def test_killed_when_all_was_written_it_completes(fleet: FleetUnderTest, failpoint: str) -> None:
    made = schedule(fleet)
    killed(fleet, made, failpoint)
    assert sweep(fleet) == [True]
    done = shown(fleet, made)
    assert done.status == "completed" and results(done) == {"One": "success", "Two": "success"}


def test_killed_with_its_end_recorded_nothing_is_left(fleet: FleetUnderTest) -> None:
    made = schedule(fleet)
    killed(fleet, made, "deployment.conclude.after_commit")
    assert sweep(fleet) == [] and shown(fleet, made).status == "completed"


def test_a_promotion_that_was_approved_before_stays_when_its_deployment_dies(fleet: FleetUnderTest) -> None:
    asked = request(fleet)
    made = schedule_number(fleet, asked.number)
    killed(fleet, made, "deployment.begin.after_commit")
    assert sweep(fleet) == [True] and shown(fleet, made).status == "failed"
    assert told(fleet, asked.number or 0).status == "approved"


def test_without_dagster_silence_of_ten_minutes_tells(fleet: FleetUnderTest) -> None:
    made = schedule(fleet)
    killed(fleet, made, "deployment.begin.after_commit")

    def nobody_knows(_: str) -> None:
        return None

    assert sweep(fleet, nobody_knows) == []
    fleet.clock.time += STALE_AFTER
    assert sweep(fleet, nobody_knows) == [True]
    assert shown(fleet, made).status == "failed"


@pytest.mark.parametrize("asked_before", [True, False])
def test_one_that_was_ended_because_the_clock_jumped_writes_nothing_after_that(
        fleet: FleetUnderTest, monkeypatch: pytest.MonkeyPatch, asked_before: bool) -> None:
    made, before = schedule(fleet), held(fleet["prod"])
    ask = deployment_run.request_promotion

    def jump() -> None:
        fleet.clock.pass_time(hours=1)
        assert sweep(fleet, alive) == [True]

    async def ask_while_the_clock_jumps(*arguments: Any) -> Any:
        if not asked_before:
            jump()
        asked = await ask(*arguments)
        if asked_before:
            jump()
        return asked

    monkeypatch.setattr(deployment_run, "request_promotion", ask_while_the_clock_jumps)
    done = deploy(fleet, made)
    assert done.status == "failed"
    assert held(fleet["prod"]) == before
    assert told(fleet, 2).status == "cancelled"


def test_what_is_half_written_is_finished_before_its_environment_is_pruned(fleet: FleetUnderTest) -> None:
    killed(fleet, schedule(fleet), "runtime.put.after")
    declared = copy.deepcopy(fleet.document)
    fleet.tenant["environments"] = [each for each in fleet.tenant["environments"] if each["slug"] != "prod"]
    fleet.tenant["pipelines"] = []
    for dry_run in (True, False):
        with pytest.raises(Blocked, match="acme/prod is being written to, or was and is unfinished: it is not deleted"):
            fleet.apply(prune=True, dry_run=dry_run)
    pruned, fleet.document = fleet.document, declared
    run(recover_environment(fleet.services, fleet.context, fleet["prod"].row))
    fleet.document = pruned
    assert {change.action for change in fleet.apply(prune=True).changes if change.name == "prod"} == {"delete"}


def test_a_recovery_that_was_tried_by_a_clock_that_was_wrong_is_tried_again(fleet: FleetUnderTest) -> None:
    killed(fleet, schedule(fleet), "runtime.put.after")
    fleet["prod"].sandbox.faults.add("refuse")
    fleet.clock.pass_time(hours=7)
    with pytest.raises(RollbackIncomplete):
        run(recover_environment(fleet.services, fleet.context, fleet["prod"].row))
    assert unfinished_environments(fleet.services) == []
    fleet.clock.pass_time(hours=-7)
    assert [left.environment for left in unfinished_environments(fleet.services)] == ["prod"]


def test_while_n8n_stays_away_it_fails_and_says_so_and_recovery_restores_when_n8n_is_back(fleet: FleetUnderTest) -> None:
    before = held(fleet["prod"])
    made = schedule(fleet)
    killed(fleet, made, "runtime.create.after")
    fleet["prod"].sandbox.faults.add("status", status=500)
    done = deploy(fleet, made, run_id="second", run_alive=dead)
    assert done.status == "failed" and told(fleet, 2).rollback_incomplete
    assert fleet["prod"].row.writes_blocked_at is not None
    fleet["prod"].sandbox.faults.clear()
    assert fleet["prod"].check().status == "IN_SYNC"
    assert told(fleet, 2).status == "rolled_back" and held(fleet["prod"]) == before
    assert shown(fleet, made).status == "failed" and fleet["prod"].row.writes_blocked_at is None
