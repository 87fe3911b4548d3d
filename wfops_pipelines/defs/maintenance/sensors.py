"""Housekeeping inside sensor ticks, not as runs: a run costs CPU seconds (design decision 11)."""

import time
from datetime import UTC, datetime, timedelta

import dagster as dg

from wfops_pipelines.defs.cadence import sensor_status_of
from wfops_pipelines.defs.inventory.jobs import refresh_job
from wfops_pipelines.defs.maintenance.dead_runs import report_dead_runs
from wfops_pipelines.defs.maintenance.old_files import remove_old_files
from wfops_pipelines.defs.maintenance.old_runs import remove_old_runs
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.partitions import sync_partitions
from wfops_pipelines.defs.resources import Wfops
from wfops_pipelines.services.command_runs import forget, silent_runs
from wfops_pipelines.settings import process_settings

_REMOVING_SECONDS = 30.0  # of a tick, which has Dagster's 60

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


@dg.sensor(name="dead_runs", job=refresh_job, owners=OWNERS, tags=TAGS,
           minimum_interval_seconds=max(10, process_settings().dead_run_check_interval_seconds),
           default_status=sensor_status_of(process_settings().dead_run_check_interval_seconds),
           description="Reports runs whose process is gone as failed (WFOPS_DEAD_RUN_CHECK_INTERVAL_SECONDS, default 30), "
                       "or as cancelled where they were being cancelled; Dagster then tries those that failed and came from "
                       "the queue again. Launches no runs.")
def dead_runs(context: dg.SensorEvaluationContext, wfops: Wfops) -> dg.SkipReason:
    store = wfops.services.store
    silent = silent_runs(store)
    dead = report_dead_runs(context.instance, silent=silent)
    forget(store, silent)  # not before they are reported: a tick may be killed in between
    for run_id in dead:
        context.log.warning(f"run {run_id} had no process any more: ended")
    return dg.SkipReason(f"ended: {dead}" if dead else "every run at work has its process")


@dg.sensor(name="old_files", job=refresh_job, owners=OWNERS, tags=TAGS,
           minimum_interval_seconds=max(60, process_settings().retention_cleanup_interval_seconds),
           default_status=sensor_status_of(process_settings().retention_cleanup_interval_seconds),
           description="Removes captured output of runs and logs of ticks from DAGSTER_HOME/storage after "
                       "WFOPS_LOG_RETENTION_DAYS (default 14; 0 keeps them). Launches no runs.")
def old_files(context: dg.SensorEvaluationContext, wfops: Wfops) -> dg.SkipReason:
    days = wfops.settings.log_retention_days
    if days == 0:
        return dg.SkipReason("files are kept for ever (WFOPS_LOG_RETENTION_DAYS is 0)")
    removed = remove_old_files(context.instance, before=time.time() - days * 86_400)
    return dg.SkipReason(f"removed {removed} files older than {days} days")


@dg.sensor(name="old_runs", job=refresh_job, owners=OWNERS, tags=TAGS,
           minimum_interval_seconds=max(60, min(3600, process_settings().retention_cleanup_interval_seconds)),
           default_status=sensor_status_of(process_settings().retention_cleanup_interval_seconds),
           description="Removes runs of sweeps, pushes, canonical syncs and retention, with their events, after "
                       "WFOPS_RUN_RETENTION_DAYS (default 90; 0 keeps them), but those whose event is the last of a "
                       "partition. Others stay. Launches no runs.")
def old_runs(context: dg.SensorEvaluationContext, wfops: Wfops) -> dg.SkipReason:
    days = wfops.settings.run_retention_days
    if days == 0:
        return dg.SkipReason("runs are kept for ever (WFOPS_RUN_RETENTION_DAYS is 0)")
    removed, kept = remove_old_runs(context.instance, before=datetime.now(UTC) - timedelta(days=days),
                                    seconds=_REMOVING_SECONDS, after=context.cursor or None)
    context.update_cursor(kept or "")
    return dg.SkipReason(f"removed {removed} runs older than {days} days")
