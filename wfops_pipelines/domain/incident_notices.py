"""What people can be told of an incident (§10, §16): opened, escalated, worse, closed, waiting for an approval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from wfops_pipelines.domain.approval import ApprovalKind
from wfops_pipelines.domain.escalation import Escalation
from wfops_pipelines.domain.fleet_fields import NotificationEvent
from wfops_pipelines.domain.incident import IncidentStatus, Resolution, Severity
from wfops_pipelines.domain.shown import Ours, moment

_SHOWN: Final = 10  # names of workflows in one message


@dataclass(frozen=True, slots=True)
class IncidentOf:
    """The incident that a notice is about, as it is after the event. ``cause`` and ``reach`` are one-line texts,
    ``workflows`` names; ``tenant`` and ``environment`` are slugs, whose letters are checked."""

    incident_id: UUID
    tenant: str
    environment: str
    title: str
    severity: Severity
    status: IncidentStatus
    detected_at: datetime
    expires_at: datetime | None = None
    owner: str | None = None
    workflows: tuple[str, ...] = ()
    cause: str | None = None
    reach: str | None = None

    def details(self) -> list[tuple[str, str]]:
        """Facts that every notice about an incident ends with."""
        found: list[tuple[str, str]] = [
            ("Environment", Ours(f"{self.tenant} / {self.environment}")), ("Incident", Ours(self.incident_id)),
            ("Severity", Ours(self.severity)), ("Status", Ours(self.status)), ("Detected", Ours(moment(self.detected_at)))]
        if self.expires_at and self.status.is_open:
            found.append(("To be settled by", Ours(moment(self.expires_at))))
        if self.owner:
            found.append(("Owner", self.owner))
        if self.workflows:
            rest = len(self.workflows) - _SHOWN
            more = f" and {rest} more" if rest > 0 else ""
            found.append((f"Workflows ({len(self.workflows)})", ", ".join(self.workflows[:_SHOWN]) + more))
        if self.cause:
            found.append(("Cause", self.cause))
        if self.reach:
            found.append(("Reach", self.reach))
        return found

    def next_step(self) -> tuple[str, str]:
        """The command that shows it."""
        return "Look at it", Ours(f"wfops incident show {self.incident_id}")


@dataclass(frozen=True, slots=True)
class _AboutIncident:
    """What notices about an incident share."""

    incident: IncidentOf
    at: datetime

    @property
    def tenant(self) -> str:
        return self.incident.tenant

    @property
    def environment(self) -> str | None:
        return self.incident.environment

    @property
    def subject(self) -> str:
        return f"incident:{self.incident.incident_id}"

    @property
    def severity(self) -> Severity:
        return self.incident.severity

    @property
    def good(self) -> bool:
        return False

    @property
    def occurrence(self) -> str:
        return ""

    @property
    def _place(self) -> str:
        return f"{self.incident.tenant} / {self.incident.environment}"


@dataclass(frozen=True, slots=True)
class IncidentOpened(_AboutIncident):
    """A check found drift, and an incident was opened."""

    @property
    def event(self) -> NotificationEvent:
        """``incident.opened``."""
        return NotificationEvent.INCIDENT_OPENED

    def headline(self) -> str:
        """``Drift incident in acme / prod: 2 workflows changed``."""
        return f"Drift incident in {self._place}: {self.incident.title}"

    def details(self) -> Sequence[tuple[str, str]]:
        """The incident, and the command that shows it."""
        return [*self.incident.details(), self.incident.next_step()]


@dataclass(frozen=True, slots=True)
class IncidentEscalated(_AboutIncident):
    """An incident reached a level of escalation; ``missed`` are those passed unseen (an outage)."""

    level: Escalation
    missed: tuple[Escalation, ...] = ()

    @property
    def event(self) -> NotificationEvent:
        """``incident.escalated``."""
        return NotificationEvent.INCIDENT_ESCALATED

    @property
    def severity(self) -> Severity:
        """An overdue incident is critical to those who hear of it, however many workflows it is about."""
        return Severity.CRITICAL if self.level is Escalation.OVERDUE else self.incident.severity

    @property
    def occurrence(self) -> str:
        """Each level is told once (§10.3)."""
        return self.level.value

    def headline(self) -> str:
        """``Incident in acme / prod is critical overdue: …``."""
        return f"Incident in {self._place} is {_words(self.level)}: {self.incident.title}"

    def details(self) -> Sequence[tuple[str, str]]:
        """The level first, and the levels nobody was told of."""
        first: list[tuple[str, str]] = [("Escalation", _words(self.level))]
        if self.missed:
            first.append(("Passed without notice", Ours(", ".join(map(_words, self.missed)))))
        return [*first, *self.incident.details(), self.incident.next_step()]


@dataclass(frozen=True, slots=True)
class IncidentSeverityRisen(_AboutIncident):
    """Drift grew while an incident was open; ``incident.severity`` is the new one."""

    before: Severity

    @property
    def event(self) -> NotificationEvent:
        """``incident.severity_risen``."""
        return NotificationEvent.INCIDENT_SEVERITY_RISEN

    @property
    def occurrence(self) -> str:
        """It rises to each severity once."""
        return self.incident.severity.value

    def headline(self) -> str:
        """``Incident in acme / prod rose from low to high: …``."""
        rise = f"from {self.before.value} to {self.incident.severity.value}"
        return f"Incident in {self._place} rose {rise}: {self.incident.title}"

    def details(self) -> Sequence[tuple[str, str]]:
        """Both severities, then the incident."""
        return [("Severity before", Ours(self.before)), *self.incident.details(), self.incident.next_step()]


@dataclass(frozen=True, slots=True)
class IncidentClosed(_AboutIncident):
    """An incident ended, closed or cancelled."""

    by: str
    resolution: Resolution | None = None
    reason: str | None = None

    @property
    def event(self) -> NotificationEvent:
        """``incident.closed``."""
        return NotificationEvent.INCIDENT_CLOSED

    @property
    def good(self) -> bool:
        """It is settled."""
        return True

    def headline(self) -> str:
        """``Incident in acme / prod is closed (drift gone): …``."""
        how = f" ({_words(self.resolution)})" if self.resolution else ""
        return f"Incident in {self._place} is {self.incident.status.value}{how}: {self.incident.title}"

    def details(self) -> Sequence[tuple[str, str]]:
        """Who, how and why, then the incident."""
        first = [("By", self.by)]
        if self.resolution:
            first.append(("Resolution", _words(self.resolution)))
        if self.reason:
            first.append(("Reason", self.reason))
        return [*first, *self.incident.details()]


@dataclass(frozen=True, slots=True)
class ApprovalRequested(_AboutIncident):
    """Somebody else has to approve a step of an incident."""

    approval_id: UUID
    kind: ApprovalKind
    requested_by: str
    reason: str | None = None

    @property
    def event(self) -> NotificationEvent:
        """``approval.requested``."""
        return NotificationEvent.APPROVAL_REQUESTED

    @property
    def occurrence(self) -> str:
        """The request."""
        return str(self.approval_id)

    def headline(self) -> str:
        """``Ada asks to reconcile the incident in acme / prod: …``."""
        what = {ApprovalKind.EXTEND_TTL: "give more time to"}.get(self.kind, self.kind.value)
        return f"{self.requested_by} asks to {what} the incident in {self._place}: {self.incident.title}"

    def details(self) -> Sequence[tuple[str, str]]:
        """The request, the command that approves it, then the incident."""
        first = [("Requested by", self.requested_by), ("For", Ours(self.kind))]
        if self.reason:
            first.append(("Reason", self.reason))
        return [*first, ("Approve it", Ours(f"wfops incident approve {self.approval_id}")), *self.incident.details()]


def _words(word: Escalation | Resolution) -> Ours:
    return Ours(word.replace("_", " "))
