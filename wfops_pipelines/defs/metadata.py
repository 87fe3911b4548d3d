"""What materialisations show: counts, durations, head, tables of what needs a look, diffs. Never node parameter values
but in the masked diff."""

import base64
from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.diff import from_json
from wfops_pipelines.domain.diff_text import as_markdown, visible
from wfops_pipelines.domain.errors import WfopsError
from wfops_pipelines.services.detect_drift import DriftCheck
from wfops_pipelines.services.drift_pictures import MAX_PICTURES, DriftPicture, draw_drift
from wfops_pipelines.services.environment_sync import EnvironmentSync
from wfops_pipelines.services.incident_resolution import Reconciliation as Resolved
from wfops_pipelines.services.reconcile import Reconciliation
from wfops_pipelines.services.refresh import Outcome, Part
from wfops_pipelines.services.services import Services
from wfops_pipelines.services.sync_repository import RepositorySync

MAX_ROWS = 50  # of a table in the UI
MAX_PICTURE_BYTES = 60_000  # of one; every event carries its metadata in full

Metadata = dict[str, Any]


def of_outcome(outcome: Outcome, services: Services | None = None) -> Metadata:
    """The metadata of one materialisation; with ``services`` the drift report has pictures."""
    result = outcome.result
    metadata: Metadata = {}
    if outcome.part is Part.ENVIRONMENT:
        metadata["n8n"] = dg.MetadataValue.url(outcome.target.environment.base_url)
    if isinstance(result, EnvironmentSync):
        metadata |= _environment(result)
    elif isinstance(result, RepositorySync):
        metadata |= _repository(result)
    elif isinstance(result, Reconciliation):
        metadata |= _reconciliation(result)
    elif isinstance(result, DriftCheck):
        metadata |= of_drift(result)
        if services is not None:
            metadata |= of_incident(services, outcome.target.context, result.incident)
            metadata |= drift_pictures(services, outcome, result)
    return metadata | {"tenant": outcome.target.context.tenant_slug, "environment": outcome.target.environment.slug}


def _environment(result: EnvironmentSync) -> Metadata:
    return {
        "workflows": result.seen, "created": result.created, "updated": result.updated, "unchanged": result.unchanged,
        "linked": result.linked, "untracked": result.untracked, "ignored": result.ignored, "missing": result.missing,
        "errors": result.errors, "received_bytes": result.received_bytes, "duration_ms": result.duration_ms,
        "operation": result.operation_id, **table("problems", result.problems),
    }


def _repository(result: RepositorySync) -> Metadata:
    return {
        "configured": result.configured, "head": result.head or "", "unchanged_head": result.unchanged_head,
        "force_pushed": result.force_pushed, "files": result.files, "added": result.added, "changed": result.changed,
        "removed": result.removed, "errors": result.errors, "linked": result.linked, "duration_ms": result.duration_ms,
        "operation": result.operation_id, **({"reason": result.reason} if result.reason else {}),
        **table("problems", result.problems),
    }


def _reconciliation(result: Reconciliation) -> Metadata:
    rows = [{"source": source, **counts} for source, counts in result.stages.items()]
    return {"changed": result.changed, "duration_ms": result.duration_ms, "operation": result.operation_id,
            **table("stages", rows)}


def of_drift(check: DriftCheck) -> Metadata:
    """The drift report, what is to be looked at first: status, the workflows, their diffs; then counts and age."""
    return {
        "status": check.status, "drifted": check.counts.get("drifted", 0),
        **({"reason": check.reason} if check.reason else {}), **_incident_of(check),
        **table("drift", [_drifted(workflow) for workflow in check.workflows]),
        **diff_markdown(check.workflows), **table("problems", check.problems),
        "workflows": check.counts.get("workflows", 0), "files": check.counts.get("files", 0),
        "ignored": check.counts.get("ignored", 0),
        **({"compared_as_of": check.last_sync_at} if check.last_sync_at else {}),
        "duration_ms": check.duration_ms, "operation": check.operation_id,
    }


def _incident_of(check: DriftCheck) -> Metadata:
    """The number of the environment's open incident, and where to read on; of one that closed itself, that it did."""
    tenant = check.tenant
    if check.incident is not None:
        number = check.incident["number"]
        return {"incident": f"{tenant}#{number}", "incident_state": check.incident["state"],
                "incident_opened": check.incident["opened"], "look": f"wfops incident show {tenant}#{number}"}
    return {"incident_closed": f"{tenant}#{check.incident_closed}"} if check.incident_closed is not None else {}


def of_incident(services: Services, context: Context, incident: Mapping[str, Any] | None) -> Metadata:
    """What is known of an open incident: how bad, since when, until when, who takes care, why."""
    if incident is None:
        return {}
    with services.store.read(context) as work:
        row = work.incidents.by_number(incident["number"])
    if row is None:
        return {}
    shown: Metadata = {
        "incident_title": visible(row.title), "incident_status": row.status, "incident_severity": row.severity,
        "incident_escalation": row.escalation, "incident_since": _minute(row.detected_at.isoformat()),
        "incident_ends": _minute(row.expires_at.isoformat())}
    shown |= {"incident_owner": visible(row.owner)} if row.owner else {}
    shown |= {f"incident_{name}": visible(said["summary"]) for name, said in (("cause", row.cause), ("reach", row.reach))
              if said and said.get("summary")}
    return shown


def of_resolution(done: Resolved) -> Metadata:
    """What a reconciliation did, or would do: what was written where, what is left and why, the diffs."""
    name = f"{done.tenant}#{done.number}"
    return {
        "incident": name, "resolution": done.resolution, "incident_status": done.status, "dry_run": done.dry_run,
        "waiting_for_approval": done.waiting, **({"notes": visible("\n".join(done.notes))} if done.notes else {}),
        **({"drift_status": done.drift_status} if done.drift_status else {}),
        **({"commit": done.commit} if done.commit else {}),
        **({"pull_request": dg.MetadataValue.url(done.pull_request)} if done.pull_request else {}),
        **table("plan", [{"action": write["action"], "workflow": visible(write["name"]),
                          "n8n id": write["workflow_id"] or "", "path": write["path"] or ""} for write in done.plan]),
        **table("left", [{"workflow": visible(left["name"]), "kind": left["kind"], "reason": left["reason"]}
                         for left in done.left]),
        **table("writes", done.writes),
        **table("files", [{"change": file["change"], "path": visible(file["path"])} for file in done.files]),
        **diff_markdown([{"name": item["name"] or "(no name)", "diff": item.get("diff")}
                         for item in (*done.plan, *done.files)]),
        **({"operation": done.operation_id} if done.operation_id else {}),
        "look": f"wfops incident show {name}",
    }


def diff_markdown(workflows: Iterable[Mapping[str, Any]]) -> Metadata:
    """Each workflow's diff, Git before and n8n after, for reading at length. Stored diffs are masked already."""
    parts = [f"**{_escape(workflow['name'])}**\n\n{as_markdown(from_json(workflow['diff']), values=True)}"
             for workflow in list(workflows)[:MAX_ROWS] if workflow["diff"] and workflow["diff"]["changes"]]
    return {"diff": dg.MetadataValue.md("\n\n".join(parts))} if parts else {}


def drift_pictures(services: Services, outcome: Outcome, check: DriftCheck) -> Metadata:
    """The node graphs of the first few workflows that drifted. A picture that cannot be drawn is no reason to fail."""
    target = outcome.target
    try:
        return pictures(draw_drift(services, target.context, target.environment, check.workflows))
    except WfopsError as error:
        return {"picture": dg.MetadataValue.text(f"not drawn: {error}")}


def pictures(drawn: Iterable[DriftPicture]) -> Metadata:
    """The first three pictures as images within Markdown, which the UI shows in place; a large one is named instead."""
    parts = []
    for picture in list(drawn)[:MAX_PICTURES]:
        name, svg = _escape(picture.name), picture.svg.encode()
        if len(svg) > MAX_PICTURE_BYTES:
            parts.append(f"**{name}**: too large to be shown here; `wfops diff … --svg FILE` draws it")
        else:
            parts.append(f"![What changed in {name}](data:image/svg+xml;base64,{base64.b64encode(svg).decode()})")
    return {"picture": dg.MetadataValue.md("\n\n".join(parts))} if parts else {}


def _drifted(workflow: Mapping[str, Any]) -> dict[str, Any]:
    return {"workflow": visible(workflow["name"]), "kind": workflow["kind"], "path": workflow["path"] or "",
            "n8n id": workflow["workflow_id"] or "", "since": _minute(workflow["since"])}


def _minute(moment: str) -> str:
    return moment[:16].replace("T", " ")


def _escape(text: str) -> str:
    return "".join("\\" + c if c in "\\`*_{}[]<>#|" else c for c in visible(text))


def table(name: str, rows: list[dict[str, Any]]) -> Metadata:
    """A table for the UI; nothing when there are no rows."""
    if not rows:
        return {}
    import pandas as pd  # noqa: PLC0415 - a third of a second that most commands do not need

    frame = pd.DataFrame(rows[:MAX_ROWS]).fillna("").astype(str)
    records = [dg.TableRecord({str(k): v for k, v in row.items()}) for row in frame.to_dict(orient="records")]
    columns = [dg.TableColumn(name=str(column)) for column in frame.columns]
    return {name: dg.MetadataValue.table(records=records, schema=dg.TableSchema(columns=columns))}
