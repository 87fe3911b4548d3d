"""Sweeps in steps that share the work: the job, what travels between its steps, and when it takes the schedule over."""

from __future__ import annotations

import importlib.util

import dagster as dg
import pytest
from pydantic import SecretStr

from wfops_pipelines.defs.distributed import broker, chosen
from wfops_pipelines.defs.distributed.event_log_values import EVENT_LOG, EventLogValues
from wfops_pipelines.defs.distributed.jobs import JOB, distributed_sweep_job
from wfops_pipelines.defs.drift.schedules import drift_detection
from wfops_pipelines.defs.location import defs
from wfops_pipelines.defs.resources import Wfops
from wfops_pipelines.domain.errors import InvalidSetting
from wfops_pipelines.settings import Settings
from wfops_pipelines_tests.defs.conftest import Given

SETTINGS = Settings(celery_broker_url=SecretStr("redis://:s3cret@broker:6379/1"))


def run(given: Given, steps: int) -> dg.ExecuteInProcessResult:
    """The job with its steps one after the other in this process."""
    defs_of_job = dg.Definitions(jobs=[distributed_sweep_job], resources={"wfops": Wfops(), EVENT_LOG: EventLogValues()})
    return defs_of_job.resolve_job_def(JOB).execute_in_process(
        instance=given.instance, run_config={"ops": {"divide_sweep": {"config": {"steps": steps, "chunk_size": 1}}}})


def test_steps_share_the_environments_that_are_due_and_none_is_checked_twice(given: Given) -> None:
    result = run(given, 3)
    total = result.output_for_node("sum_up")
    assert (total["steps"], total["due"]) == (3, 2)  # staging and prod
    assert sum(total["counts"].values()) == 2
    shares = result.output_for_node("sweep_share")
    assert sorted(sum(share["counts"].values()) for share in shares.values()) == [0, 0, 2]


def test_what_a_step_hands_on_is_in_the_event_log(given: Given) -> None:
    result = run(given, 2)
    records = given.instance.get_records_for_run(result.run_id, of_type=dg.DagsterEventType.HANDLED_OUTPUT).records
    steps = {record.event_log_entry.get_dagster_event().step_key for record in records}
    assert steps == {"divide_sweep", "sweep_share[share_01]", "sweep_share[share_02]", "sum_up"}


def test_without_a_broker_sweeps_are_the_runs_own() -> None:
    assert chosen.jobs() == []
    assert chosen.sweeping(drift_detection) is drift_detection
    assert JOB not in {job.name for job in defs.get_repository_def().get_all_jobs()}


def test_with_a_broker_the_schedule_starts_steps_on_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chosen, "CHOSEN", True)
    assert [job.name for job in chosen.jobs()] == [JOB]
    schedule = chosen.sweeping(drift_detection)
    assert (schedule.name, schedule.job_name) == (drift_detection.name, JOB)
    assert (schedule.cron_schedule, schedule.default_status) == (drift_detection.cron_schedule, drift_detection.default_status)


def test_a_broker_without_the_libraries_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chosen, "CHOSEN", True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InvalidSetting, match=r"wfops\[celery\]"):
        chosen.jobs()


def test_a_step_is_done_when_it_ended_and_goes_to_somebody_else_when_its_worker_dies() -> None:
    made = broker.executor_config(SETTINGS)
    assert made["broker"] == made["backend"] == "redis://:s3cret@broker:6379/1"
    asked = made["config_source"]
    assert (asked["task_acks_late"], asked["task_reject_on_worker_lost"], asked["worker_prefetch_multiplier"]) == (True, True, 1)
    assert asked["broker_transport_options"]["visibility_timeout"] == SETTINGS.celery_redelivery_seconds
    assert SETTINGS.celery_redelivery_seconds > SETTINGS.lease_stale_seconds  # a dead worker's lease is nobody's by then


def test_a_worker_without_a_broker_says_which_setting_is_missing() -> None:
    with pytest.raises(InvalidSetting, match="WFOPS_CELERY_BROKER_URL"):
        broker.executor_config(Settings())
