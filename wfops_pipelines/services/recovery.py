"""Finishing what a process that died left in n8n, before anything else is done there (§11.8, design: who executes)."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from uuid import UUID

from wfops_pipelines.domain.errors import (
    NotVerified,
    OutsideError,
    RollbackIncomplete,
    WfopsError,
)
from wfops_pipelines.domain.operation import OperationKind, OperationState

if TYPE_CHECKING:
    from sqlalchemy import Row

    from wfops_pipelines.services.intended_writes import Written
    from wfops_pipelines.services.operations import RunningOperation

log = logging.getLogger("wfops.operations")

WRITING = frozenset({OperationKind.INCIDENT_RESOLUTION, OperationKind.PROMOTION, OperationKind.ROLLBACK,
                     OperationKind.RECOVERY})
"""Kinds of operations that write to n8n: they do not begin on top of something unfinished."""


async def recover(operation: RunningOperation) -> None:
    """Finish, or undo, every write to this environment that a dead process left unfinished.

    An operation that writes itself does not begin when that fails; one that only looks goes on, and says so.
    """
    for journal_id in await asyncio.to_thread(_unfinished, operation):
        try:
            await _recover(operation, journal_id)
        except WfopsError as error:
            if operation.kind in WRITING:
                raise
            log.info("%s: writes of operation %s are unfinished still: %s", operation.name, journal_id, error,
                     extra={"tenant": operation.context.tenant_slug, "environment": operation.environment.slug,
                            "operation": str(operation.id), "error": error.kind})


def _unfinished(operation: RunningOperation) -> list[UUID]:
    with operation.services.store.read(operation.context) as work:
        return [found for found in work.journal.unfinished(operation.environment.id) if found != operation.id]


async def _recover(operation: RunningOperation, journal_id: UUID) -> None:
    # What writes runs operations, and every operation recovers first: the circle is broken here.
    from wfops_pipelines.services import incident_resolution, promotion_outcome, promotion_rollback  # noqa: PLC0415
    from wfops_pipelines.services.runtime_writes import finish  # noqa: PLC0415

    with operation.services.store.read(operation.context) as work:
        dead = work.operations.get(journal_id)
    assert dead is not None  # noqa: S101 - the journal refers to it
    told: dict[str, Any] = dead.checkpoint or {}
    provider = operation.services.provider_of(operation.context, operation.environment)
    written: list[Written] = []
    try:
        written = await finish(operation, provider, journal_id, atomic=bool(told.get("atomic", True)))
        if dead.kind == OperationKind.INCIDENT_RESOLUTION:
            await incident_resolution.settle(operation, journal_id, told, written)
        elif dead.kind == OperationKind.PROMOTION:
            await promotion_outcome.settle(operation, journal_id, told, provider=provider)
        elif dead.kind == OperationKind.ROLLBACK:
            await promotion_rollback.settle(operation, journal_id, told)
    except (OutsideError, NotVerified, RollbackIncomplete) as error:
        if dead.kind == OperationKind.PROMOTION:
            await promotion_outcome.settle(operation, journal_id, told, error=error)
        if dead.kind != OperationKind.PROMOTION or isinstance(error, RollbackIncomplete):
            raise  # a promotion that could not be finished and was undone has come to its end
    finally:
        await provider.aclose()
    await asyncio.to_thread(_close, operation, dead, written)


def _close(operation: RunningOperation, dead: Row[Any], written: list[Written]) -> None:
    """The dead operation ends as what became of it: its writes are done, or undone."""
    done = bool(written) and all(item.state == "done" for item in written)  # as they were before they were settled
    now = operation.context.now()
    with operation.services.store.unit_of_work(operation.context, "recovery.close", held=operation.held) as work:
        state = work.operations.get(dead.id)
        if state is not None and OperationState(state.state) is OperationState.FAILED:
            if done:
                work.operations.start(dead.id, run_id=operation.context.run_id, now=now)
            work.operations.end(dead.id, OperationState.COMPLETED if done else OperationState.COMPENSATED, now=now,
                                metrics={"recovered_by": str(operation.id), "writes": len(written)})
        work.record("operation.recovered", "operation", str(dead.id), environment=operation.environment.slug,
                    outcome="finished" if done else "undone", writes=[item.as_json() for item in written])
