"""Pushes: deliveries of webhooks, what is known of each branch that is read, and refreshes that were asked for (§7)."""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, Index, Integer, Table, Text, text
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

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    tenant_column(),
    id_column(),
    uuid_column("repository_id"),
    text_column("hook_id", default=""),  # the sender's; empty where it names none
    text_column("delivery_id"),  # the sender's; a redelivery has the same
    text_column("event"),
    text_column("body_digest"),  # a replay under another delivery id has the same bytes
    display_column("branch", nullable=True),
    text_column("before_commit", nullable=True),
    text_column("after_commit", nullable=True),  # null: the branch was deleted
    Column("forced", Boolean, nullable=False, server_default=text("false")),
    Column("environments", JSONB, nullable=False, server_default=text("'[]'::jsonb")),  # slugs of those it may touch
    text_column("status"),
    display_column("reason", nullable=True),  # why it was left alone
    text_column("run_id", nullable=True),
    time_column("received_at", nullable=False),
    time_column("launched_at"),
    refers("repository_id", "repositories"),
    CheckConstraint("status in ('received', 'launched', 'ignored')", name="status"),
    Index("uq_webhook_deliveries_delivery", "tenant_id", "repository_id", "hook_id", "delivery_id", unique=True),
    Index("uq_webhook_deliveries_body", "tenant_id", "repository_id", "body_digest", unique=True),
    Index("ix_webhook_deliveries_waiting", "received_at", postgresql_where=text("status = 'received'")),
    Index("ix_webhook_deliveries_received", "tenant_id", "received_at", "id"),
)

repository_heads = Table(
    "repository_heads",  # one row per branch that is read, whoever looked last
    metadata,
    tenant_column(),
    Column("repository_id", UUID(as_uuid=True), primary_key=True),
    Column("branch", Text, primary_key=True),
    text_column("head", nullable=True),  # null: the branch is not there
    time_column("moved_at"),  # when the head was first seen there
    time_column("looked_at"),  # the last look that succeeded
    time_column("next_look_at", nullable=False),
    Column("failures", Integer, nullable=False, server_default=text("0")),  # in a row
    time_column("failing_since"),
    display_column("error", nullable=True),
    time_column("unread_since"),  # what stands there could not be read, whatever looks at the head say
    refers("repository_id", "repositories", ondelete="CASCADE"),
)

refresh_requests = Table(
    "refresh_requests",  # the last one per environment that a push or a look asked for
    metadata,
    tenant_column(),
    Column("environment_id", UUID(as_uuid=True), primary_key=True),
    text_column("head", nullable=True),  # where the branch stood, as far as was known; null: gone
    text_column("asked_by"),
    time_column("asked_at", nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("1")),  # for this head
    text_column("run_id", nullable=True),
    time_column("refused_at"),  # when a pause refused it: launched once that is over
    refers("environment_id", "environments", ondelete="CASCADE"),
    CheckConstraint("asked_by in ('webhook', 'poll')", name="asked_by"),
)
