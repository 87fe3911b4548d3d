"""The semantic diff as a picture (§8): the node graph as n8n's canvas shows it, coloured, as one SVG without scripts.

The same input gives the same bytes. Nothing outside is referred to; names and paths are shown, values never. Every
status has a mark beside its colour, and every shortened text stands in full in a title. What is far from any change in
a larger workflow is drawn small, so that the changes stay readable.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from wfops_pipelines.domain.diff import ChangeKind, WorkflowDiff
from wfops_pipelines.domain.diff_text import summary
from wfops_pipelines.domain.picture_layout import Box, Place, arrange, complete_places, interpolation
from wfops_pipelines.domain.picture_model import PictureModel, PictureNode, PictureNote, Status, build_model
from wfops_pipelines.domain.picture_parts import (
    MARKS,
    Detail,
    draw_edge,
    draw_legend,
    draw_list,
    draw_node,
    draw_note,
    mark_of,
    node_box,
    path_of,
)
from wfops_pipelines.domain.picture_style import STYLE
from wfops_pipelines.domain.picture_text import PLAIN, Font, cut, readable, xml
from wfops_pipelines.domain.workflow import Content

__all__ = ["diff_picture"]

_ALL_FULL: Final = 24  # up to here every node is drawn with its words
_ALL_LINES: Final = 120  # with more changed nodes, what changed stands in titles alone
_MAX_NODES: Final = 600
_MAX_EDGES: Final = 1_200
_MAX_NOTES: Final = 40
_MAX_LISTED: Final = 40  # nodes in the description
_MARGIN: Final = 40.0
_MIN_WIDTH: Final = 560.0
_EVENTS: Final = (ChangeKind.SETTINGS_CHANGED, ChangeKind.EXECUTION_ORDER_CHANGED)


def diff_picture(before: Content | None, after: Content | None, diff: WorkflowDiff, *,
                 labels: tuple[str, str] | None = None, max_width: int | None = None) -> str:
    """The picture of ``diff``, the diff of ``before`` and ``after``, as an SVG document; an absent side is a workflow
    added or removed. ``labels`` name the sides (``acme/staging``, ``acme/prod``). ``max_width`` in pixels is how large it
    shows itself at most, where nothing scales it.

    Never raises on what ``read_content`` lets through. About 50 kB for 100 nodes; at most 600 nodes are drawn, changed
    ones first, the rest is counted.
    """
    model = build_model(before, after, diff)
    model, left_out = _bounded(model)
    details = _details(model)
    lines = sum(bool(node.changes or node.was) for node in model.nodes) <= _ALL_LINES
    boxes = [node_box(node, detail, lines=lines) for node, detail in zip(model.nodes, details, strict=True)]
    main = [(edge.source, edge.target) for edge in model.edges if edge.kind == "main"]
    places = complete_places([node.place for node in model.nodes], main)
    arrange(boxes, places, main)
    notes = _note_boxes(model.notes, boxes, places)
    edges = _draw_edges(model, boxes)
    everything = [*boxes, *(box for _, box in notes)]
    left, top = (min((getattr(box, side) for box in everything), default=0.0) for side in ("x", "y"))
    right = max((box.right for box in everything), default=0.0)
    bottom = max((box.bottom for box in everything), default=0.0)
    grown = min(max((right - left) / 1100, 1.0), 3.5)  # what is wide is seen from afar
    margin = _MARGIN + 26 * (grown - 1)
    wide = max(_MIN_WIDTH, right - left + 2 * margin)
    reading = sorted(range(len(boxes)), key=lambda number: (boxes[number].y, boxes[number].x, number))
    listed = [number for number in reading if model.nodes[number].status is not Status.UNCHANGED] if grown > 1.5 else []
    numbers = {number: place for place, number in enumerate(listed[:_MAX_LISTED], 1)}
    nodes = [draw_node(model.nodes[number], boxes[number], details[number], lines=lines, number=numbers.get(number),
                       grown=max(1.0, grown * 0.7)) for number in reading]
    heads, height = _heading(before, after, diff, labels, wide, grown)
    graph = [*(draw_note(note.text, box.x, box.y, box.width, box.height) for note, box in notes), *edges, *nodes]
    foot = _footnote(model, left_out, details.count(Detail.DOT), len(listed) - len(numbers))
    legend, high = _legend(model, foot, [model.nodes[number] for number in numbers], wide, grown,
                           height + bottom - top + 2 * margin + 8)
    inner = f'<g transform="translate({margin - left:.0f},{height + margin - top:.0f})">{"".join(graph)}</g>'
    body = "".join([*heads, inner, legend])
    return _document(wide, high, _name(before, after), _description(model, diff), body, max_width)


def _bounded(model: PictureModel) -> tuple[PictureModel, int]:
    """The model with so many nodes as are drawn, and how many are not."""
    if len(model.nodes) <= _MAX_NODES and len(model.edges) <= _MAX_EDGES:
        return model, 0
    ranked = sorted(range(len(model.nodes)), key=lambda number: (model.nodes[number].status is Status.UNCHANGED, number))
    kept = sorted(ranked[:_MAX_NODES])
    new = {number: rank for rank, number in enumerate(kept)}
    edges = [replace(edge, source=new[edge.source], target=new[edge.target]) for edge in model.edges
             if edge.source in new and edge.target in new]
    edges.sort(key=lambda edge: edge.status is Status.UNCHANGED)
    nodes = [model.nodes[number] for number in kept]
    return replace(model, nodes=nodes, edges=edges[:_MAX_EDGES]), len(model.nodes) - len(kept)


def _details(model: PictureModel) -> list[Detail]:
    """How much of each node is drawn: in a workflow too large to be read as a whole, of a node beside a change its name,
    of the others no words."""
    changed = {number for number, node in enumerate(model.nodes) if node.status is not Status.UNCHANGED}
    beside = set()
    for edge in model.edges:
        if edge.status is not Status.UNCHANGED or edge.source in changed or edge.target in changed:
            beside |= {edge.source, edge.target}
    if len(model.nodes) <= _ALL_FULL or not (changed or beside):
        return [Detail.FULL] * len(model.nodes)
    return [Detail.FULL if number in changed else Detail.NAME if number in beside else Detail.DOT
            for number in range(len(model.nodes))]


def _draw_edges(model: PictureModel, boxes: Sequence[Box]) -> list[str]:
    outputs: dict[tuple[int, str], int] = defaultdict(int)
    for edge in model.edges:
        outputs[edge.source, edge.kind] = max(outputs[edge.source, edge.kind], edge.output + 1)
    ordered = sorted(model.edges, key=lambda edge: (edge.status is not Status.UNCHANGED, edge))
    return [draw_edge(edge, model.nodes, boxes, outputs[edge.source, edge.kind]) for edge in ordered]


def _note_boxes(notes: Sequence[PictureNote], boxes: Sequence[Box], places: Sequence[Place],
                ) -> list[tuple[PictureNote, Box]]:
    """Where notes are drawn: around the nodes that stand on them; those that hold none are left out."""
    if not boxes:
        return []
    across = interpolation([place[0] for place in places], [box.x for box in boxes])
    down = interpolation([place[1] for place in places], [box.y for box in boxes])
    drawn = []
    for note in notes[:_MAX_NOTES]:
        x, y = note.place
        inside = [box for box, place in zip(boxes, places, strict=True)
                  if x - 60 <= place[0] <= x + note.width - 20 and y - 60 <= place[1] <= y + note.height - 20]
        if not inside:
            continue
        left = min(max(across(x), min(box.x for box in inside) - 40), min(box.x for box in inside) - 12)
        top = min(max(down(y), min(box.y for box in inside) - 50), min(box.y for box in inside) - 24)
        drawn.append((note, Box(max(box.right for box in inside) + 12 - left, max(box.bottom for box in inside) + 12 - top,
                                x=left, y=top)))
    return sorted(drawn, key=lambda pair: -pair[1].width * pair[1].height)


def _name(before: Content | None, after: Content | None) -> str:
    names = [readable(side["name"]) or "(no name)" for side in (before, after) if side is not None]
    return " → ".join(dict.fromkeys(names)) or "(no workflow)"


def _heading(before: Content | None, after: Content | None, diff: WorkflowDiff, labels: tuple[str, str] | None,
             wide: float, grown: float) -> tuple[list[str], float]:
    """Title, sides, summary and what changed beside nodes; and how high that is."""
    room = wide - 2 * _MARGIN
    rows = [(20.0, "n", _name(before, after))]
    if labels is not None:
        rows.append((13.0, "q", f"{readable(labels[0])} → {readable(labels[1])}"))
    rows.append((13.0, "q", summary(diff)))
    beside = [f"{mark_of(change)} {'settings.' if change.kind is ChangeKind.SETTINGS_CHANGED else 'order of '}"
              f"{path_of(change) if change.kind is ChangeKind.SETTINGS_CHANGED else readable(change.node or change.path)}"
              for change in diff.changes if change.kind in _EVENTS]
    if beside:
        more = f" · and {len(beside) - 6} more" if len(beside) > 6 else ""
        rows.append((12.0, "", " · ".join(beside[:6]) + more))
    drawn, y = [], _MARGIN - 8
    for size, style, text in rows:
        y += size * grown * 1.35
        font = Font(size * grown, 1.15 if style == "n" else 1.0)
        drawn.append(f'<text class="{style}" x="{_MARGIN:.0f}" y="{y:.0f}" style="font-size:{size * grown:.0f}px">'
                     f'<title>{xml(text)}</title>{xml(cut(text, room, font))}</text>')
    return drawn, y + 8


def _footnote(model: PictureModel, left_out: int, small: int, unlisted: int) -> str:
    told = []
    if small:
        told.append(f"{_count(small, 'node')} far from changes drawn small")
    if unlisted:
        told.append(f"{_count(unlisted, 'more node')} changed than listed")
    if left_out:
        told.append(f"{_count(left_out, 'more node')} not drawn")
    if model.dangling:
        told.append(f"{_count(model.dangling, 'connection')} to or from nodes that do not exist")
    return " · ".join(told)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _legend(model: PictureModel, foot: str, listed: Sequence[PictureNode], wide: float, grown: float,
            y: float) -> tuple[str, float]:
    """The legend, a footnote, the numbered changes of a wide picture, and where the picture ends below them."""
    used = {node.status for node in model.nodes} | {edge.status for edge in model.edges}
    room = (wide - 2 * _MARGIN) / grown
    drawn, length = draw_legend([status for status in MARKS if status in used], 0, 0)
    if foot:
        begin = length + 6 if length else 0.0
        drawn += f'<text class="q" x="{begin:.0f}" y="4">{xml(cut(foot, room - begin, PLAIN))}</text>'
    if not drawn:
        return "", y
    rows, high = draw_list(listed, room)
    if listed:
        drawn += f'<g transform="translate(0,32)">{rows}</g>'
        high += 12
    return f'<g transform="translate({_MARGIN:.0f},{y:.0f}) scale({grown:.2f})">{drawn}</g>', y + (28 + high) * grown


def _description(model: PictureModel, diff: WorkflowDiff) -> str:
    """The picture in words, for those who do not see it."""
    told = [f"{node.status}: {readable(node.name, 100)}" for node in model.nodes if node.status is not Status.UNCHANGED]
    more = [f"and {len(told) - _MAX_LISTED} more"] if len(told) > _MAX_LISTED else []
    return " ".join([summary(diff), "; ".join([*told[:_MAX_LISTED], *more])]).strip()


def _document(wide: float, high: float, title: str, description: str, body: str, max_width: int | None) -> str:
    scale = min(1.0, max_width / wide) if max_width else 1.0
    markers = "".join(
        f'<marker id="wf-{status}" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="8" markerHeight="8" orient="auto" '
        f'markerUnits="userSpaceOnUse"><path class="tip {status}" d="M0 0L8 4L0 8z"/></marker>'
        for status in (Status.UNCHANGED, Status.ADDED, Status.REMOVED))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:.0f} {high:.0f}" width="{wide * scale:.0f}" '
            f'height="{high * scale:.0f}" role="img" aria-labelledby="wf-title wf-desc">'
            f'<title id="wf-title">{xml(title)}</title><desc id="wf-desc">{xml(description)}</desc>'
            f'<style>{STYLE}</style><defs>{markers}</defs>'
            f'<rect class="bg" width="100%" height="100%"/>{body}</svg>\n')
