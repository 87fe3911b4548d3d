"""tenants, what is declared for them, payloads, audit

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "installation_secrets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_installation_secrets")),
    )
    op.create_table(
        "tenants",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), server_default="free", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name=op.f("ck_tenants_slug")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_tenants")),
    )
    op.create_index(
        "uq_tenants_slug", "tenants", ["slug"], unique=True, postgresql_where=sa.text("deleted_at is null")
    )
    op.create_table(
        "audit_events",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject_type", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=True),
        sa.Column("operation_id", sa.UUID(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("encoded", sa.LargeBinary(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_audit_events_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "sequence", name=op.f("pk_audit_events")),
    )
    op.create_index("ix_audit_events_action", "audit_events", ["tenant_id", "action", "sequence"], unique=False)
    op.create_index(
        "ix_audit_events_operation", "audit_events", ["tenant_id", "operation_id", "sequence"], unique=False
    )
    op.create_index(
        "ix_audit_events_subject", "audit_events", ["tenant_id", "subject_type", "subject_id", "sequence"], unique=False
    )
    op.create_table(
        "audit_heads",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_audit_heads_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_audit_heads")),
    )
    op.create_table(
        "canonical_workflows",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_canonical_workflows_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_canonical_workflows")),
    )
    op.create_table(
        "notification_targets",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url_secret", sa.Text(), nullable=False),
        sa.Column(
            "events", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_notification_targets_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "name", name=op.f("pk_notification_targets")),
    )
    op.create_table(
        "payloads",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_payloads_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "digest", name=op.f("pk_payloads")),
    )
    op.execute("ALTER TABLE payloads ALTER COLUMN body SET STORAGE EXTERNAL")  # compressed already
    op.create_table(
        "pipelines",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_pipelines_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_pipelines")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_pipelines_tenant_id_name")),
    )
    op.create_table(
        "repositories",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), server_default="git", nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("branch", sa.Text(), server_default="main", nullable=False),
        sa.Column("api_url", sa.Text(), nullable=True),
        sa.Column("github_app", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("secret_name", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_repositories_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_repositories")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_repositories_tenant_id_name")),
    )
    op.create_table(
        "secrets",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_secrets_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "name", name=op.f("pk_secrets")),
    )
    op.create_table(
        "environments",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("class", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), server_default="n8n", nullable=False),
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("api_key_secret", sa.Text(), nullable=False),
        sa.Column("verify_tls", sa.Text(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("drift_handling_mode", sa.Text(), server_default="warn_only", nullable=False),
        sa.Column("repository_id", sa.UUID(), nullable=True),
        sa.Column("branch", sa.Text(), nullable=True),
        sa.Column("folder", sa.Text(), nullable=True),
        sa.Column("write_mode", sa.Text(), server_default="push", nullable=False),
        sa.Column("allow_production", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("health_check", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("sync_to_git", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "variables", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("position", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_heartbeat_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_sync_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_drift_check_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("drift_status", sa.Text(), server_default="UNKNOWN", nullable=False),
        sa.Column("drift_reason", sa.Text(), nullable=True),
        sa.Column("drift_error", sa.Text(), nullable=True),
        sa.Column("last_good_drift_status", sa.Text(), nullable=True),
        sa.Column("last_good_drift_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ever_mapped", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("git_commit", sa.Text(), nullable=True),
        sa.Column("git_source", sa.Text(), nullable=True),
        sa.Column("git_version", sa.Integer(), nullable=True),
        sa.Column("git_synced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("class in ('dev', 'staging', 'production')", name=op.f("ck_environments_class")),
        sa.CheckConstraint("slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name=op.f("ck_environments_slug")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "repository_id"],
            ["repositories.tenant_id", "repositories.id"],
            name=op.f("fk_environments_tenant_id_repository_id"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_environments_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_environments")),
    )
    op.create_index(
        "uq_environments_slug",
        "environments",
        ["tenant_id", "slug"],
        unique=True,
        postgresql_where=sa.text("deleted_at is null"),
    )
    op.create_table(
        "workflow_hash_registry",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("portable_hash", sa.Text(), nullable=False),
        sa.Column("normalizer_version", sa.Integer(), nullable=False),
        sa.Column("canonical_id", sa.UUID(), nullable=False),
        sa.Column("proof", sa.Text(), nullable=False),
        sa.Column("registered_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "canonical_id"],
            ["canonical_workflows.tenant_id", "canonical_workflows.id"],
            name=op.f("fk_workflow_hash_registry_tenant_id_canonical_id"),
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id", "portable_hash", "normalizer_version", "canonical_id", name=op.f("pk_workflow_hash_registry")
        ),
    )
    op.create_table(
        "canonical_workflow_git_state",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("environment_id", sa.UUID(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("canonical_id", sa.UUID(), nullable=False),
        sa.Column("blob", sa.Text(), nullable=False),
        sa.Column("commit", sa.Text(), nullable=False),
        sa.Column("workflow_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("portable_hash", sa.Text(), nullable=False),
        sa.Column("normalizer_version", sa.Integer(), nullable=False),
        sa.Column("has_references", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("wants_active", sa.Boolean(), nullable=True),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("read_only", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "canonical_id"],
            ["canonical_workflows.tenant_id", "canonical_workflows.id"],
            name=op.f("fk_canonical_workflow_git_state_tenant_id_canonical_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "digest"],
            ["payloads.tenant_id", "payloads.digest"],
            name=op.f("fk_canonical_workflow_git_state_tenant_id_digest"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_canonical_workflow_git_state_tenant_id_environment_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", "path", name=op.f("pk_canonical_workflow_git_state")),
    )
    op.create_index(
        "ix_canonical_workflow_git_state_workflow",
        "canonical_workflow_git_state",
        ["tenant_id", "environment_id", "workflow_id"],
        unique=False,
    )
    op.create_index(
        "uq_canonical_workflow_git_state_canonical",
        "canonical_workflow_git_state",
        ["tenant_id", "environment_id", "canonical_id"],
        unique=True,
        postgresql_where=sa.text("deleted_at is null"),
    )
    op.create_table(
        "credential_map",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.UUID(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("credential_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_credential_map_tenant_id_environment_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "key", "environment_id", name=op.f("pk_credential_map")),
    )
    op.create_table(
        "drift_check_history",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("environment_id", sa.UUID(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("counts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("checks", sa.Integer(), server_default="1", nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("operation_id", sa.UUID(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_drift_check_history_tenant_id_environment_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_drift_check_history")),
    )
    op.create_index(
        "ix_drift_check_history_environment",
        "drift_check_history",
        ["tenant_id", "environment_id", "last_at"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_index("ix_drift_check_history_environment", table_name="drift_check_history")
    op.drop_table("drift_check_history")
    op.drop_table("credential_map")
    op.drop_index(
        "uq_canonical_workflow_git_state_canonical",
        table_name="canonical_workflow_git_state",
        postgresql_where=sa.text("deleted_at is null"),
    )
    op.drop_index("ix_canonical_workflow_git_state_workflow", table_name="canonical_workflow_git_state")
    op.drop_table("canonical_workflow_git_state")
    op.drop_table("workflow_hash_registry")
    op.drop_index("uq_environments_slug", table_name="environments", postgresql_where=sa.text("deleted_at is null"))
    op.drop_table("environments")
    op.drop_table("secrets")
    op.drop_table("repositories")
    op.drop_table("pipelines")
    op.drop_table("payloads")
    op.drop_table("notification_targets")
    op.drop_table("canonical_workflows")
    op.drop_table("audit_heads")
    op.drop_index("ix_audit_events_subject", table_name="audit_events")
    op.drop_index("ix_audit_events_operation", table_name="audit_events")
    op.drop_index("ix_audit_events_action", table_name="audit_events")
    op.drop_table("audit_events")
    op.drop_table("tenants")
    op.drop_table("installation_secrets")
