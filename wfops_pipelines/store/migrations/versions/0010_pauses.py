"""tenants and everything at rest, what shall stop, and what an operation needs to go on

A pause that is over stays as a row with ``resumed_at``: what waited meanwhile missed nothing.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from wfops_pipelines.store.migrations.security import guard, roles

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

ADDED = ("request", "cancel_requested_at", "cancel_requested_by", "cancel_reason")


def upgrade() -> None:
    op.create_table(
        "tenant_pauses",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("paused_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("resumed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_tenant_pauses_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_tenant_pauses")),
    )
    op.create_table(
        "installation_pause",
        sa.Column("one", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("paused_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("resumed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("one", name=op.f("ck_installation_pause_one")),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_installation_pause")),
    )
    op.create_table(
        "cancelled_runs",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_cancelled_runs")),
    )
    op.add_column("operations", sa.Column("request", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column("operations", sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("operations", sa.Column("cancel_requested_by", sa.Text(), nullable=True))
    op.add_column("operations", sa.Column("cancel_reason", sa.Text(), nullable=True))
    guard("tenant_pauses")
    app, system = roles()
    for table in ("installation_pause", "cancelled_runs"):
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {app}")
        op.execute(f"GRANT SELECT ON {table} TO {system}")


def downgrade() -> None:
    for column in reversed(ADDED):
        op.drop_column("operations", column)
    for table in ("cancelled_runs", "installation_pause", "tenant_pauses"):
        op.drop_table(table)
