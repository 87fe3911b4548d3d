"""The partitioned assets on a real store, real sandboxes and a real repository."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import dagster as dg
import pytest

from wfops_pipelines.defs.drift.checks import inventory_complete, no_drift, no_unmanaged_workflows
from wfops_pipelines.defs.inventory.assets import environment_assets
from wfops_pipelines.defs.launch import Interrupted, dagster_instance, run_job
from wfops_pipelines.defs.location import defs
from wfops_pipelines.defs.observability.assets import workflow_matrix
from wfops_pipelines.defs.resources import Wfops
from wfops_pipelines_tests.defs.conftest import Given, workflow

RANGE = {"dagster/asset_partition_range_start": "dev|acme", "dagster/asset_partition_range_end": "prod|acme"}


def materialize(given: Given, *, key: str | None = None, tags: dict[str, str] | None = None, checks: bool = False,
                keys: list[str] | None = None) -> Any:
    definitions: list[Any] = [environment_assets, *([inventory_complete, no_drift, no_unmanaged_workflows] if checks else [])]
    selection = None if keys is None else dg.AssetSelection.assets(*keys)
    return dg.materialize(definitions, partition_key=key, tags=tags, instance=given.instance, raise_on_error=False,
                          resources={"wfops": Wfops()}, selection=selection)


def export(given: Given, environment: str) -> None:
    result = defs.resolve_job_def("export").execute_in_process(
        instance=given.instance,
        run_config={"ops": {"export_to_git": {"config": {"partition": f"{environment}|acme", "dry_run": False}}}})
    assert result.success


def partitions_of(given: Given, asset: str) -> set[str]:
    return set(given.instance.get_materialized_partitions(dg.AssetKey(asset)))


def latest(given: Given, asset: str, partition: str) -> dict[str, Any]:
    records = given.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[partition]), limit=1).records
    return {name: value.value for name, value in records[0].asset_materialization.metadata.items()}  # type: ignore[union-attr]


def test_one_partition_materialises_every_part_with_metadata_worth_looking_at(given: Given) -> None:
    result = materialize(given, key="prod|acme")
    assert result.success
    for asset in ("environment_workflows", "repository_workflows", "workflow_diff", "drift_report"):
        assert partitions_of(given, asset) == {"prod|acme"}
    assert latest(given, "environment_workflows", "prod|acme")["workflows"] == 2
    assert latest(given, "drift_report", "prod|acme")["status"] == "UNTRACKED"


def test_a_tenant_with_all_its_environments_is_one_run(given: Given) -> None:
    result = materialize(given, tags=RANGE)
    assert result.success
    assert partitions_of(given, "environment_workflows") == {"dev|acme", "staging|acme", "prod|acme"}
    assert len(given.instance.get_runs()) == 1


@pytest.mark.parametrize(("tags", "told"), [({}, set()), ({"dagster/backfill": "one"}, {"staging|acme"})])
def test_a_backfill_over_a_pair_that_is_none_gets_an_event_that_says_so(given: Given, tags: dict[str, str], told: set[str]) -> None:
    deleted(given, "staging")
    assert materialize(given, tags=RANGE | tags).success
    assert partitions_of(given, "drift_report") == {"dev|acme", "prod|acme"} | told
    assert materialize(given, key="staging|acme", tags=tags).success
    assert {"staging|acme"} & partitions_of(given, "workflow_diff") == told
    for partition in told:
        assert latest(given, "environment_workflows", partition)["environment"] == "there is none: nothing was read"


def deleted(given: Given, environment: str) -> None:
    """An environment is pruned, and Dagster's partitions have not followed yet."""
    services = given.installation.services
    context = services.context("acme", actor="local:test")
    with services.store.bookkeeping(context, "test.deleted") as work:
        work.fleet.set_environment(services.environment(context, environment).id, deleted_at=services.now())


def test_an_environment_that_is_down_fails_none_of_its_neighbours(given: Given) -> None:
    given.sandboxes["staging"].faults.add("refuse")
    result = materialize(given, tags=RANGE)
    assert result.success
    assert partitions_of(given, "environment_workflows") == {"dev|acme", "prod|acme"}
    assert latest(given, "drift_report", "staging|acme")["status"] == "ERROR"
    assert latest(given, "drift_report", "prod|acme")["status"] == "UNTRACKED"


def test_a_single_partition_that_cannot_be_read_fails_and_is_not_retried_for_a_refused_key(given: Given) -> None:
    given.sandboxes["prod"].faults.add("refuse")
    result = materialize(given, key="prod|acme", keys=["environment_workflows"])
    assert not result.success
    failure = next(e for e in result.all_events if e.is_step_failure).step_failure_data
    assert "prod" not in partitions_of(given, "environment_workflows")
    assert "key" in failure.error_display_string
    assert "key-prod" not in failure.error_display_string


def test_a_pair_that_no_environment_stands_behind_is_a_no_op_that_says_so(given: Given) -> None:
    given.instance.add_dynamic_partitions("environments", ["qa"])
    result = materialize(given, key="qa|acme")
    assert result.success
    assert partitions_of(given, "environment_workflows") == set()


def test_drift_shows_with_its_diff_and_fails_the_check(given: Given) -> None:
    export(given, "prod")
    workflow_id = given.edit("prod", nodes=workflow("Orders", "https://elsewhere.example")["nodes"])
    given.sandboxes["prod"].state.seed_workflows([workflow("Somebody's own")])
    result = materialize(given, key="prod|acme", checks=True)
    assert result.success
    metadata = latest(given, "drift_report", "prod|acme")
    assert (metadata["status"], metadata["drifted"]) == ("DRIFT_DETECTED", 2)
    assert "elsewhere" in metadata["diff"]
    assert "data:image/svg+xml" in metadata["picture"]
    assert workflow_id in str(metadata["drift"])
    passed = {e.check_name: e.passed for e in result.get_asset_check_evaluations()}
    assert passed == {"inventory_complete": True, "no_drift": False, "no_unmanaged_workflows": False}


def test_the_drift_report_alone_compares_what_the_store_holds(given: Given) -> None:
    export(given, "prod")
    materialize(given, key="prod|acme")
    given.edit("prod", name="Renamed by hand")
    assert materialize(given, key="prod|acme", keys=["drift_report"]).success
    assert latest(given, "drift_report", "prod|acme")["status"] == "IN_SYNC"
    assert latest(given, "drift_report", "prod|acme")["compared_as_of"]
    materialize(given, key="prod|acme")
    assert latest(given, "drift_report", "prod|acme")["status"] == "DRIFT_DETECTED"


def test_the_matrix_shows_each_workflow_in_each_environment(given: Given) -> None:
    export(given, "prod")
    materialize(given, tags=RANGE)
    result = dg.materialize([environment_assets, workflow_matrix], partition_key="acme", instance=given.instance,
                            selection=dg.AssetSelection.assets("workflow_matrix"), resources={"wfops": Wfops()})
    assert result.success
    assert latest(given, "workflow_matrix", "acme")["workflows"] == 2


def test_a_tenant_that_is_gone_keeps_no_other_from_its_matrix(given: Given) -> None:
    given.instance.add_dynamic_partitions("tenants", ["aaa"])
    tags = {"dagster/asset_partition_range_start": "aaa", "dagster/asset_partition_range_end": "acme"}
    given.instance.delete_dynamic_partition("tenants", "acme")
    given.instance.add_dynamic_partitions("tenants", ["acme"])  # after the one that is gone
    result = dg.materialize([environment_assets, workflow_matrix], tags=tags, instance=given.instance,
                            selection=dg.AssetSelection.assets("workflow_matrix"), resources={"wfops": Wfops()})
    assert result.success
    assert partitions_of(given, "workflow_matrix") == {"acme"}


def test_a_job_over_an_unknown_partition_says_what_a_partition_is(given: Given) -> None:
    result = defs.resolve_job_def("refresh").execute_in_process(
        instance=given.instance, raise_on_error=False,
        run_config={"ops": {"refresh_environments": {"config": {"partitions": ["prod|nobody"]}}}})
    assert not result.success
    failure = next(e for e in result.all_events if e.is_step_failure).step_failure_data
    assert "prod|nobody" in failure.error_display_string


def test_no_event_of_a_run_holds_a_secret(given: Given) -> None:
    given.sandboxes["prod"].faults.add("html", status=502)
    run = materialize(given, tags=RANGE)
    for event in given.instance.all_logs(run.run_id):
        text = str(event)
        assert "key-prod" not in text and "key-dev" not in text


@pytest.mark.parametrize("part", ["repository_workflows", "environment_workflows", "workflow_diff"])
def test_each_asset_can_be_materialised_alone(given: Given, part: str) -> None:
    assert materialize(given, key="prod|acme", keys=[part]).success
    assert partitions_of(given, part) == {"prod|acme"}


def test_a_run_that_fails_beside_its_steps_tells_why(given: Given, fresh_dagster_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise RuntimeError("the event log went away")

    monkeypatch.setattr(type(given.installation), "dagster_url",
                        lambda _: fresh_dagster_url.replace("postgresql://", "postgresql+psycopg2://"))
    monkeypatch.setattr(Wfops, "setup_for_execution", away)
    launched = run_job(given.installation, "refresh", {"refresh_environments": {"partitions": ["dev|acme"]}}, actor="local:ada")
    assert not launched.success and "the event log went away" in str(launched.failure)


def test_a_run_that_is_interrupted_beside_its_steps_is_told_as_such(given: Given, fresh_dagster_url: str,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    def ctrl_c(*_: Any) -> None:
        raise dg.DagsterExecutionInterruptedError

    monkeypatch.setattr(type(given.installation), "dagster_url",
                        lambda _: fresh_dagster_url.replace("postgresql://", "postgresql+psycopg2://"))
    monkeypatch.setattr(Wfops, "setup_for_execution", ctrl_c)
    with pytest.raises(Interrupted):
        run_job(given.installation, "refresh", {"refresh_environments": {"partitions": ["dev|acme"]}}, actor="local:ada")


@pytest.mark.parametrize("end", [RuntimeError("no"), dg.DagsterExecutionInterruptedError()])
def test_a_command_says_that_its_run_lives_until_it_ends(given: Given, fresh_dagster_url: str, monkeypatch: pytest.MonkeyPatch,
                                                         end: BaseException) -> None:
    seen: list[str] = []

    def living() -> list[str]:
        with given.installation.services.store.command_runs() as runs:
            return runs.look(silent_after=1)

    def ending(*_: Any) -> None:
        seen.extend(living())
        raise end

    monkeypatch.setattr(type(given.installation), "dagster_url",
                        lambda _: fresh_dagster_url.replace("postgresql://", "postgresql+psycopg2://"))
    monkeypatch.setattr(Wfops, "setup_for_execution", ending)
    with suppress(Interrupted):
        run_job(given.installation, "refresh", {"refresh_environments": {"partitions": ["dev|acme"]}}, actor="local:ada")
    with dagster_instance(given.installation) as instance:
        assert [run.run_id for run in instance.get_runs()] == seen
    assert living() == []


def test_a_command_runs_a_job_in_this_process_and_reads_its_answer(given: Given, fresh_dagster_url: str,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(given.installation), "dagster_url",
                        lambda _: fresh_dagster_url.replace("postgresql://", "postgresql+psycopg2://"))
    launched = run_job(given.installation, "refresh", {"refresh_environments": {"partitions": ["dev|acme", "prod|acme"]}},
                       actor="local:somebody")
    assert launched.success and len(launched.outputs) == 8
    assert {o["environment"] for o in launched.outputs} == {"dev", "prod"}
    context = given.installation.services.context("acme", actor="local:test")
    with given.installation.services.store.read(context) as work:
        operation = work.operations.recent(limit=1)[0]
    assert (operation.actor, operation.run_id) == ("local:somebody", launched.run_id)
