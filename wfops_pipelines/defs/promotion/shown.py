"""What the run view shows of a promotion: the plan as Markdown, gates and results as tables, links. Never a value of a
node's parameter."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from wfops_pipelines.defs.metadata import MAX_ROWS, Metadata, table
from wfops_pipelines.domain.diff_text import visible
from wfops_pipelines.domain.gates import GateOutcome
from wfops_pipelines.domain.promotion_plan_text import plan_markdown
from wfops_pipelines.services.promotion_recovery import RecoveryReport

_MAX_MARKDOWN = 20_000  # characters: every event carries its metadata in full
_GATE_WORDS = {GateOutcome.PASSED: "✅ passed", GateOutcome.BLOCKED: "❌ blocked", GateOutcome.HELD: "⏳ not yet",
               GateOutcome.NOT_EVALUATED: "– not asked for"}
_RESULT_WORDS = {"success": "✅ written and read back", "rolled_back": "↩️ rolled back", "rollback_failed": "❌ not restored",
                 "not_written": "not written", "failed": "❌ failed", "skipped": "– left as it is"}


def of_plan(report: Mapping[str, Any]) -> Metadata:
    """What would be written, in order: to be read before anything else."""
    plan = report["plan"]
    counts = {name: number for name, number in (plan.get("counts") or {}).items() if number}
    return {
        **_head(report), "status": report["status"],
        **({"plan": dg.MetadataValue.md(_markdown(report))} if plan.get("changes") else {}),
        **counts, "dry_run": report["dry_run"], "checksum": (report["checksum"] or "")[:12],
        **({"pipeline": report["pipeline"]} if report["pipeline"] else {}),
        **table("in_the_way", [{"what": problem["message"], "way out": problem["fix"]} for problem in report["problems"]]),
        **_notes(report), **_look(report),
    }


def of_gates(report: Mapping[str, Any]) -> Metadata:
    """Every gate with what it says; those that are in the way first."""
    gates = report["gates"].get("gates", [])
    order = list(GateOutcome)
    order.sort(key=lambda outcome: (outcome is not GateOutcome.BLOCKED, outcome is not GateOutcome.HELD,
                                    outcome is not GateOutcome.PASSED))
    rows = sorted(gates, key=lambda gate: order.index(GateOutcome(gate["outcome"])))
    return {
        **_head(report), **({"verdict": report["gates"]["verdict"]} if gates else {}),
        **table("gates", [{"gate": gate["gate"].replace("_", " "), "says": _GATE_WORDS[GateOutcome(gate["outcome"])],
                           "because": visible(gate["reason"]), "way out": visible(gate["fix"] or "")} for gate in rows]),
        **({"reason": visible(report["reason"])} if report["reason"] else {}), **_look(report),
    }


def of_results(report: Mapping[str, Any]) -> Metadata:
    """What became of each workflow that was to be written."""
    written = [each for each in report["workflows"] if each["status"] != "skipped"]
    return {
        **_head(report), "status": report["status"], "written": sum(each["status"] == "success" for each in written),
        "left_as_they_are": len(report["workflows"]) - len(written),
        **table("results", [{
            "workflow": visible(each["name"]), "action": each["action"],
            "outcome": _RESULT_WORDS.get(each["status"], each["status"]), "n8n id": each["workflow_id"] or "",
            "hash before": (each["before_hash"] or "")[:12], "hash after": (each["after_hash"] or "")[:12],
            "said": visible(each["message"] or "")} for each in written]),
        **({"reason": visible(report["reason"])} if report["reason"] else {}),
        **({"rollback_incomplete": True} if report["rollback_incomplete"] else {}),
        **({"operation": report["operation_id"]} if report["operation_id"] else {}), **_look(report),
    }


def of_outcome(report: Mapping[str, Any]) -> Metadata:
    """Where it ended: Git, drift, what was verified, the snapshots to go back to."""
    return {
        **_head(report), "status": report["status"],
        **({"drift_status": report["drift_status"]} if report["drift_status"] else {}),
        "git": report["git_status"], **({"commit": report["commit"]} if report["commit"] else {}),
        **({"pull_request": dg.MetadataValue.url(report["pull_request"])} if report["pull_request"] else {}),
        **table("verified", [{"workflow": visible(str(each.get("workflow"))), "check": str(each.get("check", "")),
                              "outcome": str(each.get("outcome", each.get("status", ""))),
                              "because": visible(str(each.get("reason") or ""))} for each in report["verification"]]),
        **({"snapshot_before": report["pre_snapshot"]} if report["pre_snapshot"] else {}),
        **({"snapshot_after": report["post_snapshot"]} if report["post_snapshot"] else {}),
        **_notes(report),
        **({"back": f"wfops rollback {report['name']} --reason …"} if report["status"].startswith("completed") else {}),
        **_look(report),
    }


def of_rollback(report: Mapping[str, Any]) -> Metadata:
    """What was written to go back, or would be."""
    plan = report["plan"].get("changes", []) if report["dry_run"] else []
    return {
        **of_outcome(report), "dry_run": report["dry_run"],
        **table("plan", [{"action": write["action"], "workflow": visible(write["name"]),
                          "n8n id": write["workflow_id"] or "", "note": visible("; ".join(write["notes"]))}
                         for write in plan]),
        **({} if report["dry_run"] else of_results(report)),
    }


def of_recovery(done: RecoveryReport) -> Metadata:
    """What was left before, and what is left now."""
    rows = [{"what": name, "before": _said(done.before[name]), "now": _said(done.after[name])} for name in done.before]
    return {**table("left", rows), **({"operation": done.operation_id} if done.operation_id else {})}


def _said(left: Any) -> str:
    return visible(", ".join(left) if isinstance(left, list) else left or "") or "nothing"


def _markdown(report: Mapping[str, Any]) -> str:
    return plan_markdown({**report["plan"], "problems": report["problems"], "gates": report["gates"]}, max_rows=MAX_ROWS,
                         max_chars=_MAX_MARKDOWN)


def _head(report: Mapping[str, Any]) -> Metadata:
    way = f"{report['source']} → {report['target']}"
    return {"promotion": way if report["number"] is None else f"{report['name']}: {way}"}


def _look(report: Mapping[str, Any]) -> Metadata:
    """What is to be read first comes first; this comes last."""
    return {"look": f"wfops promotion show {report['name']}"} if report["number"] is not None else {}


def _notes(report: Mapping[str, Any]) -> Metadata:
    return {"notes": visible("\n".join(report["notes"]))} if report["notes"] else {}
