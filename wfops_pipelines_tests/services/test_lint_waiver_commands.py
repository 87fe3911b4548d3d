"""Waivers by hand: added, listed, removed; each audited (§11.5)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from wfops_pipelines.domain.errors import InvalidFields, UsageError
from wfops_pipelines.domain.workflow_lint import LintFinding, LintReport, LintRule, LintSeverity, LintWaiver, apply_waivers
from wfops_pipelines.services.lint_waiver_commands import add_waiver, list_waivers, remove_waiver
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet


def add(fleet: FleetUnderTest, *, days: float = 1, dry_run: bool = False, **said: Any) -> dict[str, Any]:
    return add_waiver(fleet.services, fleet.context, dry_run=dry_run, expires_at=fleet.clock.time + timedelta(days=days),
                      **{"rule": "no-trigger", "workflow": "Lib *", "owner": "ada", "reason": "called by others", **said})


def finding(node: str | None = None) -> LintFinding:
    return LintFinding(LintRule.NO_TRIGGER, LintSeverity.ERROR, node, "has no trigger", "add one")


def waived(fleet: FleetUnderTest, workflow: str, node: str | None = None) -> bool:
    report = LintReport(workflow, (finding(node),))
    waivers = fleet.reading(lambda work: [LintWaiver.model_validate(row) for row in work.lint_waivers.standing()])
    return not apply_waivers(report, waivers, now=fleet.clock.time).errors


def test_a_waiver_holds_from_its_row_on_until_it_ends_or_is_removed(new_fleet: NewFleet) -> None:
    fleet = new_fleet()
    waiver = add(fleet)
    assert (waiver["state"], waiver["node"], waiver["created_by"], waiver["dry_run"]) == ("active", None, "local:ada", False)
    assert waived(fleet, "Lib orders")
    assert not waived(fleet, "Orders")
    fleet.clock.pass_time(days=2)
    assert not waived(fleet, "Lib orders")
    assert [row["state"] for row in list_waivers(fleet.services, fleet.context)] == ["expired"]
    other = add(fleet)
    removed = remove_waiver(fleet.services, fleet.context, other["id"][:13])
    assert (removed["state"], removed["changed"]) == ("removed", True)
    assert not waived(fleet, "Lib orders")
    assert [row["state"] for row in list_waivers(fleet.services, fleet.context)] == ["expired"]
    assert [row["state"] for row in list_waivers(fleet.services, fleet.context, removed=True)] == ["expired", "removed"]
    events = [event for event in fleet.events() if event.subject_type == "lint_waiver"]
    assert [event.action for event in events] == ["lint_waiver.added", "lint_waiver.added", "lint_waiver.removed"]
    assert events[0].details["owner"] == "ada" and events[0].details["reason"] == "called by others"
    assert fleet.chain_verifies()


def test_a_waiver_for_a_node_leaves_other_nodes_and_the_workflow_as_a_whole(new_fleet: NewFleet) -> None:
    fleet = new_fleet()
    add(fleet, node="Sign*")
    assert waived(fleet, "Lib orders", "Sign it")
    assert not waived(fleet, "Lib orders", "Other")
    assert not waived(fleet, "Lib orders")


def test_a_dry_run_changes_nothing_and_removing_twice_changes_nothing_more(new_fleet: NewFleet) -> None:
    fleet = new_fleet()
    add(fleet, dry_run=True)
    assert list_waivers(fleet.services, fleet.context) == []
    waiver = add(fleet)
    assert remove_waiver(fleet.services, fleet.context, waiver["id"], dry_run=True)["changed"]
    assert [row["state"] for row in list_waivers(fleet.services, fleet.context)] == ["active"]
    first = remove_waiver(fleet.services, fleet.context, waiver["id"])
    again = remove_waiver(fleet.services, fleet.context, waiver["id"])
    assert (again["changed"], again["removed_at"]) == (False, first["removed_at"])
    assert len(fleet.events("lint_waiver.removed")) == 1


@pytest.mark.parametrize(("said", "field"), [
    ({"rule": "no-such-rule"}, "rule"), ({"workflow": " "}, "workflow"), ({"owner": ""}, "owner"), ({"reason": ""}, "reason"),
    ({"node": ""}, "node"), ({"days": -1}, "expires_at")])
def test_what_does_not_fit_is_named(new_fleet: NewFleet, said: dict[str, Any], field: str) -> None:
    fleet = new_fleet()
    with pytest.raises(InvalidFields, match=rf"^lint waiver: {field}: "):
        add(fleet, **said)
    assert list_waivers(fleet.services, fleet.context, removed=True) == []


def test_a_waiver_that_is_not_there_is_said_with_the_way_to_find_it(new_fleet: NewFleet) -> None:
    fleet = new_fleet()
    with pytest.raises(UsageError, match="has no waiver 'ffff'") as refused:
        remove_waiver(fleet.services, fleet.context, "ffff")
    assert "wfops waiver list acme" in str(refused.value.fix)


def test_waivers_are_the_tenants_own(new_fleet: NewFleet) -> None:
    fleet = new_fleet()
    add(fleet)
    fleet.document["tenants"].append({"slug": "globex"})
    fleet.apply()
    assert list_waivers(fleet.services, fleet.services.context("globex", actor="local:ada")) == []
