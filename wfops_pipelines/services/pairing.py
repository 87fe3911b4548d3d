"""Which workflow of an environment is which file in its Git folder, as the store holds both (§9)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.drift import GitWorkflow, Matching, RuntimeWorkflow, match_workflows
from wfops_pipelines.domain.mapping import MappingStatus
from wfops_pipelines.store.unit_of_work import UnitOfWork

_LIVE = (MappingStatus.LINKED, MappingStatus.UNTRACKED, MappingStatus.IGNORED)


@dataclass(frozen=True, slots=True)
class StoredSides:
    """What the store holds of both sides of an environment, read once for all that looks at it."""

    workflows: list[Row[Any]]  # linked, untracked and ignored ones, by name
    files: list[Row[Any]]  # by path
    deleted: set[UUID]  # canonical workflows


def stored_sides(work: UnitOfWork, environment_id: UUID) -> StoredSides:
    """Both sides as they are stored."""
    return StoredSides(work.mappings.of_environment(environment_id, statuses=_LIVE),
                       work.git_states.of_environment(environment_id), work.mappings.deleted_canonicals())


def match_environment(work: UnitOfWork, environment: Row[Any], stored: StoredSides | None = None) -> Matching:
    """Pair what runs with what Git holds. Deleted canonical workflows are on neither side. What a promotion wrote, and
    could not commit yet or has in an open pull request, counts as what Git says (design decision 13)."""
    sides = stored or stored_sides(work, environment.id)
    runtime = [
        RuntimeWorkflow(
            workflow_id=row.workflow_id, name=row.name, canonical_id=row.canonical_id, live_hash=row.live_hash,
            draft_hash=row.draft_hash, active=row.active, archived=row.archived or row.missing_at is not None,
            ignored=row.status == MappingStatus.IGNORED,
        )
        for row in sides.workflows
    ]
    files = [
        GitWorkflow(path=row.path, name=row.name, canonical_id=row.canonical_id, content_hash=row.content_hash,
                    wants_active=row.wants_active, workflow_id=row.workflow_id)
        for row in sides.files if row.canonical_id not in sides.deleted
    ]
    ahead = _ahead_of_git(work, environment)
    return match_workflows(*_with(ahead, runtime, files)) if ahead else match_workflows(runtime, files)


def _ahead_of_git(work: UnitOfWork, environment: Row[Any]) -> dict[str, Mapping[str, Any]]:
    """What promotions made of workflows that Git does not say yet, by n8n id: of several the last."""
    rows = sorted(work.promotions.ahead_of_git(environment.id),
                  key=lambda row: (row.started_at or row.requested_at, row.number))
    return {told["workflow_id"]: told for row in rows
            for told in (row.results or {}).get("workflows", []) if told["workflow_id"] and told["status"] != "skipped"}


def promoted_hash(told: Mapping[str, Any]) -> str | None:
    """The content hash that a promotion, or its rollback, left a workflow with, as its results tell."""
    found: str | None = told["before_hash" if told["status"] == "rolled_back" else "after_hash"]
    return found


def _with(ahead: Mapping[str, Mapping[str, Any]], runtime: Iterable[RuntimeWorkflow],
          files: Iterable[GitWorkflow]) -> tuple[list[RuntimeWorkflow], list[GitWorkflow]]:
    """Both sides without the workflows that are still as they were promoted: there is nothing to say of them until the
    commit is made. Those that were changed since are left, and drift."""
    left = [workflow for workflow in runtime if not (
        (told := ahead.get(workflow.workflow_id)) is not None and workflow.live_hash == promoted_hash(told))]
    here = {workflow.workflow_id for workflow in left}
    quiet = {told["key"] for workflow_id, told in ahead.items() if workflow_id not in here}
    return left, [file for file in files if str(file.canonical_id) not in quiet]


def remember_in_sync(work: UnitOfWork, stored: StoredSides, matching: Matching) -> None:
    """What was last seen in sync here decides between a hotfix and Git having moved on (§8)."""
    equal = {runtime.workflow_id for runtime, file in matching.pairs
             if runtime.live_hash == file.content_hash and not runtime.archived}
    work.mappings.mark_in_sync({row.id: row.portable_hash for row in stored.workflows
                                if row.workflow_id in equal and row.in_sync_hash != row.portable_hash})
