"""Canonical workflows, where each environment holds them, and which hash stands for which."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, CheckConstraint, Column, Computed, ForeignKeyConstraint, Index, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY

from wfops_pipelines.store.tables.base import (
    DisplayText,
    display_column,
    id_column,
    metadata,
    owned_by_tenant,
    refers,
    tenant_column,
    text_column,
    time_column,
    uuid_column,
)


def _sort_name() -> Column[Any]:
    """The beginning of ``name``, for the order of pages: short enough for an index, whatever a file calls its workflow, and
    in the order of its bytes, which is Python's. Computed by the database."""
    return Column("sort_name", Text(collation="C"), Computed("left(name, 200)", persisted=True), nullable=True)


canonical_workflows = Table(
    "canonical_workflows",
    metadata,
    tenant_column(),
    id_column(),
    display_column("name"),  # as last seen; for people
    _sort_name(),
    time_column("created_at", nullable=False, now=True),
    time_column("deleted_at"),
    owned_by_tenant(),
    Index("ix_canonical_workflows_sort_name", "tenant_id", "sort_name", "id", postgresql_where=text("deleted_at is null")),
    Index("ix_canonical_workflows_deleted", "tenant_id", "id", postgresql_where=text("deleted_at is not null")),
)

workflow_env_map = Table(
    "workflow_env_map",
    metadata,
    tenant_column(),
    id_column(),
    uuid_column("environment_id"),
    text_column("workflow_id"),  # n8n's
    uuid_column("canonical_id", nullable=True),
    text_column("status"),
    text_column("unlinked_reason", nullable=True),
    text_column("resolved", nullable=True),  # in favour of what its last conflict was resolved (§5.3)
    display_column("name"),
    _sort_name(),
    Column("active", Boolean, nullable=False),
    Column("archived", Boolean, nullable=False, server_default=text("false")),
    Column("tags", ARRAY(DisplayText), nullable=False, server_default=text("'{}'")),
    text_column("draft_digest"),
    text_column("live_digest"),
    text_column("draft_hash"),
    text_column("live_hash"),
    text_column("portable_hash"),
    Column("normalizer_version", Integer, nullable=False),
    Column("has_references", Boolean, nullable=False, server_default=text("false")),
    text_column("in_sync_hash", nullable=True),  # portable hash last seen equal to Git's (§8)
    display_column("source_updated_at", nullable=True),  # n8n's updatedAt: shown, never trusted (§4.8)
    time_column("first_seen_at", nullable=False, now=True),
    time_column("changed_at", nullable=False, now=True),
    time_column("missing_at"),
    time_column("ignored_at"),
    time_column("deleted_at"),
    owned_by_tenant(),
    refers("environment_id", "environments"),
    refers("canonical_id", "canonical_workflows"),
    ForeignKeyConstraint(["tenant_id", "draft_digest"], ["payloads.tenant_id", "payloads.digest"]),
    ForeignKeyConstraint(["tenant_id", "live_digest"], ["payloads.tenant_id", "payloads.digest"]),
    CheckConstraint("status in ('deleted', 'ignored', 'missing', 'untracked', 'linked')", name="status"),
    CheckConstraint("status <> 'linked' or canonical_id is not null", name="linked_has_canonical"),
    Index("uq_workflow_env_map_workflow", "tenant_id", "environment_id", "workflow_id", unique=True),
    Index(
        "uq_workflow_env_map_canonical", "tenant_id", "environment_id", "canonical_id", unique=True,
        postgresql_where=text("status = 'linked'"),
    ),
    Index("ix_workflow_env_map_canonical", "tenant_id", "canonical_id"),
    Index("ix_workflow_env_map_status", "tenant_id", "environment_id", "status"),
    Index("ix_workflow_env_map_sort_name", "tenant_id", "environment_id", "sort_name", "id"),
    Index("ix_workflow_env_map_loose", "tenant_id", "sort_name", "id",
          postgresql_where=text("canonical_id is null and status <> 'deleted'")),
)

workflow_hash_registry = Table(
    "workflow_hash_registry",
    metadata,
    tenant_column(),
    Column("portable_hash", Text, primary_key=True),
    Column("normalizer_version", Integer, primary_key=True),
    Column("canonical_id", canonical_workflows.c.id.type, primary_key=True),
    text_column("proof"),  # BLAKE2b of the same bytes: equal hashes with unequal proofs are a collision (§4.9)
    time_column("registered_at", nullable=False, now=True),
    refers("canonical_id", "canonical_workflows"),
)
