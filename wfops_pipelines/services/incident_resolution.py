"""Reconciling an incident (§10.2): make n8n and Git agree, or record why they do not.

``revert`` writes Git's content to n8n; ``replace`` writes the content that the files had at a given commit, to n8n and
then to Git; ``promote`` commits n8n's content to Git; ``acknowledge`` records why it stays. What is written is planned from
both sides as they are now, not as they were when the incident was opened, journaled before it begins, verified by reading
back, and undone when it cannot be finished. Afterwards the environment is compared again: without drift, the incident
closes itself.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.drift import judge
from wfops_pipelines.domain.drift_policy import check_touch
from wfops_pipelines.domain.errors import Blocked, MalformedFile, OutsideError, UsageError
from wfops_pipelines.domain.fleet_fields import DriftHandlingMode
from wfops_pipelines.domain.incident import IncidentEvent, IncidentStatus, Resolution, allowed_events, check_step, move
from wfops_pipelines.domain.mapping import MappingStatus
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.services import incident_steps
from wfops_pipelines.services.detect_drift import compare_within
from wfops_pipelines.services.drift_policies import policy_of
from wfops_pipelines.services.export_environment import export_selected
from wfops_pipelines.services.intended_writes import Written
from wfops_pipelines.services.operations import RunningOperation, run_operation
from wfops_pipelines.services.pairing import match_environment
from wfops_pipelines.services.replaced_versions import commit_version, versions
from wfops_pipelines.services.resolution_plan import ResolutionPlan, plan_revert
from wfops_pipelines.services.runtime_writes import undo, write
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.sync_environment import read_environment
from wfops_pipelines.services.sync_repository import read_repository
from wfops_pipelines.services.write_permission import refuse_writes


@dataclass(frozen=True, slots=True)
class Choice:
    """How an incident is to be resolved. ``version`` is the commit whose files ``replace`` takes, ``plan`` the checksum of
    the plan that somebody has looked at: another one is not carried out."""

    resolution: Resolution
    reason: str | None = None
    version: str | None = None
    prune: bool = False
    allow_irreversible: bool = False
    forced: bool = False
    plan: str | None = None

    def as_arguments(self) -> dict[str, Any]:
        """For the journal, and for a request that somebody approves."""
        return {**asdict(self), "resolution": str(self.resolution), "plan": None}

    @classmethod
    def from_arguments(cls, arguments: dict[str, Any]) -> Choice:
        """What :meth:`as_arguments` gave."""
        return cls(**{**arguments, "resolution": Resolution(arguments["resolution"])})


@dataclass
class Reconciliation:
    """What was done, or with ``dry_run`` would be. ``plan`` and ``left`` are what is written to n8n and what is not,
    ``files`` what is written to Git; ``status`` is that of the incident afterwards; ``checksum`` is that of all that is
    written, by which a plan that somebody looked at is told from another one."""

    tenant: str
    environment: str
    number: int
    resolution: str
    status: str
    operation_id: str | None = None
    plan: list[dict[str, Any]] = field(default_factory=list)
    left: list[dict[str, Any]] = field(default_factory=list)
    writes: list[dict[str, Any]] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    commit: str | None = None
    pull_request: str | None = None
    drift_status: str | None = None
    waiting: bool = False
    dry_run: bool = False
    checksum: str | None = None
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` and metadata show it."""
        return asdict(self)


async def reconcile_incident(services: Services, context: Context, number: int, choice: Choice, *,
                             dry_run: bool = False) -> Reconciliation:
    """Resolve an incident, as an operation of its own.

    Raises :class:`ForbiddenTransition` where its status does not allow it, :class:`Blocked` where production may not be
    written to, the ``OutsideError`` tree for what n8n or Git refused (everything is then as it was), and
    :class:`RollbackIncomplete`.
    """
    check_step(IncidentEvent.RECONCILE, reason=choice.reason, resolution=choice.resolution)
    if (choice.resolution is Resolution.REPLACE) != (choice.version is not None):
        raise UsageError("replace needs a commit whose files it takes, and nothing else does", fix="--version COMMIT")
    incident, environment, waiting = await asyncio.to_thread(_begin, services, context, number, choice, dry_run)
    result = Reconciliation(context.tenant_slug, environment.slug, number, str(choice.resolution), incident.status,
                            dry_run=dry_run)
    if waiting is not None:
        result.waiting, result.notes = True, list(waiting.notes)
        if not dry_run:
            return result
    if choice.resolution is Resolution.ACKNOWLEDGE:
        if not dry_run:
            await asyncio.to_thread(_accept, services, context, number, choice, result)
        return result
    async with run_operation(services, context, OperationKind.INCIDENT_RESOLUTION, environment) as operation:
        result.operation_id = str(operation.id)
        if not await asyncio.to_thread(_still_to_do, operation, number, choice, result):
            return result
        await _read(operation)
        if choice.resolution is Resolution.PROMOTE:
            with operation.stop.uncut():  # one commit, and what the store says of it
                await _promote(operation, choice, number, result)
        else:
            await _write(operation, choice, number, result)
        operation.metrics.update({"incident": number, "resolution": result.resolution, "writes": len(result.writes),
                                  "commit": result.commit})
    return result


def _begin(services: Services, context: Context, number: int, choice: Choice,
           dry_run: bool) -> tuple[Row[Any], Row[Any], incident_steps.IncidentStep | None]:
    store = services.store
    with store.read(context) if dry_run else store.bookkeeping(context, "incident.reconcile") as work:
        incident, environment = incident_steps.find(work, context, number)
        _check_status(incident, choice, dry_run=dry_run)
        if choice.resolution in (Resolution.REVERT, Resolution.REPLACE) and not dry_run:
            refuse_writes(context, environment)
            policy = policy_of(work, environment)
            if policy.drift_handling_mode is DriftHandlingMode.REQUIRE_ATTESTATION:
                check_touch(policy, drifted=True, incident=IncidentStatus(incident.status), incident_reason=incident.reason)
        waiting = incident_steps.request_reconciliation(work, context, incident, environment, choice.as_arguments(),
                                                        dry_run=dry_run)
    return incident, environment, waiting


def _accept(services: Services, context: Context, number: int, choice: Choice, result: Reconciliation) -> None:
    """It stays as it is, and why: nothing is written but that."""
    with services.store.unit_of_work(context, "incident.accept") as work:
        incident, environment = incident_steps.find(work, context, number)
        incident_steps.begin_reconciliation(work, incident, environment, choice.as_arguments())
        _reconciled(work, incident, environment, choice, None)
    result.status = str(IncidentStatus.RECONCILED)


def _still_to_do(operation: RunningOperation, number: int, choice: Choice, result: Reconciliation) -> bool:
    """Whether the incident still waits for this. What was interrupted before was finished when this operation began, and
    may have been the same."""
    with operation.services.store.read(operation.context) as work:
        incident, _ = incident_steps.find(work, operation.context, number)
    result.status = incident.status
    if incident.resolution == choice.resolution and incident.resolved_by_operation is not None:
        result.notes.append("an earlier attempt that was interrupted has been finished")
        return False
    _check_status(incident, choice, dry_run=result.dry_run)
    if not choice.forced and IncidentEvent.ACKNOWLEDGE in allowed_events(IncidentStatus(incident.status)):
        result.notes.append(f"acknowledge it first: wfops incident ack {result.tenant}#{number}")
    return True


def _check_status(incident: Row[Any], choice: Choice, *, dry_run: bool) -> None:
    """What would be written can be looked at before somebody acknowledges; it is written after that."""
    status = IncidentStatus(incident.status)
    if not (dry_run and IncidentEvent.ACKNOWLEDGE in allowed_events(status)):
        move(status, IncidentEvent.RECONCILE, forced=choice.forced)


async def _read(operation: RunningOperation) -> None:
    async with operation.step("repository") as told:
        told.update((await read_repository(operation)).as_json())
    async with operation.step("environment") as told:
        told.update((await read_environment(operation)).as_json())


# -- to n8n ------------------------------------------------------------------------------------------------------------


async def _write(operation: RunningOperation, choice: Choice, number: int, result: Reconciliation) -> None:
    provider = operation.services.provider_of(operation.context, operation.environment)
    try:
        server = await provider.server()
        contents = await asyncio.to_thread(versions, operation, choice.version) if choice.version else None
        plan: ResolutionPlan = await asyncio.to_thread(
            lambda: plan_revert(operation, generation=server.generation, prune=choice.prune,
                                allow_irreversible=choice.allow_irreversible, versions=contents))
        result.plan, result.left, result.checksum = plan.shown, plan.left, plan.checksum()
        if result.dry_run:
            return
        _same_plan(choice, result)
        if not plan.writes and plan.left:
            raise Blocked(f"incident #{number}: nothing of this drift can be {result.resolution}ed as asked: "
                          f"{plan.left[0]['name']}: {plan.left[0]['reason']}", fix="look at the plan with --dry-run")
        checkpoint = {"incident": number, "choice": choice.as_arguments()}
        async with operation.step("write") as told:
            written = await write(operation, provider, plan.writes, checkpoint=checkpoint,
                                  within=lambda work: _spend(work, operation.context, number, choice))
            told["writes"] = [item.as_json() for item in written]
        try:
            await settle(operation, operation.id, checkpoint, written, result=result)
        except (OutsideError, MalformedFile, UsageError) as error:
            if choice.version is not None and result.commit is None:  # n8n without Git is half of it
                await undo(operation, provider, operation.id, error)
            raise
    finally:
        await provider.aclose()


def _spend(work: Any, context: Context, number: int, choice: Choice) -> None:
    """Begin, unless somebody ended the incident or used up the approval while both sides were read."""
    incident, environment = incident_steps.find(work, context, number)
    _check_status(incident, choice, dry_run=False)
    incident_steps.begin_reconciliation(work, incident, environment, choice.as_arguments())


async def settle(operation: RunningOperation, journal_id: UUID, checkpoint: dict[str, Any], written: Sequence[Written], *,
                 result: Reconciliation | None = None) -> None:
    """After the writes, also those of an operation that died: link what was created, bring Git along where the resolution
    says so, mark the incident, and compare again. Each part can be done twice."""
    if "incident" not in checkpoint:
        return
    number, choice = int(checkpoint["incident"]), Choice.from_arguments(checkpoint["choice"])
    done = [item for item in written if item.state == "done"]
    result = result or Reconciliation(operation.context.tenant_slug, operation.environment.slug, number,
                                      str(choice.resolution), "")
    result.writes = [item.as_json() for item in written]
    async with operation.step("read-back") as told:
        told.update((await read_environment(operation)).as_json())
    await asyncio.to_thread(_link_created, operation, done)
    if len(done) == len(written):
        if choice.version is not None:
            result.commit = await commit_version(operation, choice.version)
        await asyncio.to_thread(_mark, operation, number, choice)
    await _compare_again(operation, journal_id, result)


async def _compare_again(operation: RunningOperation, journal_id: UUID, result: Reconciliation) -> None:
    """Where both sides stand now: without drift, that closes the incident. Nobody has to come back to the writes then."""
    check = await asyncio.to_thread(compare_within, operation)
    result.drift_status = check.status
    with operation.services.store.bookkeeping(operation.context, "incident.settled", held=operation.held) as work:
        work.journal.settle(journal_id)
        incident = work.incidents.by_number(result.number)
        result.status = incident.status if incident is not None else ""


def _link_created(operation: RunningOperation, done: Sequence[Written]) -> None:
    """A workflow that was created again is the canonical workflow whose file it came from."""
    created = {item.workflow_id: item for item in done if item.action == "create" and item.canonical_id is not None
               and item.workflow_id is not None}
    if not created:
        return
    with operation.services.store.bookkeeping(operation.context, "incident.link", held=operation.held) as work:
        rows = work.mappings.by_workflow(operation.environment.id, list(created), lock=True)
        for workflow_id, row in rows.items():
            item = created[workflow_id]
            if row.canonical_id != item.canonical_id:
                work.mappings.change(row.id, canonical_id=item.canonical_id, unlinked_reason=None,
                                     status=MappingStatus.LINKED)
                work.record("mapping.linked", "workflow", row.workflow_id, environment=operation.environment.slug,
                            after=row.live_hash, name=row.name, by="resolution", canonical_id=str(item.canonical_id))
        work.fleet.set_environment(operation.environment.id, ever_mapped=True)


def _mark(operation: RunningOperation, number: int, choice: Choice) -> None:
    with operation.services.store.bookkeeping(operation.context, "incident.reconciled", held=operation.held) as work:
        incident, environment = incident_steps.find(work, operation.context, number)
        if incident.resolved_by_operation is None and IncidentStatus(incident.status).is_open:
            _reconciled(work, incident, environment, choice, operation)


def _reconciled(work: Any, incident: Row[Any], environment: Row[Any], choice: Choice,
                operation: RunningOperation | None) -> None:
    if incident.status != IncidentStatus.RECONCILED:
        incident_steps.spend_reconciliation(work, incident)
        incident_steps.move_to(work, incident, IncidentEvent.RECONCILE, forced=choice.forced, reason=choice.reason,
                               resolution=str(choice.resolution),
                               resolved_by_operation=operation.id if operation is not None else None)
        work.record("incident.reconciled", "incident", str(incident.number), environment=environment.slug,
                    was=incident.status, resolution=str(choice.resolution), reason=choice.reason, version=choice.version,
                    forced=choice.forced)


# -- to Git ------------------------------------------------------------------------------------------------------------


async def _promote(operation: RunningOperation, choice: Choice, number: int, result: Reconciliation) -> None:
    subjects = await asyncio.to_thread(_drifting, operation)
    if not result.dry_run:
        if choice.plan is not None:
            result.checksum = _checksum((await export_selected(operation, subjects, dry_run=True)).files)
            _same_plan(choice, result)
        await asyncio.to_thread(_begin_promotion, operation, choice, number)
    async with operation.step("write") as told:
        export = await export_selected(operation, subjects, dry_run=result.dry_run)
        told.update({"commit": export.commit, "files": len(export.files)})
    result.files, result.commit, result.pull_request = export.files, export.commit, export.pull_request
    result.checksum = _checksum(export.files)
    if result.dry_run:
        return
    if export.pull_request is not None:
        result.notes.append(f"the drift is gone once {export.pull_request} is merged")
        return
    await asyncio.to_thread(_mark, operation, number, choice)
    await _compare_again(operation, operation.id, result)


def _checksum(files: list[dict[str, Any]]) -> str:
    return hashlib.sha256(orjson.dumps(files, option=orjson.OPT_SORT_KEYS, default=str)).hexdigest()


def _same_plan(choice: Choice, result: Reconciliation) -> None:
    """What is written is what somebody looked at, or nothing."""
    if choice.plan not in (None, result.checksum):
        raise Blocked(f"incident #{result.number}: n8n or Git changed since the plan was looked at",
                      fix="look at what would be written now, and confirm that")


def _begin_promotion(operation: RunningOperation, choice: Choice, number: int) -> None:
    """What is about to be committed, and for which incident: should this process die, the check that finds the drift gone
    knows why (:mod:`follow_drift`)."""
    with operation.services.store.unit_of_work(operation.context, "incident.promote", held=operation.held) as work:
        _spend(work, operation.context, number, choice)
        operation.save_checkpoint(work, {"incident": number, "choice": choice.as_arguments()})
        work.record("incident.promotion_begun", "incident", str(number), environment=operation.environment.slug,
                    reason=choice.reason)


def _drifting(operation: RunningOperation) -> set[str]:
    """What drifts now, by n8n id and path."""
    with operation.services.store.read(operation.context) as work:
        drifts = judge(match_environment(work, operation.environment))
    return {subject for drift in drifts if drift.is_drift for subject in (drift.workflow_id, drift.path) if subject}
