"""Diff states: source against target per stage and canonical workflow (§8)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, delete, select
from sqlalchemy.dialects.postgresql import insert

from wfops_pipelines.store.tables.reconciliation import workflow_diff_state as diffs


class DiffStates:
    """A tenant's diff states."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    def of_stage(self, source_id: UUID, target_id: UUID) -> dict[UUID, Row[Any]]:
        """The rows of one stage, by canonical workflow."""
        rows = self._connection.execute(select(diffs).where(self._stage(source_id, target_id)).order_by(diffs.c.name))
        return {row.canonical_id: row for row in rows}

    def of_tenant(self) -> list[Row[Any]]:
        """All rows of the tenant."""
        return list(self._connection.execute(select(diffs).where(diffs.c.tenant_id == self._tenant_id)))

    def known_of(self, target_id: UUID) -> dict[UUID, list[UUID]]:
        """Canonical ids of the rows into an environment, by source."""
        found: dict[UUID, list[UUID]] = {}
        for source_id, canonical_id in self._connection.execute(
            select(diffs.c.source_environment_id, diffs.c.canonical_id)
            .where(diffs.c.tenant_id == self._tenant_id, diffs.c.target_environment_id == target_id)
        ):
            found.setdefault(source_id, []).append(canonical_id)
        return found

    def save(self, rows: list[dict[str, Any]]) -> None:
        """Insert or update rows."""
        if not rows:
            return
        statement = insert(diffs)
        keys = {"tenant_id", "source_environment_id", "target_environment_id", "canonical_id"}
        statement = statement.on_conflict_do_update(
            index_elements=sorted(keys), set_={c.name: statement.excluded[c.name] for c in diffs.c if c.name not in keys}
        )
        self._connection.execute(statement, [{**row, "tenant_id": self._tenant_id} for row in rows])

    def remove(self, source_id: UUID, target_id: UUID, canonical_ids: list[UUID]) -> None:
        """Forget rows whose workflow is on neither side any more."""
        if canonical_ids:
            self._connection.execute(
                delete(diffs).where(self._stage(source_id, target_id), diffs.c.canonical_id.in_(canonical_ids))
            )

    def _stage(self, source_id: UUID, target_id: UUID) -> Any:
        return ((diffs.c.tenant_id == self._tenant_id) & (diffs.c.source_environment_id == source_id)
                & (diffs.c.target_environment_id == target_id))
