"""Connections in the form that is compared (§4.3): what n8n executes, in the order it does.

Measured from n8n's ``workflow-execute`` (1.123 and 2.41): with ``executionOrder`` v1 the targets of all ``main``
outputs of a node are sorted together by canvas position, top to bottom and then left to right, stable where positions
are equal; a node without position counts as [0, 0]; of nodes that share a name n8n knows one. Without v1 they run in
list order. Connections of other types (``ai_tool``, ``ai_memory``, …) are looked up from their target, one target at
a time: there the order of one output's list is never executed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

JsonObject = dict[str, Any]
Position = tuple[float, float]
_NOWHERE: Position = (float("inf"), float("inf"))


def comparable_connections(connections: JsonObject, nodes: Iterable[JsonObject], *, by_position: bool) -> JsonObject:
    """``connections`` without what means nothing: ``{source: {type: [[{node, type, index, order?}]]}}``.

    Empty outputs at the end, empty types and empty sources are left out, null outputs are empty ones. With
    ``by_position`` (execution order v1) the targets of a node with several ``main`` targets carry their ``order``
    of execution, counted over all its outputs, and stand in that order.
    """
    result: JsonObject = {}
    positions: dict[str, Position] | None = None
    for source, by_type in connections.items():
        if by_type.__class__ is not dict:
            if by_type:
                result[source] = by_type  # nothing n8n executes, but somebody wrote it
            continue
        types: JsonObject = {}
        for kind, outputs in by_type.items():
            if not outputs:
                continue
            if outputs.__class__ is not list:
                types[kind] = outputs
                continue
            plain = _plain_outputs(outputs)
            if not plain:
                continue
            if by_position and (len(plain) > 1 or len(plain[0]) > 1):
                if kind == "main":
                    if positions is None:
                        positions = _positions(nodes)
                    plain = _in_execution_order(plain, positions)
                else:
                    plain = [sorted(output, key=_identity) for output in plain]
            types[kind] = plain
        if types:
            result[source] = types
    return result


def _plain_outputs(outputs: list[Any]) -> list[list[Any]]:
    plain = []
    last = 0
    for number, output in enumerate(outputs, 1):
        if output:
            plain.append([_plain_target(target) for target in output if target is not None]
                         if output.__class__ is list else [output])
            if plain[-1]:
                last = number
        else:
            plain.append([])
    if last != len(plain):
        del plain[last:]
    return plain


def _plain_target(target: Any) -> Any:
    """``{node, type, index}`` with n8n's defaults; keys of later versions are kept."""
    if target.__class__ is not dict:
        return target
    if len(target) == 3 and target.get("type") and target.get("index") is not None:
        return target
    plain = {key: value for key, value in target.items() if value is not None}
    if not plain.get("type"):
        plain["type"] = "main"
    plain.setdefault("index", 0)
    return plain


def _in_execution_order(outputs: list[list[Any]], positions: dict[str, Position]) -> list[list[Any]]:
    places = []
    for number, output in enumerate(outputs):
        for target in output:
            name = target.get("node") if target.__class__ is dict else None
            place = positions.get(name, _NOWHERE) if name.__class__ is str else _NOWHERE
            places.append((place, number, target))
    if len(places) < 2:
        return outputs
    places.sort(key=_place)
    ordered: list[list[Any]] = [[] for _ in outputs]
    for rank, (_, number, target) in enumerate(places):
        ordered[number].append({**target, "order": rank} if target.__class__ is dict else target)
    return ordered


def _place(entry: tuple[Position, int, Any]) -> Position:
    return entry[0]


def _positions(nodes: Iterable[JsonObject]) -> dict[str, Position]:
    """(y, x) by name; of nodes that share one the first on the canvas, since the order in the array means nothing."""
    positions: dict[str, Position] = {}
    for node in nodes:
        name = node["name"]
        place = _position(node.get("position"))
        if name in positions:
            place = min(place, positions[name])
        positions[name] = place
    return positions


def _position(position: Any) -> Position:
    if position.__class__ is not list or len(position) < 2:
        return (0, 0)
    x, y = position[0], position[1]
    if not _is_number(x) or not _is_number(y):
        return (0, 0)
    return (y, x)


def _is_number(value: Any) -> bool:
    return (value.__class__ is int or value.__class__ is float) and value == value  # noqa: PLR0124 - not NaN


def _identity(target: Any) -> tuple[str, str, float]:
    if target.__class__ is not dict:
        return (str(target), "", 0)
    index: Any = target.get("index")
    return (str(target.get("node")), str(target.get("type")), float(index) if _is_number(index) else 0.0)
