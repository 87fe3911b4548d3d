"""What is intended to be written to n8n, as the journal keeps it, and what became of it (design decision 7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.normalize import content_hash
from wfops_pipelines.domain.runtime_write import RuntimeState, WriteAction
from wfops_pipelines.domain.workflow import Content
from wfops_pipelines.services.hashing import bodies, encoded
from wfops_pipelines.services.operations import RunningOperation
from wfops_pipelines.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class WantedWorkflow:
    """What a workflow of the environment shall be. ``live`` and ``draft`` are concrete contents of this environment,
    ``None`` where it shall not be there; ``workflow_id`` is none for one that is created. ``before`` is what was seen when
    this was planned: a workflow that is something else by now is not written."""

    action: WriteAction
    name: str
    workflow_id: str | None
    canonical_id: UUID | None
    live: Content | None
    active: bool = False
    archived: bool = False
    tags: tuple[str, ...] = ()
    before: RuntimeState | None = None
    before_live: Content | None = None
    before_draft: Content | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """A write as the journal tells it: ``state`` is ``done``, ``undone`` or ``failed``."""

    action: str
    state: str
    name: str
    workflow_id: str | None
    canonical_id: UUID | None
    before_hash: str | None
    after_hash: str | None
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """As results and ``--json`` show it."""
        return {"action": self.action, "state": self.state, "name": self.name, "workflow_id": self.workflow_id,
                "canonical_id": str(self.canonical_id) if self.canonical_id else None, "before_hash": self.before_hash,
                "after_hash": self.after_hash, "error": self.error}


def intend(operation: RunningOperation, wanted: Sequence[WantedWorkflow], checkpoint: dict[str, Any],
           within: Callable[[UnitOfWork], None]) -> None:
    """Journal what is going to be written, with everything that finishing and undoing it need."""
    now = operation.context.now()
    with operation.services.store.unit_of_work(operation.context, "runtime.intend", held=operation.held) as work:
        for position, item in enumerate(wanted, start=1):
            contents = {name: encoded(content) for name, content in (
                ("live", item.live), ("before_live", item.before_live), ("before_draft", item.before_draft))
                if content is not None}
            work.payloads.save(bodies(contents.values()))
            after = None
            if item.live is not None or item.archived:
                hash_ = content_hash(item.live) if item.live is not None else _live_hash(item.before)
                draft = item.before.draft_hash if item.archived and item.before is not None else hash_
                after = RuntimeState(hash_, draft, item.active, item.archived).as_json() | {
                    "tags": list(item.tags), "live_digest": contents["live"].digest if "live" in contents else None}
            before = None if item.before is None else item.before.as_json() | {
                "live_digest": contents["before_live"].digest, "draft_digest": contents["before_draft"].digest}
            work.journal.intend(operation.id, position, now=now, environment_id=operation.environment.id,
                                action=str(item.action), workflow_id=item.workflow_id, canonical_id=item.canonical_id,
                                name=item.name, before=before, after=after)
        operation.save_checkpoint(work, checkpoint)
        within(work)
        work.record("runtime.intended", "environment", operation.environment.slug, environment=operation.environment.slug,
                    writes=[{"action": str(w.action), "workflow_id": w.workflow_id, "name": w.name} for w in wanted])


def _live_hash(state: RuntimeState | None) -> str:
    return state.live_hash if state is not None else ""


def written(row: Row[Any]) -> Written:
    """A row of the journal as results show it."""
    return Written(row.action, row.state, row.name, row.workflow_id, row.canonical_id,
                   (row.before or {}).get("live_hash"), (row.after or {}).get("live_hash"), row.error)
