"""Tenants and what fleet.yaml declares for them: environments, repositories, secrets, credentials, pipelines, policies."""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, Index, Integer, Table, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB, UUID

from wfops_pipelines.store.tables.base import (
    display_column,
    id_column,
    metadata,
    owned_by_tenant,
    refers,
    tenant_column,
    text_column,
    time_column,
    uuid_column,
)

tenants = Table(
    "tenants",
    metadata,
    Column("tenant_id", UUID(as_uuid=True), primary_key=True),
    text_column("slug"),
    text_column("name"),
    text_column("plan", default="free"),
    time_column("created_at", nullable=False, now=True),
    time_column("deleted_at"),
    Index("uq_tenants_slug", "slug", unique=True, postgresql_where=text("deleted_at is null")),
    CheckConstraint("slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name="slug"),
)

secrets = Table(
    "secrets",
    metadata,
    tenant_column(),
    Column("name", Text, primary_key=True),  # environment/dev/api_key, repository/default/token, …
    text_column("token"),  # Fernet
    text_column("key_id"),  # fingerprint of the key that encrypted it
    time_column("updated_at", nullable=False, now=True),
    owned_by_tenant(),
)

repositories = Table(
    "repositories",
    metadata,
    tenant_column(),
    id_column(),
    text_column("name"),  # "default", or the slug of the environment that has its own
    text_column("provider", default="git"),
    text_column("url"),
    text_column("branch", default="main"),
    text_column("api_url", nullable=True),
    Column("github_app", JSONB(none_as_null=True), nullable=True),  # app_id and installation_id; the key is a secret
    text_column("secret_name", nullable=True),
    text_column("webhook_secret", nullable=True),  # name of the secret under which the remote signs its webhooks
    owned_by_tenant(),
    UniqueConstraint("tenant_id", "name"),
)

environments = Table(
    "environments",
    metadata,
    tenant_column(),
    id_column(),
    text_column("slug"),
    text_column("name"),
    text_column("class"),
    text_column("provider", default="n8n"),
    text_column("base_url"),
    text_column("api_key_secret"),
    text_column("verify_tls", nullable=True),  # null: yes; "false"; or the path of a CA bundle
    text_column("owner", nullable=True),
    text_column("drift_handling_mode", default="warn_only"),
    uuid_column("repository_id", nullable=True),
    text_column("branch", nullable=True),
    text_column("folder", nullable=True),
    text_column("write_mode", default="push"),
    Column("new_node_ids", Boolean, nullable=False, server_default=text("false")),  # promoted nodes get ids of their own
    Column("snapshot_hours", Integer, nullable=False, server_default=text("0")),  # between scheduled snapshots; 0: none
    Column("allow_production", Boolean, nullable=False, server_default=text("false")),
    Column("health_check", Boolean, nullable=False, server_default=text("true")),
    Column("sync_to_git", Boolean, nullable=False, server_default=text("false")),
    Column("variables", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("position", Integer, nullable=False, server_default=text("0")),
    # what was last seen
    time_column("last_heartbeat_at"),
    time_column("last_sync_at"),
    time_column("last_drift_check_at"),
    text_column("drift_status", default="UNKNOWN"),
    text_column("drift_reason", nullable=True),
    display_column("drift_error", nullable=True),
    text_column("last_good_drift_status", nullable=True),
    time_column("last_good_drift_at"),
    Column("ever_mapped", Boolean, nullable=False, server_default=text("false")),
    text_column("git_commit", nullable=True),  # head of the last complete repository sync
    text_column("git_source", nullable=True),  # repository, branch and folder that head belongs to
    Column("git_version", Integer, nullable=True),  # normaliser version of that sync
    time_column("git_synced_at"),  # when the head was last asked for by who read the folder, or knew it again
    time_column("writes_blocked_at"),  # by a rollback that could not restore everything (§11.7)
    display_column("writes_blocked_reason", nullable=True),
    time_column("created_at", nullable=False, now=True),
    time_column("deleted_at"),
    owned_by_tenant(),
    refers("repository_id", "repositories"),
    CheckConstraint("slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name="slug"),
    CheckConstraint("class in ('dev', 'staging', 'production')", name="class"),
    Index("uq_environments_slug", "tenant_id", "slug", unique=True, postgresql_where=text("deleted_at is null")),
)

credential_map = Table(
    "credential_map",
    metadata,
    tenant_column(),
    Column("key", Text, primary_key=True),
    Column("environment_id", UUID(as_uuid=True), primary_key=True),
    text_column("type"),
    text_column("name"),
    text_column("credential_id", nullable=True),
    refers("environment_id", "environments", ondelete="CASCADE"),
)

pipelines = Table(
    "pipelines",
    metadata,
    tenant_column(),
    id_column(),
    text_column("name"),
    Column("atomic", Boolean, nullable=False, server_default=text("true")),  # all or nothing (§11.7)
    owned_by_tenant(),
    UniqueConstraint("tenant_id", "name"),
)

pipeline_stages = Table(
    "pipeline_stages",
    metadata,
    tenant_column(),
    Column("pipeline_id", UUID(as_uuid=True), primary_key=True),
    Column("position", Integer, primary_key=True),
    uuid_column("source_environment_id"),
    uuid_column("target_environment_id"),
    Column("gates", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("approvers", Integer, nullable=False, server_default=text("0")),
    Column("soak_hours", Integer, nullable=False, server_default=text("0")),  # how long the source must have run it
    Column("freeze_windows", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("verification", JSONB, nullable=False, server_default=text("'{}'::jsonb")),  # after a promotion
    refers("pipeline_id", "pipelines", ondelete="CASCADE"),
    refers("source_environment_id", "environments"),
    refers("target_environment_id", "environments"),
    CheckConstraint("source_environment_id <> target_environment_id", name="apart"),
)

drift_policies = Table(
    "drift_policies",
    metadata,
    tenant_column(),
    id_column(),
    uuid_column("environment_id", nullable=True),  # null: the tenant's
    Column("policy", JSONB, nullable=False),
    owned_by_tenant(),
    refers("environment_id", "environments", ondelete="CASCADE"),
    UniqueConstraint("tenant_id", "environment_id", postgresql_nulls_not_distinct=True),
)

notification_targets = Table(
    "notification_targets",
    metadata,
    tenant_column(),
    Column("name", Text, primary_key=True),
    text_column("url_secret"),
    Column("events", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("quiet_hours", JSONB(none_as_null=True), nullable=True),
    Column("digest_minutes", Integer, nullable=False, server_default=text("0")),  # 0: each message by itself
    text_column("min_severity", default="low"),
    owned_by_tenant(),
)

installation_secrets = Table(
    "installation_secrets",  # the installation's own, not a tenant's: the audit chain's key
    metadata,
    Column("name", Text, primary_key=True),
    text_column("token"),
    text_column("key_id"),
)
