"""Planning the rollback of a completed promotion (§11.9): the reverse of its journal, last write first.

Only what is still what the promotion made of it is touched: somebody's later work is named, and nothing is written. A
workflow that was gone and is made again gets another n8n id, here or by whoever made it again since (§11.7): contents that
name it are restored with the id that it has now, or will have.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.errors import Blocked
from wfops_pipelines.domain.ids_of_now import with_ids_of_now
from wfops_pipelines.domain.lower import Lowered
from wfops_pipelines.domain.mapping import MappingStatus
from wfops_pipelines.domain.normalize import content_hash
from wfops_pipelines.domain.references import called_workflow, needed_workflows
from wfops_pipelines.domain.runtime_write import RuntimeState, WriteAction
from wfops_pipelines.domain.transform_tables import EnvironmentTables
from wfops_pipelines.domain.workflow import Content, decode_content
from wfops_pipelines.services.intended_writes import WantedWorkflow, key_of
from wfops_pipelines.services.operations import RunningOperation
from wfops_pipelines.store.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class RollbackPlan:
    """What is written to go back, and what somebody else changed since, in words. ``back`` is what is as it was before
    already: ``{key, workflow_id, hash}`` of now. ``callers``: of workflows that go, or get another id, by the n8n id that is
    gone then, the names of those that stay and call it."""

    writes: tuple[WantedWorkflow, ...]
    changed: tuple[str, ...]
    back: tuple[dict[str, Any], ...]
    callers: Mapping[str, tuple[str, ...]]
    gone: Mapping[str, str]  # the names of those workflows

    def shown(self) -> list[dict[str, Any]]:
        """As a dry run shows it."""
        return [{"action": str(item.action), "name": item.name, "workflow_id": item.workflow_id, "active": item.active,
                 "notes": [self._said(gone) for gone, name in self.gone.items()
                           if gone in self.callers and (gone == item.workflow_id or (item.workflow_id is None
                                                                                   and name == item.name))]}
                for item in self.writes]

    @property
    def notes(self) -> list[str]:
        """What whoever rolls back has to know."""
        return [f"{self.gone[gone]!r} is {self._said(gone)}" for gone in self.callers]

    def _said(self, gone: str) -> str:
        callers = ', '.join(self.callers[gone])
        if any(item.workflow_id == gone for item in self.writes):
            return f"still called by {callers}"
        return f"made again under another id, and still called as {gone} by {callers}"


def written_keys(row: Row[Any]) -> set[str]:
    """The workflows that a promotion wrote, by n8n id and by key: what was made again has another id."""
    return {each[name] for each in (row.results or {}).get("workflows", []) if each["status"] == "success"
            for name in ("workflow_id", "key") if each[name]}


def plan_rollback(operation: RunningOperation, promotion: Row[Any]) -> RollbackPlan:
    """The reverse of the promotion's journal. :class:`Blocked` where that is gone."""
    with operation.services.store.read(operation.context) as work:
        rows = [row for row in work.journal.of_operation(promotion.operation_id) if row.state in ("done", "settled")]
        if not rows and written_keys(promotion):
            raise Blocked(f"{operation.context.tenant_slug}/p{promotion.number} was so long ago that its journal is gone",
                          fix=f"restore a snapshot: wfops snapshot list {operation.name.replace('/', ' ')}")
        reverse = _Reverse.of(work, operation.environment, rows, _half_made(work, promotion))
        writes, changed, back = [], [], []
        for row in reversed(rows):
            if reverse.is_back(row):
                back.append(reverse.as_back(row))
            elif why := reverse.changed(row):
                changed.append(f"{row.name!r} ({row.workflow_id}) {why}")
            else:
                writes.append(reverse.write(row))
        gone = {item.workflow_id: item.name for item in writes if item.action == WriteAction.DELETE and item.workflow_id}
        gone |= {row.workflow_id: row.name for row in rows if key_in(row) in reverse.created}
        callers = {} if changed else _callers_left(work, operation.environment, writes, gone.keys())
    return RollbackPlan(tuple(_with_late_calls(writes)), tuple(changed), tuple(back), callers, gone)


def key_in(row: Row[Any]) -> str:
    """What the results of a promotion, and the journal of its rollback, call a workflow of its journal."""
    return key_of(row) or str(row.canonical_id or row.workflow_id)


@dataclass(frozen=True)
class _Told:
    """A state as the journal has it, under the ids of now."""

    state: RuntimeState
    live: Lowered
    draft: Lowered


@dataclass(frozen=True)
class _Reverse:
    """What is known for the reverse of a journal: what is there now, and which ids are others by now."""

    there: Mapping[str, Row[Any]]  # by the n8n id of now
    contents: Mapping[str, Content]
    renewed: Mapping[str, str]  # of workflows that were made again since: the id in the journal → the id of now
    created: Mapping[str, str]  # of those that this rollback makes again: key → the id that is gone
    half_made: Mapping[str, str]  # of what an earlier attempt was given up on: key → the id that it has
    deleted: frozenset[UUID]  # canonical workflows that somebody deleted
    environment: str

    @classmethod
    def of(cls, work: UnitOfWork, environment: Row[Any], rows: Sequence[Row[Any]], half_made: Mapping[str, str]) -> _Reverse:
        """All that the reverse of these rows needs."""
        told = [side for row in rows for side in (row.before, row.after) if side]
        contents = _load(work, {side.get(name) for side in told for name in ("live_digest", "draft_digest")})
        named = {row.workflow_id for row in rows if row.workflow_id}
        named |= {called for content in contents.values() for called in needed_workflows(content)}
        found = _alive(work.mappings.by_workflow(environment.id, named))
        renewed = _renewed(work, environment, named - found.keys(), rows)
        there = found | _alive(work.mappings.by_workflow(environment.id, [*renewed.values(), *half_made.values()]))
        half_made = {key: workflow_id for key, workflow_id in half_made.items() if workflow_id in there}
        renewed |= {row.workflow_id: half_made[key_in(row)] for row in rows if key_in(row) in half_made}
        contents |= _load(work, {digest for row in there.values() for digest in (row.live_digest, row.draft_digest)})
        created = {key_in(row): row.workflow_id for row in rows
                   if row.before is not None and renewed.get(row.workflow_id, row.workflow_id) not in there}
        deleted = frozenset(key for key, row in work.mappings.canonicals(
            {row.canonical_id for row in rows if row.canonical_id is not None}).items() if row.deleted_at is not None)
        return cls(there, contents, renewed, created, half_made, deleted, environment.slug)

    def is_back(self, row: Row[Any]) -> bool:
        """Whether a workflow is already as it was before the promotion, brought back by an earlier rollback, or by hand."""
        there = self._there(row)
        if there is None or row.before is None:
            return there is None and row.before is None
        tags = row.before.get("tags")
        return _state(there) == self._told(row, row.before).state and (tags is None or sorted(tags) == sorted(there.tags))

    def as_back(self, row: Row[Any]) -> dict[str, Any]:
        """What the results say of a workflow that is as it was before already."""
        there = self._there(row)
        return {"key": key_in(row), "workflow_id": row.workflow_id if there is None else there.workflow_id,
                "hash": None if there is None else there.live_hash}

    def changed(self, row: Row[Any]) -> str | None:
        """How a workflow is not what the promotion made of it any more, in words; none where it is."""
        there = self._there(row)
        if there is None and row.before is not None and row.canonical_id in self.deleted:
            return "was deleted since, also from WorkflowOps: `wfops undelete` takes that back"
        if row.after is None:
            return None if there is None or key_in(row) in self.half_made else "is there again"
        if there is None:
            return "is gone"
        tags = row.after.get("tags")
        if tags is not None and sorted(tags) != sorted(there.tags):
            return "has other tags by now"
        expected, actual = self._told(row, row.after).state, _state(there)
        if expected.archived and actual.archived:
            return None
        return None if actual == expected else "is not what was promoted any more"

    def write(self, row: Row[Any]) -> WantedWorkflow:
        """What brings a workflow back to how it was."""
        there = self._there(row)
        wanted = WantedWorkflow(
            WriteAction.DELETE, row.name, None if there is None else there.workflow_id, row.canonical_id, None,
            before=None if there is None else _state(there), key=key_in(row),
            before_live=None if there is None else self.contents[there.live_digest],
            before_draft=None if there is None else self.contents[there.draft_digest])
        if row.before is None:
            return wanted
        before, tags = self._told(row, row.before), row.before.get("tags")
        if there is None or key_in(row) in self.half_made:
            action = WriteAction.CREATE
        elif there.archived:
            action = WriteAction.UNARCHIVE
        else:
            action = WriteAction.ARCHIVE if before.state.archived else WriteAction.UPDATE
        return replace(
            wanted, action=action, live=before.live.content, awaits=before.live.awaited,
            draft=before.draft.content if before.state.draft_hash != before.state.live_hash else None,
            active=before.state.active, archived=before.state.archived, tags=None if tags is None else tuple(tags),
            before_tags=None if tags is None or there is None else tuple(there.tags))

    def _there(self, row: Row[Any]) -> Row[Any] | None:
        return self.there.get(self.renewed.get(row.workflow_id, row.workflow_id))

    def _told(self, row: Row[Any], told: Mapping[str, Any]) -> _Told:
        state, digest = RuntimeState.from_json(told), told["live_digest"]
        if digest is None:  # archived as it was: nothing was written to it
            return _Told(state, Lowered({}), Lowered({}))
        live = draft = self._with_ids_of_now(row, digest)
        if (told.get("draft_digest") or digest) != digest:
            draft = self._with_ids_of_now(row, told["draft_digest"])
        if live.transformations:
            state = replace(state, live_hash=content_hash(live.content))
        if draft.transformations:
            state = replace(state, draft_hash=content_hash(draft.content))
        return _Told(state, live, draft)

    def _with_ids_of_now(self, row: Row[Any], digest: str) -> Lowered:
        then = {**{old: old for old in self.renewed}, **self.created}
        own = key_in(row) if key_in(row) in self.created else row.workflow_id
        return with_ids_of_now(self.contents[digest], own, EnvironmentTables(self.environment, workflow_ids=then),
                               EnvironmentTables(self.environment, workflow_ids=self.renewed), self.created)


def _half_made(work: UnitOfWork, promotion: Row[Any]) -> dict[str, str]:
    """What an earlier rollback of the promotion had begun to make again when an admin gave up on it: key → n8n id."""
    return {key: row.workflow_id for operation in work.operations.rollbacks_of([promotion])
            for row in work.journal.of_operation(operation.id)
            if row.action == WriteAction.CREATE and row.state == "abandoned" and row.workflow_id and (key := key_of(row))}


def _state(there: Row[Any]) -> RuntimeState:
    return RuntimeState(there.live_hash, there.draft_hash, there.active, there.archived)


def _load(work: UnitOfWork, digests: Collection[str | None]) -> dict[str, Content]:
    return {digest: decode_content(body) for digest, body in work.payloads.load(
        digest for digest in digests if digest).items()}


def _alive(found: Mapping[str, Row[Any]]) -> dict[str, Row[Any]]:
    """What is there in n8n, also if WorkflowOps does not care for it any more."""
    return {workflow_id: row for workflow_id, row in found.items() if row.missing_at is None}


def _renewed(work: UnitOfWork, environment: Row[Any], gone: Collection[str], rows: Sequence[Row[Any]]) -> dict[str, str]:
    """Which of the workflows that are gone were made again: their id, and the one that their canonical workflow has here
    now."""
    canonical_ids = {row.workflow_id: row.canonical_id for row in rows if row.canonical_id is not None}
    missing = [workflow_id for workflow_id in gone if workflow_id not in canonical_ids]
    canonical_ids |= work.journal.canonical_ids(environment.id, missing)
    found = {}
    for workflow_id in gone & canonical_ids.keys():
        for other in work.mappings.of_canonical(canonical_ids[workflow_id]):
            if other.environment_id == environment.id and other.status == MappingStatus.LINKED and (
                    other.missing_at is None):
                found[workflow_id] = other.workflow_id
    return found


def _with_late_calls(writes: Sequence[WantedWorkflow]) -> Iterator[WantedWorkflow]:
    """Which of them call others that come after them, and that do not run now: they may call each other."""
    for place, item in enumerate(writes):
        calls = {called_workflow(node) for node in item.live["nodes"]} if item.live is not None and item.active else set()
        late = [other.key for other in writes[place + 1:] if other.key is not None and other.workflow_id in calls
                and other.active and other.before is not None and not other.before.active]
        yield replace(item, late=tuple(late)) if late else item


def _callers_left(work: UnitOfWork, environment: Row[Any], writes: Sequence[WantedWorkflow], gone: Collection[str]) -> (
        dict[str, tuple[str, ...]]):
    """Of the ids that are gone afterwards, those that others call still, with the names of these."""
    if not gone:
        return {}
    written = {item.workflow_id for item in writes}
    held = [row for row in work.mappings.of_environment(environment.id)
            if row.missing_at is None and not row.archived and row.workflow_id not in written]
    bodies = work.payloads.load({row.live_digest for row in held})
    marks = [workflow_id.encode() for workflow_id in gone]
    staying = [(row.name, decode_content(bodies[row.live_digest])) for row in held
               if any(mark in bodies[row.live_digest] for mark in marks)]
    staying += [(item.name, item.live) for item in writes if item.live is not None and not item.archived]
    found: dict[str, list[str]] = {}
    for name, content in staying:
        for workflow_id in needed_workflows(content) & set(gone):
            found.setdefault(workflow_id, []).append(name)
    return {workflow_id: tuple(sorted(names)) for workflow_id, names in found.items()}
