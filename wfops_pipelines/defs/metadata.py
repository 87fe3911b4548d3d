"""What materialisations show: counts, durations, head, tables of what needs a look, diffs. Never node parameter values
but in the masked diff."""

from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg
import pandas as pd

from wfops_pipelines.services.detect_drift import DriftCheck
from wfops_pipelines.services.reconcile import Reconciliation
from wfops_pipelines.services.refresh import Outcome, Part
from wfops_pipelines.services.sync_environment import EnvironmentSync
from wfops_pipelines.services.sync_repository import RepositorySync

MAX_ROWS = 50  # of a table in the UI

Metadata = dict[str, Any]


def of_outcome(outcome: Outcome) -> Metadata:
    """The metadata of one materialisation."""
    result = outcome.result
    metadata: Metadata = {"tenant": outcome.target.context.tenant_slug, "environment": outcome.target.environment.slug}
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
    return metadata


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
    """The drift report: status, age, counts, and a table and a diff of what differs."""
    metadata: Metadata = {
        "status": check.status, "drifted": check.counts.get("drifted", 0), "files": check.counts.get("files", 0),
        "workflows": check.counts.get("workflows", 0), "ignored": check.counts.get("ignored", 0),
        "duration_ms": check.duration_ms, "operation": check.operation_id,
        **({"reason": check.reason} if check.reason else {}),
        **({"compared_as_of": check.last_sync_at} if check.last_sync_at else {}),
    }
    rows = [{"workflow": w["name"], "kind": w["kind"], "since": w["since"], "changes": _changes(w["diff"]),
             "path": w["path"] or "", "n8n id": w["workflow_id"] or ""} for w in check.workflows]
    metadata |= table("drift", rows)
    text = diff_markdown(check.workflows)
    if text:
        metadata["diff"] = dg.MetadataValue.md(text)
    return metadata


def diff_markdown(workflows: Iterable[Mapping[str, Any]]) -> str:
    """What changed, workflow by workflow: Git before, n8n after. Stored diffs are masked already."""
    parts = []
    for workflow in list(workflows)[:MAX_ROWS]:
        diff = workflow["diff"]
        if not diff or not diff.get("changes"):
            continue
        lines = [f"- {_change(change)}" for change in diff["changes"][:20]]
        more = len(diff["changes"]) - 20
        rest = [f"- and {more} more"] if more > 0 else []
        parts.append("\n".join([f"**{_escape(workflow['name'])}**", "", *lines, *rest]))
    return "\n\n".join(parts)


def _change(change: Mapping[str, Any]) -> str:
    where = " · ".join(_escape(str(change[k])) for k in ("node", "path") if change.get(k))
    values = " → ".join(f"`{_short(change[k])}`" for k in ("before", "after") if k in change)
    return " ".join(filter(None, (change["kind"].replace("_", " "), where, values)))


def _short(value: Any) -> str:
    text = str(value).replace("`", "'").replace("\n", "⏎")
    return text if len(text) <= 80 else text[:79] + "…"


def _escape(text: str) -> str:
    return "".join("\\" + c if c in "\\`*_{}[]<>#|" else c for c in text.replace("\n", " "))


def _changes(diff: Mapping[str, Any] | None) -> int:
    return len(diff["changes"]) if diff else 0


def table(name: str, rows: list[dict[str, Any]]) -> Metadata:
    """A table for the UI; nothing when there are no rows."""
    if not rows:
        return {}
    frame = pd.DataFrame(rows[:MAX_ROWS]).fillna("").astype(str)
    records = [dg.TableRecord({str(k): v for k, v in row.items()}) for row in frame.to_dict(orient="records")]
    columns = [dg.TableColumn(name=str(column)) for column in frame.columns]
    return {name: dg.MetadataValue.table(records=records, schema=dg.TableSchema(columns=columns))}
