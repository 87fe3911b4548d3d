"""The code location: all areas merged. No logic."""

import dagster as dg

from wfops_pipelines.defs.deployment.jobs import deployment_job
from wfops_pipelines.defs.deployment.sensors import scheduled_deployments
from wfops_pipelines.defs.distributed import chosen
from wfops_pipelines.defs.distributed.event_log_values import EVENT_LOG, EventLogValues
from wfops_pipelines.defs.drift.checks import inventory_complete, no_drift, no_unmanaged_workflows
from wfops_pipelines.defs.drift.jobs import drift_sweep_job
from wfops_pipelines.defs.drift.schedules import drift_detection, environment_sync
from wfops_pipelines.defs.incidents.jobs import reconcile_job, step_job
from wfops_pipelines.defs.inventory.assets import environment_assets
from wfops_pipelines.defs.inventory.export import canonical_sync, export_job
from wfops_pipelines.defs.inventory.jobs import refresh_job
from wfops_pipelines.defs.inventory.sensors import repository_poll
from wfops_pipelines.defs.maintenance.dead_workers import keep_noticing_dead_workers
from wfops_pipelines.defs.maintenance.incident_ttl import incident_ttl
from wfops_pipelines.defs.maintenance.resuming import resume_operation_job
from wfops_pipelines.defs.maintenance.retention import retention, retention_job
from wfops_pipelines.defs.maintenance.sensors import dead_runs, old_files, old_runs, partitions
from wfops_pipelines.defs.notifications.sensors import alert_rules, outbox
from wfops_pipelines.defs.observability.assets import workflow_matrix
from wfops_pipelines.defs.promotion.jobs import promote_job, recover_job, rollback_job
from wfops_pipelines.defs.promotion.passing import WITHIN_RUN, WithinRun
from wfops_pipelines.defs.promotion.sensors import approved_promotions, unfinished_promotions
from wfops_pipelines.defs.resources import DISCARDING, Discarding, Wfops
from wfops_pipelines.defs.snapshots.jobs import snapshot_job
from wfops_pipelines.defs.snapshots.restore import restore_job
from wfops_pipelines.defs.snapshots.sensors import scheduled_snapshots

keep_noticing_dead_workers()  # whoever loads the definitions may be the code server

defs = dg.Definitions(
    assets=[environment_assets, workflow_matrix],
    asset_checks=[inventory_complete, no_drift, no_unmanaged_workflows],
    jobs=[refresh_job, drift_sweep_job, export_job, reconcile_job, step_job, retention_job, snapshot_job, restore_job,
          promote_job, rollback_job, recover_job, deployment_job, resume_operation_job,
          *chosen.jobs()],
    schedules=[chosen.sweeping(drift_detection), environment_sync, canonical_sync],
    sensors=[repository_poll, partitions, dead_runs, old_files, old_runs, incident_ttl, retention, outbox, alert_rules,
             scheduled_snapshots, approved_promotions, unfinished_promotions,
             scheduled_deployments],
    resources={"wfops": Wfops(), DISCARDING: Discarding(), WITHIN_RUN: WithinRun(),
               EVENT_LOG: EventLogValues()},
    executor=dg.in_process_executor,
)
