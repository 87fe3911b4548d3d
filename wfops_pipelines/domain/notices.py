"""What people can be told of (§16): one typed notice for each kind of event.

A notice says what happened, to which thing (``subject``, by which messages keep their order), how bad it is, and which
time of this kind it is (``occurrence``, so that each is told once and the second one is not taken for the first).
Those about incidents are written in ``incident_notices``; rendering is in ``notification``: names come in as they are,
and are masked there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from wfops_pipelines.domain.alerts import AlertEvent, AlertEventKind
from wfops_pipelines.domain.fleet_fields import NotificationEvent
from wfops_pipelines.domain.incident import Severity
from wfops_pipelines.domain.incident_notices import (
    ApprovalRequested,
    IncidentClosed,
    IncidentEscalated,
    IncidentOf,
    IncidentOpened,
    IncidentSeverityRisen,
)
from wfops_pipelines.domain.shown import moment

__all__ = ["AlertNotice", "ApprovalRequested", "DeploymentFailed", "EnvironmentDown", "IncidentClosed",
           "IncidentEscalated", "IncidentOf", "IncidentOpened", "IncidentSeverityRisen", "Notice", "NotificationEvent",
           "PromotionNotice", "SyncFailing", "TestNotice"]


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
        """Labelled facts, in the order to read them. Labels are ours, values are not, unless they are ``Ours``."""


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
