"""Pull requests of promotions (§7, §11.6): one per target, which shows what Git does not say yet of all of them.

While it is open, what was promoted counts as what Git says, and the promotion waits for nothing. Whoever next holds the
environment asks what became of it: merged, it is committed; closed otherwise, somebody did not want it in Git, and what runs
is drift from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.errors import OutsideError
from wfops_pipelines.git.repository import PullRequestState
from wfops_pipelines.services.operations import RunningOperation
from wfops_pipelines.services.sync_repository import read_repository


def request_branch(environment: Row[Any]) -> str:
    """The branch of the request: not that of exports, which shows something else."""
    return f"wfops/promote-{environment.slug}"


async def follow_pull_requests(operation: RunningOperation) -> None:
    """Ask what became of the requests that are open as far as is known, once each. Both sides have just been read; where one
    was merged, the folder is read again."""
    rows = await asyncio.to_thread(open_requests, operation)
    if not rows:
        return
    states = await asyncio.to_thread(_ask, operation, {row.git_pull_request for row in rows})
    if PullRequestState.MERGED in states.values():
        await read_repository(operation)
    await asyncio.to_thread(_record, operation, rows, states)


def open_requests(operation: RunningOperation) -> list[Row[Any]]:
    """The promotions to the environment that wait in a pull request, oldest first."""
    if operation.environment.repository_id is None:
        return []
    with operation.services.store.read(operation.context) as work:
        return work.promotions.with_pull_request(operation.environment.id)


def _ask(operation: RunningOperation, urls: Iterable[str]) -> Mapping[str, PullRequestState]:
    opened = operation.services.repository_of(operation.context, operation.environment)
    assert opened is not None  # noqa: S101 - the environment has a repository
    states = {}
    try:
        for url in urls:
            try:
                states[url] = opened[0].pull_request_state(url)
            except OutsideError:  # it is as it was as far as anybody knows
                states[url] = PullRequestState.OPEN
    finally:
        opened[0].close()
    return states


def _record(operation: RunningOperation, rows: Iterable[Row[Any]], states: Mapping[str, PullRequestState]) -> None:
    ended = [row for row in rows if states[row.git_pull_request] is not PullRequestState.OPEN]
    if not ended:
        return
    now, slug = operation.context.now(), operation.environment.slug
    with operation.services.store.unit_of_work(operation.context, "promotion.git", held=operation.held) as work:
        head = work.fleet.environment(operation.environment.id).git_commit
        for row in ended:
            if states[row.git_pull_request] is PullRequestState.MERGED:
                work.promotions.change(row.id, now=now, git_status="committed", git_commit=head, git_error=None)
                work.record("promotion.git_committed", "promotion", f"p{row.number}", environment=slug, after=head,
                            pull_request=row.git_pull_request)
            else:
                work.promotions.change(row.id, now=now, git_status="none",
                                       git_error="its pull request was closed without being merged")
                work.record("promotion.pull_request_closed", "promotion", f"p{row.number}", environment=slug,
                            pull_request=row.git_pull_request)


def close_requests(operation: RunningOperation, rows: Iterable[Row[Any]]) -> None:
    """Close the requests of these promotions: Git says already what their workflows are now. The ``OutsideError`` tree."""
    rows = list(rows)
    if not rows:
        return
    opened = operation.services.repository_of(operation.context, operation.environment)
    assert opened is not None  # noqa: S101 - the environment has a repository
    try:
        for url in {row.git_pull_request for row in rows}:
            opened[0].close_pull_request(url)
    finally:
        opened[0].close()
