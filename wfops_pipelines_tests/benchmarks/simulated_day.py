"""A simulated day of 100 tenants with dev, staging and prod each (issue: fleet scale): 144 ticks of ten minutes, in each what
the schedules and sensors do by time, what people do, and what goes wrong, by chance with a seed (``day_life``, ``day_fleet``).

Everything is one process, which lives as long as a code server does, but for children that are killed in the middle of what
they do. n8n are sandboxes over HTTP, repositories are on disk, the database is a PostgreSQL of its own. Each simulated hour
it is measured what the process holds; in the end faults are over, time passes, and everything has to be whole (``day_end``).

``python -m wfops_pipelines_tests.benchmarks.simulated_day [--hours N] [--tenants N] [--seed S]`` prints the rows, and writes
``reports/simulated_day.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
from pydantic import SecretStr

from wfops_pipelines.bootstrap import Installation, open_installation
from wfops_pipelines.postgres.embedded import EmbeddedPostgres
from wfops_pipelines.services.export_environment import export_environment
from wfops_pipelines.settings import Settings
from wfops_pipelines_tests.benchmarks.day_commands import do_in_child
from wfops_pipelines_tests.benchmarks.day_end import problems, settle
from wfops_pipelines_tests.benchmarks.day_fleet import INTERVAL, DayHost, Weather, make_tenant, share
from wfops_pipelines_tests.benchmarks.day_life import TICKS_PER_HOUR, Life
from wfops_pipelines_tests.benchmarks.rows import Row, row, show
from wfops_pipelines_tests.servers.asgi import serve
from wfops_pipelines_tests.servers.postgres import TEST_KEY
from wfops_pipelines_tests.services.fleet import Clock, FleetUnderTest, services_over

HOURS, TENANTS, SEED = 24, 100, 1
MINUTES = 60.0
FLAT = 5.0  # % by which memory may grow from the sixth hour to the last
WARM = 6  # hours until all that is cached is
TICK = timedelta(hours=1) / TICKS_PER_HOUR
REPORT = Path(__file__).resolve().parents[2] / "reports" / "simulated_day.json"
TABLES = ("environment_leases", "known_listings", "instance_circuits", "repository_heads", "refresh_requests",
          "workflow_env_map", "workflow_drift", "operations", "audit_events", "payloads", "drift_check_history", "sweeps",
          "drift_incidents", "promotions", "outbox")
BOUNDED = TABLES[:5]
"""Tables that hold a row for each environment or repository, and no more, however long a day is."""


@dataclass
class Day:
    """A day: what it is made of, and what it came to."""

    seed: int
    hours: int
    life: Life
    installed: Installation
    admin_url: str
    folder: Path
    host: DayHost
    report: Path
    minutes: float
    hourly: list[dict[str, Any]] = field(default_factory=list)

    def live(self) -> None:
        """Hour by hour."""
        process, until = psutil.Process(), time.monotonic() + 60 * self.minutes
        for hour in range(1, self.hours + 1):
            if time.monotonic() > until:
                print(f"{self.minutes:g} minutes are over: the day ends early", flush=True)
                break
            began, cpu, before = time.perf_counter(), process.cpu_times().user, self._counted()
            for tick in range(TICKS_PER_HOUR):
                self.life.tick((hour - 1) * TICKS_PER_HOUR + tick)
                self.life.clock.pass_time(seconds=TICK.total_seconds())
            self.host.forget()
            did = {name: dict(counter - before[name]) for name, counter in self._counted().items()}
            self.hourly.append({"hour": hour, "wall_seconds": round(time.perf_counter() - began, 1),
                                "cpu_seconds": round(process.cpu_times().user - cpu, 1), **self.measured(), **did})
            last = self.hourly[-1]
            self.write({})
            print(f"hour {hour}: {last['wall_seconds']:.0f} s; " + ", ".join(
                f"{last[name]} {name}" for name in MEASURED) + f"; {sum(did['did'].values())} done, "
                f"{sum(did['refused'].values())} refused, {sum(did['faults'].values())} faults", flush=True)

    def write(self, more: dict[str, Any]) -> None:
        """The report as far as it goes: each hour, and in the end with ``more``."""
        self.report.parent.mkdir(parents=True, exist_ok=True)
        self.report.write_text(json.dumps({
            "seed": self.seed, "hours": self.hours, "tenants": len(self.life.fleets), **more,
            "unexpected": self.life.unexpected, "hourly": self.hourly}, indent=2, default=str) + "\n")

    def _counted(self) -> dict[str, Counter[str]]:
        return {"did": self.life.did.copy(), "refused": self.life.refused.copy(), "faults": self.life.weather.met.copy()}

    def measured(self) -> dict[str, Any]:
        """What this process holds when nothing is done: connections in use, and those that stay once all are given back."""
        pooled = self._connections()
        self.life.services.store.close()  # the pools begin anew: what is open now is nobody's
        gc.collect()
        leaked = self._settled(self._connections)
        process = psutil.Process()
        with psycopg.connect(self.admin_url, autocommit=True) as admin:
            rows = {table: (admin.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,))[0]
                    for table in TABLES}
        return {"MB": round(process.memory_info().rss / 1e6, 1), "files": self._settled(process.num_fds),
                "threads": self._settled(process.num_threads), "processes": len(process.children(recursive=True)),
                "connections": leaked, "pooled": pooled, "temporary": self.temporary(), "rows": rows}

    def _settled(self, count: Any) -> int:
        """The least of some looks: what is closed is gone a moment later."""
        found = [count()]
        for _ in range(20):
            time.sleep(0.05)
            found.append(count())
        return int(min(found))

    def _connections(self) -> int:
        with psycopg.connect(self.admin_url, autocommit=True) as admin:
            found = admin.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                                  "AND pid <> pg_backend_pid()").fetchone()
        assert found is not None
        return int(found[0])

    def temporary(self) -> int:
        """Files and directories in the process's place for them, and locks and parts of packs in its copies of repositories."""
        left = list(Path(tempfile.gettempdir()).iterdir())
        left += [path for path in (self.folder / "home" / "tenants").rglob("*")
                 if path.suffix == ".lock" or path.name.startswith(("tmp_", ".tmp"))]
        return len(left)


MEASURED = ("MB", "files", "threads", "processes", "connections", "temporary")


def measure(hours: int = HOURS, tenants: int = TENANTS, seed: int = SEED, report: Path = REPORT,
            minutes: float = MINUTES) -> list[Row]:
    """Rows for a day, which ends early after so many minutes of wall time; writes its report."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory, own_temporary(Path(directory) / "tmp"), \
            new_installation(Path(directory) / "home") as installed, serve(host := DayHost()) as url:
        host.url = url
        day = make_day(installed, host, Path(directory), hours, tenants, seed, report, minutes)
        print(f"{tenants} tenants are there after {time.perf_counter() - began:.0f} s", flush=True)
        lived = time.perf_counter()
        day.live()
        print(f"the day took {time.perf_counter() - lived:.0f} s", flush=True)
        settled = settle(day.life, day.admin_url)
        end = {**day.measured(), "problems": list(problems(day.life, day.admin_url, settled["began"])),
               "leases held at the end of the last hour": settled["held"]}
    wall = time.perf_counter() - began
    for wrong in end["problems"]:
        print(f"WRONG {wrong}", flush=True)
    rows = rows_of(day, end, wall)
    day.write({"wall_seconds": round(wall, 1), "figures": rows, "end": end})
    return rows


def rows_of(day: Day, end: dict[str, Any], wall: float) -> list[Row]:
    """The figures of a day."""
    first, last = day.hourly[0], day.hourly[-1]
    did, faults = (sum(sum(hour[what].values()) for hour in day.hourly) for what in ("did", "faults"))

    def at_most(name: str, value: float, bound: float, unit: str = "") -> Row:
        return row(name, value, unit, f"≤ {bound:g}", ok=value <= bound)

    broken = sum("audit chain" in each for each in end["problems"])
    unbounded = [table for table in BOUNDED if end["rows"][table] > 3 * len(day.life.fleets)]
    return [
        at_most("partitions that are stuck or not as they say, in the end", len(end["problems"]) - broken, 0),
        at_most("audit chains that do not verify", broken, 0),
        at_most("errors that nothing explains", len(day.life.unexpected), 0),
        at_most("connections to PostgreSQL that nobody gave back", max(last["connections"], end["connections"]), 0),
        *(at_most(f"{what} more than after the first hour", max(0, min(last[what], end[what]) - first[what]), 0)
          for what in ("files", "threads", "processes", "temporary")),
        at_most("tables that grow and should not", len(unbounded), 0),
        at_most(f"growth of memory from hour {WARM} to hour {last['hour']}", growth(day.hourly), FLAT, "%"),
        row("memory of the process, n8n and all", last["MB"], "MB"),
        row("simulated hours", last["hour"], "h", f"≥ {day.hours}", ok=last["hour"] >= day.hours),
        row("things done", did, ""), row("faults", faults, ""),
        row("wall time, with setting up", wall, "s"),
    ]


def growth(hourly: list[dict[str, Any]]) -> float:
    """By how many % memory grew after it was warm, by the slope through all hours since; none in a day that is too short."""
    points = [(hour["hour"], hour["MB"]) for hour in hourly if hour["hour"] >= WARM]
    if len(points) < 3:
        return 0.0
    slope = statistics.linear_regression(*zip(*points, strict=True)).slope
    return max(0.0, float(100 * slope * (points[-1][0] - points[0][0]) / points[0][1]))


def make_day(installed: Installation, host: DayHost, folder: Path, hours: int, tenants: int, seed: int,
             report: Path, minutes: float) -> Day:
    """The fleet, in sync."""
    chance, clock = random.Random(seed), Clock()
    services = services_over(installed.urls, installed.secrets, installed.settings.home, clock)
    services = replace(services, limits=replace(
        services.limits, read_timeout=6.0, answer_timeout=12.0, sweep_patience=4.0, operation_backoff=0.01))  # who hangs is waited for shortly
    with psycopg.connect(installed.urls.owner) as owner:
        database = owner.info.dbname
    assert installed.holder is not None
    admin_url = psycopg.conninfo.make_conninfo(installed.holder.admin_url(), dbname=database)

    def made(number: int) -> FleetUnderTest:
        fleet = make_tenant(number, services, installed, host, clock, folder / "git")
        asyncio.run(export_environment(services, fleet.context, fleet["dev"].row))
        share(fleet)
        return fleet
    with ThreadPoolExecutor(4) as threads:
        fleets = list(threads.map(made, range(tenants)))
    life = Life(services, fleets, clock, Weather(fleets, clock, admin_url, random.Random(chance.random())),
                random.Random(chance.random()))
    do_in_child("sync", fleets[0], "dev", "", 0)  # the parent of children is there from the beginning
    for _ in range(3):
        clock.pass_time(seconds=1.5 * INTERVAL)
        life.sweep()
    states = Counter(environment.row.drift_status for fleet in fleets for environment in fleet.environments.values())
    print(f"at first: {dict(states)}", flush=True)
    return Day(seed, hours, life, installed, admin_url, folder, host, report, minutes)


@contextmanager
def own_temporary(folder: Path) -> Iterator[None]:
    """Temporary files of this process and its children lie in this directory."""
    folder.mkdir()
    before, variable = tempfile.tempdir, os.environ.get("TMPDIR")
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
        if variable is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = variable


@contextmanager
def new_installation(home: Path) -> Iterator[Installation]:
    """An installation with an embedded PostgreSQL of its own, and the key that children know; deleted in the end."""
    try:
        with open_installation(Settings(home=home, database_url=None, secret_key=SecretStr(TEST_KEY))) as opened:
            yield opened
    finally:
        EmbeddedPostgres(home).destroy()


def main() -> None:
    """From the command line. Ended by SIGTERM, it takes its database along."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parser = argparse.ArgumentParser(prog="simulated_day")
    parser.add_argument("--hours", type=int, default=HOURS)
    parser.add_argument("--tenants", type=int, default=TENANTS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--report", type=Path, default=REPORT)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of wall time, after which the day ends early")
    asked = parser.parse_args()
    show(measure(asked.hours, asked.tenants, asked.seed, asked.report, asked.minutes), "simulated_day")


if __name__ == "__main__":
    main()
