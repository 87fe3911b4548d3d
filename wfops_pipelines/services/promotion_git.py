"""The commit of a promotion to the target's folder (§11.6): one, after n8n was written; a failure leaves it to be made.

Until it is made, what was promoted counts as what Git says (design decision 13), and whoever next holds the environment
makes it first.
"""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.errors import LeaseLost, StoreError, WfopsError
from wfops_pipelines.domain.mapping import MappingStatus
from wfops_pipelines.services.export_environment import export_selected
from wfops_pipelines.services.operations import RunningOperation


async def commit_what_is_left(operation: RunningOperation) -> None:
    """Make the commits that earlier promotions to this environment could not make. Both sides have just been read."""
    for row in await asyncio.to_thread(_left, operation):
        await commit_promotion(operation, row)


def _left(operation: RunningOperation) -> list[Row[Any]]:
    if operation.environment.repository_id is None:
        return []
    with operation.services.store.read(operation.context) as work:
        return work.promotions.with_git_left(operation.environment.id)


async def commit_promotion(operation: RunningOperation, row: Row[Any]) -> None:
    """Bring the target's folder to what the promotion made of its n8n. Never raises what Git says: the promotion stays what
    it is, and says why it is not in Git yet."""
    subjects = await asyncio.to_thread(_subjects, operation, row)
    line = await asyncio.to_thread(_line, operation, row)
    try:
        export = await export_selected(operation, subjects, subject_line=line)
    except (LeaseLost, StoreError):
        raise
    except WfopsError as error:
        await asyncio.to_thread(_record, operation, row, {"git_status": "failed", "git_error": str(error)})
        return
    if export.pull_request is not None:
        values: dict[str, str | None] = {"git_status": "pull_request", "git_pull_request": export.pull_request}
    else:
        values = {"git_status": "committed", "git_commit": export.commit or row.git_commit or _head(operation)}
    await asyncio.to_thread(_record, operation, row, {**values, "git_error": None})


def _head(operation: RunningOperation) -> str | None:
    """The commit that holds it already, where there was nothing to write."""
    with operation.services.store.read(operation.context) as work:
        head: str | None = work.fleet.environment(operation.environment.id).git_commit
    return head


def _subjects(operation: RunningOperation, row: Row[Any]) -> set[str]:
    """The workflows that it wrote, by n8n id, and by path those that are gone from n8n since."""
    told = [each for each in (row.results or {}).get("workflows", []) if each["status"] != "skipped"]
    ids = {each["workflow_id"] for each in told if each["workflow_id"]}
    keys = {each["key"] for each in told}
    with operation.services.store.read(operation.context) as work:
        if row.kind == "restore":  # it also writes what is not in Git, and shall not be
            known = work.mappings.by_workflow(operation.environment.id, list(ids))
            ids = {workflow_id for workflow_id in ids if workflow_id not in known or (
                known[workflow_id].status == MappingStatus.LINKED)}
        paths = {state.path for state in work.git_states.of_environment(operation.environment.id)
                 if str(state.canonical_id) in keys or state.workflow_id in ids}
    return ids | paths


def _line(operation: RunningOperation, row: Row[Any]) -> str:
    with operation.services.store.read(operation.context) as work:
        source = work.fleet.environment(row.source_environment_id).slug if row.source_environment_id else "a snapshot"
    tenant, target = operation.context.tenant_slug, operation.environment.slug
    if row.status == "rolled_back":
        return f"{tenant}/{target}: roll back promotion p{row.number}"
    verb = "restore from" if row.kind == "restore" else "promote from"
    return f"{tenant}/{target}: {verb} {source} (p{row.number})"


def _record(operation: RunningOperation, row: Row[Any], values: dict[str, Any]) -> None:
    now = operation.context.now()
    with operation.services.store.unit_of_work(operation.context, "promotion.git", held=operation.held) as work:
        work.promotions.change(row.id, now=now, **values)
        work.record(f"promotion.git_{values['git_status']}", "promotion", f"p{row.number}",
                    environment=operation.environment.slug, after=values.get("git_commit"),
                    pull_request=values.get("git_pull_request"), error=values.get("git_error"))
