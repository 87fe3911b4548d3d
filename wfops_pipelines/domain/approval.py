"""Approvals of incident steps (§10.6): asked for, decided by somebody else, carried out once.

What a policy's ``require_approval_for`` names is not done at once: the request is kept with its arguments, and what is
carried out later is that request, word for word. The rules:

* Whoever asked does not decide, under no identity of theirs: neither as a platform admin behind an impersonated user, nor
  the other way round.
* An approved one is carried out once: ``executed``, and with that spent. A second go finds it spent.
* A waiting one, approved or not, is ``cancelled`` when the requester takes it back or the incident moves on without it.
* ``rejected``, ``executed`` and ``cancelled`` are final: whoever still wants the step asks anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from wfops_pipelines.domain.errors import ForbiddenTransition, SelfApproval
from wfops_pipelines.domain.incident import IncidentEvent


class ApprovalKind(StrEnum):
    """The steps that can need an approval."""

    ACKNOWLEDGE = "acknowledge"
    EXTEND_TTL = "extend_ttl"
    CLOSE = "close"
    RECONCILE = "reconcile"


KIND_OF_EVENT: Final[Mapping[IncidentEvent, ApprovalKind]] = MappingProxyType({
    IncidentEvent.ACKNOWLEDGE: ApprovalKind.ACKNOWLEDGE,
    IncidentEvent.RECONCILE: ApprovalKind.RECONCILE,
    IncidentEvent.CLOSE: ApprovalKind.CLOSE,
    IncidentEvent.CANCEL: ApprovalKind.CLOSE,
})
"""The approval that an event of the lifecycle can need when somebody causes it; the clock and a check that finds no drift
need none. Cancelling ends an incident as closing does, so it needs the same one."""


class ApprovalStatus(StrEnum):
    """Where a request is."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXECUTED = "executed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing follows."""
        return not any(before is self for before, _ in APPROVAL_TRANSITIONS)


class ApprovalEvent(StrEnum):
    """What happens to a request."""

    APPROVE = "approve"
    REJECT = "reject"
    EXECUTE = "execute"
    CANCEL = "cancel"


_TARGETS: Final[Mapping[ApprovalEvent, ApprovalStatus]] = {
    ApprovalEvent.APPROVE: ApprovalStatus.APPROVED,
    ApprovalEvent.REJECT: ApprovalStatus.REJECTED,
    ApprovalEvent.EXECUTE: ApprovalStatus.EXECUTED,
    ApprovalEvent.CANCEL: ApprovalStatus.CANCELLED,
}

APPROVAL_TRANSITIONS: Final[Mapping[tuple[ApprovalStatus, ApprovalEvent], ApprovalStatus]] = MappingProxyType({
    (ApprovalStatus.PENDING, ApprovalEvent.APPROVE): ApprovalStatus.APPROVED,
    (ApprovalStatus.PENDING, ApprovalEvent.REJECT): ApprovalStatus.REJECTED,
    (ApprovalStatus.PENDING, ApprovalEvent.CANCEL): ApprovalStatus.CANCELLED,
    (ApprovalStatus.APPROVED, ApprovalEvent.EXECUTE): ApprovalStatus.EXECUTED,
    (ApprovalStatus.APPROVED, ApprovalEvent.CANCEL): ApprovalStatus.CANCELLED,
})


def move_approval(status: ApprovalStatus, event: ApprovalEvent) -> ApprovalStatus:
    """The status that ``event`` makes of ``status``; :class:`ForbiddenTransition` says what is possible instead. To approve
    and reject, call :func:`decide`, which also asks who."""
    try:
        return APPROVAL_TRANSITIONS[status, event]
    except KeyError:
        target = _TARGETS[event]
        message = (f"the request is {status} already" if target is status
                   else f"a request that is {status} cannot become {target}")
        raise ForbiddenTransition(message, before=status, after=target, fix=_ways_from(status)) from None


def decide(status: ApprovalStatus, *, approve: bool, requested_by: str, decided_by: str,
           requested_through: str | None = None, decided_through: str | None = None) -> ApprovalStatus:
    """Approved or rejected, by somebody else than the requester.

    ``…_through`` is the platform admin behind an impersonated user, if any. :class:`SelfApproval` when one person would
    be on both sides, :class:`ForbiddenTransition` when there is nothing to decide any more.
    """
    decided = move_approval(status, ApprovalEvent.APPROVE if approve else ApprovalEvent.REJECT)
    asking = people(requested_by, requested_through)
    if asking & people(decided_by, decided_through):
        raise SelfApproval(f"{decided_by} asked for this step, and cannot decide on it",
                           fix="somebody else with the role approves or rejects it")
    return decided


def spend(status: ApprovalStatus) -> ApprovalStatus:
    """The status after the approved step is carried out; :class:`ForbiddenTransition` unless it is approved and not yet
    spent, so that no approval serves twice. Belongs into the transaction of the step."""
    return move_approval(status, ApprovalEvent.EXECUTE)


def allowed_approval_pairs() -> list[tuple[str, str]]:
    """The table as rows (before, after), for the database to check again; sorted."""
    return sorted((str(before), str(after)) for (before, _), after in APPROVAL_TRANSITIONS.items())


def people(*names: str | None) -> set[str]:
    """The identities behind one act: who did it, and the platform admin behind an impersonated user. Two acts are one
    person's when they share any of them."""
    return {name.strip().casefold() for name in names if name}


def _ways_from(status: ApprovalStatus) -> str:
    events = [event for before, event in APPROVAL_TRANSITIONS if before is status]
    return f"you can {' or '.join(events)} it" if events else "ask for the step anew"
