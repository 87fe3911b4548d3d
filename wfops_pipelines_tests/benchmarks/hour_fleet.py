"""Given for the real hour: 20 tenants × 3 n8n, served by a process of its own (its memory is not ours), a Git repository each
(the first ones on a GitHub of this machine that sends webhooks), ``fleet.yaml`` files, and people at work."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
import yaml
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from wfops_pipelines.domain.pushes import signature_of
from wfops_pipelines.n8n.sandbox import create_sandbox
from wfops_pipelines.n8n.sandbox.generated import generate_workflow
from wfops_pipelines.n8n.sandbox.serve import listening_socket
from wfops_pipelines_tests.cli.fleet import CLASSES, workflow
from wfops_pipelines_tests.servers.bare import BareRepository, make_bare
from wfops_pipelines_tests.servers.github import GitHubServer

KEY, TOKEN, HOOK = "sandbox-key", "tok", "of the webhook"
ON_GITHUB = 4  # tenants
PATIENCE = 20.0  # seconds that somebody waits for an answer
SIMPLE, LARGE = 6, 4  # workflows that are promoted, and larger ones around them


@dataclass(frozen=True, slots=True)
class N8n:
    """One n8n, as somebody who works in it sees it, and as the one who makes it fail."""

    tenant: str
    slug: str
    url: str

    def workflows(self) -> list[dict[str, Any]]:
        """What is listed, the archived ones left out."""
        listed: list[dict[str, Any]] = self._ask("GET", "/workflows", params={"limit": 250}).json()["data"]
        return [each for each in listed if not each.get("isArchived")]

    def save(self, changed: Mapping[str, Any]) -> None:
        """Save a workflow as given."""
        body = {key: changed[key] for key in ("name", "nodes", "connections", "settings")}
        self._ask("PUT", f"/workflows/{changed['id']}", json=body)

    def create(self, made: Mapping[str, Any]) -> None:
        """A new workflow."""
        self._ask("POST", "/workflows", json={key: made[key] for key in ("name", "nodes", "connections", "settings")})

    def switch(self, found: Mapping[str, Any]) -> None:
        """Into service, or out of it."""
        self._ask("POST", f"/workflows/{found['id']}/{'deactivate' if found['active'] else 'activate'}")

    def delete(self, found: Mapping[str, Any]) -> None:
        """Out of service, and away."""
        if found["active"]:
            self.switch(found)
        self._ask("DELETE", f"/workflows/{found['id']}")

    def fail(self, **fault: Any) -> None:
        """Something goes wrong there from now on (``sandbox.faults``)."""
        httpx.post(f"{self.url}/_sandbox/faults", json=fault, timeout=30).raise_for_status()

    def recover(self) -> None:
        """Nothing goes wrong there any more."""
        httpx.delete(f"{self.url}/_sandbox/faults", timeout=30).raise_for_status()

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Nobody waits longer than :data:`PATIENCE` for a whole answer, however it comes: ``httpx.ReadTimeout``."""
        end = time.monotonic() + PATIENCE
        with httpx.stream(method, f"{self.url}/api/v1{path}", headers={"x-n8n-api-key": KEY}, timeout=5, **options) as answer:
            body = b""
            for part in answer.iter_bytes():
                body += part
                if time.monotonic() > end:
                    raise httpx.ReadTimeout(f"no whole answer within {PATIENCE} s")
        return httpx.Response(answer.status_code, content=body, request=answer.request).raise_for_status()


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant with everything around it."""

    slug: str
    n8n: Mapping[str, N8n]
    repository: BareRepository
    document: Path
    url: str
    api_url: str | None  # of the GitHub that it is on

    def declare(self, rng: random.Random) -> None:
        """Write its ``fleet.yaml``: some of it by chance, so that another one is another declaration."""
        repository: dict[str, Any] = {"url": self.url, "branch": "main"}
        if self.api_url is not None:
            repository |= {"provider": "github", "token": "file:token", "api_url": self.api_url, "webhook_secret": "file:hook"}
        self.document.write_text(yaml.safe_dump({"version": 1, "tenants": [{
            "slug": self.slug, "name": f"Tenant {self.slug}, {rng.choice(('north', 'south'))}", "plan": "agency",
            "repository": repository,
            "environments": [{
                "slug": slug, "class": CLASSES[slug], "url": n8n.url, "api_key": "file:key", "folder": slug,
                "owner": rng.choice(("ada", "bob")), "snapshot_hours": 1,
                **({"sync_to_git": True} if slug == "dev" else {}), **({"allow_production": True} if slug == "prod" else {}),
            } for slug, n8n in self.n8n.items()],
            "drift_policy": {"auto_create_incidents": True, "auto_create_for_production_only": rng.random() < 0.5},
            "notifications": [{"name": "chat", "url": "file:mailbox"}],
            "pipelines": [{"name": "standard", "stages": [{"source": "dev", "target": "staging"},
                                                         {"source": "staging", "target": "prod"}]}],
        }]}, sort_keys=False))

    def push(self, rng: random.Random) -> tuple[str, str, str] | None:
        """Somebody changes a workflow's file; the commits before and after, and the path. None: there is no file yet."""
        files = {path: content for path, content in self.repository.files().items()
                 if path.endswith(".json") and not path.startswith((".", "dev/"))} if self.repository.head() else {}
        if not files:
            return None
        path = rng.choice(sorted(files))
        document = json.loads(files[path])
        if not document.get("nodes"):
            return None
        rng.choice(document["nodes"]).setdefault("parameters", {})["note"] = f"pushed {rng.random()}"
        before = self.repository.head()
        assert before is not None
        return before, self.repository.commit({path: json.dumps(document, indent=2).encode()}), path

    def deliver(self, api: str, before: str, after: str, path: str) -> int:
        """GitHub tells of it; the status of the answer."""
        body = json.dumps({
            "ref": "refs/heads/main", "before": before, "after": after, "created": False, "deleted": False, "forced": False,
            "repository": {"full_name": f"{self.slug}/flows", "clone_url": self.url},
            "commits": [{"id": after, "added": [], "removed": [], "modified": [path]}]}).encode()
        return httpx.post(f"{api}/webhooks/github", content=body, timeout=30, headers={
            "Content-Type": "application/json", "X-GitHub-Event": "push", "X-GitHub-Delivery": str(uuid.uuid4()),
            "X-Hub-Signature-256": signature_of(HOOK, body)}).status_code


@contextmanager
def fleet(folder: Path, tenants: int, rng: random.Random) -> Iterator[list[Tenant]]:
    """So many tenants, declared in ``folder`` and not applied yet."""
    with GitHubServer(folder / "hub", tokens={TOKEN: "rw"}, limit=10**9) as github, n8n_servers(tenants * len(CLASSES)) as urls:
        mailbox, servers = urls[0].replace("http://", "json://"), iter(urls[1:])
        for name, content in {"key": KEY, "token": TOKEN, "hook": HOOK, "mailbox": mailbox}.items():
            (folder / name).write_text(content + "\n")
        made = []
        for number in range(tenants):
            slug = f"t{number:02}"
            n8n = {env: N8n(slug, env, next(servers)) for env in CLASSES}
            place: tuple[BareRepository, str, str | None]
            if number < ON_GITHUB:
                place = (github.make(f"{slug}/flows"), f"{github.url}/{slug}/flows", github.api_url)
            else:
                bare = make_bare(folder / "git" / f"{slug}.git")
                place = (bare, bare.url, None)
            tenant = Tenant(slug, n8n, place[0], folder / f"{slug}.yaml", place[1], place[2])
            tenant.declare(rng)
            made.append(tenant)
        yield made


@contextmanager
def n8n_servers(count: int) -> Iterator[list[str]]:
    """URLs of a mailbox that takes everything, and of so many n8n, until the block is left."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(count, theirs), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join(10)


def _serve(count: int, said: Any) -> None:
    """All of them in one event loop: an n8n is known by the port that was asked."""
    apps: dict[int, Any] = {}
    listeners = [listening_socket("127.0.0.1", 0) for _ in range(count + 1)]
    ports = [listener.getsockname()[1] for listener in listeners]
    apps[ports[0]] = JSONResponse({"ok": True})
    for number, port in enumerate(ports[1:]):
        sandbox = create_sandbox(api_key=KEY, control=True, rng=random.Random(1000 + number))
        sandbox.state.seed_workflows(_workflows(number // len(CLASSES)))
        apps[port] = sandbox.app

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await apps[scope["server"][1]](scope, receive, send)

    said.send([f"http://127.0.0.1:{port}" for port in ports])
    uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off", timeout_keep_alive=5)).run(
        sockets=listeners)


def _workflows(tenant: int) -> list[dict[str, Any]]:
    """Equal in a tenant's environments, so that the first exports pair them."""
    rng = random.Random(tenant)
    simple = [workflow(f"Simple {number}", active=number % 2 == 0) for number in range(SIMPLE)]
    return simple + [{**generate_workflow(rng, 10 + number), "name": f"Large {number}"} for number in range(LARGE)]
