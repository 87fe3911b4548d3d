"""Runs that nobody asked for, sweeps, what follows pushes, canonical syncs and retention: removed by age, with their events
(§18, §24).

A sweep is a run, a minute after the last one: half a million a year, of some 2 kB an event. What they found is in our tables
and in the audit trail; runs that people asked for, and those of promotions, deployments and snapshots, stay for good.
"""

import time
from datetime import datetime

import dagster as dg

from wfops_pipelines.defs.actors import ACTOR_TAG
from wfops_pipelines.services import push_dispatch, repository_poll

ACTORS = ("system:drift_detection", "system:environment_sync", "system:canonical_sync", "system:retention",
          push_dispatch.ACTOR, repository_poll.ACTOR)
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_MATERIALIZATION = dg.DagsterEventType.ASSET_MATERIALIZATION
_AT_ONCE, _EVENTS_AT_ONCE = 100, 1000


def remove_old_runs(instance: dg.DagsterInstance, *, before: datetime, seconds: float,
                    after: str | None = None) -> tuple[int, str | None]:
    """Remove such runs that ended and were created before a time, the oldest first, for so many seconds at most; how many,
    and the last one that was kept where the time was up: the next look begins ``after`` it. The run whose event is the last
    of a partition stays: the UI would call the partition missing."""
    deadline = time.monotonic() + seconds
    chosen = dg.RunsFilter(tags={ACTOR_TAG: list(ACTORS)}, statuses=_ENDED, created_before=before)
    removed, kept = 0, after if after is not None and instance.has_run(after) else None
    while page := instance.get_run_records(chosen, limit=_AT_ONCE, cursor=kept, ascending=True):
        for record in page:
            run_id = record.dagster_run.run_id
            if time.monotonic() > deadline:
                return removed, kept
            if _is_last_of_a_partition(instance, run_id):
                kept = run_id
            else:
                instance.delete_run(run_id)
                removed += 1
    return removed, None


def _is_last_of_a_partition(instance: dg.DagsterInstance, run_id: str) -> bool:
    cursor, more = None, True
    while more:
        page = instance.get_records_for_run(run_id, cursor=cursor, of_type=_MATERIALIZATION, limit=_EVENTS_AT_ONCE)
        cursor, more = page.cursor, page.has_more
        by_asset: dict[dg.AssetKey, dict[str, int]] = {}
        for record in page.records:
            if record.asset_key is not None and record.partition_key is not None:
                by_asset.setdefault(record.asset_key, {})[record.partition_key] = record.storage_id
        for asset, partitions in by_asset.items():
            latest = instance.event_log_storage.get_latest_storage_id_by_partition(asset, _MATERIALIZATION, set(partitions))
            if any(latest.get(partition, 0) <= storage_id for partition, storage_id in partitions.items()):
                return True
    return False
