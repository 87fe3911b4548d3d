"""The lifecycle of a promotion (§11.2): every status against every event, and what each step needs."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from wfops_pipelines.domain.errors import Blocked, ForbiddenTransition, UsageError
from wfops_pipelines.domain.promotion import (
    TARGETS,
    TERMINAL,
    TRANSITIONS,
    WAITING,
    PromotionEvent,
    PromotionStatus,
    after_gates,
    after_restoring,
    after_run,
    allowed_events,
    allowed_pairs,
    check_step,
    move,
    rollback_incomplete,
)

# § 11.2, word for word
CONTRACT = {
    "pending": {"pending_approval", "approved", "blocked", "cancelled"},
    "pending_approval": {"approved", "rejected", "cancelled", "blocked"},
    "approved": {"running", "blocked", "cancelled"},
    "running": {"completed", "completed_with_errors", "failed"},
    "failed": {"rolled_back"},
    "completed": {"rolled_back"},
    "completed_with_errors": {"rolled_back"},
    "blocked": set(),
    "rejected": set(),
    "cancelled": set(),
    "rolled_back": set(),
}


def test_what_is_refused_reads_like_a_sentence_and_so_does_the_way_out() -> None:
    with pytest.raises(ForbiddenTransition, match="the promotion is completed, and cannot become approved") as refused:
        move(PromotionStatus.COMPLETED, PromotionEvent.APPROVE)
    assert refused.value.fix == "one that is completed can only become rolled back"
    with pytest.raises(ForbiddenTransition, match="the promotion is rolled back already"):
        move(PromotionStatus.ROLLED_BACK, PromotionEvent.ROLL_BACK)
    with pytest.raises(ForbiddenTransition) as waiting:
        move(PromotionStatus.PENDING_APPROVAL, PromotionEvent.START)
    assert "pending approval" in str(waiting.value) and "_" not in f"{waiting.value} {waiting.value.fix}"


@pytest.mark.parametrize(("status", "event"), list(product(PromotionStatus, PromotionEvent)))
def test_each_status_and_event_go_where_the_contract_says_or_are_refused_by_name(
        status: PromotionStatus, event: PromotionEvent) -> None:
    target = TARGETS[event]
    if target in CONTRACT[status]:
        assert move(status, event) is target
        assert event in allowed_events(status)
        return
    with pytest.raises(ForbiddenTransition) as refused:
        move(status, event)
    assert (refused.value.before, refused.value.after) == (status, target)
    assert status.replace("_", " ") in str(refused.value)
    assert all(TARGETS[allowed].replace("_", " ") in str(refused.value.fix) for allowed in allowed_events(status))
    assert event not in allowed_events(status)


def test_the_table_is_the_contract() -> None:
    wanted = {(before, after) for before, afters in CONTRACT.items() for after in afters}
    assert {(str(before), str(after)) for (before, _), after in TRANSITIONS.items()} == wanted
    assert allowed_pairs() == sorted(wanted)


def test_terminal_are_blocked_rejected_cancelled_and_rolled_back() -> None:
    assert {"blocked", "rejected", "cancelled", "rolled_back"} == TERMINAL
    assert all(status.is_terminal is (status in TERMINAL) for status in PromotionStatus)


def test_what_has_not_begun_to_write_can_be_cancelled() -> None:
    assert {"pending", "pending_approval", "approved"} == WAITING
    assert all(status.is_waiting is (status in WAITING) for status in PromotionStatus)
    assert not any(status.has_run and status.is_waiting for status in PromotionStatus)


def test_every_status_can_be_reached() -> None:
    reached, waiting = {PromotionStatus.PENDING}, [PromotionStatus.PENDING]
    while waiting:
        here = waiting.pop()
        new = {after for (before, _), after in TRANSITIONS.items() if before is here} - reached
        reached |= new
        waiting.extend(new)
    assert reached == set(PromotionStatus)


def test_nothing_but_a_start_makes_it_run_and_nothing_runs_twice() -> None:
    assert [before for (before, _), after in TRANSITIONS.items() if after is PromotionStatus.RUNNING] == ["approved"]


# -- what a step needs -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("reason", [None, "", " \n"])
@pytest.mark.parametrize(("status", "event"), [
    ("pending", "block"), ("pending_approval", "reject"), ("running", "fail"), ("completed", "roll_back"),
    ("completed_with_errors", "roll_back"),
])
def test_who_says_no_says_why(status: str, event: str, reason: str | None) -> None:
    with pytest.raises(UsageError, match="needs a reason"):
        check_step(PromotionStatus(status), PromotionEvent(event), reason=reason)
    check_step(PromotionStatus(status), PromotionEvent(event), reason="a freeze")


def test_a_failed_one_rolls_itself_back_without_being_asked_why() -> None:
    check_step(PromotionStatus.FAILED, PromotionEvent.ROLL_BACK)


@pytest.mark.parametrize(("status", "event"), [
    ("pending", "request_approval"), ("pending", "approve"), ("pending_approval", "approve"), ("approved", "start"),
])
def test_nothing_is_approved_or_started_without_a_plan(status: str, event: str) -> None:
    with pytest.raises(UsageError, match="checksum"):
        check_step(PromotionStatus(status), PromotionEvent(event))


def test_an_approval_needs_its_quorum() -> None:
    def approve(approvals: int) -> None:
        check_step(PromotionStatus.PENDING_APPROVAL, PromotionEvent.APPROVE, checksum="c", approvals=approvals, approvers=2)

    with pytest.raises(Blocked, match="1 of 2"):
        approve(1)
    approve(2)


def test_a_plan_that_changed_after_its_approval_is_refused() -> None:
    with pytest.raises(Blocked, match="changed since"):
        check_step(PromotionStatus.APPROVED, PromotionEvent.START, checksum="now", approved_checksum="then")
    check_step(PromotionStatus.APPROVED, PromotionEvent.START, checksum="same", approved_checksum="same")


def test_only_a_pipeline_that_is_not_atomic_completes_with_errors() -> None:
    with pytest.raises(UsageError, match="atomic"):
        check_step(PromotionStatus.RUNNING, PromotionEvent.COMPLETE_WITH_ERRORS)
    check_step(PromotionStatus.RUNNING, PromotionEvent.COMPLETE_WITH_ERRORS, atomic=False)


@pytest.mark.parametrize("event", [PromotionEvent.CANCEL, PromotionEvent.COMPLETE])
def test_cancelling_and_completing_need_nothing_more(event: PromotionEvent) -> None:
    check_step(PromotionStatus.RUNNING, event)


# -- what follows ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("refusals", "approvers", "event"), [
    ([], 0, "approve"), ([], 1, "request_approval"), (["drift"], 0, "block"), (["drift"], 2, "block"),
])
def test_gates_let_pass_ask_or_block(refusals: list[str], approvers: int, event: str) -> None:
    assert after_gates(refusals, approvers=approvers) == event


@pytest.mark.parametrize(("failed", "atomic", "event"), [
    (0, True, "complete"), (0, False, "complete"), (1, True, "fail"), (1, False, "complete_with_errors"),
])
def test_one_failure_fails_an_atomic_run(failed: int, atomic: bool, event: str) -> None:
    assert after_run(failed=failed, atomic=atomic) == event


@pytest.mark.parametrize(("applied", "restored", "event", "incomplete"), [
    (0, 0, None, False), (3, 3, "roll_back", False), (3, 2, None, True), (1, 0, None, True),
])
def test_a_failed_one_is_rolled_back_only_when_all_that_was_applied_is_restored(
        applied: int, restored: int, event: Any, incomplete: bool) -> None:
    assert after_restoring(applied=applied, restored=restored) == event
    assert rollback_incomplete(applied=applied, restored=restored) is incomplete
