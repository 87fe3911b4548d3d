"""A promotion's audit events in words, a line each, with the hashes before and after (§11, §19.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from wfops_pipelines.cli import terminal
from wfops_pipelines.domain.diff_text import visible

Details = Mapping[str, Any]
_HASH = 8
_WIDE = 80  # places of what happened: errors of n8n and Git are long


def timeline_text(events: Iterable[Mapping[str, Any]]) -> str:
    """When, who, what, and of what was written the hashes; a day and a run are said once."""
    rows, day, run = [], "", None
    for event in events:
        date, time = event["at"][:10], event["at"][11:19]
        same_run = event["run_id"] is not None and event["run_id"] == run
        rows.append([date if date != day else "", time, event["actor"], _words(event), _hash(event["before_hash"]),
                     _hash(event["after_hash"]), "″" if same_run else event["run_id"] or "-"])
        day, run = date, event["run_id"]
    return terminal.table(["day", "UTC", "who", "what", "before", "after", "run"], rows, wrap={"what": _WIDE})


def _hash(value: str | None) -> str:
    return value[:_HASH] if value else "-"


def _words(event: Mapping[str, Any]) -> str:
    action, details = event["action"], event["details"]
    tell = _WORDS.get(action)
    said = tell(event, details) if tell is not None else action.partition(".")[2].replace("_", " ")
    because = f": {details['reason']}" if details.get("reason") and action.startswith("promotion.") else ""
    return visible(said + because).replace("\t", " ")


def _requested(_: Mapping[str, Any], details: Details) -> str:
    counts = ", ".join(f"{number} {name}" for name, number in (details.get("counts") or {}).items() if number)
    return f"asked for: {details.get('source')}, {counts} (plan {str(details.get('checksum'))[:12]})"


def _running(_: Mapping[str, Any], details: Details) -> str:
    return f"carried out (plan {str(details.get('checksum'))[:12]})"


def _decided(event: Mapping[str, Any], details: Details) -> str:
    verb = "approved" if event["action"].endswith("approve") else "rejected"
    return f"{verb} plan {str(details.get('checksum'))[:12]}"


def _intended(_: Mapping[str, Any], details: Details) -> str:
    writes = details.get("writes", ())
    named = ", ".join(f"{write.get('action')} {write.get('name')!r}" for write in writes[:3])
    return f"about to write: {named}" + (f" and {len(writes) - 3} more" if len(writes) > 3 else "")


def _written(event: Mapping[str, Any], details: Details) -> str:
    said = {"runtime.done": "written and read back", "runtime.undone": "undone"}.get(event["action"], "failed")
    return f"{said}: {details.get('write')} {details.get('name')!r}" + (
        f" ({details['error']})" if details.get("error") else "")


def _exported(event: Mapping[str, Any], details: Details) -> str:
    where = f"pull request {details['pull_request']}" if details.get("pull_request") else "commit"
    return f"{where}: {terminal.plural(len(details.get('files', ())), 'file')}"


def _given_up(_: Mapping[str, Any], details: Details) -> str:
    names = [str(each.get("name")) for each in details.get("workflows", ())]
    return f"an admin gave up on what was left of the rollback, {', '.join(names)}"


def _recovered(_: Mapping[str, Any], details: Details) -> str:
    outcome = str(details.get("outcome")).replace("_", " ")
    return f"what an earlier operation left was {outcome}"


_WORDS: Mapping[str, Callable[[Mapping[str, Any], Details], str]] = {
    "promotion.requested": _requested, "promotion.running": _running,
    "promotion.decision_approve": _decided, "promotion.decision_reject": _decided,
    "promotion.pending_approval": lambda _, __: "waits for approval", "promotion.rolled_back": lambda _, __: "rolled back",
    "promotion.rollback_begun": lambda _, __: "to be rolled back",
    "promotion.rollback_failed": lambda _, __: "not rolled back yet",
    "promotion.rollback_given_up": _given_up,
    "promotion.git_committed": lambda _, __: "in Git", "promotion.git_pull_request": lambda _, d: f"in {d['pull_request']}",
    "promotion.pull_request_closed": lambda _, d: f"closed without being merged: {d.get('pull_request')}",
    "promotion.git_failed": lambda _, d: f"not in Git: {d.get('error')}",
    "runtime.intended": _intended, "runtime.done": _written, "runtime.undone": _written, "runtime.failed": _written,
    "git.exported": _exported, "operation.recovered": _recovered,
    "mapping.linked": lambda _, details: f"linked {details.get('name')!r}",
    "snapshot.taken": lambda _, details: f"snapshot {details.get('name') or ''}".rstrip(),
    "credential.placeholder_created": lambda _, details: f"created an empty credential {details.get('name')!r}",
    "environment.writes_blocked": lambda _, __: "nothing may be written there until the rollback succeeds",
    "environment.writes_unblocked": lambda _, d: f"it takes writes again: {d.get('reason')}",
}
