"""Deployments by the running system: started when their time has come (it prints how soon: §12 wants 15 seconds), and
brought to their end when the worker that carries one out is killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from wfops_pipelines.n8n.sandbox import Sandbox, create_sandbox
from wfops_pipelines.n8n.sandbox.serve import serve_many
from wfops_pipelines_tests.cli.fleet import CommandLine
from wfops_pipelines_tests.end_to_end.real_fleet import own_home
from wfops_pipelines_tests.servers.processes import eventually
from wfops_pipelines_tests.servers.system import system_up
from wfops_pipelines_tests.services.fleet import workflow

pytestmark = pytest.mark.system

WORKFLOWS = 5


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[tuple[CommandLine, dict[str, Sandbox]]]:
    """`wfops up` over tenant ``acme`` with two sandboxes, of which dev has workflows."""
    sandboxes = {slug: create_sandbox() for slug in ("dev", "staging")}
    sandboxes["dev"].state.seed_workflows(workflow(f"Workflow {number}") for number in range(WORKFLOWS))
    with serve_many(list(sandboxes.values())) as urls, own_home(folder) as wfops:
        environments = [{"slug": slug, "class": slug, "url": url, "api_key": f"env:KEY_{slug.upper()}"}
                        for (slug, url) in zip(sandboxes, urls, strict=True)]
        path = wfops.cwd / "fleet.yaml"
        path.write_text(yaml.safe_dump({"version": 1, "tenants": [{"slug": "acme", "environments": environments}]}))
        keys = {f"KEY_{slug.upper()}": sandbox.api_key for slug, sandbox in sandboxes.items()}
        applied = wfops("apply", "-f", path, **keys)
        assert applied.code == 0, applied.err
        with system_up(Path(wfops.variables["WFOPS_HOME"]), folder / "up.log", settings) as child:
            child.url()
            yield wfops, sandboxes


def shown(wfops: CommandLine, deployment_id: str) -> dict[str, Any]:
    done = wfops("deploy", "show", deployment_id, "--json")
    assert done.code == 0, done.err
    found: dict[str, Any] = done.json
    return found


def ended(wfops: CommandLine, deployment_id: str, *, within: float = 120) -> dict[str, Any]:
    """The deployment when it has ended."""
    eventually(lambda: shown(wfops, deployment_id)["status"] in ("completed", "failed", "cancelled"), within=within)
    return shown(wfops, deployment_id)


def test_a_deployment_is_started_when_its_time_has_come(tmp_path: Path, record_property: pytest.RecordProperty) -> None:
    with running(tmp_path) as (wfops, sandboxes):
        lags = []
        for seconds in (6, 9):
            at = datetime.now(UTC) + timedelta(seconds=seconds)
            made = wfops("deploy", "schedule", "acme", "--from", "dev", "--to", "staging", "--at", at.isoformat(), "--json")
            assert made.code == 0, made.err
            done = ended(wfops, made.json["deployment_id"])
            assert done["status"] == "completed", done
            lags.append(datetime.fromisoformat(done["started_at"]) - datetime.fromisoformat(done["starts_at"]))
        print(f"\nfrom its time to running: {', '.join(f'{lag.total_seconds():.1f} s' for lag in lags)}")
        record_property("seconds_from_its_time_to_running", [lag.total_seconds() for lag in lags])
        assert len(sandboxes["staging"].state.workflows) == WORKFLOWS
        assert all(lag >= timedelta(0) for lag in lags), lags


def test_a_worker_that_is_killed_while_it_writes_is_recovered_by_the_system(tmp_path: Path) -> None:
    # Armed in every process; only a run that creates workflows in n8n meets it for the third time.
    with running(tmp_path, WFOPS_FAILPOINTS="runtime.create.after=kill@3", WFOPS_RECOVERY_CHECK_INTERVAL_SECONDS="10",
                 WFOPS_DEAD_RUN_CHECK_INTERVAL_SECONDS="10") as (wfops, sandboxes):
        made = wfops("deploy", "schedule", "acme", "--from", "dev", "--to", "staging", "--json").json
        done = ended(wfops, made["deployment_id"], within=240)
        first = done["run_id"]
        promotion = wfops("promotion", "show", done["promotion"], "--json").json
        names = [record.name for record in sandboxes["staging"].state.workflows.values() if not record.archived]
        if promotion["status"] == "completed":
            assert done["status"] == "completed" and done["counts"]["success"] == WORKFLOWS
            assert sorted(names) == sorted(record.name for record in sandboxes["dev"].state.workflows.values())
        else:
            assert (promotion["status"], done["status"], names) == ("rolled_back", "failed", [])
        operations = wfops("operation", "list", "acme", "-e", "staging", "--json").json
        runs = {row["run_id"] for row in operations if row["kind"] == "recovery"}
        assert runs and first not in runs
