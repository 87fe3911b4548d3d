"""Tenants, environments, repositories and the rest of what fleet.yaml declares, as rows."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Table, bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from wfops_pipelines.domain.errors import SecretUnreadable, UnknownEnvironment
from wfops_pipelines.store.secrets import SecretBox, naming
from wfops_pipelines.store.tables.fleet import (
    credential_map,
    drift_policies,
    environments,
    notification_targets,
    pipeline_stages,
    pipelines,
    repositories,
    secrets,
    tenants,
)

_TARGETS = select(notification_targets).where(notification_targets.c.tenant_id == bindparam("tenant")).order_by(
    notification_targets.c.name)
_CREDENTIALS = select(credential_map).where(credential_map.c.tenant_id == bindparam("tenant")).order_by(
    credential_map.c.key, credential_map.c.environment_id)

_ENVIRONMENTS = select(environments).where(environments.c.tenant_id == bindparam("tenant")).order_by(
    environments.c.position, environments.c.slug)
_PRESENT_ENVIRONMENTS = _ENVIRONMENTS.where(environments.c.deleted_at.is_(None))
_ENVIRONMENT = select(environments).where(
    environments.c.tenant_id == bindparam("tenant"), environments.c.id == bindparam("environment"))
_REPOSITORY = select(repositories).where(
    repositories.c.tenant_id == bindparam("tenant"), repositories.c.id == bindparam("repository"))
_SECRET = select(secrets.c.token).where(secrets.c.tenant_id == bindparam("tenant"), secrets.c.name == bindparam("secret"))


class FleetRows:
    """What is declared for one tenant."""

    def __init__(self, connection: Connection, tenant_id: UUID, box: SecretBox) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._box = box

    # -- tenant and environments -----------------------------------------------------------------------------------

    def tenant(self) -> Row[Any] | None:
        """The tenant itself."""
        return self._connection.execute(select(tenants).where(tenants.c.tenant_id == self._tenant_id)).one_or_none()

    def save_tenant(self, **values: Any) -> None:
        """Create or update the tenant."""
        self._upsert(tenants, ["tenant_id"], {"tenant_id": self._tenant_id, **values})

    def environments(self, *, deleted: bool = False) -> list[Row[Any]]:
        """Environments in the order they were declared."""
        return list(self._connection.execute(
            _ENVIRONMENTS if deleted else _PRESENT_ENVIRONMENTS, {"tenant": self._tenant_id}))

    def environment(self, environment_id: UUID) -> Row[Any]:
        """One environment by id, deleted or not; :class:`UnknownEnvironment` when the tenant has none of it."""
        row = self._connection.execute(
            _ENVIRONMENT, {"tenant": self._tenant_id, "environment": environment_id}).one_or_none()
        if row is None:
            raise UnknownEnvironment(f"the environment with the id {environment_id} is gone, or was never this tenant's",
                                     fix="`wfops tenants` names those there are")
        return row

    def save_environment(self, **values: Any) -> None:
        """Create or update an environment, by id."""
        self._upsert(environments, ["tenant_id", "id"], {"tenant_id": self._tenant_id, **values})

    def set_environment(self, environment_id: UUID, **values: Any) -> None:
        """Change columns of an environment."""
        self._connection.execute(update(environments).where(
            environments.c.tenant_id == self._tenant_id, environments.c.id == environment_id
        ).values(**values))

    def repositories(self) -> dict[UUID, Row[Any]]:
        """Repositories by id."""
        rows = self._connection.execute(select(repositories).where(repositories.c.tenant_id == self._tenant_id))
        return {row.id: row for row in rows}

    def repository(self, repository_id: UUID) -> Row[Any]:
        """One of them."""
        return self._connection.execute(_REPOSITORY, {"tenant": self._tenant_id, "repository": repository_id}).one()

    def save_repository(self, **values: Any) -> None:
        """Create or update a repository, by id."""
        self._upsert(repositories, ["tenant_id", "id"], {"tenant_id": self._tenant_id, **values})

    # -- secrets ---------------------------------------------------------------------------------------------------

    def secret(self, name: str) -> str | None:
        """A secret in clear; none if there is none. :class:`SecretUnreadable` names it when no key fits."""
        token = self._connection.execute(_SECRET, {"tenant": self._tenant_id, "secret": name}).scalar_one_or_none()
        if token is None:
            return None
        with naming(f"secret {name}"):
            return self._box.decrypt(token)

    def save_secret(self, name: str, value: str) -> bool:
        """Encrypt and store; false when it is the same value already. One that no key opens is replaced: setting it again
        is the way out of a lost key."""
        with suppress(SecretUnreadable):
            if self.secret(name) == value:
                return False
        self._upsert(secrets, ["tenant_id", "name"], {
            "tenant_id": self._tenant_id, "name": name, "token": self._box.encrypt(value), "key_id": self._box.key_id,
            "updated_at": func.now(),
        })
        return True

    def secret_names(self) -> list[str]:
        """Names of all secrets."""
        return list(self._connection.execute(
            select(secrets.c.name).where(secrets.c.tenant_id == self._tenant_id).order_by(secrets.c.name)
        ).scalars())

    def rotate_secrets(self) -> int:
        """Re-encrypt with the first key what another one encrypted; returns how many. All or none: one that no key opens
        is named (:class:`SecretUnreadable`)."""
        rows = self._connection.execute(select(secrets.c.name, secrets.c.token).where(
            secrets.c.tenant_id == self._tenant_id
        ).order_by(secrets.c.name).with_for_update()).all()
        stale = [(name, token) for name, token in rows if self._box.needs_rotation(token)]
        for name, token in stale:
            with naming(f"secret {name}"):
                rotated = self._box.rotate(token)
            self._connection.execute(update(secrets).where(
                secrets.c.tenant_id == self._tenant_id, secrets.c.name == name
            ).values(token=rotated, key_id=self._box.key_id))
        return len(stale)

    # -- the rest of the declaration, replaced as a whole ----------------------------------------------------------

    def credentials(self) -> list[Row[Any]]:
        """Logical credentials: one row per key and environment."""
        return list(self._connection.execute(_CREDENTIALS, {"tenant": self._tenant_id}))

    def replace_credentials(self, rows: list[dict[str, Any]]) -> None:
        """Make ``rows`` the credential table."""
        self._replace(credential_map, rows)

    def pipelines(self) -> list[Row[Any]]:
        """Pipelines by name."""
        return list(self._connection.execute(
            select(pipelines).where(pipelines.c.tenant_id == self._tenant_id).order_by(pipelines.c.name)
        ))

    def stages(self) -> list[Row[Any]]:
        """Stages of all pipelines, in order."""
        return list(self._connection.execute(
            select(pipeline_stages).where(pipeline_stages.c.tenant_id == self._tenant_id)
            .order_by(pipeline_stages.c.pipeline_id, pipeline_stages.c.position)
        ))

    def save_pipeline(self, pipeline_id: UUID, name: str, stages: list[dict[str, Any]], *, atomic: bool) -> None:
        """Create or replace a pipeline with its stages."""
        self._upsert(pipelines, ["tenant_id", "id"], {
            "tenant_id": self._tenant_id, "id": pipeline_id, "name": name, "atomic": atomic})
        self._connection.execute(delete(pipeline_stages).where(
            pipeline_stages.c.tenant_id == self._tenant_id, pipeline_stages.c.pipeline_id == pipeline_id
        ))
        if stages:
            self._connection.execute(insert(pipeline_stages), [
                {**stage, "tenant_id": self._tenant_id, "pipeline_id": pipeline_id, "position": position}
                for position, stage in enumerate(stages)
            ])

    def remove_pipeline(self, pipeline_id: UUID) -> None:
        """Delete a pipeline and its stages."""
        self._connection.execute(delete(pipelines).where(
            pipelines.c.tenant_id == self._tenant_id, pipelines.c.id == pipeline_id
        ))

    def policies(self) -> list[Row[Any]]:
        """Drift policies: the tenant's (environment none) and its overrides."""
        return list(self._connection.execute(
            select(drift_policies).where(drift_policies.c.tenant_id == self._tenant_id)
        ))

    def replace_policies(self, rows: list[dict[str, Any]]) -> None:
        """Make ``rows`` the drift policies."""
        self._replace(drift_policies, rows)

    def notification_targets(self) -> list[Row[Any]]:
        """Where events are told."""
        return list(self._connection.execute(_TARGETS, {"tenant": self._tenant_id}))

    def replace_notification_targets(self, rows: list[dict[str, Any]]) -> None:
        """Make ``rows`` the notification targets."""
        self._replace(notification_targets, rows)

    # --------------------------------------------------------------------------------------------------------------

    def _replace(self, table: Table, rows: list[dict[str, Any]]) -> None:
        self._connection.execute(delete(table).where(table.c.tenant_id == self._tenant_id))
        if rows:
            self._connection.execute(insert(table), [{**row, "tenant_id": self._tenant_id} for row in rows])

    def _upsert(self, table: Table, key: list[str], values: dict[str, Any]) -> None:
        statement = insert(table).values(**values)
        changed = {name: statement.excluded[name] for name in values if name not in key}
        self._connection.execute(statement.on_conflict_do_update(index_elements=key, set_=changed))
