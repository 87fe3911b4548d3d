"""The lifecycle of a promotion (§11.2), and what each step of it needs.

A promotion begins ``pending``: its plan is made, its gates are evaluated. The rules:

* Gates that let it pass make it ``approved`` where the stage asks nobody, ``pending_approval`` where it asks somebody. A
  gate's no makes it ``blocked``, at any time before it runs; that is a rule that said no, and nothing is broken.
* What waits for approval is ``approved`` or ``rejected``. What does not run yet can be ``cancelled``.
* An approved one ``running`` becomes ``completed``, or ``failed``: something broke. ``completed_with_errors`` exists only
  where the pipeline opted out of atomicity (§11.7).
* A failed one becomes ``rolled_back`` when everything that had been applied is restored. It stays ``failed`` when nothing
  had been applied, and with ``rollback_incomplete`` when not everything could be restored.
* A completed one can be rolled back by hand, to the snapshot before it.
* ``blocked``, ``rejected``, ``cancelled`` and ``rolled_back`` are terminal. No status follows itself.

:data:`TRANSITIONS` is these rules, for the database to check again (:func:`allowed_pairs`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from wfops_pipelines.domain.errors import Blocked, ForbiddenTransition, UsageError


class PromotionStatus(StrEnum):
    """Where a promotion is in its life."""

    PENDING = "pending"
    PENDING_APPROVAL = "pending_approval"
    APPROVED = "approved"
    RUNNING = "running"
    COMPLETED = "completed"
    COMPLETED_WITH_ERRORS = "completed_with_errors"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    BLOCKED = "blocked"
    REJECTED = "rejected"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing follows."""
        return self in TERMINAL

    @property
    def is_waiting(self) -> bool:
        """Whether it has not begun to write and still may: what can be cancelled."""
        return self in WAITING

    @property
    def has_run(self) -> bool:
        """Whether it ran to an end, good or bad: then it has results per workflow."""
        return self in {PromotionStatus.COMPLETED, PromotionStatus.COMPLETED_WITH_ERRORS, PromotionStatus.FAILED,
                        PromotionStatus.ROLLED_BACK}


class PromotionEvent(StrEnum):
    """What happens to a promotion. Somebody's: ``approve`` (or nobody's, where nobody is asked), ``reject``, ``cancel``,
    ``roll_back``; all others are the system's."""

    REQUEST_APPROVAL = "request_approval"
    APPROVE = "approve"
    REJECT = "reject"
    BLOCK = "block"
    CANCEL = "cancel"
    START = "start"
    COMPLETE = "complete"
    COMPLETE_WITH_ERRORS = "complete_with_errors"
    FAIL = "fail"
    ROLL_BACK = "roll_back"


TARGETS: Final[Mapping[PromotionEvent, PromotionStatus]] = MappingProxyType({
    PromotionEvent.REQUEST_APPROVAL: PromotionStatus.PENDING_APPROVAL,
    PromotionEvent.APPROVE: PromotionStatus.APPROVED,
    PromotionEvent.REJECT: PromotionStatus.REJECTED,
    PromotionEvent.BLOCK: PromotionStatus.BLOCKED,
    PromotionEvent.CANCEL: PromotionStatus.CANCELLED,
    PromotionEvent.START: PromotionStatus.RUNNING,
    PromotionEvent.COMPLETE: PromotionStatus.COMPLETED,
    PromotionEvent.COMPLETE_WITH_ERRORS: PromotionStatus.COMPLETED_WITH_ERRORS,
    PromotionEvent.FAIL: PromotionStatus.FAILED,
    PromotionEvent.ROLL_BACK: PromotionStatus.ROLLED_BACK,
})
"""What each event makes of a promotion, wherever it is allowed."""

_ALLOWED: Final[Mapping[PromotionStatus, tuple[PromotionEvent, ...]]] = {
    PromotionStatus.PENDING: (
        PromotionEvent.REQUEST_APPROVAL, PromotionEvent.APPROVE, PromotionEvent.BLOCK, PromotionEvent.CANCEL,
    ),
    PromotionStatus.PENDING_APPROVAL: (
        PromotionEvent.APPROVE, PromotionEvent.REJECT, PromotionEvent.BLOCK, PromotionEvent.CANCEL,
    ),
    PromotionStatus.APPROVED: (PromotionEvent.BLOCK, PromotionEvent.CANCEL, PromotionEvent.START),
    PromotionStatus.RUNNING: (PromotionEvent.COMPLETE, PromotionEvent.COMPLETE_WITH_ERRORS, PromotionEvent.FAIL),
    PromotionStatus.COMPLETED: (PromotionEvent.ROLL_BACK,),
    PromotionStatus.COMPLETED_WITH_ERRORS: (PromotionEvent.ROLL_BACK,),
    PromotionStatus.FAILED: (PromotionEvent.ROLL_BACK,),
    PromotionStatus.ROLLED_BACK: (),
    PromotionStatus.BLOCKED: (),
    PromotionStatus.REJECTED: (),
    PromotionStatus.CANCELLED: (),
}

TRANSITIONS: Final[Mapping[tuple[PromotionStatus, PromotionEvent], PromotionStatus]] = MappingProxyType({
    (status, event): TARGETS[event] for status, events in _ALLOWED.items() for event in events
})
"""The table: from a status, by an event, to a status. What is not in it is impossible, for admins too."""

TERMINAL: Final = frozenset(status for status, events in _ALLOWED.items() if not events)
WAITING: Final = frozenset(status for status, events in _ALLOWED.items() if PromotionEvent.CANCEL in events)


def move(status: PromotionStatus, event: PromotionEvent, *, name: str = "the promotion",
         how: str | None = None) -> PromotionStatus:
    """The status that ``event`` makes of ``status``; :class:`ForbiddenTransition` names the promotion, ``how`` it came to
    its status where that is known, and what is allowed from here."""
    try:
        return TRANSITIONS[status, event]
    except KeyError:
        target, said = TARGETS[event], f" ({how})" if how else ""
        if status is target:
            message = f"{name} is {_words(status)} already{said}"
        elif status in TERMINAL:
            message = f"{name} is {_words(status)}, which is final{said}: it cannot become {_words(target)}"
        else:
            message = f"{name} is {_words(status)}{said}, and cannot become {_words(target)}"
        raise ForbiddenTransition(message, before=status, after=target, fix=_ways_from(status)) from None


def allowed_events(status: PromotionStatus) -> tuple[PromotionEvent, ...]:
    """What can happen from here, in the order of the lifecycle."""
    return _ALLOWED[status]


def allowed_pairs() -> list[tuple[str, str]]:
    """The table as rows (before, after), for the database to check again; sorted."""
    return sorted((str(before), str(after)) for (before, _), after in TRANSITIONS.items())


def check_step(status: PromotionStatus, event: PromotionEvent, *, reason: str | None = None,
               checksum: str | None = None, approved_checksum: str | None = None, approvals: int = 0,
               approvers: int = 0, atomic: bool = True) -> None:
    """Pass when what the step needs is there (whether it is allowed at all is :func:`move`'s to say).

    ===========================  ==========================================================================================
    ``block``, ``reject``        a ``reason``: what the gates, or the person, said
    ``fail``                     a ``reason``: what broke
    ``request_approval``         the ``checksum`` of the plan that is to be approved
    ``approve``                  the ``checksum`` of the plan; as many ``approvals`` of it as the stage wants ``approvers``
    ``start``                    the ``checksum`` computed just now, equal to the ``approved_checksum`` (§11.3)
    ``complete_with_errors``     a pipeline that is not ``atomic``
    ``roll_back``                from ``completed…``, a ``reason``: it is somebody's decision
    ===========================  ==========================================================================================

    :class:`UsageError` says what is missing, :class:`Blocked` what speaks against it.
    """
    if _needs_reason(status, event) and not (reason or "").strip():
        raise UsageError(f"{_DOING[event]} a promotion needs a reason", fix="say in a few words why")
    if event in _NEEDS_CHECKSUM and not checksum:
        raise UsageError(f"{_DOING[event]} a promotion needs the checksum of its plan", fix="make the plan first")
    if event is PromotionEvent.APPROVE and approvals < approvers:
        raise Blocked(f"{approvals} of {approvers} approvals are there",
                      fix=f"{approvers - approvals} more of those who may approve this plan have to")
    if event is PromotionEvent.START and checksum != approved_checksum:
        raise Blocked("the plan is not the one that was approved: what it would write has changed since",
                      fix="look at the plan as it is now, and promote anew")
    if event is PromotionEvent.COMPLETE_WITH_ERRORS and atomic:
        raise UsageError("a promotion of an atomic pipeline cannot complete with errors", fix="it fails, and is rolled back")


_NEEDS_CHECKSUM: Final = frozenset({PromotionEvent.REQUEST_APPROVAL, PromotionEvent.APPROVE, PromotionEvent.START})
_DOING: Final[Mapping[PromotionEvent, str]] = {
    PromotionEvent.REQUEST_APPROVAL: "asking for approval of", PromotionEvent.APPROVE: "approving",
    PromotionEvent.REJECT: "rejecting", PromotionEvent.BLOCK: "blocking", PromotionEvent.START: "starting",
    PromotionEvent.FAIL: "failing", PromotionEvent.ROLL_BACK: "rolling back",
}


def _needs_reason(status: PromotionStatus, event: PromotionEvent) -> bool:
    if event is PromotionEvent.ROLL_BACK:
        return status is not PromotionStatus.FAILED  # a failed one rolls itself back
    return event in {PromotionEvent.BLOCK, PromotionEvent.REJECT, PromotionEvent.FAIL}


def after_gates(refusals: Collection[str], *, approvers: int) -> PromotionEvent:
    """What evaluated gates make of a pending promotion: blocked by any refusal, else asked about where the stage wants
    ``approvers``, else approved."""
    if refusals:
        return PromotionEvent.BLOCK
    return PromotionEvent.REQUEST_APPROVAL if approvers else PromotionEvent.APPROVE


def after_run(*, failed: int, atomic: bool) -> PromotionEvent:
    """How a run ends that could not do ``failed`` of its changes (§11.7)."""
    if not failed:
        return PromotionEvent.COMPLETE
    return PromotionEvent.FAIL if atomic else PromotionEvent.COMPLETE_WITH_ERRORS


def after_restoring(*, applied: int, restored: int) -> PromotionEvent | None:
    """What restoring ``restored`` of ``applied`` changes makes of a failed promotion; none where it stays ``failed``:
    nothing had been applied, or the rollback is incomplete (:func:`rollback_incomplete`)."""
    return PromotionEvent.ROLL_BACK if applied and restored >= applied else None


def rollback_incomplete(*, applied: int, restored: int) -> bool:
    """Whether something that was applied could not be restored: the target takes no writes then (§11.7)."""
    return restored < applied


def _ways_from(status: PromotionStatus) -> str:
    events = allowed_events(status)
    if not events:
        return "promote anew, from a plan of now"
    ways = " or ".join(_words(TARGETS[event]) for event in events)
    return f"one that is {_words(status)} can{'' if len(events) > 1 else ' only'} become {ways}"


def _words(status: PromotionStatus) -> str:
    return status.replace("_", " ")
