"""Re-hashing from stored payloads after a change of the normaliser or of the credential table (§4.6).

Every side of an environment together, without a call to n8n or Git; it reports no drift by itself, because both sides
are hashed anew by the same rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.normalize import NORMALIZER_VERSION, content_hash
from wfops_pipelines.domain.workflow import Content, decode_content
from wfops_pipelines.services.hashing import credential_keys, hash_all
from wfops_pipelines.services.operations import RunningOperation
from wfops_pipelines.store.unit_of_work import UnitOfWork

_BATCH = 100


def is_behind(work: UnitOfWork, environment: Row[Any]) -> bool:
    """Whether :func:`rehash_environment` has anything to do."""
    return work.mappings.is_behind(environment.id, NORMALIZER_VERSION)


def rehash_environment(operation: RunningOperation, other: Row[Any] | None = None) -> int:
    """Bring the hashes of the operation's environment (or of an ``other`` of the tenant, for a comparison with it) to the
    current version; returns how many rows were behind.

    Resumable: a row that was done carries the current version and is not looked at again.
    """
    store, context, environment = operation.services.store, operation.context, other or operation.environment
    with store.read(context) as work:
        if not is_behind(work, environment):
            return 0
        mappings = work.mappings.behind(environment.id, NORMALIZER_VERSION)
        states = work.git_states.behind(environment.id, NORMALIZER_VERSION)
    for start in range(0, len(mappings), _BATCH):
        ids = [row.workflow_id for row in mappings[start:start + _BATCH]]
        with _unit_of_work(operation, environment, len(ids)) as work:
            _rehash_mappings(work, environment, list(work.mappings.by_workflow(environment.id, ids, lock=True).values()))
    for start in range(0, len(states), _BATCH):
        batch = states[start:start + _BATCH]
        with _unit_of_work(operation, environment, len(batch)) as work:
            _rehash_states(work, environment, batch, operation.context.now())
    return len(mappings) + len(states)


@contextmanager
def _unit_of_work(operation: RunningOperation, environment: Row[Any], rows: int) -> Iterator[UnitOfWork]:
    """One batch. Another environment's rows belong to whoever holds that one: its lease row, which each unit of work of
    the holder shares, is locked meanwhile."""
    store, context = operation.services.store, operation.context
    with store.unit_of_work(context, "rehash.batch", held=operation.held) as work:
        if environment.id != operation.environment.id:
            work.leases.lock(environment.id)
        yield work
        work.record("environment.rehashed", "environment", environment.slug, environment=environment.slug, rows=rows,
                    version=NORMALIZER_VERSION)


def _rehash_mappings(work: UnitOfWork, environment: Row[Any], rows: list[Row[Any]]) -> None:
    contents = _contents(work, {d for row in rows for d in (row.live_digest, row.draft_digest)})
    fresh = hash_all(work, environment.id, {
        row.workflow_id: (row.workflow_id, contents[row.live_digest]) for row in rows
    }, credential_keys(work, environment.id))
    for row in rows:
        live = fresh[row.workflow_id]
        in_sync = live.portable_hash if row.in_sync_hash == row.portable_hash else None
        work.mappings.change(
            row.id, live_hash=live.content_hash, draft_hash=content_hash(contents[row.draft_digest]),
            portable_hash=live.portable_hash, has_references=live.has_references, in_sync_hash=in_sync,
            normalizer_version=NORMALIZER_VERSION)


def _rehash_states(work: UnitOfWork, environment: Row[Any], rows: list[Row[Any]], now: datetime) -> None:
    """States are written by the holder of their environment alone: of one that moved on meanwhile, nothing is touched."""
    current = {row.path: row for row in work.git_states.of_environment(environment.id, deleted=True)}
    rows = [row for row in rows if current[row.path].digest == row.digest]
    contents = _contents(work, {row.digest for row in rows})
    fresh = hash_all(work, environment.id, {
        row.path: (row.workflow_id or row.overruled_workflow_id, contents[row.digest]) for row in rows
    }, credential_keys(work, environment.id))
    for row in rows:
        file = fresh[row.path]
        work.git_states.set(environment.id, row.path, content_hash=file.content_hash, portable_hash=file.portable_hash,
                            has_references=file.has_references, normalizer_version=NORMALIZER_VERSION)
    work.mappings.register([(fresh[row.path].portable_hash, fresh[row.path].proof, row.canonical_id)
                            for row in rows if current[row.path].deleted_at is None], NORMALIZER_VERSION, now)


def _contents(work: UnitOfWork, digests: set[str]) -> dict[str, Content]:
    return {digest: decode_content(body) for digest, body in work.payloads.load(digests).items()}
