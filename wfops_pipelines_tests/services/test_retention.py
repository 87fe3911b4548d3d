"""Retention (§18): what is old enough goes in batches that can be gone on with, audited; what is open or needed stays."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import InvalidFields, UnknownTenant
from wfops_pipelines.domain.incident import IncidentEvent
from wfops_pipelines.domain.operation import OperationState
from wfops_pipelines.domain.retention import KeepDays
from wfops_pipelines.services.retention import RetentionRun, run_retention
from wfops_pipelines.store.incident_pages import IncidentFilter
from wfops_pipelines.store.tables.drift import drift_check_history
from wfops_pipelines.store.tables.incidents import runtime_journal
from wfops_pipelines.store.tables.notices import outbox
from wfops_pipelines_tests.services.fleet import Environment, FleetUnderTest, NewFleet, workflow
from wfops_pipelines_tests.services.incidents import drifted, fleet_with_incidents, incident, step

YEAR = 366


@pytest.fixture
def fleet(new_fleet: NewFleet) -> FleetUnderTest:
    """A production environment whose drift becomes incidents."""
    return fleet_with_incidents(new_fleet)


@pytest.fixture
def prod(fleet: FleetUnderTest) -> Environment:
    return fleet["prod"]


def retain(fleet: FleetUnderTest, **options: Any) -> RetentionRun:
    """What Dagster does daily."""
    return run_retention(fleet.services, actor="system:retention", **options)


def counts(run: RetentionRun) -> dict[str, int]:
    """How many of each kind that goes by age."""
    return {one.what: one.count for one in run.removed if one.before is not None}


def closed(prod: Environment, count: int) -> list[int]:
    """Given so many incidents, each opened by drift and closed by hand."""
    numbers = []
    number, (workflow_id,) = drifted(prod, workflow("Orders"))
    for turn in range(count):
        numbers.append(number)
        step(prod, number, IncidentEvent.CLOSE, reason="seen")
        prod.edit_in_n8n(workflow_id, f"again {turn}")
        prod.check()
        number += 1
    return numbers


def checks(fleet: FleetUnderTest, prod: Environment, days_ago: list[int]) -> list[UUID]:
    """Given entries in the history of checks."""
    ids = [fleet.services.new_id() for _ in days_ago]

    def add(work: Any) -> None:
        for check_id, days in zip(ids, days_ago, strict=True):
            at = work.context.now() - timedelta(days=days)
            work.drift.add_check(id=check_id, environment_id=prod.row.id, type="scheduled", status="IN_SYNC", counts={},
                                 fingerprint="f", duration_ms=1, first_at=at, last_at=at)

    fleet.writing(add)
    return ids


def history(fleet: FleetUnderTest) -> set[UUID]:
    """Entries in the history of checks."""
    return fleet.reading(lambda work: {row.id for row in work.connection.execute(drift_check_history.select())})


def messages(fleet: FleetUnderTest, *wanted: tuple[str, int]) -> None:
    """Given messages with a status, as of so many days ago."""
    def add(work: Any) -> None:
        for number, (status, days) in enumerate(wanted):
            at = work.context.now() - timedelta(days=days)
            work.connection.execute(outbox.insert().values(
                tenant_id=fleet.context.tenant_id, id=work.context.new_id(), target="ops", event="incident.opened",
                subject=f"incident:{number}", severity="low", dedupe_key=f"k{number}", message={}, status=status,
                not_before=at, sent_at=at if status == "sent" else None))

    fleet.writing(add)


def journal(fleet: FleetUnderTest, prod: Environment, *states: str, ended: bool = True) -> UUID:
    """Given an operation with writes in these states, now."""
    operation_id = fleet.services.new_id()

    def add(work: Any) -> None:
        now = work.context.now()
        work.operations.create(operation_id, "incident_resolution", environment_id=prod.row.id, actor="a", run_id=None, now=now)
        work.operations.start(operation_id, run_id=None, now=now)
        for position, state in enumerate(states):
            work.journal.intend(operation_id, position, now=now, environment_id=prod.row.id, action="update", name="W")
            work.journal.end(operation_id, position, state, now=now)
        if ended:
            work.operations.end(operation_id, OperationState.COMPLETED, now=now)

    fleet.writing(add)
    return operation_id


def test_nothing_goes_that_is_not_old_enough(fleet: FleetUnderTest, prod: Environment) -> None:
    closed(prod, 1)
    fleet.clock.pass_time(days=80)
    assert retain(fleet).as_json() == {"dry_run": False, "removed": [], "total": 0, "waiting": [], "failed": [], "paused": []}
    assert "retention.removed" not in fleet.actions()


def test_the_payload_of_an_ended_incident_goes_and_the_incident_stays(fleet: FleetUnderTest, prod: Environment) -> None:
    [number] = closed(prod, 1)
    before = incident(prod, number)
    fleet.clock.pass_time(days=YEAR)
    assert counts(retain(fleet))["incident_payloads"] == 1
    row = incident(prod, number)
    assert (row.drift_snapshot, row.cause, row.reach) == (None, None, None)
    assert fleet.clock.time - row.payload_purged_at < timedelta(minutes=1)
    assert (row.title, row.status, row.closed_by) == (before.title, "closed", before.closed_by)
    listed = fleet.reading(lambda work: work.incidents.listed(IncidentFilter()))
    assert {found.number: found.payload_purged_at is not None for found in listed}[number]
    [event] = [e for e in fleet.events("retention.removed") if e.details["what"] == "incident_payloads"]
    assert event.details["incidents"] == [number] and event.environment == "prod"
    assert fleet.chain_verifies()
    assert "incident_payloads" not in counts(retain(fleet))


def test_an_open_incident_is_never_touched(fleet: FleetUnderTest, prod: Environment) -> None:
    number, _ = drifted(prod, workflow("Orders"))
    before = incident(prod, number)
    fleet.clock.pass_time(days=10 * YEAR)
    retain(fleet)
    assert incident(prod, number)._mapping == before._mapping


def test_each_environment_keeps_as_long_as_its_policy_says(new_fleet: NewFleet) -> None:
    fleet = fleet_with_incidents(new_fleet, ("staging", "prod"), policy={
        "auto_create_for_production_only": False, "closed_incident_retention_days": 30})
    fleet.declared("prod")["drift_policy"] = {"closed_incident_retention_days": 3650}
    fleet.apply()
    for slug in ("staging", "prod"):
        closed(fleet[slug], 1)
    fleet.clock.pass_time(days=40)
    assert [(one.environment, one.what) for one in retain(fleet).removed] == [("staging", "incident_payloads")]


@pytest.mark.parametrize("place", ["retention.batch.before_commit=raise@2", "retention.batch.after_commit=raise@2"])
def test_a_run_that_is_cut_off_between_batches_is_gone_on_with(fleet: FleetUnderTest, prod: Environment,
                                                               place: str) -> None:
    numbers = closed(prod, 5)
    fleet.clock.pass_time(days=YEAR)
    failpoints.arm(place)
    with pytest.raises(failpoints.FailpointReached):
        retain(fleet, batch_size=2)
    failpoints.disarm()
    purged = [n for n in numbers if incident(prod, n).payload_purged_at is not None]
    assert len(purged) == (2 if "before" in place else 4)  # whole batches
    assert counts(retain(fleet, batch_size=2))["incident_payloads"] == 5 - len(purged)
    told = [n for e in fleet.events("retention.removed") for n in e.details.get("incidents", [])]
    assert sorted(told) == numbers  # each once
    assert fleet.chain_verifies()


def test_a_dry_run_counts_and_removes_nothing(fleet: FleetUnderTest, prod: Environment) -> None:
    [number] = closed(prod, 1)
    checks(fleet, prod, [0])
    messages(fleet, ("sent", 0))
    fleet.clock.pass_time(days=YEAR)
    would = retain(fleet, dry_run=True)
    assert incident(prod, number).drift_snapshot is not None
    assert "retention.removed" not in fleet.actions()
    done = retain(fleet)
    planned, gone = counts(would), counts(done)
    assert gone.pop("operations") >= planned.pop("operations") > 0  # what went before them freed more
    assert gone == planned and len(gone) > 2


def test_the_history_of_checks_goes_but_for_the_newest_entry(fleet: FleetUnderTest, prod: Environment) -> None:
    old, older, young = checks(fleet, prod, [91, 200, 89])
    assert counts(retain(fleet)) == {"drift_checks": 2}
    assert history(fleet) == {young}
    fleet.clock.pass_time(days=1000)
    assert "drift_checks" not in counts(retain(fleet))
    assert history(fleet) == {young}
    assert {old, older}.isdisjoint(history(fleet))


def test_how_long_checks_and_messages_are_kept_is_a_setting(fleet: FleetUnderTest, prod: Environment) -> None:
    checks(fleet, prod, [1, 3])
    messages(fleet, ("sent", 2))
    assert counts(retain(fleet, keep=KeepDays(drift_checks=2, messages=1))) == {"drift_checks": 1, "messages": 1}


def test_messages_go_when_they_are_done_with_and_never_while_they_wait(fleet: FleetUnderTest) -> None:
    messages(fleet, ("sent", 31), ("sent", 29), ("dropped", 31), ("dead", 31), ("dead", 91), ("pending", 400))
    assert counts(retain(fleet)) == {"messages": 2, "dead_messages": 1}
    assert fleet.reading(lambda work: work.outbox.counts()) == {"sent": 1, "dead": 1, "pending": 1}


def test_the_journal_of_an_operation_goes_when_nobody_has_to_come_back_to_it(fleet: FleetUnderTest,
                                                                            prod: Environment) -> None:
    gone = {journal(fleet, prod, "settled", "settled"), journal(fleet, prod, "undone")}
    kept = {journal(fleet, prod, "settled", "failed"), journal(fleet, prod, "done"),
            journal(fleet, prod, "settled", ended=False)}
    fleet.clock.pass_time(days=181)
    young = journal(fleet, prod, "settled")
    assert counts(retain(fleet, keep=KeepDays(operations=YEAR)))["runtime_journal"] == 2
    left = fleet.reading(lambda work: {r.operation_id for r in work.connection.execute(runtime_journal.select())})
    assert left == kept | {young} and left.isdisjoint(gone)
    assert {row.id for row in fleet.operations()} >= gone  # the operations themselves stay


def test_a_tenant_that_is_not_there_is_an_error_before_anything_goes(fleet: FleetUnderTest) -> None:
    messages(fleet, ("sent", 31))
    with pytest.raises(UnknownTenant):
        retain(fleet, tenants=["acme", "nobody"])
    assert retain(fleet, tenants=["acme", "acme"]).total == 1


def test_a_tenant_that_fails_is_told(fleet: FleetUnderTest) -> None:
    fleet.writing(lambda work: work.fleet.replace_policies(
        [{"id": work.context.new_id(), "environment_id": None, "policy": {"closed_incident_retention_days": "long"}}]))
    run = retain(fleet)
    assert isinstance(run.failed["acme"], InvalidFields)
    assert run.as_json()["failed"][0]["tenant"] == "acme"
