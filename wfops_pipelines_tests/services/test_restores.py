"""Restoring an environment from a snapshot, whole and in part, on a sandbox and a real repository (§13)."""

from __future__ import annotations

from typing import Any

import pytest

from wfops_pipelines.domain.errors import Blocked, UnknownSnapshot, UnknownWorkflow
from wfops_pipelines.domain.snapshot import diff_snapshots
from wfops_pipelines_tests.services.fleet import Environment, NewFleet, calling, workflow
from wfops_pipelines_tests.services.promotions import by_name, held, roll_back, told
from wfops_pipelines_tests.services.restores import actions, ask, restorable, restorable_fleet, restore
from wfops_pipelines_tests.services.snapshots import held as held_by
from wfops_pipelines_tests.services.snapshots import snapshot


def said(environment: Environment, name: str) -> str:
    """What runs."""
    record = environment.raw(by_name(environment)[name])
    text: str = next(n["parameters"]["text"] for n in (record.live or record.draft).node_list if n["name"] == "Say")
    return text


def test_an_environment_is_restored_whole(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(restorable_fleet)["prod"]
    edited, deleted, kept = prod.in_sync(workflow("Edited"), workflow("Deleted"), workflow("Kept"))
    for each in (edited, deleted):
        prod.activate_in_n8n(each)
    prod.tag_in_n8n(edited, "finance")
    prod.sync()
    prod.export()
    before = snapshot(prod)
    was = held(prod)
    prod.edit_in_n8n(edited, "worse")
    prod.activate_in_n8n(edited, False)
    prod.tag_in_n8n(edited, "other")
    prod.delete_in_n8n(deleted)
    (new,) = prod.create_in_n8n(workflow("New"))
    done = restore(prod, before)
    assert done.status == "completed" and done.kind == "restore", done
    assert actions(done) == {"Edited": "update", "Deleted": "create"}
    assert done.source == f"snapshot {before.snapshot_id}" and done.target == "prod"
    now = held(prod)
    assert now[edited] == was[edited] and now[kept] == was[kept]
    assert new in now and not prod.raw(new).archived
    again = by_name(prod)["Deleted"]
    assert again != deleted and now[again] == was[deleted]
    assert [prod.sandbox.state.tags[i].name for i in prod.raw(edited).tag_ids] == ["finance"]
    assert prod.mapping(again).canonical_id is not None
    assert done.commit is not None and [each["name"] for each in prod.check().workflows] == ["New"]
    after = snapshot(prod)
    left = [(each.name, set(each.changes)) for each in diff_snapshots(held_by(prod, before).workflows,
                                                                      held_by(prod, after).workflows)]
    assert left == [("Deleted", {"replaced"}), ("New", {"added"})]
    assert prod.fleet.chain_verifies()


def test_a_second_restore_writes_nothing(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(restorable_fleet)["prod"]
    (one,) = prod.in_sync(workflow("One"))
    before = snapshot(prod)
    prod.edit_in_n8n(one)
    restore(prod, before)
    again = ask(prod, before)
    assert again.status == "unchanged" and again.number is None and "nothing is written" in again.notes[0]


def test_a_dry_run_begins_nothing(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(restorable_fleet)["prod"]
    (one,) = prod.in_sync(workflow("One"))
    before = snapshot(prod)
    prod.edit_in_n8n(one)
    now = held(prod)
    planned = ask(prod, before, dry_run=True)
    assert planned.status == "approved" and planned.number is None and planned.plan["counts"]["update"] == 1
    assert held(prod) == now and "One" in planned.text
    with pytest.raises(Blocked, match="something else by now"):
        ask(prod, before, checksum="0" * 12)
    assert ask(prod, before, checksum=planned.checksum).status == "approved"


def test_chosen_workflows_are_restored_alone(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(restorable_fleet)["prod"]
    one, two = prod.in_sync(workflow("One"), workflow("Two"))
    before = snapshot(prod)
    prod.edit_in_n8n(one, "x")
    prod.edit_in_n8n(two, "y")
    assert actions(restore(prod, before, workflows=("One",))) == {"One": "update"}
    assert (said(prod, "One"), said(prod, "Two")) == ("hello", "y")
    with pytest.raises(UnknownWorkflow, match="Nothing"):
        ask(prod, before, workflows=("Nothing",))


def test_what_a_chosen_workflow_calls_and_is_gone_comes_along_under_its_new_id(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(restorable_fleet)["prod"]
    called, other = prod.in_sync(workflow("Called"), workflow("Other"))
    prod.activate_in_n8n(called)
    (caller,) = prod.create_in_n8n(calling("Caller", called))
    prod.activate_in_n8n(caller)
    prod.sync()
    prod.export()
    before = snapshot(prod)
    for each in (caller, called, other):
        prod.delete_in_n8n(each)
    done = restore(prod, before, workflows=("Caller",), with_needs=False)
    assert actions(done) == {"Called": "create", "Caller": "create"}
    ids = by_name(prod)
    assert "Other" not in ids and ids["Called"] != called
    record = prod.raw(ids["Caller"])
    assert record.live.node_list[2]["parameters"]["workflowId"]["value"] == ids["Called"]


def test_a_caller_that_stayed_follows_what_it_calls(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(restorable_fleet)["prod"]
    (called,) = prod.in_sync(workflow("Called"))
    (caller,) = prod.create_in_n8n(calling("Caller", called))
    prod.sync()
    prod.export()
    before = snapshot(prod)
    prod.delete_in_n8n(called)
    done = restore(prod, before)
    ids = by_name(prod)
    assert actions(done)["Called"] == "create" and ids["Caller"] == caller
    assert prod.raw(caller).draft.node_list[2]["parameters"]["workflowId"]["value"] == ids["Called"]
    assert ask(prod, before).status == "unchanged"


def test_prune_archives_what_came_since_and_what_was_archived(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(restorable_fleet)["prod"]
    one, old = prod.in_sync(workflow("One"), workflow("Old"))
    prod.archive_in_n8n(old)
    prod.sync()
    prod.export(prune=True)
    before = snapshot(prod)
    with prod.sandbox.state.lock:
        prod.raw(old).archived = False
        prod.sandbox.state.changed(prod.raw(old))
    (new,) = prod.create_in_n8n(workflow("New"))
    prod.archive_in_n8n(one)
    prod.sync()
    assert actions(restore(prod, before)) == {"One": "unarchive"}
    assert not prod.raw(one).archived and not prod.raw(old).archived and not prod.raw(new).archived
    done = restore(prod, before, prune=True)
    assert actions(done) == {"Old": "archive", "New": "archive"}
    assert prod.raw(old).archived and prod.raw(new).archived
    assert prod.check().status == "IN_SYNC"


def test_untracked_workflows_are_restored_and_stay_untracked(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(restorable_fleet)["prod"]
    prod.in_sync(workflow("Tracked"))
    edited, deleted = prod.create_in_n8n(workflow("Edited"), workflow("Deleted"))
    before = snapshot(prod)
    prod.edit_in_n8n(edited, "x")
    prod.delete_in_n8n(deleted)
    done = restore(prod, before)
    assert actions(done) == {"Edited": "update", "Deleted": "create"}
    assert said(prod, "Edited") == "hello" and "Deleted" in by_name(prod)
    assert {prod.mapping(by_name(prod)[name]).status for name in ("Edited", "Deleted")} == {"untracked"}
    assert len(prod.files()) == 1
    assert ask(prod, before).status == "unchanged"  # what was created anew is known by its new id
    between = snapshot(prod)
    prod.delete_in_n8n(by_name(prod)["Deleted"])
    assert actions(restore(prod, between)) == {"Deleted": "create"}
    assert ask(prod, before).status == "unchanged" and ask(prod, between).status == "unchanged"


def test_a_draft_is_told_and_what_ran_is_restored(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(restorable_fleet)["prod"]
    (one,) = prod.in_sync(workflow("One"))
    prod.activate_in_n8n(one)
    prod.edit_in_n8n(one, "draft", publish=False)
    before = snapshot(prod)
    prod.edit_in_n8n(one, "published")
    planned = ask(prod, before, dry_run=True)
    (change,) = [each for each in planned.plan["changes"] if each["action"] == "update"]
    assert change["notes"] == ["the snapshot has changes that were not published: what ran is restored, and not they"]
    restore(prod, before)
    assert said(prod, "One") == "hello"


def test_what_n8n_refuses_is_undone(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(restorable_fleet)["prod"]
    one, two = prod.in_sync(workflow("One"), workflow("Two"))
    before = snapshot(prod)
    prod.edit_in_n8n(one, "x")
    prod.edit_in_n8n(two, "y")
    was = held(prod)
    prod.sandbox.faults.add("status", method="PUT", path=f"/workflows/{two}$", status=400)
    with pytest.raises(Exception, match="400"):
        restore(prod, before)
    prod.sandbox.faults.clear()
    assert held(prod) == was and told(prod.fleet, 1).status == "rolled_back"
    assert restore(prod, before).status == "completed"


def test_a_restore_is_rolled_back_like_a_promotion(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(restorable_fleet)["prod"]
    one, two = prod.in_sync(workflow("One"), workflow("Two"))
    before = snapshot(prod)
    prod.edit_in_n8n(one, "x")
    prod.delete_in_n8n(two)
    prod.check()
    prod.export(prune=True)
    was = held(prod)
    done = restore(prod, before)
    back = roll_back(prod.fleet, done.number or 0)
    assert back.status == "rolled_back" and back.drift_status == "IN_SYNC"
    assert held(prod)[one] == was[one] and "Two" not in by_name(prod)


def test_production_is_restored_only_where_it_may_be_written_to(new_fleet: NewFleet) -> None:
    prod = new_fleet()["prod"]
    (one,) = prod.in_sync(workflow("One"))
    before = snapshot(prod)
    prod.edit_in_n8n(one)
    planned = ask(prod, before, dry_run=True)
    assert planned.plan["counts"]["update"] == 1
    assert planned.status == "blocked" and "allow_production" in (planned.reason or "")
    with pytest.raises(Blocked, match="allow_production"):
        ask(prod, before)


def test_a_snapshot_of_another_environment_is_refused(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "prod"))
    of_dev = snapshot(fleet["dev"])
    with pytest.raises(UnknownSnapshot, match="acme/prod has no snapshot"):
        ask(fleet["prod"], of_dev, dry_run=True)


def test_a_large_restore_needs_a_reason(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(restorable_fleet)["prod"]
    ids = prod.in_sync(*(workflow(f"W{number}") for number in range(10)))
    before = snapshot(prod)
    for each in ids[:4]:
        prod.edit_in_n8n(each)
    blocked = ask(prod, before)
    assert blocked.status == "blocked" and "30 %" in (blocked.reason or "")
    assert restore(prod, before, allow_large="bad night").status == "completed"


@pytest.mark.parametrize(("mode", "options", "status"), [
    ("warn_only", {}, "approved"), ("manual_override", {}, "blocked"),
    ("manual_override", {"override_reason": "bad night"}, "approved"), ("require_attestation", {}, "blocked")])
def test_the_targets_own_rules_for_drift_stay_in_force(new_fleet: NewFleet, mode: str, options: dict[str, Any],
                                                       status: str) -> None:
    prod = restorable(new_fleet, drift_policy={"block_on_active_drift": True, "auto_create_incidents": True})
    prod.fleet.declared("prod")["drift_handling_mode"] = mode
    prod.fleet.apply()
    (one,) = prod.in_sync(workflow("One"))
    before = snapshot(prod)
    prod.edit_in_n8n(one)
    report = ask(prod, before, dry_run=True, **options)
    assert report.status == status, report.reason
