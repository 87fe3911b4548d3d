"""The plan of a promotion (§11.3), with what it would write already lowered to the target (§11.4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID, uuid5

from sqlalchemy import Row

from wfops_pipelines.domain.canonical_json import encode
from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.domain.fleet_fields import Activation
from wfops_pipelines.domain.gate_facts import CannotBeListed, TargetCredential
from wfops_pipelines.domain.literal_values import literal_values
from wfops_pipelines.domain.lower import Lowered, all_unresolved, lower
from wfops_pipelines.domain.promotion_plan import Plan, PlanAction, PlannedChange, PlannedState
from wfops_pipelines.domain.promotion_planning import make_plan
from wfops_pipelines.domain.runtime_write import RuntimeState, WriteAction
from wfops_pipelines.domain.transform_tables import CredentialRow, EnvironmentTables
from wfops_pipelines.domain.transform_terms import Unresolved
from wfops_pipelines.domain.workflow import Content, JsonObject, digest
from wfops_pipelines.services.intended_writes import WantedWorkflow
from wfops_pipelines.services.promotion_options import PromotionOptions
from wfops_pipelines.services.promotion_sides import Side, both_sides, chosen_keys, unmanaged_workflows
from wfops_pipelines.store.unit_of_work import UnitOfWork

_MAX_SHOWN: Final = 200  # transformations, and literal values, that a plan shows


Credentials = tuple[TargetCredential, ...] | CannotBeListed
"""Those that the target's n8n has, or why it does not tell."""


def id_of(row: CredentialRow, credentials: Credentials) -> str | None:
    """The id of a row of the credential table: its own, else that of the one credential with its type and name."""
    if row.id or isinstance(credentials, CannotBeListed):
        return row.id
    found = [each.id for each in credentials if (each.type, each.name) == (row.type, row.name)]
    return found[0] if len(found) == 1 else None


@dataclass(frozen=True)
class Prepared:
    """A plan with both sides and the contents that it would write, by key. ``portable`` are the written contents in
    portable form, where those of the plan are not (a restore's)."""

    plan: Plan
    source: Side | None
    target: Side
    lowered: Mapping[str, Lowered] = field(repr=False)
    unresolved: Mapping[str, tuple[Unresolved, ...]] = field(repr=False)
    credentials: Credentials = field(repr=False, default=CannotBeListed("nobody asked"))
    portable: Mapping[str, Content] | None = field(repr=False, default=None)

    @property
    def has_placeholders(self) -> bool:
        """Whether anything of it has no counterpart in the target."""
        return any(self.unresolved.values())

    @property
    def promoted(self) -> Mapping[str, Content]:
        """The portable contents that count as promoted last once this is written."""
        if self.portable is not None:
            return self.portable
        return {change.key: change.content for change in self.plan.writes if change.content is not None}


def prepare(work: UnitOfWork, source: Side, target: Side, options: PromotionOptions, *, generation: int,
            credentials: Credentials, activation: Activation = Activation.KEEP) -> Prepared:
    """What promoting from ``source`` to ``target`` would write, from what the store holds. ``generation`` is that of the
    target's n8n, ``activation`` what the stage says of it. :class:`UnknownWorkflow` for a workflow that was asked for and
    is nowhere."""
    tenant = work.context.tenant_slug
    chosen = None if options.workflows is None else chosen_keys(source, target, options.workflows)
    if chosen is not None and (left_out := sorted(chosen & target.ignored.keys())):
        slug, workflow_id = target.environment.slug, target.ignored[left_out[0]]
        raise UsageError(f"{source.rows[left_out[0]].name!r} is ignored in {tenant}/{slug} ({workflow_id})",
                         fix=f"wfops unignore {tenant} {slug} {workflow_id}, or leave it out")
    plan = make_plan(
        both_sides(work, source, target), source=f"{tenant}/{source.environment.slug}",
        target=f"{tenant}/{target.environment.slug}", generation=generation, chosen=chosen, with_needs=options.with_needs,
        prune=options.prune, unmanaged=unmanaged_workflows(target), activation=options.activation_of(activation))
    return lower_plan(plan, source, target, credentials,
                      {key: lifted.unresolved for key, lifted in source.lifted.items()})


def lower_plan(plan: Plan, source: Side | None, target: Side, credentials: Credentials,
               lifted: Mapping[str, tuple[Unresolved, ...]]) -> Prepared:
    """A plan with its contents lowered to the target. What that did is shown in the plan, and what it was bound to is in
    its checksum; ``lifted`` is what lifting could not resolve, by key."""
    tables = _with_ids(target.tables, credentials)
    created = {change.key for change in plan.writes if change.action is PlanAction.CREATE}
    lowered: dict[str, Lowered] = {}
    unresolved: dict[str, tuple[Unresolved, ...]] = {}
    for change in plan.writes:
        if change.content is None:
            continue
        node_ids = _node_ids(target.environment.id, change.key) if target.environment.new_node_ids else None
        done = lower(change.content, tables, self_id=change.workflow_id, current=target.contents.get(change.key),
                     planned=created, node_ids=node_ids)
        lowered[change.key] = done
        unresolved[change.key] = all_unresolved(lifted.get(change.key, ()), done.unresolved)
    shown = [{"key": key, **each.as_json()} for key, done in lowered.items() for each in done.transformations][:_MAX_SHOWN]
    literals = () if source is None else tuple(
        each for change in plan.writes if change.content is not None
        for each in literal_values(change.key, change.content, source.tables, tables))
    plan = replace(plan, transformations=tuple(shown), literals=literals[:_MAX_SHOWN],
                   bindings=_bindings(plan, tables, target))
    return Prepared(plan, source, target, lowered, unresolved, credentials)


def _with_ids(tables: EnvironmentTables, credentials: Credentials) -> EnvironmentTables:
    return replace(tables, credentials=tuple(replace(row, id=id_of(row, credentials)) for row in tables.credentials))


def _bindings(plan: Plan, tables: EnvironmentTables, target: Side) -> JsonObject:
    """What else decides what is written: names of credentials in the target, and its variables as one digest."""
    keys = {used.name.removeprefix("key:") for used in plan.credentials}
    return {"credentials": {f"{row.type}/{row.key}": row.name for row in tables.credentials if row.key in keys},
            "variables": digest(encode(dict(sorted(tables.variables.items())))), "base_url": tables.address,
            "new_node_ids": bool(target.environment.new_node_ids)}


def _node_ids(environment_id: UUID, key: str) -> Iterator[str]:
    """Ids for nodes of a workflow that are the target's own: the same each time the plan is computed."""
    number = 0
    while True:
        number += 1
        yield str(uuid5(environment_id, f"{key}/{number}"))


# -- what is written ---------------------------------------------------------------------------------------------------


def wanted_workflows(prepared: Prepared, *, generation: int) -> list[WantedWorkflow]:
    """The writes of a plan, in its order, as the journal takes them."""
    return [_wanted(prepared, change, generation) for change in prepared.plan.writes]


def _wanted(prepared: Prepared, change: PlannedChange, generation: int) -> WantedWorkflow:
    side, key, after = prepared.target, change.key, change.after
    row = side.rows.get(key)
    lowered = prepared.lowered.get(key)
    tags = None if after is None else after.tags
    wanted = WantedWorkflow(
        WriteAction.UPDATE, change.name, change.workflow_id, _as_uuid(key), None, tags=tags, key=key,
        awaits=() if lowered is None else lowered.awaited, late=change.late if generation >= 2 else ())
    if row is not None:
        wanted = replace(wanted, before=RuntimeState(row.live_hash, row.draft_hash, row.active, row.archived),
                         before_live=side.contents[key], before_draft=side.drafts[key],
                         before_tags=None if tags is None else tuple(row.tags))
    if change.action is PlanAction.ARCHIVE:
        return replace(wanted, action=WriteAction.ARCHIVE, archived=True)
    if change.action is PlanAction.DELETE or after is None:
        return replace(wanted, action=WriteAction.DELETE)
    live = side.contents.get(key) if lowered is None else lowered.content
    if row is None:
        if tags is None and prepared.source is not None:
            tags = tuple(prepared.source.rows[key].tags)
        return replace(wanted, action=WriteAction.CREATE, live=live, active=after.active, tags=tags or ())
    return replace(wanted, action=_action(row, after, writes_content=lowered is not None), live=live, active=after.active)


def _action(row: Row[Any], after: PlannedState, *, writes_content: bool) -> WriteAction:
    if row.archived:
        return WriteAction.UNARCHIVE
    if writes_content or row.active == after.active:
        return WriteAction.UPDATE
    return WriteAction.ACTIVATE if after.active else WriteAction.DEACTIVATE


def _as_uuid(key: str) -> UUID | None:
    try:
        return UUID(key)
    except ValueError:
        return None
