"""resolutions: what a file claims and was overruled in, and how a workflow's conflict was resolved

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("canonical_workflow_git_state", sa.Column("overruled_canonical_id", sa.UUID(), nullable=True))
    op.add_column("canonical_workflow_git_state", sa.Column("overruled_workflow_id", sa.Text(), nullable=True))
    op.add_column("workflow_env_map", sa.Column("resolved", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("workflow_env_map", "resolved")
    op.drop_column("canonical_workflow_git_state", "overruled_workflow_id")
    op.drop_column("canonical_workflow_git_state", "overruled_canonical_id")
