"""Runs of sweeps and pushes go when they are old, but for what a partition shows last."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from wfops_pipelines.defs.actors import ACTOR_TAG
from wfops_pipelines.defs.maintenance import old_runs as room
from wfops_pipelines.defs.maintenance.old_runs import remove_old_runs
from wfops_pipelines.defs.maintenance.sensors import old_runs
from wfops_pipelines.defs.resources import Wfops
from wfops_pipelines.settings import Settings

SWEEP = {ACTOR_TAG: "system:drift_detection"}


@dg.op
def told(context: dg.OpExecutionContext) -> None:
    for partition in context.run.tags.get("told", ""):
        context.log_event(dg.AssetMaterialization("report", partition=partition))


@dg.job(executor_def=dg.in_process_executor)
def sweeping() -> None:
    told()


@pytest.fixture
def instance(tmp_path: Path, fresh_dagster_url: str) -> Iterator[dg.DagsterInstance]:
    """One with our storage: others count events by run."""
    url = fresh_dagster_url.replace("postgresql://", "postgresql+psycopg2://")
    (tmp_path / "dagster.yaml").write_text(
        f"telemetry: {{enabled: false}}\nstorage: {{postgres: {{postgres_url: '{url}'}}}}\n")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


def swept(instance: dg.DagsterInstance, told: str = "", **tags: str) -> str:
    """A run that has ended, and materialised these partitions."""
    return sweeping.execute_in_process(instance=instance, tags={**SWEEP, "told": told, **tags}).run_id


def removed(instance: dg.DagsterInstance, *, days: float = -1, seconds: float = 60) -> int:
    return remove_old_runs(instance, before=datetime.now(UTC) - timedelta(days=days), seconds=seconds)[0]


def left(instance: dg.DagsterInstance) -> set[str]:
    return {run.run_id for run in instance.get_runs()}


def test_what_is_old_goes_with_its_events_and_what_is_not_stays(instance: dg.DagsterInstance) -> None:
    run_id = swept(instance)
    assert removed(instance, days=1) == 0 and left(instance) == {run_id}
    assert instance.all_logs(run_id)
    assert removed(instance) == 1 and left(instance) == set()
    assert not instance.all_logs(run_id)
    assert removed(instance) == 0


@pytest.mark.parametrize("actor", ["environment_sync", "canonical_sync", "retention", "webhook", "repository_poll"])
def test_others_that_nobody_asked_for_go_too(instance: dg.DagsterInstance, actor: str) -> None:
    swept(instance, **{ACTOR_TAG: f"system:{actor}"})
    assert removed(instance) == 1


def test_what_people_asked_for_and_what_has_not_ended_stays(instance: dg.DagsterInstance) -> None:
    by_hand = sweeping.execute_in_process(instance=instance).run_id
    snapshots = swept(instance, **{ACTOR_TAG: "system:scheduled_snapshots"})
    at_work = {instance.create_run_for_job(sweeping, tags=SWEEP, status=status).run_id for status in (
        dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING)}
    assert removed(instance) == 0
    assert left(instance) == {by_hand, snapshots, *at_work}


def test_the_last_event_of_a_partition_stays_and_what_comes_after_it_goes_all_the_same(
        instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_AT_ONCE", 2)
    monkeypatch.setattr(room, "_EVENTS_AT_ONCE", 1)
    swept(instance, "ab")
    last_of_b = swept(instance, "ab")
    others = [swept(instance) for _ in range(3)]
    last_of_a = swept(instance, "ca")
    last_of_c = swept(instance, "c")
    assert removed(instance) == 1 + len(others)
    assert left(instance) == {last_of_a, last_of_b, last_of_c}
    assert instance.get_materialized_partitions(dg.AssetKey("report")) == {"a", "b", "c"}
    swept(instance, "abc")
    assert removed(instance) == 3


def test_it_ends_in_time_and_goes_on_at_the_next_tick(instance: dg.DagsterInstance) -> None:
    swept(instance)
    assert removed(instance, seconds=-1) == 0
    assert removed(instance) == 1


def test_those_that_stay_are_not_looked_at_again_before_the_others(instance: dg.DagsterInstance,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """Where many stay, a tick would end before it came to one that goes."""
    kept = [swept(instance, partition) for partition in "abc"]
    goes = swept(instance)
    looked: list[str] = []
    judge = room._is_last_of_a_partition

    def looking(instance: dg.DagsterInstance, run_id: str) -> bool:
        looked.append(run_id)
        return judge(instance, run_id)

    monkeypatch.setattr(room, "_is_last_of_a_partition", looking)
    monkeypatch.setattr(room, "time", SimpleNamespace(monotonic=lambda: len(looked)))  # each look takes a second

    def tick(after: str | None) -> tuple[int, str | None]:
        return remove_old_runs(instance, before=datetime.now(UTC) + timedelta(days=1), seconds=1, after=after)

    assert tick(None) == (0, kept[1])
    assert tick(kept[1]) == (1, None)
    assert left(instance) == set(kept) and looked == [*kept, goes]
    instance.delete_run(kept[0])
    assert tick(kept[0]) == (0, None) and looked[-2:] == kept[1:]  # somebody deleted where it was: from the beginning


def test_the_tick_goes_by_the_setting(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    swept(instance)
    assert tick(instance, monkeypatch) == "removed 0 runs older than 90 days"
    assert "kept for ever" in tick(instance, monkeypatch, run_retention_days=0)


def tick(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> str:
    installation = SimpleNamespace(settings=Settings(**settings))
    monkeypatch.setattr(Wfops, "installation", property(lambda _: installation))
    answer = old_runs(dg.build_sensor_context(instance=instance, resources={"wfops": Wfops()}))
    assert isinstance(answer, dg.SkipReason)
    return str(answer.skip_message)
