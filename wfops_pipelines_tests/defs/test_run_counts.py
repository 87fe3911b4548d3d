"""Monitoring counts the runs of Dagster, and nothing while the storage is away."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import dagster as dg
import psycopg
import pytest
from sqlalchemy import event

from wfops_pipelines.defs.run_counts import WATCHED, RunCounts
from wfops_pipelines.defs.storage import InstallationStorage
from wfops_pipelines_tests.defs.conftest import Given


@dg.job
def nothing() -> None:
    pass


def test_runs_that_have_not_ended_are_counted(given: Given) -> None:
    with closing(counting(given, given.instance)) as counts:
        given.instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTED)
        given.instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.SUCCESS)
        assert counts() == {status.value: int(status is dg.DagsterRunStatus.STARTED) for status in WATCHED}


def test_a_connection_that_breaks_under_the_question_is_no_error(given: Given, fresh_dagster_url: str) -> None:
    storage = InstallationStorage(fresh_dagster_url.replace("postgresql://", "postgresql+psycopg2://", 1))
    engine = storage.run_storage._engine
    with dg.DagsterInstance.ephemeral() as instance, closing(counting(given, instance)) as counts, \
            pytest.MonkeyPatch.context() as patch:
        patch.setattr(instance, "_run_storage", storage.run_storage)
        assert counts() == {status.value: 0 for status in WATCHED}

        def end(connection: Any, *_: Any) -> None:
            pid = connection.connection.dbapi_connection.get_backend_pid()
            with psycopg.connect(fresh_dagster_url, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))

        event.listen(engine, "before_cursor_execute", end, once=True)
        assert counts() == {}
        assert counts() == {status.value: 0 for status in WATCHED}
        engine.dispose()


def counting(given: Given, instance: dg.DagsterInstance) -> RunCounts:
    """Counts of an instance that is open."""
    counts = RunCounts(given.installation)
    counts._instance = instance
    return counts
