"""Bring the schema to this version, with a lock so that two starters don't race.

Each revision is a transaction of its own: one that fails leaves nothing of itself, and those before it stand.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from wfops_pipelines.domain.errors import StoreBusy, StoreError, StoreNotReady, StoreUnavailable, WfopsError
from wfops_pipelines.store.engine import open_engine, sqlalchemy_url
from wfops_pipelines.store.tables import metadata

LOCK = 0x77666F7073  # "wfops"
LOCK_TIMEOUT = "10s"  # a migration waits so long for a table, rather than stopping everybody behind it
_IN_THE_WAY = text("""
    SELECT a.pid, a.usename, a.application_name, string_agg(DISTINCT c.relname, ', ' ORDER BY c.relname) AS tables
    FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.granted AND l.pid <> pg_backend_pid() AND c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    GROUP BY a.pid, a.usename, a.application_name ORDER BY a.pid LIMIT 5""")


def configuration(connection: Connection | None = None, *, role_prefix: str = "wfops") -> Config:
    """Alembic's configuration, without an ini file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    config.attributes["role_prefix"] = role_prefix
    return config


def heads() -> str:
    """The newest revision this version knows."""
    head = ScriptDirectory.from_config(configuration()).get_current_head()
    assert head is not None  # noqa: S101 - the package ships its migrations
    return head


def current(engine: Engine) -> str | None:
    """The revision of a database; none for an empty one."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(owner_url: str, *, revision: str = "head", role_prefix: str = "wfops") -> None:
    """Migrate up, as the owner. Does nothing, in one query, when the schema is current.

    A revision that fails is named, with what PostgreSQL said: :class:`StoreBusy` names who holds the table that it waited
    for, :class:`StoreUnavailable` is a server that went away, anything else :class:`StoreNotReady`.
    """
    engine = open_engine(owner_url, pool_size=1)
    try:
        found = current(engine)
        if revision == "head" and found == heads():
            return
        _refuse_newer(found)
        _run(engine, "upgrade", revision, role_prefix)
    finally:
        engine.dispose()


def downgrade(owner_url: str, *, revision: str = "base", role_prefix: str = "wfops") -> None:
    """Migrate down, as the owner; ``base`` leaves an empty database. Fails as :func:`upgrade` does."""
    engine = open_engine(owner_url, pool_size=1)
    try:
        _refuse_newer(current(engine))
        _run(engine, "downgrade", revision, role_prefix)
    finally:
        engine.dispose()


def differences(owner_url: str) -> list[object]:
    """What the tables of the code and of the database differ in; empty when they agree."""
    engine = create_engine(sqlalchemy_url(owner_url))
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            return list(compare_metadata(context, metadata))
    finally:
        engine.dispose()


def _refuse_newer(found: str | None) -> None:
    known = {s.revision for s in ScriptDirectory.from_config(configuration()).walk_revisions()}
    if found is not None and found not in known:
        raise StoreNotReady(f"the database was migrated by a newer version (revision {found})",
                            fix="install that version of wfops, or restore a backup")


def _run(engine: Engine, direction: str, revision: str, role_prefix: str) -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
        connection.commit()
        try:
            connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
            connection.commit()
            getattr(command, direction)(configuration(connection, role_prefix=role_prefix), revision)
            connection.commit()
        except Exception as error:
            raise _failed(connection, direction, error) from error
        finally:
            with suppress(StoreError, SQLAlchemyError):  # a connection that is gone holds no lock
                connection.rollback()
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK})
                connection.commit()


def _failed(connection: Connection, direction: str, error: Exception) -> StoreError:
    """The error to tell: which revision failed, why, and the way out."""
    said = error.message if isinstance(error, WfopsError) else f"{type(error).__name__}: {error}".strip().splitlines()[0]
    try:
        connection.rollback()
        found = MigrationContext.configure(connection).get_current_revision()
        what = f"the migration {'up to' if direction == 'upgrade' else 'down from'} {_next(found, direction)}"
        stands = f"nothing of it was applied, the schema is at {found or 'the beginning'}"
        if isinstance(error, StoreBusy):
            return _held_up(connection, f"{what} got no lock within {LOCK_TIMEOUT}", stands)
    except (StoreError, SQLAlchemyError):
        return StoreUnavailable(f"PostgreSQL went away during a migration: {said}; nothing of its revision was applied",
                                fix="start PostgreSQL and try again")
    if isinstance(error, StoreUnavailable):
        return StoreUnavailable(f"{what} was cut off: {said}; {stands}", fix="is PostgreSQL well? Then try again")
    return StoreNotReady(f"{what} failed: {said}; {stands}",
                         fix="mend what PostgreSQL names and try again: any wfops command migrates, `wfops doctor` looks")


def _held_up(connection: Connection, what: str, stands: str) -> StoreBusy:
    """Who holds tables now. It may be somebody else than at the time, or nobody any more."""
    holders = connection.execute(_IN_THE_WAY).all()
    if not holders:
        return StoreBusy(f"{what}; {stands}", fix="who held it has ended meanwhile: try again")
    named = "; ".join(f"process {holder.pid} ({', '.join(filter(None, [holder.usename, holder.application_name]))}) "
                      f"holds {holder.tables}" for holder in holders)
    return StoreBusy(f"{what}: {named}; {stands}", fix=(
        "stop the other wfops and Dagster processes, or wait for their transactions to end, and try again; "
        f"SELECT pg_terminate_backend({holders[0].pid}) ends one that hangs"))


def _next(found: str | None, direction: str) -> str:
    """The revision, with its title, that comes after ``found``, or on the way down ``found`` itself."""
    scripts = ScriptDirectory.from_config(configuration())
    for script in scripts.walk_revisions():
        if (script.down_revision if direction == "upgrade" else script.revision) == found:
            return f"revision {script.revision} ({script.doc})"
    return f"revision {found}"
