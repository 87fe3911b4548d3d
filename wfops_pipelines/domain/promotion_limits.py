"""What a plan needs somebody's word for before it is carried out (§11.3): large, irreversible and impossible changes.

``--yes`` is none of these words. Conflicts, hotfixes and everything that asks the world are gates (§11.5), not limits:
limits follow from the plan alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.domain.fleet_fields import Activation
from wfops_pipelines.domain.promotion_plan import Plan, PlanAction, PlannedChange
from wfops_pipelines.domain.shown import one_line
from wfops_pipelines.domain.workflow import JsonObject

LARGE_PERCENT: Final = 30
LARGE_FROM: Final = 10
"""More than 30 % updates and removals is large, in a target of 10 workflows or more."""


class PlanProblemKind(StrEnum):
    """Why a plan cannot be carried out as it is."""

    LARGE = "large"  # needs --allow-large with a reason
    IRREVERSIBLE = "irreversible"  # needs --allow-irreversible
    MISSING_WORKFLOW = "missing_workflow"  # a sub-workflow or error workflow that the target will not have
    KEPT_SETTING = "kept_setting"  # the target has a setting that the API cannot clear: it would not be what was promoted
    UNPUBLISHED_CALL = "unpublished_call"  # it would run and call what is not published, which n8n 2.x refuses
    CUT_OFF = "cut_off"  # it would be switched off, and what runs and stays as it is calls it: that would fail
    NAMESAKE = "namesake"  # it would be created beside one of the same name that nobody has linked
    ARCHIVED = "archived"  # in the archive of an n8n 1.x, which nothing brings back through the API


@dataclass(frozen=True, slots=True)
class PlanProblem:
    """One reason, the workflows it is about, and the way out. ``override`` is the option that lets it pass, if any does."""

    kind: PlanProblemKind
    message: str
    fix: str
    keys: tuple[str, ...] = ()
    override: str | None = None

    def as_json(self) -> JsonObject:
        """Plain JSON."""
        return {"kind": str(self.kind), "message": self.message, "fix": self.fix, "keys": list(self.keys),
                "override": self.override}


def is_large(plan: Plan) -> bool:
    """Whether updates and removals are more than 30 % of a target that holds ten workflows or more."""
    return plan.target_holds >= LARGE_FROM and _touched(plan) * 100 > LARGE_PERCENT * plan.target_holds


def plan_problems(plan: Plan) -> tuple[PlanProblem, ...]:
    """All reasons against carrying it out without anybody's word, those that an option lets pass first."""
    problems = []
    if is_large(plan):
        problems.append(PlanProblem(
            PlanProblemKind.LARGE,
            f"{_touched(plan)} of the {plan.target_holds} workflows of {plan.target} would be changed or removed, which is "
            f"more than {LARGE_PERCENT} %",
            "look at the plan, then give --allow-large with a reason",
            tuple(change.key for change in plan.writes if change.action is not PlanAction.CREATE), "--allow-large"))
    for change in plan.writes:
        if change.irreversible:
            problems.append(PlanProblem(
                PlanProblemKind.IRREVERSIBLE, f"{_name(change)} could not be undone: {'; '.join(change.irreversible)}",
                "give --allow-irreversible if that is meant", (change.key,), "--allow-irreversible"))
    return (*problems, *_missing(plan), *(problem for change in plan.writes for problem in _impossible(plan, change)))


def _missing(plan: Plan) -> Iterator[PlanProblem]:
    names = {change.key: _name(change) for change in plan.changes}
    for missing in plan.missing:
        if missing.needed:
            called = one_line(missing.reference, 80) if missing.name is None else repr(one_line(missing.name, 60))
            yield PlanProblem(
                PlanProblemKind.MISSING_WORKFLOW,
                f"{names[missing.key]} needs the workflow {called}, which {plan.target} will not have",
                "promote it too" if missing.in_source else "link it in the source, or remove the reference there",
                (missing.key,))


def _impossible(plan: Plan, change: PlannedChange) -> Iterator[PlanProblem]:
    if change.kept_settings:
        yield PlanProblem(
            PlanProblemKind.KEPT_SETTING,
            f"{_name(change)} would keep {', '.join(change.kept_settings)}, which {plan.target} has and n8n's API cannot "
            "clear",
            "set it in the source to what it shall be, or clear it in the target's editor", (change.key,))
    if change.unpublished:
        yield PlanProblem(
            PlanProblemKind.UNPUBLISHED_CALL,
            f"{_name(change)} calls {', '.join(change.unpublished)}, not published in {plan.target}: n8n would refuse to "
            "publish the caller", _way_to_publish(plan, change), (change.key,))
    if change.cut_off:
        yield PlanProblem(
            PlanProblemKind.CUT_OFF,
            f"{_name(change)} would be switched off as in {plan.source}, and {', '.join(change.cut_off)}, which "
            f"this promotion leaves running in {plan.target}, would fail calling it",
            "switch it on in the source, promote the callers too, or keep the target's activation (--activation keep)",
            (change.key,))
    archived = change.before is not None and change.before.archived
    if archived and change.action is PlanAction.UPDATE and plan.generation < 2:
        yield PlanProblem(
            PlanProblemKind.ARCHIVED,
            f"{_name(change)} is in the archive of {plan.target}, and n8n 1.x does not bring it back through its API",
            "bring it back in n8n, or unlink it", (change.key,))


def _way_to_publish(plan: Plan, caller: PlannedChange) -> str:
    if plan.activation is Activation.SOURCE:
        if any(other.action is PlanAction.CREATE and other.key in caller.names.calls for other in plan.changes):
            return "publish it in the source, or promote with --activation keep, which publishes what is new for its callers"
        return ("publish it in the source and promote it too, or publish it there (without a trigger, n8n would refuse that "
                "too)")
    return ("publish it there, or in the source and promote both with --activation source (without a trigger, n8n would "
            "refuse that too)")


def check_reason(allow_large: str | None) -> None:
    """Pass unless ``--allow-large`` was given without saying why: :class:`UsageError`."""
    if allow_large is not None and not allow_large.strip():
        raise UsageError("--allow-large needs a reason", fix="say in a few words why so much may change at once")


def problems_left(problems: Iterable[PlanProblem], *, allow_large: str | None = None,
                  allow_irreversible: bool = False) -> tuple[PlanProblem, ...]:
    """Those of a plan's problems that nobody allowed. ``allow_large`` is the reason that somebody gave."""
    check_reason(allow_large)
    allowed = {"--allow-large": allow_large is not None, "--allow-irreversible": allow_irreversible}
    return tuple(problem for problem in problems if not allowed.get(problem.override or "", False))


def _touched(plan: Plan) -> int:
    return sum(change.action is not PlanAction.CREATE for change in plan.writes)


def _name(change: PlannedChange) -> str:
    return f"{one_line(change.name, 60)!r}"
