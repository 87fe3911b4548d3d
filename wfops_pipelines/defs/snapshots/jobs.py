"""Snapshots as a job (§13, §24): of one environment or of many, from the launchpad, the command line, or the sensor."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from wfops_pipelines.defs.failures import as_failure
from wfops_pipelines.defs.interrupts import run_interruptibly
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.partitions import Key
from wfops_pipelines.defs.refreshing import targets_of, unknown
from wfops_pipelines.defs.resources import DISCARDING, Wfops
from wfops_pipelines.domain.run_tags import NEVER_AGAIN
from wfops_pipelines.domain.snapshot import SnapshotKind
from wfops_pipelines.services.snapshot_sweep import SnapshotOutcome, take_snapshots

_COLUMNS = ("tenant", "environment", "snapshot", "workflows", "unreadable", "unchanged since", "error")


class SnapshotConfig(dg.Config):
    """Which environments are kept, and what the snapshots are called."""

    partitions: list[str] = Field(description="Environments as environment|tenant, for example prod|acme.")
    name: str | None = Field(default=None, description="What to call them, for people, for example: before the move to 2.x.")
    scheduled: bool = Field(
        default=False, description="As the sensor scheduled_snapshots asks for them: only of environments whose next one is "
                                   "due (snapshot_hours in fleet.yaml), and removed by age one day. Others are kept.")


@dg.op(name="take_snapshots", tags=TAGS, out=dg.Out(list, io_manager_key=DISCARDING, is_required=False),
       description="Read environments from n8n and keep what they hold: contents, drafts, activation, tags. One that fails "
                   "is told in the result and fails no other.")
def take_environment_snapshots(context: dg.OpExecutionContext, wfops: Wfops, config: SnapshotConfig) -> Iterator[Any]:
    targets, absent = targets_of(wfops, context.run, [Key.parse(key) for key in config.partitions], step=context.op.name)
    if absent:
        raise as_failure(unknown(absent))

    def tell(outcome: SnapshotOutcome) -> None:
        if outcome.error is not None:
            context.log.error(f"snapshot of {outcome.target.name}: {outcome.error.kind}: {outcome.error}")
        elif outcome.report is not None and outcome.report.unreadable:
            context.log.warning(f"snapshot of {outcome.target.name}: "
                                f"{outcome.report.unreadable} workflows could not be read")

    kind = SnapshotKind.SCHEDULED if config.scheduled else SnapshotKind.MANUAL_BACKUP
    outcomes = [each for each in run_interruptibly(take_snapshots(
        wfops.services, targets, kind=kind, name=config.name, tell=tell)) if each.was_due]
    failed = [outcome.error for outcome in outcomes if outcome.error is not None]
    context.add_output_metadata({
        "environments": len(outcomes), "failed": len(failed),
        "workflows": sum(each.report.workflows for each in outcomes if each.report is not None),
        "snapshots": dg.MetadataValue.table([_record(outcome) for outcome in outcomes], schema=dg.TableSchema(
            [dg.TableColumn(name, "int" if name in ("workflows", "unreadable") else "string") for name in _COLUMNS]))})
    yield dg.Output([{"result": each.report.as_json() if each.report is not None else None, "error": each.error}
                     for each in outcomes])
    if failed:
        raise as_failure(failed[0])


def _record(outcome: SnapshotOutcome) -> dg.TableRecord:
    report = outcome.report
    return dg.TableRecord(dict(zip(_COLUMNS, (
        outcome.target.context.tenant_slug, outcome.target.environment.slug, report.snapshot_id if report else "",
        report.workflows if report else 0, report.unreadable if report else 0, (report.same_as or "") if report else "",
        str(outcome.error) if outcome.error is not None else ""), strict=True)))


@dg.job(name="snapshot", executor_def=dg.in_process_executor, tags={**TAGS, **NEVER_AGAIN}, owners=OWNERS,
        description="Take a snapshot of environments: what their workflows are now, to compare with and to restore from. It "
                    "reads n8n and writes nothing there.")
def snapshot_job() -> None:
    take_environment_snapshots()
