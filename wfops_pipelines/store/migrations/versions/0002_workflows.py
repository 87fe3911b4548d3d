"""where workflows are, what differs and drifts, operations

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "drift_policies",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("environment_id", sa.UUID(), nullable=True),
        sa.Column("policy", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_drift_policies_tenant_id_environment_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_drift_policies_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_drift_policies")),
        sa.UniqueConstraint(
            "tenant_id",
            "environment_id",
            name=op.f("uq_drift_policies_tenant_id_environment_id"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_table(
        "operations",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.UUID(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("checkpoint", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("metrics", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("error_kind", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state in ('queued', 'running', 'completed', 'failed', 'cancelled', 'compensated')",
            name=op.f("ck_operations_state"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_operations_tenant_id_environment_id"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_operations_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_operations")),
    )
    op.create_index(
        "ix_operations_environment", "operations", ["tenant_id", "environment_id", "created_at"], unique=False
    )
    op.create_index("ix_operations_run", "operations", ["tenant_id", "run_id"], unique=False)
    op.create_table(
        "pipeline_stages",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("pipeline_id", sa.UUID(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("source_environment_id", sa.UUID(), nullable=False),
        sa.Column("target_environment_id", sa.UUID(), nullable=False),
        sa.Column(
            "gates", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("approvers", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("source_environment_id <> target_environment_id", name=op.f("ck_pipeline_stages_apart")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "pipeline_id"],
            ["pipelines.tenant_id", "pipelines.id"],
            name=op.f("fk_pipeline_stages_tenant_id_pipeline_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "source_environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_pipeline_stages_tenant_id_source_environment_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "target_environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_pipeline_stages_tenant_id_target_environment_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "pipeline_id", "position", name=op.f("pk_pipeline_stages")),
    )
    op.create_table(
        "repository_file_errors",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("environment_id", sa.UUID(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("blob", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_repository_file_errors_tenant_id_environment_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", "path", name=op.f("pk_repository_file_errors")),
    )
    op.create_table(
        "workflow_diff_state",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("source_environment_id", sa.UUID(), nullable=False),
        sa.Column("target_environment_id", sa.UUID(), nullable=False),
        sa.Column("canonical_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("source_hash", sa.Text(), nullable=True),
        sa.Column("target_hash", sa.Text(), nullable=True),
        sa.Column("base_hash", sa.Text(), nullable=True),
        sa.Column("diff", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("computed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "status in ('added', 'target_only', 'unchanged', 'modified', 'target_hotfix', 'conflict')",
            name=op.f("ck_workflow_diff_state_status"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "canonical_id"],
            ["canonical_workflows.tenant_id", "canonical_workflows.id"],
            name=op.f("fk_workflow_diff_state_tenant_id_canonical_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "source_environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_workflow_diff_state_tenant_id_source_environment_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "target_environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_workflow_diff_state_tenant_id_target_environment_id"),
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id",
            "source_environment_id",
            "target_environment_id",
            "canonical_id",
            name=op.f("pk_workflow_diff_state"),
        ),
    )
    op.create_table(
        "workflow_drift",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("environment_id", sa.UUID(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("canonical_id", sa.UUID(), nullable=True),
        sa.Column("workflow_id", sa.Text(), nullable=True),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("kinds", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("runtime_hash", sa.Text(), nullable=True),
        sa.Column("git_hash", sa.Text(), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=True),
        sa.Column("wants_active", sa.Boolean(), nullable=True),
        sa.Column("diff", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_workflow_drift_tenant_id_environment_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", "subject", name=op.f("pk_workflow_drift")),
    )
    op.create_table(
        "workflow_env_map",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("environment_id", sa.UUID(), nullable=False),
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("canonical_id", sa.UUID(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("unlinked_reason", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("archived", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("draft_digest", sa.Text(), nullable=False),
        sa.Column("live_digest", sa.Text(), nullable=False),
        sa.Column("draft_hash", sa.Text(), nullable=False),
        sa.Column("live_hash", sa.Text(), nullable=False),
        sa.Column("portable_hash", sa.Text(), nullable=False),
        sa.Column("normalizer_version", sa.Integer(), nullable=False),
        sa.Column("has_references", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("in_sync_hash", sa.Text(), nullable=True),
        sa.Column("source_updated_at", sa.Text(), nullable=True),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("missing_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ignored_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status <> 'linked' or canonical_id is not null", name=op.f("ck_workflow_env_map_linked_has_canonical")
        ),
        sa.CheckConstraint(
            "status in ('deleted', 'ignored', 'missing', 'untracked', 'linked')",
            name=op.f("ck_workflow_env_map_status"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "canonical_id"],
            ["canonical_workflows.tenant_id", "canonical_workflows.id"],
            name=op.f("fk_workflow_env_map_tenant_id_canonical_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "draft_digest"],
            ["payloads.tenant_id", "payloads.digest"],
            name=op.f("fk_workflow_env_map_tenant_id_draft_digest"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_workflow_env_map_tenant_id_environment_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "live_digest"],
            ["payloads.tenant_id", "payloads.digest"],
            name=op.f("fk_workflow_env_map_tenant_id_live_digest"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_workflow_env_map_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_workflow_env_map")),
    )
    op.create_index("ix_workflow_env_map_canonical", "workflow_env_map", ["tenant_id", "canonical_id"], unique=False)
    op.create_index(
        "ix_workflow_env_map_name", "workflow_env_map", ["tenant_id", "environment_id", "name", "id"], unique=False
    )
    op.create_index(
        "ix_workflow_env_map_status", "workflow_env_map", ["tenant_id", "environment_id", "status"], unique=False
    )
    op.create_index(
        "uq_workflow_env_map_canonical",
        "workflow_env_map",
        ["tenant_id", "environment_id", "canonical_id"],
        unique=True,
        postgresql_where=sa.text("status = 'linked'"),
    )
    op.create_index(
        "uq_workflow_env_map_workflow", "workflow_env_map", ["tenant_id", "environment_id", "workflow_id"], unique=True
    )
    op.create_table(
        "environment_leases",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("environment_id", sa.UUID(), nullable=False),
        sa.Column("operation_id", sa.UUID(), nullable=False),
        sa.Column("holder", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_environment_leases_tenant_id_environment_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "operation_id"],
            ["operations.tenant_id", "operations.id"],
            name=op.f("fk_environment_leases_tenant_id_operation_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", name=op.f("pk_environment_leases")),
    )
    op.create_table(
        "operation_steps",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("operation_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "operation_id"],
            ["operations.tenant_id", "operations.id"],
            name=op.f("fk_operation_steps_tenant_id_operation_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "operation_id", "name", name=op.f("pk_operation_steps")),
    )


def downgrade() -> None:
    op.drop_table("operation_steps")
    op.drop_table("environment_leases")
    op.drop_index("uq_workflow_env_map_workflow", table_name="workflow_env_map")
    op.drop_index(
        "uq_workflow_env_map_canonical", table_name="workflow_env_map", postgresql_where=sa.text("status = 'linked'")
    )
    op.drop_index("ix_workflow_env_map_status", table_name="workflow_env_map")
    op.drop_index("ix_workflow_env_map_name", table_name="workflow_env_map")
    op.drop_index("ix_workflow_env_map_canonical", table_name="workflow_env_map")
    op.drop_table("workflow_env_map")
    op.drop_table("workflow_drift")
    op.drop_table("workflow_diff_state")
    op.drop_table("repository_file_errors")
    op.drop_table("pipeline_stages")
    op.drop_index("ix_operations_run", table_name="operations")
    op.drop_index("ix_operations_environment", table_name="operations")
    op.drop_table("operations")
    op.drop_table("drift_policies")
