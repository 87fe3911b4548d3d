"""Promotions as Dagster runs them (§11, §24)."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from wfops_pipelines.defs.location import defs
from wfops_pipelines.services.promotion_request import report_of
from wfops_pipelines_tests.defs.conftest import Given

WAY = {"tenant": "acme", "source": "dev", "target": "staging"}


@pytest.fixture
def edited(given: Given) -> Given:
    """Staging has what dev has; then dev goes on."""
    given.sandboxes["staging"].state.workflows.clear()
    result, _ = promote(given, **WAY, dry_run=False)
    assert result.success
    given.edit("dev", node=("Call", {"url": "https://better.example"}))
    return given


def run(given: Given, job: str, ops: dict[str, Any], **tags: str) -> tuple[dg.ExecuteInProcessResult, dict[str, Any]]:
    """A run, and the metadata of its steps' outputs by op."""
    result = defs.resolve_job_def(job).execute_in_process(
        instance=given.instance, run_config={"ops": {op: {"config": config} for op, config in ops.items()}}, tags=tags,
        raise_on_error=False)
    outputs = [e for e in result.all_events if e.event_type is dg.DagsterEventType.STEP_OUTPUT]
    metadata: dict[str, Any] = {}
    for event in outputs:
        metadata.setdefault(str(event.step_key), {}).update(
            {name: value.value for name, value in event.step_output_data.metadata.items()})
    return result, metadata


def promote(given: Given, **config: Any) -> tuple[dg.ExecuteInProcessResult, dict[str, Any]]:
    return run(given, "promote", {"plan": config})


def told(given: Given, number: int) -> Any:
    services = given.installation.services
    return report_of(services, services.context("acme", actor="local:test"), number)


def skipped(result: dg.ExecuteInProcessResult) -> set[str | None]:
    return {e.step_key for e in result.all_events if e.event_type is dg.DagsterEventType.STEP_SKIPPED}


def tags_of(given: Given, run_id: str) -> dict[str, str]:
    record = given.instance.get_run_by_id(run_id)
    assert record is not None
    return dict(record.tags)


def test_from_the_launchpad_it_is_a_dry_run_that_shows_plan_and_gates(edited: Given) -> None:
    result, metadata = promote(edited, **WAY)
    assert result.success and skipped(result) == {"execute", "outcome"}
    assert metadata["plan"]["dry_run"] and metadata["plan"]["status"] == "approved" and metadata["plan"]["update"] == 1
    assert "| 1 | update | Invoices |" in metadata["plan"]["plan"] or "| 1 | update | Orders |" in metadata["plan"]["plan"]
    assert "better.example" not in str(metadata)
    assert metadata["gates"]["ends_here"] == "a dry run: nothing is begun"
    assert {"gate", "says", "because", "way out"} == set(metadata["gates"]["gates"].records[0].data)
    assert tags_of(edited, result.run_id).items() >= {
        "wfops/tenant": "acme", "wfops/source": "dev", "wfops/environment": "staging", "wfops/target": "acme/staging",
        "dagster/max_retries": "0", "dagster/priority": "10"}.items()


def test_it_can_be_followed_op_by_op_to_its_commit(edited: Given) -> None:
    result, metadata = promote(edited, **WAY, dry_run=False, reason="faster")
    assert result.success and skipped(result) == set()
    (row,) = metadata["execute"]["results"].records
    assert row.data["action"] == "update" and "written" in row.data["outcome"]
    assert metadata["outcome"]["drift_status"] == "IN_SYNC" and len(metadata["outcome"]["commit"]) == 40
    assert metadata["outcome"]["back"] == "wfops rollback acme/p2 --reason …"
    assert tags_of(edited, result.run_id)["wfops/promotion"] == "acme/p2"
    report = told(edited, 2)
    assert report.status == "completed" and report.requested_by == "dagster-ui"


def test_the_plan_that_was_looked_at_is_the_one_that_is_begun(edited: Given) -> None:
    _, metadata = promote(edited, **WAY)
    seen = metadata["plan"]["checksum"]
    edited.edit("dev", node=("Call", {"url": "https://other.example"}))
    result, metadata = promote(edited, **WAY, dry_run=False, checksum=seen)
    assert not result.success and metadata == {"plan": {}}
    assert "another one by now" in str(result.output_for_node("plan")[0]["error"])


def test_a_rollback_is_a_dry_run_unless_said_otherwise_and_then_restores(edited: Given) -> None:
    assert promote(edited, **WAY, dry_run=False)[0].success
    result, metadata = run(edited, "rollback", {"roll_back": {"promotion": "acme/p2", "reason": "slower"}})
    assert result.success and metadata["roll_back"]["dry_run"] and told(edited, 2).status == "completed"
    assert [row.data["action"] for row in metadata["roll_back"]["plan"].records] == ["update"]
    result, metadata = run(edited, "rollback", {"roll_back": {"promotion": "acme/p2", "reason": "slower", "dry_run": False}})
    assert result.success and metadata["roll_back"]["status"] == "rolled_back"
    assert metadata["roll_back"]["drift_status"] == "IN_SYNC"


def test_what_n8n_refuses_is_a_red_step_that_says_what_was_restored(edited: Given) -> None:
    edited.sandboxes["staging"].faults.add("status", method="PUT", status=400)
    result, metadata = promote(edited, **WAY, dry_run=False)
    assert not result.success and metadata["execute"]["status"] in ("failed", "rolled_back")
    assert "400" in metadata["execute"]["reason"]
    failure = next(e for e in result.all_events if e.is_step_failure)
    assert failure.step_key == "execute"


@pytest.mark.parametrize("config", [
    {"tenant": "acme", "source": "dev"}, {"promotion": "acme/p9"}, {"promotion": "acme/p1", "tenant": "acme"},
    {"tenant": "acme", "source": "dev", "target": "prod"}, {**WAY, "target": "nowhere"}, {**WAY, "override_reason": "x"}])
def test_what_cannot_be_is_refused_before_anything_is_begun(given: Given, config: dict[str, Any]) -> None:
    result, _ = promote(given, **config, dry_run=False)
    assert not result.success and result.output_for_node("plan")[0]["error"] is not None


def test_nothing_left_is_what_a_recovery_says_of_a_quiet_environment(given: Given) -> None:
    result, metadata = run(given, "recover", {"finish": {"tenant": "acme", "environment": "staging"}})
    assert result.success and metadata["finish"]["nothing_left"]
