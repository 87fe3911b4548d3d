"""One embedded PostgreSQL server: making its data directory, starting it, knowing whether it lives, ending it.

Whether a server lives is never read off a pid file alone, for the pid may be another process's by now or a zombie's.
Every process of a server inherits a descriptor of ``running.lock``, which holds that lock: it is free exactly when
the last of them is gone, whatever they died of. Whether it *serves* is known by connecting. Everything here that
changes something is called under the start lock (``postgres.py``).
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg

from wfops_pipelines.domain.errors import StoreNotReady, StoreUnavailable
from wfops_pipelines.postgres import binaries as available
from wfops_pipelines.postgres.binaries import Binaries
from wfops_pipelines.postgres.locks import LOOK_SECONDS, POLL_SECONDS, LockFile, opened
from wfops_pipelines.postgres.place import SOCKET_NAME, Place

ADMIN = "postgres"
START_SECONDS = 120.0   # crash recovery of a busy database takes its time
STOP_SECONDS = 60.0
LEFTOVER_SECONDS = 5.0
LARGEST_LOG = 10_000_000

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",  # the socket alone: no port to collide with, nobody else on the machine gets in
    "unix_socket_permissions": "0700",
    "max_connections": "200",             # daemon, UI, code server, run workers: a handful each
    "shared_buffers": "128MB",
    "max_wal_size": "512MB",
    "max_parallel_workers_per_gather": "0",  # parallel queries need a /dev/shm that containers do not have
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d ",
    "client_encoding": "UTF8",
}

_WAYS_OUT = (
    (r"No space left on device", "free some space on the file system of {data}"),
    (r"Permission denied|could not open|could not access", "make {data} accessible to the account that runs it"),
    (r"Cannot allocate memory|could not map anonymous shared memory", "free some memory"),
    (r"could not look up effective user ID", "add an entry for this user to /etc/passwd, or set WFOPS_DATABASE_URL"),
    (r"pre-existing shared memory block", "end the remaining postgres processes of {data}"),
)

log = logging.getLogger(__name__)


class Server:
    """The server of a place. ``settings`` are added to, and win over, :data:`SETTINGS`."""

    def __init__(self, place: Place, settings: Mapping[str, str] | None = None) -> None:
        self.place = place
        self.settings = {**SETTINGS, **(settings or {})}

    # -- what is known about it

    def url(self, database: str = "postgres") -> str:
        """The superuser's URL (libpq form): for making roles and databases, and for nothing else."""
        host = quote(str(self.place.sockets), safe="")
        return f"postgresql://{ADMIN}:{self._password()}@/{quote(database, safe='')}?host={host}&port=5432"

    def serves(self) -> bool:
        """Whether *our* server answers: by connecting, and asking which data directory it has."""
        try:
            with psycopg.connect(self.url(), connect_timeout=5, autocommit=True) as connection:
                row = connection.execute("SELECT current_setting('data_directory')").fetchone()
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise StoreUnavailable(f"the embedded PostgreSQL refuses the password in {self.place.password_file}",
                                       fix="restore that file from a backup of WFOPS_HOME") from None
            return False
        return row is not None and Path(row[0]).resolve() == self.place.data.resolve()

    def lives(self) -> bool:
        """Whether any process of the server is left, serving or not."""
        with suppress(FileNotFoundError), opened(self._running_lock) as lock:  # not found: the home was deleted
            if not lock.try_exclusive():
                return True
        return self.postmaster() is not None  # a file system without working flock

    def postmaster(self) -> psutil.Process | None:
        """The server's first process, if the pid file names it truly: alive, no zombie, of our cluster."""
        try:
            pid = int((self.place.data / "postmaster.pid").read_text("utf-8").split("\n", 1)[0])
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE and self._is_ours(process):
                return process
        except (OSError, ValueError, psutil.Error):
            pass
        return None

    def log_tail(self, *, since: int = 0, lines: int = 8) -> str:
        """The last lines of the log, for messages."""
        try:
            descriptor = os.open(self.place.log, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return ""
        with os.fdopen(descriptor, "rb") as file:
            file.seek(since)
            text = file.read()[-8192:].decode("utf-8", "replace")
        return "\n".join(text.strip().splitlines()[-lines:])

    # -- changing it

    def ensure_serving(self) -> None:
        """Attach to the server if it lives, else start it, recovering from whatever ended it."""
        if self.lives():
            if self._wait_until_serving():
                return
            self._end_leftovers()
        self._start()

    def stop(self) -> None:
        """End the server, if it lives: connections are closed, transactions rolled back, data written."""
        for number in (signal.SIGINT, signal.SIGQUIT):  # PostgreSQL's fast and immediate shutdown
            if self.interrupt(number) and self._wait_until_gone(STOP_SECONDS):
                break
        if self.lives():
            self._end_leftovers()
        if self.place.sockets.parent != self.place.server:  # the short one outside: nothing to keep in it
            shutil.rmtree(self.place.sockets, ignore_errors=True)

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> bool:
        """Tell the server to end, without waiting for it; whether there was one."""
        process = self.postmaster()
        if process is None:
            return False
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
        return True

    def remove(self) -> None:
        """Delete data, configuration and log of a stopped server. Locks and the home stay."""
        place = self.place
        if place.account is not None:
            shutil.rmtree(place.server, ignore_errors=True)
        for path in (place.data, place.log.parent, place.sockets):
            shutil.rmtree(path, ignore_errors=True)
        for path in (place.configuration, place.server / "pg_hba.conf", place.password_file, place.locks / "cluster"):
            path.unlink(missing_ok=True)

    # -- starting

    def _start(self) -> None:
        place = self.place
        try:
            binaries = available.of_wheel()
            if place.binaries is not None:
                binaries = available.copied_to(place.binaries, binaries)
            self._prepare(binaries)
            with opened(self._running_lock) as lock:
                if not lock.exclusive(within=LOOK_SECONDS):
                    raise StoreUnavailable(f"processes of an earlier PostgreSQL still use {place.data}",
                                           fix="end them, then try again")
                self._remove_stale_files()
                self._launch(binaries, lock)
        except OSError as error:
            raise StoreUnavailable(f"the embedded PostgreSQL cannot be started: {error.strerror}: {error.filename}",
                                   fix=self._way_out(str(error))) from None
        if not self._wait_until_serving():
            raise self._failed("does not answer after its start", self.log_tail())

    def _prepare(self, binaries: Binaries) -> None:
        place = self.place
        for leftover in place.server.glob("initdb.*"):  # an initdb that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        if place.data.is_dir() and not (place.data / "global" / "pg_control").is_file():
            aside = place.data.with_name(f"data.incomplete.{secrets.token_hex(4)}")
            log.warning("%s is no complete PostgreSQL data directory: set aside as %s", place.data, aside)
            place.data.rename(aside)
        if not place.data.is_dir():
            self._make_data(binaries)
        made_by = (place.data / "PG_VERSION").read_text("ascii").strip()
        if made_by != str(binaries.major):
            raise StoreNotReady(
                f"{place.data} was made by PostgreSQL {made_by}, this installation brings {binaries.version}",
                fix=f"restore a backup into a new WFOPS_HOME, or install the release of wfops that came with {made_by}")
        place.make_private(place.log.parent)
        place.make_private(place.sockets)
        if place.log.is_file() and place.log.stat().st_size > LARGEST_LOG:
            place.log.rename(place.log.with_suffix(".log.1"))
        self._configure()

    def _make_data(self, binaries: Binaries) -> None:
        """``initdb`` into a directory beside, which becomes ``data`` when it is complete."""
        place = self.place
        draft = Path(tempfile.mkdtemp(prefix="initdb.", dir=place.server))
        place.write(place.password_file, secrets.token_urlsafe(32) + "\n", mode=0o600)
        try:
            place.write(draft / "password", self._password() + "\n", mode=0o600)
            place.own(draft / "password")
            place.own(draft)
            done = self._run([
                binaries.program("initdb"), "--pgdata=data", f"--username={ADMIN}", "--pwfile=password",
                "--auth=scram-sha-256", "--no-instructions", "--encoding=UTF8",
                # PostgreSQL's own C.UTF-8: the same order and case on every system, whatever its libraries
                "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
                *(["--no-sync"] if self.settings.get("fsync") == "off" else []),
            ], cwd=draft)
            if done.returncode != 0:
                raise self._failed("could not make its data directory", _tail(done.stderr or done.stdout))
            (draft / "data").rename(place.data)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _configure(self) -> None:
        place = self.place
        hba = place.server / "pg_hba.conf"
        place.write(hba, "local all all scram-sha-256\n", mode=0o644)
        ident = place.data / "pg_ident.conf"
        values = {**self.settings, "data_directory": str(place.data), "hba_file": str(hba), "ident_file": str(ident),
                  "unix_socket_directories": str(place.sockets)}
        lines = ["# Written by wfops at every start: changes are lost."]
        lines += [f"{name} = '{_quoted(value)}'" for name, value in values.items()]
        place.write(place.configuration, "\n".join(lines) + "\n", mode=0o644)

    def _remove_stale_files(self) -> None:
        """Called with ``running.lock`` held: no process of the server is left, so its pid and socket files are stale.

        PostgreSQL would refuse to start when the pid in them belongs to any living process of the same account, or to
        a zombie.
        """
        for path in (self.place.data / "postmaster.pid", self.place.sockets / SOCKET_NAME,
                     self.place.sockets / f"{SOCKET_NAME}.lock"):
            path.unlink(missing_ok=True)

    def _launch(self, binaries: Binaries, lock: LockFile) -> None:
        """``pg_ctl start``, with relative paths, so that no character of the home means anything to its shell."""
        since = self.place.log.stat().st_size if self.place.log.is_file() else 0
        done = self._run(
            [binaries.program("pg_ctl"), "start", "-D", "data", "-l", "log/postgres.log",
             "-o", f"-c config_file=postgresql.conf -c cluster_name={self._name}",
             "-w", "-t", str(int(START_SECONDS)), "-s"],
            cwd=self.place.server, keep=(lock.fileno(),))
        if done.returncode != 0:
            raise self._failed("did not start", self.log_tail(since=since) or _tail(done.stderr))

    def _run(self, command: list[str], *, cwd: Path, keep: tuple[int, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run a program of PostgreSQL as the server's account, in a session of its own, without our environment.

        Its output goes to a file: a server that inherited a pipe would keep its reader waiting for ever.
        """
        account = self.place.account
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
            done = subprocess.run(
                command, cwd=cwd, env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, start_new_session=True, pass_fds=keep, umask=0o077, check=False,
                user=account.uid if account else None, group=account.gid if account else None,
                extra_groups=[] if account else None)
            output.seek(0)
            return subprocess.CompletedProcess(command, done.returncode, "", output.read())

    # -- waiting and ending

    def _wait_until_serving(self) -> bool:
        """Whether the server answers; False as soon as it is gone, or only orphans of it are left."""
        deadline = time.monotonic() + START_SECONDS
        while not self.serves():
            if self.postmaster() is None:
                return False
            if time.monotonic() > deadline:
                raise self._failed(f"lives but does not answer within {START_SECONDS:.0f} s", self.log_tail())
            time.sleep(POLL_SECONDS)
        return True

    def _wait_until_gone(self, within: float) -> bool:
        deadline = time.monotonic() + within
        while self.lives():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def _end_leftovers(self) -> None:
        """Processes of a server whose first process is gone end by themselves; those that do not are killed."""
        if self._wait_until_gone(LEFTOVER_SECONDS):
            return
        for process in psutil.process_iter():
            try:
                if self._is_ours(process):
                    process.kill()
            except psutil.Error:
                continue
        if not self._wait_until_gone(10):
            raise self._failed("left processes behind that cannot be ended", self.log_tail())

    def _is_ours(self, process: psutil.Process) -> bool:
        """Every process of a PostgreSQL server shows its cluster's name in its command line, for everybody to see.

        (Its working directory would say the same, but root in a container may not look at it.)
        """
        return process.name().startswith("postgres") and self._name in " ".join(process.cmdline())

    # -- bits

    @property
    def _name(self) -> str:
        """A name for the cluster, of plain letters."""
        return f"wfops-{hashlib.sha256(os.fsencode(self.place.data)).hexdigest()[:16]}"

    @property
    def _running_lock(self) -> Path:
        return self.place.locks / "running.lock"

    def _password(self) -> str:
        try:
            return self.place.password_file.read_text("ascii").strip()
        except FileNotFoundError:
            raise StoreUnavailable(f"the password of the embedded PostgreSQL is gone: {self.place.password_file}",
                                   fix="restore that file from a backup of WFOPS_HOME") from None

    def _failed(self, what: str, detail: str) -> StoreUnavailable:
        where = self.place.log if self.place.log.is_file() else self.place.server
        message = f"the embedded PostgreSQL {what} ({where}):\n{detail}"
        return StoreUnavailable(message.rstrip(": \n"), fix=self._way_out(detail))

    def _way_out(self, detail: str) -> str:
        for pattern, way_out in _WAYS_OUT:
            if re.search(pattern, detail):
                return way_out.format(data=self.place.data)
        return "see the log; or set WFOPS_DATABASE_URL to a PostgreSQL server of your own"


def _tail(text: str, lines: int = 8) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")
