"""The files of an environment as they were at a commit, and Git brought back to them: what ``replace`` takes (§10.2)."""

from __future__ import annotations

import asyncio

from wfops_pipelines.domain.errors import HeadMoved, UsageError
from wfops_pipelines.domain.layout import read_file, render_file
from wfops_pipelines.domain.workflow import Content
from wfops_pipelines.services.export_environment import ATTEMPTS, AUTHOR, EMAIL
from wfops_pipelines.services.operations import RunningOperation
from wfops_pipelines.services.sync_repository import read_repository


def versions(operation: RunningOperation, version: str) -> dict[str, Content]:
    """The contents, by path, of the files that drift now, as they were at a commit; :class:`UsageError` where it has none
    of them."""
    files = _files_at(operation, version)
    if not files:
        raise UsageError(f"commit {version} has none of the files that drift", fix="name another commit")
    return {path: read_file(path, data).content for path, data in files.items()}


def _files_at(operation: RunningOperation, version: str) -> dict[str, bytes]:
    """The files that drift now, as they were at a commit; none where nothing drifts that it has."""
    opened = operation.services.repository_of(operation.context, operation.environment)
    if opened is None:
        raise UsageError(f"{operation.name} has no repository", fix="give the tenant or the environment one in fleet.yaml")
    repository, branch, folder = opened
    with operation.services.store.read(operation.context) as work:
        wanted = {row.path for row in work.drift.of_environment(operation.environment.id) if row.path}
    try:
        head = repository.head(branch)
        if head is None or not repository.contains(head, version):
            raise UsageError(f"{version} is no commit of branch {branch} of {repository.display_url}",
                             fix="name a commit by its full SHA: `git log` of the branch lists them")
        entries = {e.path: e.blob for e in repository.tree(version, folder) if e.path in wanted}
        found = dict(repository.read_blobs(version, entries.values()))
        files = {path: data for path, blob in entries.items() if (data := found.get(blob)) is not None}
    finally:
        repository.close()
    return files


async def commit_version(operation: RunningOperation, version: str) -> str | None:
    """Git's folder gets the same content, as one commit; what says so already is left as it is. Nothing drifts any more
    where all of that was done before, and only its end was not told."""
    files = await asyncio.to_thread(_files_at, operation, version)
    if not files:
        return None
    for attempt in range(1, ATTEMPTS + 1):
        try:
            commit = await asyncio.to_thread(_commit, operation, files, version)
            break
        except HeadMoved:
            if attempt == ATTEMPTS:
                raise
    await read_repository(operation)
    return commit


def _commit(operation: RunningOperation, files: dict[str, bytes], version: str) -> str | None:
    context, environment = operation.context, operation.environment
    opened = operation.services.repository_of(context, environment)
    assert opened is not None  # noqa: S101 - its files were just read
    repository, branch, _ = opened
    try:
        head = repository.head(branch)
        with operation.services.store.read(context) as work:
            states = {row.path: row for row in work.git_states.of_environment(environment.id)}
        changes: dict[str, bytes | None] = {}
        for path, data in files.items():
            state, file = states.get(path), read_file(path, data)
            changes[path] = data if state is None else render_file(
                file.content, workflow_id=state.workflow_id, canonical_id=state.canonical_id, active=state.wants_active,
                tags=state.tags)
        message = (f"{context.tenant_slug}/{environment.slug}: back to {version[:12]}\n\n"
                   + "\n".join(f"- {path}" for path in sorted(changes))
                   + f"\n\nWfops-Operation: {operation.id}\nWfops-Actor: {context.actor}\n")
        commit = repository.commit(branch, expected_head=head, changes=changes, message=message, author=AUTHOR,
                                   email=EMAIL, when=context.now())
        return commit if commit != head else None
    finally:
        repository.close()
