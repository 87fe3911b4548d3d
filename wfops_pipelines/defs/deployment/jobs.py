"""A deployment as a job (§12, §24): asked for by the sensor when its time has come, or by somebody who wants it now."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import dagster as dg
from pydantic import Field

from wfops_pipelines.defs.failures import as_failure, error_metadata
from wfops_pipelines.defs.interrupts import run_interruptibly
from wfops_pipelines.defs.metadata import Metadata, table
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.promotion.jobs import target_tags
from wfops_pipelines.defs.resources import DISCARDING, Wfops
from wfops_pipelines.domain.deployment import DeploymentStatus, ResultStatus
from wfops_pipelines.domain.diff_text import visible
from wfops_pipelines.domain.errors import WfopsError
from wfops_pipelines.domain.run_tags import BATCH_TAG, DEPLOYMENT_TAG, NEVER_AGAIN, PRIORITY_TAG, PROMOTION_TAG, SOURCE_TAG
from wfops_pipelines.services.deployment_reports import DeploymentReport, named_deployment, report_of
from wfops_pipelines.services.deployment_run import run_deployment
from wfops_pipelines.services.services import Services

AHEAD: Final = timedelta(seconds=10)
"""So long before its time a run is asked for: it takes seconds until one runs, and then it waits for the moment."""
_WORDS = {ResultStatus.SUCCESS: "✅ written and read back", ResultStatus.FAILED: "❌ failed",
          ResultStatus.SKIPPED: "– skipped"}


class DeploymentConfig(dg.Config):
    """Which deployment is carried out."""

    deployment: str = Field(description="Its id, or at least the first 8 characters of it, as `wfops deploy list` shows "
                                        "them. One that is scheduled starts now, whatever its time; one whose run died is "
                                        "recovered and brought to its end.")
    at_its_time: bool = Field(default=False, description="Wait for its time, where that is seconds away: the sensor asks "
                                                         "for runs before it, since a run takes seconds to start.")


def deployment_tags(tenant: str, source: str, target: str, deployment_id: str,
                    batch_id: str | None = None) -> dict[str, str]:
    """The tags of a run that carries a deployment out: the queue keeps others off its target, and looks after tenants."""
    return {**target_tags(tenant, target), SOURCE_TAG: source, DEPLOYMENT_TAG: deployment_id,
            **({BATCH_TAG: batch_id} if batch_id is not None else {})}


def run_alive_in(instance: dg.DagsterInstance) -> Callable[[str], bool | None]:
    """Whether a run of this instance lives; ``None`` of one that it does not know."""
    def alive(run_id: str) -> bool | None:
        run = instance.get_run_by_id(run_id)
        return None if run is None else not run.is_finished
    return alive


@dg.op(name="deploy", tags=TAGS, out=dg.Out(list, io_manager_key=DISCARDING, is_required=False),
       description="Read both environments, plan the promotion and evaluate its gates, or take the one that was approved "
                   "before; write it; say what became of each workflow. It waits a while for other operations, and for no "
                   "gate.")
def deploy(context: dg.OpExecutionContext, wfops: Wfops, config: DeploymentConfig) -> Iterator[Any]:
    services = wfops.services
    try:
        named = named_deployment(services, config.deployment)
        use = wfops.context_of(named.tenant, context.run, step=context.op.name)
        before = report_of(services, use, named.deployment_id)
        context.instance.add_run_tags(context.run_id, deployment_tags(
            named.tenant, before.source, before.target, str(named.deployment_id), before.batch_id))
        if config.at_its_time and (not_now := _wait_for_its_time(services, before)) is not None:
            context.log.info(f"deployment {named.deployment_id} {not_now}")
            yield dg.Output([{"result": before.as_json(), "error": None}])
            return
        done = run_interruptibly(run_deployment(services, use, named.deployment_id,
                                                run_alive=run_alive_in(context.instance)))
    except WfopsError as error:
        yield dg.Output([{"result": None, "error": error}])
        raise as_failure(error) from error
    if done.promotion is not None:
        context.instance.add_run_tags(context.run_id, {PROMOTION_TAG: done.promotion})
    context.add_output_metadata(_metadata(done))
    yield dg.Output([{"result": done.as_json(), "error": done.error}])
    if done.status == DeploymentStatus.FAILED:  # told already: nobody tries again
        why = done.error or WfopsError(done.message or "it failed")
        raise dg.Failure(f"the deployment failed: {done.message}", metadata=error_metadata(why), allow_retries=False)


def _wait_for_its_time(services: Services, report: DeploymentReport) -> str | None:
    """Until the time of a deployment, which is seconds away; why it is not to be carried out then, if it is not."""
    left = (datetime.fromisoformat(report.starts_at) - services.now()).total_seconds()
    if left > 2 * AHEAD.total_seconds():
        return "is not due by this clock, which was set back: the sensor asks for it again"
    time.sleep(max(left, 0.0))
    now = report_of(services, services.context(report.tenant, actor="system:look-up"), UUID(report.deployment_id))
    return "was called off before its time" if now.status == DeploymentStatus.CANCELLED else None


def _metadata(done: DeploymentReport) -> Metadata:
    return {
        "deployment": done.deployment_id or "", "status": done.status, "from": done.source, "to": done.target,
        **({"promotion": done.promotion} if done.promotion else {}), **done.counts, "message": visible(done.message or ""),
        **({"batch": done.batch_id, "wave": done.wave} if done.batch_id else {}),
        **table("workflows", [{
            "workflow": visible(each["name"]), "action": each["action"], "outcome": _WORDS[ResultStatus(each["status"])],
            "message": visible(each["message"] or "")} for each in done.workflows]),
    }


@dg.job(name="run_deployment", executor_def=dg.in_process_executor, owners=OWNERS,
        tags={**TAGS, **NEVER_AGAIN, PRIORITY_TAG: "10"},
        description="Carry out a deployment: the promotion that it stands for, with a result for each workflow. Asked for "
                    "by the sensor scheduled_deployments when its time has come.")
def deployment_job() -> None:
    deploy()
