"""Scheduled snapshots (§13, §24): one run takes all that are due."""

import hashlib

import dagster as dg

from wfops_pipelines.defs.cadence import sensor_status_of
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.partitions import Key
from wfops_pipelines.defs.resources import ACTOR_TAG, Wfops
from wfops_pipelines.defs.snapshots.jobs import SnapshotConfig, snapshot_job
from wfops_pipelines.domain.run_tags import SWEEP_TAG
from wfops_pipelines.services.pausing import said_of_pauses
from wfops_pipelines.services.snapshot_sweep import due_environments
from wfops_pipelines.settings import process_settings

_SAME_RUN = 900  # seconds


@dg.sensor(name="scheduled_snapshots", job=snapshot_job, owners=OWNERS, tags=TAGS,
           minimum_interval_seconds=max(30, process_settings().snapshot_check_interval_seconds),
           default_status=sensor_status_of(process_settings().snapshot_check_interval_seconds),
           description="Asks for one run of the job snapshot for all environments whose snapshot_hours have passed since "
                       "their last scheduled one (looks each WFOPS_SNAPSHOT_CHECK_INTERVAL_SECONDS, default 5 minutes). "
                       "One that failed is tried again after an hour.")
def scheduled_snapshots(context: dg.SensorEvaluationContext, wfops: Wfops) -> dg.RunRequest | dg.SkipReason:
    rows = due_environments(wfops.services)
    if not rows:
        return dg.SkipReason("no scheduled snapshot is due" + said_of_pauses(wfops.services))
    # While a run waits in the queue, the next tick finds the same and asks for nothing new. Only for a while: a run that was
    # cancelled there, or found the environment held, leaves no trace in the store; of two runs the second finds nothing due.
    period = int(wfops.services.now().timestamp()) // _SAME_RUN
    state = hashlib.sha256(repr([period, *((row.id, row.last_taken, row.last_failed) for row in rows)]).encode()).hexdigest()
    config = SnapshotConfig(partitions=[str(Key(row.tenant_slug, row.slug)) for row in rows], scheduled=True)
    return dg.RunRequest(run_key=f"snapshots-{state[:24]}", run_config=dg.RunConfig({"take_snapshots": config}),
                         tags={ACTOR_TAG: "system:scheduled_snapshots", SWEEP_TAG: "snapshots"})
