"""What an export says to the people who review it (§7): the text of its pull request, and what changes in a file beside
its content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from wfops_pipelines.domain.diff import from_json
from wfops_pipelines.domain.diff_text import as_markdown, visible

MAX_CHARS: Final = 60_000
"""GitHub refuses a text of more than 65,536 characters."""
_MAX_DIFF_CHARS: Final = 8_000
_SPECIAL: Final = frozenset("\\`*_{}[]<>#|")


def pull_request_text(message: str, files: Iterable[Mapping[str, Any]]) -> str:
    """``message`` and what changes in each file, Git before and n8n after, secrets masked. What goes beyond
    :data:`MAX_CHARS` is left out and counted."""
    sections = [section for file in files if (section := _section(file))]
    text, shown = message[:MAX_CHARS // 2].rstrip("\n"), 0
    for section in sections:
        if len(text) + len(section) > MAX_CHARS:
            break
        text += f"\n\n{section}"
        shown += 1
    rest = len(sections) - shown
    return text + (f"\n\n… and the differences of {rest} more file{'s' if rest > 1 else ''}" if rest else "") + "\n"


def field_changes(file: Mapping[str, Any]) -> list[str]:
    """What changes in the file beside its content, a line each: ``active: no → yes``."""
    lines = [f"{name}: {_said(change['before'])} → {_said(change['after'])}"
             for name, change in file.get("fields", {}).items()]
    return lines + ([f"replaces a file that cannot be read: {visible(file['problem'])}"] if file.get("problem") else [])


def left_out(ambiguous: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is told of workflows that an export left out, some lines each: which, why, what they might be, the way out."""
    lines = []
    for workflow in ambiguous:
        name = visible(workflow["name"]) or "(no name)"
        lines.append(f"{name} ({visible(workflow['workflow_id'])}) is left out: {workflow['message']} "
                     f"({workflow['reason'].replace('_', ' ')})")
        for candidate in workflow["candidates"]:
            holder = f", here {visible(candidate['held_by'])}" if candidate["held_by"] else ""
            lines.append(f"    might be {visible(candidate['name'] or '(no name)')} ({candidate['canonical_id']}){holder}")
        lines.append(f"    fix: {visible(workflow['fix'])}")
    return lines


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return visible(", ".join(map(str, value))) or "none"
    return "not said" if value is None else visible(str(value))


def _section(file: Mapping[str, Any]) -> str:
    parts = [f"- {_escape(line)}" for line in field_changes(file)]
    if file.get("diff") and file["diff"]["changes"]:
        parts += ["", as_markdown(from_json(file["diff"]), values=True, max_chars=_MAX_DIFF_CHARS)]
    return "\n".join([f"### {_escape(visible(file['path']))}", "", *parts]) if parts else ""


def _escape(text: str) -> str:
    return "".join("\\" + c if c in _SPECIAL else c for c in text)
