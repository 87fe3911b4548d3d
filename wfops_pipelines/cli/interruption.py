"""Ctrl-C while something is written to n8n: what was under way, what becomes of it, and how to look (§11.8, §22)."""

from __future__ import annotations

import signal
from datetime import datetime
from typing import TYPE_CHECKING

from wfops_pipelines.cli.session import Session
from wfops_pipelines.domain.errors import Cancelled, WfopsError

if TYPE_CHECKING:
    from wfops_pipelines.services.promotion_interruption import LeftBehind


def interrupted(session: Session, doing: str, tenant: str, target: str, *, since: datetime, promotion: str | None = None,
                begins: bool = True, rolling_back: bool = False) -> Cancelled:
    """The end of a command that somebody interrupted while it was ``doing`` something to ``target``: about the
    ``promotion`` that it names, or the one that it asked for ``since`` then. ``begins``: it was more than a look."""
    from wfops_pipelines.services.promotion_interruption import left_behind

    what = cut_off(doing)
    if not begins:
        return Cancelled(f"{what}: nothing was begun")
    number = int(promotion.rpartition("/p")[2]) if promotion is not None else None
    try:
        left = left_behind(session.services, session.context(tenant), target, number=number, since=since,
                           rolling_back=rolling_back)
    except WfopsError as error:
        return Cancelled(f"{what}; what became of it cannot be told: {error.message}",
                         fix=f"wfops promotion list {tenant} --to {target}")
    if left is None:
        return Cancelled(f"{what}: nothing was begun")
    name = f"{tenant}/p{left.number}"
    look = f"look: wfops promotion show {name}" + (
        f", wfops operation show {tenant} {left.operation_id}" if left.operation_id is not None else "")
    became, way = _became(left, name, tenant, target, rolling_back=rolling_back)
    return Cancelled(f"{what}: {became}", fix="; ".join(part for part in (way, look) if part))


def cut_off(doing: str) -> str:
    """The beginning of what is told of it; from here on nothing keeps us from telling, also no second Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return f"interrupted while {doing[:1].lower()}{doing[1:]}"


def _became(left: LeftBehind, name: str, tenant: str, target: str, *, rolling_back: bool) -> tuple[str, str]:
    """What became of it, and how it goes on."""
    is_now = f"{name} is {left.status.replace('_', ' ')}"
    next_one = (f"the next operation on {tenant}/{target} does it, `wfops up` by itself; "
                f"`wfops promotion recover {tenant} {target}` does nothing else")
    itself = "by itself while `wfops up` runs, or " if left.when_ready else ""
    later = f"it is carried out {itself}by `wfops promotion execute {name}`; wfops cancel {name} calls it off"
    cases = (
        (left.rollback_incomplete,
         f"{is_now}, and not everything could be restored: nothing else can be written there", next_one),
        (left.unfinished,
         f"what it had begun to write to n8n {tenant}/{target} is to be finished or restored yet", next_one),
        (rolling_back and left.status != "rolled_back",
         f"nothing of it is left in n8n {tenant}/{target}, and {is_now} as before", ""),
        (left.status in ("approved", "pending_approval"), f"nothing was written, and {is_now} still", later),
        (left.status == "rolled_back" and not rolling_back,
         f"all that it had written to n8n {tenant}/{target} was taken back, and {is_now}", ""),
        (left.status == "failed", f"nothing of it is left in n8n {tenant}/{target}, and {is_now}", ""),
        (left.git_status == "pending", f"n8n is written, {is_now}, and Git has to follow", next_one))
    return next(((became, way) for holds, became, way in cases if holds), (is_now, ""))
