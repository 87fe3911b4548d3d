"""Time in an incident's life: its TTL, and escalation as a second axis beside the status (§10.3).

The TTL runs from detection to ``expires_at``. At 25 % of it an incident that nobody has acknowledged is ``escalated``, at
75 % any open one is ``critical_overdue``, at 100 % ``overdue``; then a ``detected`` one also expires. A sweep asks
:func:`due` and records what it says; :func:`next_due` tells when it has to look again.

* **Each level is reached once.** What is recorded is the highest level reached, and it never falls. A level below it that
  was never reached (``escalated`` of an incident acknowledged in time) is over.
* **After an outage** one sweep finds several levels passed. Only the highest is reached; the others are named as missed.
* **What counts is the status when the sweep looks**: of an incident acknowledged between 25 % of the TTL and the sweep,
  nobody has to be told any more.
* **An extension** moves the end, and with it 25 % and 75 % of what is now a longer TTL, for the levels still to come. A
  level reached stays reached, and is not reached again at its new time. So an incident that was overdue and was
  given more time is no longer :func:`past_ttl` (which is what gates ask), keeps ``overdue`` as the level it
  reached, and does not escalate a second time; nor does one that expired become ``detected`` again.
* **A rise in severity** can only bring the end forward: the earlier of the current end and that of the new severity's TTL
  holds, also where the current one was extended. An end that is thereby past is found by the next sweep.

All times are aware; the caller brings ``now``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.domain.incident import IncidentStatus, Severity
from wfops_pipelines.domain.ranked import Ranked

MAX_EXTENSION_HOURS: Final = 8760
"""The longest single extension: as long as the longest TTL."""


class Escalation(Ranked):
    """How far an incident has escalated, lowest first."""

    NONE = "none"
    ESCALATED = "escalated"
    CRITICAL_OVERDUE = "critical_overdue"
    OVERDUE = "overdue"


@dataclass(frozen=True, slots=True)
class Due:
    """What a sweep has to record: the level now reached, and those below it that were passed unseen, lowest first.
    ``expires``: the status becomes ``expired`` in the same step."""

    level: Escalation
    missed: tuple[Escalation, ...] = ()
    expires: bool = False


def deadlines(detected_at: datetime, expires_at: datetime) -> dict[Escalation, datetime]:
    """When each level is due, in their order: at 25 %, 75 % and 100 % of the TTL, to the microsecond."""
    ttl = expires_at - detected_at
    return {
        Escalation.ESCALATED: detected_at + ttl / 4,
        Escalation.CRITICAL_OVERDUE: detected_at + ttl * 3 / 4,
        Escalation.OVERDUE: expires_at,
    }


def due(*, status: IncidentStatus, reached: Escalation, detected_at: datetime, expires_at: datetime,
        now: datetime) -> Due | None:
    """What is due for an incident now; none where nothing is. ``reached`` is the level recorded for it."""
    passed = [level for level, at in _to_come(status, reached, detected_at, expires_at).items() if at <= now]
    if not passed:
        return None
    level = passed[-1]
    return Due(level, tuple(passed[:-1]), expires=level is Escalation.OVERDUE and status is IncidentStatus.DETECTED)


def next_due(*, status: IncidentStatus, reached: Escalation, detected_at: datetime,
             expires_at: datetime) -> datetime | None:
    """The earliest time at which :func:`due` says something; none where it never will. It changes with each of the
    arguments: store it anew with every step, extension, rise and level, and sweep where it is not after now."""
    return min(_to_come(status, reached, detected_at, expires_at).values(), default=None)


def past_ttl(expires_at: datetime, now: datetime) -> bool:
    """Whether an open incident's TTL is over now, whatever level it reached: what ``enforce_ttl`` asks (§11.5)."""
    return expires_at <= now


def expires_at(detected_at: datetime, severity: Severity, ttls: Mapping[Severity, int]) -> datetime:
    """The end of a new incident's TTL; ``ttls`` are hours by severity."""
    return detected_at + timedelta(hours=ttls[severity])


def on_severity_risen(current_end: datetime, detected_at: datetime, new_severity: Severity,
                      ttls: Mapping[Severity, int]) -> datetime:
    """The end of the TTL after the severity rose: the earlier of both."""
    return min(current_end, expires_at(detected_at, new_severity, ttls))


def extended(current_end: datetime, hours: int) -> datetime:
    """The end of the TTL, ``hours`` later (1 to 8760); :class:`UsageError` for other numbers. It counts from the end, not
    from now: an end long past may be past still."""
    if not 1 <= hours <= MAX_EXTENSION_HOURS:
        raise UsageError(f"an incident can be extended by 1 to {MAX_EXTENSION_HOURS} hours, not by {hours}",
                         fix="give a whole number of hours")
    try:
        return current_end + timedelta(hours=hours)
    except OverflowError:
        raise UsageError("the incident's end is too far in the future to be extended",
                         fix="close it, or let it expire") from None


def check_extension(status: IncidentStatus, reason: str | None) -> None:
    """Pass when the TTL of such an incident can be extended: it is open, and there is a reason (§10.3).
    :class:`UsageError` says what is missing."""
    if not status.is_open:
        raise UsageError(f"the incident is {status}: it has no TTL any more", fix="extend an open incident")
    if not (reason or "").strip():
        raise UsageError("extending an incident needs a reason", fix="say in a few words why it needs longer")


def _to_come(status: IncidentStatus, reached: Escalation, detected_at: datetime,
             expires_at: datetime) -> dict[Escalation, datetime]:
    """The levels that can still be reached, with their times, lowest first."""
    if not status.is_open:
        return {}
    return {level: at for level, at in deadlines(detected_at, expires_at).items()
            if level > reached and not (level is Escalation.ESCALATED and status.is_acknowledged)}
