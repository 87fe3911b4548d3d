"""What an interruption or an n8n that refuses leaves at the end of a promotion, and who brings it to its end (§11.7, §11.8)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import NotVerified, Rejected, RollbackIncomplete, WfopsError
from wfops_pipelines.failpoints import FailpointReached
from wfops_pipelines.services.promotion_interruption import left_behind
from wfops_pipelines.services.unblocking import unblock
from wfops_pipelines.store.journal import RuntimeJournal
from wfops_pipelines_tests.services.child import run_in_child
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, run, workflow
from wfops_pipelines_tests.services.promotion_histories import (
    carried_out,
    chain_of_three,
    incidents,
    incompletely_rolled_back,
    never_verified,
    not_atomic,
    refuses_to_delete,
    to_be_pruned_on_1,
    two_edited,
    with_new_ones,
)
from wfops_pipelines_tests.services.promotions import (
    by_name,
    calls,
    dev_to_prod,
    execute,
    held,
    request,
    roll_back,
    told,
)

# -- a rollback by hand ------------------------------------------------------------------------------------------------


def test_a_rollback_by_hand_that_stays_incomplete_opens_a_critical_incident_until_it_is_restored(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(carried_out)
    prod = fleet["prod"]
    promoted = held(prod)
    # Two and One go back, Three cannot be deleted; and what went back cannot be brought forward again.
    prod.sandbox.faults.add("status", method="PUT", status=400, after=2)
    prod.sandbox.faults.add("status", method="DELETE", status=400)
    with pytest.raises(RollbackIncomplete, match="could not be restored"):
        roll_back(fleet, 2)
    report = told(fleet, 2)
    assert report.status == "completed" and not report.rollback_incomplete
    assert prod.row.writes_blocked_at is not None and "rollback incomplete" in prod.row.writes_blocked_reason
    incident = incidents(fleet)
    assert (incident.severity, incident.status, incident.affected) == ("critical", "detected", 2)
    assert "the rollback of promotion p2 is incomplete" in incident.title
    assert sorted(each["name"] for each in incident.drift_snapshot["workflows"]) == ["One", "Two"]
    (event,) = fleet.events("promotion.rollback_failed")
    assert "400" in event.details["reason"]
    with pytest.raises(WfopsError):  # n8n refuses still: nothing is told twice
        roll_back(fleet, 2)
    assert incidents(fleet).number == incident.number and prod.row.writes_blocked_at is not None
    prod.sandbox.faults.clear()
    assert prod.check().status == "IN_SYNC"
    assert held(prod) == promoted and prod.row.writes_blocked_at is None
    assert incidents(fleet) is None and told(fleet, 2).status == "completed"
    assert roll_back(fleet, 2).status == "rolled_back" and fleet.chain_verifies()


def test_a_rollback_by_hand_that_died_and_cannot_be_restored_is_told_by_whoever_comes_next(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(carried_out)
    prod = fleet["prod"]
    died = run_in_child(prod, "roll back", "runtime.record.after_commit=kill@1")
    assert died.returncode == -9, died.stderr[-2000:]
    for method in ("PUT", "DELETE"):
        prod.sandbox.faults.add("status", method=method, status=400)
    prod.check()
    assert prod.row.writes_blocked_at is not None and incidents(fleet).severity == "critical"
    assert fleet.actions()["promotion.rollback_failed"] == 1 and told(fleet, 2).status == "completed"
    prod.sandbox.faults.clear()
    prod.check()
    assert prod.row.writes_blocked_at is None and incidents(fleet) is None
    assert not fleet.reading(lambda work: work.journal.unfinished(prod.row.id))


def test_a_rollback_by_hand_that_fails_after_a_deletion_is_finished_and_makes_nothing_again(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(with_new_ones)
    prod = fleet["prod"]
    promoted = by_name(prod)
    failpoints.arm("runtime.delete.after=raise@1")
    with pytest.raises(FailpointReached):
        roll_back(fleet, 2)
    failpoints.disarm()
    assert by_name(prod) == {name: promoted[name] for name in ("One", "Called")} and told(fleet, 2).status == "completed"
    assert prod.check().status == "IN_SYNC"
    assert by_name(prod) == {"One": promoted["One"]} and told(fleet, 2).status == "rolled_back" and fleet.chain_verifies()


def test_while_something_cannot_be_deleted_after_something_was_the_environment_takes_no_writes(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(with_new_ones)
    prod = fleet["prod"]
    refuses_to_delete(prod, "Called")
    for _ in range(2):  # whoever comes next meets the same
        with pytest.raises(RollbackIncomplete, match=r"Called .* could not be taken back"):
            roll_back(fleet, 2)
    assert set(by_name(prod)) == {"One", "Called"} and prod.row.writes_blocked_at is not None
    assert incidents(fleet).severity == "critical" and told(fleet, 2).status == "completed"
    prod.sandbox.faults.clear()
    assert prod.check().status == "IN_SYNC"
    assert set(by_name(prod)) == {"One"} and told(fleet, 2).status == "rolled_back"
    assert prod.row.writes_blocked_at is None and incidents(fleet) is None and fleet.chain_verifies()


def test_what_was_to_follow_a_deletion_that_an_admin_gave_up_on_stays_too(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(chain_of_three)
    prod = fleet["prod"]
    incompletely_rolled_back(fleet, "Middle")
    given_up = run(unblock(fleet.services, fleet.context, "prod", reason="left as it is"))
    assert given_up.changed and sorted(given_up.abandoned) == ["Called", "Middle"]
    prod.sandbox.faults.clear()
    prod.check()
    assert set(by_name(prod)) == {"One", "Middle", "Called"} and told(fleet, 2).status == "completed"
    assert not fleet.reading(lambda work: work.journal.unfinished(prod.row.id))
    (said,) = fleet.events("promotion.rollback_given_up")
    assert sorted(each["name"] for each in said.details["workflows"]) == ["Called", "Middle"]


def test_while_n8n_deletes_nothing_a_rollback_is_undone_and_every_id_is_kept(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(with_new_ones)
    prod = fleet["prod"]
    promoted = held(prod)
    prod.sandbox.faults.add("status", method="DELETE", status=400)
    with pytest.raises(Rejected):
        roll_back(fleet, 2)
    assert held(prod) == promoted and prod.row.writes_blocked_at is None and told(fleet, 2).status == "completed"


def test_a_workflow_that_somebody_deletes_right_before_we_do_is_gone(
        new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = new_fleet.as_left_by(with_new_ones)
    prod = fleet["prod"]
    left = [by_name(prod)["Caller"]]

    def reach(name: str) -> None:
        if name == "runtime.delete.before" and left:
            prod.delete_in_n8n(left.pop())

    monkeypatch.setattr(failpoints, "reach", reach)
    assert roll_back(fleet, 2).status == "rolled_back" and set(by_name(prod)) == {"One"} and not left


def test_whoever_is_stopped_in_finishing_a_killed_rollback_is_told_that_it_is_unfinished(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(with_new_ones)
    prod = fleet["prod"]
    died = run_in_child(prod, "roll back", "runtime.delete.after=kill@1")
    assert died.returncode == -9, died.stderr[-2000:]
    since = fleet.clock.now()
    failpoints.arm("runtime.delete.before=raise@1")
    with pytest.raises(FailpointReached):
        roll_back(fleet, 2)
    failpoints.disarm()
    left = left_behind(fleet.services, fleet.context, "prod", number=2, since=since, rolling_back=True)
    assert left is not None and left.unfinished


# -- verification ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["before", "in the middle"])
def test_a_process_that_dies_between_a_failed_verification_and_its_rollback_is_rolled_back_by_recovery(
        new_fleet: NewFleet, place: str) -> None:
    fleet = new_fleet.as_left_by(never_verified)
    prod = fleet["prod"]
    before = held(prod)
    # Going forward deletes nothing: what is deleted is Two, the first to be taken back.
    died = run_in_child(prod, "execute", f"runtime.delete.{'before' if place == 'before' else 'after'}=kill")
    assert died.returncode == -9, (died.stdout, died.stderr[-2000:])
    assert told(fleet, 2).status == "running"
    assert prod.check().status == "IN_SYNC"
    report = told(fleet, 2)
    assert report.status == "rolled_back" and not report.rollback_incomplete
    assert held(prod) == before and prod.row.writes_blocked_at is None and incidents(fleet) is None
    if place == "before":  # nothing had been taken back: it was verified once more
        assert "Nobody has it" in (report.reason or "")
        assert [each["outcome"] for each in report.verification if each["check"] == "smoke_workflow"] == ["failed"]
    assert not fleet.reading(lambda work: work.journal.unfinished(prod.row.id)) and fleet.chain_verifies()


def restored_in_part(new_fleet: NewFleet) -> tuple[FleetUnderTest, Any]:
    """Its verification failed, and n8n refused a part of the rollback, but would not any more; and what prod held before."""
    fleet = new_fleet.as_left_by(never_verified)
    prod = fleet["prod"]
    before = held(prod)
    prod.sandbox.faults.add("status", method="DELETE", status=400)
    with pytest.raises(RollbackIncomplete):
        execute(fleet, 2)
    prod.sandbox.faults.clear()
    return fleet, before


def test_a_verification_that_fails_rolls_back_and_says_what_was_not_so(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(never_verified)
    before = held(fleet["prod"])
    with pytest.raises(NotVerified, match="Nobody has it"):
        execute(fleet, 2)
    assert held(fleet["prod"]) == before and told(fleet, 2).status == "rolled_back"


def test_what_was_verified_is_told_still_when_an_incomplete_rollback_was_completed(new_fleet: NewFleet) -> None:
    fleet, before = restored_in_part(new_fleet)
    prod = fleet["prod"]
    report = told(fleet, 2)
    assert report.status == "failed" and report.rollback_incomplete and report.verification
    prod.check()
    restored = told(fleet, 2)
    assert restored.status == "rolled_back" and restored.verification == report.verification and held(prod) == before


@pytest.mark.parametrize("nth", [3, 4, 5])
def test_a_rollback_that_is_cut_off_itself_is_not_told_as_one(new_fleet: NewFleet, nth: int) -> None:
    fleet = new_fleet.as_left_by(two_edited)
    prod = fleet["prod"]
    before = held(prod)
    prod.sandbox.faults.add("status", method="PUT", path=f"/workflows/{by_name(prod)['Two']}$", status=400)
    failpoints.arm(f"runtime.record.before_commit=raise@{nth}")
    with pytest.raises(FailpointReached):
        execute(fleet, 2)
    failpoints.disarm()
    assert told(fleet, 2).status == "running"
    prod.sandbox.faults.clear()
    prod.check()
    assert told(fleet, 2).status in ("completed", "rolled_back")
    assert (held(prod) == before) is (told(fleet, 2).status == "rolled_back")
    assert not fleet.reading(lambda work: work.journal.unfinished(prod.row.id)) and prod.row.writes_blocked_at is None


@pytest.mark.parametrize("point", ["runtime.record.after_commit", "runtime.block.before_commit", "runtime.block.after_commit"])
def test_a_restored_environment_takes_writes_also_if_whoever_restored_it_could_not_say_so(
        new_fleet: NewFleet, point: str) -> None:
    fleet, before = restored_in_part(new_fleet)
    prod = fleet["prod"]
    failpoints.arm(f"{point}=raise@1")
    with pytest.raises(FailpointReached):
        prod.check()
    failpoints.disarm()
    prod.check()
    assert held(prod) == before and prod.row.writes_blocked_at is None
    report = told(fleet, 2)
    assert (report.status, report.rollback_incomplete) == ("rolled_back", False)


# -- what an admin gave up on ------------------------------------------------------------------------------------------


def test_a_rollback_that_an_admin_gave_up_on_is_not_told_as_done_and_nobody_comes_back_to_it(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(not_atomic)
    prod = fleet["prod"]
    there = by_name(prod)
    prod.sandbox.faults.add("status", method="PUT", path=f"/workflows/{there['Two']}$", status=400)
    prod.sandbox.faults.add("status", method="POST", path=r"/publish$", status=400)
    prod.sandbox.faults.add("status", method="DELETE", status=400)
    with pytest.raises(RollbackIncomplete):
        execute(fleet, 2)
    assert run(unblock(fleet.services, fleet.context, "prod", reason="left as it is")).changed
    prod.sandbox.faults.clear()
    prod.check()
    report = told(fleet, 2)
    assert report.status == "failed" and report.rollback_incomplete
    assert not fleet.reading(lambda work: work.journal.unfinished(prod.row.id))


# -- what it costs -----------------------------------------------------------------------------------------------------


def test_writes_read_their_own_row_of_the_journal_and_not_all_rows_each_time(
        new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 100
    fleet = new_fleet.as_left_by(dev_to_prod)
    fleet["dev"].create_in_n8n(*(workflow(f"W{number}") for number in range(count)))
    asked = request(fleet)
    read = []
    for name in ("one", "of_operation"):
        real = getattr(RuntimeJournal, name)

        def counting(self: RuntimeJournal, *args: Any, real: Any = real) -> Any:
            found = real(self, *args)
            read.append(len(found) if isinstance(found, list) else 1)
            return found

        monkeypatch.setattr(RuntimeJournal, name, counting)
    assert execute(fleet, asked.number).status == "completed"
    assert read.count(1) >= count
    assert sum(read) <= 20 * count, sum(read)


# -- what n8n 1.x has deleted ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refused", ["Called", "Caller", "Loop"])
def test_what_undoing_makes_again_is_called_and_committed_under_its_new_id(new_fleet: NewFleet, refused: str) -> None:
    fleet = new_fleet.as_left_by(to_be_pruned_on_1)
    prod = fleet["prod"]
    there = by_name(prod)
    prod.sandbox.faults.add("status", method="DELETE", path=f"/workflows/{there[refused]}$", status=400)
    with pytest.raises(Rejected):
        execute(fleet, 2)
    prod.sandbox.faults.clear()
    now = by_name(prod)
    assert set(now) == {"Caller", "Called", "Loop"} and now[refused] == there[refused]
    assert calls(prod, "Caller") == now["Called"] and calls(prod, "Loop") == now["Loop"]
    assert told(fleet, 2).status == ("failed" if now == there else "rolled_back")
    assert prod.check().status == "IN_SYNC"
    assert sorted(json.loads(body)["id"] for path, body in prod.files().items() if path.startswith("workflows/")) == (
        sorted(now.values()))


def test_an_updated_workflow_that_somebody_deleted_meanwhile_is_made_again_by_undoing(
        new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = new_fleet.as_left_by(two_edited)
    prod = fleet["prod"]
    there = by_name(prod)
    real = failpoints.reach

    def reach(name: str) -> None:
        if name == "runtime.record.after_commit" and there["One"] in prod.sandbox.state.workflows and (
                "One" in [event.details["name"] for event in fleet.events("runtime.done")][2:]):
            prod.delete_in_n8n(there["One"])
            prod.sandbox.faults.add("status", method="PUT", path=there["Two"], status=400)
        real(name)

    before = held(prod)[there["One"]]
    monkeypatch.setattr(failpoints, "reach", reach)
    with pytest.raises(Rejected):
        execute(fleet, 2)
    assert there["One"] not in prod.sandbox.state.workflows
    prod.check()
    assert set(by_name(prod)) == {"One", "Two"} and told(fleet, 2).status == "rolled_back"
    assert held(prod)[by_name(prod)["One"]] == before
