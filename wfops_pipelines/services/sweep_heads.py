"""Heads of branches during a sweep: each repository and branch is asked once, whichever environment comes first (§7)."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines import calls
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import OutsideError, Unreachable
from wfops_pipelines.domain.pushes import remote_host
from wfops_pipelines.services.services import Services
from wfops_pipelines.unwaited import call_unwaited

_AT_ONCE = 16
_HANGING = 256  # that were given up on, and whose own time is not over: while there are so many, nobody is asked
_AWAY = 3  # looks in a row that a host did not answer a tenant, or tenants: it, or they all, do not ask that host again


@dataclass(frozen=True, slots=True)
class Head:
    """A branch's head, none where the branch is not there, and when it was asked for."""

    commit: str | None
    asked_at: datetime


class Heads:
    """What each branch's head was in this sweep. Environments of one tenant share what they have in common; tenants share
    nothing, for the credentials differ."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._hanging: set[Future[str | None]] = set()
        self._asked: dict[Hashable, asyncio.Task[Head]] = {}
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._unanswered: defaultdict[str, Counter[UUID]] = defaultdict(Counter)

    async def of(self, context: Context, environment: Row[Any]) -> Head:
        """The head of the environment's branch; raises what Git says."""
        key: tuple[UUID, UUID, str] = (context.tenant_id, environment.repository_id, environment.on_branch)
        if key not in self._asked:
            self._asked[key] = asyncio.create_task(self._ask(context, environment))
        return await asyncio.shield(self._asked[key])

    async def _ask(self, context: Context, environment: Row[Any]) -> Head:
        host = remote_host(environment.repository_url, environment.api_url)
        async with self._places:
            self._refuse(host, context, environment)
            asked_at = context.now()
            try:
                commit = await self._ask_in_time(context, environment)
            except OutsideError as error:
                if isinstance(error, Unreachable) and error.status is None:
                    self._unanswered[host][context.tenant_id] += 1
                else:  # it answers, be it with a refusal, or that this tenant asks too often
                    self._unanswered.pop(host, None)
                raise
        self._unanswered.pop(host, None)
        return Head(commit, asked_at)

    def _refuse(self, host: str, context: Context, environment: Row[Any]) -> None:
        """Raise :class:`Unreachable` where asking would only take time. What one tenant is not answered says nothing of the
        host: it may have made that up."""
        if len(self._hanging) >= _HANGING:
            raise Unreachable(f"{_HANGING} repositories do not answer, and were not asked again",
                              target=environment.repository_url, fix="are the Git servers running, and not overloaded?")
        unanswered = self._unanswered[host]
        if host and (len(unanswered) >= _AWAY or unanswered[context.tenant_id] >= _AWAY):
            raise Unreachable(f"{_AWAY} repositories of {host} could not be reached just before", target=host,
                              fix="is the Git server running, and may this machine reach it?")

    async def _ask_in_time(self, context: Context, environment: Row[Any]) -> str | None:
        patience = self._services.limits.sweep_patience

        def ask() -> str | None:
            calls.end_by(time.monotonic() + patience)  # nobody waits for it any longer
            return self._services.head_of(context, environment)

        asked = call_unwaited(ask)
        asking = asyncio.wrap_future(asked)
        done, _ = await asyncio.wait({asking}, timeout=patience)
        if not done:
            self._hanging.add(asked)
            asked.add_done_callback(self._hanging.discard)
            asking.cancel()  # nobody is told of it any more
            raise Unreachable(f"the repository did not say its head within {patience:.0f} s",
                              target=environment.repository_url, fix="is the Git server running, and not overloaded?")
        return asking.result()
