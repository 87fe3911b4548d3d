"""A fleet for the command line: three sandboxes, a bare repository, a database, and ``wfops`` as a process."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from wfops_pipelines.n8n.sandbox import Sandbox, create_sandbox
from wfops_pipelines.n8n.sandbox.serve import serve_many
from wfops_pipelines.store.migrate import upgrade
from wfops_pipelines_tests.servers.bare import BareRepository, make_bare
from wfops_pipelines_tests.servers.forks import run_forked, start_forked
from wfops_pipelines_tests.servers.postgres import TEST_KEY, PostgresServer
from wfops_pipelines_tests.servers.processes import child_environment, eventually

STORAGE_VARIABLE = "WFOPS_DAGSTER_POSTGRES_URL"  # defs.storage, which takes long to import
_WFOPS = "wfops_pipelines.cli.main:main"
CLASSES = {"dev": "dev", "staging": "staging", "prod": "production"}


def workflow(name: str, *, url: str = "https://example.com", active: bool = False) -> dict[str, Any]:
    """A workflow of two nodes; the trigger is one that can be activated."""
    return {
        "name": name, "active": active,
        "nodes": [
            {"id": "1", "name": "Start", "type": "n8n-nodes-base.webhook", "typeVersion": 2, "position": [0, 0],
             "parameters": {"path": name.lower().replace(" ", "-")}},
            {"id": "2", "name": "Call", "type": "n8n-nodes-base.httpRequest", "typeVersion": 4.2, "position": [200, 0],
             "parameters": {"url": url}},
        ],
        "connections": {"Start": {"main": [[{"node": "Call", "type": "main", "index": 0}]]}},
        "settings": {"executionOrder": "v1"},
    }


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output as JSON."""
        return json.loads(self.out)

    @property
    def quiet(self) -> bool:
        """Whether it said nothing beside its result."""
        return self.err == ""


@dataclass
class CommandLine:
    """``wfops`` as a process (``servers.forks``), with nothing of the tester's own settings."""

    cwd: Path
    variables: dict[str, str] = field(default_factory=dict)

    def environment(self, **variables: str | None) -> dict[str, str]:
        """The variables of a process: ours, without any WFOPS_ setting but those given; none removes one."""
        base = {k: v for k, v in child_environment().items() if not k.startswith(("WFOPS_", "DAGSTER_"))}
        merged: Mapping[str, str | None] = {**base, "COLUMNS": "200", "PYTHONIOENCODING": "utf-8", **self.variables, **variables}
        return {k: v for k, v in merged.items() if v is not None}

    def command(self, *arguments: str | Path) -> list[str]:
        """The process to start, for tests about processes: a fresh interpreter."""
        return [sys.executable, "-m", "wfops_pipelines.cli.main", *map(str, arguments)]

    def fresh(self, *arguments: str | Path) -> Done:
        """A command in a fresh interpreter, as users start it."""
        done = subprocess.run(self.command(*arguments), cwd=self.cwd, env=self.environment(), stdin=subprocess.DEVNULL,
                              capture_output=True, encoding="utf-8", check=False)
        return Done(done.returncode, done.stdout, done.stderr)

    def at_a_terminal(self, *arguments: str | Path, answers: Sequence[str]) -> Done:
        """A command, with somebody there who types the answers."""
        keyboard, terminal = pty.openpty()
        try:
            os.write(keyboard, "".join(f"{answer}\n" for answer in answers).encode())
            done = run_forked(_WFOPS, *map(str, arguments), cwd=self.cwd, environment=self.environment(), stdin=terminal)
        finally:
            os.close(keyboard)
            os.close(terminal)
        return Done(done.returncode, done.stdout, done.stderr)

    def interrupted(self, *arguments: str | Path, when: Callable[[], bool]) -> Done:
        """A command, and Ctrl-C as soon as it is so."""
        child = start_forked(_WFOPS, *map(str, arguments), cwd=self.cwd, environment=self.environment())
        eventually(when)
        os.kill(child.pid, signal.SIGINT)
        return Done(child.wait(60), *child.communicate())

    def __call__(self, *arguments: str | Path, text: str | None = None, **variables: str | None) -> Done:
        done = run_forked(_WFOPS, *map(str, arguments), cwd=self.cwd,
                          environment=self.environment(**variables), text=text)
        return Done(done.returncode, done.stdout, done.stderr)


@dataclass
class Fleet:
    """One tenant, ``acme``, with an n8n per environment."""

    wfops: CommandLine
    sandboxes: dict[str, Sandbox]
    urls: dict[str, str]
    repository: BareRepository
    document: Path
    database: dict[str, str]

    def seed(self) -> None:
        """Three workflows in each n8n; two of them are active."""
        for sandbox in self.sandboxes.values():
            sandbox.state.seed_workflows([
                workflow("Orders", active=True), workflow("Invoices"), workflow("Reports", active=True)])

    def delete(self, environment: str, name: str) -> None:
        """Somebody deletes a workflow in n8n."""
        answer = httpx.delete(f"{self.urls[environment]}/api/v1/workflows/{self.workflow_id(environment, name)}",
                              headers={"X-N8N-API-KEY": f"key-{environment}"})
        answer.raise_for_status()

    def workflow_id(self, environment: str, name: str) -> str:
        """The n8n id of a workflow."""
        return next(w.id for w in self.sandboxes[environment].state.workflows.values() if w.name == name)

    def edit(self, environment: str, name: str, **changes: Any) -> None:
        """Somebody edits a workflow in n8n's editor."""
        self.sandboxes[environment].state.edit(self.workflow_id(environment, name), **changes)


def fleet_document(urls: Mapping[str, str], repository: str) -> str:
    """fleet.yaml of one tenant; keys are in files beside it."""
    environments = "\n".join(
        f"      - {{slug: {slug}, class: {CLASSES[slug]}, url: '{url}', api_key: 'file:keys/{slug}', folder: {slug}}}"
        for slug, url in urls.items())
    stages = "          - {source: dev, target: staging}\n          - {source: staging, target: prod}\n"
    return (f"version: 1\ntenants:\n  - slug: acme\n    name: Acme Corp\n    repository: {{url: '{repository}', branch: main}}\n"
            f"    environments:\n{environments}\n    pipelines:\n      - name: standard\n        stages:\n{stages}")


def database_settings(server: PostgresServer) -> dict[str, str]:
    """The settings for new databases of the server that the tests share, with their tables: what makes those from nothing is
    tested in ``store``, ``embedded`` and ``test_at_once``."""
    urls = server.create_database(upgrade)
    return {"WFOPS_DATABASE_OWNER_URL": urls.owner, "WFOPS_DATABASE_APP_URL": urls.app,
            "WFOPS_DATABASE_SYSTEM_URL": urls.system, "WFOPS_DAGSTER_DATABASE_URL": server.create_dagster_database(with_dagster_tables),
            "WFOPS_SECRET_KEY": TEST_KEY}


def with_dagster_tables(url: str) -> None:
    """Make the tables of Dagster's storage, as the first process that opens it does."""
    done = run_forked(f"{__name__}:make_dagster_tables", environment={
        **child_environment(), STORAGE_VARIABLE: url.replace("postgresql://", "postgresql+psycopg2://", 1)})
    assert done.returncode == 0, done.stderr


def make_dagster_tables() -> None:
    """In a process of its own, which has Dagster imported."""
    from wfops_pipelines.defs.storage import InstallationStorage  # noqa: PLC0415 - the tests themselves need no Dagster

    InstallationStorage.from_config_value(None, {})


@contextmanager
def running_fleet(server: PostgresServer, folder: Path) -> Iterator[Fleet]:
    """Servers, repository and document; nothing is applied yet."""
    with ExitStack() as stack:
        sandboxes = {slug: create_sandbox(api_key=f"key-{slug}") for slug in CLASSES}
        urls = dict(zip(CLASSES, stack.enter_context(serve_many(list(sandboxes.values()))), strict=True))
        (folder / "keys").mkdir()
        for slug in CLASSES:
            (folder / "keys" / slug).write_text(f"key-{slug}\n")
        repository = make_bare(folder / "acme.git")
        document = folder / "fleet.yaml"
        document.write_text(fleet_document(urls, repository.url))
        database = database_settings(server)
        try:
            wfops = CommandLine(folder, {**database, "WFOPS_HOME": str(folder / "home"), "HOME": os.environ.get("HOME", "/")})
            yield Fleet(wfops, sandboxes, urls, repository, document, database)
        finally:
            server.drop_database(database["WFOPS_DATABASE_OWNER_URL"])
            server.drop_database(database["WFOPS_DAGSTER_DATABASE_URL"])
