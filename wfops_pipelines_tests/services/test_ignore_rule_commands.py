"""Ignore rules by hand: added, listed with what they hide, removed; each audited (§9)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from wfops_pipelines.domain.errors import InvalidFields, UnknownEnvironment, UsageError
from wfops_pipelines.services.ignore_rule_commands import add_rule, list_rules, remove_rule
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, workflow


def add(fleet: FleetUnderTest, *, environment: str | None = "prod", days: float = 1, dry_run: bool = False,
        **said: Any) -> dict[str, Any]:
    return add_rule(fleet.services, fleet.context, environment=environment, dry_run=dry_run,
                    expires_at=fleet.clock.time + timedelta(days=days), **{"owner": "ada", "reason": "known", **said})


def test_a_rule_hides_from_the_next_check_on_and_counts_what_it_hides(new_fleet: NewFleet) -> None:
    fleet = new_fleet()
    prod = fleet["prod"]
    (workflow_id,) = prod.in_sync(workflow("Orders"))
    prod.edit_in_n8n(workflow_id)
    rule = add(fleet, workflow="Ord*", parameter_path="parameters.text")
    assert (rule["environment"], rule["state"], rule["hides"]) == ("prod", "active", 0)
    check = prod.check()
    assert (check.status, check.counts["hidden_changes"]) == ("IN_SYNC", 1)
    (listed,) = list_rules(fleet.services, fleet.context)
    assert (listed["id"], listed["hides"], listed["owner"], listed["reason"]) == (rule["id"], 1, "ada", "known")
    removed = remove_rule(fleet.services, fleet.context, rule["id"][:8])
    assert (removed["state"], removed["changed"]) == ("removed", True)
    assert prod.check().status == "DRIFT_DETECTED"
    assert list_rules(fleet.services, fleet.context) == []
    assert [row["state"] for row in list_rules(fleet.services, fleet.context, removed=True)] == ["removed"]
    assert [event.action for event in fleet.events() if event.subject_type == "ignore_rule"] == [
        "ignore_rule.added", "ignore_rule.removed"]


def test_a_dry_run_changes_nothing(new_fleet: NewFleet) -> None:
    fleet = new_fleet()
    add(fleet, workflow="A", dry_run=True)
    assert list_rules(fleet.services, fleet.context) == []
    rule = add(fleet, workflow="A")
    assert remove_rule(fleet.services, fleet.context, rule["id"], dry_run=True)["changed"]
    assert [row["state"] for row in list_rules(fleet.services, fleet.context)] == ["active"]


def test_removing_twice_changes_nothing_more(new_fleet: NewFleet) -> None:
    fleet = new_fleet()
    rule = add(fleet, workflow="A")
    first = remove_rule(fleet.services, fleet.context, rule["id"])
    again = remove_rule(fleet.services, fleet.context, rule["id"])
    assert (again["changed"], again["removed_at"]) == (False, first["removed_at"])
    assert len(fleet.events("ignore_rule.removed")) == 1


def test_one_without_environment_is_for_all_and_expired_ones_are_listed(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"))
    add(fleet, environment=None, workflow="A")
    add(fleet, environment="staging", workflow="B")
    assert [row["workflow"] for row in list_rules(fleet.services, fleet.context, environment="prod")] == ["A"]
    assert [row["workflow"] for row in list_rules(fleet.services, fleet.context, environment="staging")] == ["A", "B"]
    fleet.clock.pass_time(days=2)
    assert [row["state"] for row in list_rules(fleet.services, fleet.context)] == ["expired", "expired"]


@pytest.mark.parametrize(("said", "field"), [
    ({}, "must name a workflow"), ({"workflow": "*"}, "would hide everything"), ({"workflow": "A", "reason": " "}, "reason"),
    ({"parameter_path": "..x"}, "parameter_path"), ({"workflow": "A", "owner": ""}, "owner"),
])
def test_what_does_not_fit_is_named(new_fleet: NewFleet, said: dict[str, Any], field: str) -> None:
    fleet = new_fleet()
    with pytest.raises(InvalidFields, match=field):
        add(fleet, **said)
    assert list_rules(fleet.services, fleet.context) == []


def test_it_ends_in_the_future(new_fleet: NewFleet) -> None:
    with pytest.raises(InvalidFields, match="expires_at"):
        add(new_fleet(), workflow="A", days=-1)


def test_what_is_not_there_is_an_error_with_the_way_out(new_fleet: NewFleet) -> None:
    fleet = new_fleet()
    with pytest.raises(UnknownEnvironment):
        add(fleet, environment="nowhere", workflow="A")
    with pytest.raises(UsageError, match="no ignore rule") as caught:
        remove_rule(fleet.services, fleet.context, "deadbeef")
    assert "wfops ignore-rule list acme" in str(caught.value.fix)
