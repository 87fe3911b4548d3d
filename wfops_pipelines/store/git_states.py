"""What Git holds for an environment: states of canonical workflows by path, and files that could not be read (§7)."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, bindparam, delete, func, select, update

from wfops_pipelines.store.any_of import any_in, any_of
from wfops_pipelines.store.tables.git_states import canonical_workflow_git_state as states
from wfops_pipelines.store.tables.git_states import repository_file_errors as file_errors
from wfops_pipelines.store.upsert import Upsert

_WRITTEN = [c.name for c in states.c if c.name not in {"tenant_id", "environment_id", "path"}]
_KEYS = ("tenant_id", "environment_id", "path")
_BY_WORKFLOW = select(states).where(
    states.c.tenant_id == bindparam("tenant"), states.c.environment_id == bindparam("environment"),
    states.c.deleted_at.is_(None), any_in(states.c.workflow_id, "ids"))
_IN = (states.c.tenant_id == bindparam("tenant")) & (states.c.environment_id == bindparam("environment"))
_WITH_DELETED = select(states).where(_IN).order_by(states.c.path)
_OF_ENVIRONMENT = _WITH_DELETED.where(states.c.deleted_at.is_(None))
_WITH_REFERENCES = _OF_ENVIRONMENT.where(states.c.has_references)
_COUNT = select(func.count()).select_from(states).where(_IN, states.c.deleted_at.is_(None))
_NAMING_ALIKE = _OF_ENVIRONMENT.where(states.c.workflow_id.in_(select(states.c.workflow_id).where(
    _IN, states.c.deleted_at.is_(None), states.c.workflow_id.is_not(None)).group_by(states.c.workflow_id).having(
    func.count() > 1)))
_ERRORS = select(file_errors).where(
    file_errors.c.tenant_id == bindparam("tenant"), file_errors.c.environment_id == bindparam("environment")
).order_by(file_errors.c.path)
_SAVE = Upsert(states, keys=_KEYS, written=_WRITTEN)
_SAVE_ERRORS = Upsert(file_errors, keys=_KEYS, written=["blob", "reason", "message"])


class GitStates:
    """A tenant's Git states."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    def of_environment(self, environment_id: UUID, *, deleted: bool = False) -> list[Row[Any]]:
        """States by path; with ``deleted`` also those whose file is gone."""
        return list(self._connection.execute(_WITH_DELETED if deleted else _OF_ENVIRONMENT, self._key(environment_id)))

    def count(self, environment_id: UUID) -> int:
        """How many states there are whose file is there."""
        return int(self._connection.execute(_COUNT, self._key(environment_id)).scalar_one())

    def behind(self, environment_id: UUID, version: int) -> list[Row[Any]]:
        """States, also of files that are gone, whose hashes are of another version of the normaliser."""
        return list(self._connection.execute(
            select(states).where(self._in(environment_id), states.c.normalizer_version != version).order_by(states.c.path)
        ))

    def with_references(self, environment_id: UUID) -> list[Row[Any]]:
        """Live states whose portable hash depends on what other workflows are."""
        return list(self._connection.execute(_WITH_REFERENCES, self._key(environment_id)))

    def of_tenant(self) -> list[Row[Any]]:
        """All states whose file is there."""
        return list(self._connection.execute(
            select(states).where(states.c.tenant_id == self._tenant_id, states.c.deleted_at.is_(None))
        ))

    def of_canonical(self, canonical_id: UUID) -> list[Row[Any]]:
        """The files that stand for a canonical workflow, one in each environment at most."""
        return list(self._connection.execute(select(states).where(
            states.c.tenant_id == self._tenant_id, states.c.canonical_id == canonical_id, states.c.deleted_at.is_(None),
        ).order_by(states.c.environment_id)))

    def by_workflow(self, environment_id: UUID, workflow_ids: Collection[str]) -> dict[str, list[Row[Any]]]:
        """Live states by the ``id`` in their file: in an environment's own folder that is the n8n id (§5.2)."""
        if not workflow_ids:
            return {}
        rows = self._connection.execute(_BY_WORKFLOW, {
            "tenant": self._tenant_id, "environment": environment_id, "ids": list(workflow_ids)})
        found: dict[str, list[Row[Any]]] = {}
        for row in rows:
            found.setdefault(row.workflow_id, []).append(row)
        return found

    def naming_of(self, environment_id: UUID, canonical_ids: Collection[UUID]) -> dict[str, UUID]:
        """The n8n ids that the files of these canonical workflows name here, with whose file it is."""
        if not canonical_ids:
            return {}
        rows = self._connection.execute(select(states.c.workflow_id, states.c.canonical_id).where(
            self._in(environment_id), states.c.deleted_at.is_(None), states.c.workflow_id.is_not(None),
            any_of(states.c.canonical_id, canonical_ids)))
        return {row.workflow_id: row.canonical_id for row in rows}

    def naming_alike(self, environment_id: UUID) -> list[Row[Any]]:
        """Live states whose n8n id another live state of the environment names too, by path."""
        return list(self._connection.execute(_NAMING_ALIKE, self._key(environment_id)))

    def save(self, rows: list[dict[str, Any]]) -> None:
        """Insert or update whole states, by (environment, path)."""
        if not rows:
            return
        _SAVE(self._connection, [{**row, "tenant_id": self._tenant_id} for row in rows])

    def set(self, environment_id: UUID, path: str, **values: Any) -> None:
        """Change columns of one state."""
        self._connection.execute(update(states).where(self._in(environment_id), states.c.path == path).values(**values))

    def mark_deleted(self, environment_id: UUID, paths: Collection[str], now: datetime) -> None:
        """The files are gone: soft, the canonical workflows stay."""
        if paths:
            self._connection.execute(
                update(states).where(self._in(environment_id), any_of(states.c.path, paths)).values(deleted_at=now)
            )

    def forget_hashes(self) -> None:
        """Make every hash of the tenant stale, as :meth:`Mappings.forget_hashes` does."""
        self._connection.execute(update(states).where(states.c.tenant_id == self._tenant_id).values(normalizer_version=0))

    # -- files that could not be read ------------------------------------------------------------------------------

    def has_any(self, environment_id: UUID) -> bool:
        """Whether Git holds anything for the environment."""
        return self._connection.execute(
            select(states.c.path).where(self._in(environment_id), states.c.deleted_at.is_(None)).limit(1)
        ).first() is not None

    def errors(self, environment_id: UUID) -> list[Row[Any]]:
        """Files of the environment's folder that are no workflows, with the reason."""
        return list(self._connection.execute(_ERRORS, self._key(environment_id)))

    def save_errors(self, environment_id: UUID, rows: list[dict[str, Any]]) -> None:
        """Record files that could not be read (path, blob, reason, message, since)."""
        if not rows:
            return
        _SAVE_ERRORS(self._connection, [
            {**row, "tenant_id": self._tenant_id, "environment_id": environment_id} for row in rows
        ])

    def clear_errors(self, environment_id: UUID, paths: Collection[str]) -> None:
        """These files can be read now, or are gone."""
        if paths:
            self._connection.execute(delete(file_errors).where(
                file_errors.c.tenant_id == self._tenant_id, file_errors.c.environment_id == environment_id,
                any_of(file_errors.c.path, paths),
            ))

    def _in(self, environment_id: UUID) -> Any:
        return (states.c.tenant_id == self._tenant_id) & (states.c.environment_id == environment_id)

    def _key(self, environment_id: UUID) -> dict[str, UUID]:
        return {"tenant": self._tenant_id, "environment": environment_id}
