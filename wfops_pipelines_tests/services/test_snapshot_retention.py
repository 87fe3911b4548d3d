"""Snapshots go by age, but for what somebody took by hand and what may be needed still (§18)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, select, update

from wfops_pipelines.domain.operation import OperationState
from wfops_pipelines.domain.snapshot import SnapshotKind
from wfops_pipelines.services.retention import run_retention
from wfops_pipelines.store.tables.promotions import promotions
from wfops_pipelines.store.tables.snapshots import snapshots
from wfops_pipelines_tests.services.fleet import Environment, FleetUnderTest, NewFleet, workflow
from wfops_pipelines_tests.services.snapshots import held, snapshot

SCHEDULED, MANUAL = SnapshotKind.SCHEDULED, SnapshotKind.MANUAL_BACKUP
BEFORE, AFTER = SnapshotKind.PRE_PROMOTION, SnapshotKind.POST_PROMOTION


@pytest.fixture
def prod(fleet: FleetUnderTest) -> Environment:
    return fleet["prod"]


def take(environment: Environment, *kinds: SnapshotKind) -> list[UUID]:
    """Given snapshots of these kinds, by now 91 days old, and a newer one of each environment."""
    ids = [UUID(snapshot(environment, kind=kind).snapshot_id) for kind in kinds]
    environment.fleet.clock.pass_time(days=91)
    snapshot(environment)
    return ids


def promoted(fleet: FleetUnderTest, status: str, **values: Any) -> UUID:
    """Given a promotion into prod, by a way that its life allows."""
    promotion_id, now, prod = fleet.services.new_id(), fleet.clock.now(), fleet["prod"].row.id
    ways = {"pending": (), "completed": ("approved", "running"), "failed": ("approved", "running"), "blocked": (),
            "completed_with_errors": ("approved", "running"), "rolled_back": ("approved", "running", "failed"),
            "running": ("approved",), "approved": ()}
    source = {"source_snapshot_id": values["source_snapshot_id"], "kind": "restore"} if "source_snapshot_id" in values else {
        "source_environment_id": prod, "kind": "promotion"}

    incomplete = {name: values.pop(name) for name in ("rollback_incomplete",) if name in values}

    def add(work: Any) -> None:
        number = len(work.connection.execute(select(promotions.c.id)).all()) + 1
        work.connection.execute(insert(promotions).values(
            tenant_id=fleet.context.tenant_id, id=promotion_id, number=number, target_environment_id=prod, status="pending",
            requested_by="a", requested_at=now, changed_at=now, **source | values))
        for state in (*ways[status], *([status] if status != "pending" else [])):
            work.connection.execute(update(promotions).where(promotions.c.id == promotion_id).values(
                status=state, **(incomplete if state == status else {})))

    fleet.writing(add)
    return promotion_id


def retain(fleet: FleetUnderTest, **options: Any) -> dict[str, int]:
    """How many snapshots went, by environment."""
    done = run_retention(fleet.services, actor="system:retention", **options)
    assert done.failed == {}
    return {one.environment or "": one.count for one in done.removed if one.what == "snapshots"}


def left(fleet: FleetUnderTest) -> set[UUID]:
    """The snapshots that there are."""
    return fleet.reading(lambda work: set(work.connection.execute(select(snapshots.c.id)).scalars()))


def test_snapshots_go_by_age_but_for_those_taken_by_hand(fleet: FleetUnderTest, prod: Environment) -> None:
    prod.create_in_n8n(workflow("Orders"))
    scheduled, manual, before, after = take(prod, SCHEDULED, MANUAL, BEFORE, AFTER)
    assert retain(fleet, dry_run=True) == {"prod": 3} and scheduled in left(fleet)
    assert retain(fleet, batch_size=2) == {"prod": 3}
    assert manual in left(fleet) and not {scheduled, before, after} & left(fleet) and len(left(fleet)) == 2
    told = [event.environment for event in fleet.events("retention.removed") if event.details["what"] == "snapshots"]
    assert told == ["prod", "prod"]
    assert retain(fleet) == {} and fleet.chain_verifies()


def test_young_ones_stay_and_how_long_is_the_environments_policy(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"), drift_policy={"snapshot_retention_days": 7})
    fleet.declared("prod")["drift_policy"] = {"snapshot_retention_days": 3650}
    fleet.apply()
    for slug in ("staging", "prod"):
        snapshot(fleet[slug], kind=SCHEDULED)
        snapshot(fleet[slug], kind=SCHEDULED)
    assert retain(fleet) == {}
    fleet.clock.pass_time(days=8)
    assert retain(fleet) == {"staging": 1}


def test_the_newest_of_an_environment_stays_whatever_its_age(fleet: FleetUnderTest, prod: Environment) -> None:
    snapshot(prod, kind=SCHEDULED)
    newest = snapshot(prod, kind=SCHEDULED)
    fleet.clock.pass_time(days=1000)
    assert retain(fleet) == {"prod": 1} and left(fleet) == {UUID(newest.snapshot_id)}


@pytest.mark.parametrize(("status", "values", "kept"), [
    ("completed", {}, True), ("completed_with_errors", {}, True), ("running", {}, True), ("approved", {}, True),
    ("pending", {}, True), ("failed", {"rollback_incomplete": True}, True), ("failed", {}, False), ("rolled_back", {}, False),
    ("blocked", {}, False)])
def test_what_a_promotion_may_still_be_rolled_back_to_stays(
        fleet: FleetUnderTest, prod: Environment, status: str, values: dict[str, Any], kept: bool) -> None:
    before, after = take(prod, BEFORE, AFTER)
    promotion = promoted(fleet, status, pre_snapshot_id=before, post_snapshot_id=after, **values)
    assert retain(fleet) == ({} if kept else {"prod": 2})
    assert ({before, after} <= left(fleet)) is kept
    row = fleet.reading(lambda work: work.promotions.by_id(promotion))
    assert (row.status, row.pre_snapshot_id) == (status, before if kept else None)


def test_only_the_last_completed_promotion_can_be_rolled_back(fleet: FleetUnderTest, prod: Environment) -> None:
    first, second = take(prod, BEFORE, BEFORE)
    older = promoted(fleet, "completed", pre_snapshot_id=first)
    newer = promoted(fleet, "completed", pre_snapshot_id=second)
    assert retain(fleet) == {"prod": 1} and second in left(fleet)
    kept = fleet.reading(lambda work: [work.promotions.by_id(which).pre_snapshot_id for which in (older, newer)])
    assert kept == [None, second]


@pytest.mark.parametrize(("status", "kept"), [("completed", True), ("rolled_back", False)])
def test_the_journal_that_a_rollback_reads_stays(fleet: FleetUnderTest, prod: Environment, status: str, kept: bool) -> None:
    operation_id = fleet.services.new_id()

    def write(work: Any) -> None:
        now = work.context.now()
        work.operations.create(operation_id, "promotion", environment_id=prod.row.id, actor="a", run_id=None, now=now)
        work.operations.start(operation_id, run_id=None, now=now)
        work.journal.intend(operation_id, 0, now=now, environment_id=prod.row.id, action="update", name="W")
        work.journal.end(operation_id, 0, "settled", now=now)
        work.operations.end(operation_id, OperationState.COMPLETED, now=now)

    fleet.writing(write)
    promoted(fleet, status, operation_id=operation_id)
    fleet.clock.pass_time(days=1000)
    done = run_retention(fleet.services, actor="system:retention")
    # the operation stays in any case: the promotion tells of it
    assert "runtime_journal" not in {one.what for one in done.removed} if kept else "runtime_journal" in {
        one.what for one in done.removed}
    assert operation_id in {row.id for row in fleet.operations()}


def test_what_something_was_restored_from_stays(fleet: FleetUnderTest, prod: Environment) -> None:
    (source,) = take(prod, SCHEDULED)
    promoted(fleet, "completed", source_snapshot_id=source)
    assert retain(fleet) == {} and source in left(fleet)


def test_contents_go_with_the_last_snapshot_that_held_them(fleet: FleetUnderTest, prod: Environment) -> None:
    (workflow_id,) = prod.create_in_n8n(workflow("Orders"))
    old = held(prod, snapshot(prod, kind=SCHEDULED)).digests()
    prod.edit_in_n8n(workflow_id, "since")
    fleet.clock.pass_time(days=91)
    assert snapshot(prod).workflows == 1
    done = run_retention(fleet.services, actor="system:retention")
    gone = [(one.what, one.count) for one in done.removed if one.what != "operations"]
    assert gone == [("snapshots", 1), ("payloads", 2)]
    assert fleet.reading(lambda work: work.payloads.load(old)) == {}
