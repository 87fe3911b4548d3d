"""A round of the outbox in a process of its own, so that it can be killed: told what to do on its standard input."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

from wfops_pipelines import failpoints
from wfops_pipelines.services.send_notifications import send_waiting
from wfops_pipelines.store.roles import Urls
from wfops_pipelines.store.secrets import SecretBox
from wfops_pipelines_tests.servers.forks import Forked, start_forked
from wfops_pipelines_tests.servers.postgres import TEST_KEY
from wfops_pipelines_tests.services.fleet import Clock, FleetUnderTest, services_over


def start_round(fleet: FleetUnderTest, failpoint: str = "") -> Forked:
    """A process that does one round, with a failpoint armed; its time is the fleet's."""
    urls = {name: getattr(fleet.urls, name) for name in ("owner", "app", "system", "dagster")}
    order = {"urls": urls, "home": str(fleet.home), "failpoint": failpoint, "now": fleet.clock.time.isoformat()}
    return start_forked(f"{__name__}:main", text=json.dumps(order))


def main() -> None:
    order = json.loads(sys.stdin.read())
    services = services_over(Urls(**order["urls"]), SecretBox([TEST_KEY]), Path(order["home"]),
                             Clock(datetime.fromisoformat(order["now"])))
    failpoints.arm(order["failpoint"])
    send_waiting(services)
