"""Deployments: promotions that start at their time, alone or in batches over tenants (§12)."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB, UUID

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

deployments = Table(
    "deployments",
    metadata,
    tenant_column(),
    id_column(),
    uuid_column("source_environment_id"),
    uuid_column("target_environment_id"),
    text_column("status"),
    Column("options", JSONB, nullable=False, server_default=text("'{}'::jsonb")),  # of the promotion it starts
    uuid_column("promotion_id", nullable=True),
    uuid_column("batch_id", nullable=True),  # equal over the tenants of one batch
    Column("wave", Integer, nullable=True),
    text_column("batch_member", nullable=True),  # its key in the batch
    Column("batch_waves", JSONB(none_as_null=True), nullable=True),  # all keys, wave by wave
    display_column("requested_by"),
    display_column("message", nullable=True),
    text_column("run_id", nullable=True),
    time_column("starts_at", nullable=False),
    time_column("requested_at", nullable=False),
    time_column("started_at"),
    time_column("heartbeat_at"),
    time_column("ended_at"),
    refers("source_environment_id", "environments"),
    refers("target_environment_id", "environments"),
    refers("promotion_id", "promotions"),
    CheckConstraint("status in ('pending', 'scheduled', 'running', 'completed', 'failed', 'cancelled')", name="status"),
    Index("ix_deployments_due", "starts_at", postgresql_where=text("status = 'scheduled'")),
    Index("ix_deployments_running", "tenant_id", "started_at", postgresql_where=text("status = 'running'")),
    Index("ix_deployments_batch", "batch_id", postgresql_where=text("batch_id is not null")),
    Index("ix_deployments_requested", "tenant_id", "requested_at", "id"),
)

deployment_workflows = Table(
    "deployment_workflows",
    metadata,
    tenant_column(),
    Column("deployment_id", UUID(as_uuid=True), primary_key=True),
    Column("key", Text, primary_key=True),  # the plan's
    display_column("name"),
    text_column("action"),
    text_column("status"),
    display_column("message"),
    time_column("at", nullable=False),
    refers("deployment_id", "deployments", ondelete="CASCADE"),
    CheckConstraint("status in ('success', 'failed', 'skipped')", name="status"),
)
