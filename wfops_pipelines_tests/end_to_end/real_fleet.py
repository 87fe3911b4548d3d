"""Given: real n8n servers, a bare repository, and ``wfops`` as a process in a home of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import yaml

from wfops_pipelines.embedded.n8n_server import N8nServer
from wfops_pipelines.postgres.embedded import EmbeddedPostgres
from wfops_pipelines_tests.cli.fleet import CLASSES, CommandLine, Done
from wfops_pipelines_tests.servers.bare import BareRepository

JsonObject = dict[str, Any]
_WRITABLE = ("name", "nodes", "connections", "settings")


class Person:
    """Somebody who works in one n8n, by its API and past WorkflowOps."""

    def __init__(self, server: N8nServer) -> None:
        self._http = httpx.Client(base_url=f"{server.url}/api/v1", headers={"x-n8n-api-key": server.api_key}, timeout=60,
                                  trust_env=False)

    def _ask(self, method: str, path: str, body: Any = None, **params: Any) -> JsonObject:
        answer = self._http.request(method, path, json=body, params=params)
        assert answer.status_code == 200, (method, path, answer.status_code, answer.text[:500])
        found: JsonObject = answer.json()
        return found

    def create(self, workflow: Mapping[str, Any]) -> JsonObject:
        """A new workflow, inactive."""
        return self._ask("POST", "/workflows", {key: workflow[key] for key in _WRITABLE})

    def edit(self, workflow: Mapping[str, Any], *, publish: bool = True) -> JsonObject:
        """Save a workflow as given; without ``publish`` only its draft (2.x)."""
        params = {} if publish else {"publishIfActive": "false"}
        body = {key: workflow[key] for key in _WRITABLE}
        body["settings"] = {k: v for k, v in body["settings"].items() if k != "binaryMode"}
        return self._ask("PUT", f"/workflows/{workflow['id']}", body, **params)

    def activate(self, workflow: Mapping[str, Any]) -> None:
        """Activate, and wait until n8n has registered what triggers it."""
        self._ask("POST", f"/workflows/{workflow['id']}/activate")
        self._wait(lambda: self._ask("GET", f"/workflows/{workflow['id']}")["triggerCount"] > 0)

    def deactivate(self, workflow: Mapping[str, Any]) -> None:
        """Take it out of service."""
        self._ask("POST", f"/workflows/{workflow['id']}/deactivate")

    def delete(self, workflow: Mapping[str, Any]) -> None:
        """Delete an inactive workflow (2.x may still be taking its triggers down)."""
        self._wait(lambda: self._http.delete(f"/workflows/{workflow['id']}").status_code in {200, 404})

    def delete_everything(self) -> None:
        """An empty n8n again."""
        while found := self._ask("GET", "/workflows", limit=100)["data"]:
            for workflow in found:
                if workflow["active"]:
                    self.deactivate(workflow)
                self.delete(workflow)

    def get(self, workflow: Mapping[str, Any]) -> JsonObject:
        """A workflow as it is now."""
        return self._ask("GET", f"/workflows/{workflow['id']}")

    def close(self) -> None:
        """Give back the connection."""
        self._http.close()

    def _wait(self, condition: Any) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, "n8n never came that far"
            time.sleep(0.05)


@dataclass
class RealFleet:
    """Tenants over real n8n servers (by environment slug), and the command line to work on them."""

    wfops: CommandLine
    servers: Mapping[str, N8nServer]
    people: dict[str, Person] = field(default_factory=dict)

    def declare(self, tenant: str, repository: Mapping[str, Any], slugs: list[str], *, token: str = "",
                writable: bool = False, **more: Any) -> Done:
        """``wfops apply`` of a fleet.yaml with one tenant, others that were declared before stay; ``token`` is what
        ``env:ACCESS`` stands for. ``writable``: production may be written to; ``more`` goes into the tenant."""
        secrets = {f"KEY_{slug.upper()}": self.servers[slug].api_key for slug in slugs}
        document = {"version": 1, "tenants": [{
            "slug": tenant, "name": tenant.title(), "plan": "agency", "repository": dict(repository),
            "environments": [{"slug": slug, "class": CLASSES[slug], "url": self.servers[slug].url,
                              "api_key": f"env:KEY_{slug.upper()}", "folder": slug, "allow_production": writable}
                             for slug in slugs],
            "pipelines": [{"name": "standard", "stages": [
                {"source": source, "target": target} for source, target in pairwise(slugs)]}], **more,
        }]}
        path = self.wfops.cwd / f"{tenant}.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return self.wfops("apply", "-f", path, "--json", **secrets, ACCESS=token)

    def run(self, *arguments: str, code: int = 0) -> Any:
        """A command with ``--json`` that has to end with this exit code; what it printed."""
        done = self.wfops(*arguments, "--json")
        assert done.code == code, (arguments, done.code, done.out[-2000:], done.err[-2000:])
        return done.json


@contextmanager
def own_home(folder: Path) -> Iterator[CommandLine]:
    """``wfops`` with nothing of the tester's settings, on an embedded PostgreSQL that is gone afterwards."""
    home = folder / "home"
    try:
        with EmbeddedPostgres(home).acquire():  # one start for all commands of the test
            yield CommandLine(folder, {"WFOPS_HOME": str(home)})
    finally:
        EmbeddedPostgres(home).destroy()


def commits(repository: BareRepository) -> int:
    """How many commits its main branch has."""
    return int(repository.text("rev-list", "--count", "main")) if repository.head() else 0
