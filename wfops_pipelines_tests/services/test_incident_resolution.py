"""Reconciling incidents (§10.2): revert, replace, promote, acknowledge; undone when n8n refuses; refused where it must be."""

from __future__ import annotations

import pytest

from wfops_pipelines.domain.errors import Blocked, ForbiddenTransition, UsageError
from wfops_pipelines.domain.incident import IncidentEvent
from wfops_pipelines.services import incident_resolution
from wfops_pipelines.services.incident_steps import decide_request, spend_reconciliation
from wfops_pipelines.services.operations import RunningOperation
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, workflow
from wfops_pipelines_tests.services.incidents import (
    BOSS,
    POLICY,
    acknowledge,
    drifted,
    fleet_with_incidents,
    incident,
    open_incident,
    resolve,
    said,
    step,
)


def test_a_revert_brings_back_what_git_says_and_the_incident_closes_itself(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    number, (workflow_id,) = drifted(prod, workflow("Orders", text="right"))
    acknowledge(prod, number)
    done = resolve(prod, number, "revert")
    assert said(prod, workflow_id) == "right"
    assert [(w["action"], w["state"], w["workflow_id"]) for w in done.writes] == [("update", "done", workflow_id)]
    assert (done.status, done.drift_status) == ("closed", "IN_SYNC")
    closed = incident(prod, number)
    assert (closed.status, closed.resolution, closed.affected) == ("closed", "revert", 0)
    assert prod.check().status == "IN_SYNC"
    story = [event.action for event in prod.fleet.events() if event.subject_type == "incident"]
    assert story == ["incident.opened", "incident.explained", "incident.acknowledged", "incident.reconciled",
                     "incident.closed"]
    assert prod.fleet.chain_verifies()


def test_a_revert_keeps_ids_webhooks_and_the_active_state(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    (workflow_id,) = prod.in_sync(workflow("Orders", text="right"))
    prod.activate_in_n8n(workflow_id)
    prod.export()
    prod.edit_in_n8n(workflow_id, "wrong")
    prod.check()
    number = open_incident(prod).number
    acknowledge(prod, number)
    resolve(prod, number, "revert")
    record = prod.raw(workflow_id)
    assert record.active_id == record.version_id
    assert [node["id"] for node in record.draft.node_list] == ["a", "b"]
    assert said(prod, workflow_id) == "right"


def test_everything_that_drifts_is_reverted_in_one_go(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    edited, deleted, archived, switched = prod.in_sync(*(workflow(name, text="right") for name in "ABCD"))
    prod.edit_in_n8n(edited, "wrong")
    prod.delete_in_n8n(deleted)
    prod.archive_in_n8n(archived)
    prod.activate_in_n8n(switched)
    (added,) = prod.create_in_n8n(workflow("E"))
    prod.check()
    number = open_incident(prod).number
    acknowledge(prod, number)
    plan = resolve(prod, number, "revert", dry_run=True)
    assert [(p["action"], p["name"]) for p in plan.plan] == [
        ("update", "A"), ("create", "B"), ("unarchive", "C"), ("deactivate", "D")]
    assert [(left["name"], "--prune" in left["reason"]) for left in plan.left] == [("E", True)]
    assert said(prod, edited) == "wrong"
    done = resolve(prod, number, "revert", prune=True)
    assert {w["name"]: (w["action"], w["state"]) for w in done.writes} == {
        "A": ("update", "done"), "B": ("create", "done"), "C": ("unarchive", "done"), "D": ("deactivate", "done"),
        "E": ("archive", "done")}
    assert done.drift_status == "IN_SYNC"
    assert prod.raw(added).archived
    created = next(w["workflow_id"] for w in done.writes if w["name"] == "B")
    assert prod.mapping(created).status == "linked"
    assert prod.raw(created).static_data == b"null"
    assert incident(prod, number).status == "closed"


def test_what_is_left_keeps_the_incident_open(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    (edited,) = prod.in_sync(workflow("A", text="right"))
    prod.edit_in_n8n(edited, "wrong")
    prod.create_in_n8n(workflow("E"))
    prod.check()
    number = open_incident(prod).number
    acknowledge(prod, number)
    done = resolve(prod, number, "revert")
    assert said(prod, edited) == "right"
    assert (done.status, done.drift_status) == ("reconciled", "DRIFT_INCIDENT_ACKNOWLEDGED")


def test_what_n8n_cannot_clear_is_left_by_name_and_the_rest_is_reverted(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    edited, kept = prod.in_sync(workflow("A", text="right"), workflow("B", text="right"))
    prod.edit_in_n8n(edited, "wrong")
    prod.edit_in_n8n(kept, settings={"executionOrder": "v1", "timezone": "Europe/Berlin", "saveManualExecutions": True})
    prod.check()
    number = open_incident(prod).number
    acknowledge(prod, number)
    done = resolve(prod, number, "revert")
    assert [(left["name"], "saveManualExecutions" in left["reason"]) for left in done.left] == [("B", True)]
    assert (done.status, done.drift_status) == ("reconciled", "DRIFT_INCIDENT_ACKNOWLEDGED")
    assert said(prod, edited) == "right"
    assert prod.raw(kept).settings["timezone"] == "Europe/Berlin"


def test_accepting_it_needs_a_reason_and_opens_no_other_incident_for_the_same_drift(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    number, (workflow_id,) = drifted(prod, workflow("Orders"))
    acknowledge(prod, number)
    with pytest.raises(UsageError, match="needs a reason"):
        resolve(prod, number, "acknowledge")
    assert resolve(prod, number, "acknowledge", reason="until the release").status == "reconciled"
    step(prod, number, IncidentEvent.CLOSE)
    assert prod.check().status == "DRIFT_DETECTED"
    prod.edit_in_n8n(workflow_id, "another edit")
    assert prod.check().status == "DRIFT_INCIDENT_ACTIVE"
    assert open_incident(prod).number == number + 1


def test_production_is_not_written_to_before_somebody_allowed_it(new_fleet: NewFleet) -> None:
    prod = new_fleet(drift_policy={"auto_create_incidents": True})["prod"]
    number, (workflow_id,) = drifted(prod, workflow("Orders"))
    acknowledge(prod, number)
    with pytest.raises(Blocked, match="acme/prod is a production environment"):
        resolve(prod, number, "revert")
    assert said(prod, workflow_id) == "edited by hand"
    assert resolve(prod, number, "revert", dry_run=True).plan
    assert resolve(prod, number, "promote").status == "closed"


def test_what_nobody_acknowledged_is_not_reconciled(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    number, (workflow_id,) = drifted(prod, workflow("Orders"))
    with pytest.raises(ForbiddenTransition, match="detected cannot become reconciled"):
        resolve(prod, number, "revert")
    assert said(prod, workflow_id) == "edited by hand"
    assert resolve(prod, number, "revert", forced=True).status == "closed"


def test_where_attestation_is_required_the_reason_comes_before_anything_is_written(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(fleet_with_incidents)
    fleet.declared("prod")["drift_handling_mode"] = "require_attestation"
    fleet.apply()
    prod = fleet["prod"]
    number, (workflow_id,) = drifted(prod, workflow("Orders", text="right"))
    with pytest.raises(Blocked, match="nobody has acknowledged it"):
        resolve(prod, number, "revert", forced=True)
    acknowledge(prod, number)
    with pytest.raises(Blocked, match="without a reason"):
        resolve(prod, number, "revert")
    assert said(prod, workflow_id) == "edited by hand"
    step(prod, number, IncidentEvent.STABILIZE, reason="seen by ada, harmless")
    assert resolve(prod, number, "revert").status == "closed"


@pytest.mark.parametrize("resolution", ["revert", "promote"])
def test_what_is_written_is_what_somebody_looked_at(new_fleet: NewFleet, resolution: str) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    number, (workflow_id,) = drifted(prod, workflow("Orders", text="right"))
    acknowledge(prod, number)
    seen = resolve(prod, number, resolution, dry_run=True).checksum
    assert resolve(prod, number, resolution, dry_run=True).checksum == seen
    prod.edit_in_n8n(workflow_id, "edited again")
    before = prod.fleet.repository.head()
    with pytest.raises(Blocked, match="changed since the plan was looked at"):
        resolve(prod, number, resolution, plan=seen)
    assert (said(prod, workflow_id), prod.fleet.repository.head()) == ("edited again", before)
    assert resolve(prod, number, resolution, plan=resolve(prod, number, resolution, dry_run=True).checksum).status == "closed"


def test_a_second_revert_finds_the_incident_closed(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    number, _ = drifted(prod, workflow("Orders"))
    acknowledge(prod, number)
    resolve(prod, number, "revert")
    with pytest.raises(ForbiddenTransition, match="closed"):
        resolve(prod, number, "revert")


def test_a_draft_that_nobody_published_is_named_before_it_is_lost(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    (workflow_id,) = prod.in_sync(workflow("Orders", text="right"))
    prod.activate_in_n8n(workflow_id)
    prod.export()
    prod.edit_in_n8n(workflow_id, "live and wrong")
    prod.edit_in_n8n(workflow_id, "draft", publish=False)
    prod.check()
    number = open_incident(prod).number
    acknowledge(prod, number)
    assert resolve(prod, number, "revert", dry_run=True).plan[0]["loses_draft"]
    assert resolve(prod, number, "revert").drift_status == "IN_SYNC"
    assert said(prod, workflow_id) == "right"


@pytest.mark.parametrize("resolution", ["revert", "promote"])
@pytest.mark.parametrize("meanwhile", ["cancelled", "approval wanted", "approval used up"])
def test_what_changes_while_both_sides_are_read_counts(
        new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch, resolution: str, meanwhile: str) -> None:
    fleet = new_fleet.as_left_by(fleet_with_incidents)
    prod = fleet["prod"]
    number, (workflow_id,) = drifted(prod, workflow("Orders", text="right"))
    acknowledge(prod, number)
    if meanwhile == "approval used up":
        wanting_approval(fleet)
        assert resolve(prod, number, resolution).waiting
        decide_request(fleet.services, fleet.services.context("acme", actor=BOSS), number, approve=True)
    reading = incident_resolution._read

    async def read_slowly(operation: RunningOperation) -> None:
        await reading(operation)
        if meanwhile == "cancelled":
            step(prod, number, IncidentEvent.CANCEL)
        elif meanwhile == "approval wanted":
            wanting_approval(fleet)
        else:
            fleet.writing(lambda work: spend_reconciliation(work, work.incidents.by_number(number)))

    monkeypatch.setattr(incident_resolution, "_read", read_slowly)
    files = prod.files()
    with pytest.raises((Blocked, ForbiddenTransition)):
        resolve(prod, number, resolution)
    assert said(prod, workflow_id) == "edited by hand"
    assert prod.files() == files


def wanting_approval(fleet: FleetUnderTest) -> None:
    """The policy wants reconciliations approved."""
    fleet.tenant["drift_policy"] = POLICY | {"require_approval_for": ["reconcile"]}
    fleet.apply()


def test_n8n_1_is_reverted_too_and_deletes_only_when_that_is_allowed(new_fleet: NewFleet) -> None:
    prod = fleet_with_incidents(new_fleet, generation=1)["prod"]
    edited, deleted = prod.in_sync(workflow("A", text="right"), workflow("B"))
    prod.edit_in_n8n(edited, "wrong")
    prod.delete_in_n8n(deleted)
    (added,) = prod.create_in_n8n(workflow("E"))
    prod.check()
    number = open_incident(prod).number
    acknowledge(prod, number)
    plan = resolve(prod, number, "revert", dry_run=True, prune=True)
    assert [(left["name"], "--allow-irreversible" in left["reason"]) for left in plan.left] == [("E", True)]
    done = resolve(prod, number, "revert", prune=True, allow_irreversible=True)
    assert {w["name"]: (w["action"], w["state"]) for w in done.writes} == {
        "A": ("update", "done"), "B": ("create", "done"), "E": ("delete", "done")}
    assert (done.status, done.drift_status) == ("closed", "IN_SYNC")
    assert added not in prod.sandbox.state.workflows
