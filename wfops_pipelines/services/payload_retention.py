"""Removing contents that nothing refers to any more (§18), a batch at a time, while no operation of the tenant runs."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from wfops_pipelines.domain.context import Context
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.snapshots import digests_of
from wfops_pipelines.store.unit_of_work import UnitOfWork

BATCH: Final = 50  # no operation begins meanwhile; the database looks for each in four columns
_POLL: Final = 0.1  # seconds between two looks whether operations are over, of other processes too
_MANIFESTS_AT_ONCE: Final = 20


@dataclass(slots=True)
class UnreferencedRemoved:
    """How many contents went, or with ``dry_run`` would go; ``waiting`` are those that operations kept us from."""

    count: int = 0
    waiting: int = 0


@dataclass(slots=True)
class _Listed:
    """What the manifests of snapshots list; each is read once."""

    manifests: set[str] = field(default_factory=set)
    digests: set[bytes] = field(default_factory=set)

    def read(self, work: UnitOfWork) -> None:
        """Read those that came since."""
        new = sorted(work.retention.payloads.manifests() - self.manifests)
        for start in range(0, len(new), _MANIFESTS_AT_ONCE):
            for body in work.payloads.load(new[start:start + _MANIFESTS_AT_ONCE]).values():
                self.digests.update(bytes.fromhex(digest) for digest in digests_of(body))
        self.manifests.update(new)

    def without(self, digests: Collection[str]) -> list[str]:
        """Those that no snapshot holds."""
        return [digest for digest in digests if bytes.fromhex(digest) not in self.digests]


def remove_unreferenced(services: Services, context: Context, *, dry_run: bool = False,
                        batch_size: int = BATCH) -> UnreferencedRemoved:
    """Remove a tenant's contents that nothing refers to. Each batch is one unit of work, recorded as ``retention.removed``;
    what a run that was cut off left is found by the next one.

    For a batch no operation of the tenant may run. One that runs is waited for as long as operations wait for each other
    (``limits.lease_wait``); then the rest is left to the next run.
    """
    listed, done = _Listed(), UnreferencedRemoved()
    with services.store.read(context) as work:
        listed.read(work)
        found = listed.without(work.retention.payloads.find())
    if dry_run:
        return UnreferencedRemoved(count=len(found))
    for start in range(0, len(found), batch_size):
        removed = _wait_and_remove(services, context, listed, found[start:start + batch_size])
        if removed is None:
            done.waiting = len(found) - start
            break
        done.count += removed
    return done


def _wait_and_remove(services: Services, context: Context, listed: _Listed, digests: Collection[str]) -> int | None:
    deadline = time.monotonic() + services.limits.lease_wait
    while (removed := _remove(services, context, listed, digests)) is None and time.monotonic() < deadline:
        time.sleep(_POLL)
    return removed


def _remove(services: Services, context: Context, listed: _Listed, digests: Collection[str]) -> int | None:
    """How many of them went; none when an operation runs."""
    with services.store.bookkeeping(context, "retention.payloads") as work:
        if not work.retention.payloads.hold_still(services.limits.lease_stale):
            return None
        listed.read(work)
        count, size = work.retention.payloads.remove(listed.without(digests))
        if count:
            work.record("retention.removed", "tenant", context.tenant_slug, what="payloads", count=count, bytes=size)
    return count
