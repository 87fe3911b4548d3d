"""The embedded PostgreSQL: a database without installation, shared by all processes of one home.

::

    with EmbeddedPostgres(home).acquire() as holder:
        urls = bootstrap_roles(holder.admin_url(), passwords=…)

Each holder has a shared lock on a file in the home; the kernel takes it back when the process dies, however it dies.
The first holder starts the server, further ones attach, the last one that closes stops it. Three lock files, always
taken in this order:

``start.lock``    held alone while the server is started, attached to or stopped: two starters make one server
``holders.lock``  held shared by every holder
``running.lock``  held by every process of the server itself (``server.py``)
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from wfops_pipelines.domain.errors import StoreUnavailable, WfopsError
from wfops_pipelines.postgres.locks import LOOK_SECONDS, LockFile, opened
from wfops_pipelines.postgres.place import Place, find_place
from wfops_pipelines.postgres.server import START_SECONDS, Server

LOCK_SECONDS = START_SECONDS + 60
HOLDERS = "holders.lock"


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

        ``keep_running``: closing this holder does not stop the server even as the last one. ``ephemeral``: stopping it
        as the last one also deletes its data (tests). Raises :class:`StoreUnavailable` (no place, no space, does not
        start; with the last lines of the log), :class:`StoreNotReady` (data of another major version),
        :class:`InvalidSetting` (not installed).
        """
        with self._alone() as server:
            lock = LockFile(server.place.locks / HOLDERS)
            lock.shared()
            hold = _Hold(server, lock, keep_running=keep_running, ephemeral=ephemeral)
            try:
                server.ensure_serving()
            except WfopsError:
                lock.release()
                raise
            except BaseException:  # Ctrl-C while it starts: nobody waits for it any more
                with suppress(WfopsError):
                    hold.end()
                raise
        return Holder(hold)

    def status(self) -> Status:
        """How the server is, without starting it."""
        server = self._server()
        with opened(server.place.locks / HOLDERS) as lock:
            held = not lock.try_exclusive()
        lives, postmaster = server.lives(), server.postmaster()
        return Status(lives, lives and server.serves(), postmaster.pid if postmaster else None, held,
                      server.place.data, server.place.log)

    def stop(self) -> None:
        """Stop the server now, whoever holds it; the next one that acquires starts it again."""
        with self._alone() as server:
            server.stop()

    def destroy(self) -> None:
        """Stop the server, whoever holds it, and delete its data."""
        with self._alone() as server:
            server.stop()
            server.remove()

    def stop_if_unheld(self) -> bool:
        """Stop the server unless somebody holds it; whether nobody did. Nobody begins to hold it between the look and the
        deed. Where there is none, nothing is made."""
        if not (self._home / "postgres" / HOLDERS).exists():
            return True
        with self._alone() as server, _unheld(server) as unheld:
            if unheld:
                server.stop()
            return unheld

    def destroy_if_unheld(self) -> bool:
        """As :meth:`stop_if_unheld`, and delete its data."""
        with self._alone() as server, _unheld(server) as unheld:
            if unheld:
                server.stop()
                server.remove()
            return unheld

    def _server(self) -> Server:
        return Server(find_place(self._home, self._base), self._settings)

    @contextmanager
    def _alone(self) -> Iterator[Server]:
        with _start_lock(self._server().place):
            yield self._server()  # looked up again: an ephemeral holder may have removed it while we waited


class Holder:
    """A hold on the running server. Close it, or leave its ``with`` block; the end of the process does it too."""

    def __init__(self, hold: _Hold) -> None:
        self._server = hold.server
        self._stands = hold.stands
        self._finalizer = weakref.finalize(self, hold.let_go)

    def admin_url(self, database: str = "postgres") -> str:
        """libpq URL of the server's superuser: for making roles and databases, and for backups, alone."""
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

    def stands(self) -> bool:
        """Whether the home is the one whose server is held: not deleted, nor made anew since."""
        return self._stands()

    def lives(self) -> bool:
        """Whether any process of the server is left. Of a home that is being deleted nothing is made anew by asking."""
        return self._server.lives()

    def interrupt(self) -> None:
        """Tell the server to end, whoever holds it, without waiting: that of a home that was deleted."""
        self._server.interrupt()

    def close(self) -> None:
        """Give the server back; the last holder that does so stops it. Closing twice is allowed."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


@dataclass(slots=True)
class _Hold:
    """What a holder has to give back."""

    server: Server
    lock: LockFile
    keep_running: bool
    ephemeral: bool
    process: int = field(default_factory=os.getpid)
    file: os.stat_result = field(init=False)

    def __post_init__(self) -> None:
        self.file = os.fstat(self.lock.fileno())

    def stands(self) -> bool:
        """Whether the home has the file still whose lock is the hold."""
        try:
            return os.path.samestat(self.file, (self.server.place.locks / HOLDERS).stat())
        except OSError:
            return False

    def let_go(self) -> None:
        """Give the hold back, unless this process was forked off: then it is the parent's."""
        if self.process != os.getpid():
            self.lock.close()
        elif not self.stands():  # the home was deleted under the running server
            self.lock.release()
            self.server.interrupt()
        else:
            with _start_lock(self.server.place):
                self.end()

    def end(self) -> None:
        """Called with the start lock: release, and stop the server if nobody else holds it."""
        self.lock.release()
        if self.keep_running:
            return
        with _unheld(self.server) as unheld:
            if unheld:
                self.server.stop()
            if unheld and self.ephemeral:
                self.server.remove()


@contextmanager
def _unheld(server: Server) -> Iterator[bool]:
    """Whether nobody holds the server; called with the start lock, so that it stays so."""
    with opened(server.place.locks / HOLDERS) as lock:
        yield lock.exclusive(within=LOOK_SECONDS)


@contextmanager
def _start_lock(place: Place) -> Iterator[None]:
    """One process at a time starts, attaches to, or stops the server of a home."""
    with opened(place.locks / "start.lock") as lock:
        if not lock.exclusive(within=LOCK_SECONDS):
            raise StoreUnavailable(
                f"another process has been starting or stopping PostgreSQL in {place.locks} for {LOCK_SECONDS:.0f} s",
                fix="end it, then try again")
        yield
