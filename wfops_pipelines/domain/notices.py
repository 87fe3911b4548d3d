"""What people can be told of (§16): one typed notice for each kind of event.

A notice says what happened, to which thing (``subject``, by which messages keep their order), how bad it is, and which
time of this kind it is (``occurrence``, so that each is told once and the second one is not taken for the first).
Rendering is in ``notification``; names come in as they are, and are masked there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol
from uuid import UUID

from wfops_pipelines.domain.alerts import AlertEvent, AlertEventKind
from wfops_pipelines.domain.approval import ApprovalKind
from wfops_pipelines.domain.escalation import Escalation
from wfops_pipelines.domain.fleet_fields import NotificationEvent
from wfops_pipelines.domain.incident import IncidentStatus, Resolution, Severity

__all__ = ["AlertNotice", "ApprovalRequested", "DeploymentFailed", "EnvironmentDown", "IncidentClosed",
           "IncidentEscalated", "IncidentOf", "IncidentOpened", "IncidentSeverityRisen", "Notice", "NotificationEvent",
           "PromotionNotice", "SyncFailing", "TestNotice"]

_SHOWN: Final = 10  # names of workflows in one message


class Notice(Protocol):
    """What rendering and delivery need of a notice."""

    @property
    def tenant(self) -> str:
        """Slug of the tenant that is told."""

    @property
    def at(self) -> datetime:
        """When it happened, aware."""

    @property
    def event(self) -> NotificationEvent | None:
        """The event that targets choose by; ``None`` for a test, which goes to the target it names."""

    @property
    def severity(self) -> Severity:
        """How bad it is: critical ones may pass through quiet hours."""

    @property
    def good(self) -> bool:
        """Whether it is good news: shown with a tick, whatever the severity of what it is about."""

    @property
    def subject(self) -> str:
        """What it is about, ``incident:UUID``: messages of one subject reach a target in order."""

    @property
    def occurrence(self) -> str:
        """Tells this event of this subject from others of the same kind."""

    @property
    def environment(self) -> str | None:
        """Slug of the environment, where there is one."""

    def headline(self) -> str:
        """One sentence without its end."""

    def details(self) -> Sequence[tuple[str, str]]:
        """Labelled facts, in the order to read them."""


@dataclass(frozen=True, slots=True)
class IncidentOf:
    """The incident that a notice is about, as it is after the event. ``cause`` and ``reach`` are one-line texts,
    ``workflows`` names."""

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
        found = [("Environment", f"{self.tenant} / {self.environment}"), ("Incident", str(self.incident_id)),
                 ("Severity", self.severity.value), ("Status", self.status.value), ("Detected", moment(self.detected_at))]
        if self.expires_at and self.status.is_open:
            found.append(("To be settled by", moment(self.expires_at)))
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
        return "Look at it", f"wfops incident show {self.incident_id}"


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
        first = [("Escalation", _words(self.level))]
        if self.missed:
            first.append(("Passed without notice", ", ".join(map(_words, self.missed))))
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
        return [("Severity before", self.before.value), *self.incident.details(), self.incident.next_step()]


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
        first = [("Requested by", self.requested_by), ("For", self.kind.value)]
        if self.reason:
            first.append(("Reason", self.reason))
        return [*first, ("Approve it", f"wfops incident approve {self.approval_id}"), *self.incident.details()]


@dataclass(frozen=True, slots=True)
class _AboutThing:
    """What the other notices share: a thing of a tenant, and what is wrong with it."""

    tenant: str
    at: datetime
    environment: str | None
    reason: str
    severity: Severity = field(default=Severity.HIGH, kw_only=True)

    @property
    def good(self) -> bool:
        return False

    @property
    def occurrence(self) -> str:
        return self.at.astimezone(UTC).isoformat()

    @property
    def _place(self) -> str:
        return f"{self.tenant} / {self.environment}" if self.environment else self.tenant

    def details(self) -> Sequence[tuple[str, str]]:
        """Place, reason and time."""
        return [("Environment", self._place), ("Reason", self.reason), ("Time", moment(self.at))]


@dataclass(frozen=True, slots=True)
class PromotionNotice(_AboutThing):
    """A promotion failed, was rolled back, or waits for an approval; ``environment`` is its target."""

    promotion_id: UUID
    event: NotificationEvent
    source: str

    @property
    def subject(self) -> str:
        """The promotion."""
        return f"promotion:{self.promotion_id}"

    def headline(self) -> str:
        """``Promotion dev → prod of acme failed``."""
        what = {NotificationEvent.PROMOTION_FAILED: "failed", NotificationEvent.PROMOTION_ROLLED_BACK: "was rolled back",
                NotificationEvent.PROMOTION_WAITING: "waits for approval"}[self.event]
        return f"Promotion {self.source} → {self.environment} of {self.tenant} {what}"


@dataclass(frozen=True, slots=True)
class EnvironmentDown(_AboutThing):
    """An environment does not answer; ``at`` is since when, so that one outage is told once."""

    @property
    def event(self) -> NotificationEvent:
        """``environment.down``."""
        return NotificationEvent.ENVIRONMENT_DOWN

    @property
    def subject(self) -> str:
        """The environment."""
        return f"environment:{self.tenant}/{self.environment}"

    def headline(self) -> str:
        """``acme / prod is down``."""
        return f"{self._place} is down"


@dataclass(frozen=True, slots=True)
class SyncFailing(_AboutThing):
    """The sync or check of an environment fails again and again; ``at`` is when the first of them failed."""

    failures: int

    @property
    def event(self) -> NotificationEvent:
        """``sync.failing``."""
        return NotificationEvent.SYNC_FAILING

    @property
    def subject(self) -> str:
        """The environment."""
        return f"environment:{self.tenant}/{self.environment}"

    def headline(self) -> str:
        """``Sync of acme / prod failed 3 times in a row``."""
        return f"Sync of {self._place} failed {self.failures} times in a row"


@dataclass(frozen=True, slots=True)
class DeploymentFailed(_AboutThing):
    """A deployment failed."""

    deployment_id: UUID

    @property
    def event(self) -> NotificationEvent:
        """``deployment.failed``."""
        return NotificationEvent.DEPLOYMENT_FAILED

    @property
    def subject(self) -> str:
        """The deployment."""
        return f"deployment:{self.deployment_id}"

    def headline(self) -> str:
        """``Deployment to acme / prod failed``."""
        return f"Deployment to {self._place} failed"


@dataclass(frozen=True, slots=True)
class AlertNotice:
    """An alert rule fired, still fires, or is clear again; ``environment`` is ``None`` for a rule of the whole tenant."""

    tenant: str
    rule_id: UUID
    told: AlertEvent
    environment: str | None = None

    @property
    def at(self) -> datetime:
        """The evaluation."""
        return self.told.at

    @property
    def event(self) -> NotificationEvent:
        """``alert.fired`` or ``alert.cleared``."""
        return NotificationEvent.ALERT_CLEARED if self.good else NotificationEvent.ALERT_FIRED

    @property
    def severity(self) -> Severity:
        """The rule's."""
        return self.told.rule.severity

    @property
    def good(self) -> bool:
        """It is clear again."""
        return self.told.kind is AlertEventKind.CLEARED

    @property
    def subject(self) -> str:
        """The rule."""
        return f"alert:{self.rule_id}"

    @property
    def occurrence(self) -> str:
        """The evaluation."""
        return self.told.at.astimezone(UTC).isoformat()

    def headline(self) -> str:
        """``Alert for acme: many fires: 4 environments (rule: …)``."""
        place = f"{self.tenant} / {self.environment}" if self.environment else self.tenant
        return f"Alert for {place}: {self.told.words()}"

    def details(self) -> Sequence[tuple[str, str]]:
        """Rule, metric and times."""
        rule = self.told.rule
        return [("Rule", f"{rule.name}: {rule.words()}"), ("Metric", rule.metric.description),
                ("Severity", rule.severity.value), ("Since", moment(self.told.since)), ("Time", moment(self.told.at))]


@dataclass(frozen=True, slots=True)
class TestNotice:
    """What ``wfops notify test`` sends."""

    __test__ = False  # no test, whatever its name tells pytest
    tenant: str
    at: datetime
    target: str
    by: str

    @property
    def event(self) -> None:
        """None: it goes to its target, whatever that chose."""

    @property
    def severity(self) -> Severity:
        """Not bad."""
        return Severity.LOW

    @property
    def good(self) -> bool:
        """It arrived."""
        return True

    @property
    def environment(self) -> None:
        """None."""

    @property
    def subject(self) -> str:
        """The target."""
        return f"test:{self.target}"

    @property
    def occurrence(self) -> str:
        """Each test is one of its own."""
        return self.at.astimezone(UTC).isoformat()

    def headline(self) -> str:
        """``Test message to on-call of acme``."""
        return f"Test message to {self.target} of {self.tenant}"

    def details(self) -> Sequence[tuple[str, str]]:
        """Who sent it and when."""
        return [("Sent by", self.by), ("Time", moment(self.at))]


def moment(at: datetime) -> str:
    """``2026-01-01 10:00 UTC``."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _words(word: str) -> str:
    return str(word).replace("_", " ")
