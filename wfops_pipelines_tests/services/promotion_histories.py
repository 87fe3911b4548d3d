"""Given: promotions that were carried out, or are about to be; and an n8n that does not let them be taken back."""

from __future__ import annotations

from typing import Any

import pytest

from wfops_pipelines.domain.errors import RollbackIncomplete
from wfops_pipelines.services.unblocking import unblock
from wfops_pipelines_tests.services.fleet import Environment, FleetUnderTest, NewFleet, calling, run, workflow
from wfops_pipelines_tests.services.promotions import by_name, execute, promote, promoting_fleet, request, roll_back

PRUNING: dict[str, Any] = {"prune": True, "allow_large": "a test", "allow_irreversible": True}


def one_edited(new_fleet: NewFleet, **options: Any) -> FleetUnderTest:
    """One is in prod by promotion number 1, and was edited in dev."""
    fleet = promoting_fleet(new_fleet, ("dev", "prod"), **options)
    (one,) = fleet["dev"].create_in_n8n(workflow("One", active=True))
    promote(fleet)
    fleet["dev"].edit_in_n8n(one, "better")
    return fleet


def two_edited(new_fleet: NewFleet, **options: Any) -> FleetUnderTest:
    """One and Two are in prod, and edited in dev; Three is new. The promotion of all that is approved, as number 2."""
    return edit_two(promoting_fleet(new_fleet, ("dev", "prod"), **options), workflow("One", active=True))


def edit_two(fleet: FleetUnderTest, first: dict[str, Any]) -> FleetUnderTest:
    """The same of a fleet that is there, with this as One."""
    dev = fleet["dev"]
    one, two = dev.create_in_n8n(first, workflow("Two", active=True))
    promote(fleet)
    dev.edit_in_n8n(one, "better")
    dev.edit_in_n8n(two, "better")
    dev.create_in_n8n(workflow("Three", active=True))
    assert request(fleet).number == 2
    return fleet


def carried_out(new_fleet: NewFleet) -> FleetUnderTest:
    """The same, completed."""
    fleet = two_edited(new_fleet)
    assert execute(fleet, 2).status == "completed"
    return fleet


def not_atomic(new_fleet: NewFleet) -> FleetUnderTest:
    """One and Two edited, Three new, where a workflow that fails does not take the others with it."""
    return two_edited(new_fleet, atomic=False)


def with_new_ones(new_fleet: NewFleet, **options: Any) -> FleetUnderTest:
    """One was edited, Called and its Caller were new: promoted, as number 2."""
    fleet = one_edited(new_fleet, **options)
    (called,) = fleet["dev"].create_in_n8n(workflow("Called", active=True))
    fleet["dev"].create_in_n8n(calling("Caller", called, active=True))
    assert promote(fleet).number == 2
    return fleet


def without_git(new_fleet: NewFleet) -> FleetUnderTest:
    """The same, of environments that are in no repository."""
    return with_new_ones(new_fleet, git=False, gates={"requireCleanDrift": False})


def chain_of_three(new_fleet: NewFleet) -> FleetUnderTest:
    """One was edited; Top, which calls Middle, which calls Called, were new: promoted, as number 2."""
    fleet = one_edited(new_fleet)
    (called,) = fleet["dev"].create_in_n8n(workflow("Called", active=True))
    (middle,) = fleet["dev"].create_in_n8n(calling("Middle", called, active=True))
    fleet["dev"].create_in_n8n(calling("Top", middle, active=True))
    assert promote(fleet).number == 2
    return fleet


def never_verified(new_fleet: NewFleet) -> FleetUnderTest:
    """One is in prod, and edited in dev; Two is new. The stage wants a workflow to run afterwards that prod does not have."""
    fleet = one_edited(new_fleet)
    fleet.tenant["pipelines"][0]["stages"][0]["verification"] = {
        "smoke_workflow": "Nobody has it", "timeout_seconds": 1, "rollback_on_failure": True}
    fleet.apply()
    fleet["dev"].create_in_n8n(workflow("Two", active=True))
    assert request(fleet).number == 2
    return fleet


# -- n8n 1.x -----------------------------------------------------------------------------------------------------------


def calling_on_1(new_fleet: NewFleet) -> tuple[FleetUnderTest, dict[str, str]]:
    """n8n 1.x: Caller calls Called, Loop calls itself; promoted. With their ids in dev."""
    fleet = promoting_fleet(new_fleet, ("dev", "prod"), generation=1)
    dev = fleet["dev"]
    (called,) = dev.create_in_n8n(workflow("Called", active=True))
    caller, loop = dev.create_in_n8n(calling("Caller", called, active=True), calling("Loop", "nobody yet", active=True))
    dev.edit_in_n8n(loop, node=("Call", {"workflowId": {"__rl": True, "mode": "list", "value": loop}}))
    assert promote(fleet).status == "completed"
    return fleet, {"Called": called, "Caller": caller, "Loop": loop}


def to_be_pruned_on_1(new_fleet: NewFleet) -> FleetUnderTest:
    """All of them are to be pruned: approved, as number 2."""
    fleet, there = calling_on_1(new_fleet)
    for each in there.values():
        fleet["dev"].delete_in_n8n(each)
    asked = request(fleet, **PRUNING)
    assert asked.status == "approved", asked.reason
    return fleet


def pruned_on_1(new_fleet: NewFleet) -> FleetUnderTest:
    """Caller did not call Called any more, and both others were pruned: number 2."""
    fleet, there = calling_on_1(new_fleet)
    calls_nobody(fleet["dev"], there["Caller"], "Caller")
    fleet["dev"].delete_in_n8n(there["Called"])
    fleet["dev"].delete_in_n8n(there["Loop"])
    asked = request(fleet, **PRUNING)
    assert execute(fleet, asked.number).status == "completed" and set(by_name(fleet["prod"])) == {"Caller"}
    return fleet


def calls_nobody(environment: Environment, workflow_id: str, name: str) -> None:
    """Somebody takes the call out of a workflow."""
    plain = workflow(name)
    environment.edit_in_n8n(workflow_id, nodes=plain["nodes"], connections=plain["connections"])


# -- what cannot be taken back -----------------------------------------------------------------------------------------


def refuses_to_delete(environment: Environment, name: str) -> None:
    """n8n, this workflow, whoever asks."""
    environment.sandbox.faults.add("status", method="DELETE", path=f"/workflows/{by_name(environment)[name]}$", status=400)


def incompletely_rolled_back(fleet: FleetUnderTest, name: str) -> None:
    """Number 2 is rolled back, but for this workflow, which n8n does not delete."""
    refuses_to_delete(fleet["prod"], name)
    with pytest.raises(RollbackIncomplete):
        roll_back(fleet, 2)


def give_up(fleet: FleetUnderTest, reason: str = "we look at it tomorrow") -> None:
    """An admin says so."""
    run(unblock(fleet.services, fleet.context, "prod", reason=reason))


def given_up(new_fleet: NewFleet) -> FleetUnderTest:
    """Top is gone and One as before; Middle and Called could not be taken back, and an admin gave up on them."""
    fleet = chain_of_three(new_fleet)
    incompletely_rolled_back(fleet, "Middle")
    give_up(fleet)
    fleet["prod"].sandbox.faults.clear()
    fleet["prod"].check()
    return fleet


def incidents(fleet: FleetUnderTest) -> Any:
    """The incident that is open in prod, if one is."""
    return fleet.reading(lambda work: work.incidents.open_of(fleet["prod"].row.id))
