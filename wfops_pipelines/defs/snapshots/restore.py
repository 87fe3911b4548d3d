"""Restoring an environment from a snapshot as a job (§13, §24): from the launchpad, or the command line."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from wfops_pipelines.defs.failures import as_failure
from wfops_pipelines.defs.interrupts import run_interruptibly
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.promotion import shown
from wfops_pipelines.defs.promotion.jobs import target_tags
from wfops_pipelines.defs.promotion.passing import WITHIN_RUN
from wfops_pipelines.defs.resources import DISCARDING, Wfops
from wfops_pipelines.domain.errors import WfopsError
from wfops_pipelines.domain.promotion import PromotionStatus
from wfops_pipelines.domain.run_tags import NEVER_AGAIN, PRIORITY_TAG, PROMOTION_TAG
from wfops_pipelines.services.incident_names import may_force
from wfops_pipelines.services.promotion_execution import execute_promotion
from wfops_pipelines.services.promotion_options import PromotionOptions, PromotionReport
from wfops_pipelines.services.promotion_request import report_of
from wfops_pipelines.services.promotion_restore import request_restore
from wfops_pipelines.services.snapshot_reports import named_snapshot, read_time


class RestoreConfig(dg.Config):
    """What is restored, from which snapshot."""

    tenant: str = Field(description="The tenant's slug, as in acme.")
    environment: str = Field(description="The environment that was kept, and is written, as in prod.")
    snapshot: str | None = Field(default=None, description="The snapshot's id, at least the first 8 characters of it, or "
                                                           "`latest`. Not with `at`.")
    at: str | None = Field(default=None, description="In place of `snapshot`: the newest one that is not newer than this "
                                                     "time, as 2026-11-20T18:00 (UTC).")
    workflows: list[str] = Field(default_factory=list, description="Names, n8n ids (then or now) or canonical ids of "
                                                                   "workflows; all of the snapshot when it is empty. What "
                                                                   "they need and is gone comes along.")
    with_needs: bool = Field(default=False, description="With `workflows`: also all sub-workflows and error workflows that "
                                                        "they need, as the snapshot holds them.")
    prune: bool = Field(default=False, description="Also remove what the snapshot does not have, or has archived: n8n 2.x "
                                                    "archives it, 1.x deletes it.")
    allow_large: str | None = Field(default=None, description="Why more than 30 % of an environment of ten workflows or "
                                                              "more may be changed or removed at once.")
    allow_irreversible: bool = Field(default=False, description="Do what n8n's API could not undo.")
    override_reason: str | None = Field(default=None, description="Why it may go past drift of the environment, where its "
                                                                  "policy has manual_override; for admins.")
    reason: str | None = Field(default=None, description="Why it is restored, for the record.")
    checksum: str | None = Field(default=None, description="The checksum of a plan that was looked at, or its beginning: "
                                                           "with another plan nothing is begun.")
    dry_run: bool = Field(default=True, description="Show the plan and what the gates say, and begin nothing.")


@dg.op(name="plan_restore", tags=TAGS, out={
           "result": dg.Out(list, io_manager_key=WITHIN_RUN, is_required=False),
           "passed": dg.Out(list, io_manager_key=WITHIN_RUN, is_required=False)},
       description="Read the environment, plan what would be written to make it what the snapshot holds, and evaluate the "
                   "gates that are about a restore. Unless it is a dry run, the restore begins here, or is blocked.")
def plan_restore(context: dg.OpExecutionContext, wfops: Wfops, config: RestoreConfig) -> Iterator[Any]:
    context.instance.add_run_tags(context.run_id, target_tags(config.tenant, config.environment))
    try:
        report = run_interruptibly(_planned(context, wfops, config)).as_json()
    except WfopsError as error:
        yield dg.Output([{"result": None, "error": error}], "result")
        raise as_failure(error) from error
    if report["number"] is not None:
        context.instance.add_run_tags(context.run_id, {PROMOTION_TAG: report["name"]})
    metadata = {**shown.of_plan(report), **shown.of_gates(report)}
    told = [{"result": report, "error": None}]
    yield dg.Output(told, "result", metadata=metadata)
    if report["dry_run"] or report["status"] == "unchanged":
        context.log.info("a dry run: nothing is begun" if report["dry_run"] else "it is as the snapshot holds it already")
    elif report["status"] == PromotionStatus.BLOCKED:
        raise dg.Failure(f"{report['name']} is blocked: {report['reason']}", allow_retries=False)
    else:
        yield dg.Output(told, "passed")


async def _planned(context: dg.OpExecutionContext, wfops: Wfops, config: RestoreConfig) -> PromotionReport:
    use = wfops.context_of(config.tenant, context.run, step=context.op.name, person=True)
    if config.override_reason is not None:
        may_force(use)
    environment = wfops.services.environment(use, config.environment)
    snapshot_id = named_snapshot(wfops.services, use, environment, config.snapshot,
                                 at=None if config.at is None else read_time(config.at))
    return await request_restore(
        wfops.services, use, environment, snapshot_id, PromotionOptions(
            workflows=tuple(config.workflows) or None, with_needs=config.with_needs, prune=config.prune,
            allow_large=config.allow_large, allow_irreversible=config.allow_irreversible,
            override_reason=config.override_reason, reason=config.reason),
        dry_run=config.dry_run, checksum=config.checksum)


@dg.op(name="execute_restore", tags=TAGS, out=dg.Out(list, io_manager_key=DISCARDING, is_required=False),
       description="Hold the environment, read it, compute the plan again (it must be the same), then write one workflow "
                   "after the other, reading each back; then Git. What cannot be finished is undone.")
def execute_restore(context: dg.OpExecutionContext, wfops: Wfops, planned: list[Any]) -> Iterator[Any]:
    report = planned[0]["result"]
    use = wfops.context_of(report["tenant"], context.run, step=context.op.name, person=True)
    try:
        executed = execute_promotion(wfops.services, use, report["number"], checksum=report["checksum"])
        done = run_interruptibly(executed).as_json()
    except WfopsError as error:
        after = report_of(wfops.services, use, report["number"]).as_json()
        context.add_output_metadata(shown.of_results(after))
        yield dg.Output([{"result": {**report, **after}, "error": error}])
        raise as_failure(error) from error
    context.add_output_metadata({**shown.of_results(done), **shown.of_outcome(done)})
    yield dg.Output([{"result": {**done, "problems": report["problems"]}, "error": None}])


@dg.job(name="restore", executor_def=dg.in_process_executor, owners=OWNERS,
        tags={**TAGS, **NEVER_AGAIN, PRIORITY_TAG: "20"},
        description="Restore an environment from a snapshot, as of its id or of a time, whole or chosen workflows: planned, "
                    "written, read back, committed. A dry run by default: it shows the plan.")
def restore_job() -> None:
    _, passed = plan_restore()
    execute_restore(passed)
