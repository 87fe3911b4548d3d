"""A use case in a process of its own, so that it can be killed, told what to do on its standard input."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from wfops_pipelines import failpoints
from wfops_pipelines.domain.incident import Resolution
from wfops_pipelines.services.canonical_deletion import delete_canonical
from wfops_pipelines.services.detect_drift import check_drift
from wfops_pipelines.services.export_environment import export_environment
from wfops_pipelines.services.incident_resolution import Choice, reconcile_incident
from wfops_pipelines.services.promotion_execution import execute_promotion
from wfops_pipelines.services.promotion_rollback import roll_back_promotion
from wfops_pipelines.services.sync_environment import sync_environment
from wfops_pipelines.services.sync_repository import sync_repository
from wfops_pipelines.store.roles import Urls
from wfops_pipelines.store.secrets import SecretBox
from wfops_pipelines_tests.servers.forks import run_forked
from wfops_pipelines_tests.servers.postgres import TEST_KEY
from wfops_pipelines_tests.services.fleet import ACTOR, Clock, Environment, run, services_over

USE_CASES: dict[str, Any] = {
    "sync": sync_environment, "read_git": sync_repository, "export": export_environment, "check": check_drift,
    "revert": lambda services, context, _: reconcile_incident(services, context, 1, Choice(Resolution.REVERT)),
    "promote": lambda services, context, _: reconcile_incident(services, context, 1, Choice(Resolution.PROMOTE)),
    "delete": lambda services, context, _: delete_canonical(services, context, "Orders"),
    "execute": lambda services, context, _: execute_promotion(services, context, 2),
    "roll back": lambda services, context, _: roll_back_promotion(services, context, 2, reason="it was wrong"),
}


def run_in_child(environment: Environment, use_case: str, failpoint: str) -> subprocess.CompletedProcess[str]:
    """Run a use case on the environment in a child with a failpoint armed; wait for its end."""
    fleet = environment.fleet
    urls = {name: getattr(fleet.urls, name) for name in ("owner", "app", "system", "dagster")}
    order = {"urls": urls, "home": str(fleet.home), "tenant": fleet.slug, "environment": environment.slug,
             "use_case": use_case, "failpoint": failpoint, "batch_size": fleet.services.limits.batch_size,
             "now": fleet.clock.time.isoformat()}
    fleet.clock.pass_time(minutes=1)
    return run_forked(f"{__name__}:main", text=json.dumps(order), timeout=600)


def main() -> None:
    order = json.loads(sys.stdin.read())
    services = services_over(Urls(**order["urls"]), SecretBox([TEST_KEY]), Path(order["home"]),
                             Clock(datetime.fromisoformat(order["now"])), batch_size=order["batch_size"])
    context = services.context(order["tenant"], actor=ACTOR)
    environment = services.environment(context, order["environment"])
    failpoints.arm(order["failpoint"])
    print(json.dumps(run(USE_CASES[order["use_case"]](services, context, environment)).as_json(), default=str))
