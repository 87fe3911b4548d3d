"""Rolling a promotion back by hand (§11.9): what is planned, what follows from it, and what is told while it is not done."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wfops_pipelines.cli.promotion_screen import promotions_table, rollback_text
from wfops_pipelines.domain.errors import Blocked
from wfops_pipelines.services.canonical_deletion import delete_canonical
from wfops_pipelines.services.mapping_commands import ignore
from wfops_pipelines.services.promotion_reports import list_promotions, show_promotion
from wfops_pipelines_tests.services.child import run_in_child
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, calling, run, workflow
from wfops_pipelines_tests.services.promotion_histories import (
    PRUNING,
    give_up,
    given_up,
    incidents,
    incompletely_rolled_back,
    pruned_on_1,
    with_new_ones,
    without_git,
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
    told,
)
from wfops_pipelines_tests.services.restores import restore
from wfops_pipelines_tests.services.snapshots import snapshot


def story(fleet: FleetUnderTest, number: int = 2) -> list[str]:
    """What happened, in order."""
    return [event["action"] for event in show_promotion(fleet.services, fleet.context, number)["timeline"]]


# -- what n8n 1.x has deleted ------------------------------------------------------------------------------------------


def test_what_is_made_again_is_called_and_committed_under_its_new_id(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(pruned_on_1)
    prod = fleet["prod"]
    done = roll_back(fleet, 2)
    there = by_name(prod)
    assert done.status == "rolled_back" and set(there) == {"Caller", "Called", "Loop"}
    assert calls(prod, "Caller") == there["Called"] and calls(prod, "Loop") == there["Loop"]
    assert {each["workflow_id"] for each in done.workflows if each["status"] == "rolled_back"} == set(there.values())
    assert done.git_status == "committed" and prod.check().status == "IN_SYNC"
    files = {json.loads(body)["id"] for path, body in prod.files().items() if path.startswith("workflows/")}
    assert files == set(there.values())


def test_the_next_plan_finds_nobody_elses_work_in_what_was_made_again(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(pruned_on_1)
    roll_back(fleet, 2)
    again = request(fleet, **PRUNING)
    assert again.status == "approved", again.reason
    assert execute(fleet, again.number).status == "completed" and set(by_name(fleet["prod"])) == {"Caller"}


def test_an_earlier_promotion_is_rolled_back_after_a_later_one_made_its_workflows_again(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(pruned_on_1)
    prod = fleet["prod"]
    roll_back(fleet, 2)
    assert roll_back(fleet, 1).status == "rolled_back"
    assert by_name(prod) == {} and prod.check().status == "IN_SYNC"


# -- what is planned ---------------------------------------------------------------------------------------------------


def test_who_calls_what_goes_is_told_before_and_after(new_fleet: NewFleet) -> None:
    fleet = promoting_fleet(new_fleet, ("dev", "prod"))
    dev = fleet["dev"]
    (called,) = dev.create_in_n8n(workflow("Called", active=True))
    promote(fleet)
    dev.create_in_n8n(calling("Later caller", called, active=True))
    promote(fleet)
    planned = roll_back(fleet, 1, dry_run=True)
    (change,) = planned.plan["changes"]
    assert (change["action"], change["notes"]) == ("delete", ["still called by Later caller"])
    assert "still called by Later caller" in rollback_text(planned.as_json())
    assert roll_back(fleet, 1).notes == ["'Called' is still called by Later caller"]


def test_what_is_as_it_was_before_already_is_left_alone(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(with_new_ones)
    prod = fleet["prod"]
    prod.delete_in_n8n(by_name(prod)["Caller"])
    planned = roll_back(fleet, 2, dry_run=True)
    assert [(each["action"], each["name"]) for each in planned.plan["changes"]] == [("update", "One"), ("delete", "Called")]
    assert roll_back(fleet, 2).status == "rolled_back"
    assert set(by_name(prod)) == {"One"} and prod.check().status == "IN_SYNC"


def test_what_somebody_made_of_it_since_is_nothing_to_take_back(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(with_new_ones)
    prod = fleet["prod"]
    prod.edit_in_n8n(by_name(prod)["One"], "by hand")
    with pytest.raises(Blocked, match="changed since by somebody else: 'One'"):
        roll_back(fleet, 2)


def test_what_was_created_goes_also_if_its_canonical_workflow_was_deleted(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(with_new_ones)
    run(delete_canonical(fleet.services, fleet.context, "Called"))
    assert roll_back(fleet, 2).status == "rolled_back" and set(by_name(fleet["prod"])) == {"One"}


def test_what_somebody_deleted_for_good_is_not_made_again(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(pruned_on_1)
    run(delete_canonical(fleet.services, fleet.context, "Called"))
    with pytest.raises(Blocked, match=r"'Called' .* was deleted since, also from WorkflowOps: `wfops undelete`"):
        roll_back(fleet, 2)


def test_what_was_put_back_by_hand_is_nobody_elses_work_afterwards(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(without_git)
    prod = fleet["prod"]
    prod.edit_in_n8n(by_name(prod)["One"], "hello")
    assert roll_back(fleet, 2).status == "rolled_back"
    asked = request(fleet)
    assert asked.status == "approved", asked.reason


def test_tags_that_somebody_set_since_are_somebodys_work(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(with_new_ones)
    prod = fleet["prod"]
    one = by_name(prod)["One"]
    prod.tag_in_n8n(one, "billing")
    prod.export()
    taken = snapshot(prod)
    prod.edit_in_n8n(one, "by hand")
    prod.tag_in_n8n(one, "other")
    prod.export()
    done = restore(prod, taken)
    prod.tag_in_n8n(one, "billing", "by hand since")
    with pytest.raises(Blocked, match=r"'One' .* has other tags by now"):
        roll_back(fleet, done.number or 0)


def test_who_calls_what_is_made_again_and_is_not_ours_is_told(new_fleet: NewFleet) -> None:
    fleet = promoting_fleet(new_fleet, ("dev", "prod"), generation=1)
    dev, prod = fleet["dev"], fleet["prod"]
    called, _ = dev.create_in_n8n(workflow("Called", active=True), workflow("Stays", active=True))
    promote(fleet)
    gone = by_name(prod)["Called"]
    (local,) = prod.create_in_n8n(calling("Local", gone, active=True))
    prod.sync()
    run(ignore(fleet.services, fleet.context, "prod", local))
    dev.delete_in_n8n(called)
    done = promote(fleet, **PRUNING)
    assert roll_back(fleet, done.number or 0).notes == [
        f"'Called' is made again under another id, and still called as {gone} by Local"]


def test_a_dry_run_does_not_go_on_with_one_that_is_unfinished(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(with_new_ones)
    prod = fleet["prod"]
    assert run_in_child(prod, "roll back", "runtime.delete.after=kill@1").returncode == -9
    before = set(by_name(prod))
    planned = roll_back(fleet, 2, dry_run=True)
    assert set(by_name(prod)) == before and planned.dry_run and planned.plan == {"changes": []}
    assert "an earlier rollback of it is unfinished" in rollback_text(planned.as_json())


# -- one that is not done ----------------------------------------------------------------------------------------------


def test_while_it_is_unfinished_the_promotion_is_not_told_as_if_nobody_had_begun(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(with_new_ones)
    prod = fleet["prod"]
    incompletely_rolled_back(fleet, "Called")
    found = show_promotion(fleet.services, fleet.context, 2)
    assert (found["status"], found["drift_status"]) == ("completed", None)
    assert (found["rollback"]["state"], found["rollback"]["done"], found["rollback"]["writes"]) == ("unfinished", 2, 3)
    assert {each["name"]: each["status"] for each in found["workflows"]} == {
        "One": "rolled_back", "Caller": "rolled_back", "Called": "success"}
    shown = screen(fleet)
    assert "rollback unfinished" in shown and "2 of 3 workflows are as before" in shown
    assert "takes it back" not in shown and "wfops drift acme prod" in shown
    (listed, _), _ = list_promotions(fleet.services, fleet.context)
    assert listed["rollback"]["state"] == "unfinished" and "rollback unfinished" in promotions_table([listed])
    prod.sandbox.faults.clear()
    assert prod.check().status == "IN_SYNC"
    done = show_promotion(fleet.services, fleet.context, 2)
    assert (done["status"], done["rollback"], done["drift_status"]) == ("rolled_back", None, "IN_SYNC")


def test_one_that_was_undone_leaves_the_promotion_as_it_was(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(with_new_ones)
    prod = fleet["prod"]
    prod.sandbox.faults.add("status", method="PUT", status=400, times=1)
    with pytest.raises(Exception, match="400"):
        roll_back(fleet, 2)
    found = show_promotion(fleet.services, fleet.context, 2)
    assert (found["status"], found["rollback"], found["drift_status"]) == ("completed", None, "IN_SYNC")
    assert "takes it back" in screen(fleet)


def test_after_somebody_gave_up_what_is_left_is_named_and_can_be_taken_back(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(given_up)
    prod = fleet["prod"]
    found = show_promotion(fleet.services, fleet.context, 2)
    assert found["rollback"]["state"] == "given_up"
    assert {each["name"]: each["status"] for each in found["workflows"]} == {
        "One": "rolled_back", "Top": "rolled_back", "Middle": "rollback_failed", "Called": "rollback_failed"}
    assert "rollback given up" in screen(fleet) and "takes the rest back" in screen(fleet)
    assert "promotion.rollback_given_up" in story(fleet)
    assert roll_back(fleet, 2).status == "rolled_back"
    assert set(by_name(prod)) == {"One"} and prod.check().status == "IN_SYNC"
    assert {each["status"] for each in told(fleet, 2).workflows} == {"rolled_back"}


def test_after_somebody_gave_up_what_went_back_is_nobody_elses_work_to_the_next_plan(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(without_git)
    incompletely_rolled_back(fleet, "Called")
    give_up(fleet)
    fleet["prod"].sandbox.faults.clear()
    asked = request(fleet)
    assert asked.status == "approved", asked.reason
    assert {(each["action"], each["name"]) for each in asked.plan["changes"] if each["action"] != "unchanged"} == {
        ("update", "One"), ("create", "Caller")}


def test_whoever_rolls_back_again_finishes_what_was_left_and_is_told_so(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(with_new_ones)
    prod = fleet["prod"]
    assert run_in_child(prod, "roll back", "runtime.delete.after=kill@1").returncode == -9
    done = roll_back(fleet, 2)
    assert (done.status, done.dry_run) == ("rolled_back", False)
    assert done.notes == ["an earlier rollback of it had been interrupted, and was finished now"]
    assert set(by_name(prod)) == {"One"} and prod.check().status == "IN_SYNC"


def test_who_tries_again_in_vain_tells_nothing_twice(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(with_new_ones)
    prod = fleet["prod"]
    incompletely_rolled_back(fleet, "Called")
    once = story(fleet)
    assert (once.count("runtime.failed"), once.count("environment.writes_blocked"),
            once.count("promotion.rollback_failed")) == (1, 1, 1)
    prod.check()
    prod.check()
    assert story(fleet) == once


def test_the_story_has_what_recovery_undid(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(with_new_ones)
    prod = fleet["prod"]
    assert run_in_child(prod, "roll back", "runtime.record.after_commit=kill@1").returncode == -9
    prod.sandbox.faults.add("status", method="DELETE", status=400, times=2)
    prod.check()
    assert told(fleet, 2).status == "completed"
    assert "runtime.undone" in story(fleet)


def test_without_git_an_incident_that_somebody_gave_up_on_is_accepted_and_not_gone(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(without_git)
    prod = fleet["prod"]
    incompletely_rolled_back(fleet, "Called")
    assert incidents(fleet).severity == "critical"
    give_up(fleet, "it does no harm")
    assert incidents(fleet) is None
    last: Any = fleet.reading(lambda work: work.incidents.last_of(prod.row.id))
    assert (last.status, last.resolution) == ("closed", "acknowledge")
    (closed,) = fleet.events("incident.closed")
    assert closed.details["reason"] == "it does no harm"
