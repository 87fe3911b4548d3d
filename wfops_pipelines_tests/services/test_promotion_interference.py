"""Somebody else is at work while a promotion is carried out (§11.5-§11.8): nothing of theirs is overwritten, nothing mixes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import Blocked, ChangedMeanwhile, OperationRunning, Rejected, WfopsError
from wfops_pipelines.services.promotion_execution import execute_promotion
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, calling, with_credential, workflow
from wfops_pipelines_tests.services.promotion_histories import edit_two
from wfops_pipelines_tests.services.promotions import (
    by_name,
    execute,
    held,
    promote,
    promoting_fleet,
    request,
    told,
)

CREDENTIALS = [{"key": "stripe", "type": "httpBasicAuth", "environments": {
    "dev": {"name": "stripe-test"}, "prod": {"name": "stripe-live"}}}]


def two_edited(new_fleet: NewFleet, **options: Any) -> FleetUnderTest:
    """One and Two are in prod, and edited in dev; Three is new. The promotion of all that is approved, as number 2."""
    fleet = promoting_fleet(new_fleet, ("dev", "prod"), credentials=CREDENTIALS, **options)
    fleet["dev"].sandbox.state.seed_credential("stripe-test", "httpBasicAuth", id="c1")
    fleet["prod"].sandbox.state.seed_credential("stripe-live", "httpBasicAuth", id="live")
    return edit_two(fleet, with_credential("One", "stripe-test", active=True))


def not_atomic(new_fleet: NewFleet) -> FleetUnderTest:
    """The same where a workflow that fails does not take the others with it."""
    return two_edited(new_fleet, atomic=False)


def when(monkeypatch: pytest.MonkeyPatch, name: str, nth: int, act: Callable[[], Any]) -> None:
    """Do something the nth time that a failpoint is passed."""
    real, left = failpoints.reach, [nth]

    def reach(passed: str) -> None:
        if passed == name:
            left[0] -= 1
            if left[0] == 0:
                act()
        real(passed)

    monkeypatch.setattr(failpoints, "reach", reach)


def says(fleet: FleetUnderTest, name: str) -> str:
    """What runs in prod."""
    record = fleet["prod"].raw(by_name(fleet["prod"])[name])
    text: str = record.live.node_list[1]["parameters"]["text"]
    return text


def test_a_target_edited_between_plan_and_execution_is_not_written(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(two_edited)
    fleet["prod"].edit_in_n8n(by_name(fleet["prod"])["Two"], "by hand")
    before = held(fleet["prod"])
    with pytest.raises(Blocked, match="not the one that was approved"):
        execute(fleet, 2)
    assert held(fleet["prod"]) == before and told(fleet, 2).status == "blocked"


def test_a_target_edited_between_two_writes_keeps_the_edit_and_everything_else_is_as_before(
        new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = new_fleet.as_left_by(two_edited)
    prod = fleet["prod"]
    ids = by_name(prod)
    when(monkeypatch, "runtime.record.after_commit", 2, lambda: prod.edit_in_n8n(ids["Two"], "by hand"))
    with pytest.raises(ChangedMeanwhile, match="Two"):
        execute(fleet, 2)
    assert (says(fleet, "One"), says(fleet, "Two")) == ("hello", "by hand")
    assert by_name(prod) == ids
    report = told(fleet, 2)
    assert report.status == "rolled_back" and not report.rollback_incomplete and prod.row.writes_blocked_at is None
    assert {w["name"]: w["kind"] for w in prod.check().workflows} == {"Two": "modified"}


def test_what_somebody_edits_after_it_was_written_is_not_undone_and_everybody_is_told(
        new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = new_fleet.as_left_by(two_edited)
    prod = fleet["prod"]
    ids = by_name(prod)

    def by_hand_and_down() -> None:
        prod.edit_in_n8n(ids["One"], "by hand")
        prod.sandbox.faults.add("status", method="PUT", path=f"/workflows/{ids['Two']}$", status=400)

    when(monkeypatch, "runtime.record.after_commit", 1, by_hand_and_down)
    with pytest.raises(WfopsError, match="One"):
        execute(fleet, 2)
    prod.sandbox.faults.clear()
    assert (says(fleet, "One"), says(fleet, "Two"), by_name(prod)) == ("by hand", "hello", ids)
    report = told(fleet, 2)
    assert report.status == "failed" and report.rollback_incomplete and prod.row.writes_blocked_at is not None
    prod.check()
    assert says(fleet, "One") == "by hand" and prod.row.writes_blocked_at is not None


@pytest.mark.parametrize("times", [1, 1000])
def test_a_head_of_git_that_moves_takes_nothing_back(new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch,
                                                     times: int) -> None:
    fleet = new_fleet.as_left_by(two_edited)
    fleet.push_meanwhile(monkeypatch, times)
    report = execute(fleet, 2)
    assert report.status == "completed" and report.drift_status == "IN_SYNC"
    assert report.git_status == ("committed" if times == 1 else "failed")
    monkeypatch.undo()
    assert fleet["prod"].check().status == "IN_SYNC"
    assert told(fleet, 2).git_status == "committed"
    assert len(fleet["prod"].files()) == 3


def test_credentials_that_are_gone_block_it(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(two_edited)
    fleet["prod"].sandbox.state.credentials.clear()
    before = held(fleet["prod"])
    with pytest.raises(Blocked, match="stripe-live"):
        execute(fleet, 2)
    assert held(fleet["prod"]) == before and told(fleet, 2).status == "blocked"


def test_of_writes_that_are_not_atomic_the_failing_ones_are_restored_and_the_rest_stays(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(not_atomic)
    prod = fleet["prod"]
    ids = by_name(prod)
    prod.sandbox.faults.add("status", method="PUT", path=f"/workflows/{ids['One']}$", status=400, times=1)
    report = execute(fleet, 2)
    assert report.status == "completed_with_errors" and "One" in (report.reason or "")
    assert {w["name"]: w["status"] for w in report.workflows} == {
        "One": "rolled_back", "Two": "success", "Three": "success"}
    assert (says(fleet, "One"), says(fleet, "Two"), says(fleet, "Three")) == ("hello", "better", "hello")
    assert report.git_status == "committed" and report.drift_status == "IN_SYNC"
    assert {name: i for name, i in by_name(prod).items() if name in ids} == ids
    assert promote(fleet).status == "completed"
    assert says(fleet, "One") == "better"


def test_a_new_workflow_that_cannot_be_made_takes_those_with_it_that_call_it_and_nothing_else(new_fleet: NewFleet) -> None:
    fleet = promoting_fleet(new_fleet, ("dev", "prod"), atomic=False)
    dev, prod = fleet["dev"], fleet["prod"]
    (called,) = dev.create_in_n8n(workflow("A called one", active=True))
    dev.create_in_n8n(calling("Caller", called, active=True), workflow("Lone", active=True))
    asked = request(fleet)
    prod.sandbox.faults.add("status", method="POST", path=r"/workflows$", status=400, times=1)
    report = execute(fleet, asked.number)
    assert report.status == "completed_with_errors"
    assert list(by_name(prod)) == ["Lone"]
    assert {w["name"]: w["status"] for w in report.workflows}["Lone"] == "success"
    assert fleet["prod"].check().status == "IN_SYNC"
    assert promote(fleet).status == "completed" and set(by_name(prod)) == {"A called one", "Caller", "Lone"}


# -- n8n goes away at a bad moment -------------------------------------------------------------------------------------


def test_what_was_written_before_n8n_went_away_is_settled_when_it_is_back_and_never_told_as_undone(
        new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = new_fleet.as_left_by(two_edited)
    prod = fleet["prod"]
    when(monkeypatch, "runtime.record.after_commit", 3, lambda: prod.sandbox.faults.add(
        "status", method="GET", path=r"/workflows$", status=500))
    with pytest.raises(WfopsError):
        execute(fleet, 2)
    assert told(fleet, 2).status == "running" and says(fleet, "One") == "better"
    assert prod.check().error is not None  # recovery cannot read it either
    assert told(fleet, 2).status == "running"
    prod.sandbox.faults.clear()
    assert prod.check().status == "IN_SYNC"
    assert told(fleet, 2).status == "completed"
    assert not fleet.reading(lambda work: work.journal.unfinished(prod.row.id))


def test_a_promotion_that_was_undone_by_a_process_that_died_before_it_said_so_is_rolled_back(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(two_edited)
    prod = fleet["prod"]
    before = held(prod)
    prod.sandbox.faults.add("status", method="PUT", path=f"/workflows/{by_name(prod)['Two']}$", status=400)
    failpoints.arm("promotion.failed.before_commit=raise")
    with pytest.raises(failpoints.FailpointReached):
        execute(fleet, 2)
    failpoints.disarm()
    prod.sandbox.faults.clear()
    assert held(prod) == before and told(fleet, 2).status == "running"
    prod.check()
    assert told(fleet, 2).status == "rolled_back" and "400" in (told(fleet, 2).reason or "")
    assert promote(fleet).status == "completed"


def test_a_promotion_that_is_interrupted_is_undone_and_says_so_at_once(
        new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = new_fleet.as_left_by(two_edited)
    before = held(fleet["prod"])

    async def interrupted() -> None:
        loop = asyncio.get_running_loop()
        context = fleet.services.context("acme", actor="local:ada")
        carried_out = asyncio.create_task(execute_promotion(fleet.services, context, 2))
        when(monkeypatch, "runtime.record.after_commit", 2, lambda: loop.call_soon_threadsafe(carried_out.cancel))
        await carried_out

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(interrupted())
    assert held(fleet["prod"]) == before
    report = told(fleet, 2)
    assert (report.status, report.reason) == ("rolled_back", "it was interrupted")
    assert {w["message"] for w in report.workflows if w["status"] == "rolled_back"} == {"it was interrupted"}


def test_the_incident_of_an_incomplete_rollback_stays_open_although_nothing_drifts(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(two_edited)
    prod = fleet["prod"]
    before = held(prod)
    prod.sandbox.faults.add("status", method="PUT", path=f"/workflows/{by_name(prod)['Two']}$", status=400)
    prod.sandbox.faults.add("status", method="DELETE", status=400)
    with pytest.raises(WfopsError, match="could not be restored"):
        execute(fleet, 2)
    prod.check()  # what is left over is nobody's yet, which is no drift
    assert fleet.reading(lambda work: work.incidents.open_of(prod.row.id)).severity == "critical"
    assert told(fleet, 2).rollback_incomplete and prod.row.writes_blocked_at is not None
    prod.sandbox.faults.clear()
    prod.check()
    assert held(prod) == before and told(fleet, 2).status == "rolled_back"
    assert fleet.reading(lambda work: work.incidents.open_of(prod.row.id)) is None and prod.row.writes_blocked_at is None


def test_a_new_workflow_that_nobody_can_look_for_is_named_without_an_id(
        new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = new_fleet.as_left_by(two_edited)
    faults = fleet["prod"].sandbox.faults
    when(monkeypatch, "runtime.intend.after_commit", 1, lambda: [
        faults.add("status", method=method, path=r"/workflows$", status=500) for method in ("POST", "GET")])
    with pytest.raises(WfopsError, match="could not be restored") as lost:
        execute(fleet, 2)
    assert "Three: " in str(lost.value) and "None" not in str(lost.value)
    faults.clear()
    assert fleet["prod"].check().status == "IN_SYNC" and told(fleet, 2).status in ("failed", "rolled_back")


def test_where_a_workflow_cannot_even_be_restored_the_rest_goes_back_too(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(not_atomic)
    prod = fleet["prod"]
    before = held(prod)
    prod.sandbox.faults.add("status", method="POST", path=r"/publish$", status=400)
    prod.sandbox.faults.add("status", method="DELETE", status=400)
    with pytest.raises(WfopsError, match="could not be restored"):
        execute(fleet, 2)
    assert told(fleet, 2).rollback_incomplete
    prod.sandbox.faults.clear()
    prod.check()
    assert held(prod) == before and told(fleet, 2).status == "rolled_back"
    assert not fleet.reading(lambda work: work.journal.unfinished(prod.row.id))


def test_the_audit_story_of_a_promotion_that_was_rolled_back_reads_in_order_and_names_its_run(
        new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(two_edited)
    prod = fleet["prod"]
    ids = by_name(prod)
    hashes = {name: prod.mapping(i).live_hash for name, i in ids.items()}
    prod.sandbox.faults.add("status", method="PUT", path=f"/workflows/{ids['Two']}$", status=400)
    context = fleet.services.context("acme", actor="local:ada", run_id="run-7", step="write")
    with pytest.raises(Rejected):
        asyncio.run(execute_promotion(fleet.services, context, 2))
    story = [e for e in fleet.events() if e.run_id == "run-7" and e.action.startswith(("promotion.", "runtime."))]
    assert [(e.action, e.details.get("name")) for e in story] == [
        ("promotion.running", None), ("runtime.intended", None),
        ("runtime.done", "One"), ("runtime.done", "Three"),
        ("runtime.undone", "Two"), ("runtime.undone", "Three"), ("runtime.undone", "One"),
        ("promotion.failed", None), ("promotion.rolled_back", None)]
    assert [e.sequence for e in story] == sorted(e.sequence for e in story)
    done, undone = ({e.details["name"]: e for e in story if e.action == action} for action in (
        "runtime.done", "runtime.undone"))
    assert (done["One"].before_hash, undone["One"].after_hash) == (hashes["One"], hashes["One"])
    assert done["One"].after_hash == undone["One"].before_hash not in (None, hashes["One"])
    assert done["Three"].before_hash is None and undone["Three"].after_hash is None
    assert len({e.operation_id for e in story}) == 1 and story[0].operation_id is not None
    assert str(story[0].operation_id) == told(fleet, 2).operation_id
    assert "400" in story[-1].details["reason"]
    assert fleet.reading(lambda work: work.promotions.by_number(2)).run_id == "run-7"
    assert fleet.chain_verifies()


def test_two_promotions_to_one_target_never_mix(new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = new_fleet.as_left_by(two_edited)
    assert request(fleet, workflows=("Three",)).number == 3
    inside, told_off = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        assert told_off.wait(60)

    when(monkeypatch, "runtime.put.before", 1, wait)
    ended: list[Any] = []
    first = threading.Thread(target=lambda: ended.append(execute(fleet, 2)))
    first.start()
    assert inside.wait(60)
    with pytest.raises(OperationRunning, match="held by operation"):
        execute(fleet, 3)
    told_off.set()
    first.join()
    assert ended[0].status == "completed"
    with pytest.raises(Blocked):  # it would write nothing any more, or not what was approved
        execute(fleet, 3)
    assert sorted(by_name(fleet["prod"])) == ["One", "Three", "Two"]


def test_a_promotion_waits_for_the_one_before_it(new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = new_fleet.as_left_by(two_edited)
    fleet.with_limits(lease_wait=60.0)
    order: list[str] = []
    real = failpoints.reach

    def reach(name: str) -> None:
        if name in ("runtime.intend.after_commit", "promotion.settled.after_commit"):
            order.append(name)
        real(name)

    monkeypatch.setattr(failpoints, "reach", reach)
    assert [request(fleet, workflows=(name,)).number for name in ("Two", "Three")] == [3, 4]
    both = [threading.Thread(target=execute, args=(fleet, number)) for number in (3, 4)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert order == ["runtime.intend.after_commit", "promotion.settled.after_commit"] * 2
    assert {told(fleet, number).status for number in (3, 4)} == {"completed"}
    assert (says(fleet, "One"), says(fleet, "Two"), says(fleet, "Three")) == ("hello", "better", "hello")
