"""The schedules of sweeps: one run over every environment that is due, in place of a run for each (§9)."""

import dagster as dg

from wfops_pipelines.defs.cadence import cron_of, is_due, status_of
from wfops_pipelines.defs.drift.jobs import drift_sweep_job
from wfops_pipelines.defs.inventory.jobs import RefreshConfig, refresh_job
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.partitions import Key
from wfops_pipelines.defs.resources import ACTOR_TAG, Wfops
from wfops_pipelines.domain.run_tags import DUE_TAG, PRIORITY_TAG, SWEEP_TAG
from wfops_pipelines.services.pausing import said_of_pauses
from wfops_pipelines.services.refresh import Part
from wfops_pipelines.services.sweeps import due
from wfops_pipelines.settings import process_settings

_UNENDED = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING,
            dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@dg.schedule(cron_schedule="* * * * *", job=drift_sweep_job,
             name="drift_detection", default_status=status_of(process_settings().drift_check_interval_seconds),
             owners=OWNERS, tags=TAGS,
             description="Drift detection for every staging and production environment with Git, each "
                         "WFOPS_DRIFT_CHECK_INTERVAL_SECONDS (default 5 minutes): each minute a look whether any is due, "
                         "and one run for those that are.")
def drift_detection(context: dg.ScheduleEvaluationContext, wfops: Wfops) -> dg.RunRequest | dg.SkipReason:
    if context.instance.get_runs(dg.RunsFilter(tags={SWEEP_TAG: "drift"}, statuses=_UNENDED), limit=1):
        return dg.SkipReason("the sweep before has not ended: what came due meanwhile is the next one's")
    count = due(wfops.services, wfops.settings.drift_check_interval_seconds)
    if not count:
        return dg.SkipReason("no staging or production environment with Git is due" + said_of_pauses(wfops.services))
    return dg.RunRequest(run_key=f"drift-{context.scheduled_execution_time:%Y%m%d%H%M}",
                         # One run for everybody, as a refresh after a push: it does not wait for the exports of all tenants.
                         tags={ACTOR_TAG: "system:drift_detection", SWEEP_TAG: "drift", DUE_TAG: str(count),
                               PRIORITY_TAG: "1"})


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
        pauses = system.pauses()
        keys = [str(Key(row.tenant_slug, row.slug)) for row in system.environments() if row.tenant_id not in pauses]
    if not keys:
        return dg.SkipReason("there are no environments, or all are paused")
    config = RefreshConfig(partitions=keys, parts=[str(Part.ENVIRONMENT)], check_type="scheduled", all_events=False)
    return dg.RunRequest(run_key=f"sync-{tick:%Y%m%d%H%M}", run_config=dg.RunConfig({"refresh_environments": config}),
                         tags={ACTOR_TAG: "system:environment_sync", SWEEP_TAG: "sync"})
