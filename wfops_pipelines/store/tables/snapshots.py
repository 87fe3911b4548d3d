"""Snapshots: what an environment held at a time (§13)."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKeyConstraint, Index, Integer, Table

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

snapshots = Table(
    "snapshots",  # never changed
    metadata,
    tenant_column(),
    id_column(),
    uuid_column("environment_id"),
    text_column("kind"),
    text_column("address"),  # of what it holds (domain.snapshot): equal for two of an unchanged environment
    text_column("manifest_digest"),  # the payload that lists its workflows
    Column("workflows", Integer, nullable=False),  # how many there are
    display_column("name", nullable=True),  # what somebody called it
    display_column("taken_by"),
    uuid_column("operation_id", nullable=True),
    time_column("taken_at", nullable=False),
    refers("environment_id", "environments"),
    ForeignKeyConstraint(["tenant_id", "manifest_digest"], ["payloads.tenant_id", "payloads.digest"]),
    CheckConstraint("kind in ('pre_promotion', 'post_promotion', 'manual_backup', 'scheduled')", name="kind"),
    Index("ix_snapshots_environment", "tenant_id", "environment_id", "taken_at", "id"),
)
