"""What a promotion from one environment to another has to pass, as the tenant's pipelines have it (§11.1)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.domain.fleet_fields import Activation
from wfops_pipelines.domain.freeze_windows import FreezeWindow, read_windows
from wfops_pipelines.domain.gate_facts import StageRules
from wfops_pipelines.domain.pipeline_specs import StoredGates
from wfops_pipelines.domain.verification import Verification
from wfops_pipelines.store.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class Stage:
    """A way from a source to a target; ``pipeline`` is none where the tenant has no pipelines at all. ``activation`` says
    whose holds for what both have, unless whoever promotes says otherwise."""

    pipeline: str | None
    rules: StageRules
    freeze_windows: tuple[FreezeWindow, ...]
    verification: Verification
    atomic: bool
    activation: Activation = Activation.KEEP


def stage_between(work: UnitOfWork, source: Row[Any], target: Row[Any]) -> Stage:
    """The stage that leads from ``source`` to ``target`` (rows of environments).

    A tenant without any pipelines has the default rules for every pair. :class:`UsageError`, with the way out, where
    there are pipelines and none leads there, or more than one does (of which then at least one is declared no more).
    """
    pipelines = {row.id: row for row in work.fleet.pipelines()}
    if not pipelines:
        return Stage(None, StageRules(), (), Verification(), atomic=True)
    found = [row for row in work.fleet.stages()
             if (row.source_environment_id, row.target_environment_id) == (source.id, target.id)]
    tenant, way = work.context.tenant_slug, f"from {source.slug} to {target.slug}"
    if not found:
        raise UsageError(f"no pipeline of {tenant} leads {way}", fix=(
            f"add the stage {{source: {source.slug}, target: {target.slug}}} to a pipeline in fleet.yaml and run "
            f"`wfops apply`; `wfops pipeline list {tenant}` shows those there are"))
    if len(found) > 1:
        names = ", ".join(sorted(repr(pipelines[row.pipeline_id].name) for row in found))
        raise UsageError(f"more than one pipeline of {tenant} leads {way} ({names}): whose gates are meant cannot be told",
                         fix="take the stage out of all but one in fleet.yaml and run `wfops apply`; with --prune it also "
                             "removes pipelines that are declared no more")
    return stage_of(pipelines[found[0].pipeline_id], found[0])


def stage_of(pipeline: Row[Any], stage: Row[Any]) -> Stage:
    """A stage from its rows; :class:`InvalidFields` where its stored freeze windows cannot be read."""
    gates = StoredGates.model_validate(stage.gates)
    return Stage(
        pipeline.name,
        StageRules(
            require_clean_drift=gates.require_clean_drift, allow_overwriting_hotfixes=gates.allow_overwriting_hotfixes,
            allow_force_promotion_on_conflicts=gates.allow_force_promotion_on_conflicts,
            allow_placeholder_credentials=gates.allow_placeholder_credentials, approvers=stage.approvers,
            soak=timedelta(hours=stage.soak_hours)),
        read_windows(stage.freeze_windows, whose=f"freeze windows of {pipeline.name}"),
        Verification.from_json(stage.verification), atomic=pipeline.atomic, activation=gates.activation)
