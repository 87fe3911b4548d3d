"""The GitHub test server answers as GitHub's own description says (``facts``: a server of our own is only worth what it
shares with the real one)."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from wfops_pipelines.domain.errors import WfopsError
from wfops_pipelines_tests.git.conftest import BY, TOKEN, Remote
from wfops_pipelines_tests.servers import github_description
from wfops_pipelines_tests.servers.github import Exchange, GitHubServer


@pytest.fixture(scope="module")
def description() -> github_description.Description:
    path = github_description.place()
    if not path.exists():
        if os.environ.get("WFOPS_REQUIRE_OPENAPI") != "1":
            pytest.skip(f"GitHub's description is not in {path.parent}: WFOPS_REQUIRE_OPENAPI=1 fetches it with npm")
        github_description.download()
    return github_description.Description(path)


@pytest.fixture
def api(github_server: GitHubServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=github_server.api_url, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        yield client


def what_our_client_does(remote: Remote, server: GitHubServer) -> None:
    """Everything that ``Repository`` asks of GitHub, and what goes wrong with it."""
    repository = remote.open()
    repository.head("main")  # empty
    head = repository.commit("main", expected_head=None, changes={"a.json": b"1", "dir/b.json": b"2"}, message="x", **BY)
    repository.head("main")
    repository.head("main")  # 304
    repository.head("absent")
    later = repository.commit("main", expected_head=head, message="y", changes={
        "a.json": b"2", "bin": b"\xff", "dir/b.json": None}, **BY)
    for title in ("One", "Two"):
        repository.open_pull_request("main", expected_head=later, branch="wfops/x", changes={"a.json": title.encode()},
                                     title=title, body="b", message="m", **BY)
    server.state.protected.add("main")
    with suppress(WfopsError):
        repository.commit("main", expected_head=later, changes={"a.json": b"9"}, message="y", **BY)
    server.state.protected.clear()


def what_else_the_server_offers(api: httpx.Client, remote: Remote) -> None:
    """The calls that other parts of the product and its tests make."""
    base = "/repos/acme/flows"
    head = remote.bare.head()
    assert head
    first = remote.bare.text("rev-list", "--max-parents=0", head)
    tree = remote.bare.text("rev-parse", f"{head}^{{tree}}")
    blob = remote.bare.text("rev-parse", f"{head}:a.json")
    api.post(f"{base}/git/refs", json={"ref": "refs/heads/side", "sha": first})
    api.post(f"{base}/git/refs", json={"ref": "refs/heads/side", "sha": first})  # 422
    remote.bare.commit({"side.json": b"1"}, branch="side")
    for path in ("/rate_limit", "/user", base, f"{base}/git/matching-refs/heads/", f"{base}/git/trees/{tree}?recursive=1",
                 f"{base}/git/trees/main", f"{base}/git/blobs/{blob}", f"{base}/branches/main", f"{base}/branches/absent",
                 f"{base}/commits?path=a.json&per_page=5", f"{base}/commits/{head}", f"{base}/commits/{'f' * 40}",
                 f"{base}/compare/{first}...{head}", f"{base}/compare/side...main", f"{base}/compare/main...side",
                 f"{base}/contents/a.json", f"{base}/contents/absent", f"{base}/pulls", f"{base}/pulls?state=all",
                 f"{base}/pulls/1", f"{base}/pulls/99", f"{base}/git/commits/{head}", "/repos/acme/absent"):
        api.get(path)
    for message, sha in (("create", None), ("update", remote.bare.text("hash-object", "--stdin", data=b"1"))):
        body = {"message": message, "content": b64encode(b"1" if sha is None else b"2").decode()}
        api.put(f"{base}/contents/new.json", json=body | ({"sha": sha} if sha else {}))
    api.put(f"{base}/contents/new.json", json={"message": "stale", "content": "", "sha": "0" * 40})
    now = remote.bare.text("rev-parse", "main:new.json")
    api.request("DELETE", f"{base}/contents/new.json", json={"message": "delete", "sha": now})
    api.post(f"{base}/pulls", json={"title": "t", "head": "wfops/x", "base": "main"})  # 422
    api.patch(f"{base}/pulls/1", json={"state": "closed"})
    api.post(f"{base}/hooks", json={"config": {"url": "http://127.0.0.1/", "content_type": "json", "secret": "x"},
                                    "events": ["push"], "active": True})
    api.get(f"{base}/hooks")
    api.post(f"{base}/hooks/1/pings")
    api.delete(f"{base}/hooks/1")
    api.patch(f"{base}/git/refs/heads/side", json={"sha": first})  # 422: not a fast forward
    api.patch(f"{base}/git/refs/heads/side", json={"sha": first, "force": True})
    api.delete(f"{base}/git/refs/heads/side")
    api.get("/user", headers={"Authorization": "Bearer wrong"})


def test_every_answer_fits_githubs_description(description: github_description.Description, api: httpx.Client,
                                               github_server: GitHubServer, github_remote: Remote) -> None:
    github_server.apps[42] = TOKEN
    what_our_client_does(github_remote, github_server)
    what_else_the_server_offers(api, github_remote)
    api.post("/app/installations/42/access_tokens", json={})
    problems = {problem for exchange in github_server.exchanges for problem in description.problems(exchange)}
    assert sorted(problems) == []
    seen = {description.operation(exchange) for exchange in github_server.exchanges if exchange.status < 400}
    assert len(seen) >= 28, "calls that succeed, by GitHub's names"


def test_what_does_not_fit_is_found(description: github_description.Description) -> None:
    def problems(method: str, path: str, status: int, answer: object, sent: object = None) -> list[str]:
        return list(description.problems(Exchange(method, path, {}, sent, status, answer)))

    ref = {"ref": "refs/heads/x", "node_id": "1", "url": "http://x/", "object": {"type": "commit", "sha": "a" * 40,
                                                                               "url": "http://x/"}}
    path = "/repos/acme/flows/git/ref/heads/x/y"
    assert problems("GET", path, 200, ref) == []
    assert problems("GET", path, 200, {**ref, "object": {}}) != []
    assert problems("GET", path, 418, ref) != []
    assert problems("PATCH", path, 200, ref, {"sha": "a" * 40}) != []
    assert problems("PATCH", path.replace("ref/", "refs/"), 200, ref, {"sha": 1}) != []
