"""Environment sync, n8n → store (§6): what is counted, stored, linked and told."""

from __future__ import annotations

import pytest

from wfops_pipelines.domain.errors import (
    IncompleteRead,
    NotN8n,
    OutsideError,
    Refused,
    Unreachable,
    WfopsError,
)
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, workflow


def test_a_first_sync_creates_a_second_changes_nothing_and_a_third_updates_the_one_that_changed(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    ids = prod.create_in_n8n(*(workflow(f"W{n}") for n in range(3)))
    first = prod.sync()
    assert (first.seen, first.created, first.updated, first.unchanged, first.untracked) == (3, 3, 0, 0, 3)
    assert first.received_bytes > 0
    events = len(fleet.events())
    second = prod.sync()
    assert (second.seen, second.created, second.updated, second.unchanged) == (3, 0, 0, 3)
    assert len(fleet.events()) == events  # events are for changes, not for looks
    before = prod.mapping(ids[1])
    prod.edit_in_n8n(ids[1])
    third = prod.sync()
    assert (third.created, third.updated, third.unchanged) == (0, 1, 2)
    after = prod.mapping(ids[1])
    assert after.live_hash != before.live_hash and after.id == before.id and after.first_seen_at == before.first_seen_at
    assert fleet.chain_verifies()


def test_an_operation_record_tells_what_a_sync_did(fleet: FleetUnderTest) -> None:
    fleet["prod"].create_in_n8n(workflow("A"))
    result = fleet["prod"].sync()
    operation = fleet.operations()[-1]
    assert str(operation.id) == result.operation_id
    assert (operation.kind, operation.state, operation.attempts) == ("environment_sync", "completed", 1)
    assert operation.metrics["created"] == 1 and operation.checkpoint == {"batches": 1, "created": 1, "updated": 0}
    (event,) = fleet.events("environment.batch_synced")
    assert str(event.operation_id) == result.operation_id and event.environment == "prod"


def test_workflows_are_stored_in_batches_each_its_own_transaction(fleet: FleetUnderTest) -> None:
    fleet.with_limits(batch_size=2, page_size=3)
    fleet["prod"].create_in_n8n(*(workflow(f"W{n}") for n in range(7)))
    assert fleet["prod"].sync().created == 7
    sizes = [len(event.details["created"]) for event in fleet.events("environment.batch_synced")]
    assert sizes == [2, 1, 2, 1, 1]  # pages of 3, 3 and 1 in batches of at most 2
    assert fleet.operations()[-1].checkpoint["created"] == 7


def test_no_workflows_at_all_are_a_complete_inventory(fleet: FleetUnderTest) -> None:
    result = fleet["prod"].sync()
    assert (result.seen, result.missing, result.errors) == (0, 0, 0)
    assert fleet["prod"].row.last_sync_at is not None


def test_activation_tags_and_archiving_are_changes(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.create_in_n8n(workflow("A"))
    prod.sync()
    prod.activate_in_n8n(one)
    assert prod.sync().updated == 1 and prod.mapping(one).active
    prod.tag_in_n8n(one, "billing", "urgent")
    assert prod.sync().updated == 1 and prod.mapping(one).tags == ["billing", "urgent"]
    prod.tag_in_n8n(one, "billing")
    assert prod.sync().updated == 1 and prod.mapping(one).tags == ["billing"]
    prod.archive_in_n8n(one)
    assert prod.sync().updated == 1
    assert prod.mapping(one).archived and not prod.mapping(one).active
    assert prod.sync().unchanged == 1


def test_a_change_of_bookkeeping_alone_is_none(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.create_in_n8n(workflow("A"))
    prod.sync()
    prod.edit_in_n8n(one, staticData={"lastId": 7})
    assert prod.sync().unchanged == 1


def test_content_that_n8n_changed_without_touching_its_date_is_found(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.create_in_n8n(workflow("A"))
    prod.sync()
    record = prod.raw(one)
    updated_at = record.updated_at
    prod.edit_in_n8n(one)
    record.updated_at = updated_at
    record.touched()
    assert prod.sync().updated == 1


def test_what_runs_of_an_active_workflow_is_its_published_version(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.create_in_n8n(workflow("A", active=True))
    prod.sync()
    published = prod.mapping(one).live_hash
    prod.edit_in_n8n(one, "draft only", publish=False)
    assert prod.sync().updated == 1
    row = prod.mapping(one)
    assert row.live_hash == published and row.draft_hash != published and row.draft_digest != row.live_digest


def test_an_inactive_workflow_is_its_draft(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.create_in_n8n(workflow("A"))
    prod.sync()
    prod.edit_in_n8n(one)
    prod.sync()
    assert prod.mapping(one).live_hash == prod.mapping(one).draft_hash


def test_n8n_1_is_read_by_the_same_rules(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("prod",), generation=1)
    (one,) = fleet["prod"].create_in_n8n(workflow("A", active=True))
    assert fleet["prod"].sync().created == 1
    assert fleet["prod"].mapping(one).active
    assert fleet["prod"].sync().unchanged == 1


# -- odd workflows -----------------------------------------------------------------------------------------------------


def test_a_malformed_workflow_is_recorded_with_its_id_and_the_others_go_on(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    good, bad, also_good = prod.create_in_n8n(workflow("A"), workflow("B"), workflow("C"))
    with prod.sandbox.state.lock:
        prod.raw(bad).draft.nodes = b'[{"type": "no.name"}]'
        prod.sandbox.state.changed(prod.raw(bad))
    result = prod.sync()
    assert (result.seen, result.created, result.errors, result.errors_by_kind) == (3, 2, 1, {"malformed_workflow": 1})
    (problem,) = result.problems
    assert problem["workflow_id"] == bad and bad in problem["message"] and "no name" in problem["message"]
    assert set(prod.mappings()) == {good, also_good}
    assert fleet.operations()[-1].metrics["problems"][0]["workflow_id"] == bad


def test_a_workflow_that_becomes_malformed_keeps_its_last_state_and_is_not_missing(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.create_in_n8n(workflow("A"))
    prod.sync()
    with prod.sandbox.state.lock:
        prod.raw(one).draft.nodes = b"[7]"
        prod.sandbox.state.changed(prod.raw(one))
    result = prod.sync()
    assert (result.errors, result.missing, result.untracked) == (1, 0, 1)
    events = len(fleet.events())
    assert prod.sync().errors == 1
    assert len(fleet.events()) == events  # looking again is no event


ODD_NAMES = ["🚀 launch", "مرحبا بالعالم", "a\x00b", "lone \ud800 surrogate", "", "  spaces  ", "line\nbreak", "x" * 300]


@pytest.mark.parametrize("name", ODD_NAMES, ids=lambda name: ascii(name)[:20])
def test_any_name_is_stored_and_is_unchanged_the_next_time(fleet: FleetUnderTest, name: str) -> None:
    prod = fleet["prod"]
    document = workflow("placeholder", text=f"says {name}")
    (one,) = prod.create_in_n8n({**document, "name": name})
    prod.tag_in_n8n(one, "🏷️", "tag \x00 odd")
    first = prod.sync()
    assert (first.created, first.errors) == (1, 0)
    second = prod.sync()
    assert (second.unchanged, second.updated) == (1, 0)
    prod.edit_in_n8n(one)
    assert prod.sync().updated == 1
    assert fleet.chain_verifies()


def test_a_workflow_of_five_megabytes_is_read(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.create_in_n8n(workflow("big", text="long text " * 500_000), workflow("small"))
    assert prod.sync().created == 2
    assert prod.sync().unchanged == 2


def test_duplicate_names_are_different_workflows(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    ids = prod.create_in_n8n(*(workflow("Same") for _ in range(3)))
    assert prod.sync().created == 3
    prod.edit_in_n8n(ids[0])
    assert prod.sync().updated == 1
    assert len(prod.mappings()) == 3


def test_odd_contents_are_workflows_like_others(fleet: FleetUnderTest) -> None:
    twins = workflow("twins")
    twins["nodes"][1]["name"] = "Start"  # two nodes of one name
    dangling = workflow("dangling", connections={"Nobody": {"main": [[{"node": "Nowhere", "type": "main", "index": 0}]]}})
    null = workflow("null")
    null["nodes"][1]["parameters"] = None
    unknown = workflow("unknown")
    unknown["nodes"][1]["type"] = "community-nodes.not-installed"
    fleet["prod"].create_in_n8n(twins, dangling, null, unknown)
    result = fleet["prod"].sync()
    assert (result.created, result.errors) == (4, 0)
    assert fleet["prod"].sync().unchanged == 4


# -- what is no inventory ----------------------------------------------------------------------------------------------


def test_a_listing_cut_off_in_the_middle_marks_nothing_missing_and_keeps_what_it_stored(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    fleet.with_limits(page_size=2, batch_size=2)
    known = prod.create_in_n8n(*(workflow(f"W{n}") for n in range(4)))
    prod.sync()
    prod.delete_in_n8n(known[0])
    prod.create_in_n8n(*(workflow(f"N{n}", id=f"000{n}") for n in range(2)))  # on the first page
    prod.sandbox.faults.cut_listing(after_page=1)
    with pytest.raises(IncompleteRead):
        prod.sync()
    assert {"0000", "0001"} <= set(prod.mappings())  # the first page was stored
    assert all(row.missing_at is None for row in prod.mappings().values())
    operation = fleet.operations()[-1]
    assert (operation.state, operation.error_kind) == ("failed", "incomplete_read")
    prod.sandbox.faults.clear()
    result = prod.sync()
    assert (result.created, result.missing) == (0, 1)


@pytest.mark.parametrize(("fault", "options", "expected"), [
    ("refuse", {}, Refused),
    ("forbid", {}, Refused),
    ("html", {}, NotN8n),
    ("wrong_json", {}, NotN8n),
    ("redirect", {}, NotN8n),
    ("status", {"status": 500}, OutsideError),
    ("status", {"status": 502, "html": True}, Unreachable),
    ("status", {"status": 503}, Unreachable),
    ("reset", {}, Unreachable),
])
def test_an_n8n_that_does_not_answer_as_one_is_an_error_and_changes_nothing(
        fleet: FleetUnderTest, fault: str, options: dict[str, object], expected: type[WfopsError]) -> None:
    prod = fleet["prod"]
    (one,) = prod.create_in_n8n(workflow("A"))
    prod.sync()
    before = prod.mapping(one), prod.row.last_sync_at, len(fleet.events())
    prod.sandbox.faults.add(fault, **options)
    with pytest.raises(expected) as raised:
        prod.sync()
    assert prod.sandbox.api_key not in str(raised.value)
    assert raised.value.exit_code != 0
    assert (prod.mapping(one), prod.row.last_sync_at, len(fleet.events())) == before
    assert fleet.operations()[-1].error_kind == raised.value.kind
    prod.sandbox.faults.clear()
    assert prod.sync().unchanged == 1  # the lease was given back


def test_an_empty_page_in_place_of_the_listing_is_checked_by_asking_for_each(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.create_in_n8n(workflow("A"), workflow("B"))
    prod.sync()
    prod.sandbox.faults.add("empty", path="/workflows$")
    result = prod.sync()
    assert (result.missing, result.unchanged) == (0, 2)


def test_an_environment_that_nobody_answers_for_is_unreachable(fleet: FleetUnderTest) -> None:
    fleet.declared("prod")["url"] = "http://127.0.0.1:9"
    fleet.apply()
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
        fleet["prod"].sync()
