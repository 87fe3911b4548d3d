"""Deployments as people name them and see them: one, many, and a batch over tenants in one view (§12)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.deployment import DeploymentStatus, ResultStatus
from wfops_pipelines.domain.deployment_batch import BatchStatus, BatchStep, Waves, failures, next_step, progress
from wfops_pipelines.domain.errors import UnknownDeployment, UsageError, WfopsError
from wfops_pipelines.domain.shown import iso
from wfops_pipelines.services.id_prefixes import SHORTEST, ids_that_begin
from wfops_pipelines.services.promotion_options import JsonObject, PromotionOptions
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork

_LIST: Final = "`wfops deploy list` shows those there are, `wfops deploy list TENANT` a tenant's"


@dataclass
class DeploymentReport:
    """A deployment, as commands, runs and ``--json`` tell it. ``workflows`` is what became of each; ``progress`` is
    ``{current, total, percentage, message}``; ``error`` is what it failed with, where it was just carried out."""

    tenant: str
    source: str
    target: str
    status: str
    starts_at: str
    requested_by: str
    deployment_id: str | None = None
    requested_through: str | None = None
    requested_at: str | None = None
    started_at: str | None = None
    heartbeat_at: str | None = None
    ended_at: str | None = None
    message: str | None = None
    promotion: str | None = None
    promotion_status: str | None = None
    batch_id: str | None = None
    wave: int | None = None
    run_id: str | None = None
    options: JsonObject = field(default_factory=dict)
    workflows: list[JsonObject] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    progress: JsonObject = field(default_factory=dict)
    dry_run: bool = False
    notes: list[str] = field(default_factory=list)
    error: WfopsError | None = field(default=None, repr=False)

    def as_json(self) -> JsonObject:
        """As ``--json`` and metadata show it."""
        error, self.error = self.error, None
        try:
            document = asdict(self)
        finally:
            self.error = error
        del document["error"]
        return document


@dataclass(frozen=True, slots=True)
class NamedDeployment:
    """A deployment by its id."""

    tenant: str
    deployment_id: UUID
    target: str


@dataclass(frozen=True, slots=True)
class NamedBatch:
    """A batch by its id."""

    batch_id: UUID


def named(services: Services, name: str) -> NamedDeployment | NamedBatch:
    """The deployment or the batch, of any tenant, whose id this is or begins so.

    :class:`UnknownDeployment` when there is none, :class:`UsageError` when it cannot be an id or stands for several.
    """
    first, last = ids_that_begin(
        name, what="deployment", ways=f"its id or its batch's, or at least the first {SHORTEST} characters of it")
    with services.store.system() as system:
        rows = system.deployments_between(first, last)
        batches = system.batches_between(first, last)
    if len(rows) + len(batches) > 1:
        several = ", ".join([*(f"{row.id} ({row.tenant_slug})" for row in rows), *(f"{each} (batch)" for each in batches)])
        raise UsageError(f"{name!r} is the beginning of several deployments' ids", fix=f"write more of it: {several}")
    if rows:
        return NamedDeployment(rows[0].tenant_slug, rows[0].id, rows[0].target)
    if batches:
        return NamedBatch(batches[0])
    raise UnknownDeployment(f"there is no deployment {name!r}", fix=_LIST)


def named_deployment(services: Services, name: str) -> NamedDeployment:
    """As :func:`named`, of a deployment alone."""
    found = named(services, name)
    if isinstance(found, NamedBatch):
        raise UsageError(f"{name!r} is a batch", fix=f"`wfops deploy show {name}` names its members")
    return found


def asked_options(row: Row[Any]) -> PromotionOptions:
    """The options of the promotion that a deployment starts."""
    return PromotionOptions.from_json({key: value for key, value in row.options.items() if key != "requested_through"})


# -- one ---------------------------------------------------------------------------------------------------------------


def report_of(services: Services, context: Context, deployment_id: UUID) -> DeploymentReport:
    """A deployment as the store has it; :class:`UnknownDeployment`."""
    with services.store.read(context) as work:
        row = work.deployments.by_id(deployment_id)
        if row is None:
            raise UnknownDeployment(f"tenant {context.tenant_slug} has no deployment {deployment_id}", fix=_LIST)
        source, target = (work.fleet.environment(i).slug for i in (row.source_environment_id, row.target_environment_id))
        promotion = work.promotions.by_id(row.promotion_id) if row.promotion_id else None
        workflows = [_result(each) for each in work.deployments.results_of(row.id)]
        progress_ = _progress(work, row, promotion, workflows)
    report = DeploymentReport(**_shown(row, context.tenant_slug, source, target, promotion.number if promotion else None))
    report.promotion_status = promotion.status if promotion is not None else None
    report.workflows, report.progress = workflows, progress_
    report.counts = {str(status): sum(each["status"] == status for each in workflows) for status in ResultStatus}
    return report


def _shown(row: Row[Any], tenant: str, source: str, target: str, number: int | None) -> JsonObject:
    return {
        "tenant": tenant, "source": source, "target": target, "status": row.status, "deployment_id": str(row.id),
        "starts_at": row.starts_at.isoformat(), "requested_by": row.requested_by,
        "requested_through": row.options.get("requested_through"), "requested_at": iso(row.requested_at),
        "started_at": iso(row.started_at), "heartbeat_at": iso(row.heartbeat_at), "ended_at": iso(row.ended_at),
        "message": row.message, "promotion": f"{tenant}/p{number}" if number is not None else None,
        "batch_id": str(row.batch_id) if row.batch_id else None, "wave": row.wave, "run_id": row.run_id,
        "options": asked_options(row).as_json()}


def _result(row: Row[Any]) -> JsonObject:
    return {"key": row.key, "name": row.name, "action": row.action, "status": row.status, "message": row.message,
            "at": row.at.isoformat()}


def _progress(work: UnitOfWork, row: Row[Any], promotion: Row[Any] | None, workflows: Sequence[JsonObject]) -> JsonObject:
    """Of the writes that the promotion intended, how many are through."""
    status = DeploymentStatus(row.status)
    if status.is_terminal:
        return {"current": len(workflows), "total": len(workflows), "percentage": 100, "message": row.message or status}
    intended = work.journal.of_operation(promotion.operation_id) if promotion is not None and promotion.operation_id else []
    through = sum(each.state != "intended" for each in intended)
    if status is not DeploymentStatus.RUNNING:
        message = f"starts at {row.starts_at.isoformat(timespec='seconds')}" if status is DeploymentStatus.SCHEDULED else (
            "waits for the wave before it")
    elif not intended:
        message = "reading and planning"
    else:
        message = "writing" if through < len(intended) else "looking at what was written"
    return {"current": through, "total": len(intended), "message": message,
            "percentage": through * 100 // len(intended) if intended else 0}


# -- many --------------------------------------------------------------------------------------------------------------


def list_deployments(services: Services, context: Context | None = None, *, statuses: Collection[str] | None = None,
                     before: str | None = None, limit: int = 50) -> list[JsonObject]:
    """A tenant's deployments, or with no ``context`` everybody's, newest first: a page, ``before`` the id of the last of
    the page before."""
    unknown = sorted(set(statuses or ()) - set(DeploymentStatus))
    if unknown:
        raise UsageError(f"there is no status {unknown[0]!r}", fix=f"one of {', '.join(DeploymentStatus)}")
    after: tuple[datetime, UUID] | None = None
    if before is not None:
        last = named_deployment(services, before)
        with services.store.read(services.context(last.tenant, actor="system:look-up")) as work:
            row = work.deployments.by_id(last.deployment_id)
        assert row is not None  # noqa: S101 - deployments are never deleted
        after = (row.requested_at, row.id)
    with services.store.system() as system:
        rows = system.deployments(tenant_id=context.tenant_id if context is not None else None, statuses=statuses,
                                  before=after, limit=limit)
    return [_shown(row, row.tenant_slug, row.source, row.target, row.promotion_number) for row in rows]


# -- a batch -----------------------------------------------------------------------------------------------------------


@dataclass
class BatchReport:
    """A batch in one view. ``status`` is ``running``, ``completed``, ``stopping`` or ``stopped``; ``waves`` are lists of
    members, each a deployment; ``progress`` is of members that ended; ``failed`` names members that failed or were
    cancelled."""

    source: str
    target: str
    status: str
    starts_at: str
    requested_by: str
    batch_id: str | None = None
    tolerated: int = 0
    waves: list[list[JsonObject]] = field(default_factory=list)
    progress: JsonObject = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    dry_run: bool = False
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> JsonObject:
        """As ``--json`` shows it."""
        return asdict(self)


@dataclass(frozen=True)
class Batch:
    """The members of a batch, by key, and the waves they are in."""

    batch_id: UUID
    waves: Waves
    tolerated: int
    members: dict[str, Row[Any]]

    @property
    def statuses(self) -> dict[str, DeploymentStatus]:
        """Of those that are there; whoever's tenant was deleted before it began is as good as cancelled."""
        return dict(self._statuses())

    def _statuses(self) -> Iterator[tuple[str, DeploymentStatus]]:
        for key, row in self.members.items():
            status = DeploymentStatus(row.status)
            gone = row.tenant_deleted_at is not None and status is not DeploymentStatus.RUNNING
            yield key, DeploymentStatus.CANCELLED if gone and not status.is_terminal else status

    @property
    def is_whole(self) -> bool:
        """Whether every member was made: only then it begins."""
        return all(key in self.members for wave in self.waves for key in wave)

    @property
    def is_over(self) -> bool:
        """Whether it has come to its end."""
        return self.next_step().status in (BatchStatus.COMPLETED, BatchStatus.STOPPED)

    def next_step(self) -> BatchStep:
        """What it does next."""
        return next_step(self.waves, self.statuses, tolerated=self.tolerated)


def read_batch(services: Services, batch_id: UUID) -> Batch:
    """A batch as its members' rows say; :class:`UnknownDeployment`."""
    with services.store.system() as system:
        rows = system.batch(batch_id)
    if not rows:
        raise UnknownDeployment(f"there is no batch {batch_id}", fix=_LIST)
    planned: JsonObject = rows[0].batch_waves
    return Batch(batch_id, tuple(tuple(wave) for wave in planned["waves"]), int(planned.get("tolerated", 0)),
                 {row.batch_member: row for row in rows})


def batch_report(services: Services, batch_id: UUID) -> BatchReport:
    """One view of a batch, wave by wave; :class:`UnknownDeployment`."""
    batch = read_batch(services, batch_id)
    first = min(batch.members.values(), key=lambda row: (row.wave, row.requested_at))
    return BatchReport(
        source=first.source, target=first.target, status=str(batch.next_step().status),
        starts_at=min(row.starts_at for row in batch.members.values()).isoformat(), requested_by=first.requested_by,
        batch_id=str(batch_id), tolerated=batch.tolerated,
        waves=[[_member(key, batch.members.get(key)) for key in wave] for wave in batch.waves],
        progress=progress(batch.waves, batch.statuses).as_json(), failed=failures(batch.waves, batch.statuses))


def _member(key: str, row: Row[Any] | None) -> JsonObject:
    if row is None:
        return {"tenant": key, "deployment_id": None, "status": str(DeploymentStatus.PENDING)}
    return _shown(row, row.tenant_slug, row.source, row.target, row.promotion_number)
