"""The semantic diff as text for a terminal, and as Markdown for Dagster and pull requests (§8).

Grouped by node; long values shortened around what differs; changes within a longer text (``jsCode``, a prompt, SQL) as
a unified line diff. Secrets are masked, and characters that could move the cursor, colour the terminal or turn the
direction of text are shown as escapes: what a reviewer sees is what is there.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from wfops_pipelines.domain.diff import Change, ChangeKind, WorkflowDiff, masked
from wfops_pipelines.domain.line_diff import diff_lines, shorten, shorten_pair
from wfops_pipelines.domain.value_diff import ABSENT

_WIDTH: Final = 90  # characters of a value on its line
_RESET: Final = "\x1b[0m"
_COLOURS: Final = {"#": "\x1b[1m", "+": "\x1b[32m", "-": "\x1b[31m", "~": "\x1b[33m", "@": "\x1b[36m"}

_GROUPS: Final = {
    ChangeKind.WORKFLOW_ADDED: "workflow", ChangeKind.WORKFLOW_REMOVED: "workflow", ChangeKind.NAME_CHANGED: "workflow",
    ChangeKind.SETTINGS_CHANGED: "workflow", ChangeKind.CONNECTION_ADDED: "connections",
    ChangeKind.CONNECTION_REMOVED: "connections", ChangeKind.EXECUTION_ORDER_CHANGED: "connections",
}
_WORDS: Final = {
    ChangeKind.WORKFLOW_ADDED: ("workflow added", "workflows added"),
    ChangeKind.WORKFLOW_REMOVED: ("workflow removed", "workflows removed"),
    ChangeKind.NAME_CHANGED: ("name changed", "names changed"),
    ChangeKind.NODE_ADDED: ("node added", "nodes added"),
    ChangeKind.NODE_REMOVED: ("node removed", "nodes removed"),
    ChangeKind.NODE_RENAMED: ("node renamed", "nodes renamed"),
    ChangeKind.NODE_CHANGED: ("node field changed", "node fields changed"),
    ChangeKind.CREDENTIALS_CHANGED: ("credential changed", "credentials changed"),
    ChangeKind.CONNECTION_ADDED: ("connection added", "connections added"),
    ChangeKind.CONNECTION_REMOVED: ("connection removed", "connections removed"),
    ChangeKind.EXECUTION_ORDER_CHANGED: ("execution order changed", "execution orders changed"),
    ChangeKind.SETTINGS_CHANGED: ("setting changed", "settings changed"),
}
_INVISIBLE: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff"
    r"\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f]")


@dataclass(frozen=True, slots=True)
class _Line:
    """``mark`` is ``+``, ``-``, ``~``, ``@`` (place of a hunk), ``#`` (heading) or a space."""

    mark: str
    depth: int
    text: str


def render_text(diff: WorkflowDiff, *, before_label: str, after_label: str, colour: bool) -> str:
    """The diff for a terminal, ending in a newline. ``colour`` adds ANSI colours; without it the text is plain."""
    if diff.equal:
        return summary(diff) + "\n"
    header = [_Line("#", 0, f"--- {visible(before_label)}"), _Line("#", 0, f"+++ {visible(after_label)}")]
    written = [_plain(line, colour=colour) for line in (*header, *_lines(diff, values=True))]
    return "\n".join([*written, "", summary(diff)]) + "\n"


def as_markdown(diff: WorkflowDiff, *, values: bool = False, max_chars: int = 20_000) -> str:
    """A bold summary and the diff in a fence. Parameter values are in it only with ``values`` (pull requests; Dagster's
    metadata never shows any). What goes beyond ``max_chars`` is cut off and counted."""
    head = f"**{summary(diff)}**"
    if diff.equal:
        return head
    lines = [_plain(line, colour=False) for line in _lines(diff, values=values)]
    kept: list[str] = []
    room = max_chars
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    longest = max((len(run) for line in kept for run in re.findall(r"`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    rest = f"\n\n… and {_plural(len(lines) - len(kept), 'more line')}" if len(kept) < len(lines) else ""
    return "\n".join([head, "", f"{fence}diff", *kept, fence]) + rest


def summary(diff: WorkflowDiff) -> str:
    """One line: ``3 changes: 1 node added, 2 connections added; 4 cosmetic differences not shown.``"""
    cosmetic = f"; {_plural(diff.cosmetic, 'cosmetic difference')} not shown" if diff.cosmetic else ""
    if diff.equal:
        return f"No differences{cosmetic}."
    counts = Counter(change.kind for change in diff.changes)
    parts = (f"{counts[kind]} {_WORDS[kind][counts[kind] > 1]}" for kind in ChangeKind if counts[kind])
    return f"{_plural(len(diff.changes), 'change')}: {', '.join(parts)}{cosmetic}."


def _lines(diff: WorkflowDiff, *, values: bool) -> Iterator[_Line]:
    for group in ("workflow", None, "connections"):
        changes = [change for change in diff.changes if _GROUPS.get(change.kind) == group]
        if group is None:
            for _, of_node in groupby(changes, key=_group_of_node):
                yield from _node(list(of_node), values=values)
        elif changes:
            yield _Line("#", 0, group)
            for change in changes:
                yield from _change(change, depth=1, values=values)


def _group_of_node(change: Change) -> tuple[str | None, bool]:
    """Changes within one node stand together; a node removed is another than one of that name with changes."""
    return change.node, change.kind in (ChangeKind.NODE_ADDED, ChangeKind.NODE_REMOVED)


def _node(changes: list[Change], *, values: bool) -> Iterator[_Line]:
    first, *others = changes
    if first.kind is ChangeKind.NODE_RENAMED:
        yield _Line("~", 0, f"node {_quoted(first.after)} (renamed from {_quoted(first.before)})")
    elif first.kind in (ChangeKind.NODE_ADDED, ChangeKind.NODE_REMOVED):
        others = []
        for change in changes:
            added = change.kind is ChangeKind.NODE_ADDED
            node_type = (change.after if added else change.before).get("type")
            yield _Line("+" if added else "-", 0, f"node {_quoted(change.node)} ({visible(str(node_type))})")
    else:
        yield _Line("~", 0, f"node {_quoted(first.node)}")
        others = changes
    for change in others:
        yield from _change(change, depth=1, values=values)


def _change(change: Change, *, depth: int, values: bool) -> Iterator[_Line]:
    shown = masked(change)
    match change.kind:
        case ChangeKind.WORKFLOW_ADDED | ChangeKind.WORKFLOW_REMOVED:
            added = change.kind is ChangeKind.WORKFLOW_ADDED
            what = shown.after if added else shown.before
            yield _Line("+" if added else "-", depth, f"{_quoted(what['name'])} ({_plural(what['nodes'], 'node')})")
        case ChangeKind.CONNECTION_ADDED | ChangeKind.CONNECTION_REMOVED:
            mark = "+" if change.kind is ChangeKind.CONNECTION_ADDED else "-"
            yield _Line(mark, depth, f"{_quoted(shown.node)} {visible(shown.path or '')}")
        case ChangeKind.EXECUTION_ORDER_CHANGED:
            yield _Line("~", depth, f"{_quoted(shown.node or shown.path)} runs its targets in another order")
            for mark, side in (("-", shown.before), ("+", shown.after)):
                if isinstance(side, list):
                    yield from (_Line(mark, depth + 1, visible(str(edge))) for edge in side)
        case ChangeKind.NAME_CHANGED:
            yield from _value_lines("name", change, shown, depth)
        case ChangeKind.SETTINGS_CHANGED:
            yield from _value_lines(f"settings.{shown.path}", change, shown, depth)
        case ChangeKind.CREDENTIALS_CHANGED:
            yield from _value_lines(f"credentials.{shown.path}", change, shown, depth)
        case _ if values:
            yield from _value_lines(shown.path or "", change, shown, depth)
        case _:
            yield _Line(_mark(shown), depth, visible(shown.path or ""))


def _mark(change: Change) -> str:
    return "+" if change.before is ABSENT else "-" if change.after is ABSENT else "~"


def _value_lines(label: str, change: Change, shown: Change, depth: int) -> Iterator[_Line]:
    mark, label = _mark(shown), visible(label)
    if mark != "~":
        yield _Line(mark, depth, f"{label}: {shorten(_json(shown.after if mark == '+' else shown.before), _WIDTH)}")
    elif (_is_long_text(change.before) and _is_long_text(change.after) and not change.secret
          and change.before != change.after):  # of a stored diff, what differs may be masked on both sides
        yield _Line(mark, depth, f"{label}:")
        for sign, text in diff_lines(change.before, change.after):
            yield _Line(sign, depth + 1, visible(text))
    else:
        before, after = _json(shown.before), _json(shown.after)
        if before == after:  # what differs is masked
            yield _Line(mark, depth, f"{label}: {shorten(before, _WIDTH)} (changed)")
        else:
            before, after = shorten_pair(before, after, _WIDTH)
            yield _Line(mark, depth, f"{label}: {before} → {after}")


def _is_long_text(value: Any) -> bool:
    return isinstance(value, str) and "\n" in value


def _plain(line: _Line, *, colour: bool) -> str:
    """The mark stands first, so that a Markdown ``diff`` fence colours the line too."""
    match line.mark:
        case "#":
            text = line.text
        case "@":
            text = f"@@ {line.text} @@"
        case mark:
            text = f"{mark}{'  ' * line.depth} {line.text}"
    if not colour or line.mark not in _COLOURS:
        return text.rstrip()
    return f"{_COLOURS[line.mark]}{text.rstrip()}{_RESET}"


def _json(value: Any) -> str:
    return visible(json.dumps(value, ensure_ascii=False))


def _quoted(name: Any) -> str:
    return _json(name if isinstance(name, str) else "")


def visible(text: str) -> str:
    """``text`` with control characters, lone surrogates, marks of direction and characters that show nothing as escapes;
    tabs stay, and so do the joiners that emoji and many scripts need."""
    return _INVISIBLE.sub(_escape, text).replace("\n", r"\n")


def _escape(found: re.Match[str]) -> str:
    point = ord(found[0])
    return rf"\u{point:04x}" if point < 0x10000 else rf"\U{point:08x}"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
