"""The embedded PostgreSQL: a database without installation, shared by all processes of one home.

::

    with EmbeddedPostgres(home).acquire() as holder:
        urls = bootstrap_roles(holder.admin_url(), passwords=…)

Each holder has a shared lock on a file in the home; the kernel takes it back when the process dies, however it dies. The first holder starts the
server, further ones attach, the last one that closes stops it. Three lock files, always taken in this order:

``start.lock``    held alone while the server is started, attached to or stopped: two starters make one server
``holders.lock``  held shared by every holder
``running.lock``  held by every process of the server itself (``postgres_server.py``)
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from wfops_pipelines.domain.errors import StoreUnavailable
from wfops_pipelines.embedded.postgres_locks import LockFile, opened
from wfops_pipelines.embedded.postgres_place import Place, find_place
from wfops_pipelines.embedded.postgres_server import START_SECONDS, Server

LOCK_SECONDS = START_SECONDS + 60


@dataclass(frozen=True, slots=True)
class Status:
    """What ``doctor`` says about the embedded server."""

    lives: bool
    serves: bool
    pid: int | None
    held: bool
    data: Path
    log: Path


class EmbeddedPostgres:
    """The server of one ``WFOPS_HOME``. Nothing is started, and nothing made but directories, before :meth:`acquire`.

    ``base`` stands in for ``/var/lib/wfops``, where a server that is started by root keeps its data; ``settings`` are
    PostgreSQL's, used when this object is the one that starts it.
    """

    def __init__(self, home: Path, *, base: Path | None = None, settings: Mapping[str, str] | None = None) -> None:
        self._home, self._base, self._settings = home, base, settings

    def acquire(self, *, keep_running: bool = False, ephemeral: bool = False) -> Holder:
        """Start the server, or attach to the one that runs, and hold it until the holder is closed.

        ``keep_running``: closing this holder does not stop the server even as the last one. ``ephemeral``: stopping it as the last
        one also deletes its data (tests). Raises :class:`StoreUnavailable` (no place, no space, does not start; with the last
        lines of the log), :class:`StoreNotReady` (data of another major version), :class:`InvalidSetting` (not installed).
        """
        server = self._server()
        with _starting(server.place):
            shared = LockFile(server.place.locks / "holders.lock")
            try:
                if not shared.try_shared():  # taken alone under the start lock only
                    raise StoreUnavailable(f"{server.place.locks} is locked by another program", fix="end it, then try again")
                server = self._server() if not server.place.server.is_dir() else server  # removed by an ephemeral holder
                server.ensure_serving()
            except BaseException:
                shared.close()
                raise
        return Holder(self, server, shared, keep_running=keep_running, ephemeral=ephemeral)

    def status(self) -> Status:
        """How the server is, without starting it."""
        server = self._server()
        with opened(server.place.locks / "holders.lock") as lock:
            held = not lock.try_exclusive()
        lives, postmaster = server.lives(), server.postmaster()
        return Status(lives, lives and server.serves(), postmaster.pid if postmaster else None, held,
                      server.place.data, server.place.log)

    def stop(self) -> None:
        """Stop the server now, whoever holds it; the next one that acquires starts it again."""
        server = self._server()
        with _starting(server.place):
            server.stop()

    def destroy(self) -> None:
        """Stop the server and delete its data."""
        server = self._server()
        with _starting(server.place):
            server.stop()
            server.remove()

    def _server(self) -> Server:
        return Server(find_place(self._home, self._base), self._settings)

    def _let_go(self, server: Server, shared: LockFile, *, keep_running: bool, ephemeral: bool) -> None:
        with _starting(server.place):
            shared.release()
            if keep_running:
                return
            with opened(server.place.locks / "holders.lock") as lock:
                if lock.try_exclusive():  # nobody else holds it
                    server.stop()
                    if ephemeral:
                        server.remove()


class Holder:
    """A hold on the running server. Close it, or leave its ``with`` block; the end of the process does it too."""

    def __init__(self, owner: EmbeddedPostgres, server: Server, shared: LockFile, *, keep_running: bool, ephemeral: bool) -> None:
        self._server = server
        self._finalizer = weakref.finalize(self, _close, os.getpid(), owner, server, shared, keep_running, ephemeral)

    def admin_url(self, database: str = "postgres") -> str:
        """libpq URL of the server's superuser: for :func:`wfops_pipelines.store.roles.bootstrap_roles` and backups alone."""
        return self._server.url(database)

    @property
    def data(self) -> Path:
        """The server's data directory."""
        return self._server.place.data

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self._server.place.log

    @property
    def pid(self) -> int | None:
        """The pid of the server's first process, if it lives."""
        process = self._server.postmaster()
        return process.pid if process else None

    def close(self) -> None:
        """Give the server back; the last holder that does so stops it. Closing twice is allowed."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _close(process: int, owner: EmbeddedPostgres, server: Server, shared: LockFile, keep_running: bool, ephemeral: bool) -> None:
    if process != os.getpid():  # forked off: the hold is the parent's
        shared.close()
        return
    owner._let_go(server, shared, keep_running=keep_running, ephemeral=ephemeral)


@contextmanager
def _starting(place: Place) -> Iterator[None]:
    """The start lock: one process at a time starts, attaches to, or stops the server of a home."""
    with opened(place.locks / "start.lock") as lock:
        if not lock.exclusive(within=LOCK_SECONDS):
            raise StoreUnavailable(f"another process has been starting or stopping PostgreSQL in {place.locks} for {LOCK_SECONDS:.0f} s",
                                   fix="end it, then try again")
        yield
