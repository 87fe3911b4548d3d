"""What has to be written to n8n for an environment to be what Git says (§10.2): planned from what was just read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Row

from wfops_pipelines.domain.diff import as_json, diff
from wfops_pipelines.domain.drift import DriftKind, WorkflowDrift, judge
from wfops_pipelines.domain.normalize import content_hash
from wfops_pipelines.domain.runtime_write import RuntimeState, WriteAction, unclearable_settings
from wfops_pipelines.domain.workflow import Content, decode_content
from wfops_pipelines.services.intended_writes import WantedWorkflow
from wfops_pipelines.services.operations import RunningOperation
from wfops_pipelines.services.pairing import match_environment
from wfops_pipelines.store.unit_of_work import UnitOfWork


@dataclass
class ResolutionPlan:
    """``writes`` in order; ``shown`` says each to people, with its diff (n8n before, after the write); ``left`` is what
    the plan does not touch, with the reason."""

    writes: list[WantedWorkflow] = field(default_factory=list)
    shown: list[dict[str, Any]] = field(default_factory=list)
    left: list[dict[str, Any]] = field(default_factory=list)

    def checksum(self) -> str:
        """Equal for plans that write the same onto the same."""
        told = [[str(w.action), w.workflow_id, str(w.canonical_id), w.active, w.archived, list(w.tags or ()),
                 w.before.as_json() if w.before is not None else None,
                 content_hash(w.live) if w.live is not None else None] for w in self.writes]
        return hashlib.sha256(orjson.dumps([told, self.left])).hexdigest()


def plan_revert(operation: RunningOperation, *, generation: int, prune: bool, allow_irreversible: bool,
                versions: Mapping[str, Content] | None = None) -> ResolutionPlan:
    """Everything that drifts, back to what Git says. ``versions`` are contents by path to take in place of today's (for
    ``replace``). What n8n alone has is archived (2.x) or deleted (1.x, which cannot be undone) only with ``prune``."""
    plan = ResolutionPlan()
    environment = operation.environment
    with operation.services.store.read(operation.context) as work:
        drifts = [drift for drift in judge(match_environment(work, environment))
                  if drift.is_drift or (versions and drift.path in versions)]
        mappings = work.mappings.by_workflow(environment.id, [d.workflow_id for d in drifts if d.workflow_id])
        files = {row.path: row for row in work.git_states.of_environment(environment.id)}
        for drift in drifts:
            mapping = mappings.get(drift.workflow_id or "")
            if drift.kind is DriftKind.ADDED_IN_RUNTIME and mapping is not None:
                _plan_removal(plan, work, drift, mapping, generation, prune, allow_irreversible)
            elif drift.path is not None:
                file = files[drift.path]
                content = (versions or {}).get(drift.path) or _load(work, file.digest)
                _plan_content(plan, work, drift, mapping, file, content, generation)
    return plan


def _plan_content(plan: ResolutionPlan, work: UnitOfWork, drift: WorkflowDrift, mapping: Row[Any] | None,
                  file: Row[Any], content: Content, generation: int) -> None:
    wants = file.wants_active
    tags = tuple(file.tags or ())
    if mapping is None:
        plan.writes.append(WantedWorkflow(WriteAction.CREATE, drift.name, None, file.canonical_id, content,
                                          active=bool(wants), tags=tags))
        plan.shown.append(_told(WriteAction.CREATE, drift, None, content, bool(wants)))
        return
    before, live, draft = _before(work, mapping)
    active = before.active if wants is None else wants
    if before.archived:
        action = WriteAction.UNARCHIVE
    elif DriftKind.MODIFIED in drift.kinds or content != _load(work, file.digest):
        action = WriteAction.UPDATE
    else:
        action = WriteAction.ACTIVATE if active else WriteAction.DEACTIVATE
        content = live if active and DriftKind.ACTIVATION not in drift.kinds else content
    if kept := unclearable_settings(content, live, generation=generation):
        plan.left.append(_left(drift, f"n8n's API cannot clear its settings {', '.join(kept)}: clear them in n8n"))
        return
    plan.writes.append(WantedWorkflow(action, drift.name, mapping.workflow_id, mapping.canonical_id or file.canonical_id,
                                      content, active=active, before=before, before_live=live, before_draft=draft))
    shown = _told(action, drift, live, content, active)
    if before.draft_hash != before.live_hash:
        shown["loses_draft"] = True
    plan.shown.append(shown)


def _plan_removal(plan: ResolutionPlan, work: UnitOfWork, drift: WorkflowDrift, mapping: Row[Any], generation: int,
                  prune: bool, allow_irreversible: bool) -> None:
    """What Git does not have. 2.x archives, which can be undone; 1.x can only delete."""
    can_archive = generation > 1
    if not prune:
        plan.left.append(_left(drift, "nothing is removed from n8n without --prune"))
    elif not can_archive and not allow_irreversible:
        plan.left.append(_left(drift, "n8n 1.x can only delete it, which cannot be undone: --allow-irreversible"))
    else:
        before, live, draft = _before(work, mapping)
        action = WriteAction.ARCHIVE if can_archive else WriteAction.DELETE
        plan.writes.append(WantedWorkflow(action, drift.name, mapping.workflow_id, mapping.canonical_id, None,
                                          archived=can_archive, before=before, before_live=live, before_draft=draft))
        plan.shown.append({**_told(action, drift, live, None, active=False), "irreversible": not can_archive})


def _before(work: UnitOfWork, mapping: Row[Any]) -> tuple[RuntimeState, Content, Content]:
    bodies = work.payloads.load({mapping.live_digest, mapping.draft_digest})
    state = RuntimeState(mapping.live_hash, mapping.draft_hash, mapping.active, mapping.archived)
    return state, decode_content(bodies[mapping.live_digest]), decode_content(bodies[mapping.draft_digest])


def _load(work: UnitOfWork, digest: str) -> Content:
    return decode_content(work.payloads.load([digest])[digest])


def _told(action: WriteAction, drift: WorkflowDrift, before: Content | None, after: Content | None,
          active: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"action": str(action), "name": drift.name, "workflow_id": drift.workflow_id,
                            "path": drift.path, "active": active}
    if before is not None and after is not None:
        told["diff"] = as_json(diff(before, after))
    return told


def _left(drift: WorkflowDrift, reason: str) -> dict[str, Any]:
    return {"name": drift.name, "workflow_id": drift.workflow_id, "kind": str(drift.kind), "reason": reason}
