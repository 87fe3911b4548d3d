"""promotions with decisions, snapshots, deployments, waivers of findings

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from wfops_pipelines.store.migrations.promotions import (
    guard_approval_requests,
    guard_promotions,
    unguard_approval_requests,
    unguard_promotions,
)
from wfops_pipelines.store.migrations.security import guard

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = (
    "snapshots",
    "promotions",
    "promotion_decisions",
    "promoted_workflows",
    "lint_waivers",
    "deployments",
    "deployment_workflows",
)
APPEND_ONLY = frozenset({"promotion_decisions"})


def upgrade() -> None:
    op.create_table(
        "lint_waivers",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=True),
        sa.Column("node", sa.Text(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_lint_waivers_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_lint_waivers")),
    )
    op.create_index(
        "ix_lint_waivers_standing",
        "lint_waivers",
        ["tenant_id"],
        unique=False,
        postgresql_where=sa.text("removed_at is null"),
    )
    op.create_table(
        "snapshots",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("environment_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("manifest_digest", sa.Text(), nullable=False),
        sa.Column("workflows", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("taken_by", sa.Text(), nullable=False),
        sa.Column("operation_id", sa.UUID(), nullable=True),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "kind in ('pre_promotion', 'post_promotion', 'manual_backup', 'scheduled')", name=op.f("ck_snapshots_kind")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_snapshots_tenant_id_environment_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "manifest_digest"],
            ["payloads.tenant_id", "payloads.digest"],
            name=op.f("fk_snapshots_tenant_id_manifest_digest"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_snapshots")),
    )
    op.create_index("ix_snapshots_environment", "snapshots", ["tenant_id", "environment_id", "taken_at", "id"], unique=False)
    op.create_table(
        "promotions",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source_environment_id", sa.UUID(), nullable=True),
        sa.Column("source_snapshot_id", sa.UUID(), nullable=True),
        sa.Column("target_environment_id", sa.UUID(), nullable=False),
        sa.Column("pipeline", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("options", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("checksum", sa.Text(), nullable=True),
        sa.Column("approved_checksum", sa.Text(), nullable=True),
        sa.Column("plan", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("gates", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("results", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("rollback_incomplete", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("requested_through", sa.Text(), nullable=True),
        sa.Column("operation_id", sa.UUID(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("pre_snapshot_id", sa.UUID(), nullable=True),
        sa.Column("post_snapshot_id", sa.UUID(), nullable=True),
        sa.Column("git_status", sa.Text(), server_default="none", nullable=False),
        sa.Column("git_commit", sa.Text(), nullable=True),
        sa.Column("git_pull_request", sa.Text(), nullable=True),
        sa.Column("git_error", sa.Text(), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "git_status in ('none', 'pending', 'committed', 'pull_request', 'failed')", name=op.f("ck_promotions_git_status")
        ),
        sa.CheckConstraint(
            "status in ('pending', 'pending_approval', 'approved', 'running', 'completed', 'completed_with_errors', "
            "'failed', 'rolled_back', 'blocked', 'rejected', 'cancelled')",
            name=op.f("ck_promotions_status"),
        ),
        sa.CheckConstraint("kind in ('promotion', 'restore')", name=op.f("ck_promotions_kind")),
        sa.CheckConstraint(
            "(source_environment_id is null) <> (source_snapshot_id is null)", name=op.f("ck_promotions_one_source")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "operation_id"],
            ["operations.tenant_id", "operations.id"],
            name=op.f("fk_promotions_tenant_id_operation_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "post_snapshot_id"],
            ["snapshots.tenant_id", "snapshots.id"],
            name=op.f("fk_promotions_tenant_id_post_snapshot_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "pre_snapshot_id"],
            ["snapshots.tenant_id", "snapshots.id"],
            name=op.f("fk_promotions_tenant_id_pre_snapshot_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "source_environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_promotions_tenant_id_source_environment_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "source_snapshot_id"],
            ["snapshots.tenant_id", "snapshots.id"],
            name=op.f("fk_promotions_tenant_id_source_snapshot_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "target_environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_promotions_tenant_id_target_environment_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_promotions")),
    )
    op.create_index(
        "ix_promotions_git",
        "promotions",
        ["tenant_id", "target_environment_id"],
        unique=False,
        postgresql_where=sa.text("git_status in ('pending', 'failed')"),
    )
    op.create_index("ix_promotions_requested", "promotions", ["tenant_id", "requested_at", "id"], unique=False)
    op.create_index("ix_promotions_status", "promotions", ["tenant_id", "status", "requested_at", "id"], unique=False)
    op.create_index(
        "ix_promotions_target", "promotions", ["tenant_id", "target_environment_id", "requested_at", "id"], unique=False
    )
    op.create_index(
        "ix_promotions_waiting",
        "promotions",
        ["tenant_id", "target_environment_id"],
        unique=False,
        postgresql_where=sa.text("status in ('pending', 'pending_approval', 'approved')"),
    )
    op.create_index("uq_promotions_number", "promotions", ["tenant_id", "number"], unique=True)
    op.create_index(
        "uq_promotions_running",
        "promotions",
        ["tenant_id", "target_environment_id"],
        unique=True,
        postgresql_where=sa.text("status = 'running'"),
    )
    op.create_table(
        "deployments",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("source_environment_id", sa.UUID(), nullable=False),
        sa.Column("target_environment_id", sa.UUID(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("options", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("promotion_id", sa.UUID(), nullable=True),
        sa.Column("batch_id", sa.UUID(), nullable=True),
        sa.Column("wave", sa.Integer(), nullable=True),
        sa.Column("batch_member", sa.Text(), nullable=True),
        sa.Column("batch_waves", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status in ('pending', 'scheduled', 'running', 'completed', 'failed', 'cancelled')",
            name=op.f("ck_deployments_status"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "promotion_id"],
            ["promotions.tenant_id", "promotions.id"],
            name=op.f("fk_deployments_tenant_id_promotion_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "source_environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_deployments_tenant_id_source_environment_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "target_environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_deployments_tenant_id_target_environment_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_deployments")),
    )
    op.create_index(
        "ix_deployments_batch", "deployments", ["batch_id"], unique=False, postgresql_where=sa.text("batch_id is not null")
    )
    op.create_index(
        "ix_deployments_due", "deployments", ["starts_at"], unique=False, postgresql_where=sa.text("status = 'scheduled'")
    )
    op.create_index("ix_deployments_requested", "deployments", ["tenant_id", "requested_at", "id"], unique=False)
    op.create_index(
        "ix_deployments_running",
        "deployments",
        ["tenant_id", "started_at"],
        unique=False,
        postgresql_where=sa.text("status = 'running'"),
    )
    op.create_table(
        "promoted_workflows",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("environment_id", sa.UUID(), nullable=False),
        sa.Column("canonical_id", sa.UUID(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("portable_hash", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=True),
        sa.Column("promotion_id", sa.UUID(), nullable=False),
        sa.Column("promoted_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "canonical_id"],
            ["canonical_workflows.tenant_id", "canonical_workflows.id"],
            name=op.f("fk_promoted_workflows_tenant_id_canonical_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_promoted_workflows_tenant_id_environment_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "promotion_id"],
            ["promotions.tenant_id", "promotions.id"],
            name=op.f("fk_promoted_workflows_tenant_id_promotion_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", "canonical_id", name=op.f("pk_promoted_workflows")),
    )
    op.create_table(
        "promotion_decisions",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("promotion_id", sa.UUID(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("decided_through", sa.Text(), nullable=True),
        sa.Column("checksum", sa.Text(), nullable=False),
        sa.Column("approve", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "promotion_id"],
            ["promotions.tenant_id", "promotions.id"],
            name=op.f("fk_promotion_decisions_tenant_id_promotion_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_promotion_decisions")),
    )
    op.create_index(
        "uq_promotion_decisions_person",
        "promotion_decisions",
        ["tenant_id", "promotion_id", "decided_by", "checksum"],
        unique=True,
    )
    op.create_table(
        "deployment_workflows",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("deployment_id", sa.UUID(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("status in ('success', 'failed', 'skipped')", name=op.f("ck_deployment_workflows_status")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "deployment_id"],
            ["deployments.tenant_id", "deployments.id"],
            name=op.f("fk_deployment_workflows_tenant_id_deployment_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "deployment_id", "key", name=op.f("pk_deployment_workflows")),
    )
    op.add_column("environments", sa.Column("new_node_ids", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("environments", sa.Column("snapshot_hours", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("pipeline_stages", sa.Column("soak_hours", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column(
        "pipeline_stages",
        sa.Column(
            "freeze_windows", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False
        ),
    )
    op.add_column(
        "pipeline_stages",
        sa.Column(
            "verification", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
    )
    op.add_column("pipelines", sa.Column("atomic", sa.Boolean(), server_default=sa.text("true"), nullable=False))
    for table in TABLES:
        guard(table, append_only=table in APPEND_ONLY)
    guard_promotions()
    guard_approval_requests()


def downgrade() -> None:
    unguard_approval_requests()
    unguard_promotions()
    op.drop_column("pipelines", "atomic")
    op.drop_column("pipeline_stages", "verification")
    op.drop_column("pipeline_stages", "freeze_windows")
    op.drop_column("pipeline_stages", "soak_hours")
    op.drop_column("environments", "snapshot_hours")
    op.drop_column("environments", "new_node_ids")
    op.drop_table("deployment_workflows")
    op.drop_index("uq_promotion_decisions_person", table_name="promotion_decisions")
    op.drop_table("promotion_decisions")
    op.drop_table("promoted_workflows")
    op.drop_index("ix_deployments_running", table_name="deployments", postgresql_where=sa.text("status = 'running'"))
    op.drop_index("ix_deployments_requested", table_name="deployments")
    op.drop_index("ix_deployments_due", table_name="deployments", postgresql_where=sa.text("status = 'scheduled'"))
    op.drop_index("ix_deployments_batch", table_name="deployments", postgresql_where=sa.text("batch_id is not null"))
    op.drop_table("deployments")
    op.drop_index("uq_promotions_running", table_name="promotions", postgresql_where=sa.text("status = 'running'"))
    op.drop_index("uq_promotions_number", table_name="promotions")
    op.drop_index(
        "ix_promotions_waiting",
        table_name="promotions",
        postgresql_where=sa.text("status in ('pending', 'pending_approval', 'approved')"),
    )
    op.drop_index("ix_promotions_target", table_name="promotions")
    op.drop_index("ix_promotions_status", table_name="promotions")
    op.drop_index("ix_promotions_requested", table_name="promotions")
    op.drop_index(
        "ix_promotions_git", table_name="promotions", postgresql_where=sa.text("git_status in ('pending', 'failed')")
    )
    op.drop_table("promotions")
    op.drop_index("ix_snapshots_environment", table_name="snapshots")
    op.drop_table("snapshots")
    op.drop_index("ix_lint_waivers_standing", table_name="lint_waivers", postgresql_where=sa.text("removed_at is null"))
    op.drop_table("lint_waivers")
