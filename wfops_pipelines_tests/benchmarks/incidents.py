"""100,000 incidents of 200 tenants: pages of a listing, and the sweep of their TTL (issue: drift incidents).

As the application's role, under row-level security; each page by a fresh unit of work. The rows are spread unevenly: one
tenant holds a fifth of them, and is the one that is listed.

``python -m wfops_pipelines_tests.benchmarks.incidents`` prints the rows, with ``--plans`` how PostgreSQL finds them.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb
from sqlalchemy import event
from sqlalchemy.engine import Row as StoreRow

from wfops_pipelines.bootstrap import Installation
from wfops_pipelines.domain.context import Context
from wfops_pipelines.services.escalate_incidents import escalate_incidents
from wfops_pipelines.store.incident_pages import IncidentFilter
from wfops_pipelines.store.unit_of_work import UnitOfWork
from wfops_pipelines_tests.benchmarks.first_sync import installation
from wfops_pipelines_tests.benchmarks.rows import Row, row, show

INCIDENTS, TENANTS, LARGE, ENVIRONMENTS = 100_000, 200, 20_000, 40
DUE, OPEN_EACH = 1_000, 20
PAGES = 200  # of each filter
LIMIT = 50
GOAL_PAGE, GOAL_SWEEP, GOAL_IDLE = 10.0, 1.0, 20.0  # ms, s, ms
_COLUMNS = ("tenant_id", "id", "number", "environment_id", "status", "severity", "title", "affected", "drift_fingerprint",
            "detected_at", "last_seen_at", "expires_at", "next_due_at", "closed_at", "drift_snapshot")
_SEVERITIES = ("low", "low", "low", "medium", "medium", "high", "critical")
_SNAPSHOT = {"workflows": [{"name": f"Workflow {n}", "kind": "modified", "workflow_id": f"w{n}", "path": f"prod/w{n}.json",
                            "canonical_id": None, "diff": {"changes": ["x" * 200]}} for n in range(4)]}


@dataclass(frozen=True, slots=True)
class Filled:
    """The tenant that is listed, one of its environments, and when its incidents began, newest first."""

    tenant: uuid.UUID
    environment: uuid.UUID
    cursors: list[tuple[datetime, uuid.UUID]]


def measure(*, plans: bool = False) -> list[Row]:
    """Rows: p99 of each kind of page, and how long sweeps take."""
    with tempfile.TemporaryDirectory() as directory, installation(Path(directory)) as installed:
        filled = fill(installed)
        context = Context(filled.tenant, "t0", "benchmark", installed.services.now, uuid.uuid4)
        rows = list(_pages(installed, context, filled, plans=plans))
        return [*rows, *_all_tenants(installed, filled), *_sweeps(installed)]


def fill(installed: Installation) -> Filled:
    """Tenants, environments, a target each and their incidents, of which :data:`DUE` are due."""
    now = datetime.now(UTC)
    tenants = [uuid.uuid4() for _ in range(TENANTS)]
    places = {tenant: [uuid.uuid4() for _ in range(ENVIRONMENTS)] for tenant in tenants}
    with psycopg.connect(installed.urls.owner) as owner:
        for table in ("tenants", "environments", "notification_targets", "drift_incidents"):
            owner.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        owner.execute("ALTER TABLE drift_incidents DISABLE TRIGGER lifecycle")  # incidents begin detected
        _copy(owner, "tenants", ("tenant_id", "slug", "name"), ((t, f"t{n}", f"T{n}") for n, t in enumerate(tenants)))
        _copy(owner, "environments", ("tenant_id", "id", "slug", "name", "class", "base_url", "api_key_secret"), (
            (t, e, f"e{n}", f"E{n}", "production", "http://127.0.0.1:9", "k")
            for t in tenants for n, e in enumerate(places[t])))
        _copy(owner, "notification_targets", ("tenant_id", "name", "url_secret"), ((t, "ops", "s") for t in tenants))
        filled = _copy_incidents(owner, tenants, places, now)
        owner.execute("ALTER TABLE drift_incidents ENABLE TRIGGER lifecycle")
        for table in ("tenants", "environments", "notification_targets", "drift_incidents"):
            owner.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        owner.commit()
        owner.autocommit = True
        owner.execute("VACUUM ANALYZE")
    return filled


def _copy(owner: psycopg.Connection, table: str, columns: tuple[str, ...], rows: Iterator[tuple[Any, ...]]) -> None:
    with owner.cursor().copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        for values in rows:
            copy.write_row(values)


def _copy_incidents(owner: psycopg.Connection, tenants: list[uuid.UUID], places: Mapping[uuid.UUID, list[uuid.UUID]],
                    now: datetime) -> Filled:
    rng, cursors = random.Random(3), []
    snapshot = Jsonb(_SNAPSHOT)
    due = DUE // TENANTS

    def rows() -> Iterator[tuple[Any, ...]]:
        for tenant in tenants:
            count = LARGE if tenant == tenants[0] else (INCIDENTS - LARGE) // (TENANTS - 1)
            for number in range(count):
                environment = places[tenant][number % ENVIRONMENTS]
                at = now - timedelta(hours=2 + 2 * number / count * 4000, seconds=rng.random())
                is_open = number < OPEN_EACH
                status = rng.choice(("detected", "acknowledged")) if is_open else "closed"
                if number < due:
                    status = "detected"
                incident_id = uuid.UUID(int=rng.getrandbits(128), version=4)
                if tenant == tenants[0]:
                    cursors.append((at, incident_id))
                end = now + timedelta(hours=1) if is_open else at + timedelta(hours=24)
                due_at = None if not is_open else now - timedelta(seconds=1) if number < due else now + timedelta(hours=1)
                yield (tenant, incident_id, number + 1, environment, status, rng.choice(_SEVERITIES), f"Drift {number}", 3,
                       "f", at, at, end, due_at, None if is_open else at + timedelta(hours=3), snapshot)

    _copy(owner, "drift_incidents", _COLUMNS, rows())
    return Filled(tenants[0], places[tenants[0]][ENVIRONMENTS - 1], cursors)


def _filters(filled: Filled) -> dict[str, dict[str, Any]]:
    """What a page can be about: what each names, and those together that find little."""
    environment = filled.environment
    return {
        "all": {},
        "open only": {"open_only": True},
        "one environment": {"environment_id": environment},
        "one environment, open only": {"environment_id": environment, "open_only": True},
        "one status": {"statuses": ["closed"]},
        "two statuses": {"statuses": ["detected", "acknowledged"]},
        "a status that nothing has": {"statuses": ["cancelled"]},
        "one severity": {"severities": ["critical"]},
        "two severities": {"severities": ["high", "critical"]},
        "status and severity": {"statuses": ["closed"], "severities": ["critical"]},
        "environment, status and severity": {"environment_id": environment, "statuses": ["closed"], "severities": ["critical"]},
        "open only, severity that few have": {"open_only": True, "severities": ["critical"]},
    }


def _pages(installed: Installation, context: Context, filled: Filled, *, plans: bool) -> Iterator[Row]:
    for deep in (False, True):
        for name, wanted in _filters(filled).items():
            rng, taken = random.Random(5), []
            for number in range(PAGES + 20):
                before = rng.choice(filled.cursors[len(filled.cursors) // 2:]) if deep else None
                with installed.services.store.read(context) as work:
                    started = time.perf_counter()
                    _page(work, IncidentFilter(**wanted, before=before))
                    if number >= 20:  # the first ones warm up
                        taken.append((time.perf_counter() - started) * 1000)
            value = sorted(taken)[int(len(taken) * 0.99) - 1]
            what = f"{name}{', deep' if deep else ''}"
            if plans:
                _explain(installed, context, what, IncidentFilter(**wanted, before=filled.cursors[len(filled.cursors) // 2] if deep else None))
            yield row(f"incidents, a page of {LIMIT} of {INCIDENTS:,}, {what}: p99", value, "ms", f"< {GOAL_PAGE:.0f}",
                      ok=value < GOAL_PAGE)


def _all_tenants(installed: Installation, filled: Filled) -> Iterator[Row]:
    """Pages across tenants, as the system's role reads them."""
    kinds: dict[str, dict[str, Any]] = {
        "all": {}, "open only": {"open_only": True}, "one status": {"statuses": ["closed"]},
        "two severities": {"severities": ["high", "critical"]}}
    for name, wanted in kinds.items():
        for deep in (False, True):
            taken = []
            for number in range(PAGES + 20):
                before = filled.cursors[len(filled.cursors) // 2 + number] if deep else None
                with installed.services.store.system() as system:
                    started = time.perf_counter()
                    system.workflows_of(system.incidents(IncidentFilter(**wanted, before=before), limit=LIMIT))
                    if number >= 20:
                        taken.append((time.perf_counter() - started) * 1000)
            value = sorted(taken)[int(len(taken) * 0.99) - 1]
            yield row(f"incidents of all tenants, a page of {LIMIT}, {name}{', deep' if deep else ''}: p99", value, "ms",
                      f"< {GOAL_PAGE:.0f}", ok=value < GOAL_PAGE)


def _page(work: UnitOfWork, wanted: IncidentFilter) -> list[StoreRow[Any]]:
    """A page as it is shown: with what drifted."""
    found = work.incidents.listed(wanted, limit=LIMIT)
    work.incidents.workflows_of(found)
    return found


def _sweeps(installed: Installation) -> Iterator[Row]:
    started, cpu = time.perf_counter(), time.process_time()
    done = escalate_incidents(installed.services, actor="benchmark")
    taken, cpu = time.perf_counter() - started, time.process_time() - cpu
    assert len(done.escalated) == DUE, (len(done.escalated), done.failed)
    yield row(f"TTL sweep, {DUE:,} of {INCIDENTS:,} incidents due, of {TENANTS} tenants", taken, "s", f"< {GOAL_SWEEP:.0f}",
              ok=taken < GOAL_SWEEP)
    yield row("TTL sweep, the same: CPU of this process", cpu, "s")
    idle = []
    for _ in range(20):
        started = time.perf_counter()
        assert escalate_incidents(installed.services, actor="benchmark").escalated == []
        idle.append((time.perf_counter() - started) * 1000)
    yield row("TTL sweep, nothing due", max(idle), "ms", f"< {GOAL_IDLE:.0f}", ok=max(idle) < GOAL_IDLE)


def _explain(installed: Installation, context: Context, name: str, wanted: IncidentFilter) -> None:
    """Print how the statements of a page are executed."""
    made: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        made.append((statement, parameters))

    with installed.services.store.read(context) as work:
        event.listen(work.connection, "before_cursor_execute", note)
        _page(work, wanted)
        event.remove(work.connection, "before_cursor_execute", note)
        for statement, parameters in made:
            lines = work.connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS) {statement}", parameters).scalars()
            print(f"-- {name}", *lines, sep="\n")


if __name__ == "__main__":
    show(measure(plans="--plans" in sys.argv), "incidents")
