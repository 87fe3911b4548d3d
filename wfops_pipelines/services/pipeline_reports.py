"""A tenant's pipelines as people look at them (§11.1): what each stage asks for, whether it is open now, and which
promotions run to its target or wait."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.domain.freeze_windows import state
from wfops_pipelines.domain.gate_facts import StageRules
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.stage_rules import stage_of
from wfops_pipelines.store.unit_of_work import UnitOfWork


def pipeline_reports(services: Services, context: Context, name: str | None = None) -> list[dict[str, Any]]:
    """The tenant's pipelines by name, or the one named, as ``--json`` shows them. :class:`UsageError` names those there are
    when there is none of that name."""
    now = context.now()
    with services.store.read(context) as work:
        pipelines = work.fleet.pipelines()
        if name is not None and name not in {row.name for row in pipelines}:
            raise UsageError(f"tenant {context.tenant_slug} has no pipeline {name!r}", fix=(
                f"pipelines: {', '.join(row.name for row in pipelines)}" if pipelines else
                "it has none: declare one in fleet.yaml, and run `wfops apply`"))
        slugs = {row.id: row.slug for row in work.fleet.environments(deleted=True)}
        stages = work.fleet.stages()
        return [{
            "tenant": context.tenant_slug, "pipeline": pipeline.name, "atomic": pipeline.atomic,
            "stages": [_stage(work, pipeline, stage, slugs, now) for stage in stages if stage.pipeline_id == pipeline.id],
        } for pipeline in pipelines if name in (None, pipeline.name)]


def _stage(work: UnitOfWork, pipeline: Row[Any], row: Row[Any], slugs: dict[UUID, str], now: datetime) -> dict[str, Any]:
    stage = stage_of(pipeline, row)
    freeze = state(stage.freeze_windows, now)
    running = work.promotions.running_on(row.target_environment_id)
    waiting = work.promotions.waiting_for(row.target_environment_id)
    return {
        "source": slugs[row.source_environment_id], "target": slugs[row.target_environment_id],
        "gates": _gates(stage.rules), "activation": str(stage.activation), "approvers": stage.rules.approvers,
        "soak_hours": row.soak_hours,
        "freeze_windows": [window.as_json() for window in stage.freeze_windows],
        "now": {"open": freeze.open, "reason": freeze.reason, "windows": list(freeze.windows),
                "opens_at": None if freeze.opens_at is None else freeze.opens_at.isoformat()},
        "verification": stage.verification.as_json() if stage.verification.asks_for_something else None,
        "running": None if running is None else _promotion(work, running, slugs),
        "waiting": [_promotion(work, each, slugs) for each in waiting],
    }


def _gates(rules: StageRules) -> dict[str, bool]:
    """By the names that fleet.yaml has for them."""
    return {"requireCleanDrift": rules.require_clean_drift, "allowOverwritingHotfixes": rules.allow_overwriting_hotfixes,
            "allowForcePromotionOnConflicts": rules.allow_force_promotion_on_conflicts,
            "allowPlaceholderCredentials": rules.allow_placeholder_credentials}


def _promotion(work: UnitOfWork, row: Row[Any], slugs: dict[UUID, str]) -> dict[str, Any]:
    """One of a target's promotions; a restore comes from a snapshot, and has no ``source``."""
    return {"promotion": f"{work.context.tenant_slug}/p{row.number}", "kind": row.kind, "status": row.status,
            "source": slugs.get(row.source_environment_id), "requested_by": row.requested_by,
            "requested_at": row.requested_at.isoformat()}
