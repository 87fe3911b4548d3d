"""A workflow may be called whatever fits into n8n: the index of names holds their beginning, for no index takes a name of
thousands of characters.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_TABLE = "workflow_env_map"


def upgrade() -> None:
    op.drop_index("ix_workflow_env_map_name", table_name=_TABLE)
    op.create_index("ix_workflow_env_map_sort_name", _TABLE, ["tenant_id", "environment_id", "sort_name", "id"])


def downgrade() -> None:
    op.drop_index("ix_workflow_env_map_sort_name", table_name=_TABLE)
    op.create_index("ix_workflow_env_map_name", _TABLE, ["tenant_id", "environment_id", "name", "id"])
