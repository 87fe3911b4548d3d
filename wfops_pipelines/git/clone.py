"""The clone of a remote in a tenant's cache directory: made, brought up to date, kept small, made anew when broken.

Layout of one clone's home: ``clone.git`` (a bare repository without configuration of its own), ``lock`` and
``global.gitconfig``. The clone is a *partial* one for HTTP and SSH: file contents come when they are asked for. Git
knows that only while it fetches (the setting travels with the fetch), so that no other command can fetch contents one
by one behind our back. Over ``file://``, and from old servers that give out no single contents (the file ``whole`` says
so), everything is fetched.

Everything here can be thrown away: it is made again from the remote.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from wfops_pipelines import calls, failpoints
from wfops_pipelines.domain.errors import NotFound, Unreachable
from wfops_pipelines.git.address import Address, Transport
from wfops_pipelines.git.command import Finished, Git, GitFailed, Secret, write_global_config
from wfops_pipelines.git.failures import is_broken_clone, outside_error
from wfops_pipelines.git.repository import MAX_FILE_BYTES

FETCHED = "refs/wfops/fetched"
_FORMAT = "1\n"
_LOCK_SECONDS = 900.0
_LOCK_POLL = 0.02  # seconds between two tries: a file lock that is awaited has no time limit of its own
_KEPT_COMMITS = 32  # what the next fetch may build on
_MOST_PACKS = 50
_SIZE_LINE_BYTES = 160  # an object's name, of 64 digits at most, its kind and its size
_FETCH = ("fetch", "--quiet", "--force", "--no-tags", "--no-write-fetch-head", "--recurse-submodules=no")
_PARTIAL = {"remote.origin.promisor": "true", "remote.origin.partialclonefilter": "blob:none"}


def home_of(cache: Path, address: Address) -> Path:
    """Where the clone of a remote lies in a cache: readable, and unique by the whole URL."""
    tail = re.sub(r"[^A-Za-z0-9._-]+", "-", address.url.rstrip("/").rsplit("/", 1)[-1])[:40].strip(".-")
    return cache / f"{tail or 'repository'}-{hashlib.sha256(address.url.encode()).hexdigest()[:12]}"


class NotGivenOut(Exception):
    """The server gives out whole branches only, no single contents."""


class Clone:
    """One remote's clone. Processes and threads may share it: what changes it happens under a file lock."""

    def __init__(self, address: Address, *, secret: Secret, cache: Path) -> None:
        self.address = address
        self.home = home_of(cache, address)
        self.directory = self.home / "clone.git"
        self.git = Git(address, secret=secret, home=self.home, directory=self.directory)
        self._ready = False
        self._seen: set[tuple[int, str]] = set()  # commits that were here, by generation

    def ensure(self) -> None:
        """Make the clone, empty, where there is none or only half a one."""
        if self._ready and self._is_whole():
            return
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_global_config(self.home, self.address)
        if not self._is_whole():
            with self.lock():
                if not self._is_whole():
                    self._make()
        self._ready = True

    def generation(self) -> int:
        """Which clone this is: another number after it was made anew."""
        try:
            return self.directory.stat().st_ino
        except FileNotFoundError:
            return 0

    def remake(self, generation: int) -> None:
        """Throw a broken clone away, unless somebody has done so since ``generation``."""
        with self.lock():
            if self.generation() == generation:
                self._make()
        self._ready = False

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the clone alone, among all processes and threads of this machine."""
        deadline = time.monotonic() + calls.seconds_left(_LOCK_SECONDS)
        with (self.home / "lock").open("a") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise Unreachable("another process has been fetching for too long", target=self.address.url,
                                          fix="try again later") from None
                    time.sleep(_LOCK_POLL)
            yield

    def remote(self, *arguments: str) -> Finished:
        """A git command that talks to the remote; what goes wrong there becomes an error of our tree, and what is wrong
        with the clone stays :class:`GitFailed`."""
        try:
            return self.git.run(*arguments, network=True, config=_PARTIAL if self._is_partial() else None)
        except GitFailed as failed:
            raise self._error(failed) from None

    def has_commit(self, commit: str) -> bool:
        """Whether the commit, and so its whole history of trees, is here. Asked once for each that is: what is read of one
        that is gone since fails like anything in a broken clone."""
        seen = (self.generation(), commit)
        if seen not in self._seen:
            try:
                self.git.run("cat-file", "-e", f"{commit}^{{commit}}")
            except GitFailed:
                return False
            self._seen.add(seen)
        return True

    def fetch_commit(self, commit: str) -> None:
        """Bring a commit here with its history and trees: one fetch, and none when it is here.

        The first fetch leaves file contents out. Later ones take along what changed since (up to
        :data:`MAX_FILE_BYTES` a file), so that a change costs one fetch and not two."""
        self.ensure()
        if self.has_commit(commit):
            return
        with self.lock():
            if self.has_commit(commit):
                return
            failpoints.reach("git.fetch.before")
            known = self.git.run("for-each-ref", "--format=%(refname)", "--sort=-creatordate", FETCHED).stdout.split()
            with self._swept():
                self._fetch(commit, "blob:none" if not known else f"blob:limit={MAX_FILE_BYTES + 1}")
            failpoints.reach("git.fetch.after")
            self._tidy([name.decode() for name in known])

    def fetch_blobs(self, blobs: Iterable[str]) -> None:
        """Bring file contents here, all of them in one fetch. :class:`NotGivenOut` by servers that cannot."""
        wanted = sorted(blobs)
        with self.lock():
            if missing := [blob for blob, size in self.sizes(wanted).items() if size is None]:
                failpoints.reach("git.fetch_blobs.before")
                names = "".join(f"{blob}\n" for blob in missing).encode()
                try:
                    with self._swept():
                        self.git.run(*_FETCH, "--filter=blob:none", "--stdin", "origin", data=names, network=True,
                                     config=_PARTIAL | {"fetch.negotiationAlgorithm": "noop"})
                except GitFailed as failed:
                    if "unadvertised object" in failed.text:
                        raise NotGivenOut from None
                    raise self._error(failed) from None
                failpoints.reach("git.fetch_blobs.after")

    def take_whole(self) -> None:
        """Begin anew with a clone that leaves nothing out, now and later."""
        with self.lock():
            (self.home / "whole").touch()
            self._make()

    def sizes(self, objects: Iterable[str]) -> dict[str, int | None]:
        """The size in bytes of each object, ``None`` where it is not here."""
        names = [f"{name}\n" for name in objects]
        output = self.git.run("cat-file", "--batch-check", "--buffer", data="".join(names).encode(),
                              most=_SIZE_LINE_BYTES * len(names)).stdout.decode()
        found: dict[str, int | None] = {}
        for line in output.splitlines():
            name, *rest = line.split(" ")
            found[name] = int(rest[1]) if len(rest) == 2 else None
        return found

    def _fetch(self, commit: str, contents: str) -> None:
        partial = self._is_partial()
        chosen = (f"--filter={contents}",) if partial else ()
        try:
            self.git.run(*_FETCH, *chosen, "origin", f"{commit}:{FETCHED}/{commit}", network=True,
                         config=_PARTIAL if partial else None)
        except GitFailed as failed:
            if "unadvertised object" not in failed.text:
                raise self._error(failed) from None
            # A server older than protocol 2 gives out the tips of branches only: take them all.
            self.remote(*_FETCH, *chosen, "origin", "+refs/heads/*:refs/wfops/heads/*")
        if not self.has_commit(commit):
            raise NotFound(f"the commit {commit} is no longer there (force-pushed away?)", target=self.address.url,
                           fix="read the branch's head again")

    @contextlib.contextmanager
    def _swept(self) -> Iterator[None]:
        """A fetch. What others left that were killed is removed first, and what it leaves itself where it fails: that may be
        all that a disk holds. Called under the lock, without which nobody writes packs."""
        self._sweep_up()
        try:
            yield
        except BaseException:
            self._sweep_up()
            raise

    def _sweep_up(self) -> None:
        """Remove what is left of packs; git itself does so after two weeks, and only where it collects garbage."""
        packs = self.directory / "objects" / "pack"
        for left in (*packs.glob("tmp_*"), *packs.glob(".tmp-*")):  # of fetches; of packs that were to be joined
            left.unlink(missing_ok=True)

    def _tidy(self, known: list[str]) -> None:
        """Forget the oldest fetched commits, and join packs when there are many."""
        for name in known[_KEPT_COMMITS:]:
            self.git.run("update-ref", "-d", name)
        if len(list((self.directory / "objects" / "pack").glob("*.pack"))) > _MOST_PACKS:
            self.git.run("repack", "-a", "-d", "-q", config=_PARTIAL if self._is_partial() else None)

    def _is_partial(self) -> bool:
        return self.address.transport is not Transport.FILE and not (self.home / "whole").exists()

    def _error(self, failed: GitFailed) -> Exception:
        return failed if is_broken_clone(failed) else outside_error(failed, self.address)

    def _is_whole(self) -> bool:
        try:
            return (self.directory / "wfops-format").read_text() == _FORMAT and (self.directory / "HEAD").exists()
        except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
            return False

    def _make(self) -> None:
        """Put an empty clone in place; the old one, whole or not, is moved aside first. Called under the lock."""
        self._seen.clear()
        mark = f"{os.getpid()}-{secrets.token_hex(4)}"
        fresh, aside = self.home / f"new-{mark}", self.home / f"old-{mark}"
        for left in (*self.home.glob("new-*"), *self.home.glob("old-*")):
            shutil.rmtree(left, ignore_errors=True)
        Git(self.address, secret=lambda: None, home=self.home, directory=fresh).run(
            "init", "--quiet", "--bare", "--template=", "--initial-branch=none")
        (fresh / "wfops-format").write_text(_FORMAT)
        if self.directory.exists():
            self.directory.rename(aside)
        fresh.rename(self.directory)
        shutil.rmtree(aside, ignore_errors=True)
