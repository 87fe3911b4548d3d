"""A sweep in a process of its own, so that it can be killed: told what to do on its standard input."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from wfops_pipelines import failpoints
from wfops_pipelines.services.sweeps import sweep
from wfops_pipelines.store.roles import Urls
from wfops_pipelines.store.secrets import SecretBox
from wfops_pipelines_tests.servers.forks import start_forked
from wfops_pipelines_tests.servers.postgres import TEST_KEY
from wfops_pipelines_tests.services.fleet import Clock, FleetUnderTest, services_over


def sweep_apart(fleet: FleetUnderTest, failpoint: str, *, interval: float) -> int:
    """The exit code of a process that sweeps with a failpoint armed, environment by environment."""
    urls = {name: getattr(fleet.urls, name) for name in ("owner", "app", "system", "dagster")}
    order = {"urls": urls, "home": str(fleet.home), "failpoint": failpoint, "now": fleet.clock.time.isoformat(),
             "interval": interval}
    return start_forked(f"{__name__}:main", text=json.dumps(order)).wait(120)


def main() -> None:
    order = json.loads(sys.stdin.read())
    services = services_over(Urls(**order["urls"]), SecretBox([TEST_KEY]), Path(order["home"]),
                             Clock(datetime.fromisoformat(order["now"])))
    services = replace(services, limits=replace(services.limits, sweep_chunk=1, sweep_window=1))
    failpoints.arm(order["failpoint"])
    asyncio.run(sweep(services, interval=order["interval"], actor="system:drift_detection"))
