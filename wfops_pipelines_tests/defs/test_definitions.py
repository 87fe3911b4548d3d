"""The Dagster surface: what there is, and that each part says what it is, who owns it, and how it is tagged."""

from __future__ import annotations

import subprocess
import sys

import dagster as dg
import pytest

from wfops_pipelines.defs.location import defs
from wfops_pipelines.domain.normalize import NORMALIZER_VERSION
from wfops_pipelines.settings import Settings

ASSETS = {"environment_workflows", "repository_workflows", "workflow_diff", "drift_report", "workflow_matrix"}
CHECKS = {"inventory_complete", "no_drift", "no_unmanaged_workflows"}
JOBS = {"refresh", "drift_sweep", "export", "reconcile_incident", "incident_step", "retention", "snapshot", "restore", "promote", "rollback", "recover", "run_deployment",
        "resume_operation"}
SCHEDULES = {"drift_detection", "environment_sync", "canonical_sync"}
SENSORS = {"repository_poll", "partitions", "dead_runs", "old_files", "old_runs", "incident_ttl", "retention", "outbox", "alert_rules",
           "scheduled_snapshots", "approved_promotions", "unfinished_promotions", "scheduled_deployments"}


def test_the_code_location_loads() -> None:
    dg.Definitions.validate_loadable(defs)


def test_a_code_server_that_loads_it_goes_on_noticing_dead_workers_after_an_error() -> None:
    seen = subprocess.run(
        [sys.executable, "-c", "import wfops_pipelines.definitions as _; from dagster._grpc.server import DagsterApiServer; "
                               "print(DagsterApiServer._check_for_orphaned_runs.__name__)"],
        capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "_look_or_say"


def test_there_is_what_the_contract_names_and_nothing_else() -> None:
    repository = defs.get_repository_def()
    assert {spec.key.to_user_string() for spec in defs.resolve_all_asset_specs()} == ASSETS
    assert {check.name for check in repository.asset_graph.asset_check_keys} == CHECKS
    assert {job.name for job in repository.get_all_jobs() if not job.name.startswith("__")} == JOBS
    assert {schedule.name for schedule in repository.schedule_defs} == SCHEDULES
    assert {sensor.name for sensor in repository.sensor_defs} - {"default_automation_condition_sensor"} == SENSORS


@pytest.mark.parametrize("spec", sorted(defs.resolve_all_asset_specs(), key=lambda spec: spec.key.to_user_string()),
                         ids=lambda spec: spec.key.to_user_string())
def test_every_asset_says_what_it_is_who_owns_it_and_what_it_is_made_with(spec: dg.AssetSpec) -> None:
    assert spec.description and len(spec.description) > 40
    assert spec.owners == ["team:platform"]
    assert spec.group_name and spec.group_name != "default"
    assert spec.kinds and spec.tags["product"] == "wfops"
    assert spec.code_version
    assert spec.partitions_def is not None


@pytest.mark.parametrize("name", sorted(JOBS))
def test_every_job_is_described_owned_and_tagged(name: str) -> None:
    job = defs.resolve_job_def(name)
    assert job.description and len(job.description) > 20
    assert list(job.owners or []) == ["team:platform"]
    assert job.tags["product"] == "wfops"


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_every_schedule_is_described_owned_and_tagged(name: str) -> None:
    schedule = next(s for s in defs.get_repository_def().schedule_defs if s.name == name)
    assert schedule.description and schedule.tags["product"] == "wfops"
    assert list(schedule.owners or []) == ["team:platform"]


@pytest.mark.parametrize("name", sorted(SENSORS))
def test_every_sensor_is_described_owned_and_tagged(name: str) -> None:
    sensor = next(s for s in defs.get_repository_def().sensor_defs if s.name == name)
    assert sensor.description and sensor.tags["product"] == "wfops"
    assert list(sensor.owners or []) == ["team:platform"]


def test_assets_that_hash_carry_the_version_of_the_normaliser() -> None:
    versions = {spec.key.to_user_string(): spec.code_version for spec in defs.resolve_all_asset_specs()}
    assert versions["environment_workflows"] == f"normalizer-{NORMALIZER_VERSION}"
    assert versions["drift_report"] == versions["environment_workflows"]


def test_the_drift_schedule_runs_by_default_and_the_canonical_sync_does_not() -> None:
    schedules = {s.name: s.default_status for s in defs.get_repository_def().schedule_defs}
    assert schedules["drift_detection"] is dg.DefaultScheduleStatus.RUNNING
    assert schedules["canonical_sync"] is dg.DefaultScheduleStatus.STOPPED
    assert schedules["environment_sync"] is dg.DefaultScheduleStatus.STOPPED


def test_every_setting_that_is_documented_exists() -> None:
    assert {"drift_check_interval_seconds", "git_poll_interval_seconds", "sync_scheduler_enabled"} <= set(Settings.model_fields)
