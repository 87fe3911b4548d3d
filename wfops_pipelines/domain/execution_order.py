"""Connections in the form that is compared (§4.3): what n8n executes, in the order it does.

Read in n8n's ``workflow-execute`` and measured on 1.123.81 and 2.41.1: with ``executionOrder`` v1 the targets of all
``main`` outputs of a node run sorted together by canvas position, top to bottom and then left to right; those at
equal positions run **last in the list first** (they are pushed on a stack); a node without position counts as [0, 0].
Without v1 they run in list order. Connections of other types (``ai_tool``, ``ai_memory``, …) are looked up from their
target, one target at a time: there the order of one output's list is never executed.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from functools import cached_property
from operator import itemgetter
from typing import Any

JsonObject = dict[str, Any]
Position = tuple[float, float]
_TARGET_KEYS = {"node", "type", "index"}
_NOWHERE: Position = (float("inf"), float("inf"))


def comparable_connections(
    connections: JsonObject, nodes: Iterable[JsonObject], *, by_position: bool, ignored: AbstractSet[str] = frozenset(),
) -> JsonObject:
    """``connections`` without what means nothing: ``{source: {type: [[{node, type, index, order?}]]}}``.

    Empty outputs at the end, empty types and empty sources are left out, null outputs are empty ones. With
    ``by_position`` (execution order v1) the targets of a node with several ``main`` targets carry their ``order``
    of execution, counted over all its outputs, and stand in that order. ``ignored`` names what is no node (sticky
    notes): connections from and to it are none.
    """
    canvas = _Canvas(nodes) if by_position else None
    result: JsonObject = {}
    for source, by_type in connections.items():
        if source in ignored:
            continue
        if by_type.__class__ is not dict:
            if by_type:
                result[source] = by_type  # nothing n8n executes, but somebody wrote it
            continue
        types: JsonObject = {}
        for kind, outputs in by_type.items():
            if outputs.__class__ is list and len(outputs) == 1 and _is_one_plain_target(outputs[0], ignored):
                types[kind] = outputs
            elif comparable := _comparable_outputs(kind, outputs, canvas, ignored):
                types[kind] = comparable
        if types:
            result[source] = types
    return result


class _Canvas:
    """Where the nodes are, asked for only by workflows whose execution order depends on it."""

    def __init__(self, nodes: Iterable[JsonObject]) -> None:
        self._nodes = nodes

    @cached_property
    def _by_name(self) -> dict[str, Any]:
        """Positions as they stand in the nodes; of nodes that share a name that of the first on the canvas, as a
        :data:`Position`, since the order in the array means nothing."""
        by_name: dict[str, Any] = {}
        for node in self._nodes:
            name, position = node["name"], node.get("position")
            by_name[name] = min(_place(position), _place(by_name[name])) if name in by_name else position
        return by_name

    def place(self, name: Any) -> Position:
        """Where the node of this name is; one that does not exist stands behind all others."""
        if name.__class__ is not str or name not in self._by_name:
            return _NOWHERE
        return _place(self._by_name[name])


def _comparable_outputs(kind: str, outputs: Any, canvas: _Canvas | None, ignored: AbstractSet[str]) -> Any:
    if outputs.__class__ is not list:
        return outputs
    plain = _plain_outputs(outputs, ignored)
    if canvas is None or not plain:
        return plain
    if kind != "main":
        return [sorted(output, key=_identity) for output in plain]
    if len(plain) == 1 and len(plain[0]) == 1:
        return plain
    return _in_execution_order(plain, canvas)


def _is_one_plain_target(output: Any, ignored: AbstractSet[str]) -> bool:
    """Four outputs in five: one target that spells out its node, type and index."""
    if output.__class__ is not list or len(output) != 1:
        return False
    target = output[0]
    if target.__class__ is not dict or target.keys() != _TARGET_KEYS:
        return False
    node = target["node"]
    return (node.__class__ is str and node not in ignored
            and target["type"] is not None and target["index"] is not None)


def _plain_outputs(outputs: list[Any], ignored: AbstractSet[str]) -> list[list[Any]]:
    plain: list[list[Any]] = []
    last = 0
    for number, output in enumerate(outputs, 1):
        targets: list[Any] = []
        if output.__class__ is list:
            targets = [_plain_target(target) for target in output if not _is_nothing(target, ignored)]
        elif output:
            targets = [output]
        if targets:
            last = number
        plain.append(targets)
    del plain[last:]
    return plain


def _is_nothing(target: Any, ignored: AbstractSet[str]) -> bool:
    if target.__class__ is dict:
        node = target.get("node")
        return node.__class__ is str and node in ignored
    return target is None


def _plain_target(target: Any) -> Any:
    """``{node, type, index}`` with n8n's defaults; keys of later versions are kept."""
    if target.__class__ is not dict:
        return target
    if target.keys() == _TARGET_KEYS and None not in target.values():
        return target
    plain = {key: value for key, value in target.items() if value is not None}
    plain.setdefault("type", "main")
    plain.setdefault("index", 0)
    return plain


def _in_execution_order(outputs: list[list[Any]], canvas: _Canvas) -> list[list[Any]]:
    places: list[tuple[Position, float, int, Any]] = []
    for number in reversed(range(len(outputs))):
        for target in reversed(outputs[number]):
            name = target.get("node") if target.__class__ is dict else None
            places.append((canvas.place(name), _known_order(target), number, target))
    if len(places) < 2:
        return outputs
    places.sort(key=itemgetter(0, 1))
    ordered: list[list[Any]] = [[] for _ in outputs]
    for rank, (_, _, number, target) in enumerate(places):
        ordered[number].append({**target, "order": rank} if target.__class__ is dict else target)
    return ordered


def _known_order(target: Any) -> float:
    """The order in a form that is comparable already and has no positions any more; never in n8n's own."""
    order: Any = target.get("order") if target.__class__ is dict and len(target) > 3 else None
    return order if _is_number(order) else 0


def _place(position: Any) -> Position:
    if position.__class__ is tuple:
        return position
    if position.__class__ is not list or len(position) < 2:
        return (0, 0)
    x, y = position[0], position[1]
    return (y, x) if _is_number(x) and _is_number(y) else (0, 0)


def _is_number(value: Any) -> bool:
    return (value.__class__ is int or value.__class__ is float) and value == value  # noqa: PLR0124 - not NaN


def _identity(target: Any) -> tuple[str, str, float]:
    if target.__class__ is not dict:
        return (str(target), "", 0)
    index: Any = target.get("index")
    return (str(target.get("node")), str(target.get("type")), float(index) if _is_number(index) else 0.0)
