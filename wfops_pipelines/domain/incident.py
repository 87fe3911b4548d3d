"""The lifecycle of a drift incident (§10.2), its severity (§10.1) and its title.

An incident begins ``detected``. The rules:

* Somebody ``acknowledges`` it (I have seen it, I take care), which also wakes an ``expired`` one.
* One that nobody acknowledges within its TTL ``expires``. It stays the environment's open incident.
* Once acknowledged, it can be ``stabilised`` (it does no harm for now, with a reason) and ``reconciled`` (Git and n8n are
  made to agree, with a resolution); one may reconcile without stabilising. What is reconciled can only be closed.
* Whatever is open can be ``closed``, by hand or because a check finds no drift any more (§10.4). It can be ``cancelled``
  (it never should have been one), but no longer once it is reconciled: something was done about it.
* ``closed`` and ``cancelled`` are terminal, also for admins. From every other status an admin may force every event.
* No status follows itself, by force neither: a second acknowledgement would replace who did it first.

:data:`TRANSITIONS` is these rules. The database checks the same pairs again, and the diagram in
``docs/incident-lifecycle.md`` is drawn from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from itertools import product
from types import MappingProxyType
from typing import Final

from wfops_pipelines.domain.diff_text import visible
from wfops_pipelines.domain.drift import DriftKind
from wfops_pipelines.domain.errors import ForbiddenTransition, UsageError
from wfops_pipelines.domain.line_diff import shorten
from wfops_pipelines.domain.masking import mask_text
from wfops_pipelines.domain.ranked import Ranked


class IncidentStatus(StrEnum):
    """Where an incident is in its life."""

    DETECTED = "detected"
    EXPIRED = "expired"
    ACKNOWLEDGED = "acknowledged"
    STABILIZED = "stabilized"
    RECONCILED = "reconciled"
    CLOSED = "closed"
    CANCELLED = "cancelled"

    @property
    def is_open(self) -> bool:
        """Whether it is its environment's open incident."""
        return self not in TERMINAL

    @property
    def is_acknowledged(self) -> bool:
        """Whether somebody takes care of it: what §9 calls acknowledged, and what stops ``escalated`` (§10.3)."""
        return self in {IncidentStatus.ACKNOWLEDGED, IncidentStatus.STABILIZED, IncidentStatus.RECONCILED}


class IncidentEvent(StrEnum):
    """What happens to an incident. ``expire`` is the clock's, all others are somebody's."""

    ACKNOWLEDGE = "acknowledge"
    EXPIRE = "expire"
    STABILIZE = "stabilize"
    RECONCILE = "reconcile"
    CLOSE = "close"
    CANCEL = "cancel"


TARGETS: Final[Mapping[IncidentEvent, IncidentStatus]] = MappingProxyType({
    IncidentEvent.ACKNOWLEDGE: IncidentStatus.ACKNOWLEDGED,
    IncidentEvent.EXPIRE: IncidentStatus.EXPIRED,
    IncidentEvent.STABILIZE: IncidentStatus.STABILIZED,
    IncidentEvent.RECONCILE: IncidentStatus.RECONCILED,
    IncidentEvent.CLOSE: IncidentStatus.CLOSED,
    IncidentEvent.CANCEL: IncidentStatus.CANCELLED,
})
"""What each event makes of an incident, wherever it is allowed."""

_ALLOWED: Final[Mapping[IncidentStatus, tuple[IncidentEvent, ...]]] = {
    IncidentStatus.DETECTED: (
        IncidentEvent.ACKNOWLEDGE, IncidentEvent.EXPIRE, IncidentEvent.CLOSE, IncidentEvent.CANCEL,
    ),
    IncidentStatus.EXPIRED: (IncidentEvent.ACKNOWLEDGE, IncidentEvent.CLOSE, IncidentEvent.CANCEL),
    IncidentStatus.ACKNOWLEDGED: (
        IncidentEvent.STABILIZE, IncidentEvent.RECONCILE, IncidentEvent.CLOSE, IncidentEvent.CANCEL,
    ),
    IncidentStatus.STABILIZED: (IncidentEvent.RECONCILE, IncidentEvent.CLOSE, IncidentEvent.CANCEL),
    IncidentStatus.RECONCILED: (IncidentEvent.CLOSE,),
    IncidentStatus.CLOSED: (),
    IncidentStatus.CANCELLED: (),
}

TRANSITIONS: Final[Mapping[tuple[IncidentStatus, IncidentEvent], IncidentStatus]] = MappingProxyType({
    (status, event): TARGETS[event] for status, events in _ALLOWED.items() for event in events
})
"""The table: from a status, by an event, to a status. What is not in it needs an admin's force, or is impossible."""

TERMINAL: Final = frozenset(status for status, events in _ALLOWED.items() if not events)
OPEN: Final = frozenset(IncidentStatus) - TERMINAL


def move(status: IncidentStatus, event: IncidentEvent, *, forced: bool = False) -> IncidentStatus:
    """The status that ``event`` makes of ``status``. ``forced`` is an admin's: the caller has checked the role.

    :class:`ForbiddenTransition` names what is allowed from here.
    """
    target = TARGETS[event]
    if (status, event) in TRANSITIONS or (forced and status.is_open and target is not status):
        return target
    if status is target:
        message = f"the incident is {status} already"
    elif status in TERMINAL:
        message = f"the incident is {status}, which is final: it cannot become {target}"
    else:
        message = f"an incident that is {status} cannot become {target}"
    raise ForbiddenTransition(message, before=status, after=target, fix=_ways_from(status))


def allowed_events(status: IncidentStatus, *, forced: bool = False) -> tuple[IncidentEvent, ...]:
    """What can happen from here, in the order of the lifecycle: the next steps to offer."""
    if not forced:
        return _ALLOWED[status]
    return tuple(event for event in IncidentEvent if status.is_open and TARGETS[event] is not status)


def allowed_pairs() -> list[tuple[str, str]]:
    """The table as rows (before, after), for the database to check again; sorted."""
    return sorted((str(before), str(after)) for (before, _), after in TRANSITIONS.items())


def forced_only_pairs() -> list[tuple[str, str]]:
    """The rows (before, after) that only an admin's force allows; sorted, none of them in :func:`allowed_pairs`."""
    regular = {(before, after) for (before, _), after in TRANSITIONS.items()}
    return sorted((str(before), str(after)) for before, after in product(OPEN, TARGETS.values())
                  if before is not after and (before, after) not in regular)


class Resolution(StrEnum):
    """How an incident was settled (§10.2, §10.4)."""

    REVERT = "revert"  # Git's content was written to n8n
    PROMOTE = "promote"  # n8n's content was committed to Git
    REPLACE = "replace"  # a given version was written to n8n
    ACKNOWLEDGE = "acknowledge"  # it stays as it is, with the reason why
    DRIFT_GONE = "drift_gone"  # a later check found no drift: nobody chooses it, the incident closes itself

    @property
    def acts(self) -> bool:
        """Whether it changes n8n or Git."""
        return self in {Resolution.REVERT, Resolution.PROMOTE, Resolution.REPLACE}


RECONCILING: Final = (Resolution.REVERT, Resolution.PROMOTE, Resolution.REPLACE, Resolution.ACKNOWLEDGE)
"""The resolutions that somebody can choose."""


def check_step(event: IncidentEvent, *, reason: str | None = None, resolution: Resolution | None = None) -> None:
    """Pass when what the step needs is there, for an admin's forced one too: a reason to stabilise and to accept drift as
    it is, a resolution to reconcile. :class:`UsageError` says what is missing."""
    needs_reason = event is IncidentEvent.STABILIZE or (
        event is IncidentEvent.RECONCILE and resolution is Resolution.ACKNOWLEDGE)
    if event is IncidentEvent.RECONCILE and resolution not in RECONCILING:
        raise UsageError("reconciling an incident needs a resolution", fix=f"one of {', '.join(RECONCILING)}")
    if resolution is not None and event is not IncidentEvent.RECONCILE and (
            event is not IncidentEvent.CLOSE or resolution is not Resolution.DRIFT_GONE):
        raise UsageError(f"the resolution {resolution} does not go with {event}", fix="it goes with reconcile")
    if needs_reason and not (reason or "").strip():
        what = "stabilising an incident" if event is IncidentEvent.STABILIZE else "the resolution acknowledge"
        raise UsageError(f"{what} needs a reason", fix="say in a few words why it can stay as it is")


class Severity(Ranked):
    """How bad an incident is, lowest first."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


def severity_of(affected: int) -> Severity:
    """Severity by the number of workflows that drift (§10.1): 10 or more critical, 5 high, 2 medium, else low."""
    if affected >= 10:
        return Severity.CRITICAL
    if affected >= 5:
        return Severity.HIGH
    return Severity.MEDIUM if affected >= 2 else Severity.LOW


def risen(old: Severity, new: Severity) -> Severity:
    """The severity of an open incident after a check that found ``new``: it rises with the drift and never falls."""
    return max(old, new)


_DONE: Final = {
    DriftKind.MODIFIED: "changed", DriftKind.ADDED_IN_RUNTIME: "added outside Git", DriftKind.MISSING_IN_RUNTIME: "missing",
    DriftKind.ACTIVATION: "switched on or off", DriftKind.UNPUBLISHED_CHANGES: "edited and not published",
}
_NAME_WIDTH: Final = 60
_TITLE_WIDTH: Final = 160


def incident_title(drifts: Iterable[tuple[str, DriftKind]], *, tenant: str, environment: str) -> str:
    """What changed and where, on one line of about 160 characters: ``3 workflows changed in acme/prod: Orders, Billing, …``.

    ``drifts`` are the workflows' names and main kinds, in the order to name them; where kinds differ, each name says its
    own. Names are masked like every rendering, and characters that show nothing are escaped.
    """
    found = list(drifts)
    kinds = {kind for _, kind in found}
    done = _DONE[kinds.pop()] if len(kinds) == 1 else "drifted"
    title = f"{len(found)} workflow{'' if len(found) == 1 else 's'} {done} in {tenant}/{environment}"
    for i, (name, kind) in enumerate(found):
        shown = shorten(visible(mask_text(name)).replace("\t", " "), _NAME_WIDTH) or "(no name)"
        part = f"{': ' if i == 0 else ', '}{shown}{f' ({_DONE[kind]})' if done == 'drifted' else ''}"
        if i and len(title) + len(part) > _TITLE_WIDTH:
            return f"{title}, …"
        title += part
    return title


def _ways_from(status: IncidentStatus) -> str:
    events = [event for event in allowed_events(status) if event is not IncidentEvent.EXPIRE]  # the clock's
    if not events:
        return "drift that is found again opens a new incident"
    return f"from {status} you can {', '.join(events)}" if len(events) > 1 else f"from {status} you can only {events[0]}"
