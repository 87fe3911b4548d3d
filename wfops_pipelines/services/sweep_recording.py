"""How a sweep records what it found the same as before: many environments in few transactions (§9, §19.1).

Nothing changed, so there is no governed change and no event: the check is counted in the history, with its time. Before
that, the store is asked whether it still holds what the last whole check saw; where it does not, the check is made whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.circuit import Circuit
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import StoreBusy
from wfops_pipelines.domain.normalize import NORMALIZER_VERSION
from wfops_pipelines.services.services import Services

_SOON = 0.25  # seconds that a record waits for others to go with


@dataclass(frozen=True, slots=True)
class Visit:
    """An environment of a sweep, as it was when the sweep began; ``token`` is its API key, encrypted."""

    context: Context
    environment: Row[Any]
    circuit: Circuit | None
    token: str | None = None

    @property
    def id(self) -> UUID:
        """The environment's id."""
        found: UUID = self.environment.id
        return found

    @property
    def name(self) -> str:
        """``tenant/environment``."""
        return f"{self.context.tenant_slug}/{self.environment.slug}"


@dataclass(frozen=True, slots=True)
class Repeated:
    """A check that found what the one before found: both sides the same (Git when its head was asked for), or
    (``message``) the same error."""

    visit: Visit
    at: datetime
    duration_ms: int
    message: str | None = None
    head_asked_at: datetime | None = None

    def as_row(self) -> dict[str, Any]:
        """As the store takes it."""
        environment = self.visit.environment
        return {"environment_id": environment.id, "check_id": environment.check_id, "message": self.message,
                "last": environment.last_drift_check_at, "at": self.at, "duration_ms": self.duration_ms,
                "read": self.message is None, "head_asked_at": self.head_asked_at}


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of some repeated checks."""

    counted: list[Repeated]
    stale: list[Repeated]  # the store moved on: to be checked whole
    left: list[Repeated]  # somebody else was at it


class Recorder:
    """Collects repeated checks and records them in batches of ``limits.sweep_chunk``, or after a moment."""

    def __init__(self, services: Services, tell: Callable[[Recorded], None]) -> None:
        self._services = services
        self._tell = tell
        self._waiting: list[Repeated] = []
        self._some = asyncio.Event()
        self._recording = asyncio.Lock()
        self._task = asyncio.create_task(self._run())
        self._ending = False

    def add(self, repeated: Repeated) -> None:
        """Record this soon."""
        self._waiting.append(repeated)
        self._some.set()

    @property
    def idle(self) -> bool:
        """Whether everything is recorded."""
        return not self._waiting

    async def flush(self) -> None:
        """Record what waits, now."""
        async with self._recording:
            while self._waiting:
                batch = self._waiting[:self._services.limits.sweep_chunk]
                recorded = await asyncio.to_thread(record, self._services, batch)
                del self._waiting[:len(batch)]
                self._tell(recorded)

    async def close(self) -> None:
        """Record what is left, and end; raises what stood in the way of recording."""
        self._ending = True
        self._some.set()
        await self._task

    async def _run(self) -> None:
        while not (self._ending and not self._waiting):
            await self._some.wait()
            self._some.clear()
            if not self._ending and len(self._waiting) < self._services.limits.sweep_chunk:
                await asyncio.sleep(_SOON)
            await self.flush()


def record(services: Services, batch: list[Repeated]) -> Recorded:
    """One look at the states, and one transaction; those of one tenant together. Where another transaction has precedence,
    all of them stay due."""
    read = [each for each in batch if each.message is None]
    with services.store.sweep_reads() as system:
        states = system.states([each.visit.id for each in read], NORMALIZER_VERSION) if read else {}
    stale = [each for each in read if states.get(each.visit.id) != each.visit.environment.known_state]
    left = {each.visit.id for each in stale}
    todo = sorted((each for each in batch if each.visit.id not in left), key=lambda each: each.visit.context.tenant_id)
    counted: set[UUID] = set()
    try:
        with services.store.sweep_writes() as work:
            for tenant_id, group in groupby(todo, key=lambda each: each.visit.context.tenant_id):
                counted |= work.repeat(tenant_id, [each.as_row() for each in group])
    except StoreBusy:
        counted.clear()
    return Recorded([each for each in todo if each.visit.id in counted], stale,
                    [each for each in todo if each.visit.id not in counted])
