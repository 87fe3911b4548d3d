"""Schedules and sensors: what they ask for, and what they leave alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import dagster as dg
import psycopg
import pytest
from sqlalchemy import text

from wfops_pipelines.bootstrap import use_installation
from wfops_pipelines.defs import launch
from wfops_pipelines.defs.drift.schedules import drift_detection
from wfops_pipelines.defs.inventory import push_runs
from wfops_pipelines.defs.inventory.export import canonical_sync
from wfops_pipelines.defs.inventory.refresh_queue import DagsterRefreshQueue
from wfops_pipelines.defs.inventory.sensors import repository_poll, tick_seconds
from wfops_pipelines.defs.location import defs
from wfops_pipelines.defs.maintenance.sensors import partitions
from wfops_pipelines.defs.refreshing import evaluations
from wfops_pipelines.defs.resources import Wfops
from wfops_pipelines.domain.errors import (
    Broken,
    Cancelled,
    MalformedFile,
    Paused,
    SecretUnreadable,
    StoreBusy,
    StoreUnavailable,
    TimedOut,
    Unreachable,
    WfopsError,
)
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.domain.pushes import RefreshRun
from wfops_pipelines.git.open import open_repository
from wfops_pipelines.git.repository import Repository, RepositorySource
from wfops_pipelines.services import operations
from wfops_pipelines.services.operations import run_operation
from wfops_pipelines.services.pausing import pause
from wfops_pipelines.services.refresh import Outcome, Part, Target
from wfops_pipelines_tests.defs.conftest import Given
from wfops_pipelines_tests.servers.hostile import HostileServer, drop_by_drop, http

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def scheduled(given: Given, schedule: dg.ScheduleDefinition, at: datetime = NOON, *,
              runs: dg.DagsterInstance | None = None) -> Any:
    """What a schedule answers. It looks only at an instance that is on disk: ``runs``, or an empty one."""
    with ExitStack() as stack:
        instance = runs or stack.enter_context(dg.DagsterInstance.local_temp())
        context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at, resources={"wfops": Wfops()})
        return schedule(context)


def sensed(given: Given, sensor: dg.SensorDefinition) -> list[Any]:
    context = dg.build_sensor_context(instance=given.instance, resources={"wfops": Wfops()})
    answer = sensor(context)
    return list(answer) if isinstance(answer, Iterator) else [answer]


def config_of(request: dg.RunRequest) -> dict[str, Any]:
    return request.run_config["ops"]["refresh_environments"]["config"]


def sweep(given: Given) -> tuple[dict[str, Any], int]:
    """What a sweep says of itself, and how many drift reports it materialised."""
    key = dg.AssetKey("drift_report")
    before = len(given.instance.fetch_materializations(key, limit=100).records)
    run = defs.resolve_job_def("drift_sweep").execute_in_process(instance=given.instance)
    assert run.success
    return run.output_for_node("sweep_environments"), len(
        given.instance.fetch_materializations(key, limit=100).records) - before


def last_checked(given: Given, **ago: float) -> None:
    """All environments were checked so long ago."""
    with psycopg.connect(given.installation.urls.owner) as owner:
        owner.execute("UPDATE environments SET last_drift_check_at = %s", (datetime.now(UTC) - timedelta(**ago),))


def test_the_drift_schedule_asks_for_one_run_over_staging_and_production(given: Given) -> None:
    request = scheduled(given, drift_detection)
    assert request.tags["wfops/actor"] == "system:drift_detection"
    assert request.tags["wfops/due"] == "2"
    report, _ = sweep(given)
    assert (report["due"], report["counts"]) == (2, {"checked": 2})


def test_a_sweep_does_not_wait_behind_the_exports_of_all_tenants(given: Given) -> None:
    request = scheduled(given, drift_detection)
    assert int(request.tags["dagster/priority"]) > int(defs.resolve_job_def("export").tags.get("dagster/priority", 0))


def test_the_drift_schedule_leaves_an_environment_alone_that_an_operation_holds(given: Given) -> None:
    services = given.installation.services
    context = services.context("acme", actor="local:test")
    prod = services.environment(context, "prod")
    operation = context.new_id()
    with services.store.bookkeeping(context, "test") as work:
        work.operations.create(operation, "export", environment_id=prod.id, actor="x", run_id=None, now=context.now())
        work.leases.take(prod.id, operation, {"host": "elsewhere"}, context.now())
    assert scheduled(given, drift_detection).tags["wfops/due"] == "1"
    assert sweep(given)[0]["counts"] == {"checked": 1, "skipped_busy": 1}


def test_no_sweep_is_asked_for_while_one_has_not_ended(given: Given) -> None:
    last_checked(given, seconds=500)
    with dg.DagsterInstance.local_temp() as runs:
        run = runs.create_run_for_job(defs.resolve_job_def("drift_sweep"), tags={"wfops/sweep": "drift"},
                                      status=dg.DagsterRunStatus.STARTED)
        assert isinstance(scheduled(given, drift_detection, runs=runs), dg.SkipReason)
        runs.report_run_failed(run)
        assert isinstance(scheduled(given, drift_detection, runs=runs), dg.RunRequest)


def test_a_tick_is_skipped_while_nothing_is_due(given: Given) -> None:
    last_checked(given, seconds=10)
    assert isinstance(scheduled(given, drift_detection), dg.SkipReason)
    last_checked(given, seconds=500)
    assert isinstance(scheduled(given, drift_detection), dg.RunRequest)


def test_a_sweep_logs_events_for_what_changed_and_none_when_nothing_did(given: Given) -> None:
    assert sweep(given)[1] == 2  # the first check of each environment is news
    assert sweep(given)[0]["due"] == 0
    for _ in range(2):
        last_checked(given, seconds=500)
        assert sweep(given)[1] == 0
    last_checked(given, seconds=500)
    report, events = sweep(given)
    assert (report["counts"], events) == ({"unchanged": 2}, 0)
    context = given.installation.services.context("acme", actor="local:test")
    prod = given.installation.services.environment(context, "prod")
    with given.installation.services.store.read(context) as work:
        history = work.drift.checks(prod.id)
    assert [(entry.type, entry.checks) for entry in history] == [("scheduled", 4)]


def due_again(given: Given) -> None:
    """Time has passed: every branch is to be looked at."""
    services = given.installation.services
    with services.store.bookkeeping(services.context("acme", actor="local:test"), "test") as work:
        work.connection.execute(text("UPDATE repository_heads SET next_look_at = now()"))
        work.connection.execute(text("UPDATE refresh_requests SET asked_at = asked_at - interval '1 hour'"))


def test_the_poll_asks_for_nothing_while_no_branch_moved_and_for_a_refresh_once_one_did(given: Given) -> None:
    assert isinstance(sensed(given, repository_poll)[0], dg.SkipReason)
    given.repository.commit({"prod/a.json": b"{}"})
    due_again(given)
    requests = sensed(given, repository_poll)
    assert len(requests) == 1
    assert sorted(config_of(requests[0])["partitions"]) == ["dev|acme", "prod|acme", "staging|acme"]
    assert requests[0].tags["wfops/actor"] == "system:repository_poll"
    assert isinstance(sensed(given, repository_poll)[0], dg.SkipReason)  # asked for already
    due_again(given)
    assert len(sensed(given, repository_poll)) == 1  # nothing came of it
    run = defs.resolve_job_def("refresh").execute_in_process(instance=given.instance, run_config=requests[0].run_config)
    assert run.success
    due_again(given)
    assert isinstance(sensed(given, repository_poll)[0], dg.SkipReason)


def kept(given: Given, *slugs: str, seconds_ago: int) -> None:
    """A receiver kept a delivery, and launched nothing."""
    services = given.installation.services
    context = services.context("acme", actor="local:test")
    with services.store.bookkeeping(context, "test") as work:
        (repository_id,) = work.fleet.repositories()
        work.pushes.add_delivery(
            id=context.new_id(), repository_id=repository_id, delivery_id=str(context.new_id()), event="push",
            body_digest=str(context.new_id()), environments=list(slugs), status="received", branch="main",
            received_at=context.now() - timedelta(seconds=seconds_ago))


def test_the_poll_picks_up_what_a_receiver_left_behind_but_not_what_it_may_be_launching_now(given: Given) -> None:
    kept(given, "prod", "gone", seconds_ago=60)
    kept(given, "dev", seconds_ago=0)
    (request,) = sensed(given, repository_poll)
    assert config_of(request)["partitions"] == ["prod|acme"]
    assert isinstance(sensed(given, repository_poll)[0], dg.SkipReason)


def test_what_a_queued_run_will_look_at_anyway_is_not_asked_for_again(given: Given) -> None:
    workspace = Path(launch.__file__).parent / "workspace.yaml"
    queue = DagsterRefreshQueue(given.instance, defs.resolve_job_def("refresh"), workspace)
    run_id = queue.submit([("acme", "prod"), ("acme", "dev")], lane="push-2")
    (run,) = queue.runs()
    assert run == RefreshRun(run_id, True, "push-2", frozenset({("acme", "dev"), ("acme", "prod")}))
    stored = given.instance.get_run_by_id(run_id)
    assert stored is not None and stored.status is dg.DagsterRunStatus.QUEUED
    assert stored.tags["wfops/actor"] == "system:webhook" and stored.remote_job_origin is not None
    assert stored.remote_job_origin.location_name == "wfops"
    kept(given, "prod", "staging", seconds_ago=60)
    (request,) = sensed(given, repository_poll)
    assert config_of(request)["partitions"] == ["staging|acme"]
    assert defs.resolve_job_def("refresh").execute_in_process(
        instance=given.instance, run_config=stored.run_config).success


def test_a_run_of_pushes_does_not_wait_for_a_git_server_that_hangs(
        given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_runs, "GIT_SECONDS", 0.5)
    services = given.installation.services
    with HostileServer(lambda _: drop_by_drop(http(200, b"0" * 100_000))) as server:
        def opened(source: RepositorySource, *, cache: Path) -> Repository:
            return open_repository(replace(source, url=f"{server.url}/acme.git"), cache=tmp_path)

        use_installation(replace(given.installation, services=replace(services, open_repository=opened)))
        run = defs.resolve_job_def("refresh").execute_in_process(instance=given.instance, run_config=dg.RunConfig(
            {"refresh_environments": push_runs.config_of([("acme", "prod")], "push")}))
    errors = {outcome["part"]: outcome["error"] for outcome in run.output_for_node("refresh_environments")}
    assert isinstance(errors["repository_workflows"], Unreachable)


def test_an_environment_that_was_deleted_while_a_run_of_pushes_waited_fails_it_for_nobody(given: Given) -> None:
    for asked, environments in (([("acme", "prod"), ("acme", "gone")], {"prod"}), ([("acme", "gone")], set())):
        run = defs.resolve_job_def("refresh").execute_in_process(instance=given.instance, run_config=dg.RunConfig(
            {"refresh_environments": push_runs.config_of(asked, "push")}))
        assert {outcome["environment"] for outcome in run.output_for_node("refresh_environments")} == environments


def test_a_run_of_pushes_that_a_pause_refuses_decides_nothing_and_is_asked_for_again_when_that_is_over(given: Given) -> None:
    services = given.installation.services
    context = services.context("acme", actor="local:test")
    prod = services.environment(context, "prod")
    with services.store.bookkeeping(context, "test.asked") as work:
        work.pushes.ask({prod.id: "a" * 40}, by="webhook", now=services.now(), run_id=None)
    pause(services, "acme", actor="local:ada")
    run = defs.resolve_job_def("refresh").execute_in_process(instance=given.instance, run_config=dg.RunConfig(
        {"refresh_environments": push_runs.config_of([("acme", "prod")], "push")}))
    assert [str(outcome["error"].kind) for outcome in run.output_for_node("refresh_environments")] == ["paused"] * 3
    assert not [event for event in run.all_events if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION]
    with services.store.system() as system:
        assert {row.asked_at for row in system.pushes.watched()} == {None}


@pytest.mark.parametrize(("error", "decides"), [
    (Unreachable("no answer", target="there"), True), (MalformedFile("no JSON", path="a.json", reason="no JSON"), True), (SecretUnreadable("no key"), True),
    (StoreBusy("busy"), False), (StoreUnavailable("away"), False), (Broken("ours"), False), (Cancelled("by ada"), False),
    (TimedOut("late"), False), (Paused("at rest"), False)])
def test_only_what_keeps_a_check_from_seeing_both_sides_decides_it(given: Given, error: WfopsError, decides: bool) -> None:
    services = given.installation.services
    context = services.context("acme", actor="local:test")
    target = Target(context, services.environment(context, "prod"))
    told = evaluations([Outcome(target, part, None, error) for part in Part])
    expected = {("inventory_complete", False), ("no_drift", False)} if decides else set()
    assert {(one.check_name, one.passed) for one in told} == expected


def test_a_run_of_pushes_waits_for_an_environment_that_is_held(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    services = given.installation.services
    impatient = replace(services, limits=replace(services.limits, lease_wait=0.0))
    use_installation(replace(given.installation, services=impatient))
    context = services.context("acme", actor="local:test")
    held, was_refused = threading.Event(), threading.Event()

    async def hold() -> None:
        async with run_operation(services, context, OperationKind.EXPORT, services.environment(context, "prod")):
            held.set()
            await asyncio.to_thread(was_refused.wait, 60)

    def tried(*arguments: Any) -> Any:
        found = try_acquire(*arguments)
        if isinstance(found, UUID):
            was_refused.set()
        return found

    try_acquire = operations._try_acquire
    monkeypatch.setattr(operations, "_try_acquire", tried)
    with ThreadPoolExecutor(1) as pool:
        holder = pool.submit(lambda: asyncio.run(hold()))
        assert held.wait(60)
        run = defs.resolve_job_def("refresh").execute_in_process(instance=given.instance, run_config=dg.RunConfig(
            {"refresh_environments": push_runs.config_of([("acme", "prod")], "push")}))
        holder.result()
    assert [outcome["error"] for outcome in run.output_for_node("refresh_environments")] == [None] * 3
    assert was_refused.is_set()


def test_the_sensor_looks_several_times_an_interval_who_is_due() -> None:
    assert [tick_seconds(interval) for interval in (0, 10, 60, 300, 3600)] == [10, 10, 15, 30, 30]


def test_partitions_follow_the_tenants_and_environments_of_the_database(given: Given) -> None:
    given.instance.delete_dynamic_partition("tenants", "acme")
    given.instance.add_dynamic_partitions("environments", ["left-over"])
    assert "acme" in str(sensed(given, partitions)[0].skip_message)
    assert list(given.instance.get_dynamic_partitions("tenants")) == ["acme"]
    assert "left-over" not in given.instance.get_dynamic_partitions("environments")
    assert "those of the database" in str(sensed(given, partitions)[0].skip_message)


def test_the_canonical_sync_does_nothing_while_it_is_switched_off(given: Given) -> None:
    answers = list(scheduled(given, canonical_sync))
    assert all(isinstance(answer, dg.SkipReason) for answer in answers)
