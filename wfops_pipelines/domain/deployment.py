"""The lifecycle of a deployment (§12): a promotion that is started at its time, with a result for each workflow.

A deployment begins ``pending``. The rules:

* It is ``scheduled`` for a time (now is one too), and ``running`` from then on; it ends ``completed`` or ``failed``.
* Before it runs it can be ``cancelled``.
* One that nobody started within an hour of its time is not started any more: it fails. Who chose a time chose it for a
  reason, and the system may have been away for days.
* A running one whose run is dead, or that showed no heartbeat for 10 minutes, is stale: its promotion is recovered
  (§11.8), and only then it fails, or completes if the promotion did.
* ``completed``, ``failed`` and ``cancelled`` are terminal. No status follows itself.

Batches of deployments are in ``deployment_batch``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from wfops_pipelines.domain.errors import ForbiddenTransition, UsageError
from wfops_pipelines.domain.promotion import PromotionStatus
from wfops_pipelines.domain.shown import one_line

STALE_AFTER: Final = timedelta(minutes=10)
"""Without a heartbeat for this long, a running deployment is stale."""

MISSED_AFTER: Final = timedelta(hours=1)
"""What was not started so long after its time is not started any more."""


class DeploymentStatus(StrEnum):
    """Where a deployment is in its life."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing follows."""
        return self in DEPLOYMENT_TERMINAL


class DeploymentEvent(StrEnum):
    """What happens to a deployment."""

    SCHEDULE = "schedule"
    START = "start"
    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL = "cancel"


DEPLOYMENT_TARGETS: Final[Mapping[DeploymentEvent, DeploymentStatus]] = MappingProxyType({
    DeploymentEvent.SCHEDULE: DeploymentStatus.SCHEDULED,
    DeploymentEvent.START: DeploymentStatus.RUNNING,
    DeploymentEvent.COMPLETE: DeploymentStatus.COMPLETED,
    DeploymentEvent.FAIL: DeploymentStatus.FAILED,
    DeploymentEvent.CANCEL: DeploymentStatus.CANCELLED,
})
"""What each event makes of a deployment, wherever it is allowed."""

_ALLOWED: Final[Mapping[DeploymentStatus, tuple[DeploymentEvent, ...]]] = {
    DeploymentStatus.PENDING: (DeploymentEvent.SCHEDULE, DeploymentEvent.CANCEL),
    DeploymentStatus.SCHEDULED: (DeploymentEvent.START, DeploymentEvent.CANCEL),
    DeploymentStatus.RUNNING: (DeploymentEvent.COMPLETE, DeploymentEvent.FAIL),
    DeploymentStatus.COMPLETED: (),
    DeploymentStatus.FAILED: (),
    DeploymentStatus.CANCELLED: (),
}

DEPLOYMENT_TRANSITIONS: Final[Mapping[tuple[DeploymentStatus, DeploymentEvent], DeploymentStatus]] = MappingProxyType({
    (status, event): DEPLOYMENT_TARGETS[event] for status, events in _ALLOWED.items() for event in events
})

DEPLOYMENT_TERMINAL: Final = frozenset(status for status, events in _ALLOWED.items() if not events)


def move_deployment(status: DeploymentStatus, event: DeploymentEvent) -> DeploymentStatus:
    """The status that ``event`` makes of ``status``; :class:`ForbiddenTransition` names what is allowed from here."""
    try:
        return DEPLOYMENT_TRANSITIONS[status, event]
    except KeyError:
        target = DEPLOYMENT_TARGETS[event]
        message = (f"the deployment is {status} already" if target is status
                   else f"a deployment that is {status} cannot become {target}")
        raise ForbiddenTransition(message, before=status, after=target, fix=_ways_from(status)) from None


def allowed_deployment_events(status: DeploymentStatus) -> tuple[DeploymentEvent, ...]:
    """What can happen from here, in the order of the lifecycle."""
    return _ALLOWED[status]


def allowed_deployment_pairs() -> list[tuple[str, str]]:
    """The table as rows (before, after), for the database to check again; sorted."""
    return sorted((str(before), str(after)) for (before, _), after in DEPLOYMENT_TRANSITIONS.items())


def outcome_of(promotion: PromotionStatus) -> DeploymentEvent | None:
    """What the promotion's status makes of the running deployment around it; none while the promotion goes on.

    One that completed with errors fails its deployment: a batch must not go on to the next wave on it.
    """
    if promotion is PromotionStatus.COMPLETED:
        return DeploymentEvent.COMPLETE
    if promotion.is_waiting or promotion is PromotionStatus.RUNNING:
        return None
    return DeploymentEvent.FAIL


# -- time ------------------------------------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class ScheduledDeployment:
    """A deployment that waits for its time; ``starts_at`` is aware."""

    deployment_id: UUID
    starts_at: datetime


def due(deployments: Iterable[ScheduledDeployment], now: datetime) -> list[ScheduledDeployment]:
    """Those whose time has come, the longest waiting first. Asked every few seconds, each starts within 15 s (§12)."""
    return sorted((each for each in deployments if each.starts_at <= now),
                  key=lambda each: (each.starts_at, str(each.deployment_id)))


def missed(starts_at: datetime, now: datetime) -> bool:
    """Whether a deployment that was not started by now has missed its time."""
    return now - starts_at > MISSED_AFTER


def check_time(starts_at: datetime, now: datetime) -> None:
    """Pass for an aware time that is not past by more than a minute; :class:`UsageError` says what is wrong."""
    if starts_at.tzinfo is None:
        raise UsageError("the time to deploy at has no time zone", fix="write it like 2026-01-31T22:00:00+01:00")
    if starts_at < now - timedelta(minutes=1):
        raise UsageError("the time to deploy at is past", fix="give a later one, or none to deploy now")


class Stale(StrEnum):
    """Why a running deployment has to be recovered."""

    DEAD_RUN = "dead_run"
    NO_HEARTBEAT = "no_heartbeat"


def staleness(*, started_at: datetime, heartbeat_at: datetime | None, run_alive: bool | None, now: datetime) -> Stale | None:
    """Why a running deployment is stale, if it is. ``run_alive`` is ``None`` where Dagster cannot tell: then, and for a
    run that lives and hangs, the heartbeat decides (before the first one, the start)."""
    if run_alive is False:
        return Stale.DEAD_RUN
    last = max(started_at, heartbeat_at) if heartbeat_at is not None else started_at
    return Stale.NO_HEARTBEAT if now - last >= STALE_AFTER else None


# -- results ---------------------------------------------------------------------------------------------------------------

class ResultStatus(StrEnum):
    """What became of one workflow."""

    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"  # unchanged, or not reached any more


@dataclass(frozen=True, slots=True)
class WorkflowResult:
    """One workflow of a deployment. ``key`` is the plan's; ``action`` what was to be done; ``message`` is for people and
    may come from n8n: shown masked."""

    key: str
    name: str
    action: str
    status: ResultStatus
    message: str
    at: datetime

    def as_json(self) -> dict[str, Any]:
        """Plain JSON, the message masked and on one line."""
        return {**asdict(self), "name": one_line(self.name, 200), "status": str(self.status),
                "message": one_line(self.message, 500), "at": self.at.isoformat()}


def results_of_promotion(workflows: Iterable[Mapping[str, Any]], at: datetime) -> list[WorkflowResult]:
    """What became of each workflow, of what an ended promotion says of them: those that were written and restored
    failed, those that were left out or never reached are skipped."""
    return [WorkflowResult(each["key"], each["name"], each["action"], _STATUS_OF.get(each["status"], ResultStatus.FAILED),
                           each.get("message") or _MESSAGE_OF.get(each["status"], ""), at) for each in workflows]


def not_reached(changes: Iterable[Mapping[str, Any]], why: str, at: datetime) -> list[WorkflowResult]:
    """The changes of a plan that was not carried out: all are skipped."""
    return [WorkflowResult(each["key"], each["name"], each["action"], ResultStatus.SKIPPED, why, at) for each in changes]


_STATUS_OF: Final[Mapping[str, ResultStatus]] = {
    "success": ResultStatus.SUCCESS, "skipped": ResultStatus.SKIPPED, "not_written": ResultStatus.SKIPPED}
_MESSAGE_OF: Final[Mapping[str, str]] = {
    "not_written": "not reached any more", "rolled_back": "written, and restored as it was before",
    "rollback_failed": "written, and could not be restored"}


def count_results(results: Iterable[WorkflowResult]) -> dict[str, int]:
    """Number of workflows per status, with zeros: ``{"success": 3, "failed": 0, "skipped": 1}``."""
    counts = Counter(result.status for result in results)
    return {str(status): counts[status] for status in ResultStatus}


def _ways_from(status: DeploymentStatus) -> str:
    events = allowed_deployment_events(status)
    return f"from {status} it can {' or '.join(events)}" if events else "it is final: deploy anew"
