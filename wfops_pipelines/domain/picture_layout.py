"""Where the nodes of a picture stand: as on their own canvas, but closer together, and none upon another.

Order and rows of the canvas are kept. Wide gaps are narrowed, which also brings home what stands a billion pixels away;
columns and rows are moved apart where the boxes need it. Nodes without a usable position get a tidy layout of their
own, below the others, in the order of the connections.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

Place = tuple[float, float]

_SNAP: Final = 24.0  # what is nearly one column or row becomes one
_PILE: Final = 3  # more nodes than that at the same place were never laid out
_COLUMN, _ROW, _BAND = 220.0, 120.0, 10  # of the tidy layout; columns before it goes on below
_LOOK_BACK: Final = 80  # boxes that are asked whether they are in the way
_SQUEEZE: Final = 0.75  # n8n's nodes carry their names below them, these within


@dataclass(slots=True)
class Box:
    """A node's box. ``small`` ones are drawn without words; ``lower`` is how much lower than its row it begins, so that
    boxes of several heights stand in one line."""

    width: float
    height: float
    small: bool = False
    lower: float = 0.0
    x: float = 0.0
    y: float = 0.0

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height


def complete_places(places: Sequence[Place | None], edges: Sequence[tuple[int, int]]) -> list[Place]:
    """Canvas positions for all nodes; those without a usable one get one below the others."""
    piles = Counter(place for place in places if place is not None)
    known = [place if place is not None and piles[place] <= _PILE else None for place in places]
    loose = [number for number, place in enumerate(known) if place is None]
    top = max((place[1] for place in known if place is not None), default=-2 * _ROW) + 2 * _ROW
    left = min((place[0] for place in known if place is not None), default=0.0)
    tidy = _tidy(loose, edges)
    return [place if place is not None else (left + tidy[number][0], top + tidy[number][1])
            for number, place in enumerate(known)]


def _tidy(loose: list[int], edges: Sequence[tuple[int, int]]) -> dict[int, Place]:
    """Columns by the distance from where the connections begin."""
    inside = set(loose)
    after: dict[int, list[int]] = defaultdict(list)
    entered: set[int] = set()
    for source, target in edges:
        if source in inside and target in inside and source != target:
            after[source].append(target)
            entered.add(target)
    depth: dict[int, int] = {}
    for start in sorted(loose, key=lambda number: (number in entered, number)):
        if start in depth:
            continue
        depth[start] = 0
        waiting = [start]
        for number in waiting:
            for target in after[number]:
                if target not in depth:
                    depth[target] = depth[number] + 1
                    waiting.append(target)
    if not any(after.values()):
        depth = {number: rank for rank, number in enumerate(loose)}
    rows: Counter[int] = Counter(depth.values())
    tops: dict[int, float] = {0: 0.0}
    for band in range(max(depth.values(), default=0) // _BAND + 1):
        tallest = max(rows[column] for column in range(band * _BAND, (band + 1) * _BAND))
        tops[band + 1] = tops[band] + (tallest + 0.5) * _ROW
    used: Counter[int] = Counter()
    result = {}
    for number, column in depth.items():  # in the order they were met: what comes of one node stays together
        result[number] = (column % _BAND * _COLUMN, tops[column // _BAND] + used[column] * _ROW)
        used[column] += 1
    return result


def arrange(boxes: Sequence[Box], places: Sequence[Place], edges: Sequence[tuple[int, int]] = ()) -> None:
    """Give each box its place in the picture, which begins at (0, 0); no two of them overlap. What an edge leads to, and
    stands right of where it begins on the canvas, does so here."""
    sources: dict[int, set[int]] = defaultdict(set)
    for source, target in edges:
        sources[target].add(source)
    xs = _along([place[0] for place in places], [place[1] for place in places], [box.width for box in boxes],
                [box.small for box in boxes], gap=44, small_gap=18, widest=(120, 36), beside=84, apart=90,
                sources=sources)
    for box, x in zip(boxes, xs, strict=True):
        box.x = x
    ys = _along([place[1] * _SQUEEZE for place in places], xs, [box.height for box in boxes],
                [box.small for box in boxes], gap=24, small_gap=12, widest=(110, 26),
                beside=max((box.width for box in boxes), default=0), apart=36, sources={})
    for box, y in zip(boxes, ys, strict=True):
        box.y = y + box.lower
    _separate(boxes)


def _along(coordinates: Sequence[float], across: Sequence[float], sizes: Sequence[float], small: Sequence[bool], *,
           gap: float, small_gap: float, widest: tuple[float, float], beside: float, apart: float,
           sources: Mapping[int, set[int]]) -> list[float]:
    """Coordinates along one axis: columns in their order, no gap wider than ``widest`` (after boxes, after small ones),
    room between boxes that are ``apart`` on the canvas and less than ``beside`` from each other on the other axis, and
    behind the ``sources`` of a box."""
    result = [0.0] * len(coordinates)
    seen: list[int] = []
    placed: set[int] = set()
    at, end_was_small, last = 0.0, False, None
    for column in _columns(coordinates):
        all_small = all(small[number] for number in column)
        start = coordinates[column[0]]
        if last is not None:
            at += min(start - last, widest[end_was_small])
        for number in column:
            in_the_way = [other for other in seen[-_LOOK_BACK:] if abs(across[number] - across[other]) < beside]
            for other in (*in_the_way, *(sources.get(number, set()) & placed)):
                if coordinates[number] - coordinates[other] >= apart:
                    room = small_gap if small[number] and small[other] else gap
                    at = max(at, result[other] + sizes[other] + room)
        for number in column:
            result[number] = at
        seen += column
        placed.update(column)
        last, end_was_small = start, all_small
    return result


def _columns(coordinates: Sequence[float]) -> list[list[int]]:
    columns: list[list[int]] = []
    for number in sorted(range(len(coordinates)), key=lambda number: (coordinates[number], number)):
        if columns and coordinates[number] - coordinates[columns[-1][0]] < _SNAP:
            columns[-1].append(number)
        else:
            columns.append([number])
    return columns


def _separate(boxes: Sequence[Box]) -> None:
    """Move down what still lies upon another box; the earlier in the list keeps its place."""
    if not boxes:
        return
    stripe = max(box.width for box in boxes) + 12
    standing: dict[int, list[Box]] = defaultdict(list)
    for box in boxes:
        at = int(box.x // stripe)
        near = sorted((other for key in (at - 1, at, at + 1) for other in standing[key]
                       if other.x < box.right + 10 and box.x < other.right + 10), key=lambda other: other.y)
        for other in near:  # from the top: a box passed once is never met again
            if other.y < box.bottom + 10 and box.y < other.bottom + 10:
                box.y = other.bottom + 12
        standing[at].append(box)


def interpolation(canvas: Sequence[float], drawn: Sequence[float]) -> Callable[[float], float]:
    """How other coordinates of the canvas are mapped: between those of nodes in proportion, beyond them not far."""
    highest: dict[float, float] = {}
    for one, other in sorted(zip(canvas, drawn, strict=True)):
        highest[one] = other
    known = sorted(highest.items())

    def mapped(value: float) -> float:
        at = bisect_right(known, (value, float("inf")))
        if at == 0:
            return known[0][1] - min(known[0][0] - value, 60.0)
        if at == len(known):
            return known[-1][1] + min(value - known[-1][0], 120.0)
        (low, low_drawn), (high, high_drawn) = known[at - 1], known[at]
        return low_drawn + (high_drawn - low_drawn) * (value - low) / (high - low)

    return mapped
