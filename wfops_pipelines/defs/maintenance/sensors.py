"""Housekeeping inside sensor ticks, not as runs: a run costs CPU seconds (design decision 11)."""

import dagster as dg

from wfops_pipelines.defs.cadence import sensor_status_of
from wfops_pipelines.defs.inventory.jobs import refresh_job
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.partitions import sync_partitions
from wfops_pipelines.defs.resources import Wfops
from wfops_pipelines.settings import process_settings


@dg.sensor(name="partitions", job=refresh_job, owners=OWNERS, tags=TAGS,
           minimum_interval_seconds=max(10, process_settings().partition_sync_interval_seconds),
           default_status=sensor_status_of(process_settings().partition_sync_interval_seconds),
           description="Keeps the partitions (tenants, environments) those of the database. Launches no runs.")
def partitions(context: dg.SensorEvaluationContext, wfops: Wfops) -> dg.SkipReason:
    changes = sync_partitions(context.instance, wfops.services)
    if not changes.any:
        return dg.SkipReason("partitions are those of the database")
    return dg.SkipReason(
        f"added {[*changes.add_tenants, *changes.add_environments]}, "
        f"removed {[*changes.delete_tenants, *changes.delete_environments]}")
