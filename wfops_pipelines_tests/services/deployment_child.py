"""A deployment in a process of its own, so that it can be killed, told what to do on its standard input."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from uuid import UUID

from wfops_pipelines import failpoints
from wfops_pipelines.services.deployment_run import run_deployment
from wfops_pipelines.store.roles import Urls
from wfops_pipelines.store.secrets import SecretBox
from wfops_pipelines_tests.servers.forks import run_forked
from wfops_pipelines_tests.servers.postgres import TEST_KEY
from wfops_pipelines_tests.services.fleet import Clock, FleetUnderTest, run, services_over


def deploy_in_child(fleet: FleetUnderTest, deployment_id: UUID, failpoint: str) -> subprocess.CompletedProcess[str]:
    """Carry a deployment out in a child with a failpoint armed, as run ``killed``; wait for its end."""
    urls = {name: getattr(fleet.urls, name) for name in ("owner", "app", "system", "dagster")}
    order = {"urls": urls, "home": str(fleet.home), "tenant": fleet.slug, "deployment": str(deployment_id),
             "failpoint": failpoint, "now": fleet.clock.time.isoformat()}
    fleet.clock.pass_time(minutes=1)
    return run_forked(f"{__name__}:main", text=json.dumps(order), timeout=120)


def main() -> None:
    order = json.loads(sys.stdin.read())
    services = services_over(Urls(**order["urls"]), SecretBox([TEST_KEY]), Path(order["home"]),
                             Clock(datetime.fromisoformat(order["now"])))
    context = services.context(order["tenant"], actor="system:scheduled_deployments", run_id="killed")
    failpoints.arm(order["failpoint"])
    done = run(run_deployment(services, context, UUID(order["deployment"]), patience=0))
    print(json.dumps(done.as_json(), default=str))
