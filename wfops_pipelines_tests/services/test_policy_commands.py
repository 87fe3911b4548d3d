"""Drift policies by hand: what holds and who said so, single fields set and taken back, audited (§10.8)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from wfops_pipelines.domain.errors import InvalidFields, UnknownEnvironment, UsageError
from wfops_pipelines.services.policy_commands import PolicyChange, set_fields, show_policies, unset_fields
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet

TTLS = ["severity_ttls.low", "severity_ttls.medium", "severity_ttls.high", "severity_ttls.critical"]


def put(fleet: FleetUnderTest, environment: str | None = None, *, dry_run: bool = False, **fields: Any) -> PolicyChange:
    """Set fields; ``severity_ttls__high`` is ``severity_ttls.high``."""
    return set_fields(fleet.services, fleet.context, {name.replace("__", "."): value for name, value in fields.items()},
                      environment=environment, dry_run=dry_run)


def take_back(fleet: FleetUnderTest, *names: str, environment: str | None = None) -> PolicyChange:
    return unset_fields(fleet.services, fleet.context, names, environment=environment)


def holds(fleet: FleetUnderTest, environment: str, name: str) -> tuple[Any, str]:
    """The value of a field, and who said it."""
    (shown,) = show_policies(fleet.services, fleet.context, environment)
    whole, _, key = name.partition(".")
    return (shown["policy"][whole][key] if key else shown["policy"][whole]), shown["origins"][name]


def test_an_environment_overrides_its_tenant_field_by_field(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"))
    assert holds(fleet, "prod", "severity_ttls.high") == (48, "default")
    put(fleet, severity_ttls__high=24, enforce_ttl=True)
    put(fleet, "prod", severity_ttls__high=12)
    assert holds(fleet, "prod", "severity_ttls.high") == (12, "environment")
    assert holds(fleet, "staging", "severity_ttls.high") == (24, "tenant")
    assert holds(fleet, "prod", "enforce_ttl") == (True, "tenant")
    take_back(fleet, "severity_ttls.high", environment="prod")
    assert holds(fleet, "prod", "severity_ttls.high") == (24, "tenant")
    take_back(fleet, "severity_ttls", "enforce_ttl")
    assert holds(fleet, "prod", "severity_ttls.high") == (48, "default")
    assert fleet.reading(lambda work: work.fleet.policies()) == []


def test_each_change_is_audited_with_before_and_after(new_fleet: NewFleet) -> None:
    fleet = new_fleet(drift_policy={"auto_create_incidents": True})
    put(fleet, "prod", require_approval_for=["reconcile", "close"])
    (event,) = fleet.events("policy.set")
    assert (event.subject_id, event.environment, event.details["was"]) == ("prod", "prod", {})
    assert event.details["now"] == {"require_approval_for": ["close", "reconcile"]}
    take_back(fleet, "auto_create_incidents")
    (event,) = fleet.events("policy.unset")
    assert (event.subject_id, event.details["was"], event.details["now"]) == ("acme", {"auto_create_incidents": True}, {})


def test_saying_it_again_and_a_dry_run_change_nothing(new_fleet: NewFleet) -> None:
    fleet = new_fleet(drift_policy={"auto_create_incidents": True})
    assert not put(fleet, auto_create_incidents=True).changed
    assert put(fleet, enforce_ttl=True, dry_run=True).changed
    assert holds(fleet, "prod", "enforce_ttl") == (False, "default")
    assert fleet.events("policy.set") == []


@pytest.mark.parametrize("fields", [
    {"enforce_ttl": "perhaps"}, {"severity_ttls__high": 0}, {"severity_ttls__high": "soon"},
    {"require_approval_for": ["everything"]}, {"closed_incident_retention_days": -1},
])
def test_a_value_that_does_not_fit_is_named_and_nothing_is_stored(new_fleet: NewFleet, fields: dict[str, Any]) -> None:
    fleet = new_fleet()
    with pytest.raises(InvalidFields, match=next(iter(fields)).replace("__", ".")):
        put(fleet, "prod", **fields)
    assert fleet.reading(lambda work: work.fleet.policies()) == []


def test_a_field_that_there_is_not_is_named_with_those_there_are(new_fleet: NewFleet) -> None:
    fleet = new_fleet()
    for name in ("nope", "severity_ttls.awful", "severity_ttls", "drift_handling_mode"):
        with pytest.raises(UsageError, match="has no field") as caught:
            set_fields(fleet.services, fleet.context, {name: 1})
        assert "severity_ttls.critical" in str(caught.value.fix)
    with pytest.raises(UnknownEnvironment):
        put(fleet, "nowhere", enforce_ttl=True)


def test_two_at_once_lose_nothing(new_fleet: NewFleet) -> None:
    fleet = new_fleet()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: set_fields(fleet.services, fleet.context, {name: 7}, environment="prod"), TTLS))
    assert {holds(fleet, "prod", name) for name in TTLS} == {(7, "environment")}
