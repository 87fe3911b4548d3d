"""Approvals of incident steps (§10.6): every status against every event, never by the requester, once."""

from __future__ import annotations

from itertools import product

import pytest

from wfops_pipelines.domain.approval import (
    APPROVAL_TRANSITIONS,
    KIND_OF_EVENT,
    ApprovalEvent,
    ApprovalKind,
    ApprovalStatus,
    allowed_approval_pairs,
    decide,
    move_approval,
    spend,
)
from wfops_pipelines.domain.errors import Blocked, Denied, ForbiddenTransition, SelfApproval

PENDING, APPROVED, REJECTED, EXECUTED, CANCELLED = ApprovalStatus
TARGETS = {"approve": APPROVED, "reject": REJECTED, "execute": EXECUTED, "cancel": CANCELLED}
ALLOWED = {(PENDING, "approve"), (PENDING, "reject"), (PENDING, "cancel"), (APPROVED, "execute"), (APPROVED, "cancel")}


@pytest.mark.parametrize(("status", "event"), list(product(ApprovalStatus, ApprovalEvent)))
def test_each_status_and_event_are_allowed_or_refused_by_name(status: ApprovalStatus, event: ApprovalEvent) -> None:
    if (status, event) in ALLOWED:
        assert move_approval(status, event) is TARGETS[event]
        return
    with pytest.raises(ForbiddenTransition) as refused:
        move_approval(status, event)
    assert isinstance(refused.value, Blocked)
    assert (refused.value.before, refused.value.after) == (status, TARGETS[event])
    assert status in str(refused.value)
    assert refused.value.fix


def test_the_rows_for_the_database_are_the_table() -> None:
    assert allowed_approval_pairs() == sorted((str(status), str(TARGETS[event])) for status, event in ALLOWED)
    assert len(APPROVAL_TRANSITIONS) == len(ALLOWED)


def test_rejected_executed_and_cancelled_are_final() -> None:
    assert {status for status in ApprovalStatus if status.is_final} == {REJECTED, EXECUTED, CANCELLED}


@pytest.mark.parametrize("approve", [True, False])
def test_somebody_else_decides(approve: bool) -> None:
    decided = decide(PENDING, approve=approve, requested_by="ann@example.com", decided_by="bob@example.com")
    assert decided is (APPROVED if approve else REJECTED)


@pytest.mark.parametrize(("requester", "decider"), [
    (("ann@example.com", None), ("ann@example.com", None)),
    (("ann@example.com", None), ("Ann@Example.com ", None)),
    (("ann@example.com", "root@example.com"), ("root@example.com", None)),  # an admin asked as Ann, and decides
    (("root@example.com", None), ("bob@example.com", "root@example.com")),  # an admin asked, and decides as Bob
    (("ann@example.com", "root@example.com"), ("bob@example.com", "root@example.com")),  # as Ann, and as Bob
    (("ann@example.com", None), ("ann@example.com", "root@example.com")),  # an admin decides in Ann's place
])
@pytest.mark.parametrize("approve", [True, False])
def test_nobody_decides_what_they_asked_for_under_whatever_identity(
        approve: bool, requester: tuple[str, str | None], decider: tuple[str, str | None]) -> None:
    with pytest.raises(SelfApproval, match="cannot decide") as refused:
        decide(PENDING, approve=approve, requested_by=requester[0], requested_through=requester[1],
               decided_by=decider[0], decided_through=decider[1])
    assert isinstance(refused.value, Denied)


@pytest.mark.parametrize("status", [APPROVED, REJECTED, EXECUTED, CANCELLED])
def test_a_decision_is_made_once(status: ApprovalStatus) -> None:
    with pytest.raises(ForbiddenTransition):
        decide(status, approve=True, requested_by="ann", decided_by="bob")


def test_an_approval_serves_once() -> None:
    spent = spend(APPROVED)
    assert spent is EXECUTED
    with pytest.raises(ForbiddenTransition, match="executed already"):
        spend(spent)


def test_the_steps_that_can_need_an_approval_are_those_of_the_policy() -> None:
    assert set(ApprovalKind) == {"acknowledge", "extend_ttl", "close", "reconcile"}
    assert {*KIND_OF_EVENT.values(), ApprovalKind.EXTEND_TTL} == set(ApprovalKind)
    assert {str(event): str(kind) for event, kind in KIND_OF_EVENT.items()} == {
        "acknowledge": "acknowledge", "reconcile": "reconcile", "close": "close", "cancel": "close"}
