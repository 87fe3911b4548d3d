"""Deployments for people: one with its progress and results, a page of them, a batch wave by wave (§12)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from wfops_pipelines.cli import terminal
from wfops_pipelines.domain.diff_text import visible

SHORT: Final = 8  # characters of an id that name it
_WIDE: Final = 60  # places of a message, which may be n8n's
_MARKS: Final = {"success": ("✓", "green"), "failed": ("✗", "red"), "skipped": ("-", "dim")}
_MEMBERS: Final = {"completed": ("✓", "green"), "failed": ("✗", "red"), "cancelled": ("-", "dim"), "running": ("▸", "cyan"),
                   "scheduled": ("…", "yellow"), "pending": ("·", "dim")}


def deployment_text(report: Mapping[str, Any]) -> str:
    """One deployment."""
    name = f"deployment {report['deployment_id']}" if report["deployment_id"] else "a deployment"
    text = f"{terminal.paint(name, 'bold')} of {report['tenant']}, {report['source']} → {report['target']}: " \
           f"{terminal.word(report['status'])}\n"
    through = f" through {report['requested_through']}" if report["requested_through"] else ""
    lines = [f"by {report['requested_by']}{through}", _times(report)]
    if report["promotion"]:
        lines.append(f"promotion {report['promotion']}: {(report['promotion_status'] or '').replace('_', ' ')}")
    if report["batch_id"]:
        lines.append(f"wave {report['wave']} of batch {report['batch_id']}")
    lines += [each for each in (_options(report["options"]), report["message"]) if each]
    if report["status"] == "running":
        lines.append(_bar(report["progress"]))
    if report["run_id"]:
        lines.append(f"run {report['run_id']}")
    text += "".join(f"{visible(line)}\n" for line in lines)
    if report["workflows"]:
        text += "\n" + "".join(_workflow(each) for each in report["workflows"])
        text += ", ".join(f"{number} {status}" for status, number in report["counts"].items() if number) + "\n"
    return text + "".join(f"{visible(note)}\n" for note in report["notes"])


def scheduled_text(report: Mapping[str, Any], *, now: datetime) -> str:
    """What was scheduled, or would be."""
    would = "would start" if report["dry_run"] else "starts"
    what = report["promotion"] or f"{report['tenant']}, {report['source']} → {report['target']}"
    name = f"deployment {terminal.paint(report['deployment_id'], 'bold')}: " if report["deployment_id"] else ""
    at_once = datetime.fromisoformat(report["starts_at"]) <= now
    text = f"{name}{visible(what)} {would} {'at once' if at_once else 'at ' + moment(report['starts_at'])}\n"
    text += "".join(f"{visible(note)}\n" for note in report["notes"])
    if not report["dry_run"]:
        text += f"`wfops up` starts it, or you: wfops deploy run {report['deployment_id'][:SHORT]}\n"
    return text


def deployments_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A page."""
    return terminal.table(["deployment", "tenant", "way", "status", "starts", "promotion", "batch", "by", "message"], [
        [row["deployment_id"][:SHORT], row["tenant"], f"{row['source']} → {row['target']}", row["status"],
         moment(row["starts_at"]), row["promotion"] or "-",
         f"{row['batch_id'][:SHORT]} wave {row['wave']}" if row["batch_id"] else "-", row["requested_by"],
         row["message"] or "-"] for row in rows], wrap={"message": _WIDE})


def batch_text(report: Mapping[str, Any]) -> str:
    """A whole batch, wave by wave."""
    name = f"batch {report['batch_id']}" if report["batch_id"] else "a batch"
    status = "would be" if report["dry_run"] else terminal.word(report["status"])
    text = f"{terminal.paint(name, 'bold')}, {report['source']} → {report['target']}: {status}\n"
    text += f"by {visible(report['requested_by'])}, from {moment(report['starts_at'])}"
    text += f", {report['tolerated']} failures are tolerated\n" if report["tolerated"] else "\n"
    if report["progress"]:
        counts = ", ".join(f"{number} {status}" for status, number in report["progress"]["counts"].items() if number)
        text += f"{report['progress']['percent']} % through, wave {report['progress']['wave']} of " \
                f"{report['progress']['waves']}: {counts}\n"
    for number, wave in enumerate(report["waves"], 1):
        text += f"\n{terminal.paint(f'wave {number}', 'bold')}\n"
        for member in wave:
            mark, style = _MEMBERS[member["status"]]
            more = [each for each in ((member.get("deployment_id") or "")[:SHORT], member.get("message")) if each]
            text += f"  {terminal.paint(mark, style)} {member['tenant']}  {member['status']}" \
                    f"{'  ' + visible('  '.join(more)) if more else ''}\n"
    return text + "".join(f"{visible(note)}\n" for note in report["notes"])


def progress_line(report: Mapping[str, Any]) -> str:
    """Where it is, in one line, for whoever watches."""
    if "waves" in report:
        counts = ", ".join(f"{number} {status}" for status, number in report["progress"]["counts"].items() if number)
        return f"batch {report['batch_id'][:SHORT]} {report['status']}, {report['progress']['percent']} %: {counts}"
    return f"deployment {report['deployment_id'][:SHORT]} {report['status']}, {_bar(report['progress'])}"


def moment(iso: str) -> str:
    """A time to the second, in UTC."""
    return f"{datetime.fromisoformat(iso).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _times(report: Mapping[str, Any]) -> str:
    if report["started_at"] is None:
        return f"to start at {moment(report['starts_at'])}"
    text = f"started at {moment(report['started_at'])}"
    if report["ended_at"] is None:
        return text
    seconds = (datetime.fromisoformat(report["ended_at"]) - datetime.fromisoformat(report["started_at"])).total_seconds()
    return f"{text}, took {seconds:.1f} s"


def _bar(progress: Mapping[str, Any]) -> str:
    if not progress["total"]:
        return str(progress["message"])
    return f"{progress['message']}: {progress['current']} of {progress['total']} ({progress['percentage']} %)"


def _options(options: Mapping[str, Any]) -> str:
    words = [f"workflows {', '.join(options['workflows'])}"] if options.get("workflows") else []
    words += ["prune"] if options.get("prune") else []
    words += [f"activation of the {'source' if options['activation'] == 'source' else 'target'}"] if options.get(
        "activation") else []
    words += [f"large: {options['allow_large']}"] if options.get("allow_large") else []
    words += ["irreversible steps allowed"] if options.get("allow_irreversible") else []
    words += [f"reason: {options['reason']}"] if options.get("reason") else []
    return "; ".join(words)


def _workflow(each: Mapping[str, Any]) -> str:
    mark, style = _MARKS[each["status"]]
    more = f": {visible(each['message'])}" if each["message"] and each["message"] != each["action"] else ""
    return f"{terminal.paint(mark, style)} {each['action']} {visible(each['name'] or '(no name)')}{more}\n"
