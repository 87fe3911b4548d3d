"""Sweeps as jobs: an op over any set of environments, named in its config (``facts/dagster`` §12.1).

A range of partitions is one run of the assets; any other set is a run of these jobs. Both call the same services and
log the same events.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from wfops_pipelines.defs.failures import as_failure
from wfops_pipelines.defs.maintenance.cancelling import end_as_cancelled
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.partitions import Key
from wfops_pipelines.defs.refreshing import log_events, refresh_targets, targets_of, unknown
from wfops_pipelines.defs.resources import DISCARDING, Wfops
from wfops_pipelines.domain.errors import Cancelled
from wfops_pipelines.services.detect_drift import CheckType, DriftCheck
from wfops_pipelines.services.push_dispatch import hand_back, note_branches
from wfops_pipelines.services.refresh import Outcome, Part


class RefreshConfig(dg.Config):
    """Which environments, and what of them."""

    partitions: list[str] = Field(description="Environments as environment|tenant, for example prod|acme.")
    parts: list[str] = Field(
        default=[str(part) for part in Part],
        description="Asset keys to refresh: environment_workflows, repository_workflows, workflow_diff, drift_report.")
    check_type: str = Field(default="manual", description="How a drift check is recorded: manual or scheduled.")
    patience_seconds: float | None = Field(
        default=None, description="How long to wait for an environment that an operation holds, if that is longer than "
                                  "WFOPS_LEASE_WAIT_SECONDS.")
    git_seconds: float | None = Field(
        default=None, gt=0, description="What was not begun within so long is not begun, and after twice as long calls to "
                                        "Git end: whoever waits for this run does not wait for a Git server that hangs.")
    all_events: bool = Field(
        default=True, description="Log a materialisation for every environment; false logs only what changed.")


@dg.op(name="refresh_environments", tags=TAGS, out=dg.Out(list, io_manager_key=DISCARDING, is_required=False),
       description="Refresh environments concurrently; one that fails is told in the result and fails no other.")
def refresh_environments(context: dg.OpExecutionContext, wfops: Wfops, config: RefreshConfig) -> Iterator[Any]:
    keys = [Key.parse(key) for key in config.partitions]
    targets, absent = targets_of(wfops, context.run, keys, step=context.op.name)
    by_a_push = config.git_seconds is not None
    if absent and not targets and not by_a_push:
        raise as_failure(unknown(absent))
    if absent:  # deleted while the run waited: those that are there are refreshed
        context.log.warning(str(unknown(absent)))
    check_type: CheckType = "scheduled" if config.check_type == "scheduled" else "manual"
    outcomes = refresh_targets(wfops, context.log, targets, {Part(p) for p in config.parts}, check_type=check_type,
                               patience=config.patience_seconds or 0.0, git_seconds=config.git_seconds)
    told = outcomes if config.all_events else [o for o in outcomes if _changed(o)]
    log_events(context, wfops, told)
    if by_a_push:
        note_branches(wfops.services, outcomes)
        hand_back(wfops.services, outcomes)
    failed = sum(o.error is not None for o in outcomes)
    context.add_output_metadata({"environments": len(targets), "absent": len(absent), "failed": failed, "events": len(told)})
    yield dg.Output([_told(outcome) for outcome in outcomes])
    end_as_cancelled(context, next((o.error for o in outcomes if isinstance(o.error, Cancelled)), None))


def _changed(outcome: Outcome) -> bool:
    """Whether an outcome of a scheduled sweep is worth an event: state is in our tables, events are for what changed."""
    if isinstance(outcome.result, DriftCheck):
        return outcome.result.changed
    return False


def _told(outcome: Outcome) -> dict[str, Any]:
    """An outcome for whoever ran the job in this process."""
    return {
        "tenant": outcome.target.context.tenant_slug, "environment": outcome.target.environment.slug,
        "part": str(outcome.part), "result": outcome.result.as_json() if outcome.result is not None else None,
        "error": outcome.error or (outcome.result.error if isinstance(outcome.result, DriftCheck) else None),
    }


@dg.job(name="refresh", executor_def=dg.in_process_executor, tags=TAGS, owners=OWNERS,
        description="Refresh any set of environments: n8n, Git, reconciliation, drift.")
def refresh_job() -> None:
    refresh_environments()
