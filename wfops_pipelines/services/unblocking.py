"""Letting writes into an environment again that a rollback blocked (§11.7), because an admin says so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import OutsideError, UsageError
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.services import promotion_rollback
from wfops_pipelines.services.follow_drift import accept
from wfops_pipelines.services.operations import RunningOperation, run_operation
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.write_permission import allow_writes
from wfops_pipelines.store.unit_of_work import UnitOfWork

log = logging.getLogger("wfops.operations")


@dataclass(frozen=True, slots=True)
class Unblocked:
    """What was blocked and why; ``abandoned`` names the workflows that stay as they are. ``changed`` is false when nothing
    was blocked, or the rollback succeeded at last by itself."""

    tenant: str
    environment: str
    changed: bool
    blocked_reason: str | None
    abandoned: list[str]
    dry_run: bool

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return asdict(self)


async def unblock(services: Services, context: Context, environment: str, *, reason: str | None,
                  dry_run: bool = False) -> Unblocked:
    """Unblock an environment, with a reason. What could not be undone is tried once more first; what then still cannot be
    is given up, by name, in the audit trail. :class:`UsageError` without a reason."""
    if not (reason or "").strip():
        raise UsageError("unblocking an environment needs a reason", fix="--reason says why it may be written to again")
    place = await asyncio.to_thread(services.environment, context, environment)
    if dry_run or place.writes_blocked_at is None:
        return Unblocked(context.tenant_slug, environment, place.writes_blocked_at is not None, place.writes_blocked_reason,
                         [], dry_run)
    async with run_operation(services, context, OperationKind.MAPPING, place) as operation:
        done, given_up = await asyncio.to_thread(_unblock, operation, place.writes_blocked_reason, str(reason))
        for row in given_up:
            await _settle(operation, row)
    return done


async def _settle(operation: RunningOperation, given_up: Row[Any]) -> None:
    """What a rollback did bring back counts as that from now on, if n8n can be read; else whoever comes next sees to it."""
    try:
        await promotion_rollback.settle(operation, given_up.id, given_up.checkpoint)
    except OutsideError as error:
        log.info("%s: what went back is not in Git yet: %s", operation.name, error)


def _unblock(operation: RunningOperation, blocked_reason: str | None, reason: str) -> tuple[Unblocked, list[Row[Any]]]:
    """What was done, and the rollbacks that were given up."""
    context, slug = operation.context, operation.environment.slug
    with operation.services.store.bookkeeping(context, "environment.unblock", held=operation.held) as work:
        environment = work.fleet.environment(operation.environment.id)
        blocked = environment.writes_blocked_at is not None
        left = work.journal.abandon(environment.id, context.now()) if blocked else []
        names = [row.name for row in left]
        changed = allow_writes(work, operation.environment, reason, abandoned=names, was=blocked_reason)
        operations = [work.operations.get(each) for each in dict.fromkeys(row.operation_id for row in left)]
        for operation_row in operations:
            _tell(work, operation_row, slug, reason, left)
        if changed and environment.repository_id is None:
            accept(work, environment, reason)  # no check will ever compare it with anything
    done = Unblocked(context.tenant_slug, slug, changed, blocked_reason, names, dry_run=False)
    return done, [row for row in operations if row is not None and row.kind == OperationKind.ROLLBACK]


def _tell(work: UnitOfWork, given_up: Row[Any] | None, slug: str, reason: str, left: Sequence[Row[Any]]) -> None:
    """In the story of the promotion whose rollback it was, if it was one's."""
    about = (given_up.checkpoint or {}).get("promotion") if given_up is not None else None
    promotion = work.promotions.by_id(UUID(about)) if about is not None else None
    if promotion is not None and given_up is not None:
        work.record("promotion.rollback_given_up", "promotion", f"p{promotion.number}", environment=slug, reason=reason,
                    workflows=[{"name": row.name, "workflow_id": row.workflow_id} for row in left
                               if row.operation_id == given_up.id])
