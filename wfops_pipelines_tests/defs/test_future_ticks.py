"""Sensors and schedules after the clock of the host was set back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_test_daemon_workspace_context, freeze_time
from dagster._core.workspace.load_target import PythonFileTarget
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._scheduler.scheduler import launch_scheduled_runs

from wfops_pipelines.cli.installation_checks import check_ticks
from wfops_pipelines.defs import launch
from wfops_pipelines.defs.maintenance.future_ticks import set_back_future_ticks, waiting_for_the_past

EVENING = datetime(2026, 5, 4, 19, 0, tzinfo=UTC)
LOG = logging.getLogger("test.ticks")


@dataclass
class Daemon:
    """Dagster's daemon, as far as sensors and schedules go. It keeps nothing in its memory: it is always a new one."""

    instance: dg.DagsterInstance
    workspace: Any

    def evaluated(self, now: datetime) -> tuple[int, int]:
        """How many ticks of the sensor and of the schedule an iteration at that time makes."""
        before = self._ticks()
        with freeze_time(now):
            list(execute_sensor_iteration(self.workspace, LOG, None, None))
            list(launch_scheduled_runs(self.workspace, LOG, now, {}))
        after = self._ticks()
        return after[0] - before[0], after[1] - before[1]

    def _ticks(self) -> tuple[int, int]:
        [entry] = self.workspace.create_request_context().get_code_location_entries().values()
        [repository] = entry.code_location.get_repositories().values()
        of = (repository.get_sensor("a_sensor"), repository.get_schedule("a_schedule"))
        sensor, schedule = (len(self.instance.get_ticks(one.get_remote_origin_id(), one.selector_id)) for one in of)
        return sensor, schedule


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    target = PythonFileTarget(str(Path(__file__).with_name("ticking_location.py")), attribute=None, working_directory=None,
                              location_name="ticking")
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance, create_test_daemon_workspace_context(
            target, instance) as workspace:
        yield Daemon(instance, workspace)


def test_what_was_evaluated_by_a_clock_that_was_wrong_is_evaluated_again_at_once(daemon: Daemon) -> None:
    """Both only once for now, and then at their times; without that neither is, for seven hours."""
    for minute in range(4):
        daemon.evaluated(EVENING + timedelta(minutes=minute))
    noon = EVENING - timedelta(hours=7)
    assert daemon.evaluated(noon + timedelta(minutes=1)) == (0, 0)
    assert list(waiting_for_the_past(daemon.instance, noon.timestamp())) == ["a_schedule", "a_sensor"]
    set_back_at = noon + timedelta(minutes=2, seconds=30)
    assert set_back_future_ticks(daemon.instance, set_back_at.timestamp()) == ["a_schedule", "a_sensor"]
    assert waiting_for_the_past(daemon.instance, set_back_at.timestamp()) == {}
    assert daemon.evaluated(set_back_at + timedelta(seconds=15)) == (1, 0)
    assert [daemon.evaluated(noon + timedelta(minutes=minute)) for minute in (3, 4, 5)] == [(1, 1)] * 3


def test_where_the_clock_was_right_nothing_is_set_back(daemon: Daemon) -> None:
    daemon.evaluated(EVENING)
    before = daemon.instance.all_instigator_state()
    assert set_back_future_ticks(daemon.instance, EVENING.timestamp()) == []
    assert daemon.instance.all_instigator_state() == before


def test_doctor_says_what_waits_and_until_when(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "dagster_instance", lambda _: nullcontext(daemon.instance))
    installation: Any = None
    wrong = datetime.now(UTC) + timedelta(hours=7)
    assert check_ticks(installation).ok
    daemon.evaluated(wrong)
    found = check_ticks(installation)
    assert not found.ok and f"a_schedule, a_sensor wait until {wrong:%Y-%m-%d %H:%M} UTC" in found.message
    assert check_ticks(installation, set_back=True).message == "set back: a_schedule, a_sensor"
    assert check_ticks(installation).ok
