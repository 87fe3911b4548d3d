"""Incidents for people: a page of them, one of them in full, and what a reconciliation would do or did (§10)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.diffs import render_stored
from wfops_pipelines.cli.incident_timeline import timeline_table
from wfops_pipelines.domain.diff_text import visible

_MAX_DIFFS = 20  # workflows whose diff is shown in full; the others are in --json
_MAX_LISTED = 10  # of each list of what the change reaches, and of causes
_MAX_EVIDENCE = 3  # with more workflows, what tells of each one's cause is in --json
_ACTIONS = {"create": "+", "update": "~", "activate": "▲", "deactivate": "▼", "archive": "-", "unarchive": "+",
            "delete": "-"}
_STYLES = {"create": "green", "update": "yellow", "activate": "yellow", "deactivate": "yellow", "archive": "red",
           "unarchive": "green", "delete": "red"}
_NOW = {"same": "as then", "changed": "changed since", "gone": "no longer differs"}


def incidents_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A page."""
    return terminal.table(
        ["incident", "environment", "status", "severity", "escalation", "found", "ends", "what"], [
            [row["name"], f"{row['tenant']}/{row['environment']}", row["status"], row["severity"],
             row["escalation"] if row["escalation"] != "none" else "-", terminal.ago(row["detected_at"]),
             until(row["expires_at"]) if row["open"] else row["resolution"] or "-", row["title"]] for row in rows])


def until(moment: str) -> str:
    """How far ahead, roughly: ``in 5 h``; ``3 h ago`` for what is past."""
    seconds = int((datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds())
    if seconds < 0:
        return terminal.ago(moment)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"in {seconds // size} {unit}"
    return f"in {seconds} s"


def incident_text(found: Mapping[str, Any]) -> str:
    """One incident: what it is, why, what drifts, what happened, and at the end what can be done."""
    parts = [_head(found), _cause(found), _reach(found), _drift(found), _diffs(found), _approvals(found),
             _section("Timeline", timeline_table(found["timeline"])), _next(found)]
    return "\n".join(part for part in parts if part)


def _head(found: Mapping[str, Any]) -> str:
    words = [terminal.word(found["status"]), terminal.word(found["severity"])]
    words += [terminal.word(found["escalation"])] if found["escalation"] != "none" else []
    words += [f"({found['resolution'].replace('_', ' ')})"] if found["resolution"] else []
    lines = [f"{terminal.paint(found['name'], 'bold')}  {'  '.join(words)}", visible(found["title"]),
             terminal.paint(f"{found['id']}", "dim"), ""]
    lines += _times(found) + _unfinished(found)
    lines += [f"{what}: {visible(found[what])}" for what in ("owner", "ticket", "reason") if found[what]]
    if found["same_change"]:
        others = ", ".join(f"{other['name']} ({other['environment']})" for other in found["same_change"][:_MAX_LISTED])
        lines.append(f"the same change is in {others}")
    return "\n".join(lines) + "\n"


def _times(found: Mapping[str, Any]) -> list[str]:
    lines = [f"found {_moment(found['detected_at'])}, {terminal.ago(found['detected_at'])}; last seen "
             f"{terminal.ago(found['last_seen_at'])}"]
    if not found["open"]:
        by = (found["steps"].get("closed") or {}).get("by")
        return [*lines, f"{found['status']} {_moment(found['closed_at'])}" + (f" by {visible(by)}" if by else "")]
    for step, said in found["steps"].items():
        lines.append(f"{step} {_moment(said['at'])} by {visible(said['by'])}")
    ends = terminal.paint("past its time", "red") + f" since {_moment(found['expires_at'])}" if found["past_ttl"] else (
        f"ends {until(found['expires_at'])}, {_moment(found['expires_at'])}")
    coming = ", ".join(f"{level['level'].replace('_', ' ')} {until(level['at'])}" for level in found["escalations"]
                       if level["state"] == "to_come" and level["level"] != "overdue")
    return [*lines, ends + (f"; before that {coming}" if coming else "")]


def _unfinished(found: Mapping[str, Any]) -> list[str]:
    """What began to write to n8n, and has not come to its end."""
    lines = []
    for one in found["unfinished"]:
        what = f"{one['resolution']} by {visible(one['by'])}, begun {terminal.ago(one['at'])}"
        done = f"{one['done']} of {terminal.plural(one['writes'], 'write')} to n8n done"
        lines.append(f"{terminal.paint('being carried out', 'yellow')}: {what}; {done}" if one["state"] == "running" else
                     f"{terminal.paint('interrupted', 'red')}: {what}; {done}, as far as is known; the next look at the "
                     "environment finishes or undoes it")
    return lines


def _cause(found: Mapping[str, Any]) -> str:
    cause = found["cause"]
    if not cause:
        return ""
    entries = cause.get("workflows") or []
    lines = [visible(cause.get("summary") or "not known")]
    for entry in entries[:_MAX_LISTED]:
        if len(entries) > 1:
            lines.append(f"{visible(entry['name'])}: {visible(entry['words'])}")
        if len(entries) <= _MAX_EVIDENCE:
            lines += _evidence(entry.get("evidence") or [])
    if len(entries) > _MAX_LISTED:
        lines.append(f"and {terminal.plural(len(entries) - _MAX_LISTED, 'more workflow')}: --json")
    lines += [f"not asked: {visible(unread['source'])}: {visible(unread['reason'])}" for unread in cause.get("unread") or []]
    return _section("Cause", "\n".join(lines) + "\n")


def _evidence(evidence: Iterable[Mapping[str, Any]]) -> list[str]:
    """What each source says; the times of our own checks are in the cause's words already."""
    found = list(evidence)
    seen = [e["text"].removeprefix("between the two, ") for e in found if e["source"] == "checks" and not e["at"]]
    lines = [f"  checks: {visible(', '.join(seen))}"] if seen else []
    return lines + [f"  {visible(e['source'])}: {visible(e['text'])}" + (_dim(f", {_moment(e['at'])}") if e["at"] else "")
                    for e in found if e["source"] != "checks"]


def _reach(found: Mapping[str, Any]) -> str:
    reach = found["reach"]
    if not reach:
        return ""
    lines = [visible(reach.get("summary") or "")]
    lines += [f"  called by {_ref(c['workflow'])}" + (f", {c['distance']} calls away" if c["distance"] > 1 else "")
              for c in _some(reach, "callers")]
    lines += [f"  handles errors of {_ref(e['workflow'])}" for e in _some(reach, "handles_errors_of")]
    lines += [f"  answers {visible(s['entry']['method'] or 'any method')} "
              f"{visible(s['entry']['path'] or s['entry'].get('expression') or '?')} ({_ref(s['workflow'])})"
              for s in _some(reach, "entry_points")]
    for use in _some(reach, "credentials"):
        others = ", ".join(_ref(ref) for ref in use["others"][:5])
        lines.append(f"  uses credential {visible(use['name'])} ({visible(use['type'])})"
                     + (f", as {others} do" if others else ""))
    return _section("Reach", "\n".join(lines) + "\n")


def _some(reach: Mapping[str, Any], name: str) -> Iterable[Mapping[str, Any]]:
    return list(reach.get(name) or [])[:_MAX_LISTED]


def _ref(ref: Mapping[str, Any]) -> str:
    return visible(ref["name"] or ref["workflow_id"] or "(no name)")


def _drift(found: Mapping[str, Any]) -> str:
    if found["payload_purged_at"]:
        return _section("What drifted", f"removed by retention {_moment(found['payload_purged_at'])}\n")
    rows = [_drift_row(workflow, _NOW.get(workflow["now"] or "", "-")) for workflow in found["workflows"]]
    rows += [_drift_row(workflow, "new since") for workflow in found["drifting_since_then"]]
    header = ["workflow", "n8n id", "differs", "active", "since", "file", "now"]
    if not found["open"]:
        header, rows = header[:-1], [row[:-1] for row in rows]
    checked = f"last check {terminal.ago(found['last_check_at'])}: {terminal.word(found['environment_status'])}\n"
    return _section("What drifted", terminal.table(header, rows) + (checked if found["open"] else ""))


def _drift_row(workflow: Mapping[str, Any], now: str) -> list[object]:
    active = {True: "yes", False: "no", None: "-"}
    wanted, runs = workflow.get("wants_active"), workflow.get("active")
    agree = wanted is None or runs is None or wanted == runs
    shown = active[runs] if agree else f"{active[runs]}, Git wants {active[wanted]}"
    return [workflow["name"] or "(no name)", workflow["workflow_id"] or "-", ", ".join(workflow["kinds"]), shown,
            terminal.ago(workflow["since"]), workflow["path"] or "-", now]


def _diffs(found: Mapping[str, Any]) -> str:
    """Each difference as it is now, where that is another one than when the incident was opened."""
    texts = []
    for workflow in [*found["workflows"], *found["drifting_since_then"]]:
        changed = workflow.get("diff_now")
        diff = changed or workflow.get("diff")
        if diff and diff["changes"]:
            gone = workflow.get("now") == "gone"
            when = " (as it is now)" if changed else " (as it was; it no longer differs)" if gone else ""
            before = f"Git {workflow['path'] or ''}".rstrip()
            texts.append(f"{terminal.paint(visible(workflow['name']), 'bold')}{when}\n"
                         + render_stored(diff, before=before, after="n8n (live)", indent="  "))
    rest = f"and {terminal.plural(len(texts) - _MAX_DIFFS, 'more difference')}: --json\n" if len(texts) > _MAX_DIFFS else ""
    return "\n".join([*texts[:_MAX_DIFFS], *([rest] if rest else [])])


def _approvals(found: Mapping[str, Any]) -> str:
    if not found["approvals"]:
        return ""
    rows = [[row["id"], row["kind"], row["status"], row["requested_by"], terminal.ago(row["requested_at"]),
             row["decided_by"] or "-", row["decision_reason"] or row["reason"] or "-"] for row in found["approvals"]]
    return _section("Approvals", terminal.table(["id", "of", "status", "asked by", "when", "decided by", "reason"], rows))


def _next(found: Mapping[str, Any]) -> str:
    steps = found["next_steps"]
    width = max((len(step["command"]) for step in steps), default=0)
    lines = []
    for step in steps:
        does = step["does"] + (" (somebody else approves it)" if step["needs_approval"] else "")
        does += f"; {terminal.paint('not yet', 'yellow')}: {visible(step['blocked'])}" if step["blocked"] else ""
        lines.append(f"{terminal.paint(visible(step['command']), 'cyan')}{' ' * (width - len(step['command']))}  {does}")
    return _section("Next steps", "\n".join(lines) + "\n")


def plan_text(result: Mapping[str, Any]) -> str:
    """What a reconciliation would write, or wrote: each workflow or file with its diff, what is left and why."""
    parts = [_write_text(write, result) for write in result["plan"]] + [_file_text(file) for file in result["files"]]
    return "\n".join([*parts, *([left_text(result)] if result["left"] else [])])


def left_text(result: Mapping[str, Any]) -> str:
    """What a reconciliation does not touch, and why."""
    return "".join(f"{_dim('left')} {visible(left['name'] or '(no name)')} ({left['kind'].replace('_', ' ')}): "
                   f"{visible(left['reason'])}\n" for left in result["left"])


def _write_text(write: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    action = write["action"]
    mark = terminal.paint(f"{_ACTIONS.get(action, '~')} {action}", _STYLES.get(action))
    text = f"{mark} {terminal.paint(visible(write['name'] or '(no name)'), 'bold')}"
    text += f" ({write['workflow_id']})" if write["workflow_id"] else ""
    text += f"  {'active' if write['active'] else 'inactive'} afterwards\n" if action not in ("archive", "delete") else "\n"
    if write.get("irreversible"):
        text += f"    {terminal.paint('this cannot be undone', 'red')}\n"
    if write.get("loses_draft"):
        text += f"    {terminal.paint('a draft that nobody published is lost', 'yellow')}\n"
    if write.get("diff") and write["diff"]["changes"]:
        text += render_stored(write["diff"], before="n8n now", after=f"n8n after the {result['resolution']}", indent="    ")
    return text


def _file_text(file: Mapping[str, Any]) -> str:
    marks = {"added": ("A", "green"), "modified": ("M", "yellow"), "removed": ("D", "red")}
    mark, style = marks.get(file["change"], ("M", "yellow"))
    text = f"{terminal.paint(mark, style)} {visible(file['path'])}  {visible(file.get('name') or '(no name)')}\n"
    if file.get("diff") and file["diff"]["changes"]:
        text += render_stored(file["diff"], before="Git now", after="Git after the promote (n8n now)", indent="    ")
    return text


def _section(title: str, body: str) -> str:
    return f"{terminal.paint(title, 'bold')}\n{body}" if body else ""


def _moment(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _dim(text: str) -> str:
    return terminal.paint(text, "dim")
