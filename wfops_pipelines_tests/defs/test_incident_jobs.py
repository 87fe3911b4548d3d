"""Incident actions as Dagster runs them, and incidents where a report is looked at (§10, §24)."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from wfops_pipelines.defs.location import defs
from wfops_pipelines.services.policy_commands import set_fields
from wfops_pipelines_tests.defs.conftest import Given


def run(given: Given, job: str, op: str, **config: Any) -> tuple[dg.ExecuteInProcessResult, dict[str, Any]]:
    """A run, and the metadata of its step; empty where it failed."""
    result = defs.resolve_job_def(job).execute_in_process(
        instance=given.instance, run_config={"ops": {op: {"config": config}}}, raise_on_error=False)
    outputs = [e for e in result.all_events if e.event_type is dg.DagsterEventType.STEP_OUTPUT]
    metadata = {name: value.value for event in outputs for name, value in event.step_output_data.metadata.items()}
    return result, metadata


def step(given: Given, name: str, **config: Any) -> tuple[dg.ExecuteInProcessResult, dict[str, Any]]:
    return run(given, "incident_step", "take_step", incident="acme#1", step=name, **config)


def refresh(given: Given) -> dg.ExecuteInProcessResult:
    """The drift report of production, materialised from both sides."""
    result = dg.materialize(
        [defs.get_assets_def(["drift_report"])], instance=given.instance, partition_key="prod|acme",
        resources=defs.resources, raise_on_error=False)
    assert result.success
    return result


@pytest.fixture
def drifted(given: Given) -> Given:
    """Production drifted, and an incident follows it."""
    services = given.installation.services
    context = services.context("acme", actor="local:test")
    set_fields(services, context, {"auto_create_incidents": True})
    with services.store.bookkeeping(context, "test") as work:
        work.fleet.set_environment(services.environment(context, "prod").id, allow_production=True)
    exported, _ = run(given, "export", "export_to_git", partition="prod|acme", dry_run=False)
    assert exported.success
    given.edit("prod", node=("Call", {"url": "https://elsewhere.example"}))
    refresh(given)
    return given


def incident(given: Given) -> Any:
    services = given.installation.services
    with services.store.read(services.context("acme", actor="local:test")) as work:
        return work.incidents.by_number(1)


def test_a_report_shows_its_incident_and_the_check_carries_its_number(drifted: Given) -> None:
    result = refresh(drifted)
    (report,) = [m for m in result.asset_materializations_for_node("refresh_environment")
                 if m.asset_key == dg.AssetKey("drift_report")]
    metadata: dict[str, Any] = {name: value.value for name, value in report.metadata.items()}
    assert (metadata["incident"], metadata["incident_severity"], metadata["incident_status"], metadata["look"]) == (
        "acme#1", "low", "detected", "wfops incident show acme#1")
    assert metadata["incident_title"].startswith("1 workflow changed in acme/prod: ")
    checks = {e.check_name: e for e in result.get_asset_check_evaluations()}
    assert checks["no_drift"].metadata["incident"].value == "acme#1" and not checks["no_drift"].passed


def test_a_reconciliation_is_a_dry_run_unless_said_otherwise(drifted: Given) -> None:
    assert step(drifted, "acknowledge", reason="seen")[0].success
    result, metadata = run(drifted, "reconcile_incident", "reconcile", incident="acme#1", resolution="revert")
    assert result.success and metadata["dry_run"] is True
    assert [record.data["action"] for record in metadata["plan"].records] == ["update"]
    assert "https://elsewhere.example" in metadata["diff"]
    assert incident(drifted).status == "acknowledged"
    run_record = drifted.instance.get_run_by_id(result.run_id)
    assert run_record is not None
    assert {name: run_record.tags[f"wfops/{name}"] for name in ("tenant", "environment", "incident")} == {
        "tenant": "acme", "environment": "prod", "incident": "acme#1"}


@pytest.mark.parametrize("resolution", ["revert", "promote"])
def test_a_resolution_from_the_launchpad_closes_the_incident(drifted: Given, resolution: str) -> None:
    assert step(drifted, "acknowledge")[0].success
    result, metadata = run(drifted, "reconcile_incident", "reconcile", incident="acme#1", resolution=resolution,
                           dry_run=False)
    assert result.success
    assert (metadata["incident_status"], metadata["drift_status"]) == ("closed", "IN_SYNC")
    assert (incident(drifted).status, incident(drifted).resolution) == ("closed", resolution)
    assert incident(drifted).reconciled_by == "dagster-ui"


def test_every_step_can_be_taken_from_the_launchpad(drifted: Given) -> None:
    end = incident(drifted).expires_at
    for name, more in (("acknowledge", {"owner": "ada", "ticket": "OPS-1"}), ("extend", {"hours": 5, "reason": "vendor"}),
                       ("stabilize", {"reason": "it is off"}), ("close", {"dry_run": True}), ("close", {"reason": "done"})):
        assert step(drifted, name, **more)[0].success
    row = incident(drifted)
    assert (row.status, row.owner, row.ticket, (row.expires_at - end).total_seconds()) == ("closed", "ada", "OPS-1", 5 * 3600)
    assert row.acknowledged_by == "dagster-ui"


def test_nobody_approves_from_the_launchpad_what_was_asked_for_there(drifted: Given) -> None:
    services = drifted.installation.services
    set_fields(services, services.context("acme", actor="local:test"), {"require_approval_for": ["acknowledge"]})
    result, metadata = step(drifted, "acknowledge")
    assert result.success and metadata["waiting_for_approval"] is True
    result, _ = step(drifted, "approve")
    assert not result.success
    assert incident(drifted).status == "detected"


@pytest.mark.parametrize(("job", "op", "config"), [
    ("incident_step", "take_step", {"incident": "acme#1", "step": "stabilize"}),
    ("incident_step", "take_step", {"incident": "acme#1", "step": "close", "forced": True}),
    ("incident_step", "take_step", {"incident": "acme#1", "step": "approve", "kind": "everything"}),
    ("incident_step", "take_step", {"incident": "acme#9", "step": "close"}),
    ("reconcile_incident", "reconcile", {"incident": "acme#1", "resolution": "revert", "dry_run": False}),
    ("reconcile_incident", "reconcile", {"incident": "acme#1", "resolution": "revert", "forced": True}),
])
def test_what_cannot_be_is_a_failure_that_is_not_tried_again(drifted: Given, job: str, op: str,
                                                            config: dict[str, Any]) -> None:
    result, _ = run(drifted, job, op, **config)
    (failed,) = [e for e in result.all_events if e.is_step_failure]
    failure = failed.step_failure_data.user_failure_data
    assert failure is not None and failure.description and failure.metadata["error"].value
    assert incident(drifted).status == "detected"


def test_the_launchpad_explains_every_field() -> None:
    for job, op in (("reconcile_incident", "reconcile"), ("incident_step", "take_step")):
        definition = defs.resolve_job_def(job)
        schema: Any = definition.get_node_named(op).definition.config_schema
        assert all(field.description for field in schema.config_type.fields.values()), job
        assert definition.tags["dagster/max_retries"] == "0"
