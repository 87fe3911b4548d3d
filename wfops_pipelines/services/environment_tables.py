"""The tables that promotions transform by (§11.4), as the store has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.mapping import MappingStatus
from wfops_pipelines.domain.transform_tables import CredentialRow, EnvironmentTables
from wfops_pipelines.store.unit_of_work import UnitOfWork


def environment_tables(work: UnitOfWork, environment: Row[Any]) -> EnvironmentTables:
    """What portable terms mean in an environment: ``environment`` is its row. Linked workflows count, archived ones too
    (they keep their ids); those that the last sync did not find, and those whose canonical workflow is deleted, do not."""
    linked = [row for row in work.mappings.of_environment(environment.id, statuses=(MappingStatus.LINKED,))
              if row.missing_at is None]
    alive = {canonical_id for canonical_id, row in work.mappings.canonicals({row.canonical_id for row in linked}).items()
             if row.deleted_at is None}
    return EnvironmentTables(
        environment=environment.slug, base_url=environment.base_url,
        workflow_ids={str(row.canonical_id): row.workflow_id for row in linked if row.canonical_id in alive},
        credentials=credential_rows(row for row in work.fleet.credentials() if row.environment_id == environment.id),
        variables=dict(environment.variables))


def credential_rows(rows: Iterable[Row[Any]]) -> tuple[CredentialRow, ...]:
    """Rows of the credential table as the transformations know them."""
    return tuple(CredentialRow(row.key, row.type, row.name, row.credential_id) for row in rows)
