"""The two databases and the login roles of an installation, made from one administrator's URL.

==================  ==========================================================================================
``<prefix>_owner``   owns the store's database and schema; BYPASSRLS: migrations, backup, maintenance
``<prefix>_app``     what use cases run as: row-level security binds it (§2.1)
``<prefix>_system``  reads across tenants for sweeps: each table has a policy ``FOR SELECT TO <prefix>_system``
``<prefix>_dagster`` owns Dagster's database
==================  ==========================================================================================

None of them is a superuser, and nothing at run time ever says ``SET ROLE``: each has its own URL. FORCE ROW LEVEL
SECURITY binds an owner too, whose updates would then touch nothing without a word, hence its BYPASSRLS. Roles belong
to the whole server: two installations on one server take two prefixes.

Passwords are derived from the secret key, so that nothing more has to be stored, and set anew when the key changes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from wfops_pipelines.domain.errors import InvalidSetting, StoreNotReady, StoreUnavailable

OLDEST_SERVER = 15
LOCK_SECONDS = 60
SCRAM_ITERATIONS = 1  # more would cost every connection 2 ms of CPU and protect nothing: passwords are 256 random bits
_LOCK = 0x77666F7073_0001  # "wfops", lock 1

Connection = psycopg.Connection[TupleRow]


@dataclass(frozen=True, slots=True)
class Urls:
    """libpq URLs (``postgresql://…``), one a role; ``repr`` shows none of them, for they hold passwords."""

    owner: str = field(repr=False)
    app: str = field(repr=False)
    system: str = field(repr=False)
    dagster: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Role:
    """A login role as it should be."""

    name: str
    bypasses_rls: bool
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Wanted:
    owner: Role
    app: Role
    system: Role
    dagster: Role
    store_database: str
    dagster_database: str

    @property
    def roles(self) -> tuple[Role, ...]:
        return (self.owner, self.app, self.system, self.dagster)

    @property
    def databases(self) -> dict[str, tuple[Role, Mapping[str, str]]]:
        """Each database with its owner and what further roles may do with it."""
        return {
            self.store_database: (self.owner, {self.app.name: "CONNECT, TEMPORARY", self.system.name: "CONNECT"}),
            self.dagster_database: (self.dagster, {}),
        }


def derived_passwords(derive: Callable[[str], bytes]) -> Callable[[str], str]:
    """Passwords of roles out of :meth:`SecretBox.derive`: 256 bits each, URL-safe."""
    return lambda role: base64.urlsafe_b64encode(derive(f"role:{role}")).decode().rstrip("=")


def bootstrap_roles(admin_url: str, *, passwords: Callable[[str], str], store_database: str = "wfops",
                    dagster_database: str = "dagster", prefix: str = "wfops",
                    before_change: Callable[[str], None] | None = None) -> Urls:
    """Make databases and roles as they should be, whatever is there already, and return one URL a role.

    ``admin_url`` is a superuser's, or that of a role that may create databases and roles (and has BYPASSRLS itself).
    ``passwords`` gives the password of a role by its name. ``before_change`` is called with the administrator's URL of
    the store's database, if there is one, before anything is changed, and may raise to prevent it. Safe when several
    processes do it at once; when there is nothing to do, it only looks. Raises :class:`StoreUnavailable` when the server
    cannot be reached, :class:`StoreNotReady` when it is too old or the administrator may not do this,
    :class:`InvalidSetting` when the URL is none.
    """
    def role(suffix: str, *, bypasses_rls: bool = False) -> Role:
        name = f"{prefix}_{suffix}"
        return Role(name, bypasses_rls, passwords(name))

    wanted = _Wanted(role("owner", bypasses_rls=True), role("app"), role("system"), role("dagster"),
                     store_database, dagster_database)
    urls = Urls(
        owner=role_url(admin_url, wanted.owner, store_database),
        app=role_url(admin_url, wanted.app, store_database),
        system=role_url(admin_url, wanted.system, store_database),
        dagster=role_url(admin_url, wanted.dagster, dagster_database),
    )
    with _administering(admin_url) as admin:
        if not _is_as_wanted(admin, wanted, urls):
            with _alone(admin):
                if not _is_as_wanted(admin, wanted, urls):  # another process may have done it meanwhile
                    if before_change is not None and _database_exists(admin, store_database):
                        before_change(in_database(admin_url, store_database))
                    _make(admin, wanted)
    return urls


@dataclass(frozen=True, slots=True)
class Powers:
    """What a login role may do beyond its grants."""

    name: str
    superuser: bool
    bypasses_rls: bool


def powers(url: str) -> Powers:
    """Log in with a URL and look; :class:`StoreUnavailable` when that does not work."""
    with _administering(url) as connection:
        row = connection.execute(
            "SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user").fetchone()
    assert row is not None  # noqa: S101 - whoever is logged in is a role
    return Powers(str(row[0]), bool(row[1]), bool(row[2]))


def role_url(server_url: str, role: Role, database: str) -> str:
    """The URL of ``database`` for a role, on the server of ``server_url``: its host, port, TLS and other options."""
    options = _parameters(server_url)
    for name in ("passfile", "service"):
        options.pop(name, None)
    return _url({**options, "user": role.name, "password": role.password, "dbname": database})


def in_database(url: str, database: str) -> str:
    """The same URL for another database of the server."""
    return _url({**_parameters(url), "dbname": database})


def _url(parameters: Mapping[str, str]) -> str:
    """libpq's URL form, in the way that SQLAlchemy reads it as well."""
    options = dict(parameters)
    user, password, database = (quote(options.pop(name, ""), safe="") for name in ("user", "password", "dbname"))
    host, port = options.get("host", ""), options.get("port", "")
    where = ""
    if host and not host.startswith(("/", "@")) and not any(c in host for c in ",:%") and "," not in port:
        where = host + (f":{port}" if port else "")
        options = {name: value for name, value in options.items() if name not in {"host", "port"}}
    # else a socket directory or several hosts, which only the query carries for every driver
    query = f"?{urlencode(options, quote_via=quote, safe='')}" if options else ""
    return f"postgresql://{user}{':' + password if password else ''}@{where}/{database}{query}"


def allow_in_database(admin: Connection, database: str, owner: str, allowed: Mapping[str, str]) -> None:
    """Only the owner and the roles of ``allowed`` (name → privileges) may enter a database."""
    name = sql.Identifier(database)
    admin.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
    admin.execute(sql.SQL("GRANT ALL ON DATABASE {} TO {}").format(name, sql.Identifier(owner)))
    for role, privileges in allowed.items():
        admin.execute(sql.SQL("GRANT {} ON DATABASE {} TO {}").format(
            sql.SQL(privileges), name, sql.Identifier(role)))


def _parameters(url: str) -> dict[str, str]:
    scheme, colon, rest = url.partition("://")
    try:
        parameters = conninfo_to_dict(f"{scheme.partition('+')[0]}{colon}{rest}")
    except psycopg.ProgrammingError:
        raise InvalidSetting("WFOPS_DATABASE_URL is no PostgreSQL URL",
                             fix="postgresql://USER:PASSWORD@HOST:5432/DATABASE") from None
    return {name: str(value) for name, value in parameters.items() if value is not None}


@contextmanager
def _administering(url: str) -> Iterator[Connection]:
    parameters = _parameters(url)
    try:
        with psycopg.connect(**{"connect_timeout": "10", **parameters}, autocommit=True) as admin:  # type: ignore[arg-type]
            if admin.info.server_version < OLDEST_SERVER * 10000:
                raise StoreNotReady(f"the database server is PostgreSQL {admin.info.server_version // 10000}",
                                    fix=f"use PostgreSQL {OLDEST_SERVER} or newer")
            yield admin
    except psycopg.errors.InsufficientPrivilege as error:
        who = parameters.get("user") or "the administrator"
        raise StoreNotReady(
            f"{who} may not make the roles and databases: {error.diag.message_primary}",
            fix="let WFOPS_DATABASE_URL name a superuser, or a role with CREATEDB, CREATEROLE and BYPASSRLS") from None
    except psycopg.OperationalError as error:
        lines = [line for line in str(error).strip().splitlines() if not line.startswith("\t")]  # those are libpq's hints
        reason = lines[-1] if lines else "connection lost"
        raise StoreUnavailable(f"PostgreSQL cannot be reached: {reason}",
                               fix="check WFOPS_DATABASE_URL and that the server runs") from None


@contextmanager
def _alone(admin: Connection) -> Iterator[None]:
    """One process at a time: CREATE DATABASE cannot be part of a transaction, so the lock is the session's."""
    admin.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
    try:
        admin.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
    except psycopg.errors.LockNotAvailable:
        raise StoreUnavailable(f"another process has been making roles and databases for {LOCK_SECONDS} s",
                               fix="end it, then try again") from None
    try:
        yield
    finally:
        if not admin.broken:
            admin.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))


def _is_as_wanted(admin: Connection, wanted: _Wanted, urls: Urls) -> bool:
    return _roles_are(admin, wanted) and _databases_are(admin, wanted) and _passwords_are(admin, wanted, urls)


def _roles_are(admin: Connection, wanted: _Wanted) -> bool:
    rows = admin.execute(
        "SELECT rolname, rolbypassrls, rolcanlogin AND rolinherit"
        " AND NOT (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication)"
        " FROM pg_roles WHERE rolname = ANY(%s)", ([role.name for role in wanted.roles],)).fetchall()
    return {tuple(row) for row in rows} == {(role.name, role.bypasses_rls, True) for role in wanted.roles}


def _databases_are(admin: Connection, wanted: _Wanted) -> bool:
    for name, (owner, allowed) in wanted.databases.items():
        row = admin.execute(
            "SELECT pg_get_userbyid(datdba) = %s AND NOT has_database_privilege('public', oid, 'CONNECT')"
            " FROM pg_database WHERE datname = %s", (owner.name, name)).fetchone()
        if row is None or not row[0]:
            return False
        for role, privileges in allowed.items():
            for privilege in privileges.split(", "):
                granted = admin.execute("SELECT has_database_privilege(%s, %s, %s)", (role, name, privilege)).fetchone()
                if granted is None or not granted[0]:
                    return False
    return True


def _passwords_are(admin: Connection, wanted: _Wanted, urls: Urls) -> bool:
    """A superuser compares verifiers, which are the same for the same password; anybody else has to log in to know."""
    superuser = admin.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    if superuser is not None and superuser[0]:
        rows = admin.execute("SELECT rolname, rolpassword FROM pg_authid WHERE rolname = ANY(%s)",
                             ([role.name for role in wanted.roles],)).fetchall()
        return {tuple(row) for row in rows} == {(role.name, _verifier(role)) for role in wanted.roles}
    for url in (urls.owner, urls.app, urls.system, urls.dagster):
        try:
            psycopg.connect(url, connect_timeout=10).close()
        except psycopg.OperationalError:
            return False
    return True


def _make(admin: Connection, wanted: _Wanted) -> None:
    for role in wanted.roles:
        _make_role(admin, role)
    for name, (owner, allowed) in wanted.databases.items():
        _make_database(admin, name, owner)
        allow_in_database(admin, name, owner.name, allowed)


def _make_role(admin: Connection, role: Role) -> None:
    exists = admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role.name,)).fetchone()
    admin.execute(sql.SQL("{} ROLE {} WITH LOGIN INHERIT NOCREATEDB NOCREATEROLE {} PASSWORD {}").format(
        sql.SQL("ALTER" if exists else "CREATE"), sql.Identifier(role.name),
        sql.SQL("BYPASSRLS" if role.bypasses_rls else "NOBYPASSRLS"), sql.Literal(_verifier(role))))
    too_much = "SELECT 1 FROM pg_roles WHERE rolname = %s AND (rolsuper OR rolreplication)"
    if admin.execute(too_much, (role.name,)).fetchone():
        admin.execute(sql.SQL("ALTER ROLE {} WITH NOSUPERUSER NOREPLICATION").format(sql.Identifier(role.name)))


def _make_database(admin: Connection, name: str, owner: Role) -> None:
    if not _database_exists(admin, name):
        # A database can be given only to a role one is a member of; a superuser is one of every role.
        member = admin.execute("SELECT pg_has_role(current_user, %s, 'USAGE')", (owner.name,)).fetchone()
        if member is None or not member[0]:
            admin.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(owner.name)))
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8'").format(
            sql.Identifier(name), sql.Identifier(owner.name)))
        return
    admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(name), sql.Identifier(owner.name)))


def _database_exists(admin: Connection, name: str) -> bool:
    return admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is not None


def _verifier(role: Role) -> str:
    """The SCRAM verifier of a role's password, made here so that the password appears in no statement log.

    Its salt comes from the password, so that the same password gives the same verifier; that gives nothing away, for
    the passwords are 256 random bits.
    """
    salt = hmac.digest(role.password.encode(), b"salt of " + role.name.encode(), hashlib.sha256)[:16]
    salted = hashlib.pbkdf2_hmac("sha256", role.password.encode(), salt, SCRAM_ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", hashlib.sha256)).digest()
    server = hmac.digest(salted, b"Server Key", hashlib.sha256)

    def text(raw: bytes) -> str:
        return base64.b64encode(raw).decode()

    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{text(salt)}${text(stored)}:{text(server)}"
