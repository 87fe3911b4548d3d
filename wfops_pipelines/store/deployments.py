"""Deployments and the results of their workflows (§12)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, insert, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert

from wfops_pipelines.store.tables.deployments import deployment_workflows as results
from wfops_pipelines.store.tables.deployments import deployments


class Deployments:
    """A tenant's deployments."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    def add(self, **values: Any) -> None:
        """A new one, ``pending``."""
        self._connection.execute(insert(deployments).values(tenant_id=self._tenant_id, status="pending", **values))

    def by_id(self, deployment_id: UUID, *, lock: bool = False) -> Row[Any] | None:
        """One by its id."""
        query = select(deployments).where(self._mine, deployments.c.id == deployment_id)
        return self._connection.execute(query.with_for_update() if lock else query).one_or_none()

    def of_promotion(self, promotion_id: UUID) -> Row[Any] | None:
        """The one that starts a promotion, or did; of several, as an approved one can be scheduled again, the newest."""
        return self._connection.execute(
            select(deployments).where(self._mine, deployments.c.promotion_id == promotion_id)
            .order_by(deployments.c.requested_at.desc(), deployments.c.id.desc()).limit(1)).one_or_none()

    def of_batch(self, batch_id: UUID, *, lock: bool = False) -> list[Row[Any]]:
        """This tenant's members of a batch."""
        query = select(deployments).where(self._mine, deployments.c.batch_id == batch_id)
        return list(self._connection.execute(query.with_for_update() if lock else query))

    def listed(self, *, statuses: Collection[str] | None = None, before: tuple[datetime, UUID] | None = None,
               limit: int = 50) -> list[Row[Any]]:
        """A page, newest first; ``before`` is the ``(requested_at, id)`` of the last one of the page before."""
        query = select(deployments).where(self._mine)
        if statuses is not None:
            query = query.where(deployments.c.status.in_(statuses))
        if before is not None:
            query = query.where(tuple_(deployments.c.requested_at, deployments.c.id) < before)
        return list(self._connection.execute(
            query.order_by(deployments.c.requested_at.desc(), deployments.c.id.desc()).limit(limit)))

    def running(self) -> list[Row[Any]]:
        """Those that run, the oldest first."""
        return list(self._connection.execute(
            select(deployments).where(self._mine, text("status = 'running'")).order_by(deployments.c.started_at)))

    def beat(self, deployment_id: UUID, run_id: str | None, now: datetime) -> None:
        """It lives: said by the run that carries it out, and by no other."""
        self._connection.execute(update(deployments).where(
            self._mine, deployments.c.id == deployment_id, deployments.c.status == "running",
            deployments.c.run_id.is_not_distinct_from(run_id)).values(heartbeat_at=now))

    def change(self, deployment_id: UUID, **values: Any) -> None:
        """Set columns; the database refuses a transition that the lifecycle does not have."""
        self._connection.execute(update(deployments).where(self._mine, deployments.c.id == deployment_id).values(**values))

    def results_of(self, deployment_id: UUID) -> list[Row[Any]]:
        """What became of each workflow, by name."""
        return list(self._connection.execute(
            select(results).where(results.c.tenant_id == self._tenant_id, results.c.deployment_id == deployment_id)
            .order_by(results.c.name, results.c.key)))

    def save_results(self, deployment_id: UUID, rows: Sequence[dict[str, Any]]) -> None:
        """Keep what became of workflows, in place of what was said of them before."""
        if not rows:
            return
        statement = upsert(results)
        new = {name: statement.excluded[name] for name in ("name", "action", "status", "message", "at")}
        self._connection.execute(
            statement.on_conflict_do_update(index_elements=["tenant_id", "deployment_id", "key"], set_=new),
            [{"tenant_id": self._tenant_id, "deployment_id": deployment_id, **row} for row in rows])

    @property
    def _mine(self) -> Any:
        return deployments.c.tenant_id == self._tenant_id
