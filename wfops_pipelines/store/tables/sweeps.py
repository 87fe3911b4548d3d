"""What sweeps remember: the listing a check was made from, instances that are given up on, and the sweeps themselves."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB, UUID

from wfops_pipelines.store.tables.base import (
    display_column,
    metadata,
    refers,
    tenant_column,
    text_column,
    time_column,
    uuid_column,
)

known_listings = Table(
    "known_listings",  # what the last full check of an environment was made from, as long as it found nothing to tell
    metadata,
    tenant_column(),
    Column("environment_id", UUID(as_uuid=True), primary_key=True),
    Column("pages", JSONB, nullable=False),  # [{digest, cursor}]: of the bytes as they came, and the next page's cursor
    text_column("state"),  # of what the store held (SweepReads.states): equal means that nothing of it was written since
    text_column("head"),  # of the branch
    uuid_column("check_id"),  # the entry of drift_check_history
    Column("misses", Integer, nullable=False, server_default=text("0")),  # looks in a row that found other bytes
    time_column("checked_at", nullable=False),
    refers("environment_id", "environments", ondelete="CASCADE"),
)

instance_circuits = Table(
    "instance_circuits",  # instances that did not answer lately; no row for one that did
    metadata,
    tenant_column(),
    Column("environment_id", UUID(as_uuid=True), primary_key=True),
    text_column("base_url"),  # whose circuit it is: another address begins anew
    text_column("state"),
    Column("failures", Integer, nullable=False),  # in a row
    Column("openings", Integer, nullable=False, server_default=text("0")),  # without a success in between
    time_column("since", nullable=False),  # the first failure of the row
    time_column("probe_at"),  # when an open one lets a probe through
    text_column("reason"),
    display_column("message"),
    refers("environment_id", "environments", ondelete="CASCADE"),
    CheckConstraint("state in ('closed', 'open', 'half_open')", name="state"),
    CheckConstraint("(state = 'closed') = (probe_at is null)", name="probe"),
)

sweeps = Table(
    "sweeps",  # the installation's, not a tenant's: counts and times, no name of anybody
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    text_column("kind"),
    text_column("state"),
    text_column("run_id", nullable=True),
    Column("holder", JSONB, nullable=False),  # host, boot id, pid, start time of the process
    time_column("heartbeat_at", nullable=False),
    time_column("started_at", nullable=False),
    time_column("ended_at"),
    Column("due", Integer, nullable=False, server_default=text("0")),  # environments
    Column("counts", JSONB, nullable=False, server_default=text("'{}'")),  # environments by what was done with them
    Column("statuses", JSONB, nullable=False, server_default=text("'{}'")),  # environments by status afterwards
    Column("duration_ms", Integer, nullable=True),
    Column("lag_ms", Integer, nullable=True),  # behind the due time: the longest
    Column("mean_lag_ms", Integer, nullable=True),
    Column("error", Text, nullable=True),
    CheckConstraint("state in ('running', 'completed', 'failed', 'died')", name="state"),
    Index("ix_sweeps_started", "kind", "started_at"),
)
