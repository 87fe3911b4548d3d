"""What the Git folder or branch of each environment holds."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKeyConstraint, Index, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from wfops_pipelines.store.tables.base import (
    DisplayText,
    display_column,
    metadata,
    refers,
    tenant_column,
    text_column,
    time_column,
    uuid_column,
)

canonical_workflow_git_state = Table(
    "canonical_workflow_git_state",
    metadata,
    tenant_column(),
    Column("environment_id", UUID(as_uuid=True), primary_key=True),
    Column("path", Text, primary_key=True),
    uuid_column("canonical_id"),
    text_column("blob"),
    text_column("commit"),  # where this blob was first seen at this path
    display_column("workflow_id", nullable=True),  # the file's own `id`, unless that was overruled
    # What the file claims and was overruled in (§5.3); it holds while the file claims the same.
    uuid_column("overruled_canonical_id", nullable=True),
    display_column("overruled_workflow_id", nullable=True),
    display_column("name"),
    text_column("digest"),
    text_column("content_hash"),
    text_column("portable_hash"),
    Column("normalizer_version", Integer, nullable=False),
    Column("has_references", Boolean, nullable=False, server_default=text("false")),
    Column("wants_active", Boolean, nullable=True),
    Column("tags", ARRAY(DisplayText), nullable=True),
    Column("read_only", Boolean, nullable=False, server_default=text("false")),
    time_column("changed_at", nullable=False, now=True),
    time_column("deleted_at"),
    refers("environment_id", "environments"),
    refers("canonical_id", "canonical_workflows"),
    ForeignKeyConstraint(["tenant_id", "digest"], ["payloads.tenant_id", "payloads.digest"]),
    Index(
        "uq_canonical_workflow_git_state_canonical", "tenant_id", "canonical_id", "environment_id", unique=True,
        postgresql_where=text("deleted_at is null"),
    ),
    Index("ix_canonical_workflow_git_state_workflow", "tenant_id", "environment_id", "workflow_id"),
)

repository_file_errors = Table(
    "repository_file_errors",
    metadata,
    tenant_column(),
    Column("environment_id", UUID(as_uuid=True), primary_key=True),
    Column("path", Text, primary_key=True),
    text_column("blob"),
    text_column("reason"),
    display_column("message"),
    time_column("since", nullable=False, now=True),
    refers("environment_id", "environments"),
)
