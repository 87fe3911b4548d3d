"""A plan as text for a terminal, and as Markdown for Dagster and pull requests (§11.3).

One line for each workflow, in order, with what has to be known about it under it; then what hangs together, what is
missing, how far it reaches, and what it needs somebody's word for. Everything is masked, and what could move the cursor
is shown as an escape, as in ``diff_text``. The text is made of the plan's JSON, so that a stored plan reads as it did.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from wfops_pipelines.domain.canonical_json import encode
from wfops_pipelines.domain.diff import from_json as diff_from_json
from wfops_pipelines.domain.diff_text import as_markdown, render_text
from wfops_pipelines.domain.diff_text import summary as diff_summary
from wfops_pipelines.domain.fleet_fields import Activation
from wfops_pipelines.domain.lint_text import lint_entries
from wfops_pipelines.domain.masking import mask
from wfops_pipelines.domain.promotion_limits import plan_problems
from wfops_pipelines.domain.promotion_plan import Plan, PlanAction
from wfops_pipelines.domain.reach import render as render_reach
from wfops_pipelines.domain.reconciliation import DiffStatus
from wfops_pipelines.domain.shown import one_line
from wfops_pipelines.domain.stored_reach import reach_from_json
from wfops_pipelines.domain.workflow import JsonObject

_RESET: Final = "\x1b[0m"
_BOLD: Final = "\x1b[1m"
_COLOURS: Final = {"+": "\x1b[32m", "-": "\x1b[31m", "~": "\x1b[33m", "!": "\x1b[31m"}
_MARKS: Final = {PlanAction.CREATE: "+", PlanAction.UPDATE: "~", PlanAction.ARCHIVE: "-", PlanAction.DELETE: "-"}
_DONE: Final[dict[str, str]] = {
    PlanAction.CREATE: "created", PlanAction.UPDATE: "updated", PlanAction.ARCHIVE: "archived",
    PlanAction.DELETE: "deleted", PlanAction.UNCHANGED: "unchanged", PlanAction.KEEP: "kept, though only in the target",
}
_STANDS_OUT: Final[dict[str, str]] = {DiffStatus.TARGET_HOTFIX: "overwrites a hotfix of the target",
                                      DiffStatus.CONFLICT: "conflict: both sides went on"}
_SHORT_CHECKSUM: Final = 12
_MAX_ENTRIES: Final = 20  # of a section about many workflows


def plan_document(plan: Plan) -> JsonObject:
    """The plan as JSON, with its ``problems``: what :func:`render_plan_json` and :func:`plan_markdown` show."""
    return {**plan.as_json(), "problems": [problem.as_json() for problem in plan_problems(plan)]}


def plan_summary(plan: Plan) -> str:
    """One line: ``acme/dev → acme/staging: 2 created, 1 updated, 47 unchanged (plan 0123456789ab)``."""
    return document_summary({"source": plan.source, "target": plan.target, "counts": plan.counts(),
                             "checksum": plan.checksum})


def render_plan(plan: Plan, *, colour: bool, diffs: bool = True) -> str:
    """The plan for a terminal, ending in a newline; ``diffs`` adds the semantic diff under each update."""
    return render_plan_json(plan_document(plan), colour=colour, diffs=diffs)


def render_plan_json(document: JsonObject, *, colour: bool, diffs: bool = True) -> str:
    """Exactly what :func:`render_plan` gives, of a plan that was stored: :func:`plan_document`, or ``Plan.as_json()`` with
    its problems as JSON under ``problems``. With ``gates`` (a report of gates as JSON) what the lint found is listed."""
    def painted(mark: str, text: str) -> str:
        return f"{_COLOURS[mark]}{mark} {text}{_RESET}" if colour else f"{mark} {text}"

    lines = [f"{_BOLD}{document_summary(document)}{_RESET}" if colour else document_summary(document)]
    writes = _writes(document)
    names = {change["key"]: change["name"] for change in document["changes"]}
    for number, change in enumerate(writes, 1):
        action = PlanAction(change["action"])
        lines += ["", painted(_MARKS[action], f"{number}. {_line(change)}")]
        lines += [f"    {line}" for line in change_details(change, names)]
        if diffs and action is PlanAction.UPDATE and not change["diff"]["equal"]:
            shown = render_text(diff_from_json(change["diff"]), before_label=document["target"],
                                after_label=document["source"], colour=colour)
            lines += [f"    {line}".rstrip() for line in shown.rstrip("\n").split("\n")]
    if not writes:
        lines += ["", "Nothing would be written."]
    for heading, entries in _sections(document, names):
        lines += ["", f"{_BOLD}{heading}{_RESET}" if colour else heading, *(f"  {entry}" for entry in entries)]
    if problems := document.get("problems"):
        lines += ["", *(painted("!", f"{one_line(problem['message'], 300)} ({problem['fix']})") for problem in problems)]
    return "\n".join(lines) + "\n"


def plan_markdown(document: JsonObject, *, values: bool = False, max_rows: int = 50, max_chars: int = 20_000) -> str:
    """A plan of :func:`plan_document` as Markdown: a bold summary, a table of the first ``max_rows`` writes, what speaks
    against it, what is to be known, and the diff of each update, as far as ``max_chars`` goes. Values of parameters are in
    it only with ``values`` (pull requests; Dagster's metadata never shows any)."""
    writes, names = _writes(document), {change["key"]: change["name"] for change in document["changes"]}
    parts = [f"**{_cell(document_summary(document))}**"]
    if writes:
        rows = [f"| {number} | {change['action']} | {_cell(change['name'])} | "
                f"{_cell(diff_summary(diff_from_json(change['diff'])))} | "
                f"{_cell('; '.join(change_details(change, names)), 1_000)} |"
                for number, change in enumerate(writes[:max_rows], 1)]
        parts.append("\n".join(["| | action | workflow | changes | |", "| --- | --- | --- | --- | --- |", *rows]))
    if len(writes) > max_rows:
        parts.append(f"and {len(writes) - max_rows} more")
    parts += [f"⚠️ {_cell(problem['message'], 1_000)}" for problem in document.get("problems") or ()]
    parts += ["\n".join([f"**{_cell(heading)}**", "", *(f"- {_cell(entry)}" for entry in entries)])
              for heading, entries in _remarks(document, names)]
    parts += [f"### {_cell(change['name'])}\n\n{as_markdown(diff_from_json(change['diff']), values=values)}"
              for change in writes if change["action"] == PlanAction.UPDATE and not change["diff"]["equal"]]
    kept, room = parts[:1], max_chars - len(parts[0])
    for part in parts[1:]:
        room -= len(part) + 2
        if room < 0:
            kept.append("… the rest of the plan is left out here: `wfops promotion show`")
            break
        kept.append(part)
    return "\n\n".join(kept)


def _writes(document: JsonObject) -> list[JsonObject]:
    return [change for change in document["changes"] if PlanAction(change["action"]).writes]


def document_summary(document: JsonObject) -> str:
    """:func:`plan_summary` of a plan as JSON."""
    counts = document["counts"]
    parts = [f"{counts[action]} {_DONE[action]}" for action in PlanAction if counts[action]]
    return (f"{one_line(document['source'])} → {one_line(document['target'])}: {', '.join(parts) or 'nothing there'} "
            f"(plan {document['checksum'][:_SHORT_CHECKSUM]})")


def _line(change: JsonObject) -> str:
    parts = [change["action"], one_line(change["name"], 100) or "(no name)"]
    if change["action"] == PlanAction.UPDATE and change["status"] in _STANDS_OUT:
        parts.append(f"[{_STANDS_OUT[change['status']]}]")
    return " ".join(parts)


def change_details(change: JsonObject, names: dict[str, str]) -> Iterator[str]:
    """What has to be known about a change that is written, a line each; ``names`` are those of all keys of the plan."""
    before, after = change["before"], change["after"]
    if change["action"] == PlanAction.CREATE and after is not None and after["active"]:
        yield "runs as soon as it is there"
    elif before is not None and after is not None and before["active"] != after["active"]:
        yield "is switched on" if after["active"] else "is switched off"
    elif before is not None and after is not None and change.get("source_active") is not None:
        yield f"stays {_on(after['active'])}, though the source's is {_on(change['source_active'])}"
    if before is not None and after is not None and before["tags"] != after["tags"]:
        yield f"tags: {one_line(', '.join(after['tags'] or ()), 100) or 'none'}"
    if change["needed_by"]:
        yield f"needed by {_named(change['needed_by'], names)}"
    if change["late"]:
        yield f"written first without its reference to {_named(change['late'], names)}"
    yield from change["notes"]
    yield from (f"cannot be undone: {reason}" for reason in change["irreversible"])


def _sections(document: JsonObject, names: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    if document["cycles"]:
        yield "workflows that need each other", [" → ".join(one_line(names[key], 60) for key in (*cycle, cycle[0]))
                                                 for cycle in document["cycles"]]
    if mentioned := [missing for missing in document["missing"] if not missing["needed"]]:
        yield "allowed callers that the target will not have", [
            f"{one_line(missing['reference'], 80)} (of {one_line(names[missing['key']], 60)})" for missing in mentioned]
    if document["credentials"]:
        yield "credentials", [f"{one_line(used['name'], 80)} ({one_line(used['type'], 60)}): "
                              f"{_named(used['used_by'], names)}" for used in document["credentials"]]
    if document["transformations"]:
        yield "transformations", [_transformation(each) for each in document["transformations"]]
    yield from _remarks(document, names)
    if _writes(document):
        yield "reach", render_reach(reach_from_json(document["reach"])).split("\n")


def _remarks(document: JsonObject, names: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """What goes another way than somebody may think, though nothing speaks against it."""
    left = [change for change in document["changes"]
            if change.get("source_active") is not None and not PlanAction(change["action"]).writes]
    if left:
        yield "on or off otherwise than in the source, and left so", _bounded([
            f"{one_line(change['name'], 60)}: {_on(change['source_active'])} in the source, "
            f"{_on(not change['source_active'])} in the target" for change in left]) + (
            [] if document.get("activation") == Activation.SOURCE else ["(--activation source promotes that too)"])
    if literals := document.get("literals"):
        yield "values of the source's variables that go on as they are", _bounded([
            f"{one_line(names.get(each['key'], each['key']), 60)}, '{each['node']}', {each['path']}: {each['variable']}"
            for each in literals])
    if found := lint_entries(document.get("gates")):
        yield "lint", found


def _bounded(entries: list[str]) -> list[str]:
    return entries if len(entries) <= _MAX_ENTRIES else [*entries[:_MAX_ENTRIES], f"and {len(entries) - _MAX_ENTRIES} more"]


def _on(active: bool) -> str:
    return "on" if active else "off"


def _transformation(transformation: JsonObject) -> str:
    """As ``lift`` and ``lower`` report it, with the workflow's name if the caller added one; others as JSON."""
    if not {"from", "to"} <= transformation.keys():
        return one_line(encode(mask(transformation)).decode(), 160)
    place = [transformation.get(part) for part in ("workflow", "node", "path")]
    where = ", ".join(str(part) for part in place if part)
    return one_line(f"{where}: {transformation['from']} → {transformation['to']}", 160)


def _named(keys: Sequence[str], names: dict[str, str], limit: int = 5) -> str:
    shown = ", ".join(one_line(names.get(key, key), 60) for key in keys[:limit])
    return f"{shown} and {len(keys) - limit} more" if len(keys) > limit else shown


def _cell(text: str, limit: int = 300) -> str:
    return "".join("\\" + c if c in "\\`*_{}[]<>#|" else c for c in one_line(text, limit))
