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
from wfops_pipelines.services.renewed_ids import was_made_again
from wfops_pipelines.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class WantedWorkflow:
    """What a workflow of the environment shall be. ``live`` is a concrete content of this environment, ``None`` where it
    shall not be there; ``draft`` is the draft where it is another one; ``workflow_id`` is none for one that is created.
    ``before`` is what was seen when this was planned: a workflow that is something else by now is not written.

    A promotion names workflows by ``key``. ``awaits`` are keys (``self`` for itself) of workflows that the same writes
    create: ``live`` holds their terms (:mod:`~wfops_pipelines.domain.transform_terms`) until they have an id. ``late`` are
    the keys of those that n8n 2.x must have published before this one, and that come after it.
    """

    action: WriteAction
    name: str
    workflow_id: str | None
    canonical_id: UUID | None
    live: Content | None
    active: bool = False
    archived: bool = False
    tags: tuple[str, ...] | None = None
    before: RuntimeState | None = None
    before_live: Content | None = None
    before_draft: Content | None = None
    before_tags: tuple[str, ...] | None = None
    draft: Content | None = None
    key: str | None = None
    awaits: tuple[str, ...] = ()
    late: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """A write as the journal tells it: ``state`` is ``done``, ``undone`` or ``failed``; of an undone one, ``error`` says
    why, and is none where nothing had been written yet. ``made_again``: it was gone, and has another n8n id now."""

    action: str
    state: str
    name: str
    workflow_id: str | None
    canonical_id: UUID | None
    before_hash: str | None
    after_hash: str | None
    error: str | None = None
    key: str | None = None
    made_again: bool = False

    @property
    def was_applied(self) -> bool:
        """Whether n8n was changed by it, be it for a while."""
        return self.state != "undone" or self.error is not None

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
                ("live", item.live), ("draft", item.draft), ("before_live", item.before_live),
                ("before_draft", item.before_draft)) if content is not None}
            work.payloads.save(bodies(contents.values()))
            digests = {name: body.digest for name, body in contents.items()}
            before = None if item.before is None else item.before.as_json() | {
                "live_digest": digests["before_live"], "draft_digest": digests["before_draft"],
                "tags": None if item.before_tags is None else list(item.before_tags)}
            work.journal.intend(operation.id, position, now=now, environment_id=operation.environment.id,
                                action=str(item.action), workflow_id=item.workflow_id, canonical_id=item.canonical_id,
                                name=item.name, before=before, after=_after(item, digests))
        operation.save_checkpoint(work, checkpoint)
        within(work)
        work.record("runtime.intended", "environment", operation.environment.slug, environment=operation.environment.slug,
                    writes=[{"action": str(w.action), "workflow_id": w.workflow_id, "name": w.name} for w in wanted])


def _after(item: WantedWorkflow, digests: dict[str, str]) -> dict[str, Any] | None:
    """As the journal keeps it. While it awaits an id, its hash is not known yet."""
    if item.live is None and not item.archived:
        return None
    live = content_hash(item.live) if item.live is not None else item.before.live_hash if item.before is not None else ""
    draft = live
    if item.draft is not None:
        draft = content_hash(item.draft)
    elif item.archived and item.live is None and item.before is not None:
        draft = item.before.draft_hash
    told: dict[str, Any] = RuntimeState(live, draft, item.active, item.archived).as_json() | {
        "tags": None if item.tags is None else list(item.tags),
        "live_digest": digests.get("live"), "draft_digest": digests.get("draft")}
    if item.key is not None:
        told |= {"key": item.key, "awaits": list(item.awaits), "late": list(item.late)}
    return told


def key_of(row: Row[Any]) -> str | None:
    """What a promotion calls the workflow of a row of the journal; none for other writes, and for removals."""
    key: str | None = (row.after or {}).get("key")
    return key


def written(row: Row[Any]) -> Written:
    """A row of the journal as results show it."""
    return Written(row.action, row.state, row.name, row.workflow_id, row.canonical_id,
                   (row.before or {}).get("live_hash"), (row.after or {}).get("live_hash"), row.error, key_of(row),
                   was_made_again(row))
