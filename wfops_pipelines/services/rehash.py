"""Re-hashing from stored payloads after a change of the normaliser or of the credential table (§4.6).

Every side of an environment together, without a call to n8n or Git; it reports no drift by itself, because both sides
are hashed anew by the same rules.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.normalize import NORMALIZER_VERSION
from wfops_pipelines.domain.workflow import decode_content
from wfops_pipelines.services.hashing import credential_keys, hash_all
from wfops_pipelines.services.operations import RunningOperation
from wfops_pipelines.store.unit_of_work import UnitOfWork

_BATCH = 100


def rehash_environment(operation: RunningOperation, other: Row[Any] | None = None) -> int:
    """Bring the hashes of the operation's environment (or of an ``other`` of the tenant, for a comparison with it) to the
    current version; returns how many rows were behind.

    Resumable: a row that was done carries the current version and is not looked at again.
    """
    store, context, environment = operation.services.store, operation.context, other or operation.environment
    with store.read(context) as work:
        mappings = work.mappings.behind(environment.id, NORMALIZER_VERSION)
        states = work.git_states.behind(environment.id, NORMALIZER_VERSION)
    behind: list[tuple[str, Any]] = [("mapping", m) for m in mappings] + [("state", s) for s in states]
    for start in range(0, len(behind), _BATCH):
        batch = behind[start:start + _BATCH]
        with store.unit_of_work(context, "rehash.batch", held=operation.held) as work:
            _rehash(work, operation, environment, batch)
            work.record("environment.rehashed", "environment", environment.slug, environment=environment.slug,
                        rows=len(batch), version=NORMALIZER_VERSION)
    return len(behind)


def _rehash(work: UnitOfWork, operation: RunningOperation, environment: Row[Any],
            batch: list[tuple[str, Any]]) -> None:
    keys = credential_keys(work, environment.id)
    digests = {d for kind, row in batch
               for d in ((row.live_digest, row.draft_digest) if kind == "mapping" else (row.digest,))}
    contents = {digest: decode_content(body) for digest, body in work.payloads.load(digests).items()}
    for kind, row in batch:
        if kind == "mapping":
            pair = {"live": (row.workflow_id, contents[row.live_digest]),
                    "draft": (row.workflow_id, contents[row.draft_digest])}
            fresh = hash_all(work, environment.id, pair, keys)
            live = fresh["live"]
            in_sync = live.portable_hash if row.in_sync_hash == row.portable_hash else None
            work.mappings.change(
                row.id, live_hash=live.content_hash, draft_hash=fresh["draft"].content_hash,
                portable_hash=live.portable_hash, has_references=live.has_references, in_sync_hash=in_sync,
                normalizer_version=NORMALIZER_VERSION)
        else:
            fresh = hash_all(work, environment.id, {"file": (row.workflow_id, contents[row.digest])}, keys)
            file = fresh["file"]
            work.git_states.set(environment.id, row.path, content_hash=file.content_hash,
                                portable_hash=file.portable_hash, has_references=file.has_references,
                                normalizer_version=NORMALIZER_VERSION)
            if row.deleted_at is None:
                work.mappings.register([(file.portable_hash, file.proof, row.canonical_id)], NORMALIZER_VERSION,
                                       operation.context.now())
