"""what has been decided and done of promotions stays as it is

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from wfops_pipelines.store.migrations.promotions_frozen import (
    freeze_deployments,
    freeze_promotions,
    freeze_snapshots,
    thaw_deployments,
    thaw_promotions,
    thaw_snapshots,
)

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("promotions", sa.Column("approvers", sa.Integer(), server_default=sa.text("0"), nullable=False))
    # What waits was asked for under the stages that there are; what was approved before was approved by their rules.
    op.execute("""
        UPDATE promotions p SET approvers = s.approvers
        FROM (SELECT tenant_id, source_environment_id, target_environment_id, max(approvers) AS approvers
              FROM pipeline_stages GROUP BY 1, 2, 3) s
        WHERE (s.tenant_id, s.source_environment_id, s.target_environment_id)
              = (p.tenant_id, p.source_environment_id, p.target_environment_id)
        AND p.status IN ('pending', 'pending_approval')""")
    freeze_promotions()
    freeze_deployments()
    freeze_snapshots()


def downgrade() -> None:
    thaw_snapshots()
    thaw_deployments()
    thaw_promotions()
    op.drop_column("promotions", "approvers")
