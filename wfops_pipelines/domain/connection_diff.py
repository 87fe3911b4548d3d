"""What changed between two sets of connections in their compared form (§4.3): edges, and the order of execution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from wfops_pipelines.domain.canonical_json import encode
from wfops_pipelines.domain.value_diff import ABSENT
from wfops_pipelines.domain.workflow import JsonObject

JsonValue = Any


@dataclass(frozen=True, slots=True)
class Edge:
    """One connection. ``rest`` holds whatever n8n does not write today; ``path`` is how people read it."""

    path: str
    target: str | None
    rest: bytes = b""


@dataclass(frozen=True, slots=True)
class EdgeChange:
    """An edge added or removed, or a new order (``before`` and ``after``: the edges of both sides in their order)."""

    kind: Literal["added", "removed", "order"]
    source: str
    path: str | None
    before: Any = ABSENT
    after: Any = ABSENT
    targets: frozenset[str] = frozenset()


def compare_connections(old: JsonObject, new: JsonObject, renames: Mapping[str, str]) -> list[EdgeChange]:
    """Changes from one normalised content to another, by source; old names are read as the new ones of ``renames``."""
    by_position = new["settings"].get("executionOrder") == "v1"
    comparable_order = by_position == (old["settings"].get("executionOrder") == "v1")
    before = _edges(old["connections"], renames)
    after = _edges(new["connections"], {})
    changes: list[EdgeChange] = []
    for source in sorted({*before, *after}):
        ours, theirs = before.get(source, _NO_EDGES), after.get(source, _NO_EDGES)
        if ours == theirs:
            continue
        changes += _set_changes(source, ours.all(), theirs.all())
        if comparable_order:
            changes += _order_changes(source, ours, theirs, by_position=by_position)
    return changes


@dataclass(frozen=True, slots=True)
class _Outgoing:
    """The edges of one source, by connection type, each list in the order of execution."""

    by_type: dict[str, list[Edge]]

    def all(self) -> list[Edge]:
        return [edge for edges in self.by_type.values() for edge in edges]


_NO_EDGES = _Outgoing({})


def _edges(connections: JsonObject, renames: Mapping[str, str]) -> dict[str, _Outgoing]:
    found: dict[str, _Outgoing] = {}
    for source, by_type in connections.items():
        outgoing = found.setdefault(renames.get(source, source), _Outgoing({}))
        if by_type.__class__ is not dict:
            outgoing.by_type.setdefault("", []).append(Edge(path="?", target=None, rest=encode(by_type)))
            continue
        for kind, outputs in by_type.items():
            ranked = sorted(_ranked(kind, outputs, renames), key=_rank)
            outgoing.by_type.setdefault(kind, []).extend(edge for _, edge in ranked)
    return found


def _rank(entry: tuple[int, Edge]) -> int:
    return entry[0]


def _ranked(kind: str, outputs: JsonValue, renames: Mapping[str, str]) -> Iterator[tuple[int, Edge]]:
    """Edges with their rank: ``order`` where the compared form counts it, else the place in the lists."""
    if outputs.__class__ is not list:
        yield 0, Edge(path=kind, target=None, rest=encode(outputs))
        return
    place = 0
    for number, output in enumerate(outputs):
        for target in output:
            order = target.get("order") if target.__class__ is dict else None
            yield (order if order.__class__ is int else place), _edge(f"{kind}[{number}]", target, renames)
            place += 1


def _edge(output: str, target: JsonValue, renames: Mapping[str, str]) -> Edge:
    if target.__class__ is not dict or target.get("node").__class__ is not str:
        return Edge(path=f"{output} -> ?", target=None, rest=encode(target))
    name = renames.get(target["node"], target["node"])
    usual = ("node", "type", "index", "order") if _is_usual(target) else ("node", "order")
    rest = {key: value for key, value in target.items() if key not in usual}
    return Edge(path=f"{output} -> {name} ({_text(target.get('type'))}[{_text(target.get('index'))}])", target=name,
                rest=encode(rest) if rest else b"")


def _is_usual(target: JsonObject) -> bool:
    """Whether the path tells type and index in full: "0" reads like 0."""
    return target.get("type").__class__ is str and target.get("index").__class__ is int


def _text(value: JsonValue) -> str:
    return value if value.__class__ is str else encode(value).decode("utf-8", "replace")


def _set_changes(source: str, before: list[Edge], after: list[Edge]) -> Iterator[EdgeChange]:
    ours, theirs = Counter(before), Counter(after)
    for edge in (ours - theirs).elements():
        yield EdgeChange("removed", source, edge.path)
    for edge in (theirs - ours).elements():
        yield EdgeChange("added", source, edge.path)


def _order_changes(source: str, ours: _Outgoing, theirs: _Outgoing, *, by_position: bool) -> Iterator[EdgeChange]:
    """A new order of the edges that both sides have. With v1 only ``main`` has an order (the others are looked up from
    their target, and stand in no order but that of their names)."""
    for kind in sorted({*ours.by_type} & {*theirs.by_type}):
        if by_position and kind != "main":
            continue
        before, after = _common(ours.by_type[kind], theirs.by_type[kind])
        if before != after:
            yield EdgeChange("order", source, kind, [edge.path for edge in before], [edge.path for edge in after],
                             frozenset(edge.target for edge in before if edge.target is not None))


def _common(before: list[Edge], after: list[Edge]) -> tuple[list[Edge], list[Edge]]:
    """What both lists hold, in the order of each."""
    shared = Counter(before) & Counter(after)
    return _only(before, shared), _only(after, shared)


def _only(edges: list[Edge], wanted: Counter[Edge]) -> list[Edge]:
    left = Counter(wanted)
    kept = []
    for edge in edges:
        if left[edge] > 0:
            left[edge] -= 1
            kept.append(edge)
    return kept
