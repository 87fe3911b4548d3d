"""What drifts now, and the history of checks (§9)."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from wfops_pipelines.store.tables.base import (
    display_column,
    id_column,
    metadata,
    refers,
    tenant_column,
    text_column,
    time_column,
    uuid_column,
)

workflow_drift = Table(
    "workflow_drift",
    metadata,
    tenant_column(),
    Column("environment_id", UUID(as_uuid=True), primary_key=True),
    Column("subject", Text, primary_key=True),  # n8n id where there is one, else the path in Git
    display_column("name"),
    uuid_column("canonical_id", nullable=True),
    text_column("workflow_id", nullable=True),
    text_column("path", nullable=True),
    text_column("kind"),
    Column("kinds", ARRAY(Text), nullable=False),
    text_column("runtime_hash", nullable=True),
    text_column("git_hash", nullable=True),
    Column("active", Boolean, nullable=True),
    Column("wants_active", Boolean, nullable=True),
    Column("diff", JSONB(none_as_null=True), nullable=True),  # semantic, masked; Git before, n8n after
    time_column("since", nullable=False, now=True),
    refers("environment_id", "environments"),
)

drift_check_history = Table(
    "drift_check_history",
    metadata,
    tenant_column(),
    id_column(),
    uuid_column("environment_id"),
    text_column("type"),  # scheduled | manual
    text_column("status"),
    text_column("reason", nullable=True),
    Column("counts", JSONB, nullable=False),
    text_column("fingerprint"),  # equal scheduled checks in a row are one entry
    Column("checks", Integer, nullable=False, server_default="1"),
    Column("duration_ms", Integer, nullable=False),
    time_column("first_at", nullable=False),
    time_column("last_at", nullable=False),
    uuid_column("operation_id", nullable=True),
    refers("environment_id", "environments"),
    Index("ix_drift_check_history_environment", "tenant_id", "environment_id", "last_at"),
)
