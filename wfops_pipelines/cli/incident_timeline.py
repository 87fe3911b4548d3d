"""An incident's audit events in words, a line each (§10, §19.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from wfops_pipelines.cli import terminal
from wfops_pipelines.domain.diff_text import visible

Details = Mapping[str, Any]


def timeline_table(events: Iterable[Mapping[str, Any]]) -> str:
    """When, who, what; a day is said once."""
    rows, day = [], ""
    for event in events:
        date, time = event["at"][:10], event["at"][11:19]
        rows.append([date if date != day else "", time, event["actor"], words_of(event), event["run_id"] or "-"])
        day = date
    return terminal.table(["day", "UTC", "who", "what", "run"], rows)


def words_of(event: Mapping[str, Any]) -> str:
    """What happened, on one line; an action that has no words of its own is named."""
    action, details = event["action"], event["details"]
    tell = _WORDS.get(action)
    said = tell(event, details) if tell is not None else action.partition(".")[2].replace("_", " ")
    return visible(said + (_because(details) if tell is None or action in _REASONED else "")).replace("\t", " ")


def _because(details: Details) -> str:
    said = [f": {details['reason']}"] if details.get("reason") else []
    said += [f" ({what} {details[what]})" for what in ("owner", "ticket") if details.get(what)]
    return "".join(said) + (" [forced]" if details.get("forced") else "")


def _opened(_: Mapping[str, Any], details: Details) -> str:
    return f"opened, {details.get('severity')}: {terminal.plural(len(details.get('workflows', ())), 'workflow')} drifted"


def _rose(_: Mapping[str, Any], details: Details) -> str:
    return (f"severity rose from {details.get('was')} to {details.get('severity')} "
            f"({terminal.plural(details.get('affected', 0), 'workflow')})")


def _changed(_: Mapping[str, Any], details: Details) -> str:
    return f"the drift changed: {terminal.plural(details.get('affected', 0), 'workflow')} now"


def _escalated(_: Mapping[str, Any], details: Details) -> str:
    missed = ", ".join(str(level).replace("_", " ") for level in details.get("missed", ()))
    return f"escalated: {str(details.get('level')).replace('_', ' ')}" + (f" (missed: {missed})" if missed else "")


def _requested(_: Mapping[str, Any], details: Details) -> str:
    arguments = {k: v for k, v in (details.get("arguments") or {}).items() if v not in (None, False, [], "")}
    said = ", ".join(f"{key} {value}" for key, value in arguments.items() if key != "event")
    return f"asked for an approval of {details.get('kind')}" + (f": {said}" if said else "")


def _decided(event: Mapping[str, Any], details: Details) -> str:
    decision = event["action"].rpartition("_")[2]
    return f"{decision} what {details.get('requested_by')} asked for ({details.get('kind')})"


def _extended(_: Mapping[str, Any], details: Details) -> str:
    return f"{details.get('hours')} hours more"


def _reconciled(_: Mapping[str, Any], details: Details) -> str:
    version = f" to {str(details['version'])[:12]}" if details.get("version") else ""
    return f"reconciled ({details.get('resolution')}{version})"


def _closed(_: Mapping[str, Any], details: Details) -> str:
    if details.get("reason") == "drift_gone":
        return f"closed itself: a check found no drift ({details.get('resolution')})"
    return "closed" + _because(details)


def _explained(_: Mapping[str, Any], details: Details) -> str:
    causes = ", ".join(f"{count} {str(kind).replace('_', ' ')}" for kind, count in (details.get("causes") or {}).items())
    return "looked for cause and reach" + (f": {causes}" if causes else "")


def _intended(_: Mapping[str, Any], details: Details) -> str:
    writes = details.get("writes", ())
    named = ", ".join(f"{write.get('action')} {write.get('name')!r}" for write in writes[:3])
    return f"about to write to n8n: {named}" + (f" and {len(writes) - 3} more" if len(writes) > 3 else "")


def _written(event: Mapping[str, Any], details: Details) -> str:
    name, write = details.get("name"), details.get("write")
    match event["action"]:
        case "runtime.done":
            return f"written and read back: {write} {name!r}"
        case "runtime.undone":
            return f"undone: {write} {name!r}" + (f" ({details['error']})" if details.get("error") else "")
        case _:
            return f"failed: {write} {name!r}" + (f" ({details['error']})" if details.get("error") else "")


def _exported(event: Mapping[str, Any], details: Details) -> str:
    where = f"pull request {details['pull_request']}" if details.get("pull_request") else f"commit {event['after_hash']}"
    return f"{where}: {terminal.plural(len(details.get('files', ())), 'file')}"


_WORDS: Mapping[str, Callable[[Mapping[str, Any], Details], str]] = {
    "incident.opened": _opened, "incident.severity_rose": _rose, "incident.drift_changed": _changed,
    "incident.escalated": _escalated, "incident.approval_requested": _requested,
    "incident.approval_approved": _decided, "incident.approval_rejected": _decided, "incident.extended": _extended,
    "incident.reconciled": _reconciled, "incident.closed": _closed, "incident.explained": _explained,
    "runtime.intended": _intended, "runtime.done": _written, "runtime.undone": _written, "runtime.failed": _written,
    "git.exported": _exported, "repository.synced": lambda event, _: f"read Git at {str(event['after_hash'])[:12]}",
    "mapping.linked": lambda _, details: f"linked {details.get('name')!r}",
    "payload.read": lambda _, details: f"looked at pictures of {', '.join(map(str, details.get('workflows', ())))}",
}
_REASONED = frozenset({"incident.approval_requested", "incident.approval_approved", "incident.approval_rejected",
                       "incident.extended", "incident.reconciled"})
