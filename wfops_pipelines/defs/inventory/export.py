"""Canonical sync, n8n → Git (§7): the job, and its schedule for ``dev`` environments that ask for it (off by default)."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from wfops_pipelines.defs.cadence import cron_of, is_due, status_of
from wfops_pipelines.defs.failures import as_failure
from wfops_pipelines.defs.interrupts import run_interruptibly
from wfops_pipelines.defs.maintenance.cancelling import end_as_cancelled
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.partitions import Key
from wfops_pipelines.defs.refreshing import targets_of, unknown
from wfops_pipelines.defs.resources import ACTOR_TAG, DISCARDING, Wfops
from wfops_pipelines.domain.errors import WfopsError
from wfops_pipelines.domain.run_tags import ENVIRONMENT_TAG, NEVER_AGAIN, TENANT_TAG
from wfops_pipelines.services.export_environment import export_environment
from wfops_pipelines.services.export_text import left_out
from wfops_pipelines.services.pausing import said_of_pauses
from wfops_pipelines.settings import process_settings


class ExportConfig(dg.Config):
    """Which environment goes to Git, and how."""

    partition: str = Field(description="The environment as environment|tenant, for example dev|acme.")
    prune: bool = Field(default=False, description="Delete files of workflows that n8n no longer has.")
    ambiguous_as_new: bool = Field(
        default=False, description="Write workflows that might be a canonical one as new ones, instead of leaving them out.")
    dry_run: bool = Field(default=True, description="Show what would be written, and write nothing.")


@dg.op(name="export_to_git", tags=TAGS, out=dg.Out(list, io_manager_key=DISCARDING, is_required=False),
       description="Write an environment's workflows into its Git folder, as one commit or one pull request.")
def export_to_git(context: dg.OpExecutionContext, wfops: Wfops, config: ExportConfig) -> Iterator[Any]:
    targets, absent = targets_of(wfops, context.run, [Key.parse(config.partition)], step=context.op.name)
    if absent:
        raise as_failure(unknown(absent))
    target = targets[0]
    try:
        export = run_interruptibly(export_environment(
            wfops.services, target.context, target.environment, prune=config.prune, dry_run=config.dry_run,
            ambiguous_as_new=config.ambiguous_as_new))
    except WfopsError as error:
        yield dg.Output([{"result": None, "error": error}])
        end_as_cancelled(context, error)
        raise as_failure(error) from error
    context.add_output_metadata({"commit": export.commit or "", "files": len(export.files),
                                 "unchanged": export.unchanged, "dry_run": export.dry_run, "new": export.new,
                                 "ambiguous": len(export.ambiguous)})
    if export.ambiguous and not export.ambiguous_as_new:
        context.log.warning("\n".join(left_out(export.ambiguous)))
    yield dg.Output([{"result": export.as_json(), "error": None}])


@dg.job(name="export", executor_def=dg.in_process_executor, tags={**TAGS, **NEVER_AGAIN}, owners=OWNERS,
        description="Export an environment's workflows from n8n to Git (canonical sync, first baseline, backup).")
def export_job() -> None:
    export_to_git()


@dg.schedule(cron_schedule=cron_of(process_settings().export_interval_seconds), job=export_job, name="canonical_sync",
             default_status=status_of(process_settings().export_interval_seconds), owners=OWNERS, tags=TAGS,
             description="Export to Git every dev environment with sync_to_git, each WFOPS_EXPORT_INTERVAL_SECONDS. "
                         "Off by default.")
def canonical_sync(context: dg.ScheduleEvaluationContext, wfops: Wfops) -> Iterator[Any]:
    if not is_due(context.scheduled_execution_time, wfops.settings.export_interval_seconds):
        yield dg.SkipReason("not due yet")
        return
    with wfops.services.store.system() as system:
        pauses = system.pauses()
        rows = [r for r in system.environments() if r.sync_to_git and r._mapping["class"] == "dev" and r.repository_id
                and r.tenant_id not in pauses]
    if not rows:
        yield dg.SkipReason("no dev environment has sync_to_git" + said_of_pauses(wfops.services))
    for row in rows:
        yield dg.RunRequest(
            run_key=f"{row.id}-{context.scheduled_execution_time:%Y%m%d%H%M}",
            run_config=dg.RunConfig({
                "export_to_git": ExportConfig(partition=str(Key(row.tenant_slug, row.slug)), dry_run=False)}),
            tags={ACTOR_TAG: "system:canonical_sync", TENANT_TAG: row.tenant_slug, ENVIRONMENT_TAG: row.slug})
