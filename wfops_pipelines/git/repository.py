"""What WorkflowOps asks of a Git repository (§7), whether it is GitHub's API or any plain remote.

All calls are synchronous (services run them in worker threads) and raise the ``OutsideError`` tree. Nothing is ever
force-pushed. No message, log line or process argument holds a token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class EntryKind(StrEnum):
    """What a tree entry is; only files are read."""

    FILE = "file"
    SYMLINK = "symlink"
    SUBMODULE = "submodule"


@dataclass(frozen=True, slots=True)
class RepositorySource:
    """Where a repository is and how to get in. ``secret`` is a token, or the path of an SSH key for ``ssh://``."""

    url: str
    provider: str = "git"  # git | github
    secret: str | None = field(default=None, repr=False)
    api_url: str | None = None  # GitHub Enterprise or a test server; default GitHub's own
    github_app: GitHubApp | None = None


@dataclass(frozen=True, slots=True)
class GitHubApp:
    """A GitHub App installation in place of a token."""

    app_id: int
    installation_id: int
    private_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One entry below the folder asked for. ``path`` is relative to the repository's root, ``/``-separated; ``size`` in bytes
    where known (plain Git with partial clones may not know it: ``None``)."""

    path: str
    blob: str
    kind: EntryKind
    size: int | None


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit as people see it."""

    sha: str
    author: str
    email: str
    time: datetime
    message: str


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A pull request that was opened or updated."""

    number: int
    url: str
    branch: str


class Repository(Protocol):
    """One repository, opened for one tenant; the local cache (plain Git) lives in a directory of that tenant."""

    @property
    def display_url(self) -> str:
        """The URL without credentials, for people."""
        ...

    def head(self, branch: str) -> str | None:
        """The commit a branch points to, for one cheap request (``ls-remote``, conditional GET); ``None`` when the
        repository is there and the branch is not (also an empty repository)."""
        ...

    def tree(self, commit: str, folder: str) -> list[TreeEntry]:
        """Every entry below ``folder`` (``""`` is the root), recursively; an absent folder is an empty list."""
        ...

    def read_blobs(self, commit: str, blobs: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """The contents of blobs reachable from ``commit``, in any order, each once; in one transfer where possible."""
        ...

    def commit(self, branch: str, *, expected_head: str | None, changes: Mapping[str, bytes | None], message: str,
               author: str, email: str, when: datetime) -> str:
        """One commit on top of ``expected_head`` (``None``: the branch does not exist yet) with files set or, with
        ``None``, deleted; returns its SHA. :class:`HeadMoved` when somebody was faster: nothing was written."""
        ...

    def open_pull_request(self, base: str, *, expected_head: str, branch: str, changes: Mapping[str, bytes | None],
                          title: str, body: str, message: str, author: str, email: str, when: datetime) -> PullRequest:
        """A branch with one commit and a pull request into ``base``; a second call with the same ``branch`` updates it.
        :class:`UsageError` where the remote knows no pull requests."""
        ...

    def last_commit(self, commit: str, path: str) -> Commit | None:
        """The last commit, at or before ``commit``, that touched ``path``."""
        ...

    def contains(self, commit: str, ancestor: str) -> bool:
        """Whether ``ancestor`` is reachable from ``commit``: if not, the branch was force-pushed."""
        ...

    def close(self) -> None:
        """Give back connections and temporary files; the cache stays."""
        ...


class OpenRepository(Protocol):
    """How services get a repository: ``cache`` is the tenant's own directory for clones."""

    def __call__(self, source: RepositorySource, *, cache: Path) -> Repository: ...
