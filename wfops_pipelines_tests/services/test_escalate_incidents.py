"""The clock's part in an incident's life (§10.3): each level once, told once, audited; expiry; outages; sweeps at once."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Row

from wfops_pipelines import failpoints
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import InvalidFields
from wfops_pipelines.domain.escalation import Escalation
from wfops_pipelines.domain.incident import IncidentEvent
from wfops_pipelines.services import incident_steps
from wfops_pipelines.services.escalate_incidents import BATCH, Escalated, TtlSweep, escalate_incidents
from wfops_pipelines_tests.services.fleet import Environment, FleetUnderTest, NewFleet, workflow
from wfops_pipelines_tests.services.incidents import acknowledge, drifted, fleet_with_incidents, incident, step

TTL = timedelta(hours=168)  # of a low one


def heard(fleet: FleetUnderTest) -> FleetUnderTest:
    """Given a target that hears of everything."""
    fleet.secrets["HOOK"] = "json://127.0.0.1:9/hook"
    fleet.tenant["notifications"] = [{"name": "ops", "url": "env:HOOK"}]
    fleet.apply()
    return fleet


def sweep(fleet: FleetUnderTest) -> TtlSweep:
    """One tick of the clock's sensor."""
    return escalate_incidents(fleet.services, actor="system:incident_ttl")


def at(environment: Environment, number: int, part: float) -> datetime:
    """Make it the time when so much of the incident's TTL is over, and a second."""
    row = incident(environment, number)
    environment.fleet.clock.time = row.detected_at + (row.expires_at - row.detected_at) * part + timedelta(seconds=1)
    return environment.fleet.clock.time


def told(fleet: FleetUnderTest, event: str = "incident.escalated") -> list[Row[Any]]:
    """Messages of an event, oldest first."""
    return [m for m in fleet.reading(lambda work: work.outbox.listed())[::-1] if m.event == event]


def levels(fleet: FleetUnderTest) -> list[tuple[str, list[str]]]:
    """What the audit trail tells: each level with those missed."""
    return [(event.details["level"], event.details["missed"]) for event in fleet.events("incident.escalated")]


@pytest.fixture
def fleet(new_fleet: NewFleet) -> FleetUnderTest:
    """A production environment whose drift becomes incidents, and a target that hears of everything."""
    return heard(fleet_with_incidents(new_fleet))


@pytest.fixture
def prod(fleet: FleetUnderTest) -> Environment:
    return fleet["prod"]


def test_nothing_is_due_before_a_quarter_of_the_time(fleet: FleetUnderTest, prod: Environment) -> None:
    number, _ = drifted(prod, workflow("Orders"))
    at(prod, number, 0.24)
    assert sweep(fleet).escalated == []
    assert told(fleet) == []


def test_an_incident_walks_through_its_levels_with_one_message_each(fleet: FleetUnderTest, prod: Environment) -> None:
    number, _ = drifted(prod, workflow("Orders"))
    assert incident(prod, number).expires_at - incident(prod, number).detected_at == TTL
    for part, level, status in ((0.25, "escalated", "detected"), (0.75, "critical_overdue", "detected"),
                                (1.0, "overdue", "expired")):
        at(prod, number, part)
        before = len(told(fleet))
        assert sweep(fleet).escalated == [Escalated("acme", "prod", number, Escalation(level), (), level == "overdue")]
        assert sweep(fleet).escalated == []  # a level is reached once
        assert len(told(fleet)) == before + 1
        assert (incident(prod, number).escalation, incident(prod, number).status) == (level, status)
    assert levels(fleet) == [("escalated", []), ("critical_overdue", []), ("overdue", [])]
    assert incident(prod, number).expired_at is not None
    assert incident(prod, number).next_due_at is None
    assert fleet.actions()["incident.expired"] == 1
    assert {event.actor for event in fleet.events("incident.escalated")} == {"system:incident_ttl"}
    assert fleet.chain_verifies()


def test_after_an_outage_there_is_one_message_for_the_highest_level_that_names_those_missed(
        fleet: FleetUnderTest, prod: Environment) -> None:
    number, _ = drifted(prod, workflow("Orders"))
    at(prod, number, 3)
    sweep(fleet)
    assert levels(fleet) == [("overdue", ["escalated", "critical_overdue"])]
    [message] = told(fleet)
    assert "Passed without notice" in message.message["body"]
    assert incident(prod, number).status == "expired"
    assert sweep(fleet).escalated == []


def test_an_expired_incident_stays_the_open_one_of_its_environment(fleet: FleetUnderTest, prod: Environment) -> None:
    number, _ = drifted(prod, workflow("Orders"))
    at(prod, number, 1)
    sweep(fleet)
    prod.check()
    assert fleet.actions()["incident.opened"] == 1
    assert prod.row.drift_status == "DRIFT_INCIDENT_ACTIVE"
    acknowledge(prod, number)
    assert incident(prod, number).status == "acknowledged"
    assert sweep(fleet).escalated == []


def test_who_takes_care_in_time_is_not_told_of_the_first_level_but_of_the_later_ones(
        fleet: FleetUnderTest, prod: Environment) -> None:
    number, _ = drifted(prod, workflow("Orders"))
    acknowledge(prod, number)
    at(prod, number, 0.3)
    assert sweep(fleet).escalated == []
    for part in (0.75, 1.0):
        at(prod, number, part)
        sweep(fleet)
    assert levels(fleet) == [("critical_overdue", []), ("overdue", [])]
    assert incident(prod, number).status == "acknowledged"  # it is overdue, and somebody's
    assert "incident.expired" not in fleet.actions()


def test_a_closed_incident_is_left_alone(fleet: FleetUnderTest, prod: Environment) -> None:
    number, _ = drifted(prod, workflow("Orders"))
    step(prod, number, IncidentEvent.CLOSE, reason="not ours")
    at(prod, number, 2)
    assert sweep(fleet).escalated == []


def test_more_time_moves_the_levels_to_come_and_repeats_none(fleet: FleetUnderTest, prod: Environment) -> None:
    number, _ = drifted(prod, workflow("Orders"))
    at(prod, number, 0.25)
    sweep(fleet)
    incident_steps.extend(fleet.services, fleet.context, number, 168, reason="holidays")
    begun = incident(prod, number).detected_at
    fleet.clock.time = begun + TTL * 0.8  # three quarters of the old time, not of the new
    assert sweep(fleet).escalated == []
    fleet.clock.time = begun + TTL * 1.51
    sweep(fleet)
    assert levels(fleet) == [("escalated", []), ("critical_overdue", [])]


def test_drift_that_grows_shortens_the_time(fleet: FleetUnderTest, prod: Environment) -> None:
    first, *others = prod.in_sync(*(workflow(f"W{n}") for n in range(5)))
    prod.edit_in_n8n(first)
    prod.check()
    number = fleet.events("incident.opened")[0].subject_id
    fleet.clock.pass_time(hours=37)  # of 168: nothing yet
    assert sweep(fleet).escalated == []
    for other in others:
        prod.edit_in_n8n(other)
    prod.check()
    sweep(fleet)  # 37 of 48
    assert levels(fleet) == [("critical_overdue", ["escalated"])]
    assert incident(prod, int(number)).severity == "high"


def test_without_an_enforced_sla_levels_are_recorded_and_nobody_is_told(new_fleet: NewFleet) -> None:
    fleet = heard(fleet_with_incidents(new_fleet, policy={"enforce_sla": False}))
    number, _ = drifted(fleet["prod"], workflow("Orders"))
    at(fleet["prod"], number, 1)
    sweep(fleet)
    assert levels(fleet) == [("overdue", ["escalated", "critical_overdue"])]
    assert told(fleet) == []
    assert incident(fleet["prod"], number).status == "expired"


def test_an_environments_own_policy_decides_whether_it_is_told(fleet: FleetUnderTest, prod: Environment) -> None:
    fleet.declared("prod")["drift_policy"] = {"enforce_sla": False}
    fleet.apply()
    number, _ = drifted(prod, workflow("Orders"))
    at(prod, number, 1)
    sweep(fleet)
    assert told(fleet) == []


def test_two_sweeps_at_once_do_nothing_twice(fleet: FleetUnderTest, prod: Environment) -> None:
    number, _ = drifted(prod, workflow("Orders"))
    at(prod, number, 0.8)
    barrier, done, failures = threading.Barrier(4), [], []

    def one() -> None:
        barrier.wait()
        try:
            done.extend(sweep(fleet).escalated)
        except Exception as error:  # a thread's failure is the test's
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [found.number for found in done] == [number]
    assert levels(fleet) == [("critical_overdue", ["escalated"])]
    assert len(told(fleet)) == 1
    assert fleet.chain_verifies()


def test_an_incident_that_another_one_holds_is_left_to_it_and_found_by_the_next_sweep(
        fleet: FleetUnderTest, prod: Environment) -> None:
    number, _ = drifted(prod, workflow("Orders"))
    at(prod, number, 0.3)
    with fleet.services.store.bookkeeping(fleet.context, "test") as work:
        work.incidents.by_number(number, lock=True)
        assert sweep(fleet).escalated == []
    assert [found.number for found in sweep(fleet).escalated] == [number]


@pytest.mark.parametrize("place", ["incident.ttl.before_commit", "incident.ttl.after_commit"])
def test_a_sweep_that_dies_leaves_all_or_nothing_of_a_batch(fleet: FleetUnderTest, prod: Environment, place: str) -> None:
    number, _ = drifted(prod, workflow("Orders"))
    at(prod, number, 1)
    failpoints.arm(f"{place}=raise")
    with pytest.raises(failpoints.FailpointReached):
        sweep(fleet)
    done = place.endswith("after_commit")
    assert (incident(prod, number).status, len(told(fleet)), len(levels(fleet))) == (
        ("expired", 1, 1) if done else ("detected", 0, 0))
    assert len(sweep(fleet).escalated) == (0 if done else 1)
    assert (len(told(fleet)), len(levels(fleet))) == (1, 1)
    assert fleet.chain_verifies()


def test_every_incident_of_a_tenant_is_found_however_many_batches_that_takes(
        fleet: FleetUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    assert BATCH <= 500
    monkeypatch.setattr("wfops_pipelines.services.escalate_incidents.BATCH", 2)
    monkeypatch.setattr("wfops_pipelines.services.escalate_incidents.PAGE", 3)
    many(fleet, 7)
    fleet.clock.pass_time(hours=1)
    assert len(sweep(fleet).escalated) == 7
    assert len(told(fleet)) == 7


def test_a_tenant_that_fails_does_not_stop_the_others(fleet: FleetUnderTest, prod: Environment) -> None:
    number, _ = drifted(prod, workflow("Orders"))
    at(prod, number, 1)
    fleet.writing(lambda work: work.fleet.replace_policies(
        [{"id": work.context.new_id(), "environment_id": None, "policy": {"enforce_sla": "perhaps"}}]))
    globex = replace(fleet.context, tenant_id=uuid4(), tenant_slug="globex")
    with fleet.services.store.bookkeeping(globex, "test") as work:
        work.fleet.save_tenant(slug="globex", name="Globex")
    many(fleet, 1, globex)
    fleet.clock.pass_time(hours=1)
    found = sweep(fleet)
    assert [(one.tenant, one.level) for one in found.escalated] == [("globex", Escalation.OVERDUE)]
    assert isinstance(found.failed["acme"], InvalidFields)
    assert "acme failed" in found.summary
    assert incident(prod, number).status == "detected"


def many(fleet: FleetUnderTest, count: int, context: Context | None = None) -> None:
    """Given so many environments, each with an incident that begins now and lasts an hour."""
    now = fleet.clock.now()
    with fleet.services.store.bookkeeping(context or fleet.context, "test") as work:
        for number in range(count):
            environment = work.context.new_id()
            work.fleet.save_environment(id=environment, slug=f"e{number}", name=f"e{number}", base_url="http://127.0.0.1:9",
                                        api_key_secret="none", **{"class": "production"})
            work.incidents.add(
                id=work.context.new_id(), environment_id=environment, status="detected", severity="low", title="drift",
                affected=1, drift_fingerprint="f", detected_at=now, last_seen_at=now,
                expires_at=now + timedelta(hours=1), next_due_at=now + timedelta(minutes=15), drift_snapshot={})
