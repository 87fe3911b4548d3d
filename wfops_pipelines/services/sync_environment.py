"""Environment sync, n8n → database (§6).

A page is fetched while the one before it is hashed, and a batch is hashed while the one before it is written. What is
stored already, by digest, is neither normalised nor written again (§4.8), so a resume after a crash is an ordinary sync
that finds its first part unchanged.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines import failpoints
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import MalformedWorkflow, NotFound
from wfops_pipelines.domain.mapping import LinkDecision, MappingStatus, UnlinkedReason, status_of
from wfops_pipelines.domain.normalize import NORMALIZER_VERSION, content_hash
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.domain.workflow import ListedWorkflow, read_listed
from wfops_pipelines.n8n.provider import JsonObject, WorkflowProvider
from wfops_pipelines.services.environment_sync import MAX_PROBLEMS, EnvironmentSync
from wfops_pipelines.services.hashing import (
    Encoded,
    Hashed,
    Prehashed,
    bodies,
    credential_keys,
    encoded,
    prehashed,
    resolve,
)
from wfops_pipelines.services.holder import monotonic_ms
from wfops_pipelines.services.linking import Candidate, decide_links, link_untracked, record_decision
from wfops_pipelines.services.operations import RunningOperation, run_operation
from wfops_pipelines.services.rehash import is_behind, rehash_environment
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.payloads import Packed, pack
from wfops_pipelines.store.tables.base import storable
from wfops_pipelines.store.unit_of_work import UnitOfWork


async def sync_environment(services: Services, context: Context, environment: Row[Any]) -> EnvironmentSync:
    """Read one environment's workflows into the store, as an operation of its own.

    Raises the ``OutsideError`` tree when n8n cannot be read whole: what was stored until then stays, nothing is marked
    missing. Raises :class:`OperationRunning` when another operation holds the environment.
    """
    async with run_operation(services, context, OperationKind.ENVIRONMENT_SYNC, environment) as operation:
        return await read_environment(operation)


async def read_environment(operation: RunningOperation) -> EnvironmentSync:
    """The sync itself, inside whichever operation holds the environment."""
    started = monotonic_ms()
    provider = await asyncio.to_thread(_begin, operation)
    sync = _Sync(operation)
    try:
        page_size = operation.services.limits.page_size
        async for page in provider.list_workflows(page_size=page_size):
            failpoints.reach("sync.page.received")
            sync.result.received_bytes += page.received_bytes
            sync.result.pages.append(page.known_as)
            await asyncio.to_thread(sync.store_page, page.workflows)
        await asyncio.to_thread(sync.drain)
        await sync.settle_missing(provider)
    finally:
        await asyncio.to_thread(sync.close)
        await provider.aclose()
    await asyncio.to_thread(link_untracked, operation)
    await asyncio.to_thread(sync.finish)
    sync.result.duration_ms = round(monotonic_ms() - started)
    operation.metrics.update(sync.result.as_json())
    return sync.result


def _begin(operation: RunningOperation) -> WorkflowProvider:
    """A client for n8n, after what is stored was hashed by today's rules."""
    with operation.services.store.read(operation.context) as work:
        behind = is_behind(work, operation.environment)
        provider = operation.services.provider_within(work, operation.environment)
    if behind:
        rehash_environment(operation)
    return provider


@dataclass(frozen=True, slots=True)
class _Item:
    listed: ListedWorkflow
    draft: Encoded
    live: Encoded
    row: Row[Any] | None  # what the store holds; for comparing, only what the last sync saw


@dataclass(frozen=True, slots=True)
class _Prepared:
    """An item that is ready to be written but for what only a transaction can tell."""

    item: _Item
    live: Prehashed
    draft_hash: str
    packed: dict[str, Packed]


class _Sync:
    """The state of one listing: who was seen, what was counted."""

    def __init__(self, operation: RunningOperation) -> None:
        self.operation = operation
        self.result = EnvironmentSync(operation.environment.slug, str(operation.id), resumed=operation.attempt > 1)
        self._seen: set[str] = set()
        self._kinds: Counter[str] = Counter()
        self._since = operation.context.now()
        self._batches = 0
        self._waiting: list[ListedWorkflow] = []
        # Whether there was anything to link with. What comes to be meanwhile is linked in the end (``link_untracked``).
        self._linkable: bool | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="sync-writer")
        self._writing: Future[None] | None = None

    # -- storing -----------------------------------------------------------------------------------------------------

    def store_page(self, workflows: Sequence[JsonObject]) -> None:
        """Store one page: unchanged workflows cost a look-up per page, changed ones go in batches.

        The last batch may still be on its way when this returns: see :meth:`drain`."""
        self._store([workflow for raw in workflows if (workflow := self._read(raw)) is not None])

    def store_waiting(self) -> None:
        """Store what waited until it was known who is gone."""
        waiting, self._waiting = self._waiting, []
        self._store(waiting, last=True)

    def _store(self, listed: list[ListedWorkflow], *, last: bool = False) -> None:
        environment = self.operation.environment
        with self.operation.services.store.read(self.operation.context) as work:
            rows = work.mappings.as_synced(environment.id, [workflow.id for workflow in listed])
            waiting = set() if last else self._to_wait(work, rows)
        self._waiting += [workflow for workflow in listed if workflow.id in waiting]
        changed: list[_Item] = []
        for workflow in listed:
            if workflow.id in waiting:
                continue
            draft = encoded(workflow.draft)
            live = draft if workflow.live is workflow.draft else encoded(workflow.live)
            item = _Item(workflow, draft, live, rows.get(workflow.id))
            if _is_unchanged(item):
                self.result.unchanged += 1
            else:
                changed.append(item)
        size = self.operation.services.limits.batch_size
        for start in range(0, len(changed), size):
            prepared = self._prepare(changed[start:start + size])
            self.drain()
            self._writing = self._writer.submit(self._store_batch, prepared)

    def _to_wait(self, work: UnitOfWork, rows: Mapping[str, Row[Any]]) -> set[str]:
        """Workflows that come back while another one is what they were, and nobody knows yet whether that one is still
        there: if it is gone, they are what they were (§5.5)."""
        back = {i: row.canonical_id for i, row in rows.items()
                if row.status == MappingStatus.MISSING and row.canonical_id is not None}
        holders = work.mappings.holders_of(self.operation.environment.id, set(back.values()))
        return {i for i, canonical_id in back.items() if holders.get(canonical_id, i) not in self._seen}

    def drain(self) -> None:
        """Wait until the batch that is being written is stored; raises what stood in its way."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """End the writer, after the batch that it has begun."""
        self._writer.shutdown()

    def _prepare(self, items: list[_Item]) -> list[_Prepared]:
        """Hash and pack what changed; one malformed workflow does not stop the others."""
        prepared = []
        for item in items:
            try:
                live = prehashed(item.live.content)
                draft_hash = live.content_hash if item.draft is item.live else content_hash(item.draft.content)
            except MalformedWorkflow as error:
                self._problem(item.listed.id, error)
            else:
                packed = {digest: pack(body) for digest, body in bodies([item.draft, item.live]).items()}
                prepared.append(_Prepared(item, live, draft_hash, packed))
        return prepared

    def _read(self, raw: JsonObject) -> ListedWorkflow | None:
        """A workflow of the listing; none when it is malformed (recorded) or was seen on an earlier page already."""
        workflow_id = _id_of(raw)
        if workflow_id in self._seen:
            return None  # offset pages shift while people work
        if workflow_id:
            self._seen.add(workflow_id)  # also when malformed: it is there, it is not missing
        self.result.seen += 1
        try:
            listed = read_listed(raw)
            if storable(listed.id) != listed.id:
                raise MalformedWorkflow(f"workflow {storable(listed.id)}: its id holds characters that cannot be stored",
                                        fix="import it again under another id")
        except MalformedWorkflow as error:
            self._problem(storable(workflow_id), error)
            return None
        return listed

    def _problem(self, workflow_id: str, error: MalformedWorkflow) -> None:
        self.result.errors += 1
        self._kinds[error.kind] += 1
        if len(self.result.problems) < MAX_PROBLEMS:
            self.result.problems.append({"workflow_id": workflow_id, "kind": error.kind, "message": error.message})

    def _store_batch(self, prepared: list[_Prepared]) -> None:
        """One transaction: payloads, mappings, links, audit events and the checkpoint (§6).

        It waits for no disk: what a crash of the database takes back is found in n8n again, and the end of the operation
        waits for all of it.
        """
        operation, store = self.operation, self.operation.services.store
        if not prepared:
            return
        by_id = {one.item.listed.id: one for one in prepared}
        with store.unit_of_work(operation.context, "sync.batch", held=operation.held, flush=False) as work:
            # As they are by now. No row can have come: under the lease, this sync alone makes them.
            known = [i for i, one in by_id.items() if one.item.row is not None]
            rows = work.mappings.by_workflow(operation.environment.id, known, lock=True)
            hashes = resolve(work, operation.environment.id, {i: (i, one.live) for i, one in by_id.items()},
                             credential_keys(work, operation.environment.id))
            items = [replace(one.item, row=rows.get(i)) for i, one in by_id.items()]
            candidates = [Candidate(item.listed.id, item.listed.name, hashes[item.listed.id]) for item in items
                          if _may_be_linked(item.row)]
            returned, taken = self._returned(work, items)
            decisions = self._decide(work, candidates, returned) | taken
            work.payloads.save_packed({digest: body for one in prepared for digest, body in one.packed.items()})
            work.mappings.save([self._row(item, hashes[item.listed.id], by_id[item.listed.id].draft_hash,
                                          decisions.get(item.listed.id)) for item in items])
            for candidate in candidates:
                record_decision(work, operation.environment.slug, candidate, decisions[candidate.workflow_id])
            created = [item.listed.id for item in items if item.row is None]
            updated = [item.listed.id for item in items if item.row is not None]
            work.record("environment.batch_synced", "environment", operation.environment.slug,
                        environment=operation.environment.slug, created=created, updated=updated)
            self._batches += 1
            operation.save_checkpoint(work, {"batches": self._batches, "created": self.result.created + len(created),
                                             "updated": self.result.updated + len(updated)})
        self.result.created += len(created)
        self.result.updated += len(updated)

    def _decide(self, work: UnitOfWork, candidates: list[Candidate], claimed: set[UUID]) -> dict[str, LinkDecision]:
        if candidates and self._linkable is None:
            self._linkable = (work.mappings.has_registered(NORMALIZER_VERSION)
                              or work.git_states.has_any(self.operation.environment.id))
        if self._linkable:
            return decide_links(work, self.operation.environment.id, candidates, claimed=claimed, lock=True)
        return {candidate.workflow_id: LinkDecision(None, UnlinkedReason.NO_MATCH, None) for candidate in candidates}

    def _returned(self, work: UnitOfWork, items: list[_Item]) -> tuple[set[UUID], dict[str, LinkDecision]]:
        """Workflows that were missing and come back (§5.5): the canonical workflows they are again, and a decision for
        each that finds its own mapped to another one meanwhile."""
        back = {i.listed.id: i.row.canonical_id for i in items
                if i.row is not None and i.row.status == MappingStatus.MISSING and i.row.canonical_id is not None}
        taken = work.mappings.canonical_ids_mapped(self.operation.environment.id, set(back.values()))
        returned: set[UUID] = set()
        decisions: dict[str, LinkDecision] = {}
        for workflow_id, canonical_id in back.items():
            if canonical_id in taken | returned:
                decisions[workflow_id] = LinkDecision(None, UnlinkedReason.ALREADY_MAPPED, None)
            else:
                returned.add(canonical_id)
        return returned, decisions

    def _row(self, item: _Item, live: Hashed, draft_hash: str, decision: LinkDecision | None) -> dict[str, Any]:
        listed, row, now = item.listed, item.row, self.operation.context.now()
        canonical_id = row.canonical_id if row is not None else None
        reason = row.unlinked_reason if row is not None else None
        if decision is not None:
            canonical_id, reason = decision.canonical_id, decision.reason
        ignored_at = row.ignored_at if row is not None else None
        deleted_at = row.deleted_at if row is not None else None
        status = status_of(deleted=deleted_at is not None, ignored=ignored_at is not None, missing=False,
                           canonical_id=canonical_id)
        return {
            "id": row.id if row is not None else self.operation.context.new_id(),
            "environment_id": self.operation.environment.id, "workflow_id": listed.id,
            "canonical_id": canonical_id, "status": status,
            "unlinked_reason": reason,
            "name": listed.name, "active": listed.active, "archived": listed.archived, "tags": list(listed.tags),
            "draft_digest": item.draft.digest, "live_digest": item.live.digest,
            "draft_hash": draft_hash, "live_hash": live.content_hash, "portable_hash": live.portable_hash,
            "normalizer_version": NORMALIZER_VERSION, "has_references": live.has_references,
            "in_sync_hash": row.in_sync_hash if row is not None else None,
            "source_updated_at": listed.updated_at, "changed_at": now,
            "first_seen_at": row.first_seen_at if row is not None else now,
            "missing_at": None, "ignored_at": ignored_at, "deleted_at": deleted_at,
        }

    # -- what vanished, and the end ----------------------------------------------------------------------------------

    async def settle_missing(self, provider: WorkflowProvider) -> None:
        """After one complete listing: what it did not show is asked for by id; gone ones become missing (§5.5), ones that
        a shifting page hid are stored."""
        with self.operation.services.store.read(self.operation.context) as work:
            absent = sorted(work.mappings.workflow_ids(self.operation.environment.id) - self._seen)
        size = self.operation.services.limits.batch_size
        for start in range(0, len(absent), size):
            answers = await asyncio.gather(*(_find(provider, i) for i in absent[start:start + size]))
            found = [raw for raw in answers if isinstance(raw, dict)]
            gone = [i for i, raw in zip(absent[start:start + size], answers, strict=True) if raw is None]
            if found:
                await asyncio.to_thread(self.store_page, found)
            if gone:
                await asyncio.to_thread(self._mark_missing, gone)
        await asyncio.to_thread(self.drain)
        if self._waiting:
            await asyncio.to_thread(self.store_waiting)
            await asyncio.to_thread(self.drain)

    def _mark_missing(self, workflow_ids: list[str]) -> None:
        operation, now = self.operation, self.operation.context.now()
        with operation.services.store.unit_of_work(operation.context, "sync.missing", held=operation.held) as work:
            for row in work.mappings.by_workflow(operation.environment.id, workflow_ids, lock=True).values():
                status = status_of(deleted=row.deleted_at is not None, ignored=row.ignored_at is not None, missing=True,
                                   canonical_id=row.canonical_id)
                work.mappings.change(row.id, missing_at=now, status=status)
                work.record("mapping.missing", "workflow", row.workflow_id, environment=operation.environment.slug,
                            before=row.live_hash, name=row.name)

    def finish(self) -> None:
        """The counts as they stand, and when the environment was last seen whole."""
        operation, environment = self.operation, self.operation.environment
        with operation.services.store.bookkeeping(operation.context, "sync.finish", held=operation.held) as work:
            counts = work.mappings.counts(environment.id)
            if counts.get(MappingStatus.MISSING):
                self.result.missing = work.mappings.missed(environment.id, self._since)
            now = operation.context.now()
            values: dict[str, Any] = {"last_sync_at": now, "last_heartbeat_at": now}
            if counts.get(MappingStatus.LINKED, 0) and not environment.ever_mapped:
                values["ever_mapped"] = True
            work.fleet.set_environment(environment.id, **values)
        self.result.linked = counts.get(MappingStatus.LINKED, 0)
        self.result.untracked = counts.get(MappingStatus.UNTRACKED, 0)
        self.result.ignored = counts.get(MappingStatus.IGNORED, 0)
        self.result.errors_by_kind = dict(self._kinds)


def _is_unchanged(item: _Item) -> bool:
    row, listed = item.row, item.listed
    return row is not None and (
        row.draft_digest == item.draft.digest and row.live_digest == item.live.digest and row.active == listed.active
        and row.archived == listed.archived and row.tags == [storable(tag) for tag in listed.tags]
        and row.missing_at is None and row.normalizer_version == NORMALIZER_VERSION
    )


def _may_be_linked(row: Row[Any] | None) -> bool:
    """Whether auto-linking has a say: a new workflow, or one that has no canonical workflow and that nobody put aside."""
    return row is None or (row.canonical_id is None and row.ignored_at is None and row.deleted_at is None
                           and row.unlinked_reason != UnlinkedReason.BY_HAND)


def _id_of(raw: Any) -> str:
    """The n8n id of an entry of the listing, or nothing."""
    found = raw.get("id") if isinstance(raw, dict) else None
    return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""


async def _find(provider: WorkflowProvider, workflow_id: str) -> JsonObject | None:
    try:
        return await provider.get_workflow(workflow_id)
    except NotFound:
        return None
