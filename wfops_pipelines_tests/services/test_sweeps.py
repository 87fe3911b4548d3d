"""The drift sweep (§9, §20): cheap where nothing changed, whole where something did, and patient with nobody."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from wfops_pipelines.domain.mapping import MappingStatus
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.domain.sweep import whole_check_due
from wfops_pipelines.services.listings import environment_listing
from wfops_pipelines.services.operations import run_operation
from wfops_pipelines.services.pausing import pause, resume
from wfops_pipelines.services.refresh import Outcome
from wfops_pipelines.services.sweep_reports import SweepReport
from wfops_pipelines.services.sweeps import due, sweep
from wfops_pipelines_tests.services.fleet import Environment, FleetUnderTest, NewFleet, run, workflow
from wfops_pipelines_tests.services.sweep_child import sweep_apart

INTERVAL = 300.0
ACTOR = "system:drift_detection"


def swept(fleet: FleetUnderTest, told: list[Outcome] | None = None, **passed: float) -> SweepReport:
    """The report of a sweep, some time later (an interval unless told)."""
    fleet.clock.pass_time(**(passed or {"seconds": INTERVAL}))
    heard: list[Outcome] = [] if told is None else told
    return run(sweep(fleet.services, interval=INTERVAL, actor=ACTOR, report=heard.append))


def settle(fleet: FleetUnderTest) -> None:
    """Given that every environment was found in sync, twice: the second time it is noted by what it is known again. None
    is due for its daily whole check within the hours that tests take; ids are random, and so are those times."""
    ids = [environment.row.id for environment in fleet.environments.values()]
    for _ in range(24):
        now = fleet.clock.time
        if any(whole_check_due(each, now, now + timedelta(hours=3)) for each in ids):
            fleet.clock.pass_time(hours=1)
    for _ in range(2):
        assert set(swept(fleet).statuses) == {"IN_SYNC"}
    asked(fleet)


def three(new_fleet: NewFleet) -> FleetUnderTest:
    """Three environments with a workflow each, in sync."""
    fleet = new_fleet(("prod", "eu", "us"))
    for slug in ("prod", "eu", "us"):
        fleet[slug].in_sync(workflow(f"A {slug}"))
    settle(fleet)
    return fleet


def asked(fleet: FleetUnderTest) -> Counter[str]:
    """Requests since the last look, by path and number."""
    counted = Counter(request for requests in fleet.host.requests.values() for request in requests)
    for requests in fleet.host.requests.values():
        requests.clear()
    return counted


def history(environment: Environment) -> list[Any]:
    """Checks, oldest first."""
    rows: list[Any] = environment.fleet.reading(lambda work: work.drift.checks(environment.row.id))
    return rows[::-1]


def circuit(environment: Environment) -> Any:
    return environment.fleet.reading(lambda work: work.circuits.all()).get(environment.row.id)


def impatient(fleet: FleetUnderTest) -> None:
    """Waits are short."""
    fleet.with_limits(sweep_patience=0.5, request_attempts=1)


def test_where_nothing_changed_one_request_is_made_and_nothing_but_the_time_is_written(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(three)
    asked(fleet)
    operations, events, before = len(fleet.operations()), len(fleet.events()), history(fleet["eu"])[-1]
    told: list[Outcome] = []
    report = swept(fleet, told)
    assert report.counts == {"unchanged": 3}
    assert report.statuses == {"IN_SYNC": 3}
    assert asked(fleet) == {"GET /api/v1/workflows": 3}
    assert (len(fleet.operations()), len(fleet.events()), told) == (operations, events, [])
    after = history(fleet["eu"])[-1]
    assert (after.id, after.checks, after.first_at) == (before.id, before.checks + 1, before.first_at)
    assert after.last_at > before.last_at
    row = fleet["eu"].row
    assert row.last_drift_check_at == row.last_sync_at == row.last_good_drift_at == after.last_at


def test_an_edit_is_found_told_and_compared_whole(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(three)
    (edited,) = fleet["eu"].mappings()
    fleet["eu"].edit_in_n8n(edited, "wrong")
    told: list[Outcome] = []
    report = swept(fleet, told)
    assert report.counts == {"unchanged": 2, "checked": 1}
    assert report.statuses == {"IN_SYNC": 2, "DRIFT_DETECTED": 1}
    assert {(o.target.environment.slug, str(o.part)) for o in told} >= {("eu", "drift_report"), ("eu", "environment_workflows")}
    assert {o.target.environment.slug for o in told} == {"eu"}
    assert swept(fleet).counts == {"unchanged": 2, "checked": 1}  # as long as it drifts


def test_a_commit_is_found_without_n8n_having_changed(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(three)
    (path,) = fleet["eu"].files()
    fleet["eu"].push_files({path: None})
    report = swept(fleet)
    assert report.counts == {"checked": 3}  # all of the branch
    assert report.statuses == {"IN_SYNC": 2, "DRIFT_DETECTED": 1}


def test_other_bytes_that_mean_the_same_change_nothing_and_are_known_from_then_on(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(three)
    (one,) = fleet["eu"].mappings()
    eu = fleet["eu"].sandbox.state
    with eu.lock:
        eu.workflows[one].static_data = b'{"lastId":7}'
        eu.changed(eu.workflows[one])
    report = swept(fleet)
    assert (report.counts, report.statuses) == ({"unchanged": 2, "checked": 1}, {"IN_SYNC": 3})
    assert swept(fleet).counts == {"unchanged": 3}


@pytest.mark.parametrize("change", ["mapping", "file", "declaration"])
def test_equal_bytes_settle_nothing_once_the_store_was_written_to(new_fleet: NewFleet, change: str) -> None:
    """Whoever wrote it, and by whatever way."""
    fleet = new_fleet.as_left_by(three)
    eu = fleet["eu"]
    if change == "mapping":
        (one,) = eu.mappings()
        eu.set_mapping(one, status=MappingStatus.IGNORED, ignored_at=fleet.clock.now())
    elif change == "file":
        fleet.writing(lambda work: work.git_states.set(eu.row.id, eu.path(next(iter(eu.git_states()))), wants_active=True))
    else:
        fleet.writing(lambda work: work.fleet.set_environment(eu.row.id, ever_mapped=False))
    assert swept(fleet).counts == {"unchanged": 2, "checked": 1}


@pytest.mark.parametrize(("fault", "options"), [("cut", {}), ("cut", {"chunked": True}), ("empty", {}), ("wrong_json", {}),
                                                ("html", {}), ("refuse", {})])
def test_a_listing_that_is_not_whole_is_never_an_unchanged_one(new_fleet: NewFleet, fault: str,
                                                               options: dict[str, Any]) -> None:
    fleet = new_fleet.as_left_by(three)
    fleet["eu"].sandbox.faults.add(fault, **options)
    report = swept(fleet)
    assert report.counts["unchanged"] == 2
    if fault == "empty":  # what it did not list was asked for by id
        assert (report.counts["checked"], report.statuses) == (1, {"IN_SYNC": 3})
    else:
        assert (report.counts["failed"], report.statuses) == (1, {"IN_SYNC": 2, "ERROR": 1})


def test_what_was_checked_by_hand_or_just_now_is_not_due(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(three)
    fleet.clock.pass_time(seconds=INTERVAL)
    fleet["eu"].check()
    assert due(fleet.services, INTERVAL) == 2
    assert swept(fleet, seconds=1).counts == {"unchanged": 2}
    assert due(fleet.services, INTERVAL) == 0
    assert swept(fleet, seconds=1).due == 0


def test_two_sweeps_at_once_share_the_work(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(three)
    before = {slug: history(fleet[slug])[-1].checks for slug in fleet.environments}
    fleet.clock.pass_time(seconds=INTERVAL)

    async def both() -> list[SweepReport]:
        return list(await asyncio.gather(*(sweep(fleet.services, interval=INTERVAL, actor=ACTOR) for _ in range(2))))
    reports = run(both())
    assert sum(report.counts["unchanged"] for report in reports) == 3
    assert {slug: history(fleet[slug])[-1].checks - checks for slug, checks in before.items()} == {"prod": 1, "eu": 1, "us": 1}


def test_an_environment_that_an_operation_holds_is_skipped_and_stays_due(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(three)

    async def held() -> SweepReport:
        async with run_operation(fleet.services, fleet.context, OperationKind.ENVIRONMENT_SYNC, fleet["eu"].row):
            fleet.clock.pass_time(seconds=INTERVAL)
            return await sweep(fleet.services, interval=INTERVAL, actor=ACTOR)
    report = run(held())
    assert report.counts == {"unchanged": 2, "skipped_busy": 1}
    assert swept(fleet, seconds=1).counts == {"unchanged": 1}


# -- instances that are away ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "options"), [("reset", {}), ("latency", {"ms": 60_000}), ("status", {"status": 503})])
def test_an_instance_that_is_away_costs_nothing_after_three_sweeps_until_it_is_probed(
        new_fleet: NewFleet, fault: str, options: dict[str, Any]) -> None:
    fleet = new_fleet.as_left_by(three)
    impatient(fleet)
    fleet["eu"].sandbox.faults.add(fault, **options)
    operations = len(fleet.operations())
    for failures in (1, 2, 3):
        assert swept(fleet).counts == {"unchanged": 2, "failed": 1}
        assert circuit(fleet["eu"]).failures == failures
    assert (fleet["eu"].row.drift_status, fleet["eu"].row.drift_reason) == ("ERROR", "unreachable")
    assert fleet["eu"].row.last_good_drift_status == "IN_SYNC"
    assert len(fleet.operations()) == operations + 1  # what says the same again is counted
    assert history(fleet["eu"])[-1].checks == 3
    assert circuit(fleet["eu"]).state == "open"
    asked(fleet)
    assert swept(fleet, seconds=INTERVAL / 2).due == 0
    report = swept(fleet, seconds=1)
    assert report.counts.get("failed", 0) == 0
    assert asked(fleet).total() == 0 or report.counts["unchanged"] == 2
    fleet["eu"].sandbox.faults.clear()
    report = swept(fleet, minutes=20)
    assert (report.counts, report.statuses) == ({"unchanged": 2, "checked": 1}, {"IN_SYNC": 3})
    assert circuit(fleet["eu"]) is None


def test_an_instance_that_refuses_is_there_and_its_circuit_closed(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(three)
    impatient(fleet)
    eu = fleet["eu"]
    eu.sandbox.faults.add("reset")
    for _ in range(3):
        swept(fleet)
    assert circuit(eu).state == "open"
    eu.sandbox.faults.clear()
    eu.sandbox.faults.add("status", status=401)
    assert swept(fleet, minutes=20).counts["failed"] == 1
    assert (circuit(eu), eu.row.drift_reason) == (None, "refused")
    eu.sandbox.faults.clear()
    eu.sandbox.faults.add("reset")
    swept(fleet, minutes=20)
    assert (circuit(eu).state, circuit(eu).failures, circuit(eu).openings) == ("closed", 1, 0)


def test_a_check_by_hand_that_is_answered_closes_the_circuit(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(three)
    impatient(fleet)
    fleet["eu"].sandbox.faults.add("reset")
    for _ in range(3):
        swept(fleet)
    fleet["eu"].sandbox.faults.clear()
    assert fleet["eu"].check().status == "IN_SYNC"
    assert circuit(fleet["eu"]) is None


# -- killed ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["raise", "kill"])
@pytest.mark.parametrize("failpoint", ["sweep.claimed", "sweep.record.before_commit", "sweep.record.after_commit",
                                       "n8n.look.after"])
def test_what_a_sweep_that_broke_off_did_not_record_the_next_one_does(new_fleet: NewFleet, failpoint: str,
                                                                    action: str) -> None:
    """No environment is counted twice, and none is missed."""
    fleet = new_fleet.as_left_by(three)
    before = {slug: history(fleet[slug])[-1].checks for slug in fleet.environments}
    fleet.clock.pass_time(seconds=INTERVAL)
    # The first two transactions are those that begin the sweep and record its first environment.
    assert sweep_apart(fleet, f"{failpoint}={action}@2", interval=INTERVAL) == (1 if action == "raise" else -9)
    swept(fleet, seconds=1)
    after = {slug: history(fleet[slug])[-1].checks for slug in fleet.environments}
    assert after == {slug: checks + 1 for slug, checks in before.items()}
    with fleet.services.store.sweep_reads() as system:
        states = [row.state for row in system.recent()][:2]
    assert states == ["completed", "failed" if action == "raise" else "died"]


# -- what is shown ---------------------------------------------------------------------------------------------------------


def test_a_sweep_is_stored_with_what_it_did(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(three)
    report = swept(fleet, seconds=INTERVAL + 60)
    with fleet.services.store.sweep_reads() as system:
        stored = system.recent()[0]
    assert (stored.id, stored.state, stored.due, stored.counts, stored.statuses) == (
        report.sweep_id, "completed", 3, {"unchanged": 3}, {"IN_SYNC": 3})
    assert stored.ended_at >= stored.started_at
    assert 0 < stored.mean_lag_ms <= stored.lag_ms < 200_000


def test_what_waited_for_the_end_of_a_pause_is_late_from_then_on(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(three)
    pause(fleet.services, "acme", actor="local:ada")
    fleet.clock.pass_time(hours=5)
    resume(fleet.services, "acme", actor="local:ada")
    swept(fleet, seconds=20)
    with fleet.services.store.sweep_reads() as system:
        stored = system.recent()[0]
    assert stored.due == 3 and 20_000 <= stored.mean_lag_ms <= stored.lag_ms < 21_000


def test_an_open_circuit_is_listed_with_its_reason_and_since_when(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(three)
    impatient(fleet)
    fleet["eu"].sandbox.faults.add("reset")
    began = fleet.clock.now()
    for _ in range(3):
        swept(fleet)
    listed = {row["environment"]: row for row in environment_listing(fleet.services, fleet.context)}
    circuit = listed["eu"]["circuit"]
    assert (listed["eu"]["drift_status"], circuit["state"], circuit["reason"], circuit["failures"]) == (
        "ERROR", "open", "unreachable", 3)
    assert began.isoformat() < circuit["since"] < circuit["probe_at"]
    assert listed["prod"]["circuit"] is None
