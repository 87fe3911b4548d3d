"""What a promotion waits for at this moment (§11.2, §11.5). Its gates say what was so when it was asked for."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.errors import WfopsError
from wfops_pipelines.domain.freeze_windows import state
from wfops_pipelines.domain.gates import Gate, GateOutcome
from wfops_pipelines.domain.promotion import PromotionStatus
from wfops_pipelines.domain.shown import moment
from wfops_pipelines.services.promotion_options import JsonObject
from wfops_pipelines.services.stage_rules import stage_between
from wfops_pipelines.store.unit_of_work import UnitOfWork


def waiting_now(work: UnitOfWork, row: Row[Any], now: datetime) -> JsonObject | None:
    """``{since, for: [reason, …]}`` of a promotion that waits, with no reason where it could begin; none of any other."""
    status = PromotionStatus(row.status)
    if status not in (PromotionStatus.PENDING_APPROVAL, PromotionStatus.APPROVED):
        return None
    reasons = []
    if row.source_environment_id is not None:
        try:
            reasons = [*(_approvals(work, row) if status is PromotionStatus.PENDING_APPROVAL else []),
                       *held_now(work, row, now)]
        except WfopsError as error:  # the stage is gone, or cannot be read any more
            reasons = [str(error)]
    if status is PromotionStatus.APPROVED and not reasons:
        name = f"{work.context.tenant_slug}/p{row.number}"
        if not row.options.get("when_ready"):
            reasons = [f"somebody who carries it out: wfops promotion execute {name}"]
    return {"since": row.changed_at.isoformat(), "for": reasons}


def held_now(work: UnitOfWork, row: Row[Any], now: datetime) -> list[str]:
    """The times that an approved promotion waits for, in words: its stage's freeze windows as they are declared now, then
    its soak time. ``UsageError`` where no stage leads there any more."""
    source, target = (work.fleet.environment(i) for i in (row.source_environment_id, row.target_environment_id))
    frozen, until = state(stage_between(work, source, target).freeze_windows, now), soaked_at(row)
    held = [] if frozen.open else [frozen.reason]
    return [*held, f"soak time until {moment(until)}"] if until is not None and now < until else held


def soaked_at(row: Row[Any]) -> datetime | None:
    """Until when its source has to run what is promoted, as its gates said when it was planned."""
    for gate in (row.gates or {}).get("gates", []):
        if gate["gate"] == Gate.SOAK_TIME and gate["outcome"] == GateOutcome.HELD and gate["details"].get("until"):
            return datetime.fromisoformat(gate["details"]["until"])
    return None


def gates_at(row: Row[Any]) -> datetime:
    """When the gates were evaluated that are stored: they are again when it is carried out, and nobody tells in between."""
    at: datetime = row.started_at or (row.ended_at if row.operation_id is not None else None) or row.requested_at
    return at


def _approvals(work: UnitOfWork, row: Row[Any]) -> list[str]:
    source, target = (work.fleet.environment(i) for i in (row.source_environment_id, row.target_environment_id))
    needed = stage_between(work, source, target).rules.approvers
    given = {each.decided_by for each in work.promotions.decisions_of(row.id)
             if each.approve and each.checksum == row.checksum}
    return [f"approvals: {len(given)} of {needed} are there"]
