"""What the gates of a promotion judge (§11.5), looked up: a fact that cannot be had is missing, and blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.drift import DriftKind, EnvironmentDriftStatus
from wfops_pipelines.domain.drift_policy import DriftPolicy
from wfops_pipelines.domain.entitlements import EverythingAllowed, Feature
from wfops_pipelines.domain.entry_points import entry_points
from wfops_pipelines.domain.fleet_fields import EnvironmentClass
from wfops_pipelines.domain.gate_facts import (
    ApprovalFacts,
    CredentialFacts,
    CredentialUse,
    Decision,
    DriftFacts,
    GateFacts,
    IncidentFacts,
    NamedWorkflow,
    OpenIncident,
    SoakedWorkflow,
    SourceFacts,
    UnresolvedIn,
    WriteBlock,
    look_up,
)
from wfops_pipelines.domain.incident import IncidentStatus
from wfops_pipelines.domain.lint_rules import lint_workflow
from wfops_pipelines.domain.normalize import STICKY_NOTE
from wfops_pipelines.domain.promotion_plan import PlannedChange
from wfops_pipelines.domain.reconciliation import DiffStatus
from wfops_pipelines.domain.workflow import Content
from wfops_pipelines.domain.workflow_lint import LintContext, LintReport, LintWaiver, TakenPath, apply_waivers, by_path
from wfops_pipelines.services.detect_drift import DriftCheck
from wfops_pipelines.services.drift_policies import policy_of
from wfops_pipelines.services.promotion_options import PromotionOptions
from wfops_pipelines.services.promotion_plans import Prepared, id_of
from wfops_pipelines.services.stage_rules import Stage
from wfops_pipelines.services.write_permission import CLOSED, OPEN_IT, is_closed
from wfops_pipelines.store.unit_of_work import UnitOfWork

_ALL = EverythingAllowed()


@dataclass(frozen=True)
class Seen:
    """The drift of both sides as it was just checked; ``source`` is none of a restore, and of one that nobody has to
    check (``dev``)."""

    target: DriftCheck
    source: DriftCheck | None = None


@dataclass(frozen=True)
class Asked:
    """Who asked for a promotion, and what people decided about it so far."""

    by: str
    through: str | None = None
    decisions: tuple[Row[Any], ...] = ()


def gate_facts(work: UnitOfWork, prepared: Prepared, stage: Stage, seen: Seen, options: PromotionOptions,
               asked: Asked) -> GateFacts:
    """Everything that the gates judge of a plan."""
    target = work.fleet.environment(prepared.target.environment.id)
    policy = look_up(lambda: policy_of(work, target))
    allows_override = isinstance(policy, DriftPolicy)
    return GateFacts(
        policy=policy,
        source=look_up(lambda: _source(prepared, seen)),
        drift=look_up(lambda: _drift(prepared, seen.target, options.override_reason if allows_override else None)),
        incident=look_up(lambda: _incident(work, target)),
        hotfixes=look_up(lambda: _hotfixes(prepared, seen.target)),
        conflicts=look_up(lambda: _overwritten(prepared, DiffStatus.CONFLICT)),
        credentials=look_up(lambda: _credentials(prepared)),
        unresolved=look_up(lambda: tuple(
            UnresolvedIn(_name(prepared, key), problem) for key, problems in prepared.unresolved.items()
            for problem in problems)),
        freeze_windows=stage.freeze_windows,
        approvals=look_up(lambda: ApprovalFacts(prepared.plan.checksum, asked.by, asked.through, tuple(
            Decision(row.decided_by, row.checksum, row.approve, row.decided_through) for row in asked.decisions))),
        soaked=look_up(lambda: _soaked(prepared)),
        lint=look_up(lambda: _lint(work, prepared)),
        write_block=look_up(lambda: _write_block(target)),
        entitlement=_ALL.feature(work.context.tenant_slug, Feature.WORKFLOW_CI_CD),
        budget=_ALL.promotion(work.context.tenant_slug, len(prepared.plan.writes)),
    )


def _write_block(target: Row[Any]) -> WriteBlock:
    if is_closed(target):
        return WriteBlock(True, f"it {CLOSED}", fix=OPEN_IT)
    return WriteBlock(target.writes_blocked_at is not None, target.writes_blocked_reason, target.writes_blocked_at)


def _source(prepared: Prepared, seen: Seen) -> SourceFacts:
    if prepared.source is None:
        return SourceFacts("snapshot", follows_git=False)
    environment = prepared.source.environment
    is_dev = environment._mapping["class"] == EnvironmentClass.DEV
    check = seen.source
    return SourceFacts(
        environment.slug, follows_git=not is_dev,
        status=None if check is None else EnvironmentDriftStatus(check.status),
        drifted=() if check is None else tuple(_drifted(check)), reason=_why(check))


def _drift(prepared: Prepared, check: DriftCheck, override_reason: str | None) -> DriftFacts:
    keys = {row.workflow_id: key for key, row in prepared.target.rows.items()}
    side = prepared.target
    live = [row for row in side.rows.values() if not row.archived]
    return DriftFacts(
        EnvironmentDriftStatus(check.status), fresh=check.error is None, drifted=tuple(_drifted(check, keys)),
        overwritten=frozenset(change.key for change in prepared.plan.writes if not change.action.removes),
        target_is_empty=not live and not side.unmanaged, reason=_why(check), override_reason=override_reason)


def _drifted(check: DriftCheck, keys: Mapping[str, str] | None = None) -> Iterator[NamedWorkflow]:
    for told in check.workflows:
        if told["kind"] != "unpublished_changes":
            workflow_id = told.get("workflow_id") or ""
            key = told.get("canonical_id") or (keys or {}).get(workflow_id) or workflow_id
            yield NamedWorkflow(str(key), str(told.get("name") or workflow_id))


def _why(check: DriftCheck | None) -> str | None:
    if check is None:
        return None
    return str(check.error) if check.error is not None else check.reason


def _incident(work: UnitOfWork, target: Row[Any]) -> IncidentFacts:
    row = work.incidents.open_of(target.id)
    return IncidentFacts(None if row is None else OpenIncident(row.number, IncidentStatus(row.status), row.expires_at,
                                                               row.reason))


def _overwritten(prepared: Prepared, status: DiffStatus) -> tuple[NamedWorkflow, ...]:
    return tuple(NamedWorkflow(change.key, change.name) for change in prepared.plan.writes
                 if change.overwrites and change.status is status)


def _hotfixes(prepared: Prepared, check: DriftCheck) -> tuple[NamedWorkflow, ...]:
    """What was done in the target and would be undone: edits, what somebody archived, and what somebody switched on or off
    against what Git says."""
    found = list(_overwritten(prepared, DiffStatus.TARGET_HOTFIX))
    found += [NamedWorkflow(change.key, f"{change.name} (archived there)") for change in prepared.plan.writes
              if change.revives]
    switched = {told.get("workflow_id") for told in check.workflows if DriftKind.ACTIVATION in (told.get("kinds") or ())}
    return (*found, *(NamedWorkflow(change.key, f"{change.name} (switched {_on(not change.after.active)} there)")
                      for change in prepared.plan.writes
                      if change.switches and change.after is not None and change.workflow_id in switched))


def _on(active: bool) -> str:
    return "on" if active else "off"


def _credentials(prepared: Prepared) -> CredentialFacts:
    names = {change.key: change.name for change in prepared.plan.changes}
    rows = prepared.target.tables.credential_rows
    uses = []
    for used in prepared.plan.credentials:
        key = used.name.removeprefix("key:")
        row = rows.get((used.type, key)) if key != used.name else None
        by = tuple(names[each] for each in used.used_by)
        if row is not None:
            uses.append(CredentialUse(key, used.type, row.name, id_of(row, prepared.credentials), by))
        elif key != used.name:  # what has no key at all is among the unresolved
            uses.append(CredentialUse(key, used.type, None, None, by))
    return CredentialFacts(tuple(uses), prepared.credentials)


def _soaked(prepared: Prepared) -> tuple[SoakedWorkflow, ...]:
    """Since when the source holds what it holds: the moment at which a sync first saw it so."""
    rows = {} if prepared.source is None else prepared.source.rows
    return tuple(SoakedWorkflow(change.name, rows[change.key].changed_at if change.key in rows else None)
                 for change in prepared.plan.writes if not change.action.removes)


def _lint(work: UnitOfWork, prepared: Prepared) -> tuple[LintReport, ...]:
    waivers = [LintWaiver.model_validate(row) for row in work.lint_waivers.standing()]
    taken = by_path(_taken(prepared))
    reports = []
    running = _running_types(prepared)
    for change in prepared.plan.writes:
        content = _linted(prepared, change)
        if content is None or change.after is None:
            continue
        context = LintContext(active=change.after.active, workflow_id=change.workflow_id, taken_paths=taken,
                              generation=prepared.plan.generation, running_types=running)
        reports.append(apply_waivers(lint_workflow(content, context), waivers, now=work.context.now()))
    return tuple(reports)


def _linted(prepared: Prepared, change: PlannedChange) -> Content | None:
    """What is written, or is switched on as it is."""
    if (lowered := prepared.lowered.get(change.key)) is not None:
        return lowered.content
    if change.switches and change.after is not None and change.after.active:
        return prepared.target.contents.get(change.key)
    return None


def _running_types(prepared: Prepared) -> frozenset[str]:
    """The types of the nodes of what runs in the target: these it has."""
    side = prepared.target
    held = [*((row, side.contents[key]) for key, row in side.rows.items()), *side.unmanaged.values()]
    return frozenset(node["type"] for row, content in held if row.active and not row.archived for node in content["nodes"]
                     if node.get("disabled") is not True and isinstance(node.get("type"), str))


def _taken(prepared: Prepared) -> Iterator[TakenPath]:
    """The paths that the target's workflows serve, those that this plan writes left out."""
    written = {change.key for change in prepared.plan.writes}
    side = prepared.target
    held = [(row, side.contents[key]) for key, row in side.rows.items() if key not in written and not row.archived]
    for row, content in [*held, *side.unmanaged.values()]:
        for node in content["nodes"]:
            if node.get("type") == STICKY_NOTE or node.get("disabled") is True:
                continue
            for entry in entry_points(node, row.workflow_id):
                if entry.path is not None and entry.method is not None:
                    yield TakenPath(entry.method, entry.path, row.workflow_id, row.name, row.active)


def _name(prepared: Prepared, key: str) -> str:
    return next((change.name for change in prepared.plan.changes if change.key == key), key)
