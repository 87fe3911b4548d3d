"""What WorkflowOps asks of a Git repository (§7), whether it is GitHub's API or any plain remote.

All calls are synchronous (services run them in worker threads; one object may be used by several at once) and raise the
``OutsideError`` tree. Nothing is ever force-pushed. No message, log line or process argument holds a token.

Paths are ``str`` with ``/``; bytes of a path that are not UTF-8 are kept as lone surrogates (``os.fsdecode``'s way), so
such a path can be named and written again but not stored in PostgreSQL as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

MAX_FILE_BYTES = 16 * 1024 * 1024
"""Larger files are no workflows: they are reported, never read into memory (§25)."""


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
    """One entry below the folder asked for. ``path`` is relative to the repository's root, ``/``-separated; ``size`` in
    bytes where known (``None`` where the content has not been fetched yet)."""

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


class PullRequestState(StrEnum):
    """What became of a pull request."""

    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"  # without being merged, or it is not there (any more)


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
        """Every entry below ``folder`` (``""`` is the root), recursively; an absent folder is an empty list.
        :class:`MalformedFile` (``not_a_folder``) when ``folder`` is a file, a symlink or a submodule there;
        :class:`Rejected` when there is more below it than anybody's workflows (100,000 entries)."""
        ...

    def read_blobs(self, commit: str, blobs: Iterable[str], *,
                   max_bytes: int = MAX_FILE_BYTES) -> Iterator[tuple[str, bytes | None]]:
        """The contents of blobs reachable from ``commit``, in any order, each once; what is not here yet comes in one
        transfer. ``None`` in place of the content of a blob larger than ``max_bytes``: it is never held in memory."""
        ...

    def commit(self, branch: str, *, expected_head: str | None, changes: Mapping[str, bytes | None], message: str,
               author: str, email: str, when: datetime) -> str:
        """One commit on top of ``expected_head`` (``None``: the branch does not exist yet, perhaps nothing does) with
        files set or, with ``None``, deleted (a path that is not there stays so); returns its SHA. When nothing
        differs, ``expected_head`` is returned and nothing is written. ``when`` is aware.
        :class:`HeadMoved` when somebody was faster: nothing was written. :class:`Rejected` when the remote's rules say
        no (protected branch, hook)."""
        ...

    def open_pull_request(self, base: str, *, expected_head: str, branch: str, changes: Mapping[str, bytes | None],
                          title: str, body: str, message: str, author: str, email: str, when: datetime) -> PullRequest:
        """A branch with ``expected_head`` plus ``changes`` and a pull request into ``base``; a second call with the
        same ``branch`` adds a commit, so that the request again shows exactly ``changes``, and updates title and body.
        :class:`HeadMoved` when ``base`` moved; :class:`UsageError` where the remote knows no pull requests, and when
        ``changes`` change nothing."""
        ...

    def pull_request_state(self, url: str) -> PullRequestState:
        """What became of a pull request that :meth:`open_pull_request` told the URL of; one request."""
        ...

    def close_pull_request(self, url: str) -> None:
        """Close a pull request, if it is open; its branch stays."""
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
