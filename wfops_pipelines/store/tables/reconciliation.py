"""Source against target, per stage of a pipeline and canonical workflow (§8)."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Table
from sqlalchemy.dialects.postgresql import JSONB, UUID

from wfops_pipelines.store.tables.base import display_column, metadata, refers, tenant_column, text_column, time_column

workflow_diff_state = Table(
    "workflow_diff_state",
    metadata,
    tenant_column(),
    Column("source_environment_id", UUID(as_uuid=True), primary_key=True),
    Column("target_environment_id", UUID(as_uuid=True), primary_key=True),
    Column("canonical_id", UUID(as_uuid=True), primary_key=True),
    display_column("name"),
    text_column("status"),
    text_column("source_hash", nullable=True),
    text_column("target_hash", nullable=True),
    text_column("base_hash", nullable=True),
    Column("diff", JSONB(none_as_null=True), nullable=True),  # semantic, masked
    time_column("computed_at", nullable=False, now=True),
    refers("source_environment_id", "environments"),
    refers("target_environment_id", "environments"),
    refers("canonical_id", "canonical_workflows"),
    CheckConstraint(
        "status in ('added', 'target_only', 'unchanged', 'modified', 'target_hotfix', 'conflict')", name="status"
    ),
)
