"""Making a plan (§11.3) from what the source and the target hold; see ``promotion_plan`` for the rules and what it says."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wfops_pipelines.domain.diff import WorkflowDiff, diff
from wfops_pipelines.domain.errors import UnknownWorkflow
from wfops_pipelines.domain.fleet_fields import Activation
from wfops_pipelines.domain.portable import to_portable
from wfops_pipelines.domain.promotion_activation import (
    Switches,
    callers_first,
    cut_off,
    differs,
    late,
    state_before,
    states_afterwards,
    turned,
    unpublished,
)
from wfops_pipelines.domain.promotion_order import Order, order, with_needed
from wfops_pipelines.domain.promotion_plan import (
    BothSides,
    Compared,
    MissingReference,
    Plan,
    PlanAction,
    PlannedChange,
    PlannedState,
    PortableWorkflow,
    compare_sides,
    content_digest,
    used_credentials,
)
from wfops_pipelines.domain.reach import EnvironmentWorkflow, Reach, reach
from wfops_pipelines.domain.reconciliation import DiffStatus
from wfops_pipelines.domain.references import references
from wfops_pipelines.domain.runtime_write import unclearable_settings
from wfops_pipelines.domain.shown import one_line
from wfops_pipelines.domain.starting_nodes import starts_by_itself
from wfops_pipelines.domain.transform_terms import ITSELF, workflow_term
from wfops_pipelines.domain.workflow import Content, JsonObject


def make_plan(
    inputs: Iterable[BothSides], *, source: str, target: str, generation: int,
    chosen: Collection[str] | None = None, with_needs: bool = True, prune: bool = False,
    unmanaged: Sequence[EnvironmentWorkflow] = (), transformations: Sequence[JsonObject] = (),
    bindings: Mapping[str, Any] | None = None, activation: Activation = Activation.KEEP,
) -> Plan:
    """The plan that makes the target hold what the source holds.

    ``inputs`` are all workflows of both environments that have a key, whatever is chosen; ``unmanaged`` the target's
    others (contents lifted too, archived ones left out), which count towards the limits and the blast
    radius. ``chosen`` are the keys to promote (``None``: all), together with what they need unless ``with_needs`` is false.
    ``generation`` is that of the target's n8n; ``activation`` says whose holds for what both sides have.

    The order of the inputs makes no difference. :class:`UnknownWorkflow` for a chosen key that neither side has.
    """
    compared = compare_sides(inputs)
    if chosen is not None and (unknown := sorted(set(chosen) - compared.keys())):
        raise UnknownWorkflow(f"neither {source} nor {target} has {', '.join(unknown)}", fix="look at what they hold")
    needs = {key: each.names.needs for key, each in compared.items() if each.source is not None}
    selected = _selected(compared, needs, chosen, with_needs=with_needs)
    switches = Switches(compared, generation, activation)
    actions, afters = states_afterwards(switches, {
        key: _action(each, switches, selected=key in selected, prune=prune) for key, each in compared.items()}, unmanaged)
    names = {key: each.name for key, each in compared.items()}
    written, removed = _write_order(compared, actions, afters, needs, names, generation), _removal_order(compared, actions)
    rest = sorted((key for key in selected if not actions[key].writes), key=lambda key: (names[key], key))
    told = _Told(
        switches, needed_by=_needed_by(chosen, needs, selected), late=late(written, compared, actions, afters, generation),
        unpublished=unpublished(compared, actions, afters) if generation >= 2 else {},
        cut_off=cut_off(compared, actions, afters, unmanaged) if generation >= 2 else {},
        callers=_callers_left(compared, actions))
    changes = tuple(_change(compared[key], actions[key], afters[key], told) for key in (*written.keys, *removed, *rest))
    after = {key for key, each in compared.items() if _is_there_afterwards(each, actions[key])}
    writes = [change for change in changes if change.action.writes]
    uses = {change.key: references(change.content).credentials for change in writes if change.content is not None}
    return Plan(
        source=source, target=target, generation=generation, changes=changes,
        cycles=tuple(cycle for cycle in written.cycles if any(set(cycle) & set(told.late[key]) for key in cycle)),
        missing=_missing(writes, compared, after | {each.workflow_id for each in unmanaged}),
        credentials=used_credentials(writes, uses),
        reach=_reach(compared, writes, unmanaged),
        target_holds=sum(each.live is not None for each in compared.values()) + len(unmanaged),
        transformations=tuple(transformations), bindings=dict(bindings or {}), activation=activation,
    )


@dataclass(frozen=True)
class _Told:
    """What is known about all changes together, by key."""

    switches: Switches
    needed_by: Mapping[str, tuple[str, ...]]
    late: Mapping[str, tuple[str, ...]]
    unpublished: Mapping[str, tuple[str, ...]]
    cut_off: Mapping[str, tuple[str, ...]]
    callers: Mapping[str, tuple[str, ...]]


# -- what is done ----------------------------------------------------------------------------------------------------------

def _selected(compared: Mapping[str, Compared], needs: Mapping[str, Collection[str]], chosen: Collection[str] | None, *,
              with_needs: bool) -> frozenset[str]:
    if chosen is None:
        return frozenset(compared)
    if not with_needs:
        return frozenset(chosen)
    return with_needed(chosen, needs) & frozenset(compared)


def _action(each: Compared, switches: Switches, *, selected: bool, prune: bool) -> PlanAction:
    if not selected:
        return PlanAction.KEEP
    if each.source is None:
        if not prune:
            return PlanAction.KEEP
        return PlanAction.ARCHIVE if switches.generation >= 2 else PlanAction.DELETE
    if each.sides.target is None:
        return PlanAction.CREATE
    if each.status is not DiffStatus.UNCHANGED:
        return PlanAction.UPDATE
    changes = differs(state_before(each), switches.after(each, PlanAction.UPDATE))
    return PlanAction.UPDATE if changes else PlanAction.UNCHANGED


def _change(each: Compared, action: PlanAction, after: PlannedState | None, told: _Told) -> PlannedChange:
    held, key, generation = each.sides.target, each.key, told.switches.generation
    content = None
    if action in {PlanAction.CREATE, PlanAction.UPDATE} and each.source is not None and each.source_hash != each.target_hash:
        content = each.source.content
    kept, no_way_back = _settings_that_stay(content, held, generation)
    irreversible = [f"the setting {name}, once there, cannot be cleared through n8n's API" for name in no_way_back]
    if action is PlanAction.DELETE:
        irreversible.insert(0, "it is deleted, with its id and its executions: n8n 1.x has no archive")
    return PlannedChange(
        key=key, name=each.name, action=action, status=each.status, before=state_before(each), after=after,
        diff=_diff(each, action), workflow_id=held.workflow_id if held is not None else None, content=content,
        digest=None if content is None else content_digest(content), names=each.names, late=told.late.get(key, ()),
        needed_by=told.needed_by.get(key, ()), kept_settings=kept, unpublished=_shown(told.unpublished.get(key, ())),
        cut_off=_shown(told.cut_off.get(key, ())), source_active=told.switches.differs(each, after),
        revives=action is PlanAction.UPDATE and each.sides.archived_by_hand and each.live is None,
        irreversible=tuple(irreversible), notes=_notes(each, action, after, told),
    )


def _shown(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(one_line(name, 60) for name in names)


def _diff(each: Compared, action: PlanAction) -> WorkflowDiff:
    """What the write does to the content that is there, in or out of the archive."""
    held = each.sides.target.content if each.sides.target is not None else None
    if action.removes:
        return diff(held, None)
    if each.source is None or each.source_hash == each.target_hash:
        return WorkflowDiff(equal=True)
    return diff(held, each.source.content)


def _notes(each: Compared, action: PlanAction, after: PlannedState | None, told: _Told) -> tuple[str, ...]:
    notes = []
    held, switches = each.sides.target, told.switches
    if action.writes and each.source is not None and each.source.has_draft:
        notes.append("the source has changes that are not published: they are not promoted")
    if action.writes and held is not None and held.has_draft:
        notes.append("the target has changes that are not published: they are lost")
    if action is PlanAction.UPDATE and held is not None and held.archived:
        notes.append("it comes back from the target's archive" + (
            ", though somebody archived it there" if each.sides.archived_by_hand else ""))
    usual = switches.after(each, action)
    if after is not None and usual is not None and after.active != usual.active and each.source is not None:
        notes.append(_published_along(each, switches))
    runs = (each.live or each.source or held) if action.writes and each.sides.wants_active is None else None
    if runs is not None and runs.active and not action.removes and switches.cannot_run(each):
        notes.append("it is not active there: only workflows start it, and n8n 1.x calls such ones without that")
    if callers := told.callers.get(each.key):
        notes.append(f"still called by {one_line(', '.join(callers), 200)}")
    return tuple(notes)


def _published_along(each: Compared, switches: Switches) -> str:
    assert each.source is not None  # noqa: S101 - it is written from there
    if each.live is not None and each.live.active:
        return "it stays published, though the source's is not active: a workflow that runs calls it"
    kept = switches.activation is Activation.KEEP or switches.source_says(each) is None
    whose = "the target's" if each.live is not None and kept else "the source's"
    triggers = ", and its own triggers start it from then on" if starts_by_itself(each.source.content) else ""
    return f"it is published, though {whose} is not active: a workflow that runs calls it{triggers}"


def _settings_that_stay(content: Content | None, held: PortableWorkflow | None, generation: int) -> tuple[
        tuple[str, ...], tuple[str, ...]]:
    """The settings of the target that the write cannot clear, and those that could not be cleared on the way back."""
    if content is None or held is None:
        return (), ()
    return tuple(unclearable_settings(content, held.content, generation=generation)), tuple(
        unclearable_settings(held.content, content, generation=generation))


# -- how the changes hang together -----------------------------------------------------------------------------------------

def _is_there_afterwards(each: Compared, action: PlanAction) -> bool:
    return not action.removes if action.writes else each.live is not None


def _write_order(compared: Mapping[str, Compared], actions: Mapping[str, PlanAction],
                 afters: Mapping[str, PlannedState | None], needs: Mapping[str, Collection[str]],
                 names: Mapping[str, str], generation: int) -> Order:
    """What is needed before what needs it; what is switched off after what calls it."""
    written = {key: needs[key] for key, action in actions.items() if action.writes and not action.removes}
    if generation < 2:
        return order(written, name_of=names)
    first = callers_first(compared, actions, afters)
    return order(turned(written, first), name_of=names,
                 calls=turned({key: each.names.calls for key, each in compared.items()}, first))


def _removal_order(compared: Mapping[str, Compared], actions: Mapping[str, PlanAction]) -> list[str]:
    """Callers before what they call."""
    removed = {key: compared[key].names.needs for key, action in actions.items() if action.removes}
    return list(reversed(order(removed, name_of={key: compared[key].name for key in removed}).keys))


def _needed_by(chosen: Collection[str] | None, needs: Mapping[str, Collection[str]],
               selected: Collection[str]) -> dict[str, tuple[str, ...]]:
    """For each key that was not chosen itself, the chosen ones that need it."""
    if chosen is None:
        return {}
    found: dict[str, list[str]] = {}
    for key in sorted(chosen):
        for needed in with_needed({key}, needs) - set(chosen):
            if needed in selected:
                found.setdefault(needed, []).append(key)
    return {key: tuple(callers) for key, callers in found.items()}


def _callers_left(compared: Mapping[str, Compared], actions: Mapping[str, PlanAction]) -> dict[str, tuple[str, ...]]:
    """For each removed key, the names of workflows that stay in the target and need it."""
    removed = {key for key, action in actions.items() if action.removes}
    found: dict[str, list[str]] = {}
    if removed:
        for key, each in compared.items():
            held = _content_afterwards(each, actions[key])
            if held is not None:
                for needed in each.names.needs & removed:
                    found.setdefault(needed, []).append(each.name)
    return {key: tuple(sorted(names)) for key, names in found.items()}


def _content_afterwards(each: Compared, action: PlanAction) -> Content | None:
    if action.removes or not _is_there_afterwards(each, action):
        return None
    if action.writes and each.source is not None:
        return each.source.content
    return each.live.content if each.live is not None else None


def _missing(writes: Sequence[PlannedChange], compared: Mapping[str, Compared], there: Collection[str]) -> tuple[
        MissingReference, ...]:
    found = []
    for change in writes:
        if change.action.removes:
            continue
        for named in sorted(change.names.all - set(there)):
            other = compared.get(named)
            found.append(MissingReference(change.key, named, named in change.names.needs,
                                          in_source=other is not None and other.source is not None,
                                          name=None if other is None else other.name))
    return tuple(found)


def _reach(compared: Mapping[str, Compared], writes: Sequence[PlannedChange],
           unmanaged: Sequence[EnvironmentWorkflow]) -> Reach:
    """The blast radius in the target as it will be; what goes is taken as it is. Keys stand for n8n ids."""
    if not writes:
        return reach((), ())
    changes = {change.key: change for change in writes}
    keys = {*compared, *(each.workflow_id for each in unmanaged)}
    key_of = {**{workflow_term(key): key for key in keys}, **{key: key for key in keys}}

    def by_key(key: str, content: Content) -> Content:
        return to_portable(content, self_id=None, canonical_id_of=ChainMap({workflow_term(ITSELF): key}, key_of),
                           credential_key_of={})

    def picture() -> Iterable[EnvironmentWorkflow]:
        for key, each in compared.items():
            change = changes.get(key)
            held = each.source if change is not None and not change.action.removes else each.live
            if held is not None:
                after = change.after if change is not None else None
                active = held.active if after is None or after.archived else after.active
                yield EnvironmentWorkflow(key, held.name, active, by_key(key, held.content))
        for other in unmanaged:
            yield replace(other, content=by_key(other.workflow_id, other.content))

    return reach(picture(), set(changes))
