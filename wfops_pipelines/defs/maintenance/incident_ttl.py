"""The clock of drift incidents, in a sensor's tick: a run each minute would cost more than what it does."""

import dagster as dg

from wfops_pipelines.defs.cadence import sensor_status_of
from wfops_pipelines.defs.inventory.jobs import refresh_job
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.resources import Wfops
from wfops_pipelines.services.escalate_incidents import escalate_incidents
from wfops_pipelines.settings import process_settings


@dg.sensor(name="incident_ttl", job=refresh_job, owners=OWNERS, tags=TAGS,
           minimum_interval_seconds=max(10, process_settings().ttl_check_interval_seconds),
           default_status=sensor_status_of(process_settings().ttl_check_interval_seconds),
           description="Escalates open drift incidents at 25, 75 and 100 % of their time, and lets those expire that nobody "
                       "acknowledged (WFOPS_TTL_CHECK_INTERVAL_SECONDS, default 60). Launches no runs.")
def incident_ttl(context: dg.SensorEvaluationContext, wfops: Wfops) -> dg.SkipReason:
    sweep = escalate_incidents(wfops.services, actor="system:incident_ttl")
    for one in sweep.escalated:
        context.log.info(f"{one.tenant}#{one.number} ({one.environment}) is {one.level}"
                         + (f", passed {', '.join(one.missed)}" if one.missed else "")
                         + (", and expired" if one.expired else ""))
    for tenant, error in sweep.failed.items():
        context.log.warning(f"the incidents of {tenant} were not looked at: {error}")
    return dg.SkipReason(sweep.summary)
