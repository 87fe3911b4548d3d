"""Promotions, the decisions about them, and what was promoted last (§11)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, and_, bindparam, delete, exists, insert, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert

from wfops_pipelines.store.tables.incidents import runtime_journal as journal
from wfops_pipelines.store.tables.promotions import promoted_workflows as promoted
from wfops_pipelines.store.tables.promotions import promotion_decisions as decisions
from wfops_pipelines.store.tables.promotions import promotions

_NEXT_NUMBER = text("""
    INSERT INTO tenant_counters (tenant_id, name, value) VALUES (:tenant_id, 'promotion', 1)
    ON CONFLICT (tenant_id, name) DO UPDATE SET value = tenant_counters.value + 1 RETURNING value""")
_WAITING = text("status in ('pending', 'pending_approval', 'approved')")  # as the partial index says it, literally
_GIT_LEFT = text("git_status in ('pending', 'failed')")
_AHEAD_OF_GIT = select(promotions).where(
    promotions.c.tenant_id == bindparam("tenant"), promotions.c.target_environment_id == bindparam("environment"),
    text("git_status in ('pending', 'failed', 'pull_request')")).order_by(promotions.c.requested_at, promotions.c.id)
LISTED = [column for column in promotions.c if column.name not in ("plan", "gates", "results")]


class Promotions:
    """A tenant's promotions and restores."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    def add(self, **values: Any) -> int:
        """A new one, ``pending``; returns its number."""
        number = int(self._connection.execute(_NEXT_NUMBER, {"tenant_id": self._tenant_id}).scalar_one())
        self._connection.execute(insert(promotions).values(
            tenant_id=self._tenant_id, number=number, status="pending", **values))
        return number

    def by_number(self, number: int, *, lock: bool = False) -> Row[Any] | None:
        """One by the number that people use."""
        query = select(promotions).where(self._mine, promotions.c.number == number)
        return self._connection.execute(query.with_for_update() if lock else query).one_or_none()

    def by_id(self, promotion_id: UUID, *, lock: bool = False) -> Row[Any] | None:
        """One by its id."""
        query = select(promotions).where(self._mine, promotions.c.id == promotion_id)
        return self._connection.execute(query.with_for_update() if lock else query).one_or_none()

    def listed(self, *, environment_ids: Collection[UUID] | None = None, statuses: Collection[str] | None = None,
               before: tuple[datetime, UUID] | None = None, limit: int = 50) -> list[Row[Any]]:
        """A page, newest first, without plans and results; ``environment_ids`` are targets, ``before`` is the
        ``(requested_at, id)`` of the last one of the page before."""
        query = select(*LISTED).where(self._mine)
        if environment_ids is not None:
            query = query.where(promotions.c.target_environment_id.in_(environment_ids))
        if statuses is not None:
            query = query.where(promotions.c.status.in_(statuses))
        if before is not None:
            query = query.where(tuple_(promotions.c.requested_at, promotions.c.id) < before)
        return list(self._connection.execute(
            query.order_by(promotions.c.requested_at.desc(), promotions.c.id.desc()).limit(limit)))

    def waiting_for(self, environment_id: UUID) -> list[Row[Any]]:
        """Those to a target that have not begun, oldest first."""
        return list(self._connection.execute(
            select(*LISTED).where(self._mine, promotions.c.target_environment_id == environment_id, _WAITING)
            .order_by(promotions.c.requested_at, promotions.c.id)))

    def running_on(self, environment_id: UUID) -> Row[Any] | None:
        """The one that runs on a target; there is at most one (a unique index says so)."""
        return self._connection.execute(
            select(*LISTED).where(self._mine, promotions.c.target_environment_id == environment_id,
                                  text("status = 'running'"))).one_or_none()

    def restored_untold(self, environment_id: UUID) -> list[UUID]:
        """Operations of promotions whose rollback was incomplete, and is complete by now: whoever restored the last workflow
        died before that was told."""
        rows = and_(journal.c.tenant_id == promotions.c.tenant_id, journal.c.operation_id == promotions.c.operation_id)
        return list(self._connection.execute(
            select(promotions.c.operation_id).where(
                self._mine, promotions.c.target_environment_id == environment_id, promotions.c.status == "failed",
                promotions.c.rollback_incomplete, exists().where(rows), ~exists().where(rows, journal.c.state != "undone"))
            .order_by(promotions.c.requested_at, promotions.c.id)).scalars())

    def ahead_of_git(self, environment_id: UUID) -> list[Row[Any]]:
        """Those of which Git does not tell yet, oldest first: :meth:`with_git_left`, and :meth:`with_pull_request`."""
        return list(self._connection.execute(_AHEAD_OF_GIT, {"tenant": self._tenant_id, "environment": environment_id}))

    def with_git_left(self, environment_id: UUID) -> list[Row[Any]]:
        """Those whose commit to the target's folder is still to be made, oldest first."""
        return list(self._connection.execute(
            select(promotions).where(self._mine, promotions.c.target_environment_id == environment_id, _GIT_LEFT)
            .order_by(promotions.c.requested_at, promotions.c.id)))

    def with_pull_request(self, environment_id: UUID) -> list[Row[Any]]:
        """Those whose commit to the target's folder waits in a pull request, oldest first."""
        return list(self._connection.execute(
            select(promotions).where(self._mine, promotions.c.target_environment_id == environment_id,
                                     promotions.c.git_status == "pull_request")
            .order_by(promotions.c.requested_at, promotions.c.id)))

    def created_anew(self, environment_id: UUID) -> dict[str, str]:
        """What restores created because it was gone: by the key that it had (of one without a canonical workflow its n8n
        id), the n8n id that it got; the latest of several."""
        rows = self._connection.execute(
            select(promotions.c.results["workflows"]).where(
                self._mine, promotions.c.target_environment_id == environment_id, promotions.c.kind == "restore",
                promotions.c.status.in_(("completed", "completed_with_errors")))
            .order_by(promotions.c.started_at, promotions.c.id)).scalars()
        return {told["key"]: told["workflow_id"] for workflows in rows for told in workflows or ()
                if told["action"] == "create" and told["status"] == "success"}

    def change(self, promotion_id: UUID, *, now: datetime, **values: Any) -> None:
        """Set columns; the database refuses a transition that the lifecycle does not have."""
        self._connection.execute(
            update(promotions).where(self._mine, promotions.c.id == promotion_id).values(changed_at=now, **values))

    # -- decisions -----------------------------------------------------------------------------------------------------

    def decide(self, promotion_id: UUID, **values: Any) -> None:
        """What somebody decided; a second decision of the same person about the same plan is a unique violation."""
        self._connection.execute(insert(decisions).values(tenant_id=self._tenant_id, promotion_id=promotion_id, **values))

    def decisions_of(self, promotion_id: UUID) -> list[Row[Any]]:
        """All decisions, oldest first."""
        return list(self._connection.execute(
            select(decisions).where(decisions.c.tenant_id == self._tenant_id, decisions.c.promotion_id == promotion_id)
            .order_by(decisions.c.decided_at, decisions.c.id)))

    # -- what was promoted last ----------------------------------------------------------------------------------------

    def promoted_in(self, environment_id: UUID) -> dict[UUID, Row[Any]]:
        """What was promoted last into an environment, or out of it, by canonical id."""
        return {row.canonical_id: row for row in self._connection.execute(
            select(promoted).where(promoted.c.tenant_id == self._tenant_id, promoted.c.environment_id == environment_id))}

    def remember(self, rows: Sequence[dict[str, Any]]) -> None:
        """Keep what was promoted, in place of what was before."""
        if not rows:
            return
        statement = upsert(promoted)
        new = {name: statement.excluded[name] for name in (
            "digest", "portable_hash", "content_hash", "promotion_id", "promoted_at")}
        self._connection.execute(
            statement.on_conflict_do_update(index_elements=["tenant_id", "environment_id", "canonical_id"], set_=new),
            [{"tenant_id": self._tenant_id, **row} for row in rows])

    def forget(self, environment_id: UUID, canonical_ids: Collection[UUID]) -> None:
        """Nothing was promoted into an environment of these."""
        self._connection.execute(delete(promoted).where(
            promoted.c.tenant_id == self._tenant_id, promoted.c.environment_id == environment_id,
            promoted.c.canonical_id.in_(canonical_ids)))

    def numbers_of(self, promotion_ids: Iterable[UUID]) -> dict[UUID, int]:
        """The numbers that people use, by id."""
        rows = self._connection.execute(
            select(promotions.c.id, promotions.c.number).where(self._mine, promotions.c.id.in_(list(promotion_ids))))
        return {row.id: row.number for row in rows}

    @property
    def _mine(self) -> Any:
        return promotions.c.tenant_id == self._tenant_id
