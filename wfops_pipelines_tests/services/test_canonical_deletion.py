"""Soft deletion of canonical workflows: all of it or nothing, and nothing brings them back but ``undelete`` (§5.3, §5.4)."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import Blocked, OperationRunning, UnknownWorkflow, UsageError
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.services.canonical_deletion import CanonicalChange, delete_canonical, undelete_canonical
from wfops_pipelines.services.mapping_commands import ignore
from wfops_pipelines.services.matrix import workflow_matrix
from wfops_pipelines.services.operations import run_operation
from wfops_pipelines_tests.servers.processes import eventually
from wfops_pipelines_tests.services.child import run_in_child
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, file_bytes, run, workflow


def delete(fleet: FleetUnderTest, name: str, **options: Any) -> CanonicalChange:
    return run(delete_canonical(fleet.services, fleet.context, name, **options))


def undelete(fleet: FleetUnderTest, name: str, **options: Any) -> CanonicalChange:
    return run(undelete_canonical(fleet.services, fleet.context, name, **options))


def names(fleet: FleetUnderTest) -> set[str]:
    return {row.name for row in workflow_matrix(fleet.services, fleet.context)}


def state(fleet: FleetUnderTest) -> dict[tuple[str, str], tuple[str, Any, Any]]:
    return {(slug, i): (row.status, row.canonical_id, row.deleted_at)
            for slug, e in fleet.environments.items() for i, row in e.mappings().items()}


def linked(new_fleet: NewFleet) -> FleetUnderTest:
    """``Orders`` and ``Bills``, linked in staging and in prod."""
    fleet = new_fleet(("staging", "prod"))
    for slug in ("staging", "prod"):
        fleet[slug].in_sync(workflow("Orders"), workflow("Bills"))
    return fleet


@pytest.fixture
def two(new_fleet: NewFleet) -> FleetUnderTest:
    return new_fleet.as_left_by(linked)


def test_deleting_takes_the_mappings_of_all_environments_along(two: FleetUnderTest) -> None:
    files = {slug: two[slug].files() for slug in ("staging", "prod")}
    change = delete(two, "Orders")
    assert [(m["environment"], m["before"], m["after"]) for m in change.mappings] == [
        (slug, "linked", "deleted") for slug in sorted(("staging", "prod"), key=lambda s: two[s].row.id)]
    assert [f["environment"] for f in change.files] == ["prod", "staging"]
    assert names(two) == {"Bills"}
    (event,) = two.events("canonical.deleted")
    assert event.subject_id == change.canonical_id
    assert sorted(e.environment for e in two.events("mapping.deleted")) == ["prod", "staging"]
    assert {slug: two[slug].files() for slug in files} == files
    assert two.chain_verifies()


def test_nothing_brings_it_back(two: FleetUnderTest) -> None:
    prod, staging = two["prod"], two["staging"]
    change = delete(two, "Orders")
    orders = next(i for i, row in prod.mappings().items() if row.name == "Orders")
    prod.edit_in_n8n(orders)
    for _ in (1, 2):
        for environment in (prod, staging):
            assert environment.check().status == "IN_SYNC"
            assert environment.export().files == [] and environment.export(prune=True).files == []
    (path,) = (path for path, row in prod.git_states().items() if str(row.canonical_id) == change.canonical_id)
    prod.push_files({path: None, "again.json": file_bytes(workflow("Orders", text="again"), key=change.canonical_id)})
    (twin,) = staging.create_in_n8n(workflow("Orders"))
    for environment in (prod, staging):
        environment.check()
        environment.reconcile()
    assert staging.mapping(twin).unlinked_reason == "canonical_deleted"
    assert staging.export().files == []
    assert str(prod.canonical("again.json")) == change.canonical_id
    assert prod.mapping(orders).status == "deleted"
    (untracked,) = (row for row in workflow_matrix(two.services, two.context) if row.name == "Orders")
    assert (untracked.canonical_id, list(untracked.environments)) == (None, ["staging"])


def test_taking_it_back_makes_the_mappings_what_they_were(two: FleetUnderTest) -> None:
    run(ignore(two.services, two.context, "staging", "Orders"))
    before = state(two)
    change = delete(two, "Orders")
    assert {status for (_, _), (status, canonical, _) in state(two).items() if str(canonical) == change.canonical_id} == {
        "deleted"}
    two["prod"].check()
    back = undelete(two, change.canonical_id)
    assert back.changed and state(two) == before
    assert names(two) == {"Bills", "Orders"} and two["prod"].check().status == "IN_SYNC"
    assert len(two.events("mapping.undeleted")) == 2 and len(two.events("canonical.undeleted")) == 1


def test_a_wrong_name_is_answered_with_what_is_deleted(two: FleetUnderTest) -> None:
    with pytest.raises(UnknownWorkflow) as nothing:
        undelete(two, "Ordres")
    assert nothing.value.fix == "none is deleted"
    change = delete(two, "Orders")
    with pytest.raises(UnknownWorkflow) as refused:
        undelete(two, "Ordres")
    assert refused.value.fix == f"deleted are: 'Orders' ({change.canonical_id})"


def test_what_vanished_meanwhile_is_missing_after_the_next_sync(two: FleetUnderTest) -> None:
    prod = two["prod"]
    delete(two, "Orders")
    orders = next(i for i, row in prod.mappings().items() if row.name == "Orders")
    prod.delete_in_n8n(orders)
    prod.sync()
    assert prod.mapping(orders).status == "deleted"
    undelete(two, "Orders")
    prod.sync()
    assert prod.mapping(orders).status == "missing"


def test_a_second_time_changes_nothing(two: FleetUnderTest) -> None:
    assert not undelete(two, "Orders").changed
    change, events = delete(two, "Orders"), len(two.events())
    assert not delete(two, "Orders").changed and not delete(two, change.canonical_id).changed
    assert len(two.events()) == events


def test_a_dry_run_changes_nothing(two: FleetUnderTest) -> None:
    before = state(two), len(two.events()), len(two.operations())
    shown = delete(two, "Orders", dry_run=True)
    assert shown.changed and shown.dry_run and len(shown.mappings) == len(shown.files) == 2
    assert (state(two), len(two.events()), len(two.operations())) == before


def test_names_that_are_none_or_several(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.push_workflow("a.json", workflow("Twin", text="a"))
    prod.push_workflow("b.json", workflow("Twin", text="b"))
    prod.read_git()
    with pytest.raises(UnknownWorkflow, match="no canonical workflow"):
        delete(fleet, "Nobody")
    with pytest.raises(UsageError, match="2 canonical workflows"):
        delete(fleet, "Twin")


def test_what_only_git_has_can_be_deleted(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.push_workflow("a.json", workflow("Planned"))
    assert prod.kinds() == {"Planned": "missing_in_runtime"}
    change = delete(fleet, "Planned")
    assert (change.mappings, [f["path"] for f in change.files]) == ([], [prod.path("a.json")])
    assert names(fleet) == set() and prod.check().status == "IN_SYNC"
    prod.push_files({"a.json": None})
    prod.read_git()
    undelete(fleet, "Planned")
    assert delete(fleet, "Planned").changed  # not even Git has it


def test_a_held_environment_refuses_and_nothing_changes(two: FleetUnderTest) -> None:
    before = state(two)

    async def both() -> None:
        async with run_operation(two.services, two.context, OperationKind.ENVIRONMENT_SYNC, two["staging"].row):
            with pytest.raises(OperationRunning):
                await delete_canonical(two.services, two.context, "Orders")
    run(both())
    assert state(two) == before
    assert delete(two, "Orders").changed


@pytest.mark.parametrize("deleted", [True, False])
def test_a_failure_in_the_middle_leaves_nothing(two: FleetUnderTest, deleted: bool) -> None:
    if not deleted:
        delete(two, "Orders")
    before, events = state(two), len(two.events())
    failpoints.arm(f"canonical.{'delete' if deleted else 'undelete'}.before_commit=raise")
    with pytest.raises(failpoints.FailpointReached):
        (delete if deleted else undelete)(two, "Orders")
    failpoints.disarm()
    assert (state(two), len(two.events())) == (before, events)
    assert (delete if deleted else undelete)(two, "Orders").changed


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_kill_in_the_middle_leaves_all_or_nothing(two: FleetUnderTest, place: str) -> None:
    before = state(two)
    assert run_in_child(two["prod"], "delete", f"canonical.delete.{place}_commit=kill").returncode == -signal.SIGKILL
    deleted = {key for key, (status, _, _) in state(two).items() if status == "deleted"}
    assert len(deleted) == (2 if place == "after" else 0) and (place == "after" or state(two) == before)
    assert delete(two, "Orders").changed == (place == "before")
    assert names(two) == {"Bills"} and two.chain_verifies()
    assert undelete(two, "Orders").changed and state(two) == before


def test_who_is_just_linking_to_it_is_waited_for(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"))
    (one,) = fleet["staging"].in_sync(workflow("Orders"))
    (other,) = fleet["prod"].create_in_n8n(workflow("Another"))
    fleet["prod"].sync()
    canonical_id, mapping = fleet["staging"].mapping(one).canonical_id, fleet["prod"].mapping(other)
    with ThreadPoolExecutor(1) as pool:
        with fleet.services.store.bookkeeping(fleet.context, "test") as work:
            work.mappings.canonicals([canonical_id], lock=True)
            work.mappings.change(mapping.id, canonical_id=canonical_id, status="linked", unlinked_reason=None)
            deleting = pool.submit(delete, fleet, "Orders")
            eventually(lambda: fleet.reading(lambda look: look.connection.execute(
                text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one()) > 0)
        with pytest.raises(Blocked, match="meanwhile"):
            deleting.result()
    assert delete(fleet, "Orders").changed
    assert (fleet["prod"].mapping(other).status, fleet["staging"].mapping(one).status) == ("deleted", "deleted")
