"""A run worker that is killed in the middle of a sync of 1,000 workflows: Dagster tries again, and no stored work is
repeated (§6, §20)."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from wfops_pipelines.bootstrap import open_installation
from wfops_pipelines.domain.audit import AuditEvent, decode
from wfops_pipelines.embedded.dagster_web import DagsterWeb
from wfops_pipelines.n8n.sandbox import Sandbox, create_sandbox
from wfops_pipelines.n8n.sandbox.generated import generate_workflow
from wfops_pipelines.n8n.sandbox.serve import serve
from wfops_pipelines.services.audit_trail import verify_tenant
from wfops_pipelines.settings import Settings
from wfops_pipelines_tests.cli.fleet import CommandLine
from wfops_pipelines_tests.end_to_end.real_fleet import own_home
from wfops_pipelines_tests.servers.processes import eventually

pytestmark = pytest.mark.system

WORKFLOWS, BATCH, KILLED_AFTER = 1000, 25, 30
# Armed in every worker, met by the first alone: the second one has fewer batches left than that.
FAILPOINT = f"sync.batch.after_commit=kill@{KILLED_AFTER}"
_RUNS = "query($run: ID!) { runGroupOrError(runId: $run) { __typename ... on RunGroup { runs { runId status } } } }"


def test_a_run_worker_killed_in_the_middle_of_a_sync_is_tried_again_and_repeats_nothing(tmp_path: Path) -> None:
    sandbox = create_sandbox(rng=random.Random(1))
    rng = random.Random(2)
    ids = sandbox.state.seed_workflows(generate_workflow(rng, size=6) for _ in range(WORKFLOWS))
    sandbox.faults.add("latency", method="GET", path="/workflows$", ms=200)
    with serve(sandbox) as url, own_home(tmp_path) as wfops:
        declare(wfops, url, sandbox)
        with running_system(wfops) as web:
            first = wfops("sync", "acme", "dev", "--detach", "--json").json["run_id"]
            eventually(lambda: [status for _, status in attempts(web, first)] == ["FAILURE", "SUCCESS"], within=300)
            second = attempts(web, first)[1][0]
        with open_installation(Settings(home=Path(wfops.variables["WFOPS_HOME"]))) as installed:
            services = installed.services
            context = services.context("acme", actor="local:test")
            environment = services.environment(context, "dev")
            with services.store.read(context) as work:
                stored = work.mappings.of_environment(environment.id)
                syncs = [o for o in work.operations.recent(limit=100) if o.kind == "environment_sync"]
                events = [decode(encoded) for _, _, _, encoded in work.audit.chain()]
            assert verify_tenant(services, context).ok

    assert sorted(row.workflow_id for row in stored) == sorted(ids)
    assert [(o.state, o.attempts) for o in syncs] == [("completed", 2)]
    batches = [event for event in events if event.action == "environment.batch_synced"]
    assert {event.operation_id for event in batches} == {syncs[0].id}
    assert Counter(event.run_id for event in batches) == {first: KILLED_AFTER, second: WORKFLOWS // BATCH - KILLED_AFTER}
    assert created_once(batches) == set(ids)
    assert not any(event.details["updated"] for event in batches)


def created_once(batches: list[AuditEvent]) -> set[str]:
    """The ids that the events say were created; none is in two of them."""
    created = Counter(i for event in batches for i in event.details["created"])
    assert set(created.values()) == {1}
    return set(created)


def declare(wfops: CommandLine, url: str, sandbox: Sandbox) -> None:
    """Tenant ``acme`` with one environment."""
    environment: dict[str, Any] = {"slug": "dev", "class": "dev", "url": url, "api_key": "env:KEY"}
    path = wfops.cwd / "fleet.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "tenants": [{"slug": "acme", "environments": [environment]}]}))
    assert wfops("apply", "-f", path, KEY=sandbox.api_key).code == 0


@contextmanager
def running_system(wfops: CommandLine) -> Iterator[DagsterWeb]:
    """``wfops up``, with the failpoint armed in all that it starts."""
    record = Path(wfops.variables["WFOPS_HOME"]) / "run" / "up.json"
    with (wfops.cwd / "up.log").open("wb") as log:
        process = subprocess.Popen(wfops.command("up", "--port", "0"), cwd=wfops.cwd, stdout=log, stderr=log,
                                   stdin=subprocess.DEVNULL, env=wfops.environment(WFOPS_FAILPOINTS=FAILPOINT))
    try:
        eventually(lambda: process.poll() is not None or record.exists(), within=180)
        assert process.poll() is None, (wfops.cwd / "up.log").read_text()
        web = DagsterWeb(json.loads(record.read_text())["url"])
        yield web
        web.close()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def attempts(web: DagsterWeb, run_id: str) -> list[tuple[str, str]]:
    """The run and its retries, oldest first: ids and statuses."""
    group = web.ask(_RUNS, run=run_id)["runGroupOrError"]
    runs = {run["runId"]: run["status"] for run in group.get("runs", [])}
    return [(i, runs[i]) for i in sorted(runs, key=lambda i: i != run_id)]
