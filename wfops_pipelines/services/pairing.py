"""Which workflow of an environment is which file in its Git folder, as the store holds both (§9)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.drift import GitWorkflow, Matching, RuntimeWorkflow, match_workflows
from wfops_pipelines.domain.mapping import MappingStatus
from wfops_pipelines.store.unit_of_work import UnitOfWork

_LIVE = (MappingStatus.LINKED, MappingStatus.UNTRACKED, MappingStatus.IGNORED)


def match_environment(work: UnitOfWork, environment: Row[Any]) -> Matching:
    """Pair what runs with what Git holds. Deleted canonical workflows are on neither side."""
    deleted = {i for i, row in work.mappings.canonicals().items() if row.deleted_at is not None}
    runtime = [
        RuntimeWorkflow(
            workflow_id=row.workflow_id, name=row.name, canonical_id=row.canonical_id, live_hash=row.live_hash,
            draft_hash=row.draft_hash, active=row.active, archived=row.archived or row.missing_at is not None,
            ignored=row.status == MappingStatus.IGNORED,
        )
        for row in work.mappings.of_environment(environment.id, statuses=_LIVE)
    ]
    files = [
        GitWorkflow(path=row.path, name=row.name, canonical_id=row.canonical_id, content_hash=row.content_hash,
                    wants_active=row.wants_active, workflow_id=row.workflow_id)
        for row in work.git_states.of_environment(environment.id) if row.canonical_id not in deleted
    ]
    return match_workflows(runtime, files)


def remember_in_sync(work: UnitOfWork, environment: Row[Any], matching: Matching) -> None:
    """What was last seen in sync here decides between a hotfix and Git having moved on (§8)."""
    equal = [runtime.workflow_id for runtime, file in matching.pairs
             if runtime.live_hash == file.content_hash and not runtime.archived]
    rows = work.mappings.by_workflow(environment.id, equal).values()
    work.mappings.mark_in_sync({row.id: row.portable_hash for row in rows if row.in_sync_hash != row.portable_hash})
