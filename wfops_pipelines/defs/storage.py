"""Dagster's storage, as ``dagster.yaml`` names it: PostgreSQL, at the address that the environment says, else the
installation's own.

``wfops`` and the processes it starts have the address in ``WFOPS_DAGSTER_POSTGRES_URL``. Dagster's own commands
(``dagster dev``, ``dagster definitions validate``) need nothing set: the installation is opened for them, the embedded
PostgreSQL with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import create_pg_connection, create_pg_engine
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.pool import NullPool

from wfops_pipelines.bootstrap import process_installation

if TYPE_CHECKING:
    from dagster_postgres.auth import PgTokenProvider

STORAGE_VARIABLE = "WFOPS_DAGSTER_POSTGRES_URL"
_OPENING = 0x64616773746572  # "dagster"
_MORE_CONNECTIONS = 30  # of a process's threads that write at once; closed when they have written
_LONGEST_KEPT = 600  # seconds that a connection is kept


_MAIN_TABLES = frozenset({"runs", "instance_info", "event_logs", "jobs"})
"""Dagster looks for these to know whether it has to make its tables."""


class InstallationStorage(DagsterPostgresStorage):
    """``DagsterPostgresStorage`` that finds its address by itself, and keeps a connection.

    Dagster's own opens one for each statement, and a run writes some fifty events: PostgreSQL and the run would spend more
    time on logging in than on the events.
    """

    def __init__(self, postgres_url: str, should_autocreate_tables: bool = True,
                 inst_data: ConfigurableClassData | None = None, token_provider: PgTokenProvider | None = None) -> None:
        super().__init__(postgres_url, should_autocreate_tables, inst_data, token_provider)
        engine = create_pg_engine(postgres_url, token_provider, isolation_level="AUTOCOMMIT", pool_size=1,
                                  max_overflow=_MORE_CONNECTIONS, pool_pre_ping=True, pool_recycle=_LONGEST_KEPT)
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine = engine  # as their own optimize_for_webserver does, which a webserver still calls
        self._run_storage.dispose = engine.dispose  # type: ignore[method-assign]  # DagsterInstance.dispose calls it

    @classmethod
    def config_type(cls) -> Any:
        """It takes no configuration."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None,
                          config_value: Mapping[str, Any]) -> InstallationStorage:
        """Called by Dagster in every process that opens the instance."""
        url = os.environ.get(STORAGE_VARIABLE) or process_installation().dagster_url()
        with _alone(url) as connection:
            complete = set(inspect(connection).get_table_names()) >= _MAIN_TABLES
            return cls(postgres_url=url, should_autocreate_tables=not complete, inst_data=inst_data)


@contextmanager
def _alone(url: str) -> Iterator[Connection]:
    """One process at a time opens the storage: the first one makes its tables, and Dagster does not do that side by side
    (a table, an index or a mark that the other one made in between is an error)."""
    engine = create_engine(url, poolclass=NullPool)
    try:
        with create_pg_connection(engine) as connection, connection.begin():
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _OPENING})
            yield connection
    finally:
        engine.dispose()
