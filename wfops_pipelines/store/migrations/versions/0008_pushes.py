"""deliveries of webhooks, and when each repository is looked at

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from wfops_pipelines.store.migrations.security import guard

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = ("repository_heads", "webhook_deliveries", "refresh_requests")


def upgrade() -> None:
    op.create_table(
        "repository_heads",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("repository_id", sa.UUID(), nullable=False),
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("head", sa.Text(), nullable=True),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_look_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "repository_id"],
            ["repositories.tenant_id", "repositories.id"],
            name=op.f("fk_repository_heads_tenant_id_repository_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "repository_id", "branch", name=op.f("pk_repository_heads")),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("repository_id", sa.UUID(), nullable=False),
        sa.Column("hook_id", sa.Text(), server_default="", nullable=False),
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("body_digest", sa.Text(), nullable=False),
        sa.Column("branch", sa.Text(), nullable=True),
        sa.Column("before_commit", sa.Text(), nullable=True),
        sa.Column("after_commit", sa.Text(), nullable=True),
        sa.Column("forced", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "environments", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False
        ),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("launched_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("status in ('received', 'launched', 'ignored')", name=op.f("ck_webhook_deliveries_status")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "repository_id"],
            ["repositories.tenant_id", "repositories.id"],
            name=op.f("fk_webhook_deliveries_tenant_id_repository_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_webhook_deliveries")),
    )
    op.create_index(
        "uq_webhook_deliveries_delivery",
        "webhook_deliveries",
        ["tenant_id", "repository_id", "hook_id", "delivery_id"],
        unique=True,
    )
    op.create_index(
        "uq_webhook_deliveries_body", "webhook_deliveries", ["tenant_id", "repository_id", "body_digest"], unique=True
    )
    op.create_index("ix_webhook_deliveries_received", "webhook_deliveries", ["tenant_id", "received_at", "id"], unique=False)
    op.create_index(
        "ix_webhook_deliveries_waiting",
        "webhook_deliveries",
        ["received_at"],
        unique=False,
        postgresql_where=sa.text("status = 'received'"),
    )
    op.create_table(
        "refresh_requests",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("environment_id", sa.UUID(), nullable=False),
        sa.Column("head", sa.Text(), nullable=True),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.CheckConstraint("asked_by in ('webhook', 'poll')", name=op.f("ck_refresh_requests_asked_by")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_refresh_requests_tenant_id_environment_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", name=op.f("pk_refresh_requests")),
    )
    op.add_column("repositories", sa.Column("webhook_secret", sa.Text(), nullable=True))
    for table in TABLES:
        guard(table)


def downgrade() -> None:
    op.drop_column("repositories", "webhook_secret")
    op.drop_table("refresh_requests")
    op.drop_table("webhook_deliveries")
    op.drop_table("repository_heads")
