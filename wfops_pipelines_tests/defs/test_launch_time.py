"""A busy machine: workers take their time to come up, and their runs are not given up on meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import yaml

from wfops_pipelines.bootstrap import Installation
from wfops_pipelines.defs import launch
from wfops_pipelines.settings import Settings

ASK = "from dagster._grpc.client import DagsterGrpcClient as client; print(client.start_run.__globals__['DEFAULT_GRPC_TIMEOUT'])"
QUIET_MACHINE = 60  # seconds: Dagster's own patience, within which a busy one does not start a worker


def environment(home: Path) -> dict[str, str]:
    """What Dagster's processes of an installation get."""
    installed = SimpleNamespace(settings=Settings(home=home), dagster_url=lambda: "postgresql+psycopg2://nowhere/dagster")
    return launch.dagster_environment(cast("Installation", installed))


def test_the_daemon_waits_longer_for_a_worker_than_a_busy_machine_needs(tmp_path: Path) -> None:
    said = subprocess.run([sys.executable, "-c", ASK], env={**os.environ, **environment(tmp_path)}, capture_output=True, text=True,
                          check=True)
    assert int(said.stdout) > QUIET_MACHINE


def test_and_gives_up_before_run_monitoring_does(tmp_path: Path) -> None:
    configuration: dict[str, Any] = yaml.safe_load(Path(launch.__file__).with_name("dagster.yaml").read_text())
    assert int(environment(tmp_path)["DAGSTER_GRPC_TIMEOUT_SECONDS"]) < configuration["run_monitoring"]["start_timeout_seconds"]
