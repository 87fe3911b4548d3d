"""Engines to PostgreSQL, and the translation of its failures into ours."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import orjson
import psycopg
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import ExceptionContext

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import StoreError, StoreNotReady, StoreUnavailable, TenantRequired
from wfops_pipelines.store.tables.base import storable


@dataclass(frozen=True, slots=True)
class StoreUrls:
    """How each role reaches the store: one login, one URL; never ``SET ROLE`` (design decision 2)."""

    owner: str = field(repr=False)
    app: str = field(repr=False)
    system: str = field(repr=False)


def sqlalchemy_url(url: str) -> URL:
    """The URL with the store's driver, whatever scheme it was given with (``postgres://``, ``postgresql://``)."""
    return make_url(url.replace("postgres://", "postgresql://", 1)).set(drivername="postgresql+psycopg")


def _translate(context: ExceptionContext) -> None:
    error = context.original_exception
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
        raise StoreNotReady(f"the database's schema does not fit this version: {error.diag.message_primary}",
                            fix="run `wfops doctor`") from error
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        raise TenantRequired(f"the database refused access to another tenant's rows: {error.diag.message_primary}",
                             fix="name the tenant of the row") from error
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        disk_full = isinstance(error, psycopg.errors.DiskFull)
        message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise StoreUnavailable(
            f"PostgreSQL {'has no room left' if disk_full else 'is not reachable'}: {message}",
            fix="free disk space" if disk_full else "is the server running, and WFOPS_DATABASE_URL right?",
        ) from error
    if isinstance(error, psycopg.Error):
        raise StoreError(f"PostgreSQL refused: {error.diag.message_primary or type(error).__name__}"
                         f"{' (' + error.diag.constraint_name + ')' if error.diag.constraint_name else ''}") from error


def _to_json(value: object) -> str:
    """JSON for ``jsonb``, which refuses NUL and lone surrogates: those become U+FFFD (masked diffs, names)."""
    try:
        text = orjson.dumps(value, default=str).decode()
    except (TypeError, ValueError):
        text = ""
    return text if text and "\\u0000" not in text else json.dumps(_storable(value), default=str, ensure_ascii=False)


def _storable(value: object) -> object:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {_storable(str(key)): _storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    return value


def _reach_statement(*_: object) -> None:
    failpoints.reach("store.statement")


def open_engine(url: str, *, pool_size: int = 8, application: str = "wfops") -> Engine:
    """A pooled engine. Connections are checked before use, so that a restart of the server costs one reconnect."""
    engine = create_engine(
        sqlalchemy_url(url),
        pool_size=pool_size,
        max_overflow=8,
        pool_pre_ping=True,
        pool_timeout=30,
        hide_parameters=True,
        json_serializer=_to_json,
        json_deserializer=orjson.loads,
        connect_args={"application_name": application, "connect_timeout": 10, "options": "-c timezone=UTC"},
    )
    event.listen(engine, "handle_error", _translate)
    event.listen(engine, "before_cursor_execute", _reach_statement)
    return engine
