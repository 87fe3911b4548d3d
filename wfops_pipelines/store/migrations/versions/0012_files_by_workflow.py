"""A canonical workflow's files in all environments are found side by side: a page of the matrix asks for those of its rows
at once, and so reads a tenth of the blocks.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_INDEX, _TABLE = "uq_canonical_workflow_git_state_canonical", "canonical_workflow_git_state"


def upgrade() -> None:
    _make(["tenant_id", "canonical_id", "environment_id"])


def downgrade() -> None:
    _make(["tenant_id", "environment_id", "canonical_id"])


def _make(columns: list[str]) -> None:
    op.drop_index(_INDEX, table_name=_TABLE)
    op.create_index(_INDEX, _TABLE, columns, unique=True, postgresql_where=sa.text("deleted_at is null"))
