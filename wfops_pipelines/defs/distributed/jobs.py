"""The drift sweep on several machines: its steps are the same sweep, begun by several Celery workers, which share the work.

Each claims some environments after the other, those that no other step has (``services.sweeps``), so a fast worker does more
of them than a slow one. A step may begin a second time, after its worker died or while it is only slow
(``distributed.broker``): it finds what is left, and nothing that was done.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import dagster as dg
from dagster._core.storage.tags import MAX_RUNTIME_SECONDS_TAG
from pydantic import Field

from wfops_pipelines.defs.distributed.broker import installation_celery
from wfops_pipelines.defs.distributed.event_log_values import EVENT_LOG
from wfops_pipelines.defs.failures import as_failure
from wfops_pipelines.defs.interrupts import run_interruptibly
from wfops_pipelines.defs.ownership import OWNERS, TAGS
from wfops_pipelines.defs.refreshing import log_events
from wfops_pipelines.defs.resources import Wfops
from wfops_pipelines.domain.errors import WfopsError
from wfops_pipelines.domain.sweep import Done
from wfops_pipelines.services.refresh import Outcome
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.sweeps import sweep

JOB = "distributed_sweep"
_WINDOW = 4  # chunks under way in a step: what hangs is among them
_LONGEST_SECONDS = 3600  # a step whose message the broker lost is waited for in vain, and no other sweep begins meanwhile


class DistributedSweepConfig(dg.Config):
    """Into how many steps a sweep is divided, and how much a step claims at a time."""

    steps: int | None = Field(default=None, ge=1, description="Default: WFOPS_CELERY_SWEEP_STEPS.")
    chunk_size: int | None = Field(default=None, ge=1, description="Default: WFOPS_CELERY_CHUNK_SIZE.")


@dg.op(tags=TAGS, out=dg.DynamicOut(dict, io_manager_key=EVENT_LOG), description="Divide the sweep into steps.")
def divide_sweep(wfops: Wfops, config: DistributedSweepConfig) -> Iterator[dg.DynamicOutput[dict[str, int]]]:
    chunk = config.chunk_size or wfops.settings.celery_chunk_size
    for number in range(1, (config.steps or wfops.settings.celery_sweep_steps) + 1):
        yield dg.DynamicOutput({"chunk_size": chunk}, mapping_key=f"share_{number:02}")


@dg.op(tags=TAGS, out=dg.Out(dict, io_manager_key=EVENT_LOG),
       description="Check the environments that are due, beside the other steps; one that fails fails no other.")
def sweep_share(context: dg.OpExecutionContext, wfops: Wfops, share: dict[str, Any]) -> dict[str, Any]:
    told: list[Outcome] = []
    try:
        report = run_interruptibly(sweep(
            _by_turns(wfops.services, share["chunk_size"]), interval=wfops.settings.drift_check_interval_seconds,
            actor=wfops.actor_of(context.run), run_id=context.run_id, step=context.op.name, report=told.append))
    except WfopsError as error:
        raise as_failure(error) from error
    log_events(context, wfops, told)
    context.add_output_metadata({**report.as_json(), "events": len(told)})
    return report.as_json()


@dg.op(tags=TAGS, out=dg.Out(dict, io_manager_key=EVENT_LOG), description="What the steps did together.")
def sum_up(context: dg.OpExecutionContext, shares: list[dict[str, Any]]) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    for share in shares:
        counts.update(share["counts"])
    counts.pop(Done.TAKEN, None)  # another step's
    total = {"steps": len(shares), "due": max((share["due"] for share in shares), default=0), "counts": dict(counts),
             "lag_ms": max((share["lag_ms"] for share in shares), default=0)}
    context.add_output_metadata(total)
    return total


def _by_turns(services: Services, chunk: int) -> Services:
    """The services of a step that leaves others something to do."""
    return replace(services, limits=replace(services.limits, sweep_chunk=chunk, sweep_window=_WINDOW * chunk))


@dg.job(name=JOB, executor_def=installation_celery, owners=OWNERS,
        tags={**TAGS, MAX_RUNTIME_SECONDS_TAG: str(_LONGEST_SECONDS)},
        description="Drift detection for every environment that is due, by Celery workers that share the work.")
def distributed_sweep_job() -> None:
    sum_up(divide_sweep().map(sweep_share).collect())
