"""What of a plan runs afterwards (§11.3): whose activation holds, what is published along, and what that takes apart.

* Where both sides have a workflow, the target's activation holds (``keep``), or the source's (``source``). Which of them
  does not depend on its content: with ``source`` one that differs in nothing else is switched on or off.
* A source says nothing about what only workflows start while it runs none of these itself: n8n 1.x cannot have one active.
  These stay as the target has them. On a target of 1.x they are never active.
* n8n 2.x publishes a caller only when all that it calls is published (measured). So what running ones call is published
  along where nobody decided that it shall not run: see :func:`states_afterwards`. What is left is named (``unpublished``).
* n8n 2.x switches off what others call without a word, and these fail from then on: ``cut_off`` names them, and what is
  switched off is so after those that call it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from wfops_pipelines.domain.fleet_fields import Activation
from wfops_pipelines.domain.promotion_order import Order, named_workflows
from wfops_pipelines.domain.promotion_plan import Compared, PlanAction, PlannedState
from wfops_pipelines.domain.reach import EnvironmentWorkflow
from wfops_pipelines.domain.starting_nodes import can_be_active, only_workflows_start, starts_by_itself

Actions = Mapping[str, PlanAction]
States = Mapping[str, PlannedState | None]


@dataclass(frozen=True)
class Switches:
    """Whether workflows run afterwards, each by itself. ``generation`` is that of the target's n8n."""

    compared: Mapping[str, Compared]
    generation: int
    activation: Activation = Activation.KEEP

    def after(self, each: Compared, action: PlanAction) -> PlannedState | None:
        """How a workflow stands once ``action`` is done to it alone."""
        before = state_before(each)
        if action is PlanAction.DELETE:
            return None
        if action is PlanAction.ARCHIVE:
            return None if before is None else PlannedState(before.portable_hash, active=False, archived=True,
                                                            tags=before.tags)
        if not action.writes or each.source is None or each.source_hash is None:
            return before
        tags = each.sides.wants_tags
        return PlannedState(each.source_hash, self._runs(each), tags=None if tags is None else tuple(sorted(set(tags))))

    def _runs(self, each: Compared) -> bool:
        if each.sides.wants_active is not None:
            return each.sides.wants_active
        assert each.source is not None  # noqa: S101 - it is written from there
        held = each.live or each.source
        runs = held.active
        if self.activation is Activation.SOURCE and (says := self.source_says(each)) is not None:
            runs = says
        return runs and not self.cannot_run(each)

    def cannot_run(self, each: Compared) -> bool:
        """Whether n8n 1.x cannot activate it, because only workflows start it: there it is called without being active."""
        return self.generation < 2 and each.source is not None and only_workflows_start(each.source.content)

    def source_says(self, each: Compared) -> bool | None:
        """Whether the source wants a workflow of both sides to run, as far as it can say."""
        if each.source is None or each.live is None or each.sides.wants_active is not None:
            return None
        runs = each.source.active
        if runs != each.live.active and only_workflows_start(each.source.content) and (
                self.generation < 2 or not (runs or self._source_tells)):
            return None
        return runs

    def differs(self, each: Compared, after: PlannedState | None) -> bool | None:
        """Whether the source's runs, where that is not how it is in the target afterwards."""
        if after is None or after.archived or each.source is None or each.source.active == after.active:
            return None
        says = self.source_says(each)
        return says if says is not None and says != after.active else None

    @cached_property
    def _source_tells(self) -> bool:
        """Whether the source runs anything that only workflows start, which n8n 1.x cannot."""
        return any(each.source is not None and each.source.active and only_workflows_start(each.source.content)
                   for each in self.compared.values())


def state_before(each: Compared) -> PlannedState | None:
    """How the target has a workflow now."""
    held = each.sides.target
    if held is None or each.target_hash is None:
        return None
    tags = None if each.sides.wants_tags is None else tuple(sorted(held.tags))
    return PlannedState(each.target_hash, held.active, held.archived, tags)


def is_published(state: PlannedState | None) -> bool:
    """Whether it runs."""
    return state is not None and state.active and not state.archived


def differs(before: PlannedState | None, after: PlannedState | None) -> bool:
    """Whether two states of one content differ in what a plan writes beside contents."""
    assert before is not None and after is not None  # noqa: S101 - the workflow is on both sides
    return before.active != after.active or (after.tags is not None and set(after.tags) != set(before.tags or ()))


# -- what is published along -------------------------------------------------------------------------------------------


def states_afterwards(switches: Switches, actions: Actions, unmanaged: Sequence[EnvironmentWorkflow] = ()) -> tuple[
        dict[str, PlanAction], dict[str, PlannedState | None]]:
    """What is done to each workflow, and how it stands afterwards. On n8n 2.x, what running ones call is published along:
    what is written anyway, and with :attr:`Activation.SOURCE` also what the target has already; nothing that somebody
    switched off though it has triggers of its own (starting these is not for a promotion of its caller to decide). With
    :attr:`Activation.SOURCE` that holds for what is new as well: the next promotion would switch it off."""
    compared = switches.compared
    done = dict(actions)
    afters = {key: switches.after(each, done[key]) for key, each in compared.items()}
    if switches.generation < 2:
        return done, afters
    whole = switches.activation is Activation.SOURCE
    waiting = [compared[key].names.calls if action.writes else calls_there(compared[key], action)
               for key, action in done.items() if is_published(afters[key]) and (whole or action.writes)]
    waiting += [_calls_of(other) for other in unmanaged if whole and other.active]
    while waiting:
        for called in waiting.pop():
            state = afters.get(called)
            if state is not None and not state.active and _comes_along(compared[called], done[called], whole=whole):
                if done[called] is PlanAction.UNCHANGED:
                    done[called] = PlanAction.UPDATE
                    state = switches.after(compared[called], PlanAction.UPDATE) or state
                afters[called] = replace(state, active=True)
                waiting.append(compared[called].names.calls)
    for key, each in compared.items():  # switched off by the source, and on again for its callers
        if done[key] is PlanAction.UPDATE and each.live is not None and each.source_hash == each.target_hash and not differs(
                state_before(each), afters[key]):
            done[key] = PlanAction.UNCHANGED
    return done, afters


def _comes_along(each: Compared, action: PlanAction, *, whole: bool) -> bool:
    if action.removes or not (action.writes or (whole and action is PlanAction.UNCHANGED)):
        return False
    if each.sides.wants_active is not None or each.source is None:
        return False
    if can_be_active(each.source.content, generation=2) is False:
        return False
    return not starts_by_itself(each.source.content) or (each.live is None and not whole)


def calls_there(each: Compared, action: PlanAction) -> frozenset[str]:
    """What a workflow calls that is not written: the target's content says it."""
    if each.live is None or action.removes:
        return frozenset()
    if each.source is None or each.source_hash == each.target_hash:
        return each.names.calls
    return named_workflows(each.live.content, key=each.key).calls


def _calls_of(other: EnvironmentWorkflow) -> frozenset[str]:
    return named_workflows(other.content, key=other.workflow_id).calls


# -- what that takes apart ---------------------------------------------------------------------------------------------


def comes(each: Compared, action: PlanAction) -> bool:
    """Whether the target does not have it live before and does afterwards."""
    return action.writes and not action.removes and each.live is None


def unpublished(compared: Mapping[str, Compared], actions: Actions, afters: States) -> dict[str, tuple[str, ...]]:
    """For each written key that will run, the names of workflows it calls that are there and not published."""
    found = {}
    for key, action in actions.items():
        if action.writes and is_published(afters[key]):
            names = sorted(compared[called].name for called in compared[key].names.calls - {key}
                           if called in compared and (compared[called].live is not None or comes(
                               compared[called], actions[called]))
                           and not actions[called].removes and not is_published(afters[called]))
            found[key] = tuple(names)
    return found


def _switched_off(compared: Mapping[str, Compared], actions: Actions, afters: States) -> set[str]:
    return {key for key, action in actions.items() if action is PlanAction.UPDATE and not is_published(afters[key])
            and is_published(state_before(compared[key]))}


def cut_off(compared: Mapping[str, Compared], actions: Actions, afters: States,
            unmanaged: Iterable[EnvironmentWorkflow]) -> dict[str, tuple[str, ...]]:
    """For each key that is switched off because its source is, the names of workflows that run, are not written, and call
    it."""
    off = {key for key in _switched_off(compared, actions, afters) if compared[key].sides.wants_active is None}
    if not off:
        return {}
    callers: dict[str, list[str]] = {}
    left = [(each.name, calls_there(each, actions[key])) for key, each in compared.items()
            if not actions[key].writes and is_published(afters[key])]
    for name, calls in (*left, *((other.name, _calls_of(other)) for other in unmanaged if other.active)):
        for called in calls & off:
            callers.setdefault(called, []).append(name)
    return {key: tuple(sorted(names)) for key, names in callers.items()}


def callers_first(compared: Mapping[str, Compared], actions: Actions, afters: States) -> dict[str, frozenset[str]]:
    """For each key that is switched off, the written ones that call it now: they are written before it is, so that
    nothing that runs calls what does not, on the way there and on the way back."""
    found: dict[str, set[str]] = {}
    for off in sorted(_switched_off(compared, actions, afters)):
        found[off] = set()
    if found:
        for key, action in actions.items():
            each = compared[key]
            if action is PlanAction.UPDATE and is_published(state_before(each)):
                for called in calls_there(each, action) & found.keys() - {key}:
                    found[called].add(key)
    return {key: frozenset(callers) for key, callers in found.items() if callers}


def turned(graph: Mapping[str, Collection[str]], first: Mapping[str, Collection[str]]) -> Mapping[
        str, Collection[str]]:
    """Needs (or calls) with those turned round where the caller comes ``first``."""
    if not first:
        return graph
    return {key: frozenset(named for named in needs if key not in first.get(named, ())) | frozenset(first.get(key, ()))
            for key, needs in graph.items()}


def late(written: Order, compared: Mapping[str, Compared], actions: Actions, afters: States,
         generation: int) -> dict[str, tuple[str, ...]]:
    """For each key, the workflows it names that do not exist until after it, or are itself and new; on n8n 2.x also those
    that it calls and that are not published until after it."""
    place = {key: number for number, key in enumerate(written.keys)}
    created = {key for key in place if actions[key] is PlanAction.CREATE}
    published = {key for key in place if generation >= 2 and is_published(afters[key])
                 and not is_published(state_before(compared[key]))}
    found = {}
    for key, turn in place.items():
        names = compared[key].names
        runs = is_published(afters[key]) or is_published(state_before(compared[key]))  # a PUT of what runs publishes it
        pending = (names.all & created) | (names.calls & published if runs else frozenset())
        found[key] = tuple(sorted(named for named in pending if place[named] > turn or (
            named == key and key in created)))
    return found
