"""Retention (§18): a job, and the sensor that asks for it daily."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from wfops_pipelines.defs.cadence import sensor_status_of
from wfops_pipelines.defs.failures import as_failure
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.resources import ACTOR_TAG, DISCARDING, Wfops
from wfops_pipelines.domain.run_tags import NEVER_AGAIN, SWEEP_TAG
from wfops_pipelines.services.retention import run_retention
from wfops_pipelines.settings import process_settings


class RetentionConfig(dg.Config):
    """Whose old rows go."""

    tenants: list[str] = Field(default=[], description="Slugs of tenants; empty means all.")
    dry_run: bool = Field(default=True, description="Count what is old enough, and remove nothing.")


@dg.op(name="remove_old_rows", tags=TAGS, out=dg.Out(dict, io_manager_key=DISCARDING, is_required=False),
       description="Remove what has been kept long enough, in batches: a run that is cut off is gone on with by the next.")
def remove_old_rows(context: dg.OpExecutionContext, wfops: Wfops, config: RetentionConfig) -> Iterator[Any]:
    done = run_retention(wfops.services, config.tenants, actor=wfops.actor_of(context.run),
                         keep=wfops.settings.keep_days, run_id=context.run_id, dry_run=config.dry_run)
    context.add_output_metadata({"total": done.total, "dry_run": done.dry_run, "removed": dg.MetadataValue.table(
        [dg.TableRecord({"tenant": one.tenant, "environment": one.environment or "", "what": one.what,
                         "before": one.before.date().isoformat() if one.before else "", "count": one.count})
         for one in done.removed],
        schema=dg.TableSchema([dg.TableColumn(name, "int" if name == "count" else "string")
                               for name in ("tenant", "environment", "what", "before", "count")]))})
    for tenant, count in done.waiting.items():
        context.log.info(f"{count} contents of {tenant} wait for the next run: operations were running")
    if done.paused:
        context.log.info(f"paused, and left alone: {', '.join(done.paused)}")
    yield dg.Output(done.as_json())
    for tenant, error in done.failed.items():
        context.log.error(f"retention of {tenant} failed: {error}")
    if done.failed:
        raise as_failure(next(iter(done.failed.values())))


@dg.job(name="retention", executor_def=dg.in_process_executor, tags={**TAGS, **NEVER_AGAIN}, owners=OWNERS,
        description="Remove what has been kept long enough: payloads of ended incidents, journals of writes, snapshots "
                    "that nobody took by hand, the history of drift checks, operations, messages, contents that nothing "
                    "refers to any more, what belongs to deleted tenants and environments. Open incidents and audit events "
                    "stay.")
def retention_job() -> None:
    remove_old_rows()


@dg.sensor(name="retention", job=retention_job, owners=OWNERS, tags=TAGS,
           minimum_interval_seconds=max(60, process_settings().retention_cleanup_interval_seconds),
           default_status=sensor_status_of(process_settings().retention_cleanup_interval_seconds),
           description="Asks for a run of the job retention each WFOPS_RETENTION_CLEANUP_INTERVAL_SECONDS (default a day), "
                       "and for one at once when the daemon was off at that time.")
def retention(context: dg.SensorEvaluationContext, wfops: Wfops) -> dg.RunRequest:
    period = int(wfops.services.now().timestamp()) // max(60, wfops.settings.retention_cleanup_interval_seconds)
    return dg.RunRequest(run_key=f"retention-{period}",
                         run_config=dg.RunConfig({"remove_old_rows": RetentionConfig(dry_run=False)}),
                         tags={ACTOR_TAG: "system:retention", SWEEP_TAG: "retention"})
