"""Runs whose process is gone are told from those at work."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import dagster as dg
import psutil
import pytest

from wfops_pipelines.defs.maintenance.dead_runs import CODE_SERVER_TAG, report_dead_runs
from wfops_pipelines.defs.run_process import BEGAN_TAG, BOOT_TAG, HOST_TAG, NAMESPACE_TAG, PID_TAG, process_tags
from wfops_pipelines.services.holder import began, boot_id


@dg.job
def nothing() -> None:
    pass


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def started(instance: dg.DagsterInstance, tags: dict[str, Any]) -> str:
    run = instance.create_run_for_job(nothing, tags=tags, status=dg.DagsterRunStatus.STARTED)
    return run.run_id


def here(pid: int, **other: str) -> dict[str, str]:
    return {HOST_TAG: socket.gethostname(), BOOT_TAG: boot_id(), PID_TAG: str(pid),
            BEGAN_TAG: str(began(psutil.Process(os.getpid()))), **other}


def ended_process() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_run_whose_process_has_ended_is_failed(instance: dg.DagsterInstance) -> None:
    run_id = started(instance, here(ended_process()))
    assert report_dead_runs(instance) == [run_id]
    assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.FAILURE  # type: ignore[union-attr]
    assert report_dead_runs(instance) == []


def test_a_run_that_was_being_cancelled_when_its_process_ended_is_cancelled(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(nothing, tags=here(ended_process()), status=dg.DagsterRunStatus.CANCELING)
    assert report_dead_runs(instance) == [run.run_id]
    assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.CANCELED  # type: ignore[union-attr]


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_run_of_a_living_process_stays_when_the_clock_was_set(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch,
                                                               seconds: float) -> None:
    started(instance, {**process_tags()})
    created = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: created(process) + seconds)
    assert report_dead_runs(instance) == []


def test_a_run_whose_process_left_its_number_to_another_is_failed(instance: dg.DagsterInstance) -> None:
    run_id = started(instance, {**process_tags(), BEGAN_TAG: "5.25"})
    assert report_dead_runs(instance) == [run_id]


def test_a_run_of_an_earlier_boot_is_failed(instance: dg.DagsterInstance) -> None:
    run_id = started(instance, here(os.getpid(), **{BOOT_TAG: "another"}))
    assert report_dead_runs(instance) == [run_id]


def test_runs_at_work_and_runs_elsewhere_stay(instance: dg.DagsterInstance) -> None:
    started(instance, here(os.getpid()))
    started(instance, here(ended_process(), **{HOST_TAG: "another"}))
    started(instance, here(ended_process(), **{NAMESPACE_TAG: "pid:[1]"}))
    started(instance, {})
    started(instance, {CODE_SERVER_TAG: json.dumps({"host": "localhost", "socket": "/elsewhere.sock"})})
    assert report_dead_runs(instance, gone_code_server="/here.sock") == []


@pytest.mark.parametrize("place", [{HOST_TAG: "another"}, {NAMESPACE_TAG: "pid:[1]"}])
def test_a_run_elsewhere_is_failed_when_it_is_silent_and_one_that_was_being_cancelled_is_cancelled(
        instance: dg.DagsterInstance, place: dict[str, str]) -> None:
    elsewhere = here(os.getpid(), **place)
    silent, speaking = started(instance, elsewhere), started(instance, elsewhere)
    stopping = instance.create_run_for_job(nothing, tags=elsewhere, status=dg.DagsterRunStatus.CANCELING).run_id
    assert set(report_dead_runs(instance, silent=[silent, stopping])) == {silent, stopping}
    assert [run.status.value for run_id in (silent, speaking, stopping) if (run := instance.get_run_by_id(run_id))] == [
        "FAILURE", "STARTED", "CANCELED"]


def test_silence_says_nothing_of_a_process_that_can_be_looked_up(instance: dg.DagsterInstance) -> None:
    started(instance, here(os.getpid()))  # stopped for a while, say
    queued = started(instance, {CODE_SERVER_TAG: json.dumps({"host": "localhost", "socket": "/elsewhere.sock"})})
    ours = instance.get_runs()
    assert report_dead_runs(instance, silent=[run.run_id for run in ours]) == [] and queued


@pytest.mark.parametrize("tags", [here(0, **{PID_TAG: "mine"}), {CODE_SERVER_TAG: "no JSON"}, {CODE_SERVER_TAG: "[]"},
                                  {CODE_SERVER_TAG: "{}"}])
def test_tags_that_somebody_made_up_say_nothing(instance: dg.DagsterInstance, tags: dict[str, str]) -> None:
    started(instance, tags)
    run_id = started(instance, here(ended_process()))
    assert report_dead_runs(instance, gone_code_server="/here.sock") == [run_id]


def test_a_run_of_a_code_server_that_was_stopped_is_failed(instance: dg.DagsterInstance) -> None:
    run_id = started(instance, {CODE_SERVER_TAG: json.dumps({"host": "localhost", "socket": "/here.sock"})})
    assert report_dead_runs(instance, gone_code_server="/here.sock") == [run_id]


def test_runs_that_wait_or_have_ended_are_not_looked_at(instance: dg.DagsterInstance) -> None:
    for status in (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.SUCCESS):
        instance.create_run_for_job(nothing, tags=here(ended_process()), status=status)
    assert report_dead_runs(instance) == []
