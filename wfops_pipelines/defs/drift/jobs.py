"""The drift sweep as a job: one run looks at every environment that is due (``facts/dagster`` §12.1, §12.2)."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from wfops_pipelines.defs.failures import as_failure
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.refreshing import log_events, sweep_fleet
from wfops_pipelines.defs.resources import DISCARDING, Wfops
from wfops_pipelines.domain.errors import WfopsError


@dg.op(name="sweep_environments", tags=TAGS, out=dg.Out(dict, io_manager_key=DISCARDING, is_required=False),
       description="Check every environment whose time has come. What did not change costs its transfer; events are logged "
                   "for what did, and for each environment once a day.")
def sweep_environments(context: dg.OpExecutionContext, wfops: Wfops) -> Iterator[Any]:
    try:
        report, told = sweep_fleet(wfops, context.log, context.run, step=context.op.name)
    except WfopsError as error:
        raise as_failure(error) from error
    log_events(context, wfops, told)
    context.add_output_metadata({
        "due": report.due, **{str(done): count for done, count in sorted(report.counts.items())},
        "statuses": dict(report.statuses), "duration_seconds": report.duration_ms / 1000,
        "lag_seconds": report.lag_ms / 1000, "mean_lag_seconds": report.mean_lag_ms / 1000, "events": len(told),
        "sweep": str(report.sweep_id)})
    yield dg.Output(report.as_json())


@dg.job(name="drift_sweep", executor_def=dg.in_process_executor, tags=TAGS, owners=OWNERS,
        description="Drift detection for every staging and production environment with Git whose check is due.")
def drift_sweep_job() -> None:
    sweep_environments()
