"""Promotions that are not atomic (§11.7): a workflow that fails leaves the others, but for those that make no sense without
it."""

from __future__ import annotations

import json

import pytest

from wfops_pipelines_tests.services.fleet import Environment, NewFleet, calling, workflow
from wfops_pipelines_tests.services.promotion_histories import PRUNING, calls_nobody
from wfops_pipelines_tests.services.promotions import by_name, calls, execute, promote, promoting_fleet, request


def said(environment: Environment) -> str:
    """All that n8n holds, as text."""
    return json.dumps([[record.draft.node_list, record.live and record.live.node_list, record.settings]
                       for record in environment.sandbox.state.workflows.values()])


@pytest.mark.parametrize("generation", [1, 2])
def test_who_needs_what_could_not_be_created_stays_as_it_was(new_fleet: NewFleet, generation: int) -> None:
    fleet = promoting_fleet(new_fleet, ("dev", "prod"), atomic=False, generation=generation)
    dev, prod = fleet["dev"], fleet["prod"]
    (first,) = dev.create_in_n8n(workflow("First", active=True))
    promote(fleet)
    before = said(prod)
    (new,) = dev.create_in_n8n(workflow("New", active=True))
    if generation == 1:
        dev.edit_in_n8n(first, nodes=calling("First", new)["nodes"])
    else:
        dev.edit_in_n8n(first, settings={"executionOrder": "v1", "errorWorkflow": new})
    asked = request(fleet)
    prod.sandbox.faults.add("status", method="POST", path=r"/workflows$", status=400, times=1)
    done = execute(fleet, asked.number)
    assert said(prod) == before and "{{wfops" not in before
    assert {each["name"]: each["status"] for each in done.workflows} == {"First": "rolled_back", "New": "rolled_back"} or (
        done.status in ("failed", "rolled_back")), done.workflows


def test_who_calls_what_was_created_and_had_to_be_taken_back_is_not_written(new_fleet: NewFleet) -> None:
    fleet = promoting_fleet(new_fleet, ("dev", "prod"), atomic=False, generation=1)
    dev, prod = fleet["dev"], fleet["prod"]
    (called,) = dev.create_in_n8n(workflow("Called", active=True))
    (caller,) = dev.create_in_n8n(calling("Caller", called, active=True))
    dev.create_in_n8n(calling("Its caller", caller, active=True), workflow("Apart", active=True))
    asked = request(fleet)
    prod.sandbox.faults.add("status", method="POST", path=r"/activate$", status=400, times=1)
    done = execute(fleet, asked.number)
    failed = {each["name"]: each["message"] for each in done.workflows if each["status"] != "success"}
    if "Called" in failed:
        assert set(by_name(prod)) == {"Apart"}
        assert failed["Caller"] == "it needs 'Called', which could not be created (look at why that failed)"
    else:  # it was not the first one to be switched on
        assert all(name in by_name(prod) for name in {"Apart", "Called", "Caller", "Its caller"} - set(failed))


@pytest.mark.parametrize("generation", [1, 2])
def test_what_is_called_still_because_its_caller_could_not_be_written_is_not_pruned(
        new_fleet: NewFleet, generation: int) -> None:
    fleet = promoting_fleet(new_fleet, ("dev", "prod"), atomic=False, generation=generation)
    dev, prod = fleet["dev"], fleet["prod"]
    (called,) = dev.create_in_n8n(workflow("Called", active=True))
    (caller,) = dev.create_in_n8n(calling("Caller", called, active=True))
    promote(fleet)
    calls_nobody(dev, caller, "Caller")
    dev.delete_in_n8n(called)
    dev.create_in_n8n(workflow("Apart", active=True))
    asked = request(fleet, **PRUNING)
    prod.sandbox.faults.add("status", method="PUT", path=f"/workflows/{by_name(prod)['Caller']}$", status=400)
    done = execute(fleet, asked.number)
    assert done.status == "completed_with_errors"
    assert calls(prod, "Caller") == by_name(prod)["Called"] and "Apart" in by_name(prod)
    kept = next(each for each in done.workflows if each["name"] == "Called")
    assert kept["status"] != "success" and "still called by 'Caller'" in kept["message"]
