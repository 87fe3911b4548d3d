"""What is known about each drifting workflow of an incident, for its cause (§10): our own checks, n8n and Git.

The store tells which side changed between the last check without the drift and the first one with it. n8n and Git are
asked outside of any transaction, within bounds of number and time; what they do not tell is said, with the reason.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row

from wfops_pipelines import failpoints
from wfops_pipelines.domain.cause import (
    Bounds,
    DriftFacts,
    Evidence,
    FileCommit,
    PublishEvent,
    Version,
    read_publish_event,
    read_time,
    read_version,
)
from wfops_pipelines.domain.drift import DriftKind
from wfops_pipelines.domain.errors import NotFound, WfopsError
from wfops_pipelines.domain.shown import one_line
from wfops_pipelines.n8n.provider import WorkflowProvider
from wfops_pipelines.services.operations import RunningOperation
from wfops_pipelines.store.unit_of_work import UnitOfWork

ASKING: Final = 30.0  # seconds in all that n8n, and that Git, is asked: the environment is held meanwhile
_VERSIONS: Final = 100  # of a workflow's history that are read
_GONE: Final = "gone"  # n8n has no such workflow (any more)


@dataclass(frozen=True, slots=True)
class Subject:
    """One drifting workflow: its row of ``workflow_drift``, what the store tells, and where else to ask. ``workflow_id``
    is that of a deleted one too, as far as it is known; ``in_n8n`` whether n8n can be asked about it."""

    row: Row[Any]
    facts: DriftFacts
    workflow_id: str | None
    in_n8n: bool
    path: str | None


@dataclass
class Told:
    """What was told of a drifting workflow: the facts to judge by, and what could not be had."""

    facts: DriftFacts
    unread: list[Evidence] = field(default_factory=list)


@dataclass
class Unread:
    """Why a source was not read, or not to its end; ``again``: asking later may help."""

    source: str
    reason: str
    again: bool

    def as_evidence(self) -> Evidence:
        """For the workflows that it is missing of."""
        what = "the version history" if self.source == "n8n" else "the last commit"
        return Evidence(self.source, f"{what} could not be read: {self.reason}")


class StoredSides:
    """Both sides of an environment as the store holds them, to look up what a drifting workflow was."""

    def __init__(self, work: UnitOfWork, environment: Row[Any]) -> None:
        self._work, self.environment = work, environment
        self.mappings = work.mappings.of_environment(environment.id)
        self.rows = [row for row in work.drift.of_environment(environment.id)
                     if row.kind != DriftKind.UNPUBLISHED_CHANGES]
        self._by_id = {row.workflow_id: row for row in self.mappings}
        # of several that were one canonical workflow, what was seen last
        self._by_canonical = {row.canonical_id: row for row in sorted(self.mappings, key=lambda row: row.changed_at)
                              if row.canonical_id is not None}
        files = work.git_states.of_environment(environment.id, deleted=True)
        self._files = {row.path: row for row in files if row.deleted_at is None}
        removed = sorted((row for row in files if row.deleted_at is not None), key=lambda row: row.deleted_at)
        self._removed = {key: row for row in removed for key in (row.workflow_id, row.canonical_id) if key is not None}
        self._seen: dict[datetime, datetime | None] = {}

    def mapping_of(self, row: Row[Any]) -> Row[Any] | None:
        """The mapping of a drift row; of a deleted workflow the one that it had."""
        if row.workflow_id is not None:
            return self._by_id.get(row.workflow_id)
        return self._by_canonical.get(row.canonical_id)

    def workflow_id_of(self, row: Row[Any]) -> str | None:
        """The n8n id, also of a workflow that was deleted."""
        mapping = self.mapping_of(row)
        return row.workflow_id or (mapping.workflow_id if mapping is not None else None)

    def subject(self, row: Row[Any]) -> Subject:
        """What the store tells of a drifting workflow."""
        mapping = self.mapping_of(row)
        file = self._files.get(row.path or "")
        removed = None
        if row.kind == DriftKind.ADDED_IN_RUNTIME:
            canonical_id = mapping.canonical_id if mapping is not None else None
            removed = self._removed.get(row.workflow_id) or self._removed.get(canonical_id)
        elif row.kind == DriftKind.MODIFIED:
            file = file if file is not None and file.content_hash == row.git_hash else None
        known = [side for side in (mapping, file or removed) if side is not None]
        first_with = row.since
        if row.kind == DriftKind.MODIFIED:  # it may have gone on changing since: then this is when it became what it is
            first_with = max([row.since, *(side.changed_at for side in known)])
        bounds = Bounds(self._last_without(row.since), first_with)
        facts = DriftFacts(
            kind=DriftKind(row.kind), bounds=bounds, active=row.active,
            archived=mapping is not None and mapping.archived and mapping.missing_at is None,
            runtime_changed=_runtime_changed(row, mapping, bounds),
            git_changed=_git_changed(row, mapping, file, removed, bounds),
            was_in_runtime=mapping is not None, was_in_git=file is not None or removed is not None,
            updated_at=read_time(mapping.source_updated_at) if mapping is not None else None)
        path = file.path if file is not None else removed.path if removed is not None else row.path
        in_n8n = mapping is not None and mapping.missing_at is None
        return Subject(row, facts, self.workflow_id_of(row), in_n8n, path)

    def _last_without(self, since: datetime) -> datetime | None:
        if since not in self._seen:
            self._seen[since] = self._work.drift.last_seen_before(self.environment.id, since)
        return self._seen[since]


def _runtime_changed(row: Row[Any], mapping: Row[Any] | None, bounds: Bounds) -> bool | None:
    if bounds.last_without is None:
        return None
    if mapping is None:
        return False
    if row.kind == DriftKind.MISSING_IN_RUNTIME:
        return bool((mapping.missing_at or mapping.changed_at) > bounds.last_without)
    if row.kind == DriftKind.MODIFIED and mapping.in_sync_hash is not None:
        return bool(mapping.portable_hash != mapping.in_sync_hash)
    return _moved(mapping.changed_at, bounds)


def _git_changed(row: Row[Any], mapping: Row[Any] | None, file: Row[Any] | None, removed: Row[Any] | None,
                 bounds: Bounds) -> bool | None:
    if bounds.last_without is None:
        return None
    if row.kind == DriftKind.ADDED_IN_RUNTIME:
        return removed is not None and _moved(removed.deleted_at, bounds)
    if file is None:
        return None
    if row.kind == DriftKind.MODIFIED and mapping is not None and mapping.in_sync_hash is not None:
        return bool(file.portable_hash != mapping.in_sync_hash)
    return _moved(file.changed_at, bounds)


def _moved(at: datetime, bounds: Bounds) -> bool | None:
    """Whether what last changed at a time (by our clock) changed between the two checks; none where it changed after
    both, so that nothing tells what it did before."""
    assert bounds.last_without is not None  # noqa: S101 - asked before
    return None if at > bounds.first_with else at > bounds.last_without


async def ask_outside(operation: RunningOperation, environment: Row[Any], subjects: Sequence[Subject],
                      ) -> tuple[dict[str, Told], list[Unread]]:
    """What n8n and Git tell about each of ``subjects``, by the drift row's subject, and what could not be read."""
    told = {subject.row.subject: Told(subject.facts) for subject in subjects}
    unread = [*await _ask_n8n(operation, subjects, told), *await _ask_git(operation, environment, subjects, told)]
    return told, unread


async def _ask_n8n(operation: RunningOperation, subjects: Sequence[Subject], told: Mapping[str, Told]) -> list[Unread]:
    """A few workflows at a time, until one cannot be asked: then none of those left is."""
    asked = [subject for subject in subjects if subject.in_n8n]
    if not asked:
        return []
    size = operation.services.limits.instance_concurrency
    unread: list[Unread] = []
    try:
        failpoints.reach("incident.n8n.before")
        provider = operation.services.provider_of(operation.context, operation.environment)
        try:
            async with asyncio.timeout(ASKING):
                while asked:
                    some = asked[:size]
                    answers = await asyncio.gather(*(_n8n_tells(provider, s) for s in some), return_exceptions=True)
                    for subject, answer in zip(some, answers, strict=True):
                        _take_answer(told[subject.row.subject], answer, unread)
                    asked = asked[size:]
                    if any(error.reason != _GONE for error in unread):
                        break
        finally:
            await provider.aclose()
    except TimeoutError:
        unread.append(Unread("n8n", f"n8n did not answer within {ASKING:g} s", again=True))
    except WfopsError as error:
        unread.append(_unread("n8n", error))
    reasons = [error for error in unread if error.reason != _GONE][:1]
    for subject in asked if reasons else ():
        told[subject.row.subject].unread.append(reasons[0].as_evidence())
    return reasons


def _take_answer(told: Told, answer: _N8nTells | BaseException, unread: list[Unread]) -> None:
    if isinstance(answer, _N8nTells):
        told.facts = replace(told.facts, versions=answer.versions, publish_events=answer.events)
    elif isinstance(answer, NotFound):  # deleted since the listing, or a server without this endpoint
        told.unread.append(Unread("n8n", one_line(str(answer), 200), again=False).as_evidence())
        unread.append(Unread("n8n", _GONE, again=False))
    elif isinstance(answer, WfopsError):
        unread.append(_unread("n8n", answer))
        told.unread.append(unread[-1].as_evidence())
    else:
        raise answer


@dataclass(frozen=True, slots=True)
class _N8nTells:
    versions: tuple[Version, ...]
    events: tuple[PublishEvent, ...]


async def _n8n_tells(provider: WorkflowProvider, subject: Subject) -> _N8nTells:
    """The history of versions; for an activation that of publications, which only the workflow itself carries."""
    assert subject.workflow_id is not None  # noqa: S101 - it is in n8n
    if subject.facts.kind is DriftKind.ACTIVATION and (await provider.server()).has_drafts:
        live = (await provider.get_workflow(subject.workflow_id)).get("activeVersion")
        raw = live.get("workflowPublishHistory") if isinstance(live, dict) else None
        events = [read_publish_event(entry) for entry in raw or () if isinstance(entry, dict)]
        return _N8nTells((), tuple(event for event in events if event is not None))
    history = await provider.workflow_history(subject.workflow_id, limit=_VERSIONS)
    versions = [read_version(entry) for entry in history]
    return _N8nTells(tuple(version for version in versions if version is not None), ())


async def _ask_git(operation: RunningOperation, environment: Row[Any], subjects: Sequence[Subject],
                   told: Mapping[str, Told]) -> list[Unread]:
    asked = [subject for subject in subjects if subject.path is not None]
    if not asked or environment.git_commit is None:
        return []
    return await asyncio.to_thread(_read_commits, operation, environment, asked, told)


def _read_commits(operation: RunningOperation, environment: Row[Any], subjects: Sequence[Subject],
                  told: Mapping[str, Told]) -> list[Unread]:
    deadline, left = time.monotonic() + ASKING, list(subjects)
    unread: list[Unread] = []
    try:
        failpoints.reach("incident.git.before")
        opened = operation.services.repository_of(operation.context, environment)
        if opened is None:
            return []
        repository = opened[0]
        try:
            while left and time.monotonic() < deadline:
                found = repository.last_commit(environment.git_commit, left[0].path or "")
                if found is not None:
                    subject = found.message.strip().partition("\n")[0]
                    one = told[left[0].row.subject]
                    one.facts = replace(one.facts, commit=FileCommit(found.sha, found.author, found.time, subject))
                left.pop(0)
        finally:
            repository.close()
    except WfopsError as error:
        unread.append(_unread("git", error))
    if left and not unread:
        unread.append(Unread("git", f"it took longer than {ASKING:g} s", again=True))
    for subject_left in left:
        told[subject_left.row.subject].unread.append(unread[0].as_evidence())
    return unread


def _unread(source: str, error: WfopsError) -> Unread:
    return Unread(source, one_line(str(error), 200), again=error.transient)
