"""The workflows of a plan as a graph to be drawn: what is written, what stands next to it, and who needs whom."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from wfops_pipelines.domain.picture_layout import Box
from wfops_pipelines.domain.promotion_order import order
from wfops_pipelines.domain.promotion_plan import PlanAction
from wfops_pipelines.domain.workflow import JsonObject

MAX_WRITES: Final = 300
MAX_NEIGHBOURS: Final = 120
MAX_MISSING: Final = 40
WIDE: Final = 1_248.0  # of the whole graph
BOX_WIDTH: Final = 208.0
_COLUMN, _ROW = BOX_WIDTH + 52.0, 18.0
_TALLEST: Final = 20  # boxes in a column
_COLUMNS: Final = int((WIDE + 52.0) // _COLUMN)
_BETWEEN: Final = 34.0  # parts of the graph


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A workflow: ``change`` is that of the plan's JSON, none for one that the target will not have (``missing``).
    ``number`` is its place among the writes, ``cycle`` that of its cycle among the plan's, both from 1."""

    key: str
    name: str
    change: JsonObject | None
    number: int | None = None
    cycle: int | None = None


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """``caller`` needs ``called`` (keys)."""

    caller: str
    called: str
    late: bool
    in_cycle: bool


@dataclass(frozen=True, slots=True)
class PlanGraph:
    """What is drawn, and how many are not."""

    nodes: Mapping[str, GraphNode]
    edges: Sequence[GraphEdge]
    left_out: int


def plan_graph(document: JsonObject) -> PlanGraph:
    """The graph of a plan as JSON: its first writes, the workflows that are not written and need one of these or are
    needed by one, and those that are missing."""
    cycle_of = {key: number for number, cycle in enumerate(document["cycles"], 1) for key in cycle}
    writes: list[JsonObject] = []
    others: list[JsonObject] = []
    for change in document["changes"]:
        (writes if PlanAction(change["action"]).writes else others).append(change)
    drawn = {change["key"]: GraphNode(change["key"], change["name"], change, number, cycle_of.get(change["key"]))
             for number, change in enumerate(writes[:MAX_WRITES], 1)}
    beside = _neighbours(others, drawn, writes[:MAX_WRITES])
    nodes = drawn | {change["key"]: GraphNode(change["key"], change["name"], change) for change in beside[:MAX_NEIGHBOURS]}
    needed = [(each["key"], each["reference"]) for each in document["missing"]
              if each["needed"] and each["key"] in drawn and each["reference"] not in nodes][:MAX_MISSING]
    names = {each["reference"]: each["name"] for each in document["missing"] if each.get("name")} | {
        change["key"]: change["name"] for change in document["changes"]}
    nodes |= {key: GraphNode(key, names.get(key, key), None) for _, key in needed}
    edges = list(_edges(nodes, drawn, cycle_of))
    return PlanGraph(nodes, edges, len(writes[MAX_WRITES:]) + len(beside[MAX_NEIGHBOURS:]))


def _neighbours(others: Sequence[JsonObject], drawn: Collection[str], writes: Sequence[JsonObject]) -> list[JsonObject]:
    needed = {key for change in writes for key in change["needs"]}
    return [change for change in others if change["key"] in needed or any(key in drawn for key in change["needs"])]


def _edges(nodes: Mapping[str, GraphNode], drawn: Collection[str], cycle_of: Mapping[str, int]) -> Iterator[GraphEdge]:
    for key, node in nodes.items():
        if node.change is None:
            continue
        late = node.change.get("late", ())
        for called in node.change["needs"]:
            if called in nodes and called != key and (key in drawn or called in drawn):
                together = key in cycle_of and cycle_of[key] == cycle_of.get(called)
                yield GraphEdge(key, called, called in late, together)


# -- where they stand --------------------------------------------------------------------------------------------------


def arrange_graph(graph: PlanGraph, heights: Mapping[str, float]) -> list[tuple[bool, dict[str, Box], float]]:
    """The graph in two lanes: what comes from the source (``True``) with all that hangs together with it, and the rest.
    Of each lane that has any, the boxes by key and its height; callers stand left of what they call."""
    lanes: dict[bool, list[list[str]]] = {True: [], False: []}
    for part in _parts(graph):
        comes = any((change := graph.nodes[key].change) and change["action"] in {PlanAction.CREATE, PlanAction.UPDATE}
                    for key in part)
        lanes[comes].append(part)
    return [(comes, *_lane(parts, graph, heights)) for comes, parts in lanes.items() if parts]


def _parts(graph: PlanGraph) -> list[list[str]]:
    """What hangs together, in the order of the plan."""
    beside: dict[str, list[str]] = defaultdict(list)
    for edge in graph.edges:
        beside[edge.caller].append(edge.called)
        beside[edge.called].append(edge.caller)
    parts, met = [], set()
    for start in graph.nodes:
        if start in met:
            continue
        met.add(start)
        part = [start]
        for key in part:
            fresh = [other for other in dict.fromkeys(beside[key]) if other not in met]
            met.update(fresh)
            part += fresh
        parts.append(part)
    return parts


def _lane(parts: Sequence[list[str]], graph: PlanGraph, heights: Mapping[str, float]) -> tuple[dict[str, Box], float]:
    """Larger parts from left to right, as many as find room in a row, then the single ones in columns."""
    boxes: dict[str, Box] = {}
    x = y = high = 0.0
    for part in parts:
        if len(part) == 1:
            continue
        placed, width, height = _part(part, graph, heights)
        if x and x + width > WIDE:
            x, y, high = 0.0, y + high + _BETWEEN, 0.0
        for key, box in placed.items():
            boxes[key] = Box(box.width, box.height, x=box.x + x, y=box.y + y)
        x, high = x + width + _BETWEEN + 18, max(high, height)
    y += high + _BETWEEN if high else 0.0
    single = [part[0] for part in parts if len(part) == 1]
    for start in range(0, len(single), _COLUMNS):
        row = single[start:start + _COLUMNS]
        for column, key in enumerate(row):
            boxes[key] = Box(BOX_WIDTH, heights[key], x=column * _COLUMN, y=y)
        y += max(heights[key] for key in row) + _ROW
    return boxes, y - (_ROW if single else _BETWEEN)


def _part(part: Sequence[str], graph: PlanGraph, heights: Mapping[str, float]) -> tuple[dict[str, Box], float, float]:
    """Columns by the longest way from a caller that nobody calls; where that is too wide, it goes on below."""
    boxes: dict[str, Box] = {}
    columns = _columns(part, graph)
    top = wide = 0.0
    for start in range(0, len(columns), _COLUMNS):
        band = columns[start:start + _COLUMNS]
        tall = [sum(heights[key] + _ROW for key in column) - _ROW for column in band]
        for number, column in enumerate(band):
            y = top + (max(tall) - tall[number]) / 2
            for key in column:
                boxes[key] = Box(BOX_WIDTH, heights[key], x=number * _COLUMN, y=y)
                y += heights[key] + _ROW
        top += max(tall) + _BETWEEN
        wide = max(wide, (len(band) - 1) * _COLUMN + BOX_WIDTH)
    return boxes, wide, top - _BETWEEN


def _columns(part: Sequence[str], graph: PlanGraph) -> list[list[str]]:
    inside = set(part)
    needs: dict[str, set[str]] = {key: set() for key in part}
    callers: dict[str, list[str]] = defaultdict(list)
    for edge in graph.edges:
        if edge.caller in inside:
            needs[edge.caller].add(edge.called)
    names = {key: f"{graph.nodes[key].number or 0:05}" for key in part}
    keys = order(needs, name_of=names).keys
    place = {key: number for number, key in enumerate(keys)}
    layer = dict.fromkeys(keys, 0)
    for key in reversed(keys):  # callers first; within a cycle one of the edges goes back
        for called in needs[key]:
            if place[called] < place[key]:
                layer[called] = max(layer[called], layer[key] + 1)
                callers[called].append(key)
    layers: dict[int, list[str]] = defaultdict(list)
    for key in keys:
        layers[layer[key]].append(key)
    row: dict[str, float] = {}
    columns = []
    for depth in sorted(layers):
        ranked = sorted(layers[depth], key=lambda key: (_middle(callers[key], row), place[key]))
        row.update({key: number - len(ranked) / 2 for number, key in enumerate(ranked)})
        tall = -(-len(ranked) // -(-len(ranked) // _TALLEST))  # side by side, and equally tall
        columns += [ranked[start:start + tall] for start in range(0, len(ranked), tall)]
    return columns


def _middle(callers: Sequence[str], row: Mapping[str, float]) -> float:
    return sum(row[key] for key in callers) / len(callers) if callers else 0.0
