"""Git over HTTP and GitHub, by the command line alone: the whole way with a token, and everything that can be wrong (§7, §25)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from wfops_pipelines.n8n.sandbox import create_sandbox
from wfops_pipelines.n8n.sandbox.serve import serve
from wfops_pipelines_tests.cli.fleet import CommandLine, Done, Fleet, database_settings, workflow
from wfops_pipelines_tests.servers.bare import BareRepository
from wfops_pipelines_tests.servers.github import GitHubServer
from wfops_pipelines_tests.servers.postgres import PostgresServer

pytestmark = pytest.mark.xdist_group("cli-git")

TOKEN, OTHER = "the-right-token", "the-wrong-token"


@dataclass
class Remotes:
    """A fleet of one environment per kind of remote, both served by one GitHub."""

    fleet: Fleet
    hub: GitHubServer
    plain: BareRepository
    github: BareRepository

    def apply(self, *, token: str = TOKEN) -> None:
        """Declare both environments."""
        repository = "{{url: '{url}', provider: {provider}, branch: main, token: 'env:GIT_TOKEN'{more}}}"
        remotes = {"plain": ("git", ""), "github": ("github", f", api_url: '{self.hub.api_url}'")}
        lines = "".join(
            f"      - slug: {slug}\n        class: production\n        url: '{self.fleet.urls[slug]}'\n        api_key: 'file:key'\n"
            f"        folder: flows\n        repository: " + repository.format(
                url=f"{self.hub.url}/acme/{slug}", provider=provider, more=more) + "\n"
            for slug, (provider, more) in remotes.items())
        self.fleet.document.write_text(f"version: 1\ntenants:\n  - slug: acme\n    environments:\n{lines}")
        done = self.fleet.wfops("apply", "-f", self.fleet.document, GIT_TOKEN=token)
        assert done.code == 0, done.err

    def drift(self) -> tuple[int, dict[str, Any]]:
        """The exit code of a check of both, and its rows."""
        done = self.fleet.wfops("drift", "acme", "--json")
        assert done.err == "" and TOKEN not in done.out and OTHER not in done.out
        return done.code, {row["environment"]: row for row in done.json}

    def sync(self) -> tuple[int, dict[str, Any]]:
        """The exit code of a sync of both, and its rows."""
        done = self.fleet.wfops("sync", "acme", "--json")
        assert done.err == "" and TOKEN not in done.out and OTHER not in done.out
        return done.code, {row["environment"]: row for row in done.json}


@pytest.fixture(scope="module")
def remotes(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remotes]:
    folder = tmp_path_factory.mktemp("remotes")
    (folder / "key").write_text("the-key\n")
    with ExitStack() as stack:
        hub = stack.enter_context(GitHubServer(folder / "hub", tokens={TOKEN: "rw"}))
        sandboxes = {slug: create_sandbox(api_key="the-key") for slug in ("plain", "github")}
        for sandbox in sandboxes.values():
            sandbox.state.seed_workflows([workflow("Orders", active=True), workflow("Invoices")])
        urls = {slug: stack.enter_context(serve(sandbox)) for slug, sandbox in sandboxes.items()}
        database = database_settings(postgres_server)
        stack.callback(postgres_server.drop_database, database["WFOPS_DAGSTER_DATABASE_URL"])
        stack.callback(postgres_server.drop_database, database["WFOPS_DATABASE_OWNER_URL"])
        wfops = CommandLine(folder, {**database, "WFOPS_HOME": str(folder / "home"), "HOME": os.environ.get("HOME", "/"),
                                     "WFOPS_REQUEST_ATTEMPTS": "1"})
        plain, github = hub.make("acme/plain"), hub.make("acme/github")
        made = Remotes(Fleet(wfops, sandboxes, urls, plain, folder / "fleet.yaml", database), hub, plain, github)
        made.apply()
        yield made


@pytest.fixture(scope="module")
def exported(remotes: Remotes) -> dict[str, list[Done]]:
    """Both environments exported to repositories that were empty, twice."""
    code, rows = remotes.sync()
    assert code == 0
    assert [rows[slug]["repository"]["reason"] for slug in ("plain", "github")] == ["branch_missing"] * 2
    return {slug: [remotes.fleet.wfops("export", "acme", slug, "--json") for _ in range(2)] for slug in ("plain", "github")}


def test_an_empty_repository_gets_one_commit_and_then_none(remotes: Remotes, exported: dict[str, list[Done]]) -> None:
    for slug, repository in (("plain", remotes.plain), ("github", remotes.github)):
        first, second = exported[slug]
        assert (first.code, first.json["commit"]) == (0, repository.head())
        assert [f["path"] for f in first.json["files"]] == ["flows/workflows/invoices.json", "flows/workflows/orders.json"]
        assert (second.code, second.json["commit"], second.json["unchanged"]) == (0, None, 2)
        assert repository.text("rev-list", "--count", "main") == "1"


@pytest.mark.usefixtures("exported")
def test_an_edit_is_drift_at_both(remotes: Remotes) -> None:
    assert remotes.drift()[0] == 0
    for slug in ("plain", "github"):
        remotes.fleet.edit(slug, "Orders", node=("Call", {"url": "https://elsewhere.example"}))
    code, rows = remotes.drift()
    assert code == 3
    assert {slug: [(w["name"], w["kind"]) for w in row["workflows"]] for slug, row in rows.items()} == {
        "plain": [("Orders", "modified")], "github": [("Orders", "modified")]}
    for slug in ("plain", "github"):
        remotes.fleet.edit(slug, "Orders", node=("Call", {"url": "https://example.com"}))


@pytest.mark.usefixtures("exported")
def test_a_forced_push_is_read_like_any_other_and_is_in_the_audit_trail(remotes: Remotes) -> None:
    before = {repository: repository.head() for repository in (remotes.plain, remotes.github)}
    for repository in before:
        kept = "flows/workflows/orders.json"
        repository.commit({kept: repository.files()[kept]}, orphan=True, message="history was rewritten")
    code, rows = remotes.sync()
    assert code == 0
    assert {slug: row["repository"]["removed"] for slug, row in rows.items()} == {"plain": 1, "github": 1}
    audit = remotes.fleet.wfops("audit", "list", "acme", "--action", "repository.force_pushed", "--json")
    assert audit.code == 0 and {event["environment"] for event in audit.json} == {"plain", "github"}, audit.out
    for slug in ("plain", "github"):
        again = remotes.fleet.wfops("export", "acme", slug, "--json")
        assert [(f["change"], f["path"]) for f in again.json["files"]] == [("added", "flows/workflows/invoices.json")]


@pytest.mark.usefixtures("exported")
def test_a_token_that_is_refused_a_branch_and_a_repository_that_are_gone_are_told_and_nothing_becomes_missing(
        remotes: Remotes) -> None:
    remotes.apply(token=OTHER)
    code, rows = remotes.sync()
    assert code == 6
    for row in rows.values():
        assert (row["error"]["kind"], row["seen"]) == ("refused", 2) and "token" in row["error"]["fix"]
    refused = remotes.fleet.wfops("export", "acme", "github")
    assert refused.code == 6 and refused.err.startswith("error: ") and "\nfix: " in refused.err
    assert OTHER not in refused.err + refused.out and "Traceback" not in refused.err

    remotes.apply()
    repositories = (remotes.plain, remotes.github)
    heads = {repository: repository.head() or "" for repository in repositories}
    for repository in repositories:
        repository.git("update-ref", "-d", "refs/heads/main")
    code, rows = remotes.drift()
    assert (code, {row["status"] for row in rows.values()}) == (1, {"ERROR"})
    assert all("main" in row["message"] and row["workflows"] == [] and row["error"]["fix"] for row in rows.values())
    for repository, head in heads.items():
        repository.git("update-ref", "refs/heads/main", head)

    aside = [repository.path.rename(repository.path.with_suffix(".aside")) for repository in repositories]
    code, rows = remotes.sync()
    assert code == 1
    for slug, row in rows.items():
        assert row["error"]["kind"] == "not_found" and f"acme/{slug}" in row["error"]["message"] and row["error"]["fix"]
    for path in aside:
        path.rename(path.with_suffix(".git"))
    code, rows = remotes.drift()
    assert (code, {row["status"] for row in rows.values()}) == (0, {"IN_SYNC"})
    assert remotes.fleet.wfops("audit", "verify").code == 0
