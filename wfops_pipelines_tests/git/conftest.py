"""The remotes that the tests of this room read from and write to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest

from wfops_pipelines import calls
from wfops_pipelines.git.open import open_repository
from wfops_pipelines.git.repository import Repository, RepositorySource
from wfops_pipelines.unwaited import call_unwaited
from wfops_pipelines_tests.servers.bare import BareRepository, make_bare
from wfops_pipelines_tests.servers.git_http import GitHttpServer
from wfops_pipelines_tests.servers.github import GitHubServer

T = TypeVar("T")

TOKEN = "tok-s3cr3t-0123456789"
BY: dict[str, Any] = {"author": "Ada Lovelace", "email": "ada@example.com", "when": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)}


def within(seconds: float, call: Callable[[], T]) -> T:
    """What a call gives, or raises, whose calls to Git end after so many seconds."""
    def limited() -> T:
        calls.end_by(time.monotonic() + seconds)
        return call()
    return call_unwaited(limited).result(60)


@dataclass(frozen=True, slots=True)
class Remote:
    """A remote as seen from both sides: ``bare`` behind its back, ``open()`` as services do."""

    kind: str
    bare: BareRepository
    source: RepositorySource
    cache: Path

    def open(self, *, cache: Path | None = None) -> Repository:
        """A repository object of its own, as another process would have one."""
        return open_repository(self.source, cache=cache or self.cache)


@pytest.fixture
def git_server(tmp_path: Path) -> Iterator[GitHttpServer]:
    with GitHttpServer(tmp_path / "served", tokens={TOKEN: "rw", "read-only": "ro"}) as server:
        yield server


@pytest.fixture
def github_server(tmp_path: Path) -> Iterator[GitHubServer]:
    with GitHubServer(tmp_path / "hub", tokens={TOKEN: "rw", "read-only": "ro"}) as server:
        yield server


@pytest.fixture
def http_remote(git_server: GitHttpServer, tmp_path: Path) -> Remote:
    bare = make_bare(git_server.root / "acme.git")
    return Remote("http", bare, RepositorySource(git_server.url("acme.git"), secret=TOKEN), tmp_path / "cache")


@pytest.fixture
def github_remote(github_server: GitHubServer, tmp_path: Path) -> Remote:
    bare = github_server.make("acme/flows")
    source = RepositorySource(f"{github_server.url}/acme/flows", provider="github", secret=TOKEN,
                              api_url=github_server.api_url)
    return Remote("github", bare, source, tmp_path / "cache")


@pytest.fixture
def file_remote(tmp_path: Path) -> Remote:
    bare = make_bare(tmp_path / "with space" / "acme.git")
    return Remote("file", bare, RepositorySource(bare.url), tmp_path / "cache")


@pytest.fixture(params=["file", "http", "github"])
def remote(request: pytest.FixtureRequest) -> Remote:
    """Every kind of remote in turn: what holds for one holds for all."""
    found: Any = request.getfixturevalue(f"{request.param}_remote")
    assert isinstance(found, Remote)
    return found
