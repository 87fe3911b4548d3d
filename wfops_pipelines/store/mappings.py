"""Canonical workflows, their mappings into environments, and the hash registry (§5)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, and_, bindparam, exists, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import JSONB

from wfops_pipelines.domain.mapping import MappingStatus, UnlinkedReason
from wfops_pipelines.store.any_of import any_in, any_of
from wfops_pipelines.store.matrix_pages import PageKey, PageRead, read_page
from wfops_pipelines.store.tables.git_states import canonical_workflow_git_state as states
from wfops_pipelines.store.tables.mappings import canonical_workflows, workflow_env_map, workflow_hash_registry
from wfops_pipelines.store.upsert import Upsert

_KEPT = {"tenant_id", "id", "environment_id", "workflow_id", "first_seen_at", "resolved"}
_GIVEN = [c.name for c in workflow_env_map.c if c.computed is None]
_WRITTEN = [name for name in _GIVEN if name not in _KEPT]
_SAVE = Upsert(workflow_env_map, columns=_GIVEN, keys=["tenant_id", "environment_id", "workflow_id"], written=_WRITTEN)
_SAVE_CANONICAL = Upsert(canonical_workflows, columns=["tenant_id", "id", "name", "created_at"], keys=["tenant_id", "id"],
                         written=["name"], unless_equal="name")
_REGISTER = Upsert(workflow_hash_registry)
_BY_WORKFLOW = select(workflow_env_map).where(
    workflow_env_map.c.tenant_id == bindparam("tenant"), workflow_env_map.c.environment_id == bindparam("environment"),
    any_in(workflow_env_map.c.workflow_id, "ids"))
_BY_WORKFLOW_LOCKED = _BY_WORKFLOW.order_by(workflow_env_map.c.id).with_for_update()
_AS_SYNCED = _BY_WORKFLOW.with_only_columns(*(workflow_env_map.c[name] for name in (
    "workflow_id", "draft_digest", "live_digest", "active", "archived", "name", "tags", "missing_at", "normalizer_version",
    "status", "canonical_id")))
_CANONICAL_IDS = _BY_WORKFLOW.with_only_columns(workflow_env_map.c.workflow_id, workflow_env_map.c.canonical_id).where(
    workflow_env_map.c.canonical_id.is_not(None))
_REGISTERED = select(workflow_hash_registry).where(
    workflow_hash_registry.c.tenant_id == bindparam("tenant"), any_in(workflow_hash_registry.c.portable_hash, "hashes"),
    workflow_hash_registry.c.normalizer_version == bindparam("version"))

_IN = (workflow_env_map.c.tenant_id == bindparam("tenant")) & (workflow_env_map.c.environment_id == bindparam("environment"))
_OF_ENVIRONMENT = select(workflow_env_map).where(_IN).order_by(workflow_env_map.c.sort_name, workflow_env_map.c.id)
_OF_STATUSES = _OF_ENVIRONMENT.where(any_in(workflow_env_map.c.status, "statuses"))
_WITH_REFERENCES = select(workflow_env_map).where(_IN, workflow_env_map.c.has_references).order_by(workflow_env_map.c.id)
_PRESENT = select(workflow_env_map.c.workflow_id).where(
    _IN, workflow_env_map.c.missing_at.is_(None), workflow_env_map.c.deleted_at.is_(None))
_COUNTS = select(workflow_env_map.c.status, func.count()).where(_IN).group_by(workflow_env_map.c.status)
_LINK_CANDIDATES = select(workflow_env_map).where(
    _IN, workflow_env_map.c.status == MappingStatus.UNTRACKED,
    or_(exists(select(workflow_hash_registry.c.canonical_id).where(
            workflow_hash_registry.c.tenant_id == bindparam("tenant"),
            workflow_hash_registry.c.portable_hash == workflow_env_map.c.portable_hash,
            workflow_hash_registry.c.normalizer_version == bindparam("version"))),
        exists(select(states.c.path).where(
            states.c.tenant_id == bindparam("tenant"), states.c.environment_id == bindparam("environment"),
            states.c.workflow_id == workflow_env_map.c.workflow_id, states.c.deleted_at.is_(None))),
        workflow_env_map.c.unlinked_reason.not_in([UnlinkedReason.NO_MATCH, UnlinkedReason.BY_HAND])),
).order_by(workflow_env_map.c.sort_name, workflow_env_map.c.id)
_IS_BEHIND = select(or_(
    exists(select(workflow_env_map.c.id).where(_IN, workflow_env_map.c.normalizer_version != bindparam("version"))),
    exists(select(states.c.path).where(
        states.c.tenant_id == bindparam("tenant"), states.c.environment_id == bindparam("environment"),
        states.c.normalizer_version != bindparam("version")))))
_MARK_IN_SYNC = text("""
    UPDATE workflow_env_map AS mapping SET in_sync_hash = seen.hash
    FROM jsonb_to_recordset(:rows) AS seen (id uuid, hash text)
    WHERE mapping.tenant_id = :tenant AND mapping.id = seen.id""").bindparams(bindparam("rows", type_=JSONB))
_DELETED = select(canonical_workflows.c.id).where(
    canonical_workflows.c.tenant_id == bindparam("tenant"), canonical_workflows.c.deleted_at.is_not(None))
_ANY_REGISTERED = select(workflow_hash_registry.c.portable_hash).where(
    workflow_hash_registry.c.tenant_id == bindparam("tenant"),
    workflow_hash_registry.c.normalizer_version == bindparam("version")).limit(1)


class Mappings:
    """A tenant's mappings."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    # -- mappings --------------------------------------------------------------------------------------------------

    def by_workflow(self, environment_id: UUID, workflow_ids: Collection[str], *,
                    lock: bool = False) -> dict[str, Row[Any]]:
        """Mappings of some n8n workflows of an environment, by n8n id. ``lock`` keeps them as they are until the
        transaction ends: for whoever writes whole rows, so that a user's decision in between is not lost."""
        if not workflow_ids:
            return {}
        rows = self._connection.execute(_BY_WORKFLOW_LOCKED if lock else _BY_WORKFLOW, {
            "tenant": self._tenant_id, "environment": environment_id, "ids": list(workflow_ids)})
        return {row.workflow_id: row for row in rows}

    def as_synced(self, environment_id: UUID, workflow_ids: Collection[str]) -> dict[str, Row[Any]]:
        """What the last sync saw of some n8n workflows: the columns that tell whether they changed since."""
        rows = self._connection.execute(_AS_SYNCED, {
            "tenant": self._tenant_id, "environment": environment_id, "ids": list(workflow_ids)})
        return {row.workflow_id: row for row in rows}

    def of_environment(self, environment_id: UUID, *, statuses: Iterable[MappingStatus] | None = None) -> list[Row[Any]]:
        """All mappings of an environment, by name."""
        if statuses is None:
            return list(self._connection.execute(_OF_ENVIRONMENT, self._key(environment_id)))
        return list(self._connection.execute(
            _OF_STATUSES, {**self._key(environment_id), "statuses": [str(status) for status in statuses]}))

    def link_candidates(self, environment_id: UUID, version: int) -> list[Row[Any]]:
        """Untracked workflows that something speaks for: the hash registry, or a file that names their n8n id; and those of
        which something did when their reason was recorded."""
        return list(self._connection.execute(_LINK_CANDIDATES, {**self._key(environment_id), "version": version}))

    def is_behind(self, environment_id: UUID, version: int) -> bool:
        """Whether hashes of mappings or Git states of an environment are of another version of the normaliser."""
        return bool(self._connection.execute(_IS_BEHIND, {**self._key(environment_id), "version": version}).scalar_one())

    def behind(self, environment_id: UUID, version: int) -> list[Row[Any]]:
        """Mappings whose hashes are of another version of the normaliser."""
        return list(self._connection.execute(select(workflow_env_map).where(
            workflow_env_map.c.tenant_id == self._tenant_id, workflow_env_map.c.environment_id == environment_id,
            workflow_env_map.c.normalizer_version != version,
        ).order_by(workflow_env_map.c.id)))

    def with_references(self, environment_id: UUID) -> list[Row[Any]]:
        """Mappings whose portable hash depends on what other workflows are."""
        return list(self._connection.execute(_WITH_REFERENCES, self._key(environment_id)))

    def of_tenant(self) -> list[Row[Any]]:
        """All mappings of the tenant that are not deleted."""
        return list(self._connection.execute(select(workflow_env_map).where(
            workflow_env_map.c.tenant_id == self._tenant_id, workflow_env_map.c.status != MappingStatus.DELETED
        )))

    def matrix_page(self, *, after: PageKey | None, limit: int) -> PageRead:
        """The next rows of the matrix, with all that their cells are made of."""
        return read_page(self._connection, self._tenant_id, after=after, limit=limit)

    def of_canonical(self, canonical_id: UUID) -> list[Row[Any]]:
        """Mappings of a canonical workflow in all environments, deleted ones too."""
        return list(self._connection.execute(select(workflow_env_map).where(
            workflow_env_map.c.tenant_id == self._tenant_id, workflow_env_map.c.canonical_id == canonical_id,
        ).order_by(workflow_env_map.c.environment_id, workflow_env_map.c.workflow_id)))

    def workflow_ids(self, environment_id: UUID) -> set[str]:
        """n8n ids that are live here: neither missing nor deleted."""
        return set(self._connection.execute(_PRESENT, self._key(environment_id)).scalars())

    def save(self, rows: list[dict[str, Any]]) -> None:
        """Insert or update whole rows, by (environment, n8n id), in the order of their ids."""
        if not rows:
            return
        ordered = sorted(rows, key=lambda row: str(row["workflow_id"]))
        _SAVE(self._connection, [{**row, "tenant_id": self._tenant_id} for row in ordered])

    def change(self, mapping_id: UUID, **values: Any) -> None:
        """Change columns of one mapping."""
        self._connection.execute(update(workflow_env_map).where(
            workflow_env_map.c.tenant_id == self._tenant_id, workflow_env_map.c.id == mapping_id
        ).values(**values))

    def forget_hashes(self) -> None:
        """Make every hash of the tenant stale: each environment is hashed anew, from what is stored, before its next use."""
        self._connection.execute(update(workflow_env_map).where(
            workflow_env_map.c.tenant_id == self._tenant_id).values(normalizer_version=0))

    def mark_in_sync(self, hashes: Mapping[UUID, str]) -> None:
        """Remember, per mapping, the portable hash that was last seen equal to Git's (§8)."""
        if hashes:
            self._connection.execute(_MARK_IN_SYNC, {"tenant": self._tenant_id, "rows": [
                {"id": str(mapping_id), "hash": portable} for mapping_id, portable in hashes.items()]})

    def canonical_ids_of(self, environment_id: UUID, workflow_ids: Collection[str]) -> dict[str, str]:
        """Canonical ids by n8n id, for those of the given workflows that are linked: what references resolve to."""
        if not workflow_ids:
            return {}
        rows = self._connection.execute(_CANONICAL_IDS, {
            "tenant": self._tenant_id, "environment": environment_id, "ids": list(workflow_ids)})
        return {row.workflow_id: str(row.canonical_id) for row in rows}

    def canonical_ids_mapped(self, environment_id: UUID, canonical_ids: Collection[UUID]) -> set[UUID]:
        """Which of these canonical workflows have a live mapping in the environment already."""
        return set(self.holders_of(environment_id, canonical_ids))

    def holders_of(self, environment_id: UUID, canonical_ids: Collection[UUID]) -> dict[UUID, str]:
        """The n8n ids that have these canonical workflows in the environment, as far as somebody has."""
        if not canonical_ids:
            return {}
        rows = self._connection.execute(select(workflow_env_map.c.canonical_id, workflow_env_map.c.workflow_id).where(
            workflow_env_map.c.tenant_id == self._tenant_id, workflow_env_map.c.environment_id == environment_id,
            any_of(workflow_env_map.c.canonical_id, canonical_ids),
            workflow_env_map.c.status.in_([MappingStatus.LINKED, MappingStatus.IGNORED, MappingStatus.MISSING]),
            # a missing one keeps its claim only while it may come back as itself
            or_(workflow_env_map.c.missing_at.is_(None), workflow_env_map.c.status == MappingStatus.IGNORED),
        ))
        return {row.canonical_id: row.workflow_id for row in rows}

    def missing_of(self, environment_id: UUID, canonical_ids: Collection[UUID]) -> list[tuple[UUID, str]]:
        """Canonical id and n8n id of workflows that were one of these here, and are missing."""
        if not canonical_ids:
            return []
        rows = self._connection.execute(select(workflow_env_map.c.canonical_id, workflow_env_map.c.workflow_id).where(
            workflow_env_map.c.tenant_id == self._tenant_id, workflow_env_map.c.environment_id == environment_id,
            any_of(workflow_env_map.c.canonical_id, canonical_ids), workflow_env_map.c.status == MappingStatus.MISSING))
        return [(row.canonical_id, row.workflow_id) for row in rows]

    def ever_mapped(self, environment_id: UUID) -> bool:
        """Whether a mapping to a canonical workflow exists here."""
        return self._connection.execute(select(workflow_env_map.c.id).where(
            workflow_env_map.c.tenant_id == self._tenant_id, workflow_env_map.c.environment_id == environment_id,
            workflow_env_map.c.canonical_id.is_not(None),
        ).limit(1)).first() is not None

    def counts(self, environment_id: UUID) -> dict[str, int]:
        """Mappings by status."""
        rows = self._connection.execute(_COUNTS, self._key(environment_id))
        return {str(status): int(count) for status, count in rows}

    def missed(self, environment_id: UUID, since: datetime) -> int:
        """Missing workflows that somebody may still wait for: gone since then; or one that a file of the environment's
        folder stands for; or linked, and neither its file here nor its canonical workflow was taken away (§5.5)."""
        mine, canonical = workflow_env_map.c, canonical_workflows.c
        here = (states.c.tenant_id == self._tenant_id) & (states.c.environment_id == environment_id)
        its_file = select(states.c.path).where(here, states.c.canonical_id == mine.canonical_id)
        naming = select(states.c.path).where(here, states.c.deleted_at.is_(None), states.c.workflow_id == mine.workflow_id)
        ended = select(canonical.id).where(canonical.tenant_id == self._tenant_id, canonical.id == mine.canonical_id,
                                           canonical.deleted_at.is_not(None))
        return self._connection.execute(select(func.count()).select_from(workflow_env_map).where(
            mine.tenant_id == self._tenant_id, mine.environment_id == environment_id,
            mine.status == MappingStatus.MISSING,
            or_(mine.missing_at >= since, exists(naming), exists(its_file.where(states.c.deleted_at.is_(None))),
                and_(mine.canonical_id.is_not(None), ~exists(its_file), ~exists(ended))),
        )).scalar_one()

    # -- canonical workflows ---------------------------------------------------------------------------------------

    def canonicals(self, canonical_ids: Collection[UUID] | None = None, *, lock: bool = False) -> dict[UUID, Row[Any]]:
        """Canonical workflows by id (soft-deleted ones too: look at ``deleted_at``). ``lock`` keeps them from being deleted
        until the transaction ends: for whoever is linking to them."""
        query = select(canonical_workflows).where(canonical_workflows.c.tenant_id == self._tenant_id)
        if canonical_ids is not None:
            if not canonical_ids:
                return {}
            query = query.where(any_of(canonical_workflows.c.id, canonical_ids))
        if lock:
            query = query.order_by(canonical_workflows.c.id).with_for_update(read=True, key_share=True)
        return {row.id: row for row in self._connection.execute(query)}

    def deleted_canonicals(self) -> set[UUID]:
        """The canonical workflows that are soft-deleted."""
        return set(self._connection.execute(_DELETED, {"tenant": self._tenant_id}).scalars())

    def save_canonicals(self, names: Mapping[UUID, str], now: datetime) -> None:
        """Create canonical workflows, or give known ones the name they were last seen with."""
        if not names:
            return
        _SAVE_CANONICAL(self._connection, [
            {"tenant_id": self._tenant_id, "id": id_, "name": name, "created_at": now}
            for id_, name in sorted(names.items(), key=lambda item: str(item[0]))
        ])

    def lock_canonical(self, canonical_id: UUID) -> Row[Any]:
        """The canonical workflow, until the transaction ends: whoever is linking to it has done so, or waits."""
        return self._connection.execute(select(canonical_workflows).where(
            canonical_workflows.c.tenant_id == self._tenant_id, canonical_workflows.c.id == canonical_id,
        ).with_for_update()).one()

    def set_deleted(self, canonical_id: UUID, moment: datetime | None) -> None:
        """Soft-delete a canonical workflow, or with none take it back; its mappings are the caller's."""
        self._connection.execute(update(canonical_workflows).where(
            canonical_workflows.c.tenant_id == self._tenant_id, canonical_workflows.c.id == canonical_id,
        ).values(deleted_at=moment))

    # -- hash registry ---------------------------------------------------------------------------------------------

    def registered(self, hashes: Collection[str], version: int) -> dict[str, list[Row[Any]]]:
        """Which canonical workflows (and proofs) stand behind portable hashes of one normaliser version."""
        if not hashes:
            return {}
        rows = self._connection.execute(_REGISTERED, {
            "tenant": self._tenant_id, "hashes": list(set(hashes)), "version": version})
        found: dict[str, list[Row[Any]]] = {}
        for row in rows:
            found.setdefault(row.portable_hash, []).append(row)
        return found

    def has_registered(self, version: int) -> bool:
        """Whether any hash of this version is registered."""
        return self._connection.execute(
            _ANY_REGISTERED, {"tenant": self._tenant_id, "version": version}).first() is not None

    def lock_registry(self) -> None:
        """One at a time per tenant says which canonical workflows there are; held until the transaction ends. Two
        environments that meet the same new file at once would make two of one."""
        self._connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:tenant, 3))"),
                                 {"tenant": str(self._tenant_id)})

    def register(self, entries: Iterable[tuple[str, str, UUID]], version: int, now: datetime) -> None:
        """Register (portable hash, proof, canonical id)."""
        rows = [
            {"tenant_id": self._tenant_id, "portable_hash": h, "normalizer_version": version, "canonical_id": c,
             "proof": proof, "registered_at": now}
            for h, proof, c in sorted(set(entries), key=lambda e: (e[0], str(e[2])))
        ]
        if rows:
            _REGISTER(self._connection, rows)

    def _key(self, environment_id: UUID) -> dict[str, UUID]:
        return {"tenant": self._tenant_id, "environment": environment_id}
