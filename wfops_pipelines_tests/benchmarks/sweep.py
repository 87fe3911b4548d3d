"""The drift sweep over a fleet (issue: fleet scale): N environments × 50 workflows of 11 kB, 50 ms away, 1 % changed, 5 % dead
(half of them refuse connections, half take them and never answer).

The n8n and Git servers are one process that answers from prepared bytes (``servers.n8n_fleet``); its CPU is shown apart. The
database is filled by one tenant that went through the real use cases, copied N/3 − 1 times. CPU is that of this process and
of PostgreSQL, all of its processes.

``python -m wfops_pipelines_tests.benchmarks.sweep [N…]`` prints the rows (default 300, 1,000 and 3,000 environments).
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import yaml
from psycopg import sql

from wfops_pipelines.bootstrap import Installation
from wfops_pipelines.domain.fleet import load_fleet
from wfops_pipelines.domain.normalize import NORMALIZER_VERSION
from wfops_pipelines.n8n.sandbox import create_sandbox
from wfops_pipelines.n8n.sandbox.generated import generate_workflow
from wfops_pipelines.services.apply_fleet import apply_fleet
from wfops_pipelines.services.export_environment import export_environment
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.sweep_reports import SweepReport
from wfops_pipelines.services.sweeps import sweep
from wfops_pipelines_tests.benchmarks.first_sync import installation
from wfops_pipelines_tests.benchmarks.rows import Row, row, show
from wfops_pipelines_tests.servers.bare import make_bare
from wfops_pipelines_tests.servers.n8n_fleet import Mood, N8nFleet, Prepared, n8n_fleet
from wfops_pipelines_tests.store.catalogue import in_order, read_catalogue

SIZES = (300, 1000, 3000)
WORKFLOWS, LATENCY = 50, 0.05
SLUGS = ("staging", "prod", "eu")
INTERVAL = 300.0
GOAL_WALL, GOAL_CPU = 90.0, 15.0  # s for 3,000; ms of CPU an unchanged environment


def measure(sizes: tuple[int, ...] = SIZES) -> list[Row]:
    """Rows for fleets of these sizes."""
    rows: list[Row] = []
    walls: dict[int, float] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as directory:
            found, walls[size] = swept(Path(directory), size - size % len(SLUGS))
            rows += found
    first = min(walls)
    for size in sorted(walls)[1:]:
        growth = (walls[size] / walls[first]) / (size / first)
        rows.append(row(f"growth of the wall time from {first:,} to {size:,}, linear is 1", growth, "×", "≤ 1.1",
                        ok=growth <= 1.1))
    return rows


@dataclass(frozen=True, slots=True)
class Used:
    """What a sweep took: seconds of wall time, of our CPU, of PostgreSQL's and of the simulated fleet's."""

    wall: float
    cpu: float
    database: float
    fleet: float


def swept(folder: Path, size: int) -> tuple[list[Row], float]:
    """Sweeps over a fleet: nothing changed; some changed and dead; the dead ones given up on."""
    prepared = prepare()
    with installation(folder / "home") as installed, n8n_fleet(size, prepared) as fleet:
        clock = Clock()
        services = replace(installed.services, now=clock.now)
        began = time.perf_counter()
        fill(installed, services, clock, fleet, prepared, folder)
        print(f"{size} environments are there after {time.perf_counter() - began:.0f} s", flush=True)
        timed(installed, services, clock, fleet)  # warm
        same, unchanged = timed(installed, services, clock, fleet)
        assert same.counts["unchanged"] + same.counts["checked"] == size, same.counts  # some are checked whole, once a day
        fleet.set_moods(moods(size))
        mixed, some = timed(installed, services, clock, fleet)
        again, used = [timed(installed, services, clock, fleet) for _ in range(3)][-1]
    per = 1000 * (unchanged.cpu + unchanged.database) / size
    name = f"{size:,} environments"
    goal = GOAL_WALL if size >= 2_900 else None
    print(f"{name}: {dict(same.counts)}; {dict(mixed.counts)} {dict(mixed.statuses)}; then {dict(again.counts)}", flush=True)
    return [
        row(f"{name}, 1 % changed, 5 % dead: wall time", some.wall, "s", f"≤ {goal:g}" if goal else "",
            ok=goal is None or some.wall <= goal),
        row(f"{name}, 1 % changed, 5 % dead: our CPU", some.cpu, "s"),
        row(f"{name}, 1 % changed, 5 % dead: PostgreSQL's CPU", some.database, "s"),
        row(f"{name}, 1 % changed, 5 % dead: the simulated fleet's CPU", some.fleet, "s"),
        row(f"{name}, the dead ones given up on: wall time", used.wall, "s"),
        row(f"{name}, nothing changed: wall time", unchanged.wall, "s"),
        row(f"{name}, nothing changed: CPU an environment, PostgreSQL's among it", per, "ms", f"≤ {GOAL_CPU:g}",
            ok=per <= GOAL_CPU),
        row(f"{name}, nothing changed: of it PostgreSQL's", 1000 * unchanged.database / size, "ms"),
    ], some.wall


def moods(size: int) -> dict[int, Mood]:
    """1 % changed, 5 % dead, spread by chance."""
    numbers = list(range(size))
    random.Random(5).shuffle(numbers)
    dead, changed = numbers[:size // 20], numbers[size // 20:size // 20 + max(1, size // 100)]
    return {number: Mood.HANGS if position % 2 else Mood.REFUSES for position, number in enumerate(dead)} | dict.fromkeys(changed, Mood.CHANGED)


class Clock:
    """Real time, plus what was skipped."""

    def __init__(self) -> None:
        self._skipped = timedelta()

    def now(self) -> datetime:
        """The time."""
        return datetime.now(UTC) + self._skipped

    def skip(self, seconds: float) -> None:
        """Later."""
        self._skipped += timedelta(seconds=seconds)


def timed(installed: Installation, services: Services, clock: Clock, fleet: N8nFleet) -> tuple[SweepReport, Used]:
    """A sweep one and a half intervals later, when all are due, and what it took."""
    clock.skip(1.5 * INTERVAL + 60)
    counters: tuple[Callable[[], float], ...] = (
        time.perf_counter, time.process_time, lambda: database_cpu(installed), lambda: fleet.cpu_seconds)
    before = [read() for read in counters]
    report = asyncio.run(sweep(services, interval=INTERVAL, actor="system:drift_detection"))
    taken = [read() - start for read, start in zip(counters, before, strict=True)]
    return report, Used(*taken)


def database_cpu(installed: Installation) -> float:
    """Seconds of CPU of the server and all its processes so far, those that ended among them."""
    with psycopg.connect(installed.urls.owner) as owner:
        found = owner.execute("SELECT pg_backend_pid()").fetchone()
    assert found is not None
    server = _postmaster(installed)
    total = 0.0
    for process in [server, *server.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    ended = server.cpu_times()
    return total + ended.children_user + ended.children_system


def _postmaster(installed: Installation) -> psutil.Process:
    with psycopg.connect(installed.urls.owner) as owner:
        return psutil.Process(psutil.Process(owner.info.backend_pid).ppid())


# -- filling ---------------------------------------------------------------------------------------------------------------


def prepare() -> Prepared:
    """What the fleet answers: a sandbox's own listings of generated workflows."""
    sandbox = create_sandbox(generation=2, api_key="key", rng=random.Random(1))
    rng, made = random.Random(2), []
    while len(made) < WORKFLOWS:
        made.append({**generate_workflow(rng, 12 + len(made) % 7), "active": False})
        made[-1]["name"] = f"{len(made)} {made[-1]['name']}"
    ids = sandbox.state.seed_workflows(made)

    def listing(query: str) -> bytes:
        async def ask() -> bytes:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app=sandbox.app), base_url="http://n8n") as client:
                answer = await client.get(f"/api/v1/workflows?{query}", headers={"x-n8n-api-key": "key"})
                return answer.raise_for_status().content
        return asyncio.run(ask())

    well, smallest = listing("limit=250"), listing("limit=1&excludePinnedData=true")
    sandbox.state.edit(ids[0], name="Renamed by hand")
    print(f"a listing of {WORKFLOWS} workflows has {len(well) / 1000:.0f} kB", flush=True)
    return Prepared({"well": well, "changed": listing("limit=250")}, smallest, "0" * 40, LATENCY)


def fill(installed: Installation, services: Services, clock: Clock, fleet: N8nFleet, prepared: Prepared,
         folder: Path) -> None:
    """One tenant by the use cases, the others copied from it, each with servers of its own."""
    bare = make_bare(folder / "t0.git")
    document = {"version": 1, "tenants": [{
        "slug": "t0", "name": "T", "repository": {"url": bare.url, "branch": "main"},
        "environments": [{"slug": slug, "class": "production" if slug == "prod" else "staging", "url": fleet.url(number),
                          "api_key": "env:KEY", "folder": slug} for number, slug in enumerate(SLUGS)]}]}
    apply_fleet(services, load_fleet(yaml.safe_dump(document), file="fleet.yaml", providers=["n8n"]), lambda _: "key",
                actor="benchmark")
    context = services.context("t0", actor="benchmark")
    for slug in SLUGS:
        asyncio.run(export_environment(services, context, services.environment(context, slug)))
    for _ in range(3):
        clock.skip(1.5 * INTERVAL + 60)
        report = asyncio.run(sweep(services, interval=INTERVAL, actor="system:drift_detection"))
    assert report.statuses == {"IN_SYNC": len(SLUGS)}, report.statuses
    copy(installed, fleet, prepared)
    know(installed, services)


def copy(installed: Installation, fleet: N8nFleet, prepared: Prepared) -> None:
    """The other tenants, as rows; each id is made from the template's and the tenant's number."""
    assert installed.holder is not None
    others = fleet.size // len(SLUGS) - 1
    with psycopg.connect(installed.urls.owner) as owner:
        database = owner.info.dbname
    admin_url = psycopg.conninfo.make_conninfo(installed.holder.admin_url(), dbname=database)
    with psycopg.connect(admin_url) as admin:
        admin.execute("SET session_replication_role = replica")
        tables = read_catalogue(admin)
        generated = {tuple(row) for row in admin.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE is_generated = 'ALWAYS'")}
        for table in in_order(tables):
            if not table.name.startswith("audit_"):
                copied = {name: kind for name, kind in table.columns.items() if (table.name, name) not in generated}
                columns = [sql.SQL("md5(g::text || {0}::text)::uuid" if kind == "uuid" else "{0}").format(sql.Identifier(name))
                           for name, kind in copied.items()]
                admin.execute(sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} CROSS JOIN generate_series(1, {}) g").format(
                    sql.Identifier(table.name), sql.SQL(", ").join(map(sql.Identifier, copied)),
                    sql.SQL(", ").join(columns) if table.name != "tenants" else sql.SQL(", ").join(
                        sql.SQL("'t' || g") if name == "slug" else column
                        for name, column in zip(copied, columns, strict=True)),
                    sql.Identifier(table.name), sql.Literal(others)))
        for tenant_id, slug in admin.execute("SELECT tenant_id, slug FROM tenants").fetchall():
            number, repository = int(slug[1:]), fleet.repository(slug)
            admin.execute("UPDATE repositories SET url = %s WHERE tenant_id = %s", (repository, tenant_id))
            for position, environment in enumerate(SLUGS):
                admin.execute(
                    "UPDATE environments SET base_url = %s, git_commit = %s, git_source = %s WHERE tenant_id = %s AND slug = %s",
                    (fleet.url(number * len(SLUGS) + position), prepared.head, f"git|{repository}|main|{environment}",
                     tenant_id, environment))
        admin.execute("UPDATE known_listings SET head = %s", (prepared.head,))
        admin.commit()
        admin.autocommit = True
        admin.execute("VACUUM ANALYZE")


def know(installed: Installation, services: Services) -> None:
    """The copies' states, which are made from the versions of their own rows."""
    with services.store.sweep_reads() as system:
        ids = [found.id for found in system.environments()]
        states: dict[Any, str | None] = {}
        for start in range(0, len(ids), 500):
            states |= system.states(ids[start:start + 500], NORMALIZER_VERSION)
    with psycopg.connect(installed.urls.owner) as owner:
        owner.cursor().executemany("UPDATE known_listings SET state = %s WHERE environment_id = %s",
                                   [(state, environment_id) for environment_id, state in states.items()])


if __name__ == "__main__":
    show(measure(tuple(int(each) for each in sys.argv[1:]) or SIZES), "sweep")
