"""Runs that commands do in their own process say that they live: on another host nobody can look whether the process does.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from wfops_pipelines.store.migrations.security import roles

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "command_runs",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("looks", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_command_runs")),
    )
    app, system = roles()
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON command_runs TO {app}")
    op.execute(f"GRANT SELECT ON command_runs TO {system}")


def downgrade() -> None:
    op.drop_table("command_runs")
