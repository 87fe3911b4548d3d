"""Planning and judging a restore (§13): the snapshot is the plan's source, the environment as it is now its target.

Plans compare workflows by keys and n8n ids alone: everything else is concrete on both sides. What is written is what the
snapshot holds, to the byte, but for references to workflows that have another n8n id by now. A restore brings back what was
there, so what a stage asks of news (soak time, approvals, freeze windows, agreement with Git) is not asked of it. A
credential that is gone only warns: after a loss, workflows come back first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.freeze_windows import FreezeWindow
from wfops_pipelines.domain.gate_facts import (
    CannotBeListed,
    CredentialFacts,
    CredentialUse,
    DriftFacts,
    GateFacts,
    StageRules,
)
from wfops_pipelines.domain.gates import Gate, GateOutcome, GateReport, GateResult, evaluate_all
from wfops_pipelines.domain.ids_of_now import with_ids_of_now
from wfops_pipelines.domain.lift import Lifted, lift, promoted_texts
from wfops_pipelines.domain.lower import Lowered
from wfops_pipelines.domain.promotion_limits import plan_problems, problems_left
from wfops_pipelines.domain.promotion_order import named_workflows
from wfops_pipelines.domain.promotion_plan import Plan, PlanAction, PlannedChange
from wfops_pipelines.domain.promotion_planning import make_plan
from wfops_pipelines.domain.snapshot import SnapshotWorkflow
from wfops_pipelines.domain.snapshot_restore import Restore, pair_for_restore
from wfops_pipelines.domain.transform_tables import EnvironmentTables
from wfops_pipelines.domain.verification import Verification
from wfops_pipelines.domain.workflow import Content, decode_content
from wfops_pipelines.services.environment_tables import environment_tables
from wfops_pipelines.services.promotion_facts import Asked, Seen, gate_facts
from wfops_pipelines.services.promotion_look import Judged
from wfops_pipelines.services.promotion_options import PromotionOptions
from wfops_pipelines.services.promotion_plans import Credentials, Prepared
from wfops_pipelines.services.promotion_sides import Side
from wfops_pipelines.services.snapshots import content_lost, load, stored_workflows
from wfops_pipelines.services.stage_rules import Stage
from wfops_pipelines.store.unit_of_work import UnitOfWork

_NO_WINDOWS: Final[tuple[FreezeWindow, ...]] = ()
STAGE: Final = Stage(None, StageRules(require_clean_drift=False, allow_overwriting_hotfixes=True,
                                      allow_force_promotion_on_conflicts=True), _NO_WINDOWS, Verification(), atomic=True)
"""What a restore has to pass. The target's own rules for drift stay in force (§10.7)."""

_NOT_ASKED: Final[Mapping[Gate, str]] = {
    Gate.SOURCE_IN_SYNC: "a snapshot has nothing that it has to agree with",
    Gate.HOTFIX: "a restore is meant to replace what was done since",
    Gate.CONFLICT: "a restore is meant to replace what was done since",
    Gate.INCIDENT_TTL: "a restore is a way out of an incident, and waits for none",
    Gate.ACTIVE_INCIDENT: "a restore is a way out of an incident, and waits for none",
    Gate.FREEZE_WINDOW: "freeze windows are about what is new; no stage leads here",
    Gate.SOAK_TIME: "what is restored has run here before",
    Gate.APPROVALS: "no stage leads here, and none asks for approvals",
}
_ONLY_WARN: Final = frozenset({Gate.CREDENTIALS, Gate.LINT})
_NOTES: Final = {
    "the source has changes that are not published: they are not promoted":
        "the snapshot has changes that were not published: what ran is restored, and not they",
    "the target has changes that are not published: they are lost":
        "there are changes that are not published: they are lost",
}


@dataclass(frozen=True)
class _Held:
    """The environment then and now, with every content by digest."""

    environment: Row[Any]
    restore: Restore
    rows: Mapping[str, Row[Any]]  # of what is there now, by n8n id
    contents: Mapping[str, Content]

    def tables(self, ids: Mapping[str, str]) -> EnvironmentTables:
        """Tables with ids alone."""
        return EnvironmentTables(self.environment.slug, workflow_ids=ids)


def judge_stored_restore(work: UnitOfWork, row: Row[Any], environment: Row[Any], seen: Seen, *, generation: int,
                         credentials: Credentials) -> Judged:
    """The restore of a row of promotions, planned and judged again."""
    snapshot = work.snapshots.by_id(row.source_snapshot_id)
    assert snapshot is not None  # noqa: S101 - a snapshot that was restored is kept
    return judge_restore(work, snapshot, environment, PromotionOptions.from_json(row.options), seen,
                         Asked(row.requested_by, row.requested_through), generation=generation, credentials=credentials)


def judge_restore(work: UnitOfWork, snapshot: Row[Any], environment: Row[Any], options: PromotionOptions, seen: Seen,
                  asked: Asked, *, generation: int, credentials: Credentials) -> Judged:
    """Plan a restore from what the store has just read, and evaluate the gates that are about it.

    :class:`UnknownWorkflow` for a workflow that was asked for and is in neither; :class:`Broken` when something of the
    snapshot is not stored any more.
    """
    prepared = prepare_restore(work, snapshot, environment, options, generation=generation, credentials=credentials)
    facts = _facts(gate_facts(work, prepared, STAGE, seen, options, asked), prepared)
    report = evaluate_all(STAGE.rules, facts, work.context.now())
    gates = GateReport(tuple(_as_restore(result, credentials) for result in report.results))
    problems = plan_problems(prepared.plan)
    return Judged(prepared, STAGE, gates, problems, problems_left(
        problems, allow_large=options.allow_large, allow_irreversible=options.allow_irreversible))


# -- the plan ----------------------------------------------------------------------------------------------------------


def prepare_restore(work: UnitOfWork, snapshot: Row[Any], environment: Row[Any], options: PromotionOptions, *,
                    generation: int, credentials: Credentials) -> Prepared:
    """What restoring would write, from what the store holds."""
    held = _held(work, snapshot, environment)
    restore = held.restore
    ids_then, ids_now = restore.ids_then, restore.ids_now
    then = _lifted(held, ids_then, [row.then for row in restore.rows])
    now = _lifted(held, ids_now, [row.now for row in restore.rows])
    chosen = None if options.workflows is None else _with_what_is_gone(
        restore, restore.select(options.workflows), then)
    plan = make_plan(
        restore.inputs(lambda each: then[each.workflow_id].content, lambda each: now[each.workflow_id].content),
        source=f"snapshot {snapshot.id}", target=f"{work.context.tenant_slug}/{environment.slug}", generation=generation,
        chosen=chosen, with_needs=options.with_needs, prune=options.prune)
    # A reference that led nowhere then leads nowhere again: that is how it was.
    plan = replace(plan, missing=tuple(each for each in plan.missing if each.in_source),
                   changes=tuple(_in_words(change) for change in plan.changes))
    keys = {row.key: row.now for row in restore.rows if row.now is not None}
    target = Side(
        environment, held.tables(ids_now), rows={key: held.rows[each.workflow_id] for key, each in keys.items()},
        contents={key: held.contents[each.live_digest] for key, each in keys.items()},
        drafts={key: held.contents[each.draft_digest] for key, each in keys.items()},
        lifted={key: now[each.workflow_id] for key, each in keys.items()}, unmanaged={},
        promoted={str(canonical_id): row for canonical_id, row in work.promotions.promoted_in(environment.id).items()})
    lowered = _lowered(plan, held)
    return Prepared(plan, None, target, lowered, dict.fromkeys(lowered, ()), credentials,
                    portable=_portable(work, plan, held, target))


def _held(work: UnitOfWork, row: Row[Any], environment: Row[Any]) -> _Held:
    snapshot, now = load(work, row).workflows, stored_workflows(work, environment.id)
    ids = {UUID(each.canonical_id) for each in (*snapshot, *now) if each.canonical_id is not None}
    alive = {str(key) for key, canonical in work.mappings.canonicals(ids).items() if canonical.deleted_at is None}
    restore = pair_for_restore(_of_living(snapshot, alive), _of_living(now, alive),
                               work.promotions.created_anew(environment.id))
    digests = {digest for each in (*snapshot, *now) for digest in (each.live_digest, each.draft_digest)}
    bodies = work.payloads.load(digests)
    if absent := [each.name for each in snapshot if each.live_digest not in bodies]:
        raise content_lost(row, f"{len(absent)} contents ({absent[0]!r} first) are")
    rows = work.mappings.by_workflow(environment.id, [each.workflow_id for each in now])
    return _Held(environment, restore, rows, {digest: decode_content(body) for digest, body in bodies.items()})


def _of_living(workflows: Iterable[SnapshotWorkflow], alive: set[str]) -> list[SnapshotWorkflow]:
    """What belonged to a canonical workflow that was deleted belongs to none."""
    return [each if each.canonical_id is None or each.canonical_id in alive else replace(each, canonical_id=None)
            for each in workflows]


def _lifted(held: _Held, ids: Mapping[str, str], workflows: Iterable[SnapshotWorkflow | None]) -> dict[str, Lifted]:
    tables = held.tables(ids)
    return {each.workflow_id: lift(held.contents[each.live_digest], tables, self_id=each.workflow_id)
            for each in workflows if each is not None}


def _with_what_is_gone(restore: Restore, chosen: frozenset[str], then: Mapping[str, Lifted]) -> frozenset[str]:
    """The chosen ones, with what they need and the environment has no more, or does not run any more."""
    rows = {row.key: row for row in restore.rows}
    found, waiting = set(chosen), list(chosen)
    while waiting:
        row = rows[waiting.pop()]
        if row.then is None or row.then.archived:
            continue
        for needed in named_workflows(then[row.then.workflow_id].content, key=row.key).needs - found:
            other = rows.get(needed)
            if other is None or other.then is None or other.then.archived:
                continue
            if other.now is None or other.now.archived or (other.then.active and not other.now.active):
                found.add(needed)
                waiting.append(needed)
    return frozenset(found)


def _in_words(change: PlannedChange) -> PlannedChange:
    return replace(change, notes=tuple(_NOTES.get(note, note) for note in change.notes))


# -- what is written ---------------------------------------------------------------------------------------------------


def _lowered(plan: Plan, held: _Held) -> dict[str, Lowered]:
    created = {change.key for change in plan.writes if change.action is PlanAction.CREATE}
    then = {row.key: row.then for row in held.restore.rows if row.then is not None}
    old, new = held.restore.ids_then, held.restore.ids_now
    moved = {key: old_id for key, old_id in old.items() if new.get(key, "") != old_id and (key in new or key in created)}
    return {change.key: with_ids_of_now(held.contents[then[change.key].live_digest], change.key, held.tables(moved),
                                         held.tables({key: new[key] for key in moved if key in new}), created)
            for change in plan.writes if change.content is not None}


def _portable(work: UnitOfWork, plan: Plan, held: _Held, target: Side) -> dict[str, Content]:
    """What the restored workflows mean in all environments: what counts as promoted last from then on."""
    tables = environment_tables(work, held.environment)
    known = {row.key: row.then for row in held.restore.rows if row.then is not None and row.then.canonical_id == row.key}
    ids = {key: each.workflow_id for key, each in known.items()}
    tables = replace(tables, workflow_ids={**{key: workflow_id for key, workflow_id in tables.workflow_ids.items()
                                              if workflow_id not in ids.values()}, **ids})
    written = {change.key for change in plan.writes if change.content is not None and change.key in known}
    bodies = work.payloads.load({target.promoted[key].digest for key in written if key in target.promoted})
    found = {}
    for key in written:
        texts = () if key not in target.promoted else promoted_texts(
            decode_content(bodies[target.promoted[key].digest]), tables)
        found[key] = lift(held.contents[known[key].live_digest], tables, self_id=known[key].workflow_id,
                          promoted=texts).content
    return found


# -- the gates ---------------------------------------------------------------------------------------------------------


def _facts(facts: GateFacts, prepared: Prepared) -> GateFacts:
    """Credentials are those that the contents name; all drift counts, also of what is written."""
    drift = facts.drift
    if isinstance(drift, DriftFacts):
        drift = replace(drift, overwritten=frozenset())
    return replace(facts, drift=drift, unresolved=(),
                   credentials=CredentialFacts(tuple(_uses(prepared)), prepared.credentials))


def _uses(prepared: Prepared) -> Iterable[CredentialUse]:
    names = {change.key: change.name for change in prepared.plan.changes}
    used: dict[tuple[str, str, str | None], list[str]] = {}
    for key, done in prepared.lowered.items():
        for node in done.content["nodes"]:
            owned = node.get("credentials")
            for kind, reference in owned.items() if owned.__class__ is dict else ():
                held = reference if reference.__class__ is dict else {"name": reference}
                if held.get("name").__class__ is str:
                    credential_id = held["id"] if held.get("id").__class__ is str else None
                    users = used.setdefault((kind, held["name"], credential_id), [])
                    if names[key] not in users:
                        users.append(names[key])
    return [CredentialUse(name, kind, name, credential_id, tuple(by)) for (kind, name, credential_id), by in used.items()]


def _as_restore(result: GateResult, credentials: Credentials) -> GateResult:
    """What a gate says of a restore."""
    if (why := _NOT_ASKED.get(result.gate)) is not None:
        return GateResult(result.gate, GateOutcome.NOT_EVALUATED, why)
    if result.gate is Gate.CREDENTIALS and isinstance(credentials, CannotBeListed):
        return GateResult(result.gate, GateOutcome.NOT_EVALUATED,
                          "the credentials are those that it had; whether they are there still could not be checked")
    if result.gate in _ONLY_WARN and result.outcome is GateOutcome.BLOCKED:
        return replace(result, outcome=GateOutcome.PASSED, fix=None,
                       reason=f"that is how it was, so this only warns: {result.reason}")
    return result
