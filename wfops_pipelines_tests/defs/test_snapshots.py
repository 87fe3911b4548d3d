"""Snapshots as Dagster takes them: from the launchpad, and when they are due (§13, §24)."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from wfops_pipelines.defs.location import defs
from wfops_pipelines.defs.resources import Wfops
from wfops_pipelines.defs.snapshots.sensors import scheduled_snapshots
from wfops_pipelines.domain.snapshot import SnapshotKind
from wfops_pipelines.services.snapshot_reports import list_snapshots
from wfops_pipelines_tests.defs.conftest import Given


def take(given: Given, *partitions: str, **config: Any) -> tuple[dg.ExecuteInProcessResult, dict[str, Any]]:
    """The run, and the metadata of its step."""
    result = defs.resolve_job_def("snapshot").execute_in_process(
        instance=given.instance, raise_on_error=False,
        run_config={"ops": {"take_snapshots": {"config": {"partitions": list(partitions), **config}}}})
    outputs = [e for e in result.all_events if e.event_type is dg.DagsterEventType.STEP_OUTPUT]
    metadata = outputs[0].step_output_data.metadata if outputs else {}
    return result, {name: value.value for name, value in metadata.items()}


def taken(given: Given, kind: SnapshotKind | None = None) -> list[tuple[str, str, str | None]]:
    """Environment, who and name of each snapshot, newest first."""
    services = given.installation.services
    rows = list_snapshots(services, services.context("acme", actor="local:test"), kind=kind)
    return [(row["environment"], row["taken_by"], row["name"]) for row in rows]


def ask_for(given: Given, **hours: int) -> None:
    """Scheduled snapshots of these environments, every so many hours."""
    services = given.installation.services
    context = services.context("acme", actor="local:test")
    with services.store.bookkeeping(context, "test") as work:
        for environment in work.fleet.environments():
            work.fleet.set_environment(environment.id, snapshot_hours=hours.get(environment.slug, 0))


def tick(given: Given) -> dg.RunRequest | dg.SkipReason:
    answer = scheduled_snapshots(dg.build_sensor_context(instance=given.instance, resources={"wfops": Wfops()}))
    assert isinstance(answer, dg.RunRequest | dg.SkipReason)
    return answer


def test_the_launchpad_takes_one_by_hand(given: Given) -> None:
    result, metadata = take(given, "prod|acme", name="before the move")
    assert result.success and (metadata["environments"], metadata["failed"], metadata["workflows"]) == (1, 0, 2)
    assert taken(given, SnapshotKind.MANUAL_BACKUP) == [("prod", "dagster-ui", "before the move")]


def test_one_that_fails_is_named_and_fails_no_other(given: Given) -> None:
    given.sandboxes["staging"].faults.add("status", status=500)
    result, metadata = take(given, "dev|acme", "staging|acme", "prod|acme")
    assert not result.success and (metadata["environments"], metadata["failed"], metadata["workflows"]) == (3, 1, 4)
    assert sorted(environment for environment, _, _ in taken(given)) == ["dev", "prod"]


def test_an_environment_that_is_not_there_fails_before_anything_is_read(given: Given) -> None:
    result, metadata = take(given, "dev|acme", "nowhere|acme")
    assert not result.success and metadata == {} and taken(given) == []


def restore(given: Given, **config: Any) -> tuple[dg.ExecuteInProcessResult, dict[str, Any]]:
    """The run of the job restore on staging, and the metadata of all its steps."""
    result = defs.resolve_job_def("restore").execute_in_process(
        instance=given.instance, raise_on_error=False, run_config={"ops": {"plan_restore": {"config": {
            "tenant": "acme", "environment": "staging", **config}}}})
    outputs = [e for e in result.all_events if e.event_type is dg.DagsterEventType.STEP_OUTPUT]
    return result, {name: value.value for e in outputs for name, value in e.step_output_data.metadata.items()}


def test_the_launchpad_restores_once_it_is_told_that_it_is_no_dry_run(given: Given) -> None:
    take(given, "staging|acme")
    workflow_id = given.edit("staging", node=("Call", {"url": "https://elsewhere.example"}))
    record = given.sandboxes["staging"].state.workflows[workflow_id]
    result, metadata = restore(given)
    assert result.success and (metadata["update"], metadata["dry_run"]) == (1, True)
    assert record.draft.node_list[1]["parameters"]["url"] == "https://elsewhere.example"
    result, metadata = restore(given, dry_run=False, snapshot="latest", reason="a bad night")
    assert result.success and (metadata["status"], metadata["written"]) == ("completed", 1)
    assert record.draft.node_list[1]["parameters"]["url"] == "https://example.com"
    run = given.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert (run.tags["wfops/target"], run.tags["wfops/promotion"]) == ("acme/staging", "acme/p1")
    result, metadata = restore(given, dry_run=False)
    assert result.success and metadata["status"] == "unchanged"
    result, _ = restore(given, snapshot="00000000")
    assert not result.success


def test_nothing_is_scheduled_until_an_environment_asks_for_it(given: Given) -> None:
    answer = tick(given)
    assert isinstance(answer, dg.SkipReason) and answer.skip_message == "no scheduled snapshot is due"


def test_one_run_takes_all_that_are_due_and_then_none_is(given: Given) -> None:
    ask_for(given, staging=24, prod=24)
    first, second = tick(given), tick(given)
    assert isinstance(first, dg.RunRequest) and isinstance(second, dg.RunRequest)
    assert first.run_key == second.run_key  # Dagster makes one run of them
    config = first.run_config["ops"]["take_snapshots"]["config"]
    assert config["partitions"] == ["staging|acme", "prod|acme"] and config["scheduled"]
    assert first.tags["wfops/actor"] == "system:scheduled_snapshots"

    result, metadata = take(given, *config["partitions"], scheduled=True)
    assert result.success and metadata["environments"] == 2
    assert sorted(environment for environment, _, _ in taken(given, SnapshotKind.SCHEDULED)) == ["prod", "staging"]
    assert isinstance(tick(given), dg.SkipReason)
    result, metadata = take(given, *config["partitions"], scheduled=True)  # asked for twice
    assert result.success and metadata["environments"] == 0 and len(taken(given)) == 2


def test_one_that_failed_is_not_asked_for_again_at_once(given: Given) -> None:
    ask_for(given, prod=1)
    fault = given.sandboxes["prod"].faults.add("status", status=500)
    assert isinstance(tick(given), dg.RunRequest)
    result, _ = take(given, "prod|acme", scheduled=True)
    assert not result.success and fault.hits
    assert isinstance(tick(given), dg.SkipReason)


@pytest.mark.parametrize("held", [True, False])
def test_an_environment_that_an_operation_holds_waits_for_the_next_look(given: Given, held: bool) -> None:
    ask_for(given, prod=1)
    services = given.installation.services
    context = services.context("acme", actor="local:test")
    if held:
        with services.store.bookkeeping(context, "test") as work:
            (prod,) = [row for row in work.fleet.environments() if row.slug == "prod"]
            operation_id = context.new_id()
            work.operations.create(operation_id, "environment_sync", environment_id=prod.id, actor="local:test",
                                   run_id=None, now=services.now())
            work.leases.take(prod.id, operation_id, {}, services.now())
    assert isinstance(tick(given), dg.SkipReason if held else dg.RunRequest)
