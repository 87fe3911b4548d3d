"""Ignore rules (§9): drift that somebody said may be, with an owner, a reason and an end.

A rule names a workflow, a node type, a path, or several of them; several must hold together. It is meant for one
environment or for every one of the tenant. What it covers:

* **workflow** alone: everything about that workflow, that it is there or missing or active too. It is an n8n id, a
  canonical id, or a pattern of the name, where ``*`` stands for any characters. A workflow that was renamed has to match by
  both names: nobody hides one by giving it a name that is ignored.
* **node type** (``*`` as above): what changed in such nodes, that one was added, removed or renamed, and their credentials.
  Not connections: which node comes next is the workflow's. A node whose type changed has to match by both types.
* **path** (:mod:`parameter_paths`): what changed there and below, in any node: ``parameters.url``, ``retryOnFail``,
  ``credentials.slackApi``; of the workflow itself ``name``, ``settings.timezone`` and ``active``. Where a whole object
  came or went, each value in it has to match.

A workflow's drift is hidden when every change of it is covered, each by whichever rule. Else it stays with the changes
that are left, and what was hidden is counted. What is no drift (unpublished changes) is neither hidden nor counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field, ValidationError, model_validator

from wfops_pipelines.domain.diff import Change, ChangeKind, WorkflowDiff
from wfops_pipelines.domain.drift import DriftKind, WorkflowDrift
from wfops_pipelines.domain.drift_policy import invalid_fields
from wfops_pipelines.domain.errors import DocumentProblem, InvalidFields
from wfops_pipelines.domain.fleet_fields import Name
from wfops_pipelines.domain.masking import mask_text
from wfops_pipelines.domain.parameter_paths import Glob, PathPattern, Place, parse_place
from wfops_pipelines.domain.spec_model import Spec
from wfops_pipelines.domain.value_diff import ABSENT
from wfops_pipelines.domain.workflow import Content

_WHAT: Final = "ignore rule"
_NODE_KINDS: Final = frozenset({
    ChangeKind.NODE_ADDED, ChangeKind.NODE_REMOVED, ChangeKind.NODE_RENAMED, ChangeKind.NODE_CHANGED,
    ChangeKind.CREDENTIALS_CHANGED,
})


def _check_pattern(text: str) -> str:
    if not text.strip() or len(text) > 500:
        raise ValueError("must be 1 to 500 characters")
    return text


def _check_path(text: str) -> str:
    PathPattern.parse(_check_pattern(text))
    return text


def _check_reason(text: str) -> str:
    if not text.strip() or len(text) > 1000:
        raise ValueError("must say why, in 1 to 1000 characters")
    return text.strip()


class IgnoreRule(Spec):
    """One rule. ``environment_id`` is none for every environment of the tenant; ``expires_at`` is an aware time, from
    which on it hides nothing. Can be made of a row (``model_validate(row)``)."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    environment_id: UUID | None = None
    workflow: Annotated[str, AfterValidator(_check_pattern)] | None = None
    node_type: Annotated[str, AfterValidator(_check_pattern)] | None = None
    parameter_path: Annotated[str, AfterValidator(_check_path)] | None = None
    owner: Name = Field(description="Who answers for it.")
    reason: Annotated[str, AfterValidator(_check_reason)] = Field(description="Why this drift may be.")
    expires_at: AwareDatetime

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        said = [text for text in (self.workflow, self.node_type, self.parameter_path) if text is not None]
        if not said:
            raise ValueError("must name a workflow, a node_type or a parameter_path")
        if not any(char.isalnum() for text in said for char in text):
            raise ValueError("would hide everything: name a workflow, a node_type or a parameter_path")
        return self

    def holds(self, environment_id: UUID, now: datetime) -> bool:
        """Whether it is for this environment, and has not expired."""
        return self.environment_id in {None, environment_id} and now < self.expires_at


def new_rule(fields: Mapping[str, Any], *, now: datetime) -> IgnoreRule:
    """A rule as somebody gives it; :class:`InvalidFields` names every field that does not fit. It has to end in the future,
    and a time without a zone is refused."""
    try:
        rule = IgnoreRule.model_validate(dict(fields))
    except ValidationError as error:
        raise invalid_fields(_WHAT, error, IgnoreRule) from None
    if rule.expires_at <= now:
        raise InvalidFields(_WHAT, [DocumentProblem("must be in the future", None, "expires_at")])
    return rule


@dataclass(frozen=True, slots=True)
class DriftedWorkflow:
    """A row of drift with what is known of it: the semantic diff from Git to n8n, none where there is none (then only a
    rule for the workflow can hide it), and the types of its nodes by name (:func:`node_types`), which rules for node
    types need. A stored diff will do (``diff.from_json``)."""

    drift: WorkflowDrift
    diff: WorkflowDiff | None = None
    node_types: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is left of a row: its drift with the kinds that are left, its diff with the changes that are left (none when
    none is), and how many changes were hidden."""

    drift: WorkflowDrift
    diff: WorkflowDiff | None
    hidden_changes: int


@dataclass(frozen=True, slots=True)
class Ignored:
    """``remaining`` and ``hidden`` in the order of the rows; ``hides`` is the number of changes that each rule covers,
    whatever other rules do, for every rule that was given (0 too): their sum may be more than ``hidden_changes``."""

    remaining: tuple[Remaining, ...]
    hidden: tuple[DriftedWorkflow, ...]
    hides: Mapping[UUID, int]
    hidden_changes: int


def apply(rules: Iterable[IgnoreRule], rows: Iterable[DriftedWorkflow], *, environment_id: UUID, now: datetime) -> Ignored:
    """What the rules leave of an environment's drift. The order of the rules makes no difference."""
    given = list(rules)
    hides = {rule.id: 0 for rule in given}
    active = [_Conditions.of(rule) for rule in given if rule.holds(environment_id, now)]
    remaining: list[Remaining] = []
    hidden: list[DriftedWorkflow] = []
    total = 0
    for row in rows:
        left: list[_Unit] = []
        units = _units(row)
        names, types = _names(row), _types(row)
        mine = [rule for rule in active if _is_about(rule, row.drift, names)]
        for unit in units:
            covering = [rule for rule in mine if _covers(rule, unit, types)]
            for rule in covering:
                hides[rule.id] += 1
            if not covering:
                left.append(unit)
        total += len(units) - len(left)
        rest = _rest(row, left, len(units) - len(left))
        if rest is None:
            hidden.append(row)
        else:
            remaining.append(rest)
    return Ignored(tuple(remaining), tuple(hidden), hides, total)


def node_types(*contents: Content | None) -> dict[str, frozenset[str]]:
    """The types of the nodes of both sides of a diff by name: several where a name stands for several. Names are there as
    they are and as a stored diff shows them, masked."""
    found: dict[str, set[str]] = {}
    for node in (node for content in contents if content is not None for node in content["nodes"]):
        name, kind = node.get("name"), node.get("type")
        if isinstance(name, str):
            for shown in {name, mask_text(name)}:
                found.setdefault(shown, set()).add(kind if isinstance(kind, str) else "")
    return {name: frozenset(kinds) for name, kinds in found.items()}


def expiring(rules: Iterable[IgnoreRule], *, now: datetime, within: timedelta) -> list[IgnoreRule]:
    """The rules that end soon and hide still, the first to end first: what their owners are to be told."""
    return sorted((rule for rule in rules if now < rule.expires_at <= now + within),
                  key=lambda rule: (rule.expires_at, str(rule.id)))


@dataclass(frozen=True, slots=True)
class _Conditions:
    """A rule read for matching; none where it says nothing."""

    id: UUID
    workflow: str | None
    name: Glob
    type: Glob | None
    path: PathPattern | None

    @classmethod
    def of(cls, rule: IgnoreRule) -> _Conditions:
        return cls(rule.id, rule.workflow, Glob(rule.workflow or "*"),
                   None if rule.node_type is None else Glob(rule.node_type),
                   None if rule.parameter_path is None else PathPattern.parse(rule.parameter_path))


@dataclass(frozen=True, slots=True)
class _Unit:
    """What can be hidden by itself: a change of the content, or a kind of drift as a whole."""

    kind: DriftKind
    change: Change | None = None


def _units(row: DriftedWorkflow) -> list[_Unit]:
    units: list[_Unit] = []
    for kind in row.drift.kinds:
        if kind is DriftKind.MODIFIED and row.diff is not None and row.diff.changes:
            units += [_Unit(kind, change) for change in row.diff.changes]
        elif kind is not DriftKind.UNPUBLISHED_CHANGES:
            units.append(_Unit(kind))
    return units


def _rest(row: DriftedWorkflow, left: Sequence[_Unit], hidden: int) -> Remaining | None:
    """What is left of the row; none when that was drift and is hidden."""
    if not hidden:
        return Remaining(row.drift, row.diff, 0)
    if not left and DriftKind.UNPUBLISHED_CHANGES not in row.drift.kinds:
        return None
    there = {unit.kind for unit in left} | {DriftKind.UNPUBLISHED_CHANGES}
    kinds = tuple(kind for kind in row.drift.kinds if kind in there)
    changes = tuple(unit.change for unit in left if unit.change is not None)
    diff = replace(row.diff, changes=changes) if row.diff is not None and changes else None
    return Remaining(replace(row.drift, kind=kinds[0], kinds=kinds), diff, hidden)


def _names(row: DriftedWorkflow) -> list[str]:
    """The workflow's name, and in a rename both."""
    renames = [change for change in (row.diff.changes if row.diff is not None else ())
               if change.kind is ChangeKind.NAME_CHANGED]
    return [row.drift.name, *(str(name) for change in renames for name in (change.before, change.after))]


def _is_about(rule: _Conditions, drift: WorkflowDrift, names: Sequence[str]) -> bool:
    if rule.workflow is None:
        return True
    ids = {drift.workflow_id, None if drift.canonical_id is None else str(drift.canonical_id)}
    return rule.workflow in ids or all(map(rule.name.matches, names))


def _covers(rule: _Conditions, unit: _Unit, types: Mapping[str, frozenset[str]]) -> bool:
    change = unit.change
    if rule.type is not None and not (change is not None and _is_of_type(rule.type, change, types)):
        return False
    if rule.path is None:
        return True
    if change is None:
        return unit.kind is DriftKind.ACTIVATION and rule.path.covers(("active",))
    place = _place(change)
    if place is None:
        return False
    if change.before is ABSENT or change.after is ABSENT:  # it came or went as a whole: what was in it
        return rule.path.covers_all(place, change.after if change.before is ABSENT else change.before)
    return rule.path.covers(place)


def _is_of_type(wanted: Glob, change: Change, types: Mapping[str, frozenset[str]]) -> bool:
    if change.kind not in _NODE_KINDS or change.node is None:
        return False
    kinds = types.get(change.node, frozenset())
    return bool(kinds) and all(map(wanted.matches, kinds))


def _types(row: DriftedWorkflow) -> Mapping[str, frozenset[str]]:
    """The types on both sides by the names that the diff uses: a renamed node's new name stands for its old one too."""
    types = dict(row.node_types)
    for change in row.diff.changes if row.diff is not None else ():
        if change.kind is ChangeKind.NODE_RENAMED:
            new, old = str(change.node), str(change.before)
            types[new] = types.get(new, frozenset()) | row.node_types.get(old, frozenset())
    return types


def _place(change: Change) -> Place | None:
    """Where a change is; none for those that are nowhere in particular: nodes and connections that came or went."""
    match change.kind:
        case ChangeKind.NODE_CHANGED:
            return parse_place(change.path or "")
        case ChangeKind.CREDENTIALS_CHANGED:
            return ("credentials",) if change.path == "credentials" else ("credentials", change.path or "")
        case ChangeKind.SETTINGS_CHANGED:
            inner = parse_place(change.path or "")
            return None if inner is None else ("settings", *inner)
        case ChangeKind.NAME_CHANGED:
            return ("name",)
        case _:
            return None
