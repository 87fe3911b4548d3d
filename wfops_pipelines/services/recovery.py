"""Finishing what a process that died left in n8n, before anything else is done there (§11.8, design: who executes)."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from uuid import UUID

from wfops_pipelines.domain.errors import WfopsError
from wfops_pipelines.domain.operation import OperationKind, OperationState

if TYPE_CHECKING:
    from sqlalchemy import Row

    from wfops_pipelines.services.intended_writes import Written
    from wfops_pipelines.services.operations import RunningOperation

log = logging.getLogger("wfops.operations")

WRITING = frozenset({OperationKind.INCIDENT_RESOLUTION})
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
    # What resolves incidents runs operations, and every operation recovers first: the circle is broken here.
    from wfops_pipelines.services.incident_resolution import settle  # noqa: PLC0415
    from wfops_pipelines.services.runtime_writes import finish  # noqa: PLC0415

    with operation.services.store.read(operation.context) as work:
        dead = work.operations.get(journal_id)
    assert dead is not None  # noqa: S101 - the journal refers to it
    provider = operation.services.provider_of(operation.context, operation.environment)
    try:
        written = await finish(operation, provider, journal_id)
    finally:
        await provider.aclose()
    if dead.kind == OperationKind.INCIDENT_RESOLUTION:
        await settle(operation, journal_id, dead.checkpoint or {}, written)
    await asyncio.to_thread(_close, operation, dead, written)


def _close(operation: RunningOperation, dead: Row[Any], written: list[Written]) -> None:
    """The dead operation ends as what became of it: its writes are done, or undone."""
    done = all(item.state == "done" for item in written)  # as they were before they were settled
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
