"""Where an embedded PostgreSQL keeps its things, and as which account it runs.

As an ordinary user everything lies in ``<home>/postgres``. As root, PostgreSQL runs as ``nobody``, who cannot reach
into a home of mode 0700; its data lies under ``/var/lib/wfops/postgres/<id>`` then, where ``<id>`` is random and kept
in the home: a home that is moved keeps its data, one that is made anew starts with an empty database, a copy of one
is refused. Locks and the password stay in the home.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import re
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from wfops_pipelines.domain.errors import StoreNotReady, StoreUnavailable

ROOT_BASE = Path("/var/lib/wfops")
ACCOUNT = "nobody"
LONGEST_SOCKET_PATH = 100  # bytes; sun_path holds 104 on macOS, 108 on Linux, with the final NUL
SOCKET_NAME = ".s.PGSQL.5432"


@dataclass(frozen=True, slots=True)
class Account:
    """The unprivileged account that runs the server when we are root."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Place:
    """The directories of one embedded server.

    ``locks`` (in the home) holds lock files and the password; ``server`` the configuration and, made for the account
    that runs it, ``data``, ``log`` and the socket directory. ``binaries`` is where the programs are copied to (as
    root).
    """

    home: Path
    locks: Path
    server: Path
    sockets: Path
    account: Account | None
    binaries: Path | None

    @property
    def data(self) -> Path:
        return self.server / "data"

    @property
    def log(self) -> Path:
        return self.server / "log" / "postgres.log"

    @property
    def configuration(self) -> Path:
        return self.server / "postgresql.conf"

    @property
    def password_file(self) -> Path:
        return self.locks / "password"

    def own(self, path: Path) -> None:
        """Hand a file or directory that we just made to the account that runs the server."""
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid, follow_symlinks=False)

    def make_private(self, directory: Path) -> Path:
        """A directory that the server's account alone can enter."""
        if not directory.is_dir():
            directory.mkdir(mode=0o700)
            self.own(directory)
        return directory

    def write(self, path: Path, text: str, *, mode: int) -> None:
        """Write a file of ours atomically, with exactly this mode."""
        draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, mode)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        draft.rename(path)


def find_place(home: Path, base: Path | None = None) -> Place:
    """The place of the server of ``home``; its directories are made where they are missing.

    ``base`` stands in for ``/var/lib/wfops`` (used as root only). Raises :class:`StoreUnavailable` where directories
    cannot be made or do not belong to us, :class:`StoreNotReady` for a copied home.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        home = home.resolve()
        locks = home / "postgres"
        locks.mkdir(mode=0o700, exist_ok=True)
        _check_owner(locks, os.geteuid())
        if os.geteuid() != 0:
            return Place(home, locks, locks, _socket_directory(locks), None, None)
        return _place_as_root(home, locks, base or ROOT_BASE)
    except OSError as error:
        raise StoreUnavailable(
            f"the embedded PostgreSQL has no place for its data: {error.strerror}: {error.filename}",
            fix="make it writable, set WFOPS_HOME to another directory, or set WFOPS_DATABASE_URL") from None


def _place_as_root(home: Path, locks: Path, base: Path) -> Place:
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise StoreUnavailable(
            f"PostgreSQL does not run as root, and there is no account {ACCOUNT!r} to run it as",
            fix="run wfops as an ordinary user, or set WFOPS_DATABASE_URL") from None
    for directory in (base, base / "bin", base / "postgres"):
        _make_reachable(directory)
    identity = _identity(locks / "cluster")
    server = base / "postgres" / identity
    place = Place(home, locks, server, server / "run", Account(ACCOUNT, entry.pw_uid, entry.pw_gid), base / "bin")
    _make_reachable(server)
    _record_owner(place, identity)
    return place


def _make_reachable(directory: Path) -> None:
    """A directory of root's that everybody can pass through and nobody else can write to."""
    if not directory.is_dir():
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o755)  # whatever the umask
    _check_owner(directory, 0)
    mode = directory.stat().st_mode
    if not mode & 0o001 or mode & 0o022:
        raise StoreUnavailable(
            f"{directory} has mode {stat.S_IMODE(mode):04o}: the account {ACCOUNT!r} has to pass through it, and "
            "nobody but root may write to it", fix=f"chmod 755 {directory}")


def _check_owner(directory: Path, uid: int) -> None:
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid:
        raise StoreUnavailable(
            f"{directory} belongs to another user (uid {status.st_uid}) or is no directory",
            fix="run wfops as that user, or set WFOPS_HOME to a directory of your own")


def _identity(file: Path) -> str:
    """The random name of this home's server directory."""
    try:
        text = file.read_text("ascii").strip()
    except FileNotFoundError:
        draft = file.with_name(f".cluster.{secrets.token_hex(6)}")
        draft.write_text(secrets.token_hex(8), "ascii")
        try:
            file.hardlink_to(draft)
        except FileExistsError:
            pass  # another process was faster
        finally:
            draft.unlink()
        text = file.read_text("ascii").strip()
    if not re.fullmatch(r"[0-9a-f]{16}", text):
        raise StoreNotReady(f"{file} does not name this home's database", fix="restore it; the directories under "
                            f"{ROOT_BASE}/postgres name the homes they belong to in owner.json")
    return text


def _record_owner(place: Place, identity: str) -> None:
    record = place.server / "owner.json"
    try:
        before = Path(json.loads(record.read_text("utf-8"))["home"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        before = None
    if before == place.home:
        return
    if before is not None and _names(before / "postgres" / "cluster", identity) and not before.samefile(place.home):
        raise StoreNotReady(f"{place.home} is a copy of {before}, and both point to the same database {place.server}",
                            fix=f"remove {place.locks} to begin with an empty database here")
    place.write(record, json.dumps({"home": str(place.home)}) + "\n", mode=0o644)


def _names(file: Path, identity: str) -> bool:
    try:
        return file.read_text("ascii").strip() == identity
    except (OSError, ValueError):
        return False


def _socket_directory(locks: Path) -> Path:
    """``<home>/postgres/run`` where its path is short and plain enough for a socket, else a short private directory."""
    wanted = locks / "run"
    short = len(os.fsencode(wanted / SOCKET_NAME)) <= LONGEST_SOCKET_PATH
    if short and re.fullmatch(r"[\w./~@+-]+", str(wanted), re.ASCII):
        return wanted
    name = f"wfops-{os.geteuid()}-{hashlib.sha256(os.fsencode(locks)).hexdigest()[:12]}"
    directory = Path("/tmp") / name  # noqa: S108 - not $TMPDIR or $XDG_RUNTIME_DIR: every process has to find the same one
    directory.mkdir(mode=0o700, exist_ok=True)
    _check_owner(directory, os.geteuid())
    if directory.stat().st_mode & 0o077:
        raise StoreUnavailable(f"{directory} can be entered by others", fix=f"chmod 700 {directory}")
    return directory
