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
from typing import Any

from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import create_pg_connection
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from wfops_pipelines.bootstrap import process_installation

STORAGE_VARIABLE = "WFOPS_DAGSTER_POSTGRES_URL"
_OPENING = 0x64616773746572  # "dagster"


class InstallationStorage(DagsterPostgresStorage):
    """``DagsterPostgresStorage`` that finds its address by itself."""

    @classmethod
    def config_type(cls) -> Any:
        """It takes no configuration."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None,
                          config_value: Mapping[str, Any]) -> InstallationStorage:
        """Called by Dagster in every process that opens the instance."""
        url = os.environ.get(STORAGE_VARIABLE) or process_installation().dagster_url()
        with _alone(url):
            return cls(postgres_url=url, inst_data=inst_data)


@contextmanager
def _alone(url: str) -> Iterator[None]:
    """One process at a time opens the storage: the first one makes its tables, and Dagster does not do that side by side
    (a table, an index or a mark that the other one made in between is an error)."""
    engine = create_engine(url, poolclass=NullPool)
    try:
        with create_pg_connection(engine) as connection, connection.begin():
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _OPENING})
            yield
    finally:
        engine.dispose()
