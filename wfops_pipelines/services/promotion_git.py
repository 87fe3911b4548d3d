"""The commit of a promotion to the target's folder (§11.6): one, after n8n was written; a failure leaves it to be made.

Until it is made, what was promoted counts as what Git says (design decision 13), and whoever next holds the environment
makes it first. With ``write_mode: pull_request`` it is a pull request, see :mod:`promotion_pull_requests`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.errors import LeaseLost, StoreError, WfopsError
from wfops_pipelines.domain.mapping import MappingStatus
from wfops_pipelines.services.export_environment import export_selected
from wfops_pipelines.services.operations import RunningOperation
from wfops_pipelines.services.pairing import promoted_hash
from wfops_pipelines.services.promotion_pull_requests import (
    close_requests,
    follow_pull_requests,
    open_requests,
    request_branch,
)
from wfops_pipelines.store.unit_of_work import UnitOfWork


async def commit_what_is_left(operation: RunningOperation) -> None:
    """Make the commits that earlier promotions to this environment could not make, and see what became of their pull
    requests. Both sides have just been read."""
    if not await asyncio.to_thread(_ahead, operation):
        return
    await follow_pull_requests(operation)
    for row in await asyncio.to_thread(_left, operation):
        await commit_promotion(operation, row)


def _ahead(operation: RunningOperation) -> list[Row[Any]]:
    if operation.environment.repository_id is None:
        return []
    with operation.services.store.read(operation.context) as work:
        return work.promotions.ahead_of_git(operation.environment.id)


def _left(operation: RunningOperation) -> list[Row[Any]]:
    with operation.services.store.read(operation.context) as work:
        return work.promotions.with_git_left(operation.environment.id)


async def commit_promotion(operation: RunningOperation, row: Row[Any], *,
                           back: Sequence[Mapping[str, Any]] | None = None) -> None:
    """Bring the target's folder to what the promotion made of its n8n; or, with ``back``, the results of a rollback that
    somebody gave up on, to what that did bring back. Never raises what Git says: the promotion stays what
    it is, and says why it is not in Git yet.

    A pull request also shows what earlier ones that are open do; where nothing is left for it to show, it is closed."""
    along = await asyncio.to_thread(_along, operation, row)
    results = {row.id: back} if back is not None else {}
    subjects = await asyncio.to_thread(_subjects, operation, [*along, row], results)
    line = await asyncio.to_thread(_line, operation, row, in_part=back is not None)
    try:
        export = await export_selected(operation, subjects, subject_line=line,
                                       request_branch=request_branch(operation.environment))
        if along and not export.files:
            await asyncio.to_thread(close_requests, operation, along)
    except (LeaseLost, StoreError):
        raise
    except WfopsError as error:
        await asyncio.to_thread(_record, operation, row, {"git_status": "failed", "git_error": str(error)})
        return
    if export.pull_request is not None:
        values: dict[str, str | None] = {"git_status": "pull_request", "git_pull_request": export.pull_request}
        changed = [each for each in along if each.git_pull_request != export.pull_request]
    else:
        values = {"git_status": "committed", "git_commit": export.commit or row.git_commit or _head(operation)}
        changed = along
    for each in (*(each for each in changed if each.id != row.id), row):
        await asyncio.to_thread(_record, operation, each, {**values, "git_error": None})


def _along(operation: RunningOperation, row: Row[Any]) -> list[Row[Any]]:
    """The promotions whose pull request is to show what it showed; this one too, if it had one before it was rolled back."""
    if operation.environment.write_mode != "pull_request":
        return []
    own = [row] if row.git_pull_request is not None else []
    return [*(each for each in open_requests(operation) if each.id != row.id), *own]


def _head(operation: RunningOperation) -> str | None:
    """The commit that holds it already, where there was nothing to write."""
    with operation.services.store.read(operation.context) as work:
        head: str | None = work.fleet.environment(operation.environment.id).git_commit
    return head


def _subjects(operation: RunningOperation, rows: Iterable[Row[Any]],
              results: Mapping[UUID, Sequence[Mapping[str, Any]]]) -> set[str]:
    """The workflows that they wrote, by n8n id, and by path those that are gone from n8n since. What somebody changed since
    is drift, and not for a promotion to commit."""
    with operation.services.store.read(operation.context) as work:
        found: set[str] = set()
        for row in rows:
            workflows = results.get(row.id, (row.results or {}).get("workflows", []))
            found |= _written(work, operation.environment, row, workflows)
    return found


def _written(work: UnitOfWork, environment: Row[Any], row: Row[Any],
             workflows: Sequence[Mapping[str, Any]]) -> set[str]:
    told = [each for each in workflows if each["status"] != "skipped"]
    known = work.mappings.by_workflow(environment.id, [each["workflow_id"] for each in told if each["workflow_id"]])
    told = [each for each in told if not _changed_since(known.get(each["workflow_id"] or ""), each)]
    ids = {each["workflow_id"] for each in told if each["workflow_id"]}
    keys = {each["key"] for each in told}
    if row.kind == "restore":  # it also writes what is not in Git, and shall not be
        ids = {workflow_id for workflow_id in ids if workflow_id not in known or (
            known[workflow_id].status == MappingStatus.LINKED)}
    return ids | {state.path for state in work.git_states.of_environment(environment.id)
                  if str(state.canonical_id) in keys or state.workflow_id in ids}


def _changed_since(mapping: Row[Any] | None, told: Mapping[str, Any]) -> bool:
    if mapping is None or mapping.archived or mapping.missing_at is not None:
        return False  # gone is for Git to say too, whoever did it
    expected = promoted_hash(told)
    return expected is not None and bool(mapping.live_hash != expected)


def _line(operation: RunningOperation, row: Row[Any], *, in_part: bool) -> str:
    with operation.services.store.read(operation.context) as work:
        source = work.fleet.environment(row.source_environment_id).slug if row.source_environment_id else "a snapshot"
    tenant, target = operation.context.tenant_slug, operation.environment.slug
    if in_part or row.status == "rolled_back":
        return f"{tenant}/{target}: roll back {'a part of ' if in_part else ''}promotion p{row.number}"
    verb = "restore from" if row.kind == "restore" else "promote from"
    return f"{tenant}/{target}: {verb} {source} (p{row.number})"


def _record(operation: RunningOperation, row: Row[Any], values: dict[str, Any]) -> None:
    now = operation.context.now()
    with operation.services.store.unit_of_work(operation.context, "promotion.git", held=operation.held) as work:
        work.promotions.change(row.id, now=now, **values)
        work.record(f"promotion.git_{values['git_status']}", "promotion", f"p{row.number}",
                    environment=operation.environment.slug, after=values.get("git_commit"),
                    pull_request=values.get("git_pull_request"), error=values.get("git_error"))
