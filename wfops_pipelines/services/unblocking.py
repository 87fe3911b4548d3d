"""Letting writes into an environment again that a rollback blocked (§11.7), because an admin says so."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Any

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.services.operations import RunningOperation, run_operation
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.write_permission import allow_writes


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
        return await asyncio.to_thread(_unblock, operation, place.writes_blocked_reason, str(reason))


def _unblock(operation: RunningOperation, blocked_reason: str | None, reason: str) -> Unblocked:
    context, slug = operation.context, operation.environment.slug
    with operation.services.store.bookkeeping(context, "environment.unblock", held=operation.held) as work:
        blocked = work.fleet.environment(operation.environment.id).writes_blocked_at is not None
        abandoned = work.journal.abandon(operation.environment.id, context.now()) if blocked else []
        changed = allow_writes(work, operation.environment, reason, abandoned=abandoned, was=blocked_reason)
    return Unblocked(context.tenant_slug, slug, changed, blocked_reason, abandoned, dry_run=False)
