"""The append-only, hash-chained audit trail (§19.3), one chain per tenant."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, LargeBinary, Table

from wfops_pipelines.store.tables.base import (
    display_column,
    metadata,
    owned_by_tenant,
    tenant_column,
    text_column,
    time_column,
    uuid_column,
)

audit_events = Table(
    "audit_events",
    metadata,
    tenant_column(),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),  # 1, 2, 3, … without gaps
    # copies of what `encoded` says, to search by; `audit verify` compares them with it
    uuid_column("id"),
    time_column("at", nullable=False),
    display_column("actor"),
    text_column("action"),
    text_column("subject_type"),
    display_column("subject_id"),
    text_column("environment", nullable=True),
    uuid_column("operation_id", nullable=True),
    text_column("run_id", nullable=True),
    Column("encoded", LargeBinary, nullable=False),  # the whole event; the hash covers these bytes
    text_column("previous"),
    text_column("hash"),
    owned_by_tenant(),
    Index("ix_audit_events_operation", "tenant_id", "operation_id", "sequence"),
    Index("ix_audit_events_action", "tenant_id", "action", "sequence"),
    Index("ix_audit_events_subject", "tenant_id", "subject_type", "subject_id", "sequence"),
)

audit_heads = Table(
    "audit_heads",
    metadata,
    tenant_column(),
    Column("events", BigInteger, nullable=False),
    text_column("head"),
    owned_by_tenant(),
)
