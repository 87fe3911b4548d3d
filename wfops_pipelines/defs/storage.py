"""Dagster's storage, as ``dagster.yaml`` names it: PostgreSQL, at the address that the environment says, else the
installation's own.

``wfops`` and the processes it starts have the address in ``WFOPS_DAGSTER_POSTGRES_URL``. Dagster's own commands
(``dagster dev``, ``dagster definitions validate``) need nothing set: the installation is opened for them, the embedded
PostgreSQL with it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from wfops_pipelines.bootstrap import process_installation

STORAGE_VARIABLE = "WFOPS_DAGSTER_POSTGRES_URL"


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
        return cls(postgres_url=url, inst_data=inst_data)
