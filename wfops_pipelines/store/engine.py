"""Engines to PostgreSQL, and the translation of its failures into ours."""

from __future__ import annotations

import json
import math
import select
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import orjson
import psycopg
from psycopg.pq import ExecStatus
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import TimeoutError as PoolTimeout

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import (
    StoreBusy,
    StoreError,
    StoreNotReady,
    StoreRefusal,
    StoreUnavailable,
    TenantRequired,
)
from wfops_pipelines.store.tables.base import storable

UNASKED_SECONDS = 2.0  # how long a connection of the pool may have rested to be used without asking the server
POOL_SECONDS = 30  # how long a thread waits for one of the process's connections


@dataclass(frozen=True, slots=True)
class StoreUrls:
    """How each role reaches the store: one login, one URL; never ``SET ROLE`` (design decision 2)."""

    owner: str = field(repr=False)
    app: str = field(repr=False)
    system: str = field(repr=False)


def sqlalchemy_url(url: str) -> URL:
    """The URL with the store's driver, whatever scheme it was given with (``postgres://``, ``postgresql://``)."""
    return make_url(url.replace("postgres://", "postgresql://", 1)).set(drivername="postgresql+psycopg")


_CONNECTING = {"authentication failed": "28", "too many": "53300", "connection slots": "53300"}
_LOGIN = "is WFOPS_DATABASE_URL right, and WFOPS_SECRET_KEY the one of this database?"
_KINDS: tuple[tuple[tuple[str, ...], type[StoreError], str, str | None], ...] = (
    (("42P01", "42703"), StoreNotReady, "the database's schema does not fit this version", "run `wfops doctor`"),
    (("53100",), StoreUnavailable, "PostgreSQL has no room left", "free disk space"),
    (("53300",), StoreUnavailable, "PostgreSQL takes no more connections",
     "raise its max_connections, or start fewer processes"),
    (("40", "55P03"), StoreBusy, "PostgreSQL gave another transaction precedence", "try again"),
    (("28",), StoreUnavailable, "PostgreSQL refuses the login", _LOGIN),
    (("08", "57P01", "57P02", "57P03"), StoreUnavailable, "PostgreSQL is not reachable",
     "is the server running, and WFOPS_DATABASE_URL right?"),
    (("21", "22", "23", "54"), StoreRefusal, "PostgreSQL refused the data", None),
    (("",), StoreError, "PostgreSQL refused", None),
)
"""Beginnings of SQLSTATEs, what they become, and the way out; the first that fits."""


def _translate(context: ExceptionContext) -> None:
    """Raise ours in place of the driver's error. A failed check of a pooled connection is left alone: the pool replaces
    the connection, and if that fails too it is the attempt to connect that is told."""
    if context.is_pre_ping:
        return
    error = context.original_exception
    if isinstance(error, UnicodeEncodeError):
        raise StoreRefusal("a text holds lone surrogates, which PostgreSQL does not store") from error
    if isinstance(error, psycopg.Error):
        raise _translated(error) from error


def _translated(error: psycopg.Error) -> StoreError:
    message, state = _first_line(error), error.sqlstate
    if state == "42501" and "row-level security" in message:
        return TenantRequired(f"the database refused access to another tenant's rows: {message}",
                              fix="name the tenant of the row")
    if state is None and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        # no state for what happens while libpq connects, or to a connection that is gone
        state = next((s for words, s in _CONNECTING.items() if words in message), "08")
    _, kind, what, fix = next(k for k in _KINDS if (state or "").startswith(k[0]))
    constraint = f" ({error.diag.constraint_name})" if error.diag.constraint_name else ""
    return kind(f"{what}: {message}{constraint}", fix=fix)


def _first_line(error: psycopg.Error) -> str:
    """The message without its detail, which quotes values."""
    message = error.diag.message_primary or str(error)
    return message.strip().splitlines()[0] if message.strip() else type(error).__name__


@contextmanager
def connected(engine: Engine) -> Iterator[Connection]:
    """A pooled connection; :class:`StoreUnavailable` also when none becomes free in time."""
    try:
        connection = engine.connect()
    except PoolTimeout as error:
        raise StoreUnavailable(f"none of this process's connections to PostgreSQL became free within {POOL_SECONDS} s",
                               fix="lower WFOPS_SWEEP_CONCURRENCY") from error
    with connection:
        yield connection


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
    if isinstance(value, float) and not math.isfinite(value):
        return None  # as orjson writes it; JSON has no such number
    return value


class _Columns(Sequence[psycopg.Column]):
    """The columns of a cursor's result, each described when somebody looks at it."""

    def __init__(self, cursor: _Cursor, count: int) -> None:
        self._cursor = cursor
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self._count:
            raise IndexError(index)
        return psycopg.Column(self._cursor, index)


class _Cursor(psycopg.Cursor[Any]):
    """SQLAlchemy asks for the description of each result, and looks at it only where a statement is new to it: to describe
    every column each time was a tenth of what statements cost."""

    @property
    def description(self) -> Any:
        result = self.pgresult
        if result is None or not (result.nfields or result.status == ExecStatus.TUPLES_OK):
            return None
        return _Columns(self, result.nfields)


def _reach_statement(*_: object) -> None:
    failpoints.reach("store.statement")


def _ask_only_the_silent(engine: Engine) -> None:
    """A connection that was in use a moment ago and of which the server said nothing since, not even that it is closed,
    is there: to ask costs each transaction a round trip. One that rested longer is asked, because what lies between may
    have dropped it without a word."""
    ask = engine.dialect.do_ping
    returned: WeakKeyDictionary[Any, float] = WeakKeyDictionary()

    def do_ping(connection: Any) -> bool:
        rested = time.monotonic() - returned.get(connection, -math.inf)
        return (rested < UNASKED_SECONDS and not _has_news(connection)) or ask(connection)

    def put_back(connection: Any, _: object) -> None:
        if connection is not None:
            returned[connection] = time.monotonic()

    engine.dialect.do_ping = do_ping  # type: ignore[assignment, method-assign]
    event.listen(engine, "checkin", put_back)


def _has_news(connection: Any) -> bool:
    """Whether there is anything to read from a connection that waits for nothing: its end, or the reason for it."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def open_engine(url: str, *, pool_size: int = 8, application: str = "wfops") -> Engine:
    """A pooled engine. Connections are checked before use, so that a restart of the server costs one reconnect."""
    engine = create_engine(
        sqlalchemy_url(url),
        pool_size=pool_size,
        max_overflow=8,
        pool_pre_ping=True,
        pool_timeout=POOL_SECONDS,
        pool_use_lifo=True,  # the connection that was used last has its statements prepared
        hide_parameters=True,
        use_native_hstore=False,  # nothing here is one: each process would look it up
        json_serializer=_to_json,
        json_deserializer=orjson.loads,
        connect_args={"application_name": application, "connect_timeout": 10, "options": "-c timezone=UTC",
                      "cursor_factory": _Cursor},
    )
    _ask_only_the_silent(engine)
    event.listen(engine, "handle_error", _translate)
    event.listen(engine, "before_cursor_execute", _reach_statement)
    return engine
