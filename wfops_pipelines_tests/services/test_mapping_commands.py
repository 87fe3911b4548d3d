"""Linking, unlinking and ignoring by hand (§5.3)."""

from __future__ import annotations

import uuid

import pytest

from wfops_pipelines.domain.errors import Blocked, OperationRunning, UnknownWorkflow, UsageError
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.services.mapping_commands import ignore, link, unignore, unlink
from wfops_pipelines.services.operations import run_operation
from wfops_pipelines_tests.services.fleet import FleetUnderTest, run, workflow


def test_what_is_unlinked_stays_unlinked_and_its_drift_stays_visible(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A"))
    change = run(unlink(fleet.services, fleet.context, "prod", "A"))
    assert change.changed and (change.before["status"], change.after["status"]) == ("linked", "untracked")
    assert prod.sync().untracked == 1
    prod.edit_in_n8n(one)
    check = prod.check()
    assert (check.status, prod.kinds(check)) == ("DRIFT_DETECTED", {"A": "modified"})
    assert (prod.mapping(one).status, prod.mapping(one).unlinked_reason) == ("untracked", "by_hand")
    (event,) = fleet.events("mapping.unlinked")
    assert event.subject_id == one and event.actor == "local:ada"


def test_what_is_linked_by_hand_is_linked(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.push_workflow("a.json", workflow("In Git", text="git"))
    (one,) = prod.create_in_n8n(workflow("In n8n", text="n8n"))
    assert sorted(prod.kinds().values()) == ["added_in_runtime", "missing_in_runtime"]
    run(link(fleet.services, fleet.context, "prod", one, "In Git"))
    assert prod.mapping(one).canonical_id == prod.git_states()["a.json"].canonical_id
    assert prod.kinds() == {"In n8n": "modified"}


def test_a_second_claim_is_refused_and_says_with_whom(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A"))
    (two,) = prod.create_in_n8n(workflow("B"))
    prod.sync()
    with pytest.raises(Blocked, match=one):
        run(link(fleet.services, fleet.context, "prod", two, str(prod.mapping(one).canonical_id)))
    assert prod.mapping(two).status == "untracked"


def test_ignoring_and_taking_it_back(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A"))
    prod.edit_in_n8n(one)
    run(ignore(fleet.services, fleet.context, "prod", one))
    check = prod.check()
    assert (check.status, check.counts["ignored"]) == ("IN_SYNC", 1)
    assert not run(ignore(fleet.services, fleet.context, "prod", one)).changed
    run(unignore(fleet.services, fleet.context, "prod", one))
    assert prod.mapping(one).status == "linked"
    assert prod.kinds() == {"A": "modified"}


def test_a_dry_run_changes_nothing(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A"))
    before = prod.mapping(one), len(fleet.events())
    change = run(unlink(fleet.services, fleet.context, "prod", one, dry_run=True))
    assert change.changed and change.dry_run
    assert (prod.mapping(one), len(fleet.events())) == before


def test_names_that_are_none_or_several(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.create_in_n8n(workflow("Twin"), workflow("Twin"))
    prod.sync()
    with pytest.raises(UnknownWorkflow, match="Nobody"):
        run(ignore(fleet.services, fleet.context, "prod", "Nobody"))
    with pytest.raises(UsageError, match="2 workflows"):
        run(ignore(fleet.services, fleet.context, "prod", "Twin"))
    with pytest.raises(UnknownWorkflow):
        run(link(fleet.services, fleet.context, "prod", next(iter(prod.mappings())), str(uuid.uuid4())))


def test_a_command_waits_its_turn(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A"))

    async def both() -> None:
        async with run_operation(fleet.services, fleet.context, OperationKind.ENVIRONMENT_SYNC, prod.row):
            with pytest.raises(OperationRunning):
                await ignore(fleet.services, fleet.context, "prod", one)
    run(both())
