"""A Git server may tell the head of a branch and hold on to whoever fetches: what could not be read is known apart from
looks.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("repository_heads", sa.Column("unread_since", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("repository_heads", "unread_since")
