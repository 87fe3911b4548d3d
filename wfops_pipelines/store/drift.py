"""What drifts now, and the history of checks (§9)."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from wfops_pipelines.store.tables.drift import drift_check_history as history
from wfops_pipelines.store.tables.drift import workflow_drift as drift

_NOT_COMPARED = ("UNKNOWN", "ERROR", "UNTRACKED")  # one side was not read, or there was nothing to compare with

_OF_ENVIRONMENT = select(drift).where(
    drift.c.tenant_id == bindparam("tenant"), drift.c.environment_id == bindparam("environment")
).order_by(drift.c.name, drift.c.subject)
_LAST_CHECK = select(history).where(
    history.c.tenant_id == bindparam("tenant"), history.c.environment_id == bindparam("environment")
).order_by(history.c.last_at.desc()).limit(1)


class DriftRows:
    """A tenant's drift."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    def of_environment(self, environment_id: UUID) -> list[Row[Any]]:
        """What drifts in an environment, by name."""
        return list(self._connection.execute(_OF_ENVIRONMENT, self._key(environment_id)))

    def of_tenant(self) -> list[Row[Any]]:
        """What drifts anywhere."""
        return list(self._connection.execute(select(drift).where(drift.c.tenant_id == self._tenant_id)))

    def replace(self, environment_id: UUID, rows: list[dict[str, Any]]) -> None:
        """Make ``rows`` the drift of an environment. The caller keeps ``since`` of those that go on."""
        self._connection.execute(
            delete(drift).where(drift.c.tenant_id == self._tenant_id, drift.c.environment_id == environment_id)
        )
        if rows:
            self._connection.execute(insert(drift), [
                {**row, "tenant_id": self._tenant_id, "environment_id": environment_id} for row in rows
            ])

    def last_check(self, environment_id: UUID) -> Row[Any] | None:
        """The newest entry of the history."""
        return self._connection.execute(_LAST_CHECK, self._key(environment_id)).one_or_none()

    def checks(self, environment_id: UUID, *, limit: int = 50) -> list[Row[Any]]:
        """The history, newest first."""
        return list(self._connection.execute(
            select(history).where(history.c.tenant_id == self._tenant_id, history.c.environment_id == environment_id)
            .order_by(history.c.last_at.desc()).limit(limit)
        ))

    def last_seen_before(self, environment_id: UUID, moment: datetime) -> datetime | None:
        """When the last check before a time compared both sides; none if there was no such check."""
        return self._connection.execute(
            select(history.c.last_at)
            .where(history.c.tenant_id == self._tenant_id, history.c.environment_id == environment_id,
                   history.c.last_at < moment, history.c.status.not_in(_NOT_COMPARED))
            .order_by(history.c.last_at.desc()).limit(1)
        ).scalar_one_or_none()

    def add_check(self, **values: Any) -> None:
        """A new entry in the history."""
        self._connection.execute(insert(history).values(tenant_id=self._tenant_id, **values))

    def repeat_check(self, check_id: UUID, *, at: datetime, duration_ms: int) -> None:
        """An equal scheduled check in a row: counted, with the time of the last one."""
        self._connection.execute(
            update(history).where(history.c.tenant_id == self._tenant_id, history.c.id == check_id)
            .values(checks=history.c.checks + 1, last_at=at, duration_ms=duration_ms)
        )

    def _key(self, environment_id: UUID) -> dict[str, UUID]:
        return {"tenant": self._tenant_id, "environment": environment_id}
