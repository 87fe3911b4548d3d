"""The end of a simulated day: time passes, everything is looked at once more, and has to be whole."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import psycopg

from wfops_pipelines.domain.circuit import CircuitState
from wfops_pipelines.services.pausing import resume
from wfops_pipelines_tests.benchmarks.day_fleet import INTERVAL
from wfops_pipelines_tests.benchmarks.day_life import Life, side_by_side
from wfops_pipelines_tests.services.fleet import ACTOR, Environment, FleetUnderTest
from wfops_pipelines_tests.services.test_failpoint_walk import assert_whole, lost_payloads

ROUNDS = 12  # at most
_PAUSE = 1.5 * INTERVAL  # seconds between two of them


def settle(life: Life, admin_url: str) -> dict[str, Any]:
    """Everything is well again; time passes; the clock's part goes on until nothing is left to do. What was held then."""
    life.weather.clear_up()
    for fleet in life.fleets:
        life.attempt("resume", lambda fleet=fleet: resume(life.services, fleet.slug, actor=ACTOR))  # type: ignore[misc]
    with psycopg.connect(admin_url, autocommit=True) as admin:
        held = admin.execute("SELECT count(*) FROM environment_leases WHERE released_at IS NULL").fetchone()
        admin.execute("UPDATE environment_leases SET heartbeat_at = heartbeat_at - interval '1 day' WHERE released_at IS NULL")
    began = life.clock.time
    for round_ in range(ROUNDS):
        life.clock.pass_time(seconds=_PAUSE)
        side_by_side([life.sweep, *life.sensors()])
        if round_ == 1:  # what was held is free, circuits are closed
            _check_dev(life)
        with psycopg.connect(admin_url, autocommit=True) as admin:
            if round_ > 1 and not any(admin.execute(query, _at(life, began)).fetchall() for query in _WAITS.values()):
                break
    assert held is not None
    return {"began": began, "held": held[0]}


def _check_dev(life: Life) -> None:
    """What has n8n for its truth, and no sweep looks at."""
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda fleet: life.attempt("check at the end", fleet["dev"].check), life.fleets))


def problems(life: Life, admin_url: str, began: datetime) -> Iterator[str]:
    """What is not as it has to be, of the whole fleet and of each environment."""
    with psycopg.connect(admin_url, autocommit=True) as admin:
        for what, query in _EVERYWHERE.items():
            yield from (f"{what}: {row}" for row in admin.execute(query, _at(life, began)).fetchall())  # type: ignore[call-overload]
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(lambda fleet: list(_of_tenant(fleet, began)), life.fleets):
            yield from found


def _at(life: Life, began: datetime) -> dict[str, datetime]:
    """What queries know of the time: when the end began, and when the round before the last one was over."""
    return {"began": began, "round": life.clock.time - timedelta(seconds=_PAUSE)}


def _of_tenant(fleet: FleetUnderTest, began: datetime) -> Iterator[str]:
    for environment in fleet.environments.values():
        name = f"{fleet.slug}/{environment.slug}"
        try:
            yield from (f"{name}: {wrong}" for wrong in _of_environment(environment, began))
            assert_whole(environment, name)
        except Exception as error:
            yield f"{name}: {type(error).__name__} {error!s:.1500}"
    if not fleet.chain_verifies():
        yield f"{fleet.slug}: the audit chain is broken"
    if lost := lost_payloads(fleet):
        yield f"{fleet.slug}: payloads are lost: {sorted(lost)[:3]}"


def _of_environment(environment: Environment, began: datetime) -> Iterator[str]:
    row = environment.row
    if row.last_drift_check_at is None or row.last_drift_check_at < began:
        yield f"was not checked since {began:%H:%M}: {row.last_drift_check_at}"
    said = environment.compare()
    if said.status != row.drift_status:
        yield f"is {row.drift_status}, and compared it is {said.status} ({said.reason})"


_LATE = "FROM outbox WHERE status = 'pending' AND (attempts > 0 OR not_before < %(round)s)"
"""Messages that did not go out, or were due for a whole round; what waits for its digest is none of them."""

_WAITS = {
    "unchecked": "SELECT FROM environments WHERE class <> 'dev' AND last_drift_check_at < %(began)s",
    "circuits": f"SELECT FROM instance_circuits WHERE state <> '{CircuitState.CLOSED}'",
    "messages": f"SELECT {_LATE}",
    "writes": "SELECT FROM environments WHERE writes_blocked_at IS NOT NULL",
}
"""What the clock's part brings to an end, each in a few rounds."""

_EVERYWHERE = {
    "an operation runs still": "SELECT kind, id, created_at FROM operations WHERE state IN ('queued', 'running')",
    "a lease is held": "SELECT environment_id, operation_id FROM environment_leases WHERE released_at IS NULL",
    "a circuit is not closed":
        f"SELECT environment_id, state, reason FROM instance_circuits WHERE state <> '{CircuitState.CLOSED}'",
    "writes are blocked": "SELECT slug, writes_blocked_reason FROM environments e WHERE writes_blocked_at IS NOT NULL AND NOT "
                          "EXISTS (SELECT FROM drift_incidents i WHERE i.environment_id = e.id AND i.status NOT IN "
                          "('closed', 'cancelled'))",
    "a promotion runs still": "SELECT tenant_id, number FROM promotions WHERE status = 'running'",
    "a sweep runs still": "SELECT id, started_at FROM sweeps WHERE state = 'running'",
    "a lock is held": "SELECT locktype, objid FROM pg_locks WHERE locktype = 'advisory' AND database = "
                      "(SELECT oid FROM pg_database WHERE datname = current_database())",
    "a message waits": f"SELECT target, event, subject, attempts, not_before, claimed_until, last_error {_LATE}",
}
