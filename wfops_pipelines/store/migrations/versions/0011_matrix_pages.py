"""pages of the workflow matrix, and of a tenant's operations: what they list, in the order of the pages

``sort_name`` is the beginning of a name, as an index takes it, in the order of its bytes: that is the order in which
Python compares strings, so pages of two tables can be merged. What is stored already gets it here, which writes both
tables anew.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("canonical_workflows", "workflow_env_map"):
        op.add_column(table, sa.Column("sort_name", sa.Text(collation="C"), sa.Computed("left(name, 200)", persisted=True),
                                       nullable=True))
    op.create_index("ix_canonical_workflows_sort_name", "canonical_workflows", ["tenant_id", "sort_name", "id"],
                    unique=False, postgresql_where=sa.text("deleted_at is null"))
    op.create_index("ix_canonical_workflows_deleted", "canonical_workflows", ["tenant_id", "id"], unique=False,
                    postgresql_where=sa.text("deleted_at is not null"))
    op.create_index("ix_workflow_env_map_loose", "workflow_env_map", ["tenant_id", "sort_name", "id"], unique=False,
                    postgresql_where=sa.text("canonical_id is null and status <> 'deleted'"))
    op.create_index("ix_operations_created", "operations", ["tenant_id", "created_at"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_operations_created", table_name="operations")
    op.drop_index("ix_workflow_env_map_loose", table_name="workflow_env_map")
    op.drop_index("ix_canonical_workflows_deleted", table_name="canonical_workflows")
    op.drop_index("ix_canonical_workflows_sort_name", table_name="canonical_workflows")
    for table in ("workflow_env_map", "canonical_workflows"):
        op.drop_column(table, "sort_name")
