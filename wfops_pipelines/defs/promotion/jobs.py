"""Promotions as jobs (§11, §24): from the launchpad, the command line, a sensor, or whoever submits a run.

`promote` is four ops that a person can follow: plan, gates, execute, outcome. Whatever is not to be carried out ends where
it is: a dry run and what waits for somebody after the gates, with the ops that follow skipped.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from wfops_pipelines.defs.failures import as_failure
from wfops_pipelines.defs.interrupts import run_interruptibly
from wfops_pipelines.defs.maintenance.cancelling import end_as_cancelled
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.promotion import shown
from wfops_pipelines.defs.promotion.passing import WITHIN_RUN
from wfops_pipelines.defs.resources import DISCARDING, Wfops
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import Blocked, UsageError, WfopsError
from wfops_pipelines.domain.gates import Gate, GateOutcome
from wfops_pipelines.domain.promotion import PromotionStatus
from wfops_pipelines.domain.run_tags import (
    ENVIRONMENT_TAG,
    NEVER_AGAIN,
    PRIORITY_TAG,
    PROMOTION_TAG,
    SOURCE_TAG,
    TARGET_TAG,
    TENANT_TAG,
)
from wfops_pipelines.services.incident_names import may_force
from wfops_pipelines.services.promotion_execution import execute_promotion
from wfops_pipelines.services.promotion_names import named_promotion
from wfops_pipelines.services.promotion_options import PromotionOptions, PromotionReport
from wfops_pipelines.services.promotion_recovery import recover_environment
from wfops_pipelines.services.promotion_request import report_of, request_promotion
from wfops_pipelines.services.promotion_rollback import roll_back_promotion

_PROMOTION = "TENANT/pNUMBER as in acme/p12, its id, or the first 8 characters of its id."


class PromoteConfig(dg.Config):
    """What is promoted, or which promotion is carried out."""

    tenant: str | None = Field(default=None, description="The tenant's slug, as in acme. Not with `promotion`.")
    source: str | None = Field(default=None, description="The environment that it comes from, as in dev. Not with "
                                                         "`promotion`.")
    target: str | None = Field(default=None, description="The environment that is written, as in staging. Not with "
                                                         "`promotion`.")
    workflows: list[str] = Field(default_factory=list, description="Names, n8n ids of the source, or canonical ids of "
                                                                   "workflows; all of the source when it is empty.")
    with_needs: bool = Field(default=True, description="With `workflows`: also the sub-workflows and error workflows that "
                                                       "they need.")
    prune: bool = Field(default=False, description="Also remove what only the target has: n8n 2.x archives it, 1.x "
                                                    "deletes it.")
    activation: str | None = Field(default=None, description="Whose activation holds for what both have: `keep` (the "
                                                             "target's) or `source`; without it what the stage says.")
    allow_large: str | None = Field(default=None, description="Why more than 30 % of a target of ten workflows or more may "
                                                              "be changed or removed at once.")
    allow_irreversible: bool = Field(default=False, description="Do what n8n's API could not undo.")
    override_reason: str | None = Field(default=None, description="Why it may go past drift of the target, where the policy "
                                                                  "has manual_override; for admins.")
    reason: str | None = Field(default=None, description="Why it is promoted, for whoever approves it and for the record.")
    manual: bool = Field(default=False, description="Once approved, wait for somebody to carry it out, in place of the "
                                                    "sensor approved_promotions.")
    checksum: str | None = Field(default=None, description="The checksum of a plan that was looked at, or its beginning: "
                                                           "with another plan nothing is begun.")
    promotion: str | None = Field(default=None, description=f"Carry out one that exists and is approved: {_PROMOTION}")
    dry_run: bool = Field(default=True, description="Show the plan and what the gates say, and begin nothing.")


class RollbackConfig(dg.Config):
    """Which promotion is rolled back, and why."""

    promotion: str = Field(description=_PROMOTION)
    reason: str = Field(description="Why.")
    dry_run: bool = Field(default=True, description="Show what would be written, and write nothing.")


class RecoverConfig(dg.Config):
    """Where what was left is finished."""

    tenant: str = Field(description="The tenant's slug, as in acme.")
    environment: str = Field(description="The environment's slug, as in prod.")


_OUT: dict[str, Any] = {"io_manager_key": WITHIN_RUN, "is_required": False}


@dg.op(name="plan", tags=TAGS, out=dg.Out(list, **_OUT),
       description="Read both environments, plan what would be written, in order, and evaluate every gate. Unless it is a "
                   "dry run, the promotion begins here: approved, waiting for approval, or blocked.")
def plan(context: dg.OpExecutionContext, wfops: Wfops, config: PromoteConfig) -> Iterator[Any]:
    try:
        report = run_interruptibly(_planned(context, wfops, config)).as_json()
    except WfopsError as error:
        yield dg.Output([{"result": None, "error": error}])
        end_as_cancelled(context, error)
        raise as_failure(error) from error
    context.add_output_metadata(shown.of_plan(report))
    yield dg.Output([{"result": report, "error": None, "exists": config.promotion is not None}])


async def _planned(context: dg.OpExecutionContext, wfops: Wfops, config: PromoteConfig) -> PromotionReport:
    if config.promotion is not None:
        if config.tenant or config.source or config.target:
            raise UsageError("`promotion` says everything about it", fix="leave tenant, source and target out")
        named = named_promotion(wfops.services, config.promotion)
        use = wfops.context_of(named.tenant, context.run, step=context.op.name)
        _tag(context, named.tenant, named.source, named.target, str(named))
        report = report_of(wfops.services, use, named.number)
        if config.checksum is not None and not (report.checksum or "").startswith(config.checksum):
            raise Blocked(f"{named} has another plan than the one that was looked at", fix="look at it, and confirm that")
        report.dry_run = config.dry_run
        return report
    if not (config.tenant and config.source and config.target):
        raise UsageError("a promotion has a tenant, a source and a target",
                         fix="give the three of them, or `promotion` for one that exists")
    use = wfops.context_of(config.tenant, context.run, step=context.op.name, person=True)
    if config.override_reason is not None:
        may_force(use)
    source, target = wfops.services.environments(use, [config.source])[0], wfops.services.environment(use, config.target)
    _tag(context, config.tenant, source.slug, target.slug, None)
    options = PromotionOptions(
        workflows=tuple(config.workflows) or None, with_needs=config.with_needs, prune=config.prune,
        activation=config.activation, allow_large=config.allow_large, allow_irreversible=config.allow_irreversible,
        override_reason=config.override_reason, reason=config.reason, when_ready=not config.manual)
    report = await request_promotion(wfops.services, use, source, target, options, dry_run=config.dry_run,
                                     checksum=config.checksum)
    if report.number is not None:
        _tag(context, config.tenant, source.slug, target.slug, report.name)
    return report


@dg.op(name="gates", tags=TAGS, out={"result": dg.Out(list, **_OUT), "passed": dg.Out(list, **_OUT)},
       description="What every gate says, and whether it goes on: a no ends the promotion and the run; what waits for "
                   "somebody, or for a time, stays as it is, and the run ends here.")
def gates(context: dg.OpExecutionContext, planned: list[Any]) -> Iterator[Any]:
    told = planned[0]
    report = told["result"]
    metadata = shown.of_gates(report)
    if report["status"] == PromotionStatus.BLOCKED and not report["dry_run"]:
        raise dg.Failure(f"{report['name']} is blocked: {report['reason']}", metadata=metadata, allow_retries=False)
    why = _why_not(report, exists=told["exists"])
    context.add_output_metadata({**metadata, **({"ends_here": why} if why else {})}, output_name="result")
    yield dg.Output(planned, "result")
    if why is None:
        yield dg.Output(planned, "passed")
    else:
        context.log.info(why)


def _why_not(report: dict[str, Any], *, exists: bool) -> str | None:
    """Why a run does not go on to write, though nothing is wrong; none where it does."""
    status = report["status"]
    if report["dry_run"]:
        return "a dry run: nothing is begun"
    if status == "unchanged":
        return "the target holds already what would be promoted"
    if status == PromotionStatus.PENDING_APPROVAL:
        return f"waits for approval: wfops approve {report['name']}"
    held = [] if exists else waits(report)  # of one that exists, what held it may be over
    return f"waits: {'; '.join(held)}" if held else None


def waits(report: dict[str, Any]) -> list[str]:
    """What holds an approved promotion, by what its gates said: a freeze window, a soak time."""
    return [gate["reason"] for gate in report["gates"].get("gates", [])
            if gate["outcome"] == GateOutcome.HELD and gate["gate"] != Gate.APPROVALS]


@dg.op(name="execute", tags=TAGS, out=dg.Out(list, **_OUT),
       description="Hold the target, read it, compute the plan again (it must be the one that was approved) and its gates, "
                   "then write one workflow after the other, reading each back. What cannot be finished is undone.")
def execute(context: dg.OpExecutionContext, wfops: Wfops, approved: list[Any]) -> Iterator[Any]:
    report, by_name = approved[0]["result"], approved[0]["exists"]
    use = wfops.context_of(report["tenant"], context.run, step=context.op.name, person=not by_name)
    try:
        executed = execute_promotion(wfops.services, use, report["number"], checksum=report["checksum"])
        done = run_interruptibly(executed).as_json()
    except WfopsError as error:
        after = report_of(wfops.services, use, report["number"]).as_json()
        context.add_output_metadata(shown.of_results(after))
        yield dg.Output([{"result": {**report, **after}, "error": error}])
        end_as_cancelled(context, error)
        raise as_failure(error) from error
    context.add_output_metadata(shown.of_results(done))
    yield dg.Output([{"result": {**done, "problems": report["problems"]}, "error": None}])


@dg.op(name="outcome", tags=TAGS, out=dg.Out(list, io_manager_key=DISCARDING),
       description="Where it ended: the commit or pull request, the drift of the target, what was verified, and the "
                   "snapshots to go back to.")
def outcome(context: dg.OpExecutionContext, executed: list[Any]) -> Any:
    report = executed[0]["result"]
    context.add_output_metadata(shown.of_outcome(report))
    for note in report["notes"]:
        context.log.warning(note)
    return executed


@dg.job(name="promote", executor_def=dg.in_process_executor, owners=OWNERS, tags={**TAGS, **NEVER_AGAIN, PRIORITY_TAG: "10"},
        description="Promote workflows from one environment to the next: planned, judged by the gates of the stage, "
                    "written, read back, verified, committed. A dry run by default: it shows the plan.")
def promote_job() -> None:
    _, passed = gates(plan())
    outcome(execute(passed))


@dg.op(name="roll_back", tags=TAGS, out=dg.Out(list, io_manager_key=DISCARDING, is_required=False),
       description="Bring the target back to how it was before a promotion: contents, activation, archive and tags of what "
                   "it wrote, without what it created; then Git.")
def roll_back(context: dg.OpExecutionContext, wfops: Wfops, config: RollbackConfig) -> Iterator[Any]:
    try:
        named = named_promotion(wfops.services, config.promotion)
        use = wfops.context_of(named.tenant, context.run, step=context.op.name, person=True)
        _tag(context, named.tenant, named.source, named.target, str(named))
        done = run_interruptibly(roll_back_promotion(
            wfops.services, use, named.number, reason=config.reason, dry_run=config.dry_run)).as_json()
    except WfopsError as error:
        yield dg.Output([{"result": None, "error": error}])
        end_as_cancelled(context, error)
        raise as_failure(error) from error
    context.add_output_metadata(shown.of_rollback(done))
    yield dg.Output([{"result": done, "error": None}])


@dg.job(name="rollback", executor_def=dg.in_process_executor, owners=OWNERS,
        tags={**TAGS, **NEVER_AGAIN, PRIORITY_TAG: "20"},
        description="Roll a completed promotion back, to the snapshot before it. A dry run by default: it shows what would "
                    "be written.")
def rollback_job() -> None:
    roll_back()


@dg.op(name="finish", tags=TAGS, out=dg.Out(list, io_manager_key=DISCARDING, is_required=False),
       description="Finish or undo what a process that died had begun to write to n8n, make the commits that are left, and "
                   "compare n8n with Git.")
def finish(context: dg.OpExecutionContext, wfops: Wfops, config: RecoverConfig) -> Iterator[Any]:
    try:
        use: Context = wfops.context_of(config.tenant, context.run, step=context.op.name)
        environment = wfops.services.environment(use, config.environment)
        _tag(context, config.tenant, None, environment.slug, None)
        done = run_interruptibly(recover_environment(wfops.services, use, environment))
    except WfopsError as error:
        yield dg.Output([{"result": None, "error": error}])
        end_as_cancelled(context, error)
        raise as_failure(error) from error
    context.add_output_metadata({
        "environment": f"{done.tenant}/{done.environment}", "nothing_left": done.nothing_left,
        **({"drift_status": done.drift_status} if done.drift_status else {}), **shown.of_recovery(done)})
    if not done.nothing_left:
        context.log.warning(f"something is left: {done.after}")
    yield dg.Output([{"result": done.as_json(), "error": None}])


@dg.job(name="recover", executor_def=dg.in_process_executor, owners=OWNERS, tags={**TAGS, **NEVER_AGAIN, PRIORITY_TAG: "15"},
        description="Finish what was left in an environment: writes of a process that died, commits that Git refused. Asked "
                    "for by the sensor unfinished_promotions; it can be launched by hand at any time.")
def recover_job() -> None:
    finish()


def target_tags(tenant: str, target: str) -> dict[str, str]:
    """The tags by which the queue keeps runs that write to one target apart."""
    return {TENANT_TAG: tenant, ENVIRONMENT_TAG: target, TARGET_TAG: f"{tenant}/{target}"}


def _tag(context: dg.OpExecutionContext, tenant: str, source: str | None, target: str, promotion: str | None) -> None:
    """Say what the run is about: one that was started in the launchpad does not, yet."""
    context.instance.add_run_tags(context.run_id, {
        **target_tags(tenant, target), **({SOURCE_TAG: source} if source else {}),
        **({PROMOTION_TAG: promotion} if promotion else {})})
