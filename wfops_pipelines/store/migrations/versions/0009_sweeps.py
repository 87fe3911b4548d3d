"""sweeps: the listing a check was made from, instances that are given up on for a while, and what each sweep did

When an environment is due follows from its last check and the interval: it is not stored.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from wfops_pipelines.store.migrations.security import guard, roles

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLES = ("known_listings", "instance_circuits")


def upgrade() -> None:
    op.create_table(
        "known_listings",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("environment_id", sa.UUID(), nullable=False),
        sa.Column("pages", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("head", sa.Text(), nullable=False),
        sa.Column("check_id", sa.UUID(), nullable=False),
        sa.Column("misses", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id", "environment_id"], ["environments.tenant_id", "environments.id"],
                                name=op.f("fk_known_listings_tenant_id_environment_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", name=op.f("pk_known_listings")),
    )
    op.create_table(
        "instance_circuits",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("environment_id", sa.UUID(), nullable=False),
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("openings", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("probe_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.CheckConstraint("state in ('closed', 'open', 'half_open')", name=op.f("ck_instance_circuits_state")),
        sa.CheckConstraint("(state = 'closed') = (probe_at is null)", name=op.f("ck_instance_circuits_probe")),
        sa.ForeignKeyConstraint(["tenant_id", "environment_id"], ["environments.tenant_id", "environments.id"],
                                name=op.f("fk_instance_circuits_tenant_id_environment_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", name=op.f("pk_instance_circuits")),
    )
    op.create_table(
        "sweeps",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("holder", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("counts", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("statuses", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        sa.Column("lag_ms", sa.Integer(), nullable=True),
        sa.Column("mean_lag_ms", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint("state in ('running', 'completed', 'failed', 'died')", name=op.f("ck_sweeps_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sweeps")),
    )
    op.create_index("ix_sweeps_started", "sweeps", ["kind", "started_at"], unique=False)
    for table in TABLES:
        guard(table)
    app, system = roles()
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON sweeps TO {app}")
    op.execute(f"GRANT SELECT ON sweeps TO {system}")


def downgrade() -> None:
    for table in ("sweeps", "instance_circuits", "known_listings"):
        op.drop_table(table)
