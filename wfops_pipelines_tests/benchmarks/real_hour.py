"""One real hour of 20 tenants × 3 environments with the daemon running (issue: fleet scale): people work, things go wrong, and at
the end nothing is stuck, nothing was leaked and memory is flat.

``wfops up`` with schedules that are short enough for much to happen; n8n are sandboxes in a process of their own. What happens is
by chance from a seed. Minute by minute it is written to ``reports/real_hour.json``.

``python -m wfops_pipelines_tests.benchmarks.real_hour [--minutes N] [--seed N]`` prints the rows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from wfops_pipelines.bootstrap import open_installation
from wfops_pipelines.domain.fleet import load_fleet
from wfops_pipelines.postgres.embedded import EmbeddedPostgres
from wfops_pipelines.services.apply_fleet import apply_fleet
from wfops_pipelines.services.export_environment import export_environment
from wfops_pipelines.settings import Settings
from wfops_pipelines_tests.benchmarks import hour_end as end
from wfops_pipelines_tests.benchmarks.hour_events import Events
from wfops_pipelines_tests.benchmarks.hour_fleet import Tenant, fleet
from wfops_pipelines_tests.benchmarks.hour_watch import (
    Sample,
    Watched,
    connections,
    postgres_processes,
    sample,
    temporary_files,
)
from wfops_pipelines_tests.benchmarks.rows import Row, row, show
from wfops_pipelines_tests.end_to_end.real_fleet import own_home
from wfops_pipelines_tests.servers import forks
from wfops_pipelines_tests.servers.system import Child, processes_of, system_up

TAKES = "an hour"
TENANTS, MINUTES = 20, 60.0
INTERVAL = 120.0  # seconds between drift checks, and looks at Git
PATIENCE = 420.0  # until it is quiet
OLD_RUN = 300.0  # a run that has not ended by then is stuck
REPORT = Path(__file__).resolve().parents[2] / "reports" / "real_hour.json"
SETTINGS = {
    "WFOPS_DRIFT_CHECK_INTERVAL_SECONDS": f"{INTERVAL:g}", "WFOPS_GIT_POLL_INTERVAL_SECONDS": f"{INTERVAL:g}",
    "WFOPS_EXPORT_INTERVAL_SECONDS": "1800", "WFOPS_SNAPSHOT_CHECK_INTERVAL_SECONDS": "120",
    "WFOPS_TTL_CHECK_INTERVAL_SECONDS": "60", "WFOPS_ALERT_RULES_EVALUATION_INTERVAL_SECONDS": "60",
    "WFOPS_RETENTION_CLEANUP_INTERVAL_SECONDS": "900"}


@dataclass(frozen=True, slots=True)
class Asked:
    """How long, how much, and by which chance."""

    minutes: float = MINUTES
    tenants: int = TENANTS
    seed: int = 5
    pause: float = 7.0  # mean seconds between what people do
    fault_pause: float = 30.0  # and between faults
    report: Path = REPORT


def measure(asked: Asked | None = None) -> list[Row]:
    """Rows: what is stuck, what was leaked, what has grown."""
    asked = asked or Asked()
    with tempfile.TemporaryDirectory() as directory:
        report = _hour(Path(directory), asked)
    _write(asked, report)
    rows: list[Row] = report["rows"]
    return rows


def _write(asked: Asked, report: dict[str, Any]) -> None:
    """As far as it has come: an hour that is broken off leaves what it has seen."""
    asked.report.parent.mkdir(parents=True, exist_ok=True)
    asked.report.write_text(json.dumps(report, indent=1, default=str) + "\n")


def _hour(folder: Path, asked: Asked) -> dict[str, Any]:
    rng = random.Random(asked.seed)
    temporary = folder / "tmp"
    temporary.mkdir()
    with ExitStack() as stack:
        tenants = stack.enter_context(fleet(folder, asked.tenants, rng))
        wfops = stack.enter_context(own_home(folder))
        wfops.variables["TMPDIR"] = str(temporary)
        watched = _watched(stack, Path(wfops.variables["WFOPS_HOME"]), temporary)
        _fill(watched.home, folder, tenants)
        ours = {each.pid for each in psutil.Process().children(recursive=True)}  # which serve what stands for n8n
        with system_up(watched.home, folder / "up.log", SETTINGS | {"TMPDIR": str(temporary)}) as child:
            events = Events(tenants, wfops, watched, child.url(), _api(child), rng)
            samples, quiet, checks = _lived(events, watched, asked)
            stop_code = child.end()
            said = child.text
        left = {"processes": [" ".join(each.cmdline())[:200] for each in processes_of(watched.home)],
                "commands": [command for each in psutil.Process().children(recursive=True) if each.pid not in ours
                             and (command := _command(each))],
                "temporary files": [str(path) for path in temporary_files(watched)], "connections": connections(watched)}
        servers = postgres_processes(watched.home)
        stack.close()
        left["postgres"] = [each.pid for each in servers if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    rows = _rows(asked, events, samples, quiet, checks, left, stop_code)
    return {
        "seed": asked.seed, "minutes": asked.minutes, "tenants": asked.tenants, "settings": SETTINGS, "cores": psutil.cpu_count(),
        "done": {name: dict(counts) for name, counts in sorted(events.done.items())}, "faults": dict(events.faults),
        "surprises": events.surprises, "checks": checks, "left": left, "stop_code": stop_code, "said": said[-4000:],
        "quiet": quiet, "samples": samples, "rows": rows}


def _command(process: psutil.Process) -> str:
    """What one of our children is; nothing for the one that forks commands, and for one that has ended."""
    with suppress(psutil.NoSuchProcess):
        line = process.cmdline()
        return "" if process.ppid() == os.getpid() and forks.__name__ in line else " ".join(line)[:200] or process.name()
    return ""


def _watched(stack: ExitStack, home: Path, temporary: Path) -> Watched:
    """With a hold on PostgreSQL of our own, which outlives ``wfops up``."""
    holder = stack.enter_context(EmbeddedPostgres(home).acquire())
    with open_installation(Settings(home=home)) as installed:
        names = {"store": installed.urls.owner, "dagster": installed.urls.dagster}
    return Watched(home, temporary, holder.admin_url(), {kind: url.rpartition("/")[2].partition("?")[0] for kind, url in names.items()})


def _api(child: Child) -> str:
    found = re.search(r"API: +(http://\S+)", child.text)
    assert found is not None
    return found[1]


def _fill(home: Path, folder: Path, tenants: Sequence[Tenant]) -> None:
    """Every tenant applied, and every environment in its folder in Git."""
    began = time.monotonic()
    with open_installation(Settings(home=home)) as installed:
        services = installed.services

        def one(tenant: Tenant) -> None:
            declared = load_fleet(tenant.document.read_text(), file=tenant.document.name, providers=["n8n"])
            apply_fleet(services, declared, lambda reference: (folder / reference.name).read_text().strip(), actor="benchmark")
            context = services.context(tenant.slug, actor="benchmark")
            for slug in tenant.n8n:
                asyncio.run(export_environment(services, context, services.environment(context, slug)))

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(one, tenants))
    print(f"{len(tenants)} tenants are there after {time.monotonic() - began:.0f} s", flush=True)


def _lived(events: Events, watched: Watched, asked: Asked) -> tuple[list[Sample], Sample, dict[str, Any]]:
    """The hour, and the quiet after it."""
    samples: list[Sample] = []
    began = time.monotonic()

    def look() -> None:
        if not samples or (time.monotonic() - began) / 60 >= samples[-1]["minute"] + 1:
            samples.append(sample(watched, began))
            _tell(samples[-1], events)
            _write(asked, {"samples": samples, "done": events.done, "faults": events.faults, "surprises": events.surprises})

    events.go_on(asked.minutes * 60, pause=asked.pause, fault_pause=asked.fault_pause, each=look)
    samples.append(sample(watched, began))
    events.quieten()
    seconds, stuck = end.wait_until_quiet(watched, INTERVAL, PATIENCE)
    print(f"quiet after {seconds:.0f} s", flush=True)
    broken, chains = end.broken_chains(events.wfops)
    checks = {"seconds until quiet": round(seconds, 1), "stuck": stuck, "broken chains": broken, "chains": chains,
              "runs not ended": end.unended_runs(watched, OLD_RUN)}
    return samples, end.quiet_sample(watched, began), checks


def _tell(one: Sample, events: Events) -> None:
    memory = ", ".join(f"{name} {each['uss']:.0f}" for name, each in one["processes"].items())
    print(f"minute {one['minute']:.0f} at {one['at']}: {memory}, PostgreSQL {one['postgres']['pss']:.0f} MB; {sum(one['counts'].values())} processes, "
          f"connections {one['connections']}, {one['temporary_files']} temporary files; runs {one['runs']}; "
          f"{sum(sum(each.values()) for each in events.done.values())} done, {sum(events.faults.values())} faults, "
          f"{len(events.surprises)} surprises, load {one['load']:.1f}", flush=True)


def _rows(asked: Asked, events: Events, samples: Sequence[Sample], quiet: Sample, checks: dict[str, Any], left: dict[str, Any],
          stop_code: int) -> list[Row]:
    def none(name: str, found: float) -> Row:
        return row(name, found, "", "0", ok=found == 0)

    return [
        row(f"{asked.tenants} tenants × 3 environments, with the daemon", asked.minutes, "min"),
        row("what people did", sum(sum(each.values()) for each in events.done.values()), ""),
        row("faults", sum(events.faults.values()), ""),
        row("runs of Dagster", sum(quiet["runs"].values()), ""),
        row("until all was quiet after it", checks["seconds until quiet"], "s", f"< {PATIENCE:g}", ok=checks["seconds until quiet"] < PATIENCE),
        none("environments, operations, promotions, messages that are stuck", sum(map(len, checks["stuck"].values()))),
        none("runs of Dagster that have not ended", len(checks["runs not ended"])),
        none("audit chains that do not hold", checks["broken chains"]),
        *end.leak_rows(samples, quiet), *end.growth_rows(samples, quiet),
        none("processes left after it was stopped", len(left["processes"]) + len(left["commands"]) + len(left["postgres"])),
        none("temporary files left after it was stopped", len(left["temporary files"])),
        none("connections left after it was stopped", sum(left["connections"].values())),
        none("exit code of wfops up", stop_code),
    ]


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 when every goal is met."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # whoever ends it leaves nothing behind, either
    parser = argparse.ArgumentParser(prog="real_hour", description="An hour of a fleet at work")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--tenants", type=int, default=TENANTS)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--pause", type=float, default=7.0, help="mean seconds between what people do")
    parser.add_argument("--fault-pause", type=float, default=30.0, help="mean seconds between faults")
    parser.add_argument("--report", type=Path, default=REPORT)
    rows = measure(Asked(**vars(parser.parse_args(arguments))))
    show(rows, "real hour")
    return 0 if all(each["ok"] for each in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
