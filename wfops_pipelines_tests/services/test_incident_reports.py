"""Incidents as they are listed, named and shown: pages, filters, then and now, who did what, what can be done (§10)."""

from __future__ import annotations

from typing import Any

import pytest

from wfops_pipelines.cli.incident_screen import incident_text
from wfops_pipelines.domain.approval import ApprovalKind
from wfops_pipelines.domain.errors import Blocked, Denied, UnknownEnvironment, UnknownIncident, UsageError, WfopsError
from wfops_pipelines.domain.incident import IncidentEvent
from wfops_pipelines.services.incident_names import may_force, named_incident, named_request
from wfops_pipelines.services.incident_pictures import draw_incident
from wfops_pipelines.services.incident_reports import incident_history, list_incidents, show_incident
from wfops_pipelines.services.incident_steps import decide_request
from wfops_pipelines_tests.services.fleet import Environment, FleetUnderTest, NewFleet, workflow
from wfops_pipelines_tests.services.incidents import (
    BOSS,
    acknowledge,
    drifted,
    fleet_with_incidents,
    incident,
    open_incident,
    resolve,
    step,
)


def shown(environment: Environment, number: int) -> dict[str, Any]:
    """What ``show`` tells."""
    return show_incident(environment.fleet.services, environment.fleet.context, number)


def listed(fleet: FleetUnderTest, *, all_tenants: bool = False, **wanted: Any) -> list[str]:
    """The names of a page."""
    rows, _ = list_incidents(fleet.services, None if all_tenants else fleet.context, **wanted)
    return [row["name"] for row in rows]


def commands(found: dict[str, Any]) -> list[str]:
    """The next steps, without what they say."""
    return [step["command"].removeprefix("wfops incident ") for step in found["next_steps"]]


def several(new_fleet: NewFleet) -> FleetUnderTest:
    """Three incidents: two of production, the first of them closed, and one of staging with two workflows."""
    fleet = fleet_with_incidents(new_fleet, ("staging", "prod"), policy={"auto_create_for_production_only": False})
    number, (workflow_id,) = drifted(fleet["prod"], workflow("Orders"))
    step(fleet["prod"], number, IncidentEvent.CLOSE)
    fleet["prod"].edit_in_n8n(workflow_id, "again")
    fleet["prod"].check()
    drifted(fleet["staging"], workflow("A"), workflow("B"))
    return fleet


class TestList:
    def test_open_ones_newest_first_and_on_demand_all(self, new_fleet: NewFleet) -> None:
        fleet = several(new_fleet)
        assert listed(fleet) == ["acme#3", "acme#2"]
        assert listed(fleet, everything=True) == ["acme#3", "acme#2", "acme#1"]
        assert listed(fleet, all_tenants=True, everything=True) == ["acme#3", "acme#2", "acme#1"]

    def test_filters_narrow_it_for_one_tenant_and_for_all(self, new_fleet: NewFleet) -> None:
        fleet = several(new_fleet)
        for everybody in (False, True):
            assert listed(fleet, all_tenants=everybody, environment="prod") == ["acme#2"]
            assert listed(fleet, all_tenants=everybody, severities=["medium"]) == ["acme#3"]
            assert listed(fleet, all_tenants=everybody, statuses=["closed"]) == ["acme#1"]
            assert listed(fleet, all_tenants=everybody, statuses=["detected"], environment="staging") == ["acme#3"]

    def test_a_page_ends_with_the_cursor_of_the_next(self, new_fleet: NewFleet) -> None:
        fleet = several(new_fleet)
        names, cursor = [], None
        for _ in range(3):
            rows, cursor = list_incidents(fleet.services, fleet.context, everything=True, limit=1, cursor=cursor)
            names += [row["name"] for row in rows]
            assert cursor in (rows[-1]["id"], None)
        assert (names, cursor) == (["acme#3", "acme#2", "acme#1"], None)

    def test_each_names_its_workflows(self, new_fleet: NewFleet) -> None:
        fleet = several(new_fleet)
        (row, *_), _ = list_incidents(fleet.services, fleet.context)
        assert [(w["name"], w["kind"], w["path"]) for w in row["workflows"]] == [
            ("A", "modified", "staging/workflows/a.json"), ("B", "modified", "staging/workflows/b.json")]
        assert (row["tenant"], row["environment"], row["status"], row["severity"], row["escalation"], row["open"]) == (
            "acme", "staging", "detected", "medium", "none", True)

    def test_what_there_is_not_is_an_error_that_names_what_there_is(self, new_fleet: NewFleet) -> None:
        fleet = several(new_fleet)
        with pytest.raises(UsageError, match="no status 'open'") as caught:
            listed(fleet, statuses=["open"])
        assert "detected" in str(caught.value.fix)
        with pytest.raises(UsageError, match="no severity"):
            listed(fleet, severities=["awful"])
        for everybody in (False, True):
            with pytest.raises(UnknownEnvironment):
                listed(fleet, all_tenants=everybody, environment="nowhere")


class TestNames:
    def test_a_number_an_id_and_the_beginning_of_an_id(self, new_fleet: NewFleet) -> None:
        prod = fleet_with_incidents(new_fleet)["prod"]
        number, _ = drifted(prod, workflow("Orders"))
        identity = str(open_incident(prod).id)
        for name in (f"acme#{number}", identity, identity.upper(), identity[:8], identity[:13], f" {identity} "):
            assert str(named_incident(prod.fleet.services, name)) == f"acme#{number}"

    @pytest.mark.parametrize("name", ["", "12", "acme", "acme#", "acme#x", "1234567", "zzzzzzzz", "a" * 33, "acme#1#2"])
    def test_what_names_nothing_is_a_usage_error(self, new_fleet: NewFleet, name: str) -> None:
        with pytest.raises(UsageError, match="names no incident"):
            named_incident(fleet_with_incidents(new_fleet).services, name)

    @pytest.mark.parametrize("name", ["acme#7", "deadbeef", "deadbeef-0000-4000-8000-000000000000"])
    def test_one_that_is_not_there(self, new_fleet: NewFleet, name: str) -> None:
        with pytest.raises(UnknownIncident):
            named_incident(fleet_with_incidents(new_fleet).services, name)

    def test_a_request_names_its_incident_until_it_is_decided(self, new_fleet: NewFleet) -> None:
        prod = fleet_with_incidents(new_fleet, policy={"require_approval_for": ["acknowledge"]})["prod"]
        number, _ = drifted(prod, workflow("Orders"))
        assert acknowledge(prod, number).waiting
        (request,) = shown(prod, number)["approvals"]
        named = named_request(prod.fleet.services, request["id"])
        assert (str(named), named.approval_kind) == (f"acme#{number}", "acknowledge")
        services = prod.fleet.services
        decide_request(services, services.context("acme", actor=BOSS), number, approve=False, kind=ApprovalKind.ACKNOWLEDGE)
        assert acknowledge(prod, number).waiting
        with pytest.raises(Blocked, match="is rejected already"):
            named_request(services, request["id"])

    def test_force_is_for_admins(self, new_fleet: NewFleet) -> None:
        services = fleet_with_incidents(new_fleet).services
        may_force(services.context("acme", actor="local:ada"))
        with pytest.raises(Denied):
            may_force(services.context("acme", actor="dagster-ui"))


class TestShow:
    def test_what_drifts_now_beside_what_drifted_then(self, new_fleet: NewFleet) -> None:
        prod = fleet_with_incidents(new_fleet)["prod"]
        number, (_, changed, gone) = drifted(prod, workflow("A"), workflow("B"), workflow("C"))
        prod.edit_in_n8n(changed, "once more")
        prod.edit_in_n8n(gone, "hello")
        prod.create_in_n8n(workflow("D"))
        prod.check()
        found = shown(prod, number)
        assert {w["name"]: w["now"] for w in found["workflows"]} == {"A": "same", "B": "changed", "C": "gone"}
        changes = {w["name"]: w["diff_now"]["changes"] for w in found["workflows"] if w["diff_now"]}
        assert {name: change[0]["after"] for name, change in changes.items()} == {"B": "once more"}
        assert [w["name"] for w in found["drifting_since_then"]] == ["D"]

    def test_the_whole_story_of_one_that_was_reverted(self, new_fleet: NewFleet) -> None:
        prod = fleet_with_incidents(new_fleet)["prod"]
        number, _ = drifted(prod, workflow("Orders"))
        acknowledge(prod, number, reason="hotfix", owner="grace", ticket="OPS-1")
        resolve(prod, number, "revert")
        found = shown(prod, number)
        assert (found["status"], found["resolution"], found["owner"], found["ticket"], found["reason"]) == (
            "closed", "revert", "grace", "OPS-1", "hotfix")
        assert list(found["steps"]) == ["acknowledged", "reconciled", "closed"]
        actions = [event["action"] for event in found["timeline"] if event["action"] != "incident.explained"]
        assert actions == ["incident.opened", "incident.acknowledged", "runtime.intended", "runtime.done",
                           "incident.reconciled", "incident.closed"]
        assert [event["sequence"] for event in found["timeline"]] == sorted(e["sequence"] for e in found["timeline"])
        assert found["timeline"] == incident_history(prod.fleet.services, prod.fleet.context, number)
        assert [(o["what"], o["kind"]) for o in found["operations"]] == [
            ("opened", "drift_detection"), ("resolved", "incident_resolution")]
        assert commands(found) == ["wfops drift acme prod"]

    def test_the_levels_to_come_and_those_that_are_over(self, new_fleet: NewFleet) -> None:
        prod = fleet_with_incidents(new_fleet, policy={"severity_ttls": {"low": 100}})["prod"]
        number, _ = drifted(prod, workflow("Orders"))
        assert [level["state"] for level in shown(prod, number)["escalations"]] == ["to_come"] * 3
        acknowledge(prod, number)
        assert {level["level"]: level["state"] for level in shown(prod, number)["escalations"]} == {
            "escalated": "over", "critical_overdue": "to_come", "overdue": "to_come"}
        prod.fleet.clock.pass_time(hours=101)
        assert shown(prod, number)["past_ttl"]

    def test_nothing_is_written_by_looking(self, new_fleet: NewFleet) -> None:
        prod = fleet_with_incidents(new_fleet)["prod"]
        number, _ = drifted(prod, workflow("Orders"))
        before = len(prod.fleet.events())
        shown(prod, number)
        listed(prod.fleet, everything=True)
        assert len(prod.fleet.events()) == before

    def test_of_one_whose_payload_retention_removed_the_rest_is_told(self, new_fleet: NewFleet) -> None:
        prod = fleet_with_incidents(new_fleet)["prod"]
        number, _ = drifted(prod, workflow("Orders"))
        step(prod, number, IncidentEvent.CLOSE, reason="done")
        identity = incident(prod, number).id
        prod.fleet.writing(lambda work: work.incidents.purge([identity], prod.fleet.clock.now()))
        found = shown(prod, number)
        assert (found["workflows"], found["cause"], found["reach"]) == ([], None, None)
        text = incident_text(found)
        assert "removed by retention" in text and "1 workflow changed in acme/prod: Orders" in text
        with pytest.raises(UsageError, match="nothing to draw"):
            draw_incident(prod.fleet.services, prod.fleet.context, number)

    def test_the_screen_cannot_be_written_to_by_a_name(self, new_fleet: NewFleet) -> None:
        prod = fleet_with_incidents(new_fleet)["prod"]
        number, _ = drifted(prod, workflow("Or\x1b[31mders\u202e"))
        assert "\x1b[31m" not in incident_text(shown(prod, number))
        assert "\u202e" not in incident_text(shown(prod, number))

    def test_pictures_are_of_the_contents_then_and_audited(self, new_fleet: NewFleet) -> None:
        prod = fleet_with_incidents(new_fleet)["prod"]
        number, (workflow_id, _) = drifted(prod, workflow("Orders"), workflow("Billing"))
        prod.edit_in_n8n(workflow_id, "hello")
        prod.check()
        pictures = draw_incident(prod.fleet.services, prod.fleet.context, number)
        assert sorted(picture.name for picture in pictures) == ["Billing", "Orders"]
        assert all("<svg" in picture.svg and "edited by hand" not in picture.svg for picture in pictures)
        (event,) = prod.fleet.events("payload.read")
        assert (event.subject_type, event.subject_id) == ("incident", str(number))

    def test_what_only_was_switched_off_has_no_picture(self, new_fleet: NewFleet) -> None:
        prod = fleet_with_incidents(new_fleet)["prod"]
        (workflow_id,) = prod.in_sync(workflow("Orders"))
        prod.activate_in_n8n(workflow_id)
        prod.check()
        with pytest.raises(UsageError, match="nothing to draw"):
            draw_incident(prod.fleet.services, prod.fleet.context, open_incident(prod).number)


class TestNextSteps:
    def test_of_one_that_nobody_has_seen(self, new_fleet: NewFleet) -> None:
        prod = fleet_with_incidents(new_fleet)["prod"]
        number, _ = drifted(prod, workflow("Orders"))
        assert commands(shown(prod, number)) == [
            'ack acme#1 --reason "…"', "reconcile acme#1 --resolution revert --dry-run", 'close acme#1 --reason "…"',
            'cancel acme#1 --reason "…"', 'extend acme#1 24 --reason "…"']

    def test_of_one_that_somebody_takes_care_of(self, new_fleet: NewFleet) -> None:
        prod = fleet_with_incidents(new_fleet)["prod"]
        number, _ = drifted(prod, workflow("Orders"))
        acknowledge(prod, number)
        assert [command.partition(" acme#1")[0] for command in commands(shown(prod, number))] == [
            *["reconcile"] * 5, "stabilize", "close", "cancel", "extend"]

    def test_what_is_in_the_way_is_said(self, new_fleet: NewFleet) -> None:
        prod = new_fleet(drift_policy={"auto_create_incidents": True})["prod"]
        number, _ = drifted(prod, workflow("Orders"))
        acknowledge(prod, number)
        blocked = {s["command"].partition("--resolution ")[2]: s["blocked"] for s in shown(prod, number)["next_steps"]}
        assert "allow_production" in str(blocked["revert"]) and blocked["promote"] is None

    def test_what_waits_comes_first_and_is_not_offered_again(self, new_fleet: NewFleet) -> None:
        prod = fleet_with_incidents(new_fleet, policy={"require_approval_for": ["close", "reconcile"]})["prod"]
        number, _ = drifted(prod, workflow("Orders"))
        acknowledge(prod, number)
        step(prod, number, IncidentEvent.CLOSE, reason="x")
        found = shown(prod, number)
        assert commands(found)[:2] == ["approve acme#1 --kind close", "reject acme#1 --kind close"]
        assert not any(command.startswith("close") for command in commands(found))
        assert {s["command"].split()[-1]: s["needs_approval"] for s in found["next_steps"] if " promote" in s["command"]} == {
            "promote": True}

    def test_an_approved_reconciliation_is_told_with_all_its_options(self, new_fleet: NewFleet) -> None:
        prod = fleet_with_incidents(new_fleet, policy={"require_approval_for": ["reconcile"]})["prod"]
        number, _ = drifted(prod, workflow("Orders"))
        acknowledge(prod, number)
        assert resolve(prod, number, "revert", prune=True, reason="it's wrong").waiting
        services = prod.fleet.services
        decide_request(services, services.context("acme", actor=BOSS), number, approve=True)
        assert commands(shown(prod, number))[0] == (
            "reconcile acme#1 --resolution revert --reason 'it'\"'\"'s wrong' --prune")


class TestDryRuns:
    def test_what_would_be_written_can_be_seen_before_it_is_acknowledged(self, new_fleet: NewFleet) -> None:
        prod = fleet_with_incidents(new_fleet)["prod"]
        number, _ = drifted(prod, workflow("Orders"))
        plan = resolve(prod, number, "revert", dry_run=True)
        assert [write["name"] for write in plan.plan] == ["Orders"]
        assert plan.notes == ["acknowledge it first: wfops incident ack acme#1"]

    def test_and_before_somebody_approves_it(self, new_fleet: NewFleet) -> None:
        prod = fleet_with_incidents(new_fleet, policy={"require_approval_for": ["reconcile"]})["prod"]
        number, _ = drifted(prod, workflow("Orders"))
        acknowledge(prod, number)
        plan = resolve(prod, number, "revert", dry_run=True)
        assert plan.waiting and [write["name"] for write in plan.plan] == ["Orders"]
        assert shown(prod, number)["approvals"] == []


def test_an_attempt_that_failed_is_told_too(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    number, (workflow_id,) = drifted(prod, workflow("Orders", text="right"))
    acknowledge(prod, number)
    prod.sandbox.faults.add("status", method="PUT", path=f"/workflows/{workflow_id}$", status=400)
    with pytest.raises(WfopsError):
        resolve(prod, number, "revert")
    told = [event["action"] for event in incident_history(prod.fleet.services, prod.fleet.context, number)]
    assert told[-2:] == ["runtime.intended", "runtime.undone"]
