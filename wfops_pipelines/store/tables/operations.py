"""Operations, their steps, and who holds an environment."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB, UUID

from wfops_pipelines.store.tables.base import (
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

operations = Table(
    "operations",
    metadata,
    tenant_column(),
    id_column(),
    text_column("kind"),
    uuid_column("environment_id", nullable=True),
    text_column("state"),
    display_column("actor"),
    text_column("run_id", nullable=True),  # the Dagster run of the latest attempt
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("checkpoint", JSONB(none_as_null=True), nullable=True),
    Column("metrics", JSONB(none_as_null=True), nullable=True),
    text_column("error_kind", nullable=True),
    display_column("error_message", nullable=True),
    time_column("created_at", nullable=False),
    time_column("started_at"),
    time_column("ended_at"),
    Column("request", JSONB(none_as_null=True), nullable=True),  # what was asked for, as far as a resume has to know it
    time_column("cancel_requested_at"),
    display_column("cancel_requested_by", nullable=True),
    display_column("cancel_reason", nullable=True),
    owned_by_tenant(),
    refers("environment_id", "environments"),
    CheckConstraint(
        "state in ('queued', 'running', 'completed', 'failed', 'cancelled', 'compensated')", name="state"
    ),
    Index("ix_operations_environment", "tenant_id", "environment_id", "created_at"),
    Index("ix_operations_created", "tenant_id", "created_at"),
    Index("ix_operations_run", "tenant_id", "run_id"),
)

operation_steps = Table(
    "operation_steps",
    metadata,
    tenant_column(),
    Column("operation_id", UUID(as_uuid=True), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("position", Integer, nullable=False),
    text_column("state"),
    Column("attempts", Integer, nullable=False, server_default=text("1")),
    Column("result", JSONB(none_as_null=True), nullable=True),
    time_column("started_at", nullable=False),
    time_column("ended_at"),
    refers("operation_id", "operations", ondelete="CASCADE"),
)

environment_leases = Table(
    "environment_leases",
    metadata,
    tenant_column(),
    Column("environment_id", UUID(as_uuid=True), primary_key=True),
    uuid_column("operation_id"),
    Column("holder", JSONB, nullable=False),  # host, boot id, pid, start time of the process
    Column("epoch", BigInteger, nullable=False),  # grows with each holder; an older holder can no longer write
    time_column("heartbeat_at", nullable=False),
    time_column("released_at"),
    refers("environment_id", "environments", ondelete="CASCADE"),
    refers("operation_id", "operations"),
)
