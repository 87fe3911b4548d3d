"""Any Git remote through the git command: ``file://``, ``http(s)://`` with a token, ``ssh://`` with a key (§7)."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import Broken, HeadMoved, NotFound, Unreachable, UsageError
from wfops_pipelines.git import ls_refs, objects
from wfops_pipelines.git.address import Address, Transport, check_branch, check_folder, check_object, check_path
from wfops_pipelines.git.clone import Clone, NotGivenOut
from wfops_pipelines.git.command import GitFailed, Secret
from wfops_pipelines.git.failures import full_disk_told, outside_error
from wfops_pipelines.git.repository import MAX_FILE_BYTES, Commit, PullRequest, PullRequestState, TreeEntry

T = TypeVar("T")


class PlainRepository:
    """One remote, with its clone in the tenant's cache directory. Implements ``Repository``.

    Costs: :meth:`head` is one request (over HTTP one POST, else ``git ls-remote``); :meth:`tree` of a new commit is one
    fetch, which brings the changed contents along; the first :meth:`read_blobs` is one more for all contents together.
    """

    def __init__(self, address: Address, *, secret: Secret, cache: Path) -> None:
        self._address = address
        self._secret = secret
        self._clone = Clone(address, secret=secret, cache=cache)
        self._asks_directly = address.transport is Transport.HTTP

    @property
    def display_url(self) -> str:
        """The URL without credentials."""
        return self._address.url

    def head(self, branch: str) -> str | None:
        """See ``Repository.head``."""
        check_branch(branch)
        failpoints.reach("git.head.before")
        if self._asks_directly:
            with contextlib.suppress(ls_refs.NotVersion2):
                return ls_refs.ask(self._address, branch, self._secret())
            self._asks_directly = False
        reference = f"refs/heads/{branch}"
        listed = self._local(None, lambda: self._clone.remote("ls-remote", "origin", reference))
        for line in listed.stdout.decode(errors="replace").split("\n"):  # others' branches may end like this one
            name, _, found = line.partition("\t")
            if found == reference:
                return check_object(name)
        return None

    def tree(self, commit: str, folder: str) -> list[TreeEntry]:
        """See ``Repository.tree``; sizes are known of contents that are here already."""
        folder = check_folder(folder)
        return self._local(commit, lambda: objects.list_tree(self._clone.git, commit, folder))

    def read_blobs(self, commit: str, blobs: Iterable[str], *,
                   max_bytes: int = MAX_FILE_BYTES) -> Iterator[tuple[str, bytes | None]]:
        """See ``Repository.read_blobs``."""
        wanted = dict.fromkeys(check_object(blob) for blob in blobs)
        for last_try in (False, True):
            generation = self._clone.generation()
            sizes = self._sizes(commit, wanted)
            for blob in [name for name, size in sizes.items() if size > max_bytes]:
                del wanted[blob]
                yield blob, None
            try:
                with full_disk_told(self._address):
                    for blob, content in objects.read_contents(self._clone.git, list(wanted)):
                        del wanted[blob]
                        yield blob, content
            except objects.Missing as missing:
                if last_try:
                    raise Broken(f"{self.display_url}: {missing} cannot be read from a clone made just now") from None
                self._clone.remake(generation)
                continue
            return

    def commit(self, branch: str, *, expected_head: str | None, changes: Mapping[str, bytes | None], message: str,
               author: str, email: str, when: datetime) -> str:
        """See ``Repository.commit``; the same arguments give the same commit, so that a repeated call finds its own."""
        check_branch(branch)
        for path in changes:
            check_path(path)
        if when.tzinfo is None:
            raise UsageError("a commit's time needs a time zone")
        if expected_head is None and not any(content is not None for content in changes.values()):
            raise UsageError(f"nothing to commit to the new branch {branch!r}")
        ref = f"refs/wfops/writing/{secrets.token_hex(8)}"

        def build() -> tuple[str, bool]:
            with self._clone.lock():
                return objects.build_commit(self._clone.git, parent=expected_head, changes=changes, message=message,
                                            author=author, email=email, when=when, ref=ref)
        try:
            sha, differs = self._local(expected_head, build)
            if expected_head is not None and not differs:
                return expected_head
            self._push(sha, branch, expected_head)
            return sha
        finally:
            with contextlib.suppress(GitFailed, Unreachable):  # the last that there was time for was the push
                self._clone.git.run("update-ref", "-d", ref)

    def open_pull_request(self, base: str, *, expected_head: str, branch: str, changes: Mapping[str, bytes | None],
                          title: str, body: str, message: str, author: str, email: str, when: datetime) -> PullRequest:
        """A plain remote knows no pull requests."""
        raise UsageError(f"{self.display_url} is a plain Git remote, which knows no pull requests",
                         fix="use write_mode: push, or provider: github")

    def pull_request_state(self, url: str) -> PullRequestState:
        """A plain remote has no pull requests: one of a GitHub that the repository was on is gone."""
        return PullRequestState.CLOSED

    def close_pull_request(self, url: str) -> None:
        """There is none to close."""

    def last_commit(self, commit: str, path: str) -> Commit | None:
        """See ``Repository.last_commit``."""
        check_path(path)
        return self._local(commit, lambda: objects.last_commit(self._clone.git, commit, path))

    def contains(self, commit: str, ancestor: str) -> bool:
        """See ``Repository.contains``. An ancestor comes with its descendant: what is not here is none."""
        check_object(ancestor)
        return self._local(commit, lambda: self._clone.has_commit(ancestor)
                           and objects.is_ancestor(self._clone.git, ancestor, commit))

    def close(self) -> None:
        """The clone stays."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.display_url!r})"

    def _local(self, commit: str | None, read: Callable[[], T]) -> T:
        """Something that needs a commit here; a clone that turns out to be broken is made anew, once."""
        if commit is not None:
            check_object(commit)
        for last_try in (False, True):
            generation = self._clone.generation()
            try:
                with full_disk_told(self._address):
                    if commit is None:
                        self._clone.ensure()
                    else:
                        self._clone.fetch_commit(commit)
                    generation = self._clone.generation()
                    return read()
            except GitFailed as failed:
                if last_try:
                    raise Broken(f"{self.display_url}: {failed}", fix="is git on this machine whole?") from None
                with full_disk_told(self._address):
                    self._clone.remake(generation)
        raise AssertionError  # the loop returns or raises

    def _sizes(self, commit: str, blobs: Iterable[str]) -> dict[str, int]:
        """The size of every blob, all of which are here afterwards."""
        for _ in range(4):  # as it is; fetched; from a whole clone; from one made anew
            sizes = self._local(commit, lambda: self._clone.sizes(blobs))
            known = {blob: size for blob, size in sizes.items() if size is not None}
            if len(known) == len(sizes):
                return known
            generation = self._clone.generation()
            with full_disk_told(self._address):
                try:
                    self._clone.fetch_blobs(set(sizes) - set(known))
                except NotGivenOut:
                    self._clone.take_whole()
                except GitFailed:
                    self._clone.remake(generation)
        raise NotFound(f"{len(sizes) - len(known)} files of commit {commit} cannot be had", target=self.display_url,
                       fix="read the branch's head again")

    def _push(self, sha: str, branch: str, expected_head: str | None) -> None:
        """Move the branch from ``expected_head`` to its child ``sha``, or leave it. The lease only makes git look: a
        child never needs force, and a branch that moved is refused."""
        failpoints.reach("git.push.before")
        reference = f"refs/heads/{branch}"
        try:
            self._clone.git.run("push", "--porcelain", "--no-verify", "origin", f"{sha}:{reference}",
                                f"--force-with-lease={reference}:{expected_head or ''}", network=True)
        except GitFailed as failed:
            error = outside_error(failed, self._address, writing=True)
            if isinstance(error, HeadMoved) and self.head(branch) == sha:
                return  # ours arrived before, and the answer was lost
            raise error from None
        failpoints.reach("git.push.after")
