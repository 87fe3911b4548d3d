"""What the picture of a diff shows: each node of both sides once, the connections between them, the sticky notes.

Nodes are paired as the diff pairs them (``node_pairing``); whether a pair counts as changed is what the diff says.
Connections are compared between paired nodes and not between names, so that a renamed node keeps its connections.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Any, Final

from wfops_pipelines.domain.diff import Change, ChangeKind, WorkflowDiff
from wfops_pipelines.domain.masking import mask_text
from wfops_pipelines.domain.node_pairing import Node, pair_nodes, read_nodes
from wfops_pipelines.domain.normalize import STICKY_NOTE
from wfops_pipelines.domain.workflow import Content, JsonObject

Place = tuple[float, float]
_FARTHEST: Final = 1e9
_WITHIN_NODE: Final = (ChangeKind.NODE_CHANGED, ChangeKind.CREDENTIALS_CHANGED)


class Status(StrEnum):
    """What happened to a node or connection."""

    UNCHANGED = "unchanged"
    ADDED = "added"
    REMOVED = "removed"
    RENAMED = "renamed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class PictureNode:
    """A node as it is drawn. ``place`` is its canvas position on the side that is shown, if it has a usable one;
    ``changes`` are those within it, not masked; ``was`` is the name it had before."""

    name: str
    type: Any
    status: Status
    disabled: bool
    place: Place | None
    changes: tuple[Change, ...] = ()
    was: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class PictureEdge:
    """A connection between two nodes, given by their places in the list of nodes."""

    source: int
    target: int
    kind: str
    output: int
    input: int
    status: Status


@dataclass(frozen=True, slots=True)
class PictureNote:
    """A sticky note in canvas coordinates."""

    place: Place
    width: float
    height: float
    text: str


@dataclass(frozen=True, slots=True)
class PictureModel:
    """Everything to be drawn. ``dangling`` counts connections to or from nodes that do not exist."""

    nodes: list[PictureNode]
    edges: list[PictureEdge]
    notes: list[PictureNote]
    dangling: int


def build_model(before: Content | None, after: Content | None, diff: WorkflowDiff) -> PictureModel:
    """The model of a diff between two contents, one of which may be absent; never raises on what ``read_content``
    lets through."""
    if diff.equal:
        before = after = after if after is not None else before
    old_nodes, new_nodes = (read_nodes(side) if side is not None else [] for side in (before, after))
    pairing = pair_nodes(old_nodes, new_nodes)
    shift = _shift(pairing.same)
    within = _changes_by_node(diff)
    pairs: list[tuple[Node | None, Node | None]] = [
        *pairing.same, *((None, node) for node in pairing.added), *((node, None) for node in pairing.removed)]
    nodes = [_node(old, new, within, shift) for old, new in pairs]
    old_index = _index([old for old, _ in pairs])
    new_index = _index([new for _, new in pairs])
    ours, lost = _edges(before, old_index)
    theirs, loose = _edges(after, new_index)
    edges = [PictureEdge(*edge, status) for status, found in (
        (Status.UNCHANGED, ours & theirs), (Status.REMOVED, ours - theirs), (Status.ADDED, theirs - ours)) for edge in found]
    shown = after if after is not None else before
    return PictureModel(nodes, sorted(edges), list(_notes(shown)), max(lost, loose))


def place_of(position: Any) -> Place | None:
    """A position that can be drawn: two finite numbers, brought within a billion pixels."""
    if not isinstance(position, list | tuple) or len(position) < 2:
        return None
    x, y = (_number(value) for value in position[:2])
    return None if x is None or y is None else (x, y)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124 - not NaN
        return None
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return None
    return float(max(-_FARTHEST, min(_FARTHEST, value)))


def _shift(same: list[tuple[Node, Node]]) -> Place:
    """How far the canvas as a whole was moved: what is gone is drawn where it would stand now."""
    moves = [(new[0] - old[0], new[1] - old[1]) for one, other in same
             if (old := place_of(one.raw.get("position"))) and (new := place_of(other.raw.get("position")))]
    return (median(x for x, _ in moves), median(y for _, y in moves)) if moves else (0.0, 0.0)


def _changes_by_node(diff: WorkflowDiff) -> dict[str, list[Change]]:
    found: dict[str, list[Change]] = defaultdict(list)
    for change in diff.changes:
        if change.node is not None and change.kind in (*_WITHIN_NODE, ChangeKind.NODE_RENAMED):
            found[change.node].append(change)
    return found


def _node(old: Node | None, new: Node | None, within: dict[str, list[Change]], shift: Place) -> PictureNode:
    shown = new or old
    assert shown is not None  # noqa: S101 - a pair has a side
    place = place_of(shown.raw.get("position"))
    if new is None and place is not None:
        place = (place[0] + shift[0], place[1] + shift[1])
    status, was, changes = Status.UNCHANGED, None, []
    if old is None or new is None:
        status = Status.ADDED if old is None else Status.REMOVED
    else:  # in a diff that was stored, names are masked
        listed = within.get(new.name) or within.get(mask_text(new.name)) or []
        if old.body != new.body:
            changes = [change for change in listed if change.kind in _WITHIN_NODE]
        if old.name != new.name and any(change.kind is ChangeKind.NODE_RENAMED for change in listed):
            was, status = old.name, Status.RENAMED
        if changes:
            status = Status.CHANGED
    return PictureNode(shown.name, shown.raw.get("type"), status, shown.raw.get("disabled") is True, place,
                       tuple(changes), was)


def _index(nodes: list[Node | None]) -> dict[str, int]:
    """Where a name leads: of nodes that share one, to the first."""
    found: dict[str, int] = {}
    for number, node in enumerate(nodes):
        if node is not None:
            found.setdefault(node.name, number)
    return found


_Ends = tuple[int, int, str, int, int]


def _edges(content: Content | None, index: dict[str, int]) -> tuple[Counter[_Ends], int]:
    found: Counter[_Ends] = Counter()
    dangling = 0
    notes = {node["name"] for node in content["nodes"] if node.get("type") == STICKY_NOTE} if content else set()
    for source, kind, output, target in _targets(content):
        name = target.get("node")
        if source in index and isinstance(name, str) and name in index:
            at = target.get("index")
            found[index[source], index[name], kind, output, at if isinstance(at, int) else 0] += 1
        elif source not in notes and not (isinstance(name, str) and name in notes):
            dangling += 1
    return found, dangling


def _targets(content: Content | None) -> Iterator[tuple[str, str, int, JsonObject]]:
    for source, by_type in (content["connections"] if content else {}).items():
        for kind, outputs in (by_type.items() if isinstance(by_type, dict) else ()):
            for number, output in enumerate(outputs if isinstance(outputs, list) else ()):
                for target in output if isinstance(output, list) else ():
                    if isinstance(target, dict):
                        yield source, kind, number, target


def _notes(content: Content | None) -> Iterator[PictureNote]:
    for node in content["nodes"] if content else ():
        place = place_of(node.get("position"))
        if node.get("type") != STICKY_NOTE or place is None:
            continue
        parameters = node.get("parameters")
        told = parameters if isinstance(parameters, dict) else {}
        text = told.get("content")
        yield PictureNote(place, _number(told.get("width")) or 240.0, _number(told.get("height")) or 160.0,
                          text if isinstance(text, str) else "")
