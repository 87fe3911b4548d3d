"""Digests and hashes of one environment's contents: what is stored beside each workflow and file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from wfops_pipelines.domain.normalize import canonical_bytes
from wfops_pipelines.domain.references import References, portable_bytes, references
from wfops_pipelines.domain.workflow import Content, digest, encode_content
from wfops_pipelines.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class Hashed:
    """The hashes of one content. ``proof`` is a second, independent hash of the portable bytes (§4.9)."""

    content_hash: str
    portable_hash: str
    proof: str
    has_references: bool


@dataclass(frozen=True, slots=True)
class Encoded:
    """A content as it is stored."""

    content: Content
    body: bytes
    digest: str


def encoded(content: Content) -> Encoded:
    """Encode for storage."""
    body = encode_content(content)
    return Encoded(content, body, digest(body))


@dataclass(frozen=True, slots=True)
class Prehashed:
    """What a content says by itself: all of the hashing that needs no look-up, and nearly all of its cost."""

    content: Content
    references: References
    content_hash: str
    proof: str


def prehashed(content: Content) -> Prehashed:
    """Hash a content as it is; :class:`MalformedWorkflow` when it cannot be normalised."""
    concrete = canonical_bytes(content)
    return Prehashed(content, references(content), hashlib.sha256(concrete).hexdigest(), _proof(concrete))


def _proof(portable: bytes) -> str:
    return hashlib.blake2b(portable, digest_size=16).hexdigest()


def _hashed(item: Prehashed, *, self_id: str | None, canonical_id_of: Mapping[str, str],
            credential_key_of: Mapping[tuple[str, str], str]) -> Hashed:
    """All hashes of a content, given what its references mean."""
    portable_hash, proof, referred = item.content_hash, item.proof, item.references
    if referred.workflow_ids or any(credential in credential_key_of for credential in referred.credentials):
        portable = portable_bytes(item.content, self_id=self_id, canonical_id_of=canonical_id_of,
                                  credential_key_of=credential_key_of)
        portable_hash, proof = hashlib.sha256(portable).hexdigest(), _proof(portable)
    return Hashed(item.content_hash, portable_hash, proof, has_references=bool(referred.workflow_ids - {self_id}))


def credential_keys(work: UnitOfWork, environment_id: UUID) -> dict[tuple[str, str], str]:
    """(type, name) → logical key, as the environment's column of the credential table says (§11.4)."""
    return {
        (row.type, row.name): row.key for row in work.fleet.credentials() if row.environment_id == environment_id
    }


def hash_all(work: UnitOfWork, environment_id: UUID, contents: Mapping[str, tuple[str | None, Content]],
             keys: Mapping[tuple[str, str], str]) -> dict[str, Hashed]:
    """Hashes by the caller's own key; each content comes with the n8n id it has in this environment, if any."""
    return resolve(work, environment_id, {key: (own_id, prehashed(content)) for key, (own_id, content) in contents.items()},
                   keys)


def resolve(work: UnitOfWork, environment_id: UUID, items: Mapping[str, tuple[str | None, Prehashed]],
            keys: Mapping[tuple[str, str], str]) -> dict[str, Hashed]:
    """As :func:`hash_all`, of contents that are hashed already but for what their references mean here."""
    wanted: set[str] = set().union(*(item.references.workflow_ids for _, item in items.values()))
    canonical = work.mappings.canonical_ids_of(environment_id, wanted)
    # A file's references resolve through the files beside it too: before anything runs, Git alone knows them.
    for workflow_id, states in work.git_states.by_workflow(environment_id, wanted - set(canonical)).items():
        if len(states) == 1:
            canonical[workflow_id] = str(states[0].canonical_id)
    return {key: _hashed(item, self_id=own_id, canonical_id_of=canonical, credential_key_of=keys)
            for key, (own_id, item) in items.items()}


def bodies(items: Iterable[Encoded]) -> dict[str, bytes]:
    """What to store, by digest."""
    return {item.digest: item.body for item in items}
