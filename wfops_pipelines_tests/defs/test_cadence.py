"""Cadences: seconds from settings, ticks from cron."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import dagster as dg
import pytest

from wfops_pipelines.defs.cadence import cron_of, is_due, sensor_status_of, status_of
from wfops_pipelines.defs.partitions import Key, partition_changes
from wfops_pipelines.domain.errors import UnknownPartition


@pytest.mark.parametrize(("seconds", "cron"), [
    (300, "*/5 * * * *"), (60, "* * * * *"), (30, "* * * * *"), (600, "*/10 * * * *"), (420, "* * * * *"),
    (3600, "* * * * *"), (0, "* * * * *"),
])
def test_an_interval_becomes_a_cron_expression_that_ticks_often_enough(seconds: int, cron: str) -> None:
    assert cron_of(seconds) == cron


@pytest.mark.parametrize("seconds", [60, 300, 420, 3600, 5400])
def test_an_interval_is_due_as_often_as_it_says_in_a_week(seconds: int) -> None:
    start = datetime(2026, 1, 5, tzinfo=UTC)
    due = [m for m in range(7 * 24 * 60) if is_due(start + timedelta(minutes=m), seconds)]
    assert {b - a for a, b in pairwise(due)} == {seconds // 60}


def test_zero_switches_a_cadence_off() -> None:
    assert not is_due(datetime(2026, 1, 1, tzinfo=UTC), 0)
    assert status_of(0) is dg.DefaultScheduleStatus.STOPPED
    assert sensor_status_of(0) is dg.DefaultSensorStatus.STOPPED


def test_a_partition_key_reads_back_what_it_says() -> None:
    assert Key.parse(str(Key(tenant="acme", environment="prod"))) == Key(tenant="acme", environment="prod")
    assert str(Key(tenant="acme", environment="prod")) == "prod|acme"


@pytest.mark.parametrize("key", ["", "prod", "|acme", "prod|", "a|b|c"])
def test_what_is_no_partition_key_is_named_with_the_way_out(key: str) -> None:
    with pytest.raises(UnknownPartition, match="environment\\|tenant"):
        Key.parse(key)


def test_partitions_follow_the_database_and_nothing_is_done_twice() -> None:
    changes = partition_changes(wanted_tenants=["acme", "globex"], wanted_environments=["dev", "prod"],
                                tenants=["acme", "old"], environments=["dev"])
    assert list(changes.add_tenants) == ["globex"] and list(changes.delete_tenants) == ["old"]
    assert list(changes.add_environments) == ["prod"] and list(changes.delete_environments) == []
    assert not partition_changes(wanted_tenants=["a"], wanted_environments=["b"], tenants=["a"], environments=["b"]).any
