"""Drift that ignore rules hide (§9): taken out of what a check found, and counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.diff import as_json, from_json
from wfops_pipelines.domain.drift import WorkflowDrift
from wfops_pipelines.domain.ignore_rules import DriftedWorkflow, IgnoreRule, apply, node_types
from wfops_pipelines.domain.workflow import decode_content
from wfops_pipelines.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class VisibleDrift:
    """What is left of a check's drift: ``rows`` as they are stored. ``workflows`` and ``changes`` count what is hidden."""

    drifts: tuple[WorkflowDrift, ...]
    rows: list[dict[str, Any]]
    workflows: int = 0
    changes: int = 0


def without_ignored(work: UnitOfWork, environment: Row[Any], drifts: Sequence[WorkflowDrift],
                    rows: list[dict[str, Any]]) -> VisibleDrift:
    """Apply the rules that hold now. ``rows`` belong to ``drifts``, in the same order."""
    now = work.context.now()
    stored = work.ignore_rules.of_environment(environment.id, now) if drifts else []
    if not stored:
        return VisibleDrift(tuple(drifts), rows)
    rules = [IgnoreRule.model_validate(row) for row in stored]
    types = _node_types(work, environment, drifts) if any(rule.node_type for rule in rules) else {}
    items = [DriftedWorkflow(drift, from_json(row["diff"]) if row["diff"] else None, types.get(row["subject"], {}))
             for drift, row in zip(drifts, rows, strict=True)]
    ignored = apply(rules, items, environment_id=environment.id, now=now)
    if not work.read_only:
        work.ignore_rules.count(ignored.hides, now)
    of_subject = {row["subject"]: row for row in rows}
    left = []
    for remaining in ignored.remaining:
        row = of_subject[remaining.drift.workflow_id or remaining.drift.path or ""]
        if remaining.hidden_changes:
            row = row | {"kind": remaining.drift.kind, "kinds": [str(kind) for kind in remaining.drift.kinds],
                         "diff": as_json(remaining.diff) if remaining.diff is not None else None}
        left.append(row)
    return VisibleDrift(tuple(remaining.drift for remaining in ignored.remaining), left, len(ignored.hidden),
                        ignored.hidden_changes)


def _node_types(work: UnitOfWork, environment: Row[Any], drifts: Sequence[WorkflowDrift]) -> dict[str, Any]:
    """The types of the nodes on both sides, by subject: a stored diff does not hold them."""
    mappings = work.mappings.by_workflow(environment.id, [d.workflow_id for d in drifts if d.workflow_id])
    files = {row.path: row.digest for row in work.git_states.of_environment(environment.id)}
    digests = {d.workflow_id or d.path or "": [digest for digest in (
        files.get(d.path or ""), mappings[d.workflow_id].live_digest if d.workflow_id in mappings else None) if digest]
        for d in drifts}
    bodies = work.payloads.load({digest for both in digests.values() for digest in both})
    return {subject: node_types(*(decode_content(bodies[digest]) for digest in both if digest in bodies))
            for subject, both in digests.items()}
