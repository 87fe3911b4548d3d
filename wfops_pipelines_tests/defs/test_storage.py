"""Dagster's storage in PostgreSQL, opened by several processes at once while there are no tables yet."""

from __future__ import annotations

import subprocess
import sys

import psycopg

from wfops_pipelines.defs.storage import _OPENING, STORAGE_VARIABLE, InstallationStorage
from wfops_pipelines_tests.servers.processes import child_environment, eventually

OPEN = ("from wfops_pipelines.defs.storage import InstallationStorage as storage;"
        "print(storage.from_config_value(None, {}).run_storage.get_runs_count())")
PROCESSES = 3


def test_processes_that_open_an_empty_storage_at_once_all_succeed(fresh_dagster_url: str) -> None:
    url = fresh_dagster_url.replace("postgresql://", "postgresql+psycopg2://", 1)
    with psycopg.connect(fresh_dagster_url) as gate:
        gate.execute("SELECT pg_advisory_xact_lock(%s)", (_OPENING,))
        children = [subprocess.Popen([sys.executable, "-c", OPEN], env={**child_environment(), STORAGE_VARIABLE: url},
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
        eventually(lambda: gate.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())").fetchone() == (PROCESSES,))
        gate.rollback()
    for child in children:
        out, said = child.communicate(timeout=120)
        assert (child.returncode, out) == (0, "0\n"), said


def test_one_connection_serves_all_that_a_process_asks_one_after_the_other(fresh_dagster_url: str) -> None:
    storage = InstallationStorage(fresh_dagster_url.replace("postgresql://", "postgresql+psycopg2://", 1))

    def connected() -> list[int]:
        with psycopg.connect(fresh_dagster_url) as other:
            return [pid for (pid,) in other.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
                                                    " AND pid <> pg_backend_pid() AND backend_type = 'client backend'")]

    eventually(lambda: connected() == [])  # those of the opening are closed
    assert storage.run_storage.get_runs_count() == 0
    (kept,) = connected()
    assert storage.event_log_storage.get_maximum_record_id() is None and storage.schedule_storage.all_instigator_state() == []
    assert connected() == [kept]
    storage.run_storage.dispose()
    eventually(lambda: connected() == [])


def test_a_connection_that_the_server_closed_is_replaced(fresh_dagster_url: str) -> None:
    storage = InstallationStorage(fresh_dagster_url.replace("postgresql://", "postgresql+psycopg2://", 1))
    assert storage.run_storage.get_runs_count() == 0
    with psycopg.connect(fresh_dagster_url, autocommit=True) as other:
        assert other.execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                             " WHERE datname = current_database() AND pid <> pg_backend_pid()").fetchone() == (1,)
    assert storage.run_storage.get_runs_count() == 0
