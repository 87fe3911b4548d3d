"""Bring the schema to this version, with a lock so that two starters don't race."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, text

from wfops_pipelines.domain.errors import StoreNotReady
from wfops_pipelines.store.engine import open_engine, sqlalchemy_url
from wfops_pipelines.store.tables import metadata

LOCK = 0x77666F7073  # "wfops"
LOCK_TIMEOUT = "10s"  # a migration waits so long for a table, rather than stopping everybody behind it


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
    """Migrate up, as the owner. Does nothing, in one query, when the schema is current."""
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
    """Migrate down, as the owner; ``base`` leaves an empty database."""
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
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK})
            connection.commit()
