"""Drift incidents (§10): opened by checks, grown, closed by themselves; steps, approvals, and what a policy says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest

from wfops_pipelines.domain.approval import ApprovalKind
from wfops_pipelines.domain.errors import Blocked, ForbiddenTransition, SelfApproval, UnknownIncident, UsageError, WfopsError
from wfops_pipelines.domain.incident import IncidentEvent
from wfops_pipelines.services import incident_steps
from wfops_pipelines.store.incidents import IncidentFilter
from wfops_pipelines_tests.services.fleet import ACTOR, Environment, NewFleet, workflow
from wfops_pipelines_tests.services.incidents import (
    BOSS,
    acknowledge,
    drifted,
    fleet_with_incidents,
    incident,
    one_incident,
    open_incident,
    resolve,
    said,
    step,
)


def incidents(environment: Environment) -> list[Any]:
    """Every incident, newest first."""
    found: list[Any] = environment.fleet.reading(lambda work: work.incidents.listed(IncidentFilter()))
    return found


def messages(environment: Environment) -> list[tuple[str, str]]:
    """Event and title of each message in the outbox, in order."""
    rows = environment.fleet.reading(lambda work: work.outbox.listed())
    return [(row.event, row.message["title"]) for row in rows[::-1]]


def decide(environment: Environment, number: int, *, approve: bool = True, actor: str = BOSS,
           kind: ApprovalKind | None = None) -> incident_steps.IncidentStep:
    services = environment.fleet.services
    return incident_steps.decide_request(services, services.context("acme", actor=actor), number, approve=approve, kind=kind)


# -- opened, grown, closed -------------------------------------------------------------------------------------------------


def test_drift_opens_an_incident_that_says_what_and_until_when(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    number, (workflow_id,) = drifted(prod, workflow("Orders", text="right"))
    row = open_incident(prod)
    assert (row.status, row.severity, row.escalation, row.affected) == ("detected", "low", "none", 1)
    assert row.title == "1 workflow changed in acme/prod: Orders"
    assert row.expires_at - row.detected_at == timedelta(hours=168)
    assert row.next_due_at - row.detected_at == timedelta(hours=42)
    (found,) = row.drift_snapshot["workflows"]
    assert (found["name"], found["kind"], found["workflow_id"]) == ("Orders", "modified", workflow_id)
    assert found["runtime_digest"] != found["git_digest"] and found["diff"]["changes"]
    assert prod.row.drift_status == "DRIFT_INCIDENT_ACTIVE"
    assert number == 1


def test_an_open_incident_is_the_environments_only_one(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(one_incident)["prod"]
    number = open_incident(prod).number
    prod.create_in_n8n(workflow("Another"))
    check = prod.check()
    assert check.incident is not None and (check.incident["number"], check.incident["opened"]) == (number, False)
    assert [row.number for row in incidents(prod)] == [number]


def test_more_drift_raises_the_severity_and_brings_the_end_forward_less_does_not_lower_it(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    ids = prod.in_sync(*(workflow(f"W{n}") for n in range(6)))
    prod.edit_in_n8n(ids[0])
    prod.check()
    first = open_incident(prod)
    for workflow_id in ids[1:]:
        prod.edit_in_n8n(workflow_id)
    prod.check()
    risen = open_incident(prod)
    assert (risen.severity, risen.affected) == ("high", 6)
    assert risen.expires_at - first.detected_at == timedelta(hours=48)
    for workflow_id in ids[1:]:
        prod.edit_in_n8n(workflow_id, "hello")
    prod.check()
    assert (open_incident(prod).severity, open_incident(prod).affected) == ("high", 1)
    assert risen.drift_snapshot == first.drift_snapshot == open_incident(prod).drift_snapshot


def test_when_the_drift_is_gone_the_incident_closes_itself_and_the_next_drift_opens_another(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    number, (workflow_id,) = drifted(prod, workflow("A", text="right"))
    prod.edit_in_n8n(workflow_id, "right")
    check = prod.check()
    assert (check.status, check.incident_closed) == ("IN_SYNC", number)
    row = incident(prod, number)
    assert (row.status, row.resolution, row.next_due_at) == ("closed", "drift_gone", None)
    prod.edit_in_n8n(workflow_id, "wrong")
    prod.check()
    assert open_incident(prod).number == number + 1


def test_without_a_policy_drift_is_shown_and_nothing_is_opened(fleet: Any) -> None:
    prod = fleet["prod"]
    (workflow_id,) = prod.in_sync(workflow("A"))
    prod.edit_in_n8n(workflow_id)
    assert prod.check().status == "DRIFT_DETECTED"
    assert incidents(prod) == []


@pytest.mark.parametrize(("policy", "opened"), [
    ({}, ["prod"]), ({"auto_create_for_production_only": False}, ["prod", "staging"]), ({"auto_create_incidents": False}, [])])
def test_the_policy_says_which_environments_have_incidents(new_fleet: NewFleet, policy: dict[str, Any],
                                                           opened: list[str]) -> None:
    fleet = fleet_with_incidents(new_fleet, ("staging", "prod"), policy=policy)
    for slug in ("staging", "prod"):
        (workflow_id,) = fleet[slug].in_sync(workflow("A"))
        fleet[slug].edit_in_n8n(workflow_id)
        fleet[slug].check()
    ids = {fleet[slug].row.id: slug for slug in ("staging", "prod")}
    assert sorted(ids[row.environment_id] for row in incidents(fleet["prod"])) == opened


def test_two_checks_at_once_never_open_two(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    prod.fleet.with_limits(lease_wait=30.0)
    (workflow_id,) = prod.in_sync(workflow("A"))
    prod.edit_in_n8n(workflow_id)
    together = Barrier(4)

    def check(_: int) -> str:
        together.wait()
        return prod.check().status

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(check, range(4))) == {"DRIFT_INCIDENT_ACTIVE"}
    assert [row.number for row in incidents(prod)] == [1]
    assert prod.fleet.actions()["incident.opened"] == 1


def test_an_error_neither_opens_nor_closes(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(one_incident)["prod"]
    number = open_incident(prod).number
    prod.sandbox.faults.add("refuse")
    assert prod.check().status == "ERROR"
    assert open_incident(prod).number == number
    prod.sandbox.faults.clear()
    assert prod.check().status == "DRIFT_INCIDENT_ACTIVE"


# -- ignore rules ----------------------------------------------------------------------------------------------------------


def ignore(environment: Environment, **fields: Any) -> None:
    fleet = environment.fleet
    now = fleet.clock.now()
    fleet.writing(lambda work: work.ignore_rules.add(
        **{"id": fleet.services.new_id(), "owner": "ada", "reason": "known", "created_by": ACTOR, "created_at": now,
           "expires_at": now + timedelta(days=1), **fields}))


def test_drift_that_a_rule_hides_is_counted_and_opens_nothing(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    ids = prod.in_sync(workflow("A"), workflow("B"))
    ignore(prod, parameter_path="parameters.text")
    prod.edit_in_n8n(ids[0])
    check = prod.check()
    assert (check.status, check.counts["hidden"], check.counts["hidden_changes"]) == ("IN_SYNC", 1, 1)
    assert incidents(prod) == []
    (rule,) = prod.fleet.reading(lambda work: work.ignore_rules.all())
    assert rule.hides == 1
    prod.edit_in_n8n(ids[1], settings={"timezone": "Europe/Berlin"})
    assert prod.kinds() == {"B": "modified"}
    prod.fleet.clock.pass_time(days=2)
    assert prod.kinds() == {"A": "modified", "B": "modified"}


def test_a_rule_for_a_workflow_closes_the_incident_about_it(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    number, _ = drifted(prod, workflow("Scratch pad"))
    ignore(prod, workflow="Scratch*")
    assert prod.check().incident_closed == number


# -- steps -----------------------------------------------------------------------------------------------------------------


def test_a_step_records_who_and_when_and_shows_in_the_status(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(one_incident)["prod"]
    number = open_incident(prod).number
    acknowledge(prod, number, owner="ada@example.com", ticket="OPS-7", reason="looking")
    row = incident(prod, number)
    assert (row.status, row.acknowledged_by, row.owner, row.ticket) == ("acknowledged", ACTOR, "ada@example.com", "OPS-7")
    assert prod.row.drift_status == "DRIFT_INCIDENT_ACKNOWLEDGED"
    with pytest.raises(ForbiddenTransition, match="acknowledged already"):
        acknowledge(prod, number)
    with pytest.raises(UsageError, match="reason"):
        step(prod, number, IncidentEvent.STABILIZE)
    step(prod, number, IncidentEvent.STABILIZE, reason="traffic goes elsewhere")
    step(prod, number, IncidentEvent.CLOSE, reason="done")
    assert prod.row.drift_status == "DRIFT_DETECTED"
    with pytest.raises(ForbiddenTransition, match="final"):
        step(prod, number, IncidentEvent.ACKNOWLEDGE, forced=True)


def test_a_dry_run_of_a_step_changes_nothing(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(one_incident)["prod"]
    number = open_incident(prod).number
    shown = acknowledge(prod, number, dry_run=True)
    assert (shown.before, shown.after, shown.dry_run) == ({"status": "detected"}, {"status": "acknowledged"}, True)
    assert incident(prod, number).status == "detected"


def test_an_admin_may_force_a_step_out_of_order_and_the_trail_says_so(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(one_incident)["prod"]
    number = open_incident(prod).number
    with pytest.raises(ForbiddenTransition):
        step(prod, number, IncidentEvent.STABILIZE, reason="x")
    step(prod, number, IncidentEvent.STABILIZE, reason="x", forced=True)
    assert prod.fleet.events("incident.stabilized")[0].details["forced"] is True
    assert acknowledge(prod, number, forced=True).after == {"status": "acknowledged"}
    assert incident(prod, number).forced is True
    step(prod, number, IncidentEvent.CLOSE)
    assert incident(prod, number).forced is False


def test_more_time_needs_a_reason_and_moves_the_end(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(one_incident)["prod"]
    number = open_incident(prod).number
    services, end = prod.fleet.services, incident(prod, number).expires_at
    with pytest.raises(UsageError, match="reason"):
        incident_steps.extend(services, prod.fleet.context, number, 24, reason=" ")
    incident_steps.extend(services, prod.fleet.context, number, 24, reason="the release waits")
    assert incident(prod, number).expires_at == end + timedelta(hours=24)


def test_an_unknown_number_is_named(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    with pytest.raises(UnknownIncident, match="no incident #7"):
        acknowledge(prod, 7)


# -- approvals -------------------------------------------------------------------------------------------------------------


def test_an_approved_closing_is_done_once_by_somebody_else(new_fleet: NewFleet) -> None:
    prod = fleet_with_incidents(new_fleet, policy={"require_approval_for": ["close", "extend_ttl"]})["prod"]
    number, _ = drifted(prod, workflow("A"))
    asked = step(prod, number, IncidentEvent.CLOSE, reason="accepted")
    assert asked.waiting and incident(prod, number).status == "detected"
    assert step(prod, number, IncidentEvent.CLOSE, reason="accepted").waiting  # asking again asks nothing new
    with pytest.raises(SelfApproval):
        decide(prod, number, actor=ACTOR)
    decide(prod, number)
    assert incident(prod, number).status == "closed"
    with pytest.raises(UsageError, match="nothing"):
        decide(prod, number)
    (approval,) = prod.fleet.reading(lambda work: work.incidents.approvals_of(incident(prod, number).id))
    assert (approval.status, approval.decided_by) == ("executed", BOSS)


def test_cancelling_is_no_way_around_the_approval_of_closing(new_fleet: NewFleet) -> None:
    prod = fleet_with_incidents(new_fleet, policy={"require_approval_for": ["close"]})["prod"]
    number, _ = drifted(prod, workflow("A"))
    assert step(prod, number, IncidentEvent.CANCEL, reason="never was one").waiting
    assert incident(prod, number).status == "detected"
    decide(prod, number)
    assert incident(prod, number).status == "cancelled"


def test_a_rejected_request_is_over_and_may_be_asked_anew(new_fleet: NewFleet) -> None:
    prod = fleet_with_incidents(new_fleet, policy={"require_approval_for": ["acknowledge"]})["prod"]
    number, _ = drifted(prod, workflow("A"))
    acknowledge(prod, number)
    decide(prod, number, approve=False)
    assert incident(prod, number).status == "detected"
    assert acknowledge(prod, number).waiting
    decide(prod, number)
    assert incident(prod, number).status == "acknowledged"


def test_an_approved_reconciliation_is_carried_out_as_it_was_asked_for_and_once(new_fleet: NewFleet) -> None:
    prod = fleet_with_incidents(new_fleet, policy={"require_approval_for": ["reconcile"]})["prod"]
    number, (workflow_id,) = drifted(prod, workflow("A", text="right"))
    acknowledge(prod, number)
    assert resolve(prod, number, "revert").waiting
    assert said(prod, workflow_id) == "edited by hand"
    with pytest.raises(Blocked, match="waits for approval"):
        resolve(prod, number, "promote")
    decide(prod, number)
    with pytest.raises(Blocked, match="what was approved is"):
        resolve(prod, number, "promote")
    assert resolve(prod, number, "revert").status == "closed"
    assert said(prod, workflow_id) == "right"
    prod.edit_in_n8n(workflow_id, "again")
    prod.check()
    again = open_incident(prod).number
    acknowledge(prod, again)
    assert resolve(prod, again, "revert").waiting
    assert said(prod, workflow_id) == "again"


def test_requests_are_over_when_the_incident_is(new_fleet: NewFleet) -> None:
    prod = fleet_with_incidents(new_fleet, policy={"require_approval_for": ["reconcile"]})["prod"]
    number, (workflow_id,) = drifted(prod, workflow("A", text="right"))
    acknowledge(prod, number)
    resolve(prod, number, "revert")
    prod.edit_in_n8n(workflow_id, "right")
    prod.check()
    with pytest.raises(WfopsError):
        decide(prod, number)


# -- telling ---------------------------------------------------------------------------------------------------------------


def test_targets_hear_of_what_they_asked_for_once(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(fleet_with_incidents)
    fleet.secrets["HOOK"] = "json://127.0.0.1:9/x"
    fleet.tenant["notifications"] = [
        {"name": "all", "url": "env:HOOK"}, {"name": "opened", "url": "env:HOOK", "events": ["incident.opened"]}]
    fleet.apply()
    prod = fleet["prod"]
    _, (workflow_id,) = drifted(prod, workflow("Orders", text="right"))
    prod.check()
    prod.edit_in_n8n(workflow_id, "right")
    prod.check()
    assert sorted(event for event, _ in messages(prod)) == ["incident.closed", "incident.opened", "incident.opened"]
    assert any("Orders" in title for _, title in messages(prod))
    opened = next(row for row in fleet.reading(lambda work: work.outbox.listed()) if row.event == "incident.opened")
    assert "Cause" in opened.message["body"] and "Reach" in opened.message["body"]
    assert opened.message["picture"].startswith("<svg") and "Say" in opened.message["picture"]
