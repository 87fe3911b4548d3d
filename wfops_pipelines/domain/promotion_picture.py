"""A plan as a picture (§11.3): who is written, and who calls whom, as one SVG without scripts.

Made of the plan's JSON, so that a stored plan looks as it did; the same JSON gives the same bytes. Callers stand left of
what they call, and numbers say in which order they are written. Every action has a mark beside its colour, and every
shortened text stands in full in a title. What is not written is drawn where it calls, or is called by, what is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from wfops_pipelines.domain.picture_layout import Box
from wfops_pipelines.domain.picture_parts import curve_across
from wfops_pipelines.domain.picture_style import STYLE
from wfops_pipelines.domain.picture_text import BOLD, PLAIN, Font, cut, readable, xml
from wfops_pipelines.domain.promotion_graph import (
    BOX_WIDTH,
    WIDE,
    GraphEdge,
    GraphNode,
    PlanGraph,
    arrange_graph,
    plan_graph,
)
from wfops_pipelines.domain.promotion_plan import PlanAction
from wfops_pipelines.domain.promotion_plan_text import change_details, document_summary
from wfops_pipelines.domain.reconciliation import DiffStatus
from wfops_pipelines.domain.shown import one_line
from wfops_pipelines.domain.workflow import JsonObject

__all__ = ["plan_svg"]

_MARGIN, _LANE = 40.0, 34.0
_MAX_LISTED: Final = 40  # workflows in the description
_MAX_PROBLEMS: Final = 4
_LOOKS: Final[dict[str | None, tuple[str, str, str]]] = {  # class, mark, word
    PlanAction.CREATE: ("added", "+", "created"), PlanAction.UPDATE: ("changed", "~", "updated"),
    PlanAction.ARCHIVE: ("removed", "−", "archived"), PlanAction.DELETE: ("removed", "−", "deleted"),
    PlanAction.UNCHANGED: ("unchanged", "", "unchanged"), PlanAction.KEEP: ("unchanged", "", "kept as it is"),
    None: ("missing", "?", "will be missing"),
}
_OVERWRITES: Final[dict[str, str]] = {DiffStatus.TARGET_HOTFIX: "overwrites a hotfix",
                                      DiffStatus.CONFLICT: "overwrites a conflict"}


def plan_svg(document: JsonObject) -> str:
    """The picture of a plan: of what ``plan_document`` gives, or ``Plan.as_json()`` (its ``problems`` are then left out), as
    an SVG document. About 100 kB for 100 workflows; of very large plans the first 300 writes are drawn, the rest is
    counted."""
    graph = plan_graph(document)
    names = {change["key"]: change["name"] for change in document["changes"]}
    notes = {key: list(_notes(node)) for key, node in graph.nodes.items()}
    heights = {key: 46.0 + 15.0 * len(lines) for key, lines in notes.items()}
    wide = WIDE + 2 * _MARGIN
    body, y = _heading(document, wide)
    boxes: dict[str, Box] = {}
    for comes, placed, height in arrange_graph(graph, heights):
        words = f"from {document['source']}" if comes else f"only in {document['target']}"
        body.append(f'<text class="q n" x="{_MARGIN:.0f}" y="{y + 22:.0f}">{xml(cut(readable(words), WIDE, BOLD))}</text>'
                    f'<path class="edge" style="stroke-width:.6" d="M{_MARGIN:.0f} {y + 30:.0f}H{wide - _MARGIN:.0f}"/>')
        boxes |= {key: Box(box.width, box.height, x=box.x + _MARGIN, y=box.y + y + _LANE + 14)
                  for key, box in placed.items()}
        y += _LANE + 14 + height + 26
    body += _draw_edges(graph, boxes)
    body += [_draw_node(graph.nodes[key], boxes[key], notes[key], names) for key in graph.nodes]
    legend = _legend(graph, y + 12)
    return _document(wide, y + 34, document, graph, "".join([*body, legend]))


def _heading(document: JsonObject, wide: float) -> tuple[list[str], float]:
    """Title, summary and what speaks against the plan; and how high that is."""
    problems = document.get("problems") or []
    rows = [(20.0, "n", f"{document['source']} → {document['target']}"), (13.0, "q", _summary(document))]
    rows += [(12.0, "", f"! {problem['message']}") for problem in problems[:_MAX_PROBLEMS]]
    if len(problems) > _MAX_PROBLEMS:
        rows.append((12.0, "", f"! and {len(problems) - _MAX_PROBLEMS} more problems"))
    if not any(PlanAction(change["action"]).writes for change in document["changes"]):
        rows.append((13.0, "", "Nothing would be written."))
    if left := sum(change.get("source_active") is not None for change in document["changes"]):
        rows.append((12.0, "", f"≠ on or off otherwise than in the source: {left}"))
    if literals := document.get("literals"):
        rows.append((12.0, "", f"≠ values of the source's variables that go on as they are: {len(literals)}"))
    drawn, y = [], _MARGIN - 12
    for size, style, words in rows:
        y += size * 1.4
        shown = readable(words)
        font = Font(size, 1.15 if style == "n" else 1.0)
        drawn.append(f'<text class="{style}" x="{_MARGIN:.0f}" y="{y:.0f}" style="font-size:{size:.0f}px">'
                     f'<title>{xml(shown)}</title>{xml(cut(shown, wide - 2 * _MARGIN, font))}</text>')
    return drawn, y + 10


def _summary(document: JsonObject) -> str:
    """Without the sides, which the title names."""
    return document_summary(document).removeprefix(f"{one_line(document['source'])} → {one_line(document['target'])}: ")


def _notes(node: GraphNode) -> Iterator[str]:
    """What stands out, a line each."""
    if node.cycle is not None:
        yield f"↻ in cycle {node.cycle}"
    change = node.change or {}
    if change.get("action") == PlanAction.UPDATE and change["status"] in _OVERWRITES:
        yield f"! {_OVERWRITES[change['status']]}"
    if change.get("revives"):
        yield "! archived there by somebody"
    if change.get("irreversible"):
        yield "! cannot be undone"
    if change.get("unpublished"):
        yield "! calls what is not published"
    if change.get("cut_off"):
        yield "! off, and running ones call it"
    if change.get("source_active") is not None:
        yield f"≠ {'on' if change['source_active'] else 'off'} in the source"


def _action(node: GraphNode) -> str | None:
    return None if node.change is None else node.change["action"]


def _words(node: GraphNode) -> str:
    words = _LOOKS[_action(node)][2]
    change = node.change or {}
    before, after = change.get("before"), change.get("after")
    if change.get("action") == PlanAction.CREATE:
        return f"{words}, {'runs' if after and after['active'] else 'does not run'}"
    if change.get("action") == PlanAction.UPDATE and before and after:
        count = len(change["diff"]["changes"])
        words += f", {count} change{'' if count == 1 else 's'}" if count else ""
        if before["active"] != after["active"]:
            words += f", switched {'on' if after['active'] else 'off'}"
    return words


def _draw_node(node: GraphNode, box: Box, notes: Sequence[str], names: dict[str, str]) -> str:
    style, mark, _ = _LOOKS[_action(node)]
    name = readable(node.name) or "(no name)"
    details = list(change_details(node.change, names)) if node.change is not None and node.number else []
    title = "\n".join([name, _words(node), *notes, *(readable(detail) for detail in details)])
    room = BOX_WIDTH - 28 - (PLAIN.width(str(node.number)) + 6 if node.number else 0)
    dashes = ' stroke-dasharray="2 4"' if style == "missing" else ""
    parts = [f'<g class="node {style}" transform="translate({box.x:.0f},{box.y:.0f})"><title>{xml(title)}</title>'
             f'<rect width="{box.width:.0f}" height="{box.height:.0f}" rx="8"{dashes}/>'
             f'<text class="n" x="14" y="20">{xml(cut(name, room, BOLD))}</text>'
             f'<text class="q" x="14" y="36">{xml(cut(_words(node), BOX_WIDTH - 28, PLAIN))}</text>']
    parts += [f'<text x="14" y="{51 + 15 * line}">{xml(note)}</text>' for line, note in enumerate(notes)]
    if node.number:
        parts.append(f'<text class="q k" x="{BOX_WIDTH - 8:.0f}" y="19">{node.number}</text>')
    if mark and style != "missing":
        parts.append(f'<circle class="badge" r="10" stroke-width="2"/><text class="b" y="4.5">{mark}</text>')
    return "".join([*parts, "</g>"])


def _draw_edges(graph: PlanGraph, boxes: Mapping[str, Box]) -> list[str]:
    leaving = Counter(edge.caller for edge in graph.edges)
    used: dict[str, int] = defaultdict(int)
    drawn = []
    for edge in sorted(graph.edges, key=lambda edge: (edge.caller, boxes[edge.called].y, edge.called)):
        used[edge.caller] += 1
        share = used[edge.caller] / (leaving[edge.caller] + 1)
        drawn.append((edge.in_cycle, _draw_edge(edge, graph, boxes, share)))
    return [svg for _, svg in sorted(drawn, key=lambda pair: pair[0])]


def _draw_edge(edge: GraphEdge, graph: PlanGraph, boxes: Mapping[str, Box], share: float) -> str:
    path, _ = curve_across(boxes[edge.caller], boxes[edge.called], share)
    caller, called = (readable(graph.nodes[key].name, 120) for key in (edge.caller, edge.called))
    late = ", and is written first without that" if edge.late else ""
    style, marker = (" renamed", "cycle") if edge.in_cycle else ("", "call")
    return (f'<g><title>{xml(f"{caller} needs {called}{late}")}</title><path class="edge{style}" d="{path}"'
            f'{_DASHES if edge.late else ""} marker-end="url(#plan-{marker})"/></g>')


_DASHES: Final = ' stroke-dasharray="7 5"'


def _legend(graph: PlanGraph, y: float) -> str:
    """What marks and lines mean, as far as they are there, and what is not drawn."""
    x, parts = _MARGIN + 8, []
    used = {_action(node) for node in graph.nodes.values()}
    for action in (PlanAction.CREATE, PlanAction.UPDATE, PlanAction.ARCHIVE, PlanAction.DELETE):
        if action in used:
            style, mark, word = _LOOKS[action]
            parts.append(f'<g class="sign {style}" transform="translate({x:.0f},{y:.0f})"><circle r="8"/>'
                         f'<text class="b" y="4.5">{mark}</text><text x="13" y="4">{word}</text></g>')
            x += 40 + PLAIN.width(word)
    lines = [("calls, or names as error workflow", "", "", any(not edge.late and not edge.in_cycle for edge in graph.edges)),
             ("in a cycle", " renamed", "", any(edge.in_cycle for edge in graph.edges)),
             ("late: written first without it", "", _DASHES, any(edge.late for edge in graph.edges))]
    for words, style, dashes, there in lines:
        if there:
            parts.append(f'<path class="edge{style}" d="M{x:.0f} {y:.0f}h34"{dashes}/>'
                         f'<text x="{x + 42:.0f}" y="{y + 4:.0f}">{words}</text>')
            x += 62 + PLAIN.width(words)
    if graph.left_out:
        parts.append(f'<text class="q" x="{x:.0f}" y="{y + 4:.0f}">{graph.left_out} more workflows are not drawn</text>')
    return "".join(parts)


def _document(wide: float, high: float, document: JsonObject, graph: PlanGraph, body: str) -> str:
    told = [f"{node.number}. {node.change['action']} {readable(node.name, 100)}" for node in graph.nodes.values()
            if node.number and node.change]
    more = [f"and {len(told) - _MAX_LISTED} more"] if len(told) > _MAX_LISTED else []
    title = readable(f"{document['source']} → {document['target']}")
    description = " ".join([readable(_summary(document)), "; ".join([*told[:_MAX_LISTED], *more])]).strip()
    markers = "".join(
        f'<marker id="plan-{name}" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="8" markerHeight="8" orient="auto" '
        f'markerUnits="userSpaceOnUse"><path class="tip{style}" d="M0 0L8 4L0 8z"/></marker>'
        for name, style in (("call", ""), ("cycle", " renamed")))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:.0f} {high:.0f}" width="{wide:.0f}" '
            f'height="{high:.0f}" role="img" aria-labelledby="plan-title plan-desc">'
            f'<title id="plan-title">{xml(title)}</title><desc id="plan-desc">{xml(description)}</desc>'
            f'<style>{STYLE}</style><defs>{markers}</defs>'
            f'<rect class="bg" width="100%" height="100%"/>{body}</svg>\n')
