"""The next step of a stored promotion: whether it may be taken, said of this one by name (§11.2)."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.promotion import PromotionEvent, PromotionStatus, move
from wfops_pipelines.domain.shown import moment, one_line

_REASON: Final = 200  # characters of it


def moved(context: Context, row: Row[Any], event: PromotionEvent) -> PromotionStatus:
    """The status that ``event`` makes of a promotion. ``ForbiddenTransition`` names it, and says since when it is what it
    is, and why."""
    return move(PromotionStatus(row.status), event, name=f"{context.tenant_slug}/p{row.number}", how=_how(row))


def _how(row: Row[Any]) -> str:
    since = f"since {moment(row.ended_at or row.changed_at)}"
    return f"{since}: {one_line(row.reason, _REASON)}" if row.reason else since
