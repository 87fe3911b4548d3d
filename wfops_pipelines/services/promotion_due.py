"""Which promotions can be carried out now, and where something is left of one that died (§11.6, §11.8): what sensors ask."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row

from wfops_pipelines.domain.errors import WfopsError
from wfops_pipelines.domain.pause import Pauses
from wfops_pipelines.services.promotion_waiting import held_now, soaked_at
from wfops_pipelines.services.services import Services

SETTLED: Final = timedelta(seconds=20)
"""Whoever asked for a promotion that nobody has to approve carries it out in the same run: for so long it is left alone."""

RETRY_BLOCKED: Final = timedelta(minutes=10)
"""Between two attempts at what has failed before: an incomplete rollback, a commit that Git refused."""

RETRY_DEAD: Final = timedelta(minutes=1)
"""Between two attempts to finish what a dead process left: the first comes at once."""

_SKEW: Final = timedelta(minutes=10)
"""Between clocks of hosts. What is later than that was written by a clock that was wrong, and nobody waits for it (§25)."""


@dataclass(frozen=True, slots=True)
class ReadyPromotion:
    """An approved promotion that nothing holds; ``opened_at`` is since when, for one attempt each time."""

    tenant: str
    number: int
    promotion_id: str
    source: str
    target: str
    opened_at: datetime

    @property
    def name(self) -> str:
        """``acme/p12``."""
        return f"{self.tenant}/p{self.number}"


@dataclass(frozen=True, slots=True)
class LeftThere:
    """An environment in which something is unfinished, and what: ``writing``, ``blocked``, ``git``."""

    tenant: str
    environment: str
    what: tuple[str, ...]
    tried_at: datetime | None


def ready_promotions(services: Services) -> tuple[list[ReadyPromotion], list[str]]:
    """Those that can be carried out now, and in words why the others wait. Targets that an operation holds wait too."""
    with services.store.system() as system:
        rows = system.promotions_ready()
        busy = system.busy_environments(services.limits.lease_stale) if rows else set()
        pauses = system.pauses()
    ready: list[ReadyPromotion] = []
    waiting: list[str] = []
    taken = set(busy)
    for row in rows:
        name = f"{row.tenant_slug}/p{row.number}"
        pause = pauses.of(row.tenant_id)
        if pause is not None:
            waiting.append(f"{name}: {pause}")
            continue
        if row.target_environment_id in taken:
            waiting.append(f"{name}: something else is at work in its target")
            continue
        try:
            found = _ready(services, row, pauses)
        except WfopsError as error:
            waiting.append(f"{name}: {error}")
            continue
        if isinstance(found, ReadyPromotion):
            ready.append(found)
            taken.add(row.target_environment_id)  # the next one of this target comes after it
        else:
            waiting.append(f"{name}: {found}")
    return ready, waiting


def _ready(services: Services, row: Row[Any], pauses: Pauses) -> ReadyPromotion | str:
    now = services.now()
    context = services.context(row.tenant_slug, actor="system:approved_promotions")
    with services.store.read(context) as work:
        decided = bool(work.promotions.decisions_of(row.id))
        source, target = (work.fleet.environment(i) for i in (row.source_environment_id, row.target_environment_id))
        held = held_now(work, row, now)
    if not decided and _is_less_ago(row.changed_at, SETTLED, now):
        return "whoever asked for it carries it out"
    if held:
        return held[0]
    opened = max(moment for moment in (row.changed_at, soaked_at(row)) if moment is not None)
    opened = pauses.due_since(row.tenant_id, opened)  # it waited for that, too
    return ReadyPromotion(row.tenant_slug, row.number, str(row.id), source.slug, target.slug, opened)


def unfinished_environments(services: Services) -> list[LeftThere]:
    """Where a recovery is due: nobody living works there, and the last attempt is long enough ago."""
    with services.store.system() as system:
        rows = system.environments_left()
        busy = system.busy_environments(services.limits.lease_stale) if rows else set()
    now = services.now()
    due = []
    for row in rows:
        what = tuple(name for name in ("writing", "blocked", "git") if row._mapping[name])
        pause = RETRY_DEAD if what == ("writing",) else RETRY_BLOCKED
        if row.id not in busy and (row.tried_at is None or not _is_less_ago(row.tried_at, pause, now)):
            due.append(LeftThere(row.tenant_slug, row.slug, what, row.tried_at))
    return due


def _is_less_ago(moment: datetime, pause: timedelta, now: datetime) -> bool:
    return moment - _SKEW <= now < moment + pause
