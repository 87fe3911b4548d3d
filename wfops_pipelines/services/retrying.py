"""Going on by itself with an operation that a transient error cut off after it had stored something (§20).

The calls to n8n and Git were repeated already (§3): what never came to a checkpoint is not tried again here, for nothing
would be gained. So who asks for an n8n that is down hears of it at once, and one that stumbles over page 300 goes on there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import Blocked, StoreError, WfopsError
from wfops_pipelines.domain.operation import OperationKind, OperationState
from wfops_pipelines.services.services import Services

T = TypeVar("T")


async def with_retries(services: Services, context: Context, environment: Row[Any], kind: OperationKind,
                       work: Callable[[Context], Awaitable[T]]) -> T:
    """What ``work`` answers; it is given the context, and after a transient error one that resumes the operation that
    failed, ``limits.operation_attempts`` times in all."""
    use, delay = context, services.limits.operation_backoff
    for left in reversed(range(services.limits.operation_attempts)):
        try:
            return await work(use)
        except WfopsError as error:
            if not left or not error.transient or isinstance(error, Blocked | StoreError):
                raise
            failed = await asyncio.to_thread(_with_checkpoint, services, context, environment.id, kind)
            if failed is None:
                raise
        await asyncio.sleep(delay)
        use, delay = replace(context, resumes=failed), delay * 2
    raise AssertionError  # the last attempt returns or raises


def _with_checkpoint(services: Services, context: Context, environment_id: UUID, kind: OperationKind) -> UUID | None:
    try:
        with services.store.read(context) as work:
            last = work.operations.last(environment_id, kind)
    except StoreError:
        return None  # the first error is the story
    if last is None or last.state != OperationState.FAILED or last.checkpoint is None:
        return None
    found: UUID = last.id
    return found
