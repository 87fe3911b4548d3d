"""By what the next sweep recognises that nothing changed (§9): noted by a whole check that found nothing to tell or to do.

A listing whose bytes are those of the last whole read, over a store of which nothing was written since, under a branch whose
head is the same, cannot lead to another outcome. So the next sweep need not take it apart. A listing that was cut off or
refused has other bytes, and is read whole, which tells.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.normalize import NORMALIZER_VERSION
from wfops_pipelines.services.environment_sync import EnvironmentSync
from wfops_pipelines.services.sync_repository import RepositorySync
from wfops_pipelines.store.sweeps import states
from wfops_pipelines.store.unit_of_work import UnitOfWork


class Recognition:
    """Around a comparison, in its transaction: made before it, told to remember after it."""

    def __init__(self, work: UnitOfWork, environment: Row[Any], check_type: str, repository: RepositorySync | None,
                 inventory: EnvironmentSync | None) -> None:
        self._work = work
        self._environment = environment
        self._inventory = inventory
        self._head = repository.head or "" if repository is not None else None  # a branch that is not there has none
        self._before = self._state() if check_type == "scheduled" and self._is_whole else None

    @property
    def _is_whole(self) -> bool:
        """Whether both sides were just read, all of it."""
        inventory = self._inventory
        return inventory is not None and inventory.errors == 0 and bool(inventory.pages) and self._head is not None

    def remember(self, *, quiet: bool) -> None:
        """Note the listing, if the check told nothing (``quiet``) and left everything as it was; else the next one is whole.
        What the check itself changed, the one after it finds changed, and notes."""
        work, environment = self._work, self._environment
        last = work.drift.last_check(environment.id) if self._before is not None and quiet else None
        if last is None or last.type != "scheduled" or self._inventory is None or self._state() != self._before:
            work.listings.forget(environment.id)
            return
        work.listings.save(
            environment.id, pages=[{"digest": page.digest, "cursor": page.cursor} for page in self._inventory.pages],
            state=self._before, head=self._head, check_id=last.id, checked_at=work.context.now())

    def _state(self) -> str | None:
        return states(self._work.connection, [self._environment.id], NORMALIZER_VERSION).get(self._environment.id)
