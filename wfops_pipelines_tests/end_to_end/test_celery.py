"""A sweep on two Celery workers. One loses its process in the middle of it, then one is killed as a whole: every environment is
checked once, and nothing is left behind (§20)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
import yaml
from sqlalchemy import text

from wfops_pipelines.bootstrap import Installation, open_installation
from wfops_pipelines.defs.launch import dagster_environment, dagster_instance
from wfops_pipelines.n8n.sandbox import Sandbox, create_sandbox
from wfops_pipelines.n8n.sandbox.serve import serve_many
from wfops_pipelines.settings import Settings
from wfops_pipelines_tests.cli.fleet import CommandLine, workflow
from wfops_pipelines_tests.deploy.files import worker_command
from wfops_pipelines_tests.end_to_end.real_fleet import own_home
from wfops_pipelines_tests.servers.bare import make_bare
from wfops_pipelines_tests.servers.forks import Forked, start_forked
from wfops_pipelines_tests.servers.processes import child_environment, eventually
from wfops_pipelines_tests.servers.redis import redis_program, running_redis

pytestmark = pytest.mark.system

TENANTS, ENVIRONMENTS = ("acme", "bolt", "crane"), ("one", "two", "three", "four")
KEYS = [f"{environment}|{tenant}" for environment in ENVIRONMENTS for tenant in TENANTS]
JOB = "distributed_sweep"
REDELIVERY = 8  # seconds; less than a step may take here, so that some begin twice
GENEROUS = 400.0  # seconds, for a machine that is busy with other things
LATENCY = 400  # milliseconds
HELD = """
SELECT e.slug || '|' || t.slug AS key, l.holder FROM environment_leases l
JOIN environments e ON e.tenant_id = l.tenant_id AND e.id = l.environment_id JOIN tenants t ON t.tenant_id = l.tenant_id
WHERE l.released_at IS NULL AND e.last_drift_check_at IS NULL"""
OPERATIONS = """
SELECT e.slug || '|' || t.slug AS key, max(o.state) AS state, max(o.attempts) AS attempts, count(*) AS number
FROM operations o JOIN environments e ON e.tenant_id = o.tenant_id AND e.id = o.environment_id
JOIN tenants t ON t.tenant_id = o.tenant_id WHERE o.kind = 'drift_detection' GROUP BY 1"""


@dataclass
class Worker:
    """One Celery worker, a process group of its own as on a machine of its own."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def is_ready_or_gone(self) -> bool:
        """Whether it takes work, or has ended."""
        return self.process.poll() is not None or " ready." in self.log.read_text(errors="replace")

    def pids(self) -> set[int]:
        """Of its processes."""
        with suppress(psutil.NoSuchProcess):
            return {self.process.pid, *(child.pid for child in psutil.Process(self.process.pid).children(recursive=True))}
        return set()

    def die(self) -> None:
        """As when its machine loses power."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)


@dataclass(frozen=True)
class AtWork:
    """A worker, its process that holds an environment, and which one that is (its key)."""

    worker: Worker
    pid: int
    key: str


@dataclass
class Given:
    """An installation with a fleet, a broker, and two workers."""

    installation: Installation
    instance: dg.DagsterInstance
    workers: dict[str, Worker]
    environment: dict[str, str]
    folder: Path

    def rows(self, query: str) -> list[Any]:
        """What the store holds, of every tenant."""
        with self.installation.services.store.system() as system:
            return list(system._connection.execute(text(query)))

    def checked(self) -> set[str]:
        """Environments that were checked, as keys."""
        return {f"{row.slug}|{row.tenant}" for row in self.rows(
            "SELECT e.slug, t.slug AS tenant FROM environments e JOIN tenants t USING (tenant_id)"
            " WHERE e.last_drift_check_at IS NOT NULL")}

    def run(self) -> dg.DagsterRun:
        """The sweep's run."""
        [run] = self.instance.get_runs(dg.RunsFilter(job_name=JOB))
        return run

    def events(self, kind: dg.DagsterEventType) -> list[dg.DagsterEvent]:
        """The run's events of a kind."""
        if not (runs := self.instance.get_runs(dg.RunsFilter(job_name=JOB))):
            return []
        records = self.instance.get_records_for_run(runs[0].run_id, of_type=kind).records
        return [record.event_log_entry.get_dagster_event() for record in records]

    def hands(self) -> list[tuple[str, str]]:
        """Which worker got which share, in order: (step, worker)."""
        found = []
        for event in self.events(dg.DagsterEventType.ENGINE_EVENT):
            worker = event.engine_event_data.metadata.get("Celery worker")
            if worker is not None and event.step_key is not None and "[" in event.step_key:
                found.append((event.step_key, str(worker.value).split("@", 1)[0]))
        return found

    def at_work(self) -> AtWork | None:
        """A worker in the middle of the sweep: some environment is checked, and it is at another one."""
        if not self.checked():
            return None
        for row in self.rows(HELD):
            for worker in self.workers.values():
                if row.holder["pid"] in worker.pids():
                    return AtWork(worker, row.holder["pid"], row.key)
        return None

    def next_at_work(self) -> AtWork:
        """Wait until somebody is in the middle of it."""
        found: list[AtWork] = []

        def somebody_is() -> bool:
            found.extend(filter(None, [self.at_work()]))
            return bool(found)

        eventually(somebody_is, within=GENEROUS)
        return found[0]


@pytest.fixture
def given(tmp_path: Path) -> Iterator[Given]:
    redis_program()
    sandboxes = {key: create_sandbox(api_key="key") for key in KEYS}
    with ExitStack() as stack:
        urls = dict(zip(KEYS, stack.enter_context(serve_many(list(sandboxes.values()))), strict=True))
        wfops = stack.enter_context(own_home(tmp_path))
        declare(wfops, urls, sandboxes)
        broker = stack.enter_context(running_redis(tmp_path))
        installation = stack.enter_context(open_installation(Settings(home=Path(wfops.variables["WFOPS_HOME"]))))
        kept = dict(os.environ)
        stack.callback(lambda: (os.environ.clear(), os.environ.update(kept)))
        instance = stack.enter_context(dagster_instance(installation))
        environment = {**child_environment(), **dagster_environment(installation), "WFOPS_CELERY_BROKER_URL": broker,
                       "WFOPS_CELERY_REDELIVERY_SECONDS": str(REDELIVERY), "WFOPS_SWEEP_CONCURRENCY": "1",
                       "WFOPS_LEASE_WAIT_SECONDS": "20"}
        workers = stack.enter_context(two_workers(tmp_path, environment))
        yield Given(installation, instance, workers, environment, tmp_path)


def declare(wfops: CommandLine, urls: dict[str, str], sandboxes: dict[str, Sandbox]) -> None:
    """Tenants with an n8n per environment, each with two workflows that Git has as well, and slow to answer."""
    tenants = []
    for tenant in TENANTS:
        repository = make_bare(wfops.cwd / f"{tenant}.git")
        files: dict[str | bytes, Any] = {}
        for environment in ENVIRONMENTS:
            sandbox = sandboxes[f"{environment}|{tenant}"]
            documents = [workflow(name) for name in ("Orders", "Reports")]
            for workflow_id, document in zip(sandbox.state.seed_workflows(documents), documents, strict=True):
                files[f"{environment}/{document['name']}.json"] = json.dumps({**document, "id": workflow_id}).encode()
            sandbox.faults.add("latency", method="GET", path="/workflows$", ms=LATENCY)
        repository.commit(files)
        tenants.append({"slug": tenant, "repository": {"url": repository.url, "branch": "main"}, "environments": [
            {"slug": environment, "class": "staging", "url": urls[f"{environment}|{tenant}"], "api_key": "env:KEY",
             "folder": environment} for environment in ENVIRONMENTS]})
    path = wfops.cwd / "fleet.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "tenants": tenants}))
    assert wfops("apply", "-f", path, KEY="key").code == 0


@contextmanager
def two_workers(folder: Path, environment: dict[str, str]) -> Iterator[dict[str, Worker]]:
    """Workers as ``deploy/`` starts them."""
    workers: dict[str, Worker] = {}
    logs = {name: folder / f"{name}.log" for name in ("left", "right")}
    try:
        for name, log in logs.items():
            with log.open("wb") as output:
                workers[name] = Worker(name, subprocess.Popen(
                    [sys.executable, "-m", *worker_command(), "--loglevel", "info", "--hostname", f"{name}@%h"], env=environment, cwd=folder,
                    stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True), log)
        for worker in workers.values():
            eventually(worker.is_ready_or_gone, within=GENEROUS)
            assert worker.process.poll() is None, worker.log.read_text(errors="replace")
        yield workers
    finally:
        for worker in workers.values():
            if worker.process.poll() is None:
                worker.die()


@contextmanager
def sweep(given: Given) -> Iterator[Forked]:
    """The run that hands the steps out, as a run worker does it."""
    config = given.folder / "sweep.yaml"
    config.write_text(yaml.safe_dump({"ops": {"divide_sweep": {"config": {"steps": 2, "chunk_size": 1}}}}))
    process = start_forked("dagster._cli:main", "job", "execute", "-m", "wfops_pipelines.definitions", "-j", JOB, "-c", str(config),
                           cwd=given.folder, environment=given.environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def test_workers_that_die_in_the_middle_of_a_sweep_cost_no_environment_its_check(given: Given) -> None:
    with sweep(given) as process:
        first = given.next_at_work()
        os.kill(first.pid, signal.SIGKILL)  # as the kernel does when memory runs out: the worker itself lives
        second = given.next_at_work()
        second.worker.die()
        code = process.wait(GENEROUS)
    assert code == 0, process.communicate()[1][-5000:]
    run = given.run()
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert "redis" not in f"{run.run_config} {run.tags}"  # the broker's URL may hold a password

    survivor = next(name for name in given.workers if name != second.worker.name)
    taken_over = {step for step, worker in given.hands() if worker == second.worker.name}
    assert taken_over <= {step for step, worker in given.hands() if worker == survivor}

    assert given.checked() == set(KEYS)
    checks = given.rows("SELECT sum(checks) AS checks FROM drift_check_history GROUP BY environment_id")
    assert [row.checks for row in checks] == [1] * len(KEYS)
    operations = {row.key: row for row in given.rows(OPERATIONS)}
    assert set(operations) == set(KEYS)
    assert {key for key, row in operations.items() if row.number != 1} == set()
    assert {row.state for row in operations.values()} == {"completed"}
    assert {key for key, row in operations.items() if row.attempts > 1} <= {first.key, second.key}
    assert given.rows("SELECT 1 FROM environment_leases WHERE released_at IS NULL") == []
    sweeps = Counter(row.state for row in given.rows("SELECT state FROM sweeps"))
    # The second worker may end its share between being seen at work and being killed: then only the first sweep died.
    assert sweeps["running"] == 0 and sweeps["died"] in (1, 2), sweeps
