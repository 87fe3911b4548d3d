"""What people are told: the outbox (§16), alert rules, and the state of each rule."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Float, Identity, Index, Integer, Table, Text, text
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

outbox = Table(
    "outbox",
    metadata,
    tenant_column(),
    id_column(),
    Column("sequence", BigInteger, Identity(), nullable=False),  # order of writing, in the installation
    text_column("target"),  # name of the notification target
    text_column("event"),  # incident.opened, …
    text_column("subject"),  # what it is about (incident:UUID): entries of one subject go out in order
    text_column("severity"),
    text_column("dedupe_key"),  # one message for each event and target, whatever is tried again
    Column("message", JSONB, nullable=False),  # rendered: title, body, short, link
    text_column("status", default="pending"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    time_column("not_before", nullable=False),  # backoff and quiet hours
    time_column("claimed_until"),  # whoever sends it has it until then
    display_column("last_error", nullable=True),
    time_column("created_at", nullable=False, now=True),
    time_column("sent_at"),
    uuid_column("digest_of", nullable=True),  # went out as part of this entry
    owned_by_tenant(),
    CheckConstraint("status in ('pending', 'sent', 'dead', 'dropped')", name="status"),
    Index("uq_outbox_dedupe_key", "tenant_id", "target", "dedupe_key", unique=True),
    Index("ix_outbox_due", "not_before", postgresql_where=text("status = 'pending'")),
    Index("ix_outbox_order", "tenant_id", "target", "subject", "sequence", postgresql_where=text("status = 'pending'")),
    Index("ix_outbox_status", "tenant_id", "status", "sequence"),
)

alert_rules = Table(
    "alert_rules",
    metadata,
    tenant_column(),
    id_column(),
    text_column("name"),
    text_column("metric"),
    text_column("comparison"),
    Column("threshold", Float, nullable=False),
    Column("clear_threshold", Float, nullable=True),  # hysteresis; null: the threshold
    Column("window_seconds", Integer, nullable=False, server_default=text("0")),
    Column("cooldown_seconds", Integer, nullable=False),
    Column("evaluations", Integer, nullable=False, server_default=text("1")),
    Column("clear_evaluations", Integer, nullable=False, server_default=text("1")),
    text_column("on_missing", default="keep"),  # what a missing figure means: keep | clear | breach
    Column("repeat", Boolean, nullable=False, server_default=text("false")),  # tell again after each cooldown
    text_column("severity"),
    uuid_column("environment_id", nullable=True),  # null: the whole tenant
    Column("enabled", Boolean, nullable=False, server_default=text("true")),
    owned_by_tenant(),
    refers("environment_id", "environments", ondelete="CASCADE"),
    Index("uq_alert_rules_name", "tenant_id", "name", unique=True),
)

alert_states = Table(
    "alert_states",
    metadata,
    tenant_column(),
    Column("rule_id", UUID(as_uuid=True), primary_key=True),
    Column("state", JSONB, nullable=False),
    Column("firing", Boolean, nullable=False, server_default=text("false")),
    Column("value", Float, nullable=True),
    time_column("evaluated_at", nullable=False),
    refers("rule_id", "alert_rules", ondelete="CASCADE"),
)

alert_events = Table(
    "alert_events",
    metadata,
    tenant_column(),
    id_column(),
    uuid_column("rule_id"),
    Column("kind", Text, nullable=False),  # fired | still_firing | cleared
    Column("value", Float, nullable=True),
    time_column("at", nullable=False),
    refers("rule_id", "alert_rules", ondelete="CASCADE"),
    Index("ix_alert_events_rule", "tenant_id", "rule_id", "at"),
)
