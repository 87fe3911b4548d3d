"""Heads of branches during a sweep: each repository and branch is asked once, whichever environment comes first (§7)."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import OutsideError, Unreachable
from wfops_pipelines.services.services import Services

_AT_ONCE = 16
_THREADS = 256  # those that hang count no more once they were given up on, but stay until their own time is over
_AWAY = 3  # tenants in a row that a host did not answer: the others do not ask it. One tenant's word is not enough


class Heads:
    """What each branch's head was in this sweep. Environments of one tenant share what they have in common; tenants share
    nothing, for the credentials differ."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="heads")
        self._asked: dict[Hashable, asyncio.Task[str | None]] = {}
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._unanswered: defaultdict[str, set[UUID]] = defaultdict(set)

    async def of(self, context: Context, environment: Row[Any]) -> str | None:
        """The head of the environment's branch, none where the branch is not there; raises what Git says."""
        key: tuple[UUID, UUID, str] = (context.tenant_id, environment.repository_id, environment.on_branch)
        if key not in self._asked:
            self._asked[key] = asyncio.create_task(self._ask(context, environment))
        return await asyncio.shield(self._asked[key])

    async def _ask(self, context: Context, environment: Row[Any]) -> str | None:
        host = urlsplit(environment.repository_url).netloc
        async with self._places:
            if host and len(self._unanswered[host]) >= _AWAY:
                raise Unreachable(f"{host} did not answer {_AWAY} tenants just before", target=host,
                                  fix="is the Git server running, and may this machine reach it?")
            try:
                head = await self._ask_in_time(context, environment)
            except OutsideError as error:
                if isinstance(error, Unreachable) and error.status is None:
                    self._unanswered[host].add(context.tenant_id)
                else:  # it answers, be it with a refusal, or that this tenant asks too often
                    self._unanswered.pop(host, None)
                raise
        self._unanswered.pop(host, None)
        return head

    async def _ask_in_time(self, context: Context, environment: Row[Any]) -> str | None:
        loop, patience = asyncio.get_running_loop(), self._services.limits.sweep_patience
        asking = loop.run_in_executor(self._threads, self._services.head_of, context, environment)
        done, _ = await asyncio.wait({asking}, timeout=patience)
        if not done:
            asking.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise Unreachable(f"the repository did not say its head within {patience:.0f} s", target=environment.on_branch,
                              fix="is the Git server running, and not overloaded?")
        return asking.result()

    def close(self) -> None:
        """Ask nobody any more; what hangs is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
