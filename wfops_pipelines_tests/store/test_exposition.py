"""What monitoring reads several times a minute is found by indexes, over tables that only grow (§19.4)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event

from wfops_pipelines.store.exposition import ExpositionReads
from wfops_pipelines_tests.store.test_hot_queries import ENVIRONMENTS, TENANTS, Filled, _collect, filled

__all__ = ["filled"]

NOW = datetime.now(UTC)


def scans(filled: Filled, ask: Callable[[ExpositionReads], object]) -> set[tuple[str, str]]:
    """How the tables of what is asked are read, as the system's role: (kind of scan, table)."""
    made: list[tuple[str, Any]] = []
    with filled.store.system() as system:
        connection = system._connection
        event.listen(connection, "before_cursor_execute", lambda *asked: made.append((asked[2], asked[3])))
        ask(system.exposition)
        statement, parameters = made[0]
        [plan] = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
    found: set[tuple[str, str]] = set()
    _collect(plan["Plan"], found)
    return found


@pytest.mark.parametrize(("table", "ask"), [
    pytest.param("operations", lambda reads: reads.ended_operations(NOW + timedelta(hours=1), NOW), id="operations that ended"),
    pytest.param("operations", lambda reads: reads.running_operations(), id="operations at work"),
    pytest.param("drift_incidents", lambda reads: reads.incidents(NOW), id="open incidents"),
])
def test_tables_that_only_grow_are_not_read_as_a_whole(filled: Filled, table: str,
                                                       ask: Callable[[ExpositionReads], object]) -> None:
    found = scans(filled, ask)
    assert {name for _, name in found} >= {table}
    assert ("Seq Scan", table) not in found


def test_every_environment_is_counted_once(filled: Filled) -> None:
    with filled.store.system() as system:
        rows = system.exposition.environments()
        drifted = system.exposition.drifted_workflows()
    assert sum(row.number for row in rows) == TENANTS * ENVIRONMENTS
    assert {row.kind: row.number for row in drifted} == {"modified": 300 * TENANTS * ENVIRONMENTS}
