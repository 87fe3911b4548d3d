"""Runs on account of pushes: how they are tagged, what they are asked, and which there are (§7, §20)."""

from collections.abc import Collection
from typing import Any

import dagster as dg

from wfops_pipelines.defs.inventory.jobs import RefreshConfig
from wfops_pipelines.defs.partitions import Key
from wfops_pipelines.defs.resources import ACTOR_TAG
from wfops_pipelines.domain.errors import UnknownPartition
from wfops_pipelines.domain.pushes import LANES, SLOW_LANE, Partition, RefreshRun
from wfops_pipelines.domain.run_tags import PRIORITY_TAG, SWEEP_TAG
from wfops_pipelines.services.refresh import Part

PARTS = (Part.REPOSITORY, Part.DIFF, Part.DRIFT)
PATIENCE_SECONDS = 15.0  # nobody asks again for minutes, and most operations, as the run of another push, are over by then
GIT_SECONDS = 15.0  # and as much again: the next pushes to anybody may wait behind this one
SLOW_GIT_SECONDS = 90.0  # here those to others whose Git did not answer lately; what takes longer, sweeps have time for
_OP = "refresh_environments"
_ENDING = frozenset({dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING})
_WAITING = frozenset({dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED})


def config_of(partitions: Collection[Partition], lane: str) -> RefreshConfig:
    """What such a run does: read Git, reconcile, and compare with what is known of n8n."""
    return RefreshConfig(partitions=sorted(str(Key(tenant, environment)) for tenant, environment in partitions),
                         parts=[str(part) for part in PARTS], check_type="scheduled", patience_seconds=PATIENCE_SECONDS,
                         git_seconds=SLOW_GIT_SECONDS if lane == SLOW_LANE else GIT_SECONDS)


def tags_of(lane: str, actor: str) -> dict[str, str]:
    """Its tags: runs of a lane wait for each other (``dagster.yaml``), and pushes go before sweeps."""
    return {ACTOR_TAG: actor, SWEEP_TAG: lane, PRIORITY_TAG: "1"}


def runs_of(instance: dg.DagsterInstance) -> list[RefreshRun]:
    """Those that have not ended, the oldest first. One that was not begun within its own queue is not relied upon: a run
    that was made and never queued waits until run monitoring fails it, some minutes later."""
    runs = instance.get_runs(limit=200, filters=dg.RunsFilter(
        tags={SWEEP_TAG: [*LANES, SLOW_LANE]}, statuses=[*_ENDING, *_WAITING]))
    return [RefreshRun(run.run_id, run.status is dg.DagsterRunStatus.QUEUED, run.tags[SWEEP_TAG], _partitions(run))
            for run in reversed(runs)]


def _partitions(run: dg.DagsterRun) -> frozenset[Partition]:
    try:
        config: Any = run.run_config
        keys = [Key.parse(key) for key in config["ops"][_OP]["config"]["partitions"]]
    except (KeyError, TypeError, UnknownPartition):
        return frozenset()
    return frozenset((key.tenant, key.environment) for key in keys)
