"""Looking at both ends of a promotion, afresh, before anything is planned (§11.2, §11.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.fleet_fields import EnvironmentClass
from wfops_pipelines.domain.gates import GateReport, evaluate_all
from wfops_pipelines.domain.mapping import MappingStatus, UnlinkedReason
from wfops_pipelines.domain.promotion_limits import PlanProblem, PlanProblemKind, plan_problems, problems_left
from wfops_pipelines.domain.promotion_plan import PlanAction
from wfops_pipelines.domain.promotion_plan_text import render_plan_json
from wfops_pipelines.domain.shown import one_line
from wfops_pipelines.services.credential_checks import credentials_of
from wfops_pipelines.services.detect_drift import DriftCheck, check_drift, compare_within
from wfops_pipelines.services.operations import RunningOperation
from wfops_pipelines.services.promotion_facts import Asked, Seen, gate_facts
from wfops_pipelines.services.promotion_git import commit_what_is_left
from wfops_pipelines.services.promotion_options import PromotionOptions
from wfops_pipelines.services.promotion_plans import Credentials, Prepared, prepare
from wfops_pipelines.services.promotion_sides import adopt_equal_ones, read_side
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.stage_rules import Stage, stage_between
from wfops_pipelines.services.sync_environment import read_environment, sync_environment
from wfops_pipelines.services.sync_repository import read_repository
from wfops_pipelines.store.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class Judged:
    """A plan, what the gates say of it, and what stands against carrying it out that no option lets pass."""

    prepared: Prepared
    stage: Stage
    gates: GateReport
    problems: tuple[PlanProblem, ...]
    left: tuple[PlanProblem, ...]

    @property
    def refusals(self) -> list[str]:
        """Every reason against it, for people."""
        return [f"{each.gate}: {each.reason}" for each in self.gates.refusals] + [each.message for each in self.left]

    def as_text(self) -> str:
        """For a terminal: the plan with its diffs, what stands against it and what the lint found, then every gate."""
        document = {**self.prepared.plan.as_json(), "problems": [problem.as_json() for problem in self.problems],
                    "gates": self.gates.as_json()}
        return f"{render_plan_json(document, colour=False)}\n{self.gates.as_text()}\n"


async def look_at_source(services: Services, context: Context, source: Row[Any]) -> DriftCheck | None:
    """Read the source afresh. One that is not ``dev`` is compared with Git too: the check comes back."""
    if source._mapping["class"] == EnvironmentClass.DEV:
        await sync_environment(services, context, source)
        return None
    check = await check_drift(services, context, source)
    if check.inventory is None:
        await sync_environment(services, context, source)  # without Git nothing was read yet; else n8n says what is wrong
    return check


async def look_at_target(services: Services, context: Context, target: Row[Any]) -> DriftCheck:
    """Read the target and its folder afresh, and compare them."""
    check = await check_drift(services, context, target)
    if check.inventory is None:
        await sync_environment(services, context, target)
    return check


async def look_within(operation: RunningOperation) -> DriftCheck:
    """The same of the target, inside the operation that holds it. What cannot be read raises."""
    if operation.environment.repository_id is not None:
        async with operation.step("repository") as told:
            told.update((await read_repository(operation)).as_json())
    async with operation.step("environment") as told:
        told.update((await read_environment(operation)).as_json())
    await commit_what_is_left(operation)
    return await asyncio.to_thread(compare_within, operation)


async def ask_target(services: Services, context: Context, target: Row[Any]) -> tuple[int, Credentials]:
    """The generation of the target's n8n, and the credentials that it has, as far as it tells."""
    provider = services.provider_of(context, target)
    try:
        return (await provider.server()).generation, await credentials_of(provider)
    finally:
        await provider.aclose()


def judge_promotion(work: UnitOfWork, source: Row[Any], target: Row[Any], options: PromotionOptions, seen: Seen,
                    asked: Asked, *, generation: int, credentials: Credentials) -> Judged:
    """Plan a promotion from what the store has just read, and evaluate all its gates."""
    stage = stage_between(work, source, target)
    one, other = read_side(work, source, new_ones=True), read_side(work, target)
    prepared = prepare(work, one, adopt_equal_ones(one, other), options, generation=generation, credentials=credentials,
                       activation=stage.activation)
    return judge_plan(work, prepared, stage, seen, options, asked)


def judge_plan(work: UnitOfWork, prepared: Prepared, stage: Stage, seen: Seen, options: PromotionOptions,
               asked: Asked) -> Judged:
    """What the gates and the limits say of a plan."""
    report = evaluate_all(stage.rules, gate_facts(work, prepared, stage, seen, options, asked), work.context.now())
    problems = (*plan_problems(prepared.plan), *_namesakes(work.context.tenant_slug, prepared))
    return Judged(prepared, stage, report, problems, problems_left(
        problems, allow_large=options.allow_large, allow_irreversible=options.allow_irreversible))


def _namesakes(tenant: str, prepared: Prepared) -> Iterator[PlanProblem]:
    """What would be created beside a workflow of the same name that nobody has linked, ignored or said to be another one:
    most likely they are one workflow, and two of it would both run."""
    there = {row.name: row for row, _ in prepared.target.unmanaged.values()
             if row.status == MappingStatus.UNTRACKED and row.unlinked_reason != UnlinkedReason.BY_HAND}
    slug = prepared.target.environment.slug
    for change in prepared.plan.writes:
        row = there.get(change.name) if change.action is PlanAction.CREATE else None
        if row is not None:
            arguments = f"{tenant} {slug} {row.workflow_id}"
            yield PlanProblem(
                PlanProblemKind.NAMESAKE,
                f"{one_line(change.name, 60)!r} would be created beside one of this name that {prepared.plan.target} has, "
                "and that is linked to nothing",
                f"if they are one workflow: wfops link {arguments} {change.key}; if not: wfops ignore {arguments}",
                (change.key,))
