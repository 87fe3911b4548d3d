"""What is at rest, and which runs shall stop. What is over stays, with the time at which it was."""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, Table, Text, text

from wfops_pipelines.store.tables.base import display_column, metadata, owned_by_tenant, tenant_column, time_column

tenant_pauses = Table(
    "tenant_pauses",  # the last pause of each tenant; over when resumed_at is given
    metadata,
    tenant_column(),
    time_column("paused_at", nullable=False),
    display_column("paused_by"),
    display_column("reason", nullable=True),
    time_column("resumed_at"),
    owned_by_tenant(),
)

installation_pause = Table(
    "installation_pause",  # the last pause of everything: one row at most, and no tenant's
    metadata,
    Column("one", Boolean, primary_key=True, server_default=text("true")),
    time_column("paused_at", nullable=False),
    display_column("paused_by"),
    display_column("reason", nullable=True),
    time_column("resumed_at"),
    CheckConstraint("one", name="one"),
)

cancelled_runs = Table(
    "cancelled_runs",  # runs of Dagster that begin no further operation; a run may work for several tenants
    metadata,
    Column("run_id", Text, primary_key=True),
    time_column("requested_at", nullable=False),
    display_column("requested_by"),
    display_column("reason", nullable=True),
)
