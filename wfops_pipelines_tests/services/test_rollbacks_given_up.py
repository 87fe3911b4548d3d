"""Rollbacks by hand that an admin gave up on (`wfops unblock`), and how everything goes on from there (§11.7, §11.9)."""

from __future__ import annotations

import pytest

from wfops_pipelines.domain.errors import Blocked, RollbackIncomplete
from wfops_pipelines.services.promotion_reports import show_promotion
from wfops_pipelines_tests.services.child import run_in_child
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, calling, workflow
from wfops_pipelines_tests.services.promotion_histories import (
    PRUNING,
    calls_nobody,
    carried_out,
    give_up,
    given_up,
    incompletely_rolled_back,
    never_verified,
    pruned_on_1,
)
from wfops_pipelines_tests.services.promotions import (
    by_name,
    calls,
    execute,
    promote,
    promoting_fleet,
    request,
    roll_back,
    screen,
)
from wfops_pipelines_tests.services.test_promotion_pull_requests import Hub, hub, merged

__all__ = ["hub"]  # a fixture


def statuses(fleet: FleetUnderTest) -> dict[str, str]:
    """What became of each workflow of the second promotion, as it is told."""
    found = show_promotion(fleet.services, fleet.context, 2)["workflows"]
    return {each["name"]: each["status"] for each in found}


def given_up_on_1(new_fleet: NewFleet) -> FleetUnderTest:
    """n8n 1.x: Called was made again and Caller calls it, one of two new ones is gone, and the other one would not go."""
    fleet = promoting_fleet(new_fleet, ("dev", "prod"), generation=1)
    dev = fleet["dev"]
    (called,) = dev.create_in_n8n(workflow("Called", active=True))
    (caller,) = dev.create_in_n8n(calling("Caller", called, active=True))
    promote(fleet)
    calls_nobody(dev, caller, "Caller")
    dev.delete_in_n8n(called)
    dev.create_in_n8n(workflow("New", active=True), workflow("Newer", active=True))
    asked = request(fleet, **PRUNING)
    execute(fleet, asked.number)
    incompletely_rolled_back(fleet, "New")
    give_up(fleet)
    fleet["prod"].sandbox.faults.clear()
    return fleet


def half_made_on_1(new_fleet: NewFleet) -> FleetUnderTest:
    """n8n 1.x: what was pruned is made again in part, when its process dies and n8n takes nothing any more."""
    fleet = pruned_on_1(new_fleet)
    prod = fleet["prod"]
    assert run_in_child(prod, "roll back", "runtime.publish.after=kill@1").returncode == -9
    for method in ("POST", "PUT", "DELETE"):
        prod.sandbox.faults.add("status", method=method, status=400)
    prod.check()
    give_up(fleet)
    prod.sandbox.faults.clear()
    return fleet


def could_not_be_undone(new_fleet: NewFleet) -> FleetUnderTest:
    """One and Two are as before the promotion; a third write failed, and so did bringing both of them forward again."""
    fleet = carried_out(new_fleet)
    prod = fleet["prod"]
    prod.sandbox.faults.add("status", method="PUT", status=400, after=2)
    prod.sandbox.faults.add("status", method="DELETE", status=400)
    with pytest.raises(RollbackIncomplete):
        roll_back(fleet, 2)
    return fleet


def test_one_that_is_continued_is_in_git_and_names_the_ids_of_now(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(given_up_on_1)
    prod = fleet["prod"]
    done = roll_back(fleet, 2)
    there = by_name(prod)
    assert set(there) == {"Called", "Caller"} and calls(prod, "Caller") == there["Called"]
    assert {each["workflow_id"] for each in done.workflows if each["name"] in there} == set(there.values())
    assert prod.check().status == "IN_SYNC"


def test_what_went_back_the_first_time_is_told_still_after_the_second(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(given_up)
    incompletely_rolled_back(fleet, "Called")
    give_up(fleet)
    assert statuses(fleet) == {"One": "rolled_back", "Top": "rolled_back", "Middle": "rolled_back", "Called": "rollback_failed"}
    assert "3 of 4 workflows are as before" in screen(fleet)


def test_one_that_could_not_be_undone_is_told_as_what_n8n_holds(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(could_not_be_undone)
    assert (statuses(fleet)["One"], statuses(fleet)["Two"]) == ("rolled_back", "rolled_back")
    assert "the next operation on the target undoes it" in screen(fleet)
    fleet["prod"].sandbox.faults.add("status", method="PUT", status=400)
    give_up(fleet)
    fleet["prod"].sandbox.faults.clear()
    assert (statuses(fleet)["One"], statuses(fleet)["Two"]) == ("rolled_back", "rolled_back")
    assert fleet["prod"].check().status == "IN_SYNC", "Git follows what n8n holds"
    assert request(fleet).status == "approved", "nobody edited anything there"


def test_git_follows_what_went_back_and_the_next_plan_finds_nobody_elses_work(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(given_up)
    assert fleet["prod"].check().status == "IN_SYNC"
    asked = request(fleet)
    assert asked.status == "approved", asked.reason
    assert fleet.repository.git("log", "-1", "--format=%s", "main").strip() == (
        b"acme/prod: roll back a part of promotion p2")


def test_a_pull_request_shows_what_went_back(hub: Hub) -> None:
    merged(hub)
    fleet, dev = hub.fleet, hub.dev
    dev.edit_in_n8n(by_name(dev)["Orders"], "better")
    (called,) = dev.create_in_n8n(workflow("Called", active=True))
    dev.create_in_n8n(calling("Caller", called, active=True))
    promote(fleet)
    assert "better" in hub.shown("orders")
    incompletely_rolled_back(fleet, "Called")
    give_up(fleet)
    assert "better" not in hub.shown("orders")


def test_what_was_made_again_in_part_is_not_made_twice(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(half_made_on_1)
    prod = fleet["prod"]
    assert roll_back(fleet, 2).status == "rolled_back"
    names = sorted(record.name for record in prod.sandbox.state.workflows.values())
    assert names == ["Called", "Caller", "Loop"]
    assert calls(prod, "Caller") == by_name(prod)["Called"] and calls(prod, "Loop") == by_name(prod)["Loop"]
    assert prod.check().status == "IN_SYNC"


def test_a_failed_promotion_that_an_admin_gave_up_on_does_not_promise_that_anybody_comes_back_to_it(
        new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(never_verified)
    fleet["prod"].sandbox.faults.add("status", method="DELETE", status=400)
    with pytest.raises(RollbackIncomplete):
        execute(fleet, 2)
    assert "nothing can be written there" in screen(fleet)
    give_up(fleet)
    assert "an admin gave up on it" in screen(fleet) and "nothing can be written there" not in screen(fleet)
    with pytest.raises(Blocked, match="an admin gave up on what could not be restored"):
        roll_back(fleet, 2)
