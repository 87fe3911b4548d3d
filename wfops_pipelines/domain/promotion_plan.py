"""The plan of a promotion or a restore (§11.3): what would be written to the target, in order, and nothing done yet.

Everything here is in **portable form** (§11.4), as ``lift`` gives it. Each workflow has a key: the canonical id as text; in
a restore, for a workflow that has none, its n8n id (lift is to be told so, by the table of workflow ids). So the checksum
depends on no id that does not exist yet. The rules:

* What a workflow is, is said by the statuses of §8. Archived workflows are not live: an archived source is as good as
  absent, an archived target is brought back (n8n 2.x) under its own id.
* The target keeps its activation: an update changes whether it runs only when asked (``wants_active``, or
  :attr:`Activation.SOURCE`), a new workflow runs when its source does. On n8n 2.x one that comes new, or has no triggers
  of its own, is published too when a running one of the plan calls it: without that, n8n refuses to publish the caller,
  and on 1.x sub-workflows are called without being active. On n8n 1.x, what only other workflows start is never active:
  n8n cannot activate it. More is in ``promotion_activation``.
* What only the target has stays, but for ``prune``: then it is archived (2.x) or deleted (1.x, which cannot be undone).
* Conflicts and hotfixes are planned as updates with their status; whether they may be overwritten is the gates' to say.
  So is whether what somebody archived in the target may come back (``revives``).

Limits and what the plan needs an override for are in ``promotion_limits``.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

from wfops_pipelines.domain.canonical_json import canonical_numbers, encode, encode_if_canonical
from wfops_pipelines.domain.diff import ChangeKind, WorkflowDiff
from wfops_pipelines.domain.diff import as_json as diff_as_json
from wfops_pipelines.domain.fleet_fields import Activation
from wfops_pipelines.domain.lift import hash_portable
from wfops_pipelines.domain.masking import mask
from wfops_pipelines.domain.normalize import NORMALIZER_VERSION
from wfops_pipelines.domain.promotion_order import NamedWorkflows, named_workflows
from wfops_pipelines.domain.reach import Reach
from wfops_pipelines.domain.reconciliation import DiffStatus, diff_status
from wfops_pipelines.domain.shown import one_line
from wfops_pipelines.domain.workflow import Content, JsonObject

_CHECKSUM_VERSION: Final = 1
_LONGEST_TEXT: Final = 20_000  # characters of a value in a plan as JSON


@dataclass(frozen=True, slots=True)
class PortableWorkflow:
    """A workflow as one side holds it. ``content`` is what runs, in portable form; ``workflow_id`` its n8n id there, which
    is in no hash and no checksum; ``has_draft`` says that there are changes that are not published."""

    content: Content = field(repr=False)
    active: bool
    archived: bool = False
    tags: tuple[str, ...] = ()
    workflow_id: str | None = None
    has_draft: bool = False

    @property
    def name(self) -> str:
        """Its name, as it is: to be shown masked."""
        name: str = self.content["name"]
        return name


@dataclass(frozen=True, slots=True)
class BothSides:
    """One workflow, by key, as the source and the target hold it (``None``: not there).

    ``base_hash`` is the :func:`~wfops_pipelines.domain.lift.hash_portable` of the base's portable content (§8: the
    target's Git content, else what was promoted there last); ``seen_in_sync`` says that the target's live content is what
    was last seen in sync there. ``wants_active`` and ``wants_tags`` are what the target shall have, where somebody says so.
    ``archived_by_hand``: the target's is in the archive, and neither the target's Git nor a promotion of ours put it there.
    """

    key: str
    source: PortableWorkflow | None
    target: PortableWorkflow | None
    base_hash: str | None = None
    seen_in_sync: bool = False
    wants_active: bool | None = None
    wants_tags: tuple[str, ...] | None = None
    archived_by_hand: bool = False


class PlanAction(StrEnum):
    """What is done to a workflow of the target."""

    CREATE = "create"
    UPDATE = "update"  # content, activation or tags; out of the archive where it is in it
    ARCHIVE = "archive"
    DELETE = "delete"
    UNCHANGED = "unchanged"
    KEEP = "keep"  # only the target has it, and nobody asked to prune

    @property
    def writes(self) -> bool:
        """Whether n8n is written to."""
        return self not in {PlanAction.UNCHANGED, PlanAction.KEEP}

    @property
    def removes(self) -> bool:
        """Whether the target does not have it afterwards."""
        return self in {PlanAction.ARCHIVE, PlanAction.DELETE}


@dataclass(frozen=True, slots=True)
class PlannedState:
    """A workflow before or after: the hash of its portable content, and how it stands. ``tags`` are ``None`` where
    they are left as they are."""

    portable_hash: str
    active: bool
    archived: bool = False
    tags: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """One workflow of the plan; ``before`` and ``after`` are ``None`` where the target does not have it.

    ``content`` is the portable content to write (``None`` where nothing is, or the workflow goes), ``digest`` the SHA-256
    of all of it, also of what the hash leaves out. ``names`` are the workflows that it names; ``late`` those of
    them that the target does not have yet when its turn comes: see ``promotion_order``. ``needed_by`` are the keys of the
    chosen workflows that brought it into the plan, if it was not chosen itself. ``kept_settings`` are those of the
    target that n8n's API cannot clear, ``unpublished`` the workflows that it would call although they are not published
    (n8n 2.x refuses that), ``cut_off`` the running ones that call it and stay as they are, though it is switched off.
    ``source_active`` is whether the source's runs, where the target's runs otherwise afterwards; ``revives``: it comes
    back from the archive, where somebody put it in the target. ``irreversible`` says in words what could not be undone;
    ``notes`` are for people.
    """

    key: str
    name: str
    action: PlanAction
    status: DiffStatus
    before: PlannedState | None
    after: PlannedState | None
    diff: WorkflowDiff
    workflow_id: str | None = None
    content: Content | None = field(default=None, repr=False, compare=False)
    digest: str | None = None
    names: NamedWorkflows = field(default_factory=NamedWorkflows)
    late: tuple[str, ...] = ()
    needed_by: tuple[str, ...] = ()
    kept_settings: tuple[str, ...] = ()
    unpublished: tuple[str, ...] = ()
    cut_off: tuple[str, ...] = ()
    source_active: bool | None = None
    revives: bool = False
    irreversible: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def overwrites(self) -> bool:
        """Whether it replaces work that was done in the target: a hotfix, or one side of a conflict."""
        return self.action is PlanAction.UPDATE and self.status in {DiffStatus.TARGET_HOTFIX, DiffStatus.CONFLICT}

    @property
    def switches(self) -> bool:
        """Whether the target has it, and it runs there afterwards where it did not, or the other way round."""
        return self.before is not None and self.after is not None and self.before.active != self.after.active

    def as_json(self) -> JsonObject:
        """Plain JSON, names and values masked, without the content; of what is not written only what it is. ``needs`` are
        the keys of the workflows that it needs."""
        shown: JsonObject = {
            "key": self.key, "name": one_line(self.name, 200), "action": str(self.action), "status": str(self.status),
            "workflow_id": self.workflow_id, "needs": [one_line(named, 200) for named in sorted(self.names.needs)],
            "source_active": self.source_active}
        if self.action.writes:
            shown |= {
                "before": _state_json(self.before), "after": _state_json(self.after), "digest": self.digest,
                "late": list(self.late), "needed_by": list(self.needed_by), "kept_settings": list(self.kept_settings),
                "unpublished": list(self.unpublished), "cut_off": list(self.cut_off), "revives": self.revives,
                "irreversible": list(self.irreversible),
                "notes": list(self.notes), "diff": _diff_json(self.diff)}
        return shown


@dataclass(frozen=True, slots=True)
class MissingReference:
    """A workflow that ``key`` names and that the target will not have. ``reference`` is a key, or what stands there;
    ``needed`` is false for one in ``callerIds``; ``in_source`` says that the source has it, and it was not chosen;
    ``name`` is what one of the sides calls it, where one has it."""

    key: str
    reference: str
    needed: bool
    in_source: bool
    name: str | None = None

    def as_json(self) -> JsonObject:
        """Plain JSON, masked."""
        return {**asdict(self), "reference": one_line(self.reference, 200),
                "name": None if self.name is None else one_line(self.name, 200)}


@dataclass(frozen=True, slots=True)
class LiteralValue:
    """The value of a variable of the source that stands in a workflow of it as it is: it goes on literally. The value
    itself is nowhere here; ``place`` is that of the text in its node."""

    key: str
    node: str
    place: str
    variable: str

    def as_json(self) -> JsonObject:
        """``{"key", "node", "path", "variable"}``, masked."""
        return {"key": self.key, "node": one_line(self.node, 200), "path": one_line(self.place, 300),
                "variable": one_line(self.variable, 100)}


@dataclass(frozen=True, slots=True)
class UsedCredential:
    """A credential by type and portable name, and the keys of the written workflows that use it."""

    type: str
    name: str
    used_by: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What would be done, in order: writes, removals, then what stays as it is.

    ``source`` and ``target`` name the sides (``acme/dev``; of a restore, the snapshot). ``target_holds`` is the number of
    workflows that the target has now, archived ones apart. ``generation`` is that of the target's n8n (1 or 2).
    ``transformations`` and ``literals`` are the caller's, for people, and not in the checksum. ``bindings`` are: what else
    decides what is written and is known by now (names of credentials in the target, digests of its variables).
    ``activation`` says whose holds where both have a workflow; what follows from it is in the states after.
    """

    source: str
    target: str
    generation: int
    changes: tuple[PlannedChange, ...]
    cycles: tuple[tuple[str, ...], ...]
    missing: tuple[MissingReference, ...]
    credentials: tuple[UsedCredential, ...]
    reach: Reach
    target_holds: int
    transformations: tuple[JsonObject, ...] = ()
    bindings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    activation: Activation = Activation.KEEP
    literals: tuple[LiteralValue, ...] = ()

    @cached_property
    def writes(self) -> tuple[PlannedChange, ...]:
        """The changes that write to n8n, in order."""
        return tuple(change for change in self.changes if change.action.writes)

    @property
    def is_empty(self) -> bool:
        """Whether nothing would be written."""
        return not self.writes

    @cached_property
    def checksum(self) -> str:
        """SHA-256 over all that would be written, in order, and over what it replaces: what an approval is of.

        It changes with every change of a written content (also of places on the canvas), of activation, archiving, tags,
        removals, order and ``bindings``; ids of n8n, texts for people, and what is not written make no difference.
        """
        material = {
            "version": _CHECKSUM_VERSION, "normalizer": NORMALIZER_VERSION, "source": self.source, "target": self.target,
            "generation": self.generation, "bindings": canonical_numbers(dict(self.bindings)),
            "writes": [[change.key, change.action, _state_json(change.before), _state_json(change.after), change.digest,
                        list(change.late)] for change in self.writes],
        }
        return hashlib.sha256(encode(material)).hexdigest()

    def counts(self) -> dict[str, int]:
        """Number of workflows per action, with zeros."""
        counts = Counter(change.action for change in self.changes)
        return {str(action): counts[action] for action in PlanAction}

    def as_json(self) -> JsonObject:
        """Plain JSON with everything but contents and bindings; names and values masked. The same plan gives the same, and
        it is enough to show the plan again: as text (``render_plan_json``) and as a picture (``plan_svg``)."""
        return {
            "checksum": self.checksum, "source": self.source, "target": self.target, "generation": self.generation,
            "activation": str(self.activation), "target_holds": self.target_holds, "counts": self.counts(),
            "changes": [change.as_json() for change in self.changes],
            "cycles": [list(cycle) for cycle in self.cycles],
            "missing": [missing.as_json() for missing in self.missing],
            "credentials": [{"type": used.type, "name": one_line(used.name, 200), "used_by": list(used.used_by)}
                            for used in self.credentials],
            "transformations": [_shown_transformation(each) for each in self.transformations],
            "literals": [each.as_json() for each in self.literals],
            "reach": self.reach.as_json(),
        }


@dataclass(frozen=True, slots=True)
class Compared:
    """Both sides of a workflow with what follows from them alone. ``live`` is the target unless it is archived."""

    sides: BothSides
    status: DiffStatus
    source: PortableWorkflow | None
    live: PortableWorkflow | None
    source_hash: str | None
    target_hash: str | None
    names: NamedWorkflows

    @property
    def key(self) -> str:
        """The workflow's key."""
        return self.sides.key

    @property
    def name(self) -> str:
        """As the source calls it, else the target."""
        held = self.source or self.sides.target
        return held.name if held is not None else ""


def compare_sides(inputs: Iterable[BothSides]) -> dict[str, Compared]:
    """By key, in the order of keys: every workflow that one of the sides has live."""
    found: dict[str, Compared] = {}
    for sides in sorted(inputs, key=lambda each: each.key):
        source, live = _unless_archived(sides.source), _unless_archived(sides.target)
        source_hash = hash_portable(source.content) if source is not None else None
        target_hash = hash_portable(sides.target.content) if sides.target is not None else None
        status = diff_status(source=source_hash, target=target_hash if live is not None else None, base=sides.base_hash,
                             last_in_sync=target_hash if sides.seen_in_sync else None)
        if status is None:
            continue
        held = source if source is not None else live
        assert held is not None  # noqa: S101 - a status is of one of the sides at least
        found[sides.key] = Compared(sides, status, source, live, source_hash, target_hash,
                                    named_workflows(held.content, key=sides.key))
    return found


def _unless_archived(workflow: PortableWorkflow | None) -> PortableWorkflow | None:
    return None if workflow is None or workflow.archived else workflow


def content_digest(content: Content) -> str:
    """SHA-256 of all of a content, whatever the order of its keys and the way its numbers are written."""
    encoded = encode_if_canonical(content)
    return hashlib.sha256(encode(canonical_numbers(content)) if encoded is None else encoded).hexdigest()


def used_credentials(changes: Sequence[PlannedChange], uses: Mapping[str, Collection[tuple[str, str]]]) -> tuple[
        UsedCredential, ...]:
    """Each credential of the written workflows once, by type and name; ``uses`` are those of each key."""
    users: dict[tuple[str, str], list[str]] = {}
    for change in changes:
        for credential in uses.get(change.key, ()):
            users.setdefault(credential, []).append(change.key)
    return tuple(UsedCredential(*credential, tuple(keys)) for credential, keys in sorted(users.items()))


def _state_json(state: PlannedState | None) -> JsonObject | None:
    if state is None:
        return None
    return {"portable_hash": state.portable_hash, "active": state.active, "archived": state.archived,
            "tags": None if state.tags is None else sorted(state.tags)}


_OWN_FIELDS: Final = frozenset({"key", "workflow", "node", "path", "kind", "from", "to"})


def _shown_transformation(transformation: JsonObject) -> JsonObject:
    """Masked; the names of our own fields say nothing about what stands there (``key`` is that of a workflow)."""
    shown: JsonObject = mask(transformation)
    return shown | {name: mask(value) for name, value in transformation.items() if name in _OWN_FIELDS}


def _diff_json(diff: WorkflowDiff) -> JsonObject:
    """The diff without what no rendering shows: all of a node that comes or goes, and the ends of very long texts."""
    shown = diff_as_json(diff)
    for change in shown["changes"]:
        for side in ("before", "after"):
            if side in change and change["kind"] in {ChangeKind.NODE_ADDED, ChangeKind.NODE_REMOVED}:
                change[side] = {key: value for key, value in change[side].items() if key in {"type", "credentials"}}
            elif side in change:
                change[side] = _shortened(change[side])
    return shown


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_TEXT else f"{value[:_LONGEST_TEXT]}… and {len(value) - _LONGEST_TEXT} more"
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in value.items()}
    return [_shortened(item) for item in value] if isinstance(value, list) else value
