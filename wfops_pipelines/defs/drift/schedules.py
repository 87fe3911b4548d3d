"""The drift schedule (§9): one run sweeps every environment that is due, in place of a run for each."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
from sqlalchemy import Row

from wfops_pipelines.defs.cadence import cron_of, is_due, status_of
from wfops_pipelines.defs.inventory.jobs import RefreshConfig, refresh_job
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.partitions import Key
from wfops_pipelines.defs.resources import ACTOR_TAG, Wfops
from wfops_pipelines.services.refresh import Part
from wfops_pipelines.settings import process_settings


def checked_by_schedule(environments: Sequence[Row[Any]], busy: set[Any]) -> list[Row[Any]]:
    """Non-dev environments with Git configured, without those that an operation holds right now (§9)."""
    return [row for row in environments
            if row._mapping["class"] != "dev" and row.repository_id is not None and row.id not in busy]


@dg.schedule(cron_schedule=cron_of(process_settings().drift_check_interval_seconds), job=refresh_job,
             name="drift_detection", default_status=status_of(process_settings().drift_check_interval_seconds),
             owners=OWNERS, tags=TAGS,
             description="Drift detection for every staging and production environment with Git, each "
                         "WFOPS_DRIFT_CHECK_INTERVAL_SECONDS (default 5 minutes), in one run.")
def drift_detection(context: dg.ScheduleEvaluationContext, wfops: Wfops) -> dg.RunRequest | dg.SkipReason:
    tick = context.scheduled_execution_time
    if not is_due(tick, wfops.settings.drift_check_interval_seconds):
        return dg.SkipReason("not due yet")
    services = wfops.services
    with services.store.system() as system:
        rows = checked_by_schedule(system.environments(), system.busy_environments(services.limits.lease_stale))
    if not rows:
        return dg.SkipReason("no staging or production environment has Git configured")
    config = RefreshConfig(
        partitions=[str(Key(row.tenant_slug, row.slug)) for row in rows], parts=[str(part) for part in Part],
        check_type="scheduled", all_events=False)
    return dg.RunRequest(run_key=f"drift-{tick:%Y%m%d%H%M}", run_config=dg.RunConfig({"refresh_environments": config}),
                         tags={ACTOR_TAG: "system:drift_detection", "wfops/sweep": "drift"})


@dg.schedule(cron_schedule=cron_of(process_settings().sync_interval_seconds), job=refresh_job, name="environment_sync",
             default_status=status_of(process_settings().sync_interval_seconds
                                      if process_settings().sync_scheduler_enabled else 0),
             owners=OWNERS, tags=TAGS,
             description="Environment sync alone, for every environment. Off by default (WFOPS_SYNC_SCHEDULER_ENABLED): a "
                         "drift check syncs what it compares.")
def environment_sync(context: dg.ScheduleEvaluationContext, wfops: Wfops) -> dg.RunRequest | dg.SkipReason:
    tick = context.scheduled_execution_time
    if not is_due(tick, wfops.settings.sync_interval_seconds):
        return dg.SkipReason("not due yet")
    with wfops.services.store.system() as system:
        keys = [str(Key(row.tenant_slug, row.slug)) for row in system.environments()]
    if not keys:
        return dg.SkipReason("there are no environments")
    config = RefreshConfig(partitions=keys, parts=[str(Part.ENVIRONMENT)], check_type="scheduled", all_events=False)
    return dg.RunRequest(run_key=f"sync-{tick:%Y%m%d%H%M}", run_config=dg.RunConfig({"refresh_environments": config}),
                         tags={ACTOR_TAG: "system:environment_sync", "wfops/sweep": "sync"})
