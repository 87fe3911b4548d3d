"""Incident actions as jobs (§10, §24): from the launchpad, from the command line, from whoever submits a run.

Steps are light: one transaction. Reconciling writes to n8n or Git, and shows what it would do unless ``dry_run`` is false.
"""

from collections.abc import Iterator
from enum import Enum
from typing import Any

import dagster as dg
from pydantic import Field

from wfops_pipelines.defs import metadata
from wfops_pipelines.defs.failures import as_failure
from wfops_pipelines.defs.interrupts import run_interruptibly
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.resources import DISCARDING, Wfops
from wfops_pipelines.domain.approval import ApprovalKind
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import UsageError, WfopsError
from wfops_pipelines.domain.incident import IncidentEvent, Resolution
from wfops_pipelines.domain.run_tags import ENVIRONMENT_TAG, INCIDENT_TAG, NEVER_AGAIN, TENANT_TAG
from wfops_pipelines.services.incident_names import NamedIncident, may_force, named_incident, named_request
from wfops_pipelines.services.incident_resolution import Choice, reconcile_incident
from wfops_pipelines.services.incident_steps import IncidentStep, decide_request, extend, take

_INCIDENT = "Which incident: TENANT#NUMBER as in acme#12, its id, or the first 8 characters of its id."


class HowToResolve(Enum):
    """The resolutions that somebody can choose; the launchpad offers these words."""

    revert = "revert"
    promote = "promote"
    replace = "replace"
    acknowledge = "acknowledge"


class StepToTake(Enum):
    """The steps of an incident; the launchpad offers these words."""

    acknowledge = "acknowledge"
    stabilize = "stabilize"
    close = "close"
    cancel = "cancel"
    extend = "extend"
    approve = "approve"
    reject = "reject"


class ReconcileConfig(dg.Config):
    """Which incident is resolved, and how."""

    incident: str = Field(description=_INCIDENT)
    resolution: HowToResolve = Field(
        description="revert: Git's content to n8n. promote: n8n's content to Git, as one commit. replace: the files as "
                    "they were at a commit, to n8n and to Git. acknowledge: it stays as it is, and the reason says why.")
    reason: str | None = Field(default=None, description="Why; acknowledge needs it.")
    version: str | None = Field(default=None, description="For replace: the full SHA of a commit of the branch.")
    prune: bool = Field(default=False, description="Also remove workflows that n8n alone has: n8n 2.x archives them.")
    allow_irreversible: bool = Field(
        default=False, description="With prune on n8n 1.x: delete them, which nobody can undo.")
    forced: bool = Field(default=False, description="Although its status does not allow it; for admins.")
    plan: str | None = Field(default=None, description="The checksum of a dry run: what would write something else by now "
                                                       "is refused.")
    dry_run: bool = Field(default=True, description="Show what would be written, and write nothing.")


class StepConfig(dg.Config):
    """Which incident, which step, and what the step says."""

    incident: str = Field(description=_INCIDENT + " To approve or reject, the id of the request will do, too.")
    step: StepToTake = Field(
        description="acknowledge: I take care of it. stabilize: it does no harm for now (needs a reason). close. cancel: it "
                    "never should have been one. extend: more time (needs hours and a reason). approve, reject: what "
                    "somebody else asked for.")
    reason: str | None = Field(default=None, description="Why.")
    owner: str | None = Field(default=None, description="Who takes care of it, with acknowledge.")
    ticket: str | None = Field(default=None, description="Where else it is followed, as OPS-12.")
    hours: int = Field(default=24, description="For extend: by how many hours, 1 to 8760.")
    kind: str | None = Field(
        default=None, description="For approve and reject, where several requests wait: acknowledge, extend_ttl, close or "
                                  "reconcile.")
    forced: bool = Field(default=False, description="Although its status does not allow it; for admins.")
    dry_run: bool = Field(default=False, description="Show what would happen, and do nothing.")


@dg.op(name="reconcile", tags=TAGS, out=dg.Out(list, io_manager_key=DISCARDING, is_required=False),
       description="Make n8n and Git agree about what an incident is about, or record why they do not; then check again.")
def reconcile(context: dg.OpExecutionContext, wfops: Wfops, config: ReconcileConfig) -> Iterator[Any]:
    try:
        named = named_incident(wfops.services, config.incident)
        use = _context(context, wfops, named)
        if config.forced:
            may_force(use)
        choice = Choice(Resolution(config.resolution.value), reason=config.reason, version=config.version,
                        prune=config.prune, allow_irreversible=config.allow_irreversible, forced=config.forced,
                        plan=config.plan)
        done = run_interruptibly(reconcile_incident(wfops.services, use, named.number, choice, dry_run=config.dry_run))
    except WfopsError as error:
        yield dg.Output([{"result": None, "error": error}])
        raise as_failure(error) from error
    context.add_output_metadata(metadata.of_resolution(done))
    if done.waiting:
        context.log.warning("\n".join(done.notes))
    yield dg.Output([{"result": done.as_json(), "error": None}])


@dg.job(name="reconcile_incident", executor_def=dg.in_process_executor, tags={**TAGS, **NEVER_AGAIN},
        owners=OWNERS, description="Resolve a drift incident: revert, promote, replace, or acknowledge that it stays. A dry "
                                   "run by default: it shows what would be written.")
def reconcile_job() -> None:
    reconcile()


@dg.op(name="take_step", tags=TAGS, out=dg.Out(list, io_manager_key=DISCARDING, is_required=False),
       description="Take one step of an incident's life: acknowledge, stabilise, close, cancel, extend, approve, reject.")
def take_step(context: dg.OpExecutionContext, wfops: Wfops, config: StepConfig) -> Iterator[Any]:
    try:
        named, done = _take(context, wfops, config)
    except WfopsError as error:
        yield dg.Output([{"result": None, "error": error}])
        raise as_failure(error) from error
    context.add_output_metadata({
        "incident": str(named), "step": done.step, "before": done.before, "after": done.after,
        "waiting_for_approval": done.waiting, "dry_run": done.dry_run, "notes": "\n".join(done.notes)})
    yield dg.Output([{"result": done.as_json(), "error": None}])


@dg.job(name="incident_step", executor_def=dg.in_process_executor, tags={**TAGS, **NEVER_AGAIN}, owners=OWNERS,
        description="Take a step of a drift incident: acknowledge, stabilise, close, cancel, extend its time, approve or "
                    "reject what somebody asked for.")
def step_job() -> None:
    take_step()


def _take(context: dg.OpExecutionContext, wfops: Wfops, config: StepConfig) -> tuple[NamedIncident, IncidentStep]:
    services, step = wfops.services, config.step
    if step in (StepToTake.approve, StepToTake.reject):
        named = named_request(services, config.incident)
        kind = config.kind or named.approval_kind
        if kind is not None and kind not in set(ApprovalKind):
            raise UsageError(f"there is no kind of approval {kind!r}", fix=f"one of {', '.join(ApprovalKind)}")
        return named, decide_request(services, _context(context, wfops, named), named.number,
                                     approve=step is StepToTake.approve, kind=ApprovalKind(kind) if kind else None,
                                     approval_id=named.approval_id,
                                     reason=config.reason, dry_run=config.dry_run)
    named = named_incident(services, config.incident)
    use = _context(context, wfops, named)
    if config.forced:
        may_force(use)
    if step is StepToTake.extend:
        return named, extend(services, use, named.number, config.hours, reason=config.reason, dry_run=config.dry_run)
    return named, take(services, use, named.number, IncidentEvent(step.value), reason=config.reason, owner=config.owner,
                       ticket=config.ticket, forced=config.forced, dry_run=config.dry_run)


def _context(context: dg.OpExecutionContext, wfops: Wfops, named: NamedIncident) -> Context:
    """Who acts. The run is tagged by what it is about: one that was started in the launchpad is not, yet."""
    context.instance.add_run_tags(context.run_id, {
        TENANT_TAG: named.tenant, ENVIRONMENT_TAG: named.environment, INCIDENT_TAG: str(named)})
    return wfops.context_of(named.tenant, context.run, step=context.op.name, person=True)
