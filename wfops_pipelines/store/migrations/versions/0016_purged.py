"""What nobody can end or go back to any more goes: of deleted environments, newest snapshots and payloads of open incidents.
And a refresh that a pause refused is noted, so that it is launched when the pause is over.

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from wfops_pipelines.store.migrations.incidents import check_incidents
from wfops_pipelines.store.migrations.promotions_frozen import check_snapshots

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("refresh_requests", sa.Column("refused_at", sa.TIMESTAMP(timezone=True), nullable=True))
    check_incidents(purging_deleted=True)
    check_snapshots(purging_deleted=True)


def downgrade() -> None:
    check_snapshots(purging_deleted=False)
    check_incidents(purging_deleted=False)
    op.drop_column("refresh_requests", "refused_at")
