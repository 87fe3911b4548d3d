"""Promotions for people: the plan with its gates, what became of it, a page of them, one of them in full (§11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.promotion_timeline import timeline_text
from wfops_pipelines.domain.diff_text import visible

_GATES = {"passed": ("✓", "32"), "held": ("…", "33"), "blocked": ("✗", "31"), "not_evaluated": ("-", "2")}
_RESULTS = {"success": ("✓", "green"), "rolled_back": ("↩", "yellow"), "rollback_failed": ("✗", "red"),
            "failed": ("✗", "red"), "not_written": ("-", "dim")}
_RESULT_WORDS = {"rolled_back": "rolled back", "rollback_failed": "could not be restored", "not_written": "not written"}
_PULL_REQUESTS = {
    "merged": "merged", "closed": "closed without being merged", "undone": "closed: the rollback took it back",
    "without_it": "open for others: the rollback took this promotion out of it", "of_rollback": "open, of the rollback",
    "rollback_merged": "of the rollback, merged"}
_DECISION = ["who", "decision", "when", "plan", "reason"]
_WIDE = 80  # places of a text that is somebody's: errors of n8n and Git are long
_GIT = {"committed": "in Git", "pending": "not in Git yet", "failed": "not in Git", "pull_request": "pull request"}


def plan_text(result: Mapping[str, Any], *, colour: bool) -> str:
    """The plan with a diff of each workflow, every gate, and what it comes to."""
    from wfops_pipelines.domain.promotion_plan_text import render_plan_json

    text = ""
    if result["plan"].get("changes"):
        text = render_plan_json({**result["plan"], "problems": result["problems"], "gates": result["gates"]},
                                colour=colour)
    return "\n".join(part for part in (text, gates_text(result["gates"], colour=colour, at=result.get("gates_at")),
                                       _verdict(result, colour=colour)) if part)


def gates_text(report: Mapping[str, Any], *, colour: bool, at: str | None = None) -> str:
    """A line for each gate, as it stood ``at`` a time where that is past; those that nobody asks for in one."""
    found = report.get("gates", [])
    asked = [gate for gate in found if gate["outcome"] != "not_evaluated"]
    width = max((len(gate["gate"]) for gate in asked), default=0)
    lines = [_bold("gates", colour=colour) + (f" as they stood {_moment(at)}" if at is not None else "")] if found else []
    for gate in asked:
        mark, style = _GATES[gate["outcome"]]
        way = f" ({gate['fix']})" if gate["fix"] and gate["outcome"] != "passed" else ""
        lines.append(f"  {_paint(mark, style, colour=colour)} {gate['gate'].replace('_', ' '):<{width}}  "
                     f"{visible(gate['reason'])}{visible(way)}")
    rest = [gate["gate"].replace("_", " ") for gate in found if gate["outcome"] == "not_evaluated"]
    if rest:
        lines.append(_paint(f"  - not asked for: {', '.join(rest)}", "2", colour=colour))
    return "".join(f"{line}\n" for line in lines)


def _verdict(result: Mapping[str, Any], *, colour: bool) -> str:
    """One line: what it comes to, or would."""
    name, would = result["name"], "would be " if result["dry_run"] else "is "
    lines = [visible(note) for note in result["notes"]]
    match result["status"]:
        case "unchanged":
            pass
        case "blocked":
            lines.append(f"{name} {would}{_paint('blocked', '31', colour=colour)} by {_by(result)}")
        case "pending_approval":
            lines.append(f"{name} {'would wait' if result['dry_run'] else 'waits'} for approval")
        case "approved" if result["dry_run"]:
            held = _held(result)
            lines.append(f"{name} would wait: {visible('; '.join(held))}" if held else f"{name} could be carried out now")
    return "".join(f"{line}\n" for line in lines)


def _by(result: Mapping[str, Any]) -> str:
    """What is in the way, by name: the reasons stand above."""
    gates = [gate["gate"].replace("_", " ") for gate in result["gates"].get("gates", []) if gate["outcome"] == "blocked"]
    problems = [problem["kind"].replace("_", " ") for problem in result["problems"]
                if problem["message"] in (result["reason"] or "")]
    return ", ".join(dict.fromkeys([*gates, *problems])) or visible(result["reason"] or "")


def waiting_text(result: Mapping[str, Any]) -> str:
    """What a promotion waits for that has begun, and how it goes on."""
    name = result["name"]
    if result["status"] == "pending_approval":
        gate = next((g for g in result["gates"].get("gates", []) if g["gate"] == "approvals"), None)
        needed = terminal.plural(gate["details"]["needed"], "approval") if gate else "an approval"
        return (f"{terminal.paint(name, 'bold')} waits for {needed} of somebody else: "
                f"wfops approve {name} --plan {result['checksum'][:12]}\n"
                f"{_goes_on(result)}; wfops cancel {name} calls it off\n")
    held = "; ".join(_held(result)) or "it could not begin"
    return (f"{terminal.paint(name, 'bold')} is approved and waits: {visible(held)}\n"
            f"{_goes_on(result)}; wfops cancel {name} calls it off\n")


def waits_since(waiting: Mapping[str, Any], *, ago: bool = True) -> str:
    """Since when something waits, and what for at this moment; ``waiting`` is that of ``services.promotion_waiting``."""
    reasons = "; ".join(waiting["for"]) or "nothing holds it now"
    since = f"{_moment(waiting['since'])} ({terminal.ago(waiting['since'])})" if ago else _moment(waiting["since"])
    return f"waits since {since}: {visible(reasons)}"


def _goes_on(result: Mapping[str, Any]) -> str:
    return ("then it is carried out by itself while `wfops up` runs, or by "
            f"`wfops promotion execute {result['name']}`")


def _held(result: Mapping[str, Any]) -> list[str]:
    return [gate["reason"] for gate in result["gates"].get("gates", [])
            if gate["outcome"] == "held" and gate["gate"] != "approvals"]


def outcome_text(result: Mapping[str, Any]) -> str:
    """What became of each workflow, where Git and drift stand, and the way back."""
    written = [each for each in result["workflows"] if each["status"] != "skipped"]
    lines = [_result_line(each) for each in written]
    left = len(result["workflows"]) - len(written)
    if left:
        lines.append(terminal.paint(f"- {terminal.plural(left, 'workflow')} left as "
                                    f"{'it is' if left == 1 else 'they are'}", "dim"))
    lines += _verified(result["verification"])
    lines += [visible(note) for note in result["notes"]]
    lines.append(_summary(result))
    if result["status"].startswith("completed") and (way := _way_back(result)):
        lines.append(terminal.paint(way, "dim"))
    return "".join(f"{line}\n" for line in lines)


def _way_back(result: Mapping[str, Any]) -> str | None:
    """How to take it back, or the rest of it; none while somebody does."""
    state = (result.get("rollback") or {}).get("state")
    what = {None: "takes it back", "given_up": "takes the rest back"}.get(state)
    return what and f"wfops rollback {result['name']} --reason … {what}"


def rollback_line(result: Mapping[str, Any]) -> str | None:
    """Of a rollback that somebody began and that is not done: how far it is, and how it goes on."""
    rollback = result.get("rollback")
    if not rollback:
        return None
    place = f"{result['tenant']} {result['target']}"
    way = "undoes it" if rollback["undoing"] else "goes on with it"
    goes_on = {"running": "is under way", "given_up": "was given up by an admin", "unfinished":
               f"is unfinished: the next operation on the target {way} (`wfops drift {place}` is one), and `wfops "
               f"unblock {place}` gives up on that"}[rollback["state"]]
    return (f"its rollback, begun {_moment(rollback['at'])} by {visible(rollback['by'])} ({visible(rollback['reason'])}), "
            f"{goes_on}; {rollback['done']} of {terminal.plural(rollback['writes'], 'workflow')} "
            f"{'is' if rollback['done'] == 1 else 'are'} as before the promotion")


def _result_line(each: Mapping[str, Any]) -> str:
    mark, style = _RESULTS.get(each["status"], ("?", "red"))
    word = _RESULT_WORDS.get(each["status"])
    text = f"{terminal.paint(mark, style)} {each['action']} {terminal.paint(visible(each['name'] or '(no name)'), 'bold')}"
    text += f" ({each['workflow_id']})" if each["workflow_id"] else ""
    text += f"  {word}" if word else ""
    hashes = [(each[name] or "")[:8] or "-" for name in ("before_hash", "after_hash")]
    if each["status"] == "success" and hashes != ["-", "-"]:
        text += terminal.paint(f"  {hashes[0]} → {hashes[1]}", "dim")
    return text + (f": {visible(each['message'])}" if each["message"] else "")


def _verified(results: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{terminal.paint('✓', 'green') if each['outcome'] == 'passed' else terminal.paint(each['outcome'], 'yellow')} "
            f"{visible(each['workflow'])}: {visible(each['reason'])}" for each in results if each["outcome"] != "passed"] + (
        [f"{terminal.paint('✓', 'green')} {terminal.plural(passed, 'check')} of what runs now passed"]
        if (passed := sum(each["outcome"] == "passed" for each in results)) else [])


def _summary(result: Mapping[str, Any]) -> str:
    way = f"{result['tenant']}/{result['source']} → {result['tenant']}/{result['target']}"
    if result["source"].startswith("snapshot"):
        way = f"{result['source']} → {result['tenant']}/{result['target']}"
    parts = [f"{terminal.paint(result['name'], 'bold')} {way}: {status_text(result, result['status'].replace('_', ' '))}"]
    if result["rollback_incomplete"]:
        parts.append(terminal.paint("the rollback is incomplete: nothing can be written there until it succeeds", "red")
                     if not result["takes_writes"] else "the rollback is incomplete, and an admin gave up on it")
    if result["commit"]:
        parts.append(f"commit {result['commit'][:12]}")
    if result["pull_request"]:
        parts.append(_pull_request(result))
    elif result["git_status"] in ("pending", "failed"):
        parts.append(terminal.paint(_GIT[result["git_status"]], "yellow"))
    if result["drift_status"]:
        parts.append(f"{result['tenant']}/{result['target']} is {terminal.word(result['drift_status'])}")
    return ", ".join(parts)


def status_text(result: Mapping[str, Any], status: str | None = None) -> str:
    """Its status, in a word or in others, with that of a rollback which is not done."""
    state = (result.get("rollback") or {}).get("state")
    said = {"running": "being rolled back", "unfinished": "rollback unfinished", "given_up": "rollback given up"}.get(
        state or "")
    return terminal.word(status or result["status"]) + (f", {terminal.paint(said, 'red')}" if said else "")


def _pull_request(result: Mapping[str, Any]) -> str:
    """Its link, and what became of it where it shows the promotion no more."""
    link = f"pull request {result['pull_request']}"
    state = result.get("pull_request_state")
    if state is None:  # it was just carried out or rolled back
        state = "undone" if result["status"] == "rolled_back" and result["git_status"] == "committed" else "open"
    return f"{link} ({_PULL_REQUESTS[state]})" if state != "open" else link


def rollback_text(result: Mapping[str, Any]) -> str:
    """What a rollback writes, or did."""
    if not result["dry_run"]:
        return outcome_text(result)
    changes = result["plan"].get("changes", [])
    lines = []
    for change in changes:
        known = f" ({change['workflow_id']})" if change["workflow_id"] else ""
        after = "" if change["action"] in ("archive", "delete") else (
            f"  {'active' if change['active'] else 'inactive'} afterwards")
        lines.append(f"{terminal.paint('~', 'yellow')} {change['action']} {terminal.paint(visible(change['name']), 'bold')}"
                     f"{known}{after}")
        lines += [f"    {terminal.paint(visible(note), 'yellow')}" for note in change["notes"]]
    lines += [visible(note) for note in result["notes"]]
    lines.append(f"{result['name']}: would write {terminal.plural(len(changes), 'workflow')} to n8n "
                 f"{result['tenant']}/{result['target']}, to how they were before it")
    return "".join(f"{line}\n" for line in lines)


def promotions_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A page."""
    return terminal.table(
        ["promotion", "from", "to", "status", "asked", "by", "git", "reason"], [
            [row["name"], row["source"], row["target"], status_text(row), terminal.ago(row["requested_at"]),
             row["requested_by"], _git(row), _short(waits_since(row["waiting"]), 240) if row.get("waiting") else
             _short(row["reason"])]
            for row in rows], wrap={"reason": _WIDE})


def _git(row: Mapping[str, Any]) -> str:
    if row["pull_request"]:
        undone = row["status"] == "rolled_back" and row["git_status"] == "committed"
        return str(row["pull_request"]) + (" (undone)" if undone else " (closed)" if row["git_status"] == "none" else "")
    return (row["commit"] or "")[:10] or {"pending": "to be made", "failed": "refused"}.get(row["git_status"], "-")


def approved_text(found: Mapping[str, Any], *, colour: bool) -> str:
    """What would be carried out of one that exists: its head, and the plan with its gates."""
    return "\n".join((_head(found), plan_text({**found, "status": "", "notes": []}, colour=colour)))


def promotion_text(found: Mapping[str, Any], *, colour: bool) -> str:
    """One promotion: what it is, its plan and gates, who decided, what became of it, what happened when."""
    parts = [_head(found), plan_text({**found, "status": "", "notes": []}, colour=colour), _decisions(found)]
    if found["workflows"]:
        parts.append(f"{terminal.paint('Results', 'bold')}\n{outcome_text(found)}")
    parts.append(f"{terminal.paint('Timeline', 'bold')}\n{timeline_text(found['timeline'])}")
    return "\n".join(part for part in parts if part)


def _head(found: Mapping[str, Any]) -> str:
    words = status_text(found) + (f"  {terminal.paint('interrupted', 'red')}" if found["interrupted"] else "")
    lines = [f"{terminal.paint(found['name'], 'bold')}  {found['source']} → {found['target']}  {words}",
             terminal.paint(found["promotion_id"], "dim"), "",
             f"asked for {_moment(found['requested_at'])} by {visible(found['requested_by'])}"
             + (f": {visible(found['options']['reason'])}" if found["options"].get("reason") else "")]
    if found["started_at"]:
        lines.append(f"carried out {_moment(found['started_at'])}" + (f", run {found['run_id']}" if found["run_id"] else ""))
    if found["reason"]:
        lines.append(f"reason: {visible(found['reason'])}")
    if rollback := rollback_line(found):
        lines.append(rollback)
    if found["interrupted"]:
        lines.append("the process that carried it out died: the next operation on the target finishes or undoes it "
                     f"(`wfops drift {found['tenant']} {found['target']}` is one)")
    if found["status"] == "pending_approval" or found["status"] == "approved":
        lines += [waits_since(found["waiting"]), _way_on(found)]
    return "\n".join(lines) + "\n"


def _way_on(found: Mapping[str, Any]) -> str:
    """How it goes on that waits: who may approve it, and who carries it out."""
    name = found["name"]
    first = f"somebody else approves it: wfops approve {name} --plan {found['checksum'][:12]}; " if (
        found["status"] == "pending_approval") else ""
    itself = "by itself while `wfops up` runs, or " if found["options"].get("when_ready") else ""
    return f"{first}then it is carried out {itself}by `wfops promotion execute {name}`; wfops cancel {name} calls it off"


def _decisions(found: Mapping[str, Any]) -> str:
    if not found["decisions"]:
        return ""
    rows = [[each["by"], "approved" if each["approve"] else "rejected", _moment(each["at"]), each["checksum"][:12],
             each["reason"] or "-"] for each in found["decisions"]]
    return f"{terminal.paint('Decisions', 'bold')}\n{terminal.table(_DECISION, rows, wrap={'reason': _WIDE})}"


def _short(reason: str | None, limit: int = 80) -> str:
    text = visible(reason or "-")
    return text if len(text) <= limit else f"{text[:limit - 1]}…"


def _moment(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _paint(text: str, code: str, *, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text


def _bold(text: str, *, colour: bool) -> str:
    return _paint(text, "1", colour=colour)
