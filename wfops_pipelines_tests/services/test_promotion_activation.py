"""Whether promoted workflows run (§11.3): kept, or as in the source; what somebody decided in the target is not undone
without a word."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines_tests.services.fleet import Environment, FleetUnderTest, NewFleet, calling, workflow
from wfops_pipelines_tests.services.promotion_scenes import called
from wfops_pipelines_tests.services.promotions import (
    by_name,
    dev_to_prod,
    execute,
    held,
    promote,
    promoting_fleet,
    request,
    roll_back,
    told,
)

NAMES = {"Equal on": True, "Equal off": False, "Changed on": True, "Changed off": False}  # how dev has them in the end


def running(environment: Environment) -> dict[str, bool]:
    return {record.name: record.active_id is not None for record in environment.sandbox.state.workflows.values()}


def turned_over(new_fleet: NewFleet, **stage: str) -> FleetUnderTest:
    """dev and prod have four workflows that run in the one exactly where they do not in the other; two differ besides."""
    fleet = promoting_fleet(new_fleet, ("dev", "prod"), stage=stage)
    ids = fleet["dev"].create_in_n8n(*(workflow(name, active=not on) for name, on in NAMES.items()))
    assert promote(fleet).status == "completed"
    for workflow_id, (name, on) in zip(ids, NAMES.items(), strict=True):
        if name.startswith("Changed"):
            fleet["dev"].edit_in_n8n(workflow_id, "better")
        fleet["dev"].activate_in_n8n(workflow_id, on)
    return fleet


def test_the_targets_activation_is_kept_and_the_plan_says_where_it_differs(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(turned_over)
    asked = request(fleet)
    assert asked.plan["activation"] == "keep"
    assert {each["name"]: each["source_active"] for each in asked.plan["changes"]} == NAMES
    assert asked.plan["counts"]["update"] == 2
    for text in ("stays off, though the source's is on", "Equal on: on in the source, off in the target"):
        assert text in asked.text
    done = execute(fleet, asked.number)
    assert done.status == "completed" and done.drift_status == "IN_SYNC"
    assert running(fleet["prod"]) == {name: not on for name, on in NAMES.items()}
    again = request(fleet)
    assert again.status == "unchanged" and {each["source_active"] for each in again.plan["changes"]} == {True, False}


def test_the_sources_activation_is_written_read_back_committed_and_rolled_back(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(turned_over)
    before, files = held(fleet["prod"]), fleet["prod"].files()
    kept = request(fleet, dry_run=True)
    asked = request(fleet, activation="source")
    assert asked.plan["counts"]["update"] == 4 and asked.checksum != kept.checksum
    done = execute(fleet, asked.number)
    assert done.status == "completed" and done.drift_status == "IN_SYNC", done.reason
    assert running(fleet["prod"]) == NAMES
    assert {json.loads(data)["name"]: json.loads(data)["wfops"]["active"] for data in fleet["prod"].files().values()} == NAMES
    assert {each["name"]: each["action"] for each in done.workflows} == {
        "Equal on": "activate", "Equal off": "deactivate", "Changed on": "update", "Changed off": "update"}
    assert request(fleet, activation="source").status == "unchanged"
    back = roll_back(fleet, done.number or 0)
    assert back.status == "rolled_back" and back.drift_status == "IN_SYNC"
    assert held(fleet["prod"]) == before and fleet["prod"].files() == files


def test_a_stage_says_whose_activation_holds_and_a_promotion_may_say_otherwise(new_fleet: NewFleet) -> None:
    fleet = turned_over(new_fleet, activation="source")
    assert request(fleet, dry_run=True).plan["counts"]["update"] == 4
    assert request(fleet, dry_run=True, activation="keep").plan["counts"]["update"] == 2
    with pytest.raises(UsageError, match="activation is keep or source"):
        request(fleet, activation="on")
    assert promote(fleet).status == "completed"
    assert running(fleet["prod"]) == NAMES


def test_what_was_switched_is_switched_back_when_n8n_refuses_something(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(turned_over)
    prod = fleet["prod"]
    before = held(prod)
    asked = request(fleet, activation="source")
    last = [each["workflow_id"] for each in asked.plan["changes"] if each["action"] == "update"][-1]
    prod.sandbox.faults.add("status", method="POST", path=f"/workflows/{last}/", status=400)
    prod.sandbox.faults.add("status", method="PUT", path=f"/workflows/{last}$", status=400)
    with pytest.raises(Exception, match="400"):
        execute(fleet, asked.number)
    prod.sandbox.faults.clear()
    assert held(prod) == before
    assert told(fleet, asked.number or 0).status == "rolled_back"
    assert prod.check().status == "IN_SYNC"


def family(new_fleet: NewFleet, *, active: bool) -> tuple[FleetUnderTest, str, str]:
    """A caller and a workflow that only workflows start, in dev and prod, on or off in both."""
    fleet = promoting_fleet(new_fleet, ("dev", "prod"))
    (sub,) = fleet["dev"].create_in_n8n(called("Sub", active=active))
    (top,) = fleet["dev"].create_in_n8n(calling("Top", sub, active=active))
    fleet["dev"].create_in_n8n(called("Another", active=True))
    assert promote(fleet).status == "completed"
    assert running(fleet["prod"]) == {"Sub": active, "Top": active, "Another": True}
    return fleet, sub, top


@pytest.mark.parametrize("on", [True, False])
def test_callers_and_what_they_call_are_switched_in_the_order_that_n8n_takes_and_back(new_fleet: NewFleet, *, on: bool) -> None:
    fleet, sub, top = family(new_fleet, active=not on)
    for workflow_id in (sub, top):
        fleet["dev"].activate_in_n8n(workflow_id, on)
    before = held(fleet["prod"])
    done = promote(fleet, activation="source")
    assert done.status == "completed" and done.drift_status == "IN_SYNC"
    assert [each["name"] for each in done.workflows if each["status"] == "success"] == (["Sub", "Top"] if on else ["Top", "Sub"])
    assert running(fleet["prod"]) == {"Sub": on, "Top": on, "Another": True}
    assert roll_back(fleet, done.number or 0).status == "rolled_back"
    assert held(fleet["prod"]) == before


def test_what_running_ones_call_is_not_switched_off_under_them(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(dev_to_prod)
    (sub,) = fleet["dev"].create_in_n8n(workflow("Sub", active=True))
    (top,) = fleet["dev"].create_in_n8n(calling("Top", sub, active=True))
    promote(fleet)
    fleet["dev"].activate_in_n8n(sub, active=False)
    writes = len(fleet.host.requests[fleet["prod"].url.rpartition("/")[2]])
    asked = request(fleet, activation="source")
    assert asked.status == "blocked" and "'Sub' would be switched off as in acme/dev, and Top" in (asked.reason or "")
    assert not [each for each in fleet.host.requests[fleet["prod"].url.rpartition("/")[2]][writes:] if not each.startswith("GET")]
    fleet["dev"].activate_in_n8n(top, active=False)
    assert promote(fleet, activation="source").status == "completed"
    assert running(fleet["prod"]) == {"Sub": False, "Top": False}


def test_what_somebody_switched_in_the_target_is_not_switched_back_without_a_word(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(dev_to_prod)
    fleet["dev"].create_in_n8n(workflow("Runaway", active=True))
    promote(fleet)
    prod = fleet["prod"]
    prod.activate_in_n8n(by_name(prod)["Runaway"], active=False)
    assert prod.check().status == "DRIFT_DETECTED"
    asked = request(fleet, activation="source")
    assert asked.status == "blocked" and "hotfix: " in (asked.reason or "")
    assert "Runaway (switched off there)" in (asked.reason or "")
    fleet.tenant["pipelines"][0]["stages"][0]["gates"] = {"allowOverwritingHotfixes": True}
    fleet.apply()
    assert promote(fleet, activation="source").status == "completed"
    assert running(prod) == {"Runaway": True}


def test_one_that_would_be_switched_on_over_a_path_that_is_taken_is_found_before(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(dev_to_prod)
    (one,) = fleet["dev"].create_in_n8n(serving("One"))
    promote(fleet)
    prod = fleet["prod"]
    prod.create_in_n8n(serving("Other", active=True))
    prod.export()
    fleet["dev"].activate_in_n8n(one)
    assert request(fleet, dry_run=True).status == "unchanged"
    asked = request(fleet, activation="source", dry_run=True)
    assert asked.status == "blocked" and "lint: " in (asked.reason or "") and "[webhook-path-taken]" in asked.text


def serving(name: str, **more: Any) -> dict[str, Any]:
    """A workflow that serves a path, the same whatever its name."""
    made = workflow(name, **more)
    hook = {**made["nodes"][0], "type": "n8n-nodes-base.webhook", "parameters": {"path": "orders"}, "webhookId": f"id-{name}"}
    return {**made, "nodes": [hook, *made["nodes"][1:]]}


# -- the archive -------------------------------------------------------------------------------------------------------


def test_what_somebody_archived_in_the_target_comes_back_only_with_a_word(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(dev_to_prod)
    fleet["dev"].create_in_n8n(workflow("One"), workflow("Two"))
    promote(fleet)
    prod = fleet["prod"]
    prod.archive_in_n8n(by_name(prod)["One"])
    asked = request(fleet)
    assert asked.status == "blocked" and "One (archived there)" in (asked.reason or "")
    assert "comes back from the target's archive, though somebody archived it there" in asked.text
    assert [each["name"] for each in asked.plan["changes"] if each.get("revives")] == ["One"]
    assert request(fleet, workflows=("Two",)).status == "unchanged"
    fleet.tenant["pipelines"][0]["stages"][0]["gates"] = {"allowOverwritingHotfixes": True}
    fleet.apply()
    assert promote(fleet).status == "completed"
    assert set(by_name(prod)) == {"One", "Two"}


@pytest.mark.parametrize("git", [True, False], ids=["with Git", "without Git"])
def test_what_a_promotion_archived_comes_back_as_it_went(new_fleet: NewFleet, *, git: bool) -> None:
    fleet = promoting_fleet(new_fleet, ("dev", "prod"), git=git, gates={"requireCleanDrift": git})
    one, _ = fleet["dev"].create_in_n8n(workflow("One"), workflow("Two"))
    promote(fleet)
    fleet["dev"].archive_in_n8n(one)
    assert promote(fleet, prune=True).status == "completed"
    assert set(by_name(fleet["prod"])) == {"Two"}
    fleet["dev"].raw(one).archived = False
    fleet["dev"].edit_in_n8n(one, "again")
    assert promote(fleet).status == "completed"
    assert set(by_name(fleet["prod"])) == {"One", "Two"}
    fleet["prod"].archive_in_n8n(by_name(fleet["prod"])["One"])
    assert "One (archived there)" in (request(fleet).reason or "")


# -- what else a plan says ---------------------------------------------------------------------------------------------


def test_a_value_of_the_source_that_goes_on_as_it_is_is_named_and_not_shown(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(dev_to_prod)
    fleet.declared("dev")["variables"] = {"API_HOST": "api.dev.example.com", "SAME": "shared.example.com"}
    fleet.declared("prod")["variables"] = {"API_HOST": "api.example.com", "SAME": "shared.example.com"}
    fleet.apply()
    fleet["dev"].create_in_n8n(workflow("One", text="https://api.dev.example.com/v1 and shared.example.com"))
    asked = request(fleet)
    assert asked.status == "approved"
    (literal,) = asked.plan["literals"]
    assert (literal["node"], literal["path"], literal["variable"]) == ("Say", "parameters.text", "API_HOST")
    assert "One, 'Say', parameters.text: API_HOST" in asked.text
    assert "api.dev.example.com" not in json.dumps(asked.plan["literals"])


def test_what_the_lint_found_stands_in_the_plan(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(dev_to_prod)
    fleet["dev"].create_in_n8n(workflow("One", active=True))
    text = request(fleet, dry_run=True).text
    assert "warning: One: nobody is told when the workflow fails [no-error-workflow]" in text


def test_what_is_needed_and_left_out_is_called_by_its_name(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(dev_to_prod)
    (sub,) = fleet["dev"].create_in_n8n(workflow("Sub"))
    fleet["dev"].create_in_n8n(calling("Top", sub))
    asked = request(fleet, workflows=("Top",), with_needs=False, dry_run=True)
    assert "'Top' needs the workflow 'Sub', which" in (asked.reason or "")
