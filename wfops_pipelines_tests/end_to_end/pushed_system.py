"""Given: ``wfops up`` over a tenant whose repository is on a GitHub, and somebody who pushes and whose webhooks arrive."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from sqlalchemy import Row

from wfops_pipelines.bootstrap import open_installation
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.pushes import signature_of
from wfops_pipelines.embedded.dagster_web import DagsterWeb
from wfops_pipelines.n8n.sandbox import create_sandbox
from wfops_pipelines.n8n.sandbox.serve import serve_many
from wfops_pipelines.services.services import Services
from wfops_pipelines.settings import Settings
from wfops_pipelines_tests.end_to_end.real_fleet import own_home
from wfops_pipelines_tests.servers.bare import BareRepository
from wfops_pipelines_tests.servers.github import GitHubServer
from wfops_pipelines_tests.servers.processes import eventually
from wfops_pipelines_tests.servers.system import Child, system_up
from wfops_pipelines_tests.services.fleet import workflow

SECRET = "of the webhook"
WORKFLOWS = 5
_RUNS = """query($tag: String!) { runsOrError(filter: {tags: [{key: "wfops/sweep", value: $tag}]}) { ... on Runs { results {
    runId status startTime } } } }"""


@dataclass
class PushedSystem:
    """A running system with everything around it."""

    child: Child
    ui: str
    api: str
    github: GitHubServer
    repository: BareRepository
    services: Services

    @property
    def context(self) -> Context:
        return self.services.context("acme", actor="local:test")

    def environment(self, slug: str = "prod") -> Row[Any]:
        """An environment as the store has it now."""
        return self.services.environment(self.context, slug)

    def push(self, text: str, folder: str = "prod") -> tuple[str, str, str]:
        """Somebody changes a workflow's file; the commits before and after, and the path."""
        before = self.repository.head()
        assert before is not None
        path = next(path for path in sorted(self.repository.files()) if path.startswith(f"{folder}/"))
        document = json.loads(self.repository.files()[path])
        document["nodes"][1]["parameters"]["text"] = text
        return before, self.repository.commit({path: json.dumps(document).encode()}), path

    def deliver(self, before: str, after: str, *paths: str, **changes: Any) -> httpx.Response:
        """GitHub tells of it."""
        body = json.dumps({
            "ref": "refs/heads/main", "before": before, "after": after, "created": False, "deleted": False, "forced": False,
            "repository": {"full_name": "acme/flows", "clone_url": f"{self.github.url}/acme/flows.git"},
            "commits": [{"id": after, "added": [], "removed": [], "modified": list(paths)}], **changes}).encode()
        return httpx.post(f"{self.api}/webhooks/github", content=body, timeout=30, headers={
            "Content-Type": "application/json", "X-GitHub-Event": "push", "X-GitHub-Delivery": str(uuid.uuid4()),
            "X-Hub-Signature-256": signature_of(SECRET, body)})

    def runs(self) -> list[dict[str, Any]]:
        """Runs on account of pushes, the newest first: ``runId``, ``status``, ``startTime`` (seconds)."""
        web = DagsterWeb(self.ui)
        try:
            found = [run for tag in ("push", "push-2") for run in web.ask(_RUNS, tag=tag)["runsOrError"]["results"]]
        finally:
            web.close()
        return sorted(found, key=lambda run: run["startTime"] or time.time(), reverse=True)

    def deliveries(self) -> list[Row[Any]]:
        """What was kept, the newest first."""
        with self.services.store.read(self.context) as work:
            return work.pushes.deliveries()

    def read_at(self, commit: str, slug: str = "prod") -> bool:
        """Whether an environment was read at a commit, and compared since."""
        row = self.environment(slug)
        with self.services.store.read(self.context) as work:
            last = work.drift.last_check(row.id)
        return row.git_commit == commit and last is not None and last.last_at >= row.git_synced_at


@contextmanager
def pushed_system(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[PushedSystem]:
    """``wfops up`` with dev and prod, of which prod is what Git says; the schedules are off but for what ``settings`` say."""
    off = {"WFOPS_DRIFT_CHECK_INTERVAL_SECONDS": "0", "WFOPS_GIT_POLL_INTERVAL_SECONDS": "0"}
    sandboxes = {slug: create_sandbox() for slug in ("dev", "prod")}
    sandboxes["prod"].state.seed_workflows(workflow(f"Workflow {number}") for number in range(WORKFLOWS))
    with (GitHubServer(folder / "hub", tokens={"tok": "rw"}) as github, serve_many(list(sandboxes.values())) as urls,
          own_home(folder) as wfops):
        repository = github.make("acme/flows")
        keys = {f"KEY_{slug.upper()}": sandbox.api_key for slug, sandbox in sandboxes.items()} | {
            "TOKEN": "tok", "HOOK": SECRET}
        path = wfops.cwd / "fleet.yaml"
        path.write_text(yaml.safe_dump({"version": 1, "tenants": [{
            "slug": "acme", "plan": "agency",
            "repository": {"url": f"{github.url}/acme/flows", "provider": "github", "token": "env:TOKEN",
                           "api_url": github.api_url, "webhook_secret": "env:HOOK"},
            "environments": [{"slug": slug, "class": "production" if slug == "prod" else slug, "url": url,
                              "api_key": f"env:KEY_{slug.upper()}", "folder": slug}
                             for slug, url in zip(sandboxes, urls, strict=True)]}]}))
        for command in (("apply", "-f", path), ("export", "acme", "prod"), ("sync", "acme"), ("drift", "acme", "prod")):
            done = wfops(*command, **keys)
            assert done.code == 0, done.err
        home = Path(wfops.variables["WFOPS_HOME"])
        with system_up(home, folder / "up.log", off | dict(settings or {})) as child:
            ui = child.url()
            api = re.search(r"API: +(http://\S+)", child.text)
            assert api is not None
            with open_installation(Settings(home=home)) as installation:
                yield PushedSystem(child, ui, api[1], github, repository, installation.services)


def launched(system: PushedSystem) -> None:
    """Wait until everything that was kept was launched."""
    eventually(lambda: {row.status for row in system.deliveries()} <= {"launched", "ignored"})
