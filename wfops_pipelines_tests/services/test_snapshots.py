"""Snapshots (§13): what an environment holds, kept whole or not at all, its contents stored once."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, text, update

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import Broken, OperationRunning, OutsideError
from wfops_pipelines.domain.normalize import content_hash
from wfops_pipelines.domain.operation import OperationKind, OperationState
from wfops_pipelines.domain.snapshot import SnapshotKind
from wfops_pipelines.domain.workflow import decode_content
from wfops_pipelines.services import snapshots as module
from wfops_pipelines.services.operations import run_operation
from wfops_pipelines.services.snapshots import load
from wfops_pipelines.store.tables.operations import environment_leases
from wfops_pipelines.store.tables.payloads import payloads
from wfops_pipelines.store.tables.snapshots import snapshots
from wfops_pipelines_tests.services.fleet import Environment, FleetUnderTest, run, workflow
from wfops_pipelines_tests.services.snapshots import by_name, held, rows, snapshot


@pytest.fixture
def prod(fleet: FleetUnderTest) -> Environment:
    return fleet["prod"]


def test_a_snapshot_holds_each_workflow_as_it_is(fleet: FleetUnderTest, prod: Environment) -> None:
    orders, billing, _old = prod.create_in_n8n(workflow("Orders"), workflow("Billing"), workflow("Old"))
    prod.archive_in_n8n(_old)
    prod.tag_in_n8n(orders, "finance", "daily")
    prod.activate_in_n8n(orders)
    prod.edit_in_n8n(orders, "not yet", publish=False)
    report = snapshot(prod, name="before the move")

    found = by_name(held(prod, report))
    assert set(found) == {"Orders", "Billing", "Old"}
    assert (found["Orders"].workflow_id, found["Orders"].active, found["Orders"].tags) == (orders, True, ("daily", "finance"))
    assert found["Orders"].has_draft and not found["Billing"].has_draft
    assert found["Old"].archived and not found["Old"].active
    assert (report.workflows, report.active, report.archived, report.unreadable) == (3, 1, 1, 0)
    assert (report.name, report.kind, report.taken_by) == ("before the move", "manual_backup", "local:ada")

    bodies = fleet.reading(lambda work: work.payloads.load(held(prod, report).digests()))
    live = decode_content(bodies[found["Orders"].live_digest])
    assert content_hash(live) == found["Orders"].content_hash
    assert [node["parameters"].get("text") for node in live["nodes"]] == [None, "hello"]
    draft = decode_content(bodies[found["Orders"].draft_digest])
    assert [node["parameters"].get("text") for node in draft["nodes"]] == [None, "not yet"]
    assert billing == found["Billing"].workflow_id


def test_it_reads_n8n_first(prod: Environment) -> None:
    (workflow_id,) = prod.create_in_n8n(workflow("Orders"))
    prod.sync()
    prod.edit_in_n8n(workflow_id, "changed since")
    before = prod.mapping(workflow_id).live_hash
    assert by_name(held(prod, snapshot(prod)))["Orders"].content_hash != before


def test_ignored_and_untracked_workflows_are_in_it_missing_and_deleted_ones_are_not(
        fleet: FleetUnderTest, prod: Environment) -> None:
    names = ["Linked", "Ignored", "Untracked", "Missing", "Deleted"]
    ids = dict(zip(names, prod.create_in_n8n(*map(workflow, names[:2])), strict=False))
    prod.export()
    ids |= dict(zip(names[2:], prod.create_in_n8n(*map(workflow, names[2:])), strict=True))
    prod.sync()
    prod.set_mapping(ids["Ignored"], ignored_at=fleet.clock.now(), status="ignored")
    prod.set_mapping(ids["Deleted"], deleted_at=fleet.clock.now(), status="deleted")
    prod.delete_in_n8n(ids["Missing"])

    found = by_name(held(prod, snapshot(prod)))
    assert set(found) == {"Linked", "Ignored", "Untracked"}
    assert found["Linked"].canonical_id and found["Ignored"].canonical_id and found["Untracked"].canonical_id is None


def test_of_two_that_name_one_canonical_workflow_the_linked_one_has_it(fleet: FleetUnderTest, prod: Environment) -> None:
    first, second = prod.in_sync(workflow("Orders"), workflow("Orders", text="other"))
    canonical_id = prod.mapping(second).canonical_id
    prod.set_mapping(first, canonical_id=canonical_id, ignored_at=fleet.clock.now(), status="ignored")
    found = {each.workflow_id: each.canonical_id for each in held(prod, snapshot(prod)).workflows}
    assert found == {first: None, second: str(canonical_id)}


def test_an_unchanged_environment_costs_one_row_more(fleet: FleetUnderTest, prod: Environment) -> None:
    prod.create_in_n8n(workflow("Orders"), workflow("Billing"))
    first = snapshot(prod)
    stored = fleet.reading(lambda work: work.connection.execute(select(func.count()).select_from(payloads)).scalar_one())
    second = snapshot(prod)
    assert fleet.reading(
        lambda work: work.connection.execute(select(func.count()).select_from(payloads)).scalar_one()) == stored
    assert (first.same_as, second.same_as) == (None, first.snapshot_id)
    assert first.address == second.address and len({row.manifest_digest for row in rows(prod)}) == 1

    (third,) = prod.create_in_n8n(workflow("New"))
    assert third and snapshot(prod).same_as is None


def test_an_empty_environment_has_a_snapshot_too(prod: Environment) -> None:
    report = snapshot(prod, kind=SnapshotKind.SCHEDULED)
    assert (report.workflows, held(prod, report).workflows) == (0, ())


def test_a_snapshot_is_an_operation_and_an_audit_event(fleet: FleetUnderTest, prod: Environment) -> None:
    prod.create_in_n8n(workflow("Orders"))
    report = snapshot(prod, name="Friday")
    operation = fleet.operations()[-1]
    assert (str(operation.id), operation.kind, operation.state) == (report.operation_id, "snapshot", OperationState.COMPLETED)
    assert operation.metrics["snapshot_id"] == report.snapshot_id
    (event,) = fleet.events("snapshot.taken")
    assert (event.subject_id, event.environment, event.after_hash) == (report.snapshot_id, "prod", report.address)
    assert event.details == {"kind": "manual_backup", "name": "Friday", "workflows": 1}
    assert event.operation_id == operation.id and fleet.chain_verifies()


@pytest.mark.parametrize("place", ["sync.page.received", "snapshot.take.before_commit"])
def test_there_is_a_whole_snapshot_or_none(fleet: FleetUnderTest, prod: Environment, place: str) -> None:
    prod.create_in_n8n(workflow("Orders"))
    failpoints.arm(f"{place}=raise")
    with pytest.raises(failpoints.FailpointReached):
        snapshot(prod)
    failpoints.disarm()
    assert rows(prod) == [] and fleet.events("snapshot.taken") == []
    assert held(prod, snapshot(prod)).workflows


def test_a_failure_at_any_statement_leaves_whole_snapshots_or_none(fleet: FleetUnderTest, prod: Environment) -> None:
    """At every third statement, one after the other."""
    prod.create_in_n8n(workflow("Orders"), workflow("Billing"))
    failures = 0
    while True:
        failpoints.arm(f"store.statement=raise@{1 + failures * 3}")
        try:
            snapshot(prod)
        except failpoints.FailpointReached:
            failures += 1
        else:
            break
        finally:
            failpoints.disarm()
        fleet.writing(lambda work: work.connection.execute(update(environment_leases).values(released_at=func.now())))
    found = rows(prod)
    assert failures > 5 and {str(row.id) for row in found} == {event.subject_id for event in fleet.events("snapshot.taken")}
    assert {len(snapshot_.workflows) for snapshot_ in fleet.reading(lambda work: [load(work, row) for row in found])} == {2}
    assert fleet.chain_verifies()


def test_of_a_listing_that_was_cut_off_there_is_none(prod: Environment) -> None:
    prod.create_in_n8n(workflow("Orders"))
    prod.sandbox.faults.cut_listing(0)
    with pytest.raises(OutsideError):
        snapshot(prod)
    assert rows(prod) == []


def test_what_cannot_be_read_is_named(prod: Environment) -> None:
    _, broken = prod.create_in_n8n(workflow("Orders"), workflow("Broken"))
    with prod.sandbox.state.lock:
        prod.raw(broken).draft.nodes = b'[{"type": "no.name"}]'
        prod.sandbox.state.changed(prod.raw(broken))
    report = snapshot(prod)
    assert (report.workflows, report.unreadable) == (1, 1)
    assert [problem["workflow_id"] for problem in report.problems] == [broken]


def test_an_environment_that_is_held_is_left_alone(fleet: FleetUnderTest, prod: Environment) -> None:
    async def while_held() -> None:
        async with run_operation(fleet.services, fleet.context, OperationKind.ENVIRONMENT_SYNC, prod.row):
            with pytest.raises(OperationRunning):
                await module.take_snapshot(fleet.services, fleet.context, prod.row)

    run(while_held())
    assert rows(prod) == []


def test_hashes_of_an_older_normaliser_are_made_anew(
        prod: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    prod.create_in_n8n(*(workflow(f"Orders {n}") for n in range(3)))
    with monkeypatch.context() as patch:
        patch.setattr(module, "NORMALIZER_VERSION", 0)
        report = snapshot(prod)
    monkeypatch.setattr(module, "_HASHED_AT_ONCE", 2)
    monkeypatch.setattr(module, "content_hash", lambda content: f"anew {content['name']}")
    assert {each.content_hash for each in held(prod, report).workflows} == {f"anew Orders {n}" for n in range(3)}


def test_a_snapshot_whose_content_is_gone_says_so(
        fleet: FleetUnderTest, prod: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    (workflow_id,) = prod.create_in_n8n(workflow("Orders"))
    with monkeypatch.context() as patch:
        patch.setattr(module, "NORMALIZER_VERSION", 0)
        report = snapshot(prod)
    gone = prod.mapping(workflow_id).live_digest
    prod.edit_in_n8n(workflow_id, "since")
    prod.sync()
    fleet.writing(lambda work: work.connection.execute(payloads.delete().where(payloads.c.digest == gone)))
    with pytest.raises(Broken, match=r"1 contents \('Orders' first\) are not stored any more"):
        held(prod, report)


def test_a_snapshot_is_never_changed(fleet: FleetUnderTest, prod: Environment) -> None:
    snapshot(prod)
    with pytest.raises(Exception, match="permission denied"):
        fleet.writing(lambda work: work.connection.execute(update(snapshots).values(name="other")))
    assert fleet.reading(lambda work: work.connection.execute(text("select name from snapshots")).scalar_one()) is None
