"""PostgreSQL is killed while a command runs (§25): a clear error, and once it is back the same command ends well.

The server is this module's own. It is killed the moment the command asks n8n for its workflows, so in the middle.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from wfops_pipelines.n8n.sandbox import Sandbox, create_sandbox
from wfops_pipelines.postgres.embedded import EmbeddedPostgres, Holder
from wfops_pipelines_tests.cli.fleet import CommandLine, Done, database_settings, workflow
from wfops_pipelines_tests.embedded.homes import embedded, kill_postmaster
from wfops_pipelines_tests.servers.asgi import serve
from wfops_pipelines_tests.servers.bare import make_bare
from wfops_pipelines_tests.servers.postgres import describe

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("outage")]


@dataclass
class Listened:
    """A sandbox that tells when it is asked for its workflows."""

    sandbox: Sandbox
    when_listed: list[Callable[[], Any]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].endswith("/workflows") and self.when_listed:
            self.when_listed.pop()()
        await self.sandbox.app(scope, receive, send)


@dataclass
class Place:
    """The fleet, its n8n, and the server that is going to die."""

    wfops: CommandLine
    n8n: Listened
    document: Path
    server: EmbeddedPostgres
    holder: Holder

    def killed_in(self, *arguments: str) -> Done:
        """What a command says in whose middle PostgreSQL is killed."""
        self.n8n.when_listed.append(lambda: kill_postmaster(self.holder))
        done = self.wfops(*arguments)
        assert self.n8n.when_listed == [], "the command never got that far"
        return done

    def back(self) -> None:
        """The server is started again."""
        self.server.acquire(keep_running=True).close()

    def states(self) -> set[str]:
        """The states of all operations."""
        return {row["state"] for row in self.wfops("operation", "list", "acme", "--limit", "100", "--json").json}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("outage")
    server = embedded(folder / "server")
    n8n = Listened(create_sandbox(api_key="the-key"))
    n8n.sandbox.state.seed_workflows([workflow("Orders", active=True), workflow("Invoices"), workflow("Reports")])
    repository = make_bare(folder / "acme.git")
    (folder / "key").write_text("the-key\n")
    with ExitStack() as stack:
        stack.callback(server.destroy)
        holder = stack.enter_context(server.acquire())
        url = stack.enter_context(serve(n8n))
        document = folder / "fleet.yaml"
        document.write_text(
            f"version: 1\ntenants:\n  - slug: acme\n    repository: {{url: '{repository.url}', branch: main}}\n    environments:\n"
            f"      - {{slug: prod, class: production, url: '{url}', api_key: 'file:key', folder: prod}}\n")
        wfops = CommandLine(folder, {
            **database_settings(describe(holder)), "WFOPS_HOME": str(folder / "home"), "HOME": os.environ.get("HOME", "/")})
        applied = wfops("apply", "-f", document)
        assert applied.code == 0, applied.err
        yield Place(wfops, n8n, document, server, holder)


def assert_told(done: Done) -> None:
    """Exit code 5, one error that names PostgreSQL or the database, a way out, no traceback."""
    assert (done.code, done.out) == (5, ""), done
    assert done.err.startswith("error: ") and "\nfix: " in done.err and "Traceback" not in done.err, done.err
    assert "PostgreSQL" in done.err or "database" in done.err, done.err


def test_a_sync_that_lost_its_database_is_told_and_is_done_by_the_next_one(place: Place) -> None:
    assert_told(place.killed_in("sync", "acme", "prod"))
    for command in (("drift", "acme", "prod"), ("audit", "verify"), ("apply", "-f", str(place.document))):
        assert_told(place.wfops(*command))  # it is still down
    doctor = place.wfops("doctor", "--offline")
    assert doctor.code == 1 and "FAIL database" in doctor.out and "Traceback" not in doctor.out + doctor.err
    place.back()
    row, = place.wfops("sync", "acme", "prod", "--json").json
    assert (row["seen"], row["created"], row["missing"], row["errors"]) == (3, 3, 0, 0)
    assert place.states() <= {"completed", "failed"}
    proved = place.wfops("audit", "verify", "--json")
    assert (proved.code, proved.json["ok"]) == (0, True)
