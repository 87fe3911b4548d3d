"""The parts of a picture as SVG: nodes, connections, sticky notes, and the mark of each status."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final

from wfops_pipelines.domain.diff import Change, ChangeKind, masked
from wfops_pipelines.domain.picture_layout import Box
from wfops_pipelines.domain.picture_model import PictureEdge, PictureNode, Status
from wfops_pipelines.domain.picture_text import BOLD, MONO, PLAIN, cut, cut_front, readable, xml
from wfops_pipelines.domain.value_diff import ABSENT

WIDTH: Final = 184.0
MARKS: Final = {Status.ADDED: "+", Status.REMOVED: "−", Status.CHANGED: "~", Status.RENAMED: "→"}

_HEIGHT, _LINE = 46.0, 15.0
_CONTEXT_WIDTH, _CONTEXT_HEIGHT, _DOT = 128.0, 28.0, 18.0
_PADDING: Final = 14.0
_MAX_LINES: Final = 3  # of what changed, in the box
_MAX_TOLD: Final = 12  # in its title


class Detail(StrEnum):
    """How much of a node is drawn: with type and changes, its name alone, or no words."""

    FULL = "full"
    NAME = "name"
    DOT = "dot"


def node_box(node: PictureNode, detail: Detail, *, lines: bool) -> Box:
    """The box that the node needs; without ``lines`` what changed in it stands in its title alone."""
    match detail:
        case Detail.DOT:
            return Box(_DOT, _DOT, small=True, lower=(_HEIGHT - _DOT) / 2)
        case Detail.NAME:
            return Box(_CONTEXT_WIDTH, _CONTEXT_HEIGHT, lower=(_HEIGHT - _CONTEXT_HEIGHT) / 2)
        case Detail.FULL:
            return Box(WIDTH, _HEIGHT + _LINE * (len(list(_lines(node))) if lines else 0))


def draw_node(node: PictureNode, box: Box, detail: Detail, *, lines: bool, number: int | None = None,
              grown: float = 1.0) -> str:
    """One group with the node's status as class, its full name and changes in the title; ``number`` is its place in the
    list below the picture, ``grown`` how much larger the badge is."""
    parts = [f'<g class="node {node.status}" transform="translate({_at(box.x)},{_at(box.y)})">'
             f'<title>{xml(_title(node))}</title>'
             f'<rect width="{_at(box.width)}" height="{_at(box.height)}" rx="{5 if box.small else 8}"/>']
    name = readable(node.name) or "(no name)"
    if detail is Detail.NAME:
        parts.append(f'<text x="9" y="18">{xml(cut(name, _CONTEXT_WIDTH - 16, PLAIN))}</text>')
    elif detail is Detail.FULL:
        room = WIDTH - 2 * _PADDING
        parts += [f'<text class="n" x="14" y="20">{xml(cut(name, room, BOLD))}</text>',
                  f'<text class="q" x="14" y="36">{xml(cut(_type(node), room, PLAIN))}</text>']
        parts += [f'<text class="m" x="14" y="{_at(52 + _LINE * number)}">{xml(line)}</text>'
                  for number, line in enumerate(_lines(node) if lines else ())]
    if node.status in MARKS:
        away = 8 * (grown - 1)  # so that it hides no name
        scale = f' transform="translate({_at(-away)},{_at(-away)}) scale({grown:.2f})"' if grown > 1 else ""
        parts.append(f'<g{scale}><circle class="badge" r="10" stroke-width="2"/>'
                     f'<text class="b" y="4.5">{MARKS[node.status]}</text>{_numbered(number)}</g>')
    return "".join([*parts, "</g>"])


def _numbered(number: int | None) -> str:
    return "" if number is None else f'<text class="n k" x="-12" y="-5">{number}</text>'


def draw_list(nodes: Sequence[PictureNode], wide: float) -> tuple[str, float]:
    """What changed by number, in columns that are read downwards, and how high that is."""
    columns = max(1, min(4, int(wide // 300)))
    rows = -(-len(nodes) // columns)
    parts = []
    for place, node in enumerate(nodes):
        more = ["…"] if len(node.changes) > _MAX_LINES else []
        paths = ", ".join([*(path_of(change) for change in node.changes[:_MAX_LINES]), *more])
        was = f" (was {readable(node.was, 60)})" if node.was is not None else ""
        words = f"{MARKS[node.status]} {readable(node.name, 80) or '(no name)'}{was}{': ' if paths else ''}{paths}"
        x, y = place // rows * wide / columns, place % rows * 17.0
        parts.append(f'<text x="{_at(x)}" y="{_at(y)}"><tspan class="n">{place + 1}</tspan> '
                     f'{xml(cut(words, wide / columns - 40, PLAIN))}</text>')
    return "".join(parts), rows * 17.0


def mark_of(change: Change) -> str:
    """``+`` for what was not there before, ``−`` for what is no more, ``~`` else."""
    return "+" if change.before is ABSENT else "−" if change.after is ABSENT else "~"


def path_of(change: Change) -> str:
    """Where in its node: the path as its author knows it."""
    path = readable(masked(change).path)
    return f"credential {path}" if change.kind is ChangeKind.CREDENTIALS_CHANGED else path.removeprefix("parameters.")


def _type(node: PictureNode) -> str:
    word = readable(node.type).rsplit(".", 1)[-1] if isinstance(node.type, str) else ""
    return (word or "(no type)") + (" · disabled" if node.disabled else "")


def _lines(node: PictureNode) -> Iterator[str]:
    room = WIDTH - 2 * _PADDING + 4
    if node.was is not None:
        yield cut(f"was {readable(node.was)}", room, MONO)
    shown = node.changes if len(node.changes) <= _MAX_LINES else node.changes[:_MAX_LINES - 1]
    for change in shown:
        yield f"{mark_of(change)} {cut_front(path_of(change), room - MONO.width('~ '), MONO)}"
    if len(shown) < len(node.changes):
        yield f"… {len(node.changes) - len(shown)} more changes"


def _title(node: PictureNode) -> str:
    told = [readable(node.name) or "(no name)", f"{_type(node)}: {node.status}"]
    if node.was is not None:
        told.append(f"renamed from {readable(node.was)}")
    told += [f"{mark_of(change)} {path_of(change)}" for change in node.changes[:_MAX_TOLD]]
    if len(node.changes) > _MAX_TOLD:
        told.append(f"… {len(node.changes) - _MAX_TOLD} more changes")
    return "\n".join(told)


def draw_edge(edge: PictureEdge, nodes: Sequence[PictureNode], boxes: Sequence[Box], outputs: int) -> str:
    """A curve from output to input, of sub-nodes (models, tools, memory) from top to bottom; added and removed ones
    are dashed, told in a title, and signed where both ends do not say the same. ``outputs`` is how many the source has."""
    source, target = boxes[edge.source], boxes[edge.target]
    sub = edge.kind != "main"
    if sub:
        (x1, y1), (x2, y2) = _upwards(source, target)
        bend = max(18.0, abs(y1 - y2) * 0.4)
        path = f"M{_at(x1)} {_at(y1)}C{_at(x1)} {_at(y1 - bend)} {_at(x2)} {_at(y2 + bend)} {_at(x2)} {_at(y2)}"
        middle = ((x1 + x2) / 2, (y1 + y2) / 2)
    else:
        path, middle = curve_across(source, target, (edge.output + 1) / (outputs + 1))
    status = "" if edge.status is Status.UNCHANGED else f" {edge.status}"
    kind = " sub" if sub and not status else ""
    curve = f'<path class="edge{status}{kind}" d="{path}" marker-end="url(#wf-{edge.status})"/>'
    if not status:
        return curve
    title = f"connection {edge.status}: {readable(nodes[edge.source].name, 120)} → {readable(nodes[edge.target].name, 120)}"
    detail = f" ({readable(edge.kind, 40)}[{edge.output}])"
    told_by_nodes = nodes[edge.source].status is nodes[edge.target].status is edge.status
    sign = "" if told_by_nodes else _sign(edge.status, middle)
    return f"<g><title>{xml(title + detail)}</title>{curve}{sign}</g>"


def curve_across(source: Box, target: Box, share: float) -> tuple[str, tuple[float, float]]:
    """The path of a curve from the right side of a box, ``share`` of its height from the top, to the left side of another,
    and its middle; below both boxes where that goes back."""
    (x1, y1), (x2, y2) = _across(source, target, share)
    if x2 > x1 - 12:
        bend = max(18.0, min(140.0, abs(x2 - x1) * 0.5))
        return (f"M{_at(x1)} {_at(y1)}C{_at(x1 + bend)} {_at(y1)} {_at(x2 - bend)} {_at(y2)} {_at(x2)} {_at(y2)}",
                ((x1 + x2) / 2, (y1 + y2) / 2))
    low = _way_back(source, target)
    return (f"M{_at(x1)} {_at(y1)}C{_at(x1 + 34)} {_at(y1)} {_at(x1 + 34)} {_at(low)} {_at(x1)} {_at(low)}"
            f"H{_at(x2)}C{_at(x2 - 34)} {_at(low)} {_at(x2 - 34)} {_at(y2)} {_at(x2)} {_at(y2)}"), ((x1 + x2) / 2, low)


def _sign(status: Status, at: tuple[float, float]) -> str:
    return (f'<g class="sign {status}" transform="translate({_at(at[0])},{_at(at[1])})"><circle r="7.5" stroke-width="1.5"/>'
            f'<text class="b" y="4.5">{MARKS[status]}</text></g>')


def _across(source: Box, target: Box, share: float) -> tuple[tuple[float, float], tuple[float, float]]:
    share = min(max(share, 0.1), 0.9)
    return (source.right, source.y + source.height * share), (target.x - 3, target.y + target.height / 2)


def _way_back(source: Box, target: Box) -> float:
    """The height at which a connection goes back: between the two rows, or below what stands in one."""
    upper, lower = sorted((source, target), key=lambda box: box.y)
    return (upper.bottom + lower.y) / 2 if lower.y - upper.bottom >= 8 else max(source.bottom, target.bottom) + 16


def _upwards(source: Box, target: Box) -> tuple[tuple[float, float], tuple[float, float]]:
    begin = (source.x + source.width / 2, source.y)
    inside = min(max(begin[0], target.x + target.width * 0.15), target.right - target.width * 0.15)
    return begin, (inside, target.bottom + 3)


def draw_note(text: str, x: float, y: float, wide: float, high: float) -> str:
    """A sticky note, faintly: its frame and its first line."""
    first = next((line.strip("#*_ ") for line in text.splitlines() if line.strip("#*_ ")), "")
    words = xml(cut(readable(first), wide - 16, PLAIN)) if wide > 60 else ""
    return (f'<g class="note"><title>{xml("Sticky note: " + readable(first))}</title><rect x="{_at(x)}" y="{_at(y)}" '
            f'width="{_at(wide)}" height="{_at(high)}" rx="6"/>'
            f'<text class="q" x="{_at(x + 8)}" y="{_at(y + 15)}">{words}</text></g>')


def draw_legend(statuses: Sequence[Status], x: float, y: float) -> tuple[str, float]:
    """What the marks mean, on one line, and its width."""
    parts = []
    at = x + 8
    for status in statuses:
        parts.append(f'<g class="sign {status}" transform="translate({_at(at)},{_at(y)})"><circle r="8"/>'
                     f'<text class="b" y="4.5">{MARKS[status]}</text><text x="13" y="4">{status}</text></g>')
        at += 34 + PLAIN.width(status)
    return "".join(parts), at - x


def _at(value: float) -> str:
    """A coordinate: half pixels are enough."""
    return f"{round(value * 2) / 2 + 0.0:.1f}".removesuffix(".0")
