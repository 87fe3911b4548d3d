"""Drift, Git ↔ n8n (§9): what differs, what that makes of the environment, and what is remembered of it."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from wfops_pipelines.domain.errors import OperationRunning
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.services.detect_drift import check_drift
from wfops_pipelines.services.operations import run_operation
from wfops_pipelines_tests.services.fleet import Environment, FleetUnderTest, NewFleet, file_bytes, run, workflow


def history(environment: Environment) -> list[Any]:
    """Checks, oldest first."""
    rows: list[Any] = environment.fleet.reading(lambda work: work.drift.checks(environment.row.id))
    return rows[::-1]


def the_file(environment: Environment) -> tuple[str, dict[str, Any]]:
    """The only file of the folder: its path and its document."""
    ((path, data),) = environment.files().items()
    return path, json.loads(data)


# -- kinds -----------------------------------------------------------------------------------------------------------------


def test_an_edit_in_n8n_is_modified_and_taking_it_back_is_in_sync(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    ids = prod.in_sync(workflow("A", text="right"), workflow("B"))
    prod.edit_in_n8n(ids[0], "wrong")
    check = prod.check()
    assert (check.status, check.drifted) == ("DRIFT_DETECTED", True)
    (drift,) = check.workflows
    assert (drift["name"], drift["kind"], drift["kinds"], drift["workflow_id"]) == ("A", "modified", ["modified"], ids[0])
    assert drift["runtime_hash"] != drift["git_hash"]
    assert drift["path"] == "prod/workflows/a.json"
    prod.edit_in_n8n(ids[0], "right")
    check = prod.check()
    assert (check.status, check.workflows) == ("IN_SYNC", [])


def test_an_edit_in_git_is_modified_too(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.in_sync(workflow("A"))
    path, document = the_file(prod)
    document["nodes"][1]["parameters"]["text"] = "from Git"
    prod.push_files({path: json.dumps(document).encode()})
    assert prod.kinds() == {"A": "modified"}


def test_a_workflow_made_in_n8n_is_added_in_runtime(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.in_sync(workflow("A"))
    (new,) = prod.create_in_n8n(workflow("New"))
    check = prod.check()
    assert prod.kinds(check) == {"New": "added_in_runtime"}
    assert (check.workflows[0]["workflow_id"], check.workflows[0]["path"]) == (new, None)


def test_a_workflow_deleted_in_n8n_is_missing_in_runtime(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A"))
    prod.delete_in_n8n(one)
    check = prod.check()
    assert prod.kinds(check) == {"A": "missing_in_runtime"}
    assert (check.workflows[0]["workflow_id"], check.workflows[0]["path"]) == (None, "prod/workflows/a.json")


def test_an_archived_workflow_is_not_live(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A"))
    prod.create_in_n8n(workflow("Never in Git", isArchived=True))
    prod.archive_in_n8n(one)
    assert prod.kinds() == {"A": "missing_in_runtime"}


def test_an_activation_that_git_does_not_want_is_drift(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A", active=True))
    prod.activate_in_n8n(one, False)
    check = prod.check()
    assert prod.kinds(check) == {"A": "activation"}
    assert (check.workflows[0]["active"], check.workflows[0]["wants_active"]) == (False, True)


def test_a_file_that_does_not_say_wants_no_activation(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.create_in_n8n(workflow("A", active=True))
    prod.push_workflow("a.json", workflow("A", id=one))
    assert prod.check().status == "IN_SYNC"


def test_a_draft_left_unpublished_is_listed_and_is_no_drift(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A", active=True))
    prod.edit_in_n8n(one, "first draft", publish=False)
    check = prod.check()
    assert (check.status, check.drifted, prod.kinds(check)) == ("IN_SYNC", False, {"A": "unpublished_changes"})
    assert (check.counts["drifted"], check.counts["kinds"]["unpublished_changes"]) == (0, 1)
    prod.edit_in_n8n(one, "second draft", publish=False)
    (drift,) = prod.check().workflows
    assert "second draft" in json.dumps(drift["diff"])
    assert fleet.reading(lambda work: work.drift.of_environment(prod.row.id))[0].diff == drift["diff"]


def test_the_first_kind_that_holds_is_the_main_one(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A", active=False))
    prod.edit_in_n8n(one, "edited")
    prod.activate_in_n8n(one)
    prod.edit_in_n8n(one, "edited once more", publish=False)
    (drift,) = prod.check().workflows
    assert (drift["kind"], drift["kinds"]) == ("modified", ["modified", "activation", "unpublished_changes"])


def test_names_match_only_unlinked_workflows_whose_name_is_unique(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.push_files({"one.json": file_bytes(workflow("One", text="in Git")), "two-a.json": file_bytes(workflow("Two")),
                     "two-b.json": file_bytes(workflow("Two", text="b"))})
    prod.create_in_n8n(workflow("One", text="in n8n"), workflow("Two", text="c"))
    kinds = sorted((w["name"], w["kind"]) for w in prod.check().workflows)
    assert kinds == [("One", "modified"), ("Two", "added_in_runtime"), ("Two", "missing_in_runtime"), ("Two", "missing_in_runtime")]


def test_cosmetic_changes_are_no_drift(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A"))
    nodes = prod.raw(one).draft.node_list
    nodes[1]["position"] = [900, 900]
    nodes.append({"id": "n", "name": "Note", "type": "n8n-nodes-base.stickyNote", "typeVersion": 1, "position": [0, 0],
                  "parameters": {"content": "a note"}})
    prod.edit_in_n8n(one, nodes=nodes)
    assert prod.check().status == "IN_SYNC"


# -- the status of the environment ---------------------------------------------------------------------------------------


def test_without_a_repository_the_status_is_unknown(new_fleet: NewFleet) -> None:
    prod = new_fleet(git=False)["prod"]
    check = prod.check()
    assert (check.status, check.reason, check.workflows) == ("UNKNOWN", "not_configured", [])
    assert (prod.row.drift_status, prod.row.drift_reason) == ("UNKNOWN", "not_configured")


def test_what_was_never_under_git_is_untracked(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.create_in_n8n(workflow("A"))
    check = prod.check()
    assert (check.status, check.workflows, check.counts["workflows"], check.counts["drifted"]) == ("UNTRACKED", [], 1, 0)


def test_a_single_file_even_a_broken_one_puts_an_environment_under_git(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.create_in_n8n(workflow("A"))
    prod.push_files({"broken.json": b"{"})
    check = prod.check()
    assert (check.status, prod.kinds(check)) == ("DRIFT_DETECTED", {"A": "added_in_runtime"})


def test_a_check_names_the_files_that_it_could_not_read(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.in_sync(workflow("A"))
    prod.push_files({"workflows/a.json": b"{"})
    for check in (prod.check(), prod.compare()):
        assert (check.status, [(p["path"], p["reason"]) for p in check.problems]) == (
            "IN_SYNC", [("prod/workflows/a.json", "invalid_json")])
        assert check.as_json()["problems"] == check.problems


def test_a_check_says_what_of_an_unreadable_file_or_workflow_was_compared(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (known,) = prod.in_sync(workflow("A"))
    path, _ = the_file(prod)
    keyed = json.dumps({**workflow("X"), "wfops": {"canonical_id": str(uuid.UUID(int=7))}}).encode()
    prod.push_files({path: b"{", "never.json": b"{", "x.json": keyed, "x-2.json": keyed})
    (never,) = prod.create_in_n8n(workflow("N"))
    for workflow_id in (known, never):
        with prod.sandbox.state.lock:
            prod.raw(workflow_id).draft.nodes = b'[{"type": "no.name"}]'
            prod.sandbox.state.changed(prod.raw(workflow_id))
    counts = {p.get("path") or p["workflow_id"]: p["counts"] for p in prod.check().problems}
    assert counts == {f"prod/{path}": "last", "prod/never.json": "nothing", "prod/x.json": "now", known: "last",
                      never: "nothing"}


def test_files_that_all_go_away_leave_drift_behind_not_untracked(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.in_sync(workflow("A"))
    path, _ = the_file(prod)
    prod.push_files({path: None})
    assert prod.kinds() == {"A": "added_in_runtime"}


def test_unlinking_hides_no_drift(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A"))
    prod.edit_in_n8n(one)
    prod.set_mapping(one, canonical_id=None, status="untracked", unlinked_reason="by_hand")
    check = prod.check()
    assert (check.status, prod.kinds(check)) == ("DRIFT_DETECTED", {"A": "modified"})
    assert prod.mapping(one).status == "untracked"  # and nothing links it again


def test_ignored_workflows_are_left_out_and_counted(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    ids = prod.in_sync(workflow("A"), workflow("B"), workflow("C"))
    for one in ids[:2]:
        prod.set_mapping(one, ignored_at=fleet.clock.now(), status="ignored")
    prod.edit_in_n8n(ids[0])
    prod.delete_in_n8n(ids[1])
    check = prod.check()
    assert (check.status, check.workflows, check.counts["ignored"]) == ("IN_SYNC", [], 2)


@pytest.mark.parametrize(("fault", "kind"), [("refuse", "refused"), ("reset", "unreachable"), ("html", "not_n8n")])
def test_an_n8n_that_cannot_be_read_is_an_error_with_the_last_good_status(fleet: FleetUnderTest, fault: str, kind: str) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A"))
    prod.edit_in_n8n(one)
    good = prod.check()
    rows = fleet.reading(lambda work: work.drift.of_environment(prod.row.id))
    prod.sandbox.faults.add(fault)
    check = prod.check()
    assert (check.status, check.reason) == ("ERROR", kind)
    assert check.error is not None and check.repository is not None and check.inventory is None
    assert (check.last_good_status, check.last_good_at) == ("DRIFT_DETECTED", good.last_good_at)
    row = prod.row
    assert (row.drift_status, row.drift_reason, row.last_good_drift_status) == ("ERROR", kind, "DRIFT_DETECTED")
    assert row.drift_error and prod.sandbox.api_key not in row.drift_error
    assert fleet.reading(lambda work: work.drift.of_environment(row.id)) == rows  # what was known stays visible
    assert fleet.operations()[-1].state == "failed"
    prod.sandbox.faults.clear()
    assert prod.check().status == "DRIFT_DETECTED"
    assert prod.row.drift_error is None
    assert fleet.reading(lambda work: work.drift.of_environment(row.id)) == rows


def test_a_branch_that_is_gone_is_an_error_not_a_folder_without_files(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.in_sync(workflow("A"))
    fleet.repository.git("update-ref", "-d", "refs/heads/main")
    check = prod.check()
    assert (check.status, check.reason, check.workflows) == ("ERROR", "not_found", [])


def test_a_folder_that_is_a_file_is_an_error_of_the_check(fleet: FleetUnderTest) -> None:
    fleet.repository.commit({"prod": b"I am a file"})
    check = fleet["prod"].check()
    assert (check.status, check.reason) == ("ERROR", "malformed_file")


def test_a_listing_cut_off_is_an_error_not_missing_workflows(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    fleet.with_limits(page_size=1)
    prod.in_sync(workflow("A"), workflow("B"))
    prod.sandbox.faults.cut_listing(after_page=1)
    assert (prod.check().reason, prod.row.drift_status) == ("incomplete_read", "ERROR")


def test_a_check_while_another_operation_runs_is_refused_and_says_nothing(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]

    async def both() -> None:
        async with run_operation(fleet.services, fleet.context, OperationKind.EXPORT, prod.row):
            with pytest.raises(OperationRunning):
                await check_drift(fleet.services, fleet.context, prod.row)
    run(both())
    assert (prod.row.last_drift_check_at, history(prod)) == (None, [])


# -- what is remembered ----------------------------------------------------------------------------------------------------


def test_equal_scheduled_checks_in_a_row_are_one_entry_with_both_times(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A"))  # a manual check
    for _ in range(3):
        fleet.clock.pass_time(minutes=5)
        prod.check("scheduled")
    prod.check("manual")
    prod.edit_in_n8n(one)
    prod.check("scheduled")
    prod.check("scheduled")
    entries = history(prod)
    assert [(e.type, e.status, e.checks) for e in entries] == [
        ("manual", "IN_SYNC", 1), ("scheduled", "IN_SYNC", 3), ("manual", "IN_SYNC", 1), ("scheduled", "DRIFT_DETECTED", 2)]
    assert (entries[1].last_at - entries[1].first_at).total_seconds() > 590


def test_an_event_tells_of_a_change_and_not_of_a_look(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A"))
    changes = len(fleet.events("drift.changed"))
    assert not prod.check().changed
    prod.edit_in_n8n(one)
    assert prod.check().changed
    assert not prod.check().changed
    assert len(fleet.events("drift.changed")) == changes + 1
    event = fleet.events("drift.changed")[-1]
    assert (event.details["status"], event.details["workflows"][0]["kind"]) == ("DRIFT_DETECTED", "modified")
    assert fleet.chain_verifies()


def test_drift_that_goes_on_keeps_its_beginning(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    ids = prod.in_sync(workflow("A"), workflow("B"))
    prod.edit_in_n8n(ids[0], "first")
    (first,) = prod.check().workflows
    fleet.clock.pass_time(hours=1)
    prod.edit_in_n8n(ids[0], "second")
    prod.edit_in_n8n(ids[1])
    a, b = prod.check().workflows
    assert a["since"] == first["since"] < b["since"]
    assert a["runtime_hash"] != first["runtime_hash"]


def test_the_diff_is_stored_with_secrets_masked(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A", text="hello"))
    prod.edit_in_n8n(one, node=("Say", {"text": "bye", "apiKey": "sk_live_0123456789abcdef0123456789"}))
    (drift,) = prod.check().workflows
    stored = fleet.reading(lambda work: work.drift.of_environment(prod.row.id))[0].diff
    assert stored == drift["diff"]
    text = json.dumps(stored)
    assert "hello" in text and "bye" in text and "sk_live_0123456789abcdef" not in text


def test_names_that_postgresql_cannot_hold_drift_like_others(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("nul \x00 and \ud800", text="x\x00y"))
    prod.edit_in_n8n(one, "z\x00\udfff")
    assert [w["kind"] for w in prod.check().workflows] == ["modified"]
    assert not prod.check().changed


def test_comparing_what_is_stored_asks_nobody_and_tells_how_old_it_is(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A"))
    prod.edit_in_n8n(one)
    synced = prod.row.last_sync_at
    requests = fleet.host.requests[prod.url.rpartition("/")[2]]
    requests.clear()
    fleet.clock.pass_time(hours=2)
    check = prod.compare()
    assert (check.status, check.last_sync_at, requests) == ("IN_SYNC", synced.isoformat(), [])


def test_a_check_is_one_operation_with_its_steps(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.in_sync(workflow("A"))
    check = prod.check()
    steps = fleet.reading(lambda work: work.operations.steps(uuid.UUID(check.operation_id)))
    assert [(s.name, s.state) for s in steps] == [("repository", "completed"), ("environment", "completed"),
                                                  ("comparison", "completed")]
    assert prod.row.last_drift_check_at is not None


def test_linking_what_was_added_shows_at_once(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.in_sync(workflow("A"))
    (new,) = prod.create_in_n8n(workflow("New"))
    prod.check()
    canonical = uuid.uuid4()
    row = prod.mapping(new)
    fleet.writing(lambda work: (work.mappings.save_canonicals({canonical: "New"}, fleet.clock.now()),
                                work.mappings.change(row.id, canonical_id=canonical, status="linked")))
    prod.check()
    (stored,) = fleet.reading(lambda work: work.drift.of_environment(prod.row.id))
    assert stored.canonical_id == canonical
