"""PostgreSQL for tests: one embedded server per pytest run, shared by its xdist workers, and a fresh database for whoever asks.

Use it from a ``conftest.py``::

    from wfops_pipelines_tests.servers.postgres import *   # the fixtures

    @pytest.fixture
    def store_urls(fresh_database_urls) -> Urls:
        return fresh_database_urls(upgrade)                # a copy of a database that ``upgrade(owner_url)`` migrated once
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from wfops_pipelines.domain.errors import StoreError
from wfops_pipelines.postgres.embedded import EmbeddedPostgres, Holder
from wfops_pipelines.postgres.place import ACCOUNT, Account, Place
from wfops_pipelines.postgres.server import Server
from wfops_pipelines.store.roles import Urls, allow_in_database, bootstrap_roles, derived_passwords, in_database
from wfops_pipelines.store.secrets import SecretBox

__all__ = ["PostgresServer", "fresh_dagster_url", "fresh_database_urls", "postgres_server"]

Migration = Callable[[str], object]
TEST_KEY = "dGVzdHMgdXNlIHRoaXMga2V5LCBub2JvZHkgZWxzZSE="
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "100", "wal_level": "minimal",
        "max_wal_senders": "0", "autovacuum": "off", "shared_buffers": "32MB"}


@dataclass
class PostgresServer:
    """The running server: an administrator's URL, the roles, and databases on demand."""

    admin_url: str = field(repr=False)
    urls: Urls
    box: SecretBox
    _admin: list[psycopg.Connection] = field(default_factory=list, repr=False, compare=False)

    @property
    def admin(self) -> psycopg.Connection:
        """The administrator's connection, kept: databases come and go all the time."""
        if not self._admin or self._admin[0].closed:
            self._admin[:] = [psycopg.connect(self.admin_url, autocommit=True)]
        return self._admin[0]

    def close(self) -> None:
        """Leave the server."""
        for connection in self._admin:
            connection.close()

    def create_database(self, migrate: Migration | None = None) -> Urls:
        """A new store database for the roles, empty or migrated as ``migrate(owner_url)`` does it (once per run, then copied)."""
        name = f"t_{secrets.token_hex(6)}"
        template = "template0" if migrate is None else self._template(migrate, owner="wfops_owner", url=self.urls.owner)
        self.admin.execute(_CREATE.format(sql.Identifier(name), sql.Identifier("wfops_owner"), sql.Identifier(template)))
        _allow(self.admin, name)
        return self._urls(name)

    def copy_database(self, of: Urls) -> Urls:
        """A new store database with all that another one holds, to which nobody is connected."""
        name = f"t_{secrets.token_hex(6)}"
        self.admin.execute(_CREATE.format(sql.Identifier(name), sql.Identifier("wfops_owner"), sql.Identifier(_name(of.owner))))
        _allow(self.admin, name)
        return self._urls(name)

    def create_dagster_database(self, prepare: Migration | None = None) -> str:
        """The URL of a new database of the role ``wfops_dagster``, empty or as ``prepare(url)`` makes it (once per run, then
        copied)."""
        name = f"d_{secrets.token_hex(6)}"
        template = "template0" if prepare is None else self._template(prepare, owner="wfops_dagster", url=self.urls.dagster)
        self.admin.execute(_CREATE.format(sql.Identifier(name), sql.Identifier("wfops_dagster"), sql.Identifier(template)))
        return in_database(self.urls.dagster, name)

    def drop_database(self, url: str) -> None:
        """Drop the database of a URL, whoever is still connected to it."""
        self.admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(_name(url))))

    def _urls(self, database: str) -> Urls:
        return replace(self.urls, owner=in_database(self.urls.owner, database), app=in_database(self.urls.app, database),
                       system=in_database(self.urls.system, database))

    def _template(self, migrate: Migration, *, owner: str, url: str) -> str:
        """A database of the ``owner``, whose ``url`` is that of another one, that ``migrate`` was applied to; several workers make one."""
        admin = self.admin
        origin = f"{getattr(migrate, '__module__', '')}.{getattr(migrate, '__qualname__', repr(migrate))}"
        name = f"template_{hashlib.sha256(origin.encode()).hexdigest()[:12]}"
        admin.execute("SELECT pg_advisory_lock(1, hashtext(%s))", (name,))
        try:
            if not admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
                draft = f"draft_{secrets.token_hex(6)}"
                admin.execute(_CREATE.format(sql.Identifier(draft), sql.Identifier(owner), sql.Identifier("template0")))
                if owner == "wfops_owner":
                    _allow(admin, draft)
                migrate(in_database(url, draft))
                admin.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(draft), sql.Identifier(name)))
        finally:
            admin.execute("SELECT pg_advisory_unlock(1, hashtext(%s))", (name,))
        return name


_CREATE = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY file_copy")


def _name(url: str) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])


def _allow(admin: psycopg.Connection, database: str) -> None:
    allow_in_database(admin, database, "wfops_owner", {"wfops_app": "CONNECT, TEMPORARY", "wfops_system": "CONNECT"})


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One server for the whole run. The last worker that is done with it stops it and deletes its data."""
    clear_away_servers_of_killed_runs(tmp_path_factory)
    with shared_server(_run_directory(tmp_path_factory)).acquire(ephemeral=True) as holder:
        server = describe(holder)
        yield server
        server.close()


def describe(holder: Holder) -> PostgresServer:
    """The server of a holder, with roles."""
    box = SecretBox([TEST_KEY])
    urls = bootstrap_roles(holder.admin_url(), passwords=derived_passwords(box.derive))
    return PostgresServer(holder.admin_url(), urls, box)


def shared_server(directory: Path) -> EmbeddedPostgres:
    """The embedded server with its locks in ``directory`` and, as root, its data where the account that runs it can reach."""
    return EmbeddedPostgres(directory, base=reachable_base(), settings=FAST)


def reachable_base() -> Path:
    """A directory for servers that root starts: pytest's own have mode 0700."""
    base = Path(tempfile.gettempdir()) / f"wfops-tests-{os.geteuid()}"
    if os.geteuid() == 0 and not base.is_dir():
        base.mkdir(exist_ok=True)
        base.chmod(0o755)
    return base


def clear_away_servers_of_killed_runs(factory: pytest.TempPathFactory) -> None:
    """A run that was killed could not stop its server: nobody holds it any more, or its home is gone."""
    with Path(tempfile.gettempdir(), f"wfops-tests-{os.geteuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers, and other runs, come by at the same time
        _clear_away(_run_directory(factory))


def _clear_away(ours: Path) -> None:
    for home in ours.parent.parent.glob("pytest-*/postgres-server"):
        with suppress(StoreError, FileNotFoundError):  # pytest deletes old directories by itself
            if home.resolve() != ours.resolve():  # pytest-current is one of them
                shared_server(home).destroy_if_unheld()
    for record in (reachable_base() / "postgres").glob("*/owner.json"):
        with suppress(FileNotFoundError):  # another worker was faster
            if not Path(json.loads(record.read_text())["home"]).exists():
                folder = record.parent
                orphan = Server(Place(folder, folder, folder, folder / "run", Account(ACCOUNT, -1, -1), None))
                orphan.stop()
                orphan.remove()


def _run_directory(factory: pytest.TempPathFactory) -> Path:
    """The same directory for every xdist worker of this run."""
    base = factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "postgres-server"


@pytest.fixture
def fresh_database_urls(postgres_server: PostgresServer) -> Iterator[Callable[..., Urls]]:
    """``fresh_database_urls(migrate=None) -> Urls``: a new store database, dropped after the test."""
    made: list[Urls] = []

    def create(migrate: Migration | None = None) -> Urls:
        made.append(postgres_server.create_database(migrate))
        return made[-1]

    yield create
    for urls in made:
        postgres_server.drop_database(urls.owner)


@pytest.fixture
def fresh_dagster_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a new database for Dagster's storage, dropped after the test."""
    url = postgres_server.create_dagster_database()
    yield url
    postgres_server.drop_database(url)
