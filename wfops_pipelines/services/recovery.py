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
from wfops_pipelines.services.write_permission import allow_writes

if TYPE_CHECKING:
    from sqlalchemy import Row

    from wfops_pipelines.n8n.provider import WorkflowProvider
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
    unfinished, blocked = await asyncio.to_thread(_unfinished, operation)
    for journal_id in unfinished:
        try:
            await _recover(operation, journal_id)
        except WfopsError as error:
            if operation.kind in WRITING:
                raise
            log.info("%s: writes of operation %s are unfinished still: %s", operation.name, journal_id, error,
                     extra={"tenant": operation.context.tenant_slug, "environment": operation.environment.slug,
                            "operation": str(operation.id), "error": error.kind})
    if blocked:
        await asyncio.to_thread(_allow_if_restored, operation)


def _allow_if_restored(operation: RunningOperation) -> None:
    """Let writes in again where nothing is left to restore: whoever restored the last of it died before that was told."""
    with operation.services.store.bookkeeping(operation.context, "recovery.allow", held=operation.held) as work:
        if not work.journal.unfinished(operation.environment.id):
            allow_writes(work, operation.environment, "restored")


def _unfinished(operation: RunningOperation) -> tuple[list[UUID], bool]:
    """Operations whose writes are unfinished, and those whose promotion still says that it runs, or is not restored: all of
    it was undone when a process died, and nobody has said so yet. And whether the environment takes no writes."""
    with operation.services.store.read(operation.context) as work:
        found = work.journal.unfinished(operation.environment.id)
        running = work.promotions.running_on(operation.environment.id)
        untold = work.promotions.restored_untold(operation.environment.id)
        blocked = work.fleet.environment(operation.environment.id).writes_blocked_at is not None
    if running is not None and running.operation_id is not None:
        untold.append(running.operation_id)
    return [each for each in dict.fromkeys([*found, *untold]) if each != operation.id], blocked


async def _recover(operation: RunningOperation, journal_id: UUID) -> None:
    # What writes runs operations, and every operation recovers first: the circle is broken here.
    from wfops_pipelines.services import promotion_outcome, promotion_rollback  # noqa: PLC0415
    from wfops_pipelines.services.runtime_writes import finish  # noqa: PLC0415

    with operation.services.store.read(operation.context) as work:
        dead = work.operations.get(journal_id)
    assert dead is not None  # noqa: S101 - the journal refers to it
    told: dict[str, Any] = dead.checkpoint or {}
    provider = operation.services.provider_of(operation.context, operation.environment)
    written: list[Written] = []
    try:
        try:
            written = await finish(operation, provider, journal_id, atomic=bool(told.get("atomic", True)),
                                   forward=dead.kind == OperationKind.ROLLBACK)
        except (OutsideError, NotVerified, RollbackIncomplete) as error:
            if dead.kind == OperationKind.PROMOTION:
                await promotion_outcome.settle(operation, journal_id, told, error=error)
            elif dead.kind == OperationKind.ROLLBACK:
                await asyncio.to_thread(promotion_rollback.tell_failure, operation, journal_id, told, error)
            if dead.kind != OperationKind.PROMOTION or isinstance(error, RollbackIncomplete):
                raise  # a promotion that could not be finished and was undone has come to its end
        else:  # what fails from here on leaves the writes as they are: whoever comes next settles them
            await _settle(operation, dead, told, written, provider)
    finally:
        await provider.aclose()
    await asyncio.to_thread(_close, operation, dead, written)


async def _settle(operation: RunningOperation, dead: Row[Any], told: dict[str, Any], written: list[Written],
                  provider: WorkflowProvider) -> None:
    from wfops_pipelines.services import incident_resolution, promotion_outcome, promotion_rollback  # noqa: PLC0415

    if dead.kind == OperationKind.INCIDENT_RESOLUTION:
        await incident_resolution.settle(operation, dead.id, told, written)
    elif dead.kind == OperationKind.ROLLBACK:
        await promotion_rollback.settle(operation, dead.id, told)
    elif dead.kind == OperationKind.PROMOTION:
        try:
            await promotion_outcome.settle(operation, dead.id, told, provider=provider)
        except NotVerified as error:  # it was undone for that, and has come to its end
            log.info("%s: %s", operation.name, error)
            written.clear()


def _close(operation: RunningOperation, dead: Row[Any], written: list[Written]) -> None:
    """The dead operation ends as what became of it: its writes are done, or undone. One that an admin gave up on failed."""
    done = bool(written) and all(item.state == "done" for item in written)  # as they were before they were settled
    given_up = any(item.state == "abandoned" for item in written)
    now = operation.context.now()
    with operation.services.store.unit_of_work(operation.context, "recovery.close", held=operation.held) as work:
        state = work.operations.get(dead.id)
        if state is not None and OperationState(state.state) is OperationState.FAILED and not given_up:
            if done:
                work.operations.start(dead.id, run_id=operation.context.run_id, now=now)
            work.operations.end(dead.id, OperationState.COMPLETED if done else OperationState.COMPENSATED, now=now,
                                metrics={"recovered_by": str(operation.id), "writes": len(written)})
        work.record("operation.recovered", "operation", str(dead.id), environment=operation.environment.slug,
                    outcome="finished" if done else "given_up" if given_up else "undone",
                    writes=[item.as_json() for item in written])
