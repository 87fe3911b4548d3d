"""Auto-linking untracked workflows to canonical ones (§5.2), in whichever transaction needs it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.mapping import LinkDecision, MappingStatus, UnlinkedReason, decide_link
from wfops_pipelines.domain.normalize import NORMALIZER_VERSION
from wfops_pipelines.domain.references import references
from wfops_pipelines.domain.workflow import decode_content
from wfops_pipelines.services.hashing import Hashed, Prehashed, credential_keys, hash_all, resolve
from wfops_pipelines.services.operations import RunningOperation
from wfops_pipelines.store.unit_of_work import UnitOfWork

_BATCH = 200


@dataclass(frozen=True, slots=True)
class Candidate:
    """An untracked workflow that might be a canonical one."""

    workflow_id: str
    name: str
    hashed: Hashed


def decide_links(work: UnitOfWork, environment_id: UUID, candidates: list[Candidate],
                 claimed: Collection[UUID] = (), *, lock: bool = False, listed: bool = False) -> dict[str, LinkDecision]:
    """A decision per n8n id. Two candidates for one canonical workflow: the first in the order given has it.

    ``claimed`` are canonical workflows that other workflows get in the same transaction. ``lock``, for whoever writes the
    decisions, keeps the canonical workflows from being deleted until then. ``listed`` says that all of the environment's
    workflows are known: until then no hash takes what is another one's if that one is there (:func:`_awaited`).
    """
    files = work.git_states.by_workflow(environment_id, [c.workflow_id for c in candidates])
    registered = work.mappings.registered([c.hashed.portable_hash for c in candidates], NORMALIZER_VERSION)
    claimed_by_file = {state.canonical_id for states in files.values() if len(states) == 1 for state in states}
    named = claimed_by_file | {row.canonical_id for rows in registered.values() for row in rows}
    taken = work.mappings.canonical_ids_mapped(environment_id, named) | set(claimed)
    deleted = {i for i, row in work.mappings.canonicals(named, lock=lock).items() if row.deleted_at is not None}
    awaited = _awaited(work, environment_id, {row.canonical_id for rows in registered.values() for row in rows} - taken,
                       listed=listed)
    decisions: dict[str, LinkDecision] = {}
    # A file that names the n8n id decides first, so that no hash takes its canonical workflow away.
    for candidate in sorted(candidates, key=lambda c: c.workflow_id not in files):
        states = files.get(candidate.workflow_id, [])
        rows = registered.get(candidate.hashed.portable_hash, [])
        decision = decide_link(
            file_canonical_id=states[0].canonical_id if len(states) == 1 else None,
            registry_candidates={row.canonical_id for row in rows},
            deleted_canonical_ids=deleted,
            canonical_ids_mapped_here=taken,
            collision=any(row.proof != candidate.hashed.proof for row in rows),
        )
        if decision.by == "hash" and awaited.get(decision.canonical_id, set()) - {candidate.workflow_id}:
            decision = LinkDecision(None, UnlinkedReason.ALREADY_MAPPED, None)
        decisions[candidate.workflow_id] = decision
        if decision.canonical_id is not None:
            taken.add(decision.canonical_id)
    return decisions


def _awaited(work: UnitOfWork, environment_id: UUID, canonical_ids: Collection[UUID], *,
             listed: bool) -> dict[UUID | None, set[str]]:
    """Who comes before any hash, by canonical workflow: the workflow that its file here names (§5.2) and that is not put
    aside or another one; and until all are ``listed`` also one that may be new, or may come back as what it was (§5.5)."""
    naming = work.git_states.naming_of(environment_id, canonical_ids)
    several = {i for i, states in work.git_states.by_workflow(environment_id, list(naming)).items() if len(states) > 1}
    known = work.mappings.by_workflow(environment_id, list(naming))
    awaited: dict[UUID | None, set[str]] = {}
    for workflow_id in set(naming) - several:
        row = known.get(workflow_id)
        there = row is not None and row.status == MappingStatus.UNTRACKED and row.unlinked_reason != UnlinkedReason.BY_HAND
        unknown = row is None or row.status == MappingStatus.MISSING
        if there or (unknown and not listed):
            awaited.setdefault(naming[workflow_id], set()).add(workflow_id)
    if not listed:
        for canonical_id, workflow_id in work.mappings.missing_of(environment_id, canonical_ids):
            awaited.setdefault(canonical_id, set()).add(workflow_id)
    return awaited


def record_decision(work: UnitOfWork, environment: str, candidate: Candidate, decision: LinkDecision) -> None:
    """The audit event of a link, or of a collision; an unlinked workflow is no event."""
    if decision.canonical_id is not None:
        work.record("mapping.linked", "workflow", candidate.workflow_id, environment=environment,
                    after=candidate.hashed.content_hash, name=candidate.name,
                    canonical_id=str(decision.canonical_id), by=decision.by)
    elif decision.reason == "collision":
        work.record("hash.collision", "workflow", candidate.workflow_id, environment=environment,
                    after=candidate.hashed.content_hash, name=candidate.name,
                    portable_hash=candidate.hashed.portable_hash)


def link_untracked(operation: RunningOperation) -> int:
    """Try every untracked workflow of the environment again, until nothing more links (§5.2); returns how many did.

    Each link can make a reference of another workflow known, and with it its portable hash, hence the rounds.
    """
    store, context, environment = operation.services.store, operation.context, operation.environment
    linked = 0
    while True:
        with store.read(context) as work:
            mappings = work.mappings.with_references(environment.id)
            states = work.git_states.with_references(environment.id)
            untracked = work.mappings.link_candidates(environment.id, NORMALIZER_VERSION)
        if mappings or states:
            _refresh_portable_hashes(operation, mappings, states)
            with store.read(context) as work:
                untracked = work.mappings.link_candidates(environment.id, NORMALIZER_VERSION)
        in_this_round = _link_round(operation, [row for row in untracked if row.unlinked_reason != UnlinkedReason.BY_HAND])
        linked += in_this_round
        if not in_this_round:
            return linked


def _link_round(operation: RunningOperation, untracked: list[Row[Any]]) -> int:
    store, context, environment = operation.services.store, operation.context, operation.environment
    linked = 0
    for start in range(0, len(untracked), _BATCH):
        rows = untracked[start:start + _BATCH]
        with store.bookkeeping(context, "link.batch", held=operation.held) as work:
            proofs = _proofs(work, environment.id, rows)
            candidates = [Candidate(row.workflow_id, row.name, proofs[row.workflow_id]) for row in rows]
            decisions = decide_links(work, environment.id, candidates, lock=True, listed=True)
            by_id = {row.workflow_id: row for row in rows}
            for candidate in candidates:
                decision, row = decisions[candidate.workflow_id], by_id[candidate.workflow_id]
                if decision.canonical_id is not None:
                    work.mappings.change(row.id, canonical_id=decision.canonical_id, status=MappingStatus.LINKED,
                                      unlinked_reason=None)
                    record_decision(work, environment.slug, candidate, decision)
                    linked += 1
                elif decision.reason != row.unlinked_reason:
                    work.mappings.change(row.id, unlinked_reason=decision.reason)
                    record_decision(work, environment.slug, candidate, decision)
            if linked and not environment.ever_mapped:
                work.fleet.set_environment(environment.id, ever_mapped=True)
    return linked


def _proofs(work: UnitOfWork, environment_id: UUID, rows: list[Row[Any]]) -> dict[str, Hashed]:
    """Hashes of stored live contents. The proof is not stored: it is made again where a candidate is looked up."""
    contents = work.payloads.load(row.live_digest for row in rows)
    return hash_all(work, environment_id, {
        row.workflow_id: (row.workflow_id, decode_content(contents[row.live_digest])) for row in rows
    }, credential_keys(work, environment_id))


def _refresh_portable_hashes(operation: RunningOperation, mappings: list[Row[Any]], states: list[Row[Any]]) -> None:
    """Recompute portable hashes of workflows and files with references, now that more of those may be known."""
    store, context = operation.services.store, operation.context
    for start in range(0, max(len(mappings), len(states)), _BATCH):
        with store.bookkeeping(context, "link.refresh", held=operation.held) as work:
            _refresh_batch(work, operation, mappings[start:start + _BATCH], states[start:start + _BATCH])


def _refresh_batch(work: UnitOfWork, operation: RunningOperation, mappings: list[Row[Any]],
                   states: list[Row[Any]]) -> None:
    environment_id = operation.environment.id
    contents = work.payloads.load([m.live_digest for m in mappings] + [s.digest for s in states])
    fresh = resolve(work, environment_id, {
        **{f"m{m.workflow_id}": (m.workflow_id, _known(contents[m.live_digest], m.live_hash)) for m in mappings},
        **{f"s{s.path}": (s.workflow_id or s.overruled_workflow_id, _known(contents[s.digest], s.content_hash))
           for s in states},
    }, credential_keys(work, environment_id))
    for mapping in mappings:
        portable = fresh[f"m{mapping.workflow_id}"].portable_hash
        if portable != mapping.portable_hash:
            in_sync = portable if mapping.in_sync_hash == mapping.portable_hash else mapping.in_sync_hash
            work.mappings.change(mapping.id, portable_hash=portable, in_sync_hash=in_sync)
    moved = [(fresh[f"s{s.path}"], s) for s in states if fresh[f"s{s.path}"].portable_hash != s.portable_hash]
    for hashes, state in moved:
        work.git_states.set(environment_id, state.path, portable_hash=hashes.portable_hash)
    work.mappings.register([(hashes.portable_hash, hashes.proof, state.canonical_id) for hashes, state in moved],
                           NORMALIZER_VERSION, operation.context.now())


def _known(body: bytes, content_hash: str) -> Prehashed:
    """A stored content with references: only what they mean is to be found out, its own hash stands beside it."""
    content = decode_content(body)
    return Prehashed(content, references(content), content_hash, proof="")
