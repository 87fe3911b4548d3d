"""Workflows that might be a canonical one that there is already, and for which nobody has said which (§5.2, §5.3).

To write such a workflow as a new canonical one decides the question by accident: what was one workflow in two
environments is two from then on. An export therefore leaves them out and says how to decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.mapping import MappingStatus, UnlinkedReason
from wfops_pipelines.domain.normalize import NORMALIZER_VERSION
from wfops_pipelines.domain.workflow import decode_content
from wfops_pipelines.services.hashing import credential_keys, hash_all
from wfops_pipelines.services.linking import Candidate, decide_links
from wfops_pipelines.store.unit_of_work import UnitOfWork

UNDECIDED: Final = (UnlinkedReason.AMBIGUOUS, UnlinkedReason.ALREADY_MAPPED, UnlinkedReason.COLLISION)
_SAID: Final = {
    UnlinkedReason.AMBIGUOUS: "it might be any of several canonical workflows",
    UnlinkedReason.ALREADY_MAPPED: "the canonical workflow that it looks like is another workflow here",
    UnlinkedReason.COLLISION: "it has the hash of a canonical workflow with another content",
}


@dataclass(frozen=True, slots=True)
class AmbiguousWorkflow:
    """``candidates`` are the canonical workflows it might be, each with the n8n workflow that is it here (``held_by``),
    if there is one."""

    workflow_id: str
    name: str
    reason: UnlinkedReason
    candidates: tuple[Mapping[str, str | None], ...]
    message: str
    fix: str

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {"workflow_id": self.workflow_id, "name": self.name, "reason": str(self.reason), "message": self.message,
                "candidates": [dict(candidate) for candidate in self.candidates], "fix": self.fix}


def ambiguous_workflows(work: UnitOfWork, tenant: str, environment: Row[Any],
                        mappings: Iterable[Row[Any]]) -> list[AmbiguousWorkflow]:
    """Which of an environment's ``mappings`` are ambiguous, asked anew: of what stood in the way when a reason was
    recorded, nothing may be left. Archived workflows are not looked at."""
    mappings = list(mappings)
    several = {state.workflow_id for state in work.git_states.naming_alike(environment.id)}
    rows = [m for m in mappings if m.status == MappingStatus.UNTRACKED and not m.archived and (
        m.unlinked_reason in UNDECIDED or (m.workflow_id in several and m.unlinked_reason != UnlinkedReason.BY_HAND))]
    if not rows:
        return []
    contents = work.payloads.load(row.live_digest for row in rows)
    hashes = hash_all(work, environment.id, {
        row.workflow_id: (row.workflow_id, decode_content(contents[row.live_digest])) for row in rows
    }, credential_keys(work, environment.id))
    decisions = decide_links(work, environment.id,
                             [Candidate(row.workflow_id, row.name, hashes[row.workflow_id]) for row in rows],
                             listed=True)
    registered = work.mappings.registered([h.portable_hash for h in hashes.values()], NORMALIZER_VERSION)
    files = work.git_states.by_workflow(environment.id, list(hashes))
    found = []
    for row in rows:
        decision, arguments = decisions[row.workflow_id], f"{tenant} {environment.slug} {row.workflow_id}"
        if row.workflow_id in several:
            found.append(_of_several_files(work, row, files[row.workflow_id], mappings, arguments))
            continue
        if decision.reason is not None and decision.reason not in UNDECIDED:
            continue  # nothing is like it any more: it is a new one
        named = {state.canonical_id for state in files.get(row.workflow_id, ())} or {
            entry.canonical_id for entry in registered.get(hashes[row.workflow_id].portable_hash, ())}
        reason = UnlinkedReason(decision.reason or row.unlinked_reason)
        found.append(AmbiguousWorkflow(row.workflow_id, row.name, reason, _candidates(work, named, mappings), _SAID[reason],
                                       _fix(arguments, reason, named)))
    return found


def _of_several_files(work: UnitOfWork, row: Row[Any], files: list[Row[Any]], mappings: list[Row[Any]],
                      arguments: str) -> AmbiguousWorkflow:
    paths = sorted(file.path for file in files)
    return AmbiguousWorkflow(
        row.workflow_id, row.name, UnlinkedReason.AMBIGUOUS, _candidates(work, {f.canonical_id for f in files}, mappings),
        f"several files name it: {', '.join(paths)}",
        f"say which file counts: wfops resolve {arguments} --keep git --file {paths[0]}; or leave it out for good: "
        f"wfops ignore {arguments}")


def _candidates(work: UnitOfWork, canonical_ids: set[UUID],
                mappings: list[Row[Any]]) -> tuple[Mapping[str, str | None], ...]:
    holders = {m.canonical_id: m.workflow_id for m in mappings if m.canonical_id in canonical_ids}
    known = work.mappings.canonicals(canonical_ids)
    return tuple({"canonical_id": str(i), "name": known[i].name if i in known else None, "held_by": holders.get(i)}
                 for i in sorted(canonical_ids, key=str))


def _fix(arguments: str, reason: UnlinkedReason, named: set[UUID]) -> str:
    ignore = f"leave it out for good: wfops ignore {arguments}"
    if reason is UnlinkedReason.ALREADY_MAPPED:
        return f"say which of the two it is: wfops resolve {arguments} --keep git|runtime|split; or {ignore}"
    one = str(min(named, key=str)) if len(named) == 1 else "CANONICAL"
    return f"say which one it is: wfops link {arguments} {one}; or {ignore}"
