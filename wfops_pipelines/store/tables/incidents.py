"""Drift incidents, what was asked to be approved, and what drift is ignored (§9, §10)."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Index, Integer, Table, Text, text
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

OPEN = "status not in ('closed', 'cancelled')"

tenant_counters = Table(
    "tenant_counters",  # numbers that people see: incidents …
    metadata,
    tenant_column(),
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
    owned_by_tenant(),
)

drift_incidents = Table(
    "drift_incidents",
    metadata,
    tenant_column(),
    id_column(),
    Column("number", BigInteger, nullable=False),  # within the tenant: what people call it by
    uuid_column("environment_id"),
    text_column("status"),
    text_column("severity"),
    text_column("escalation", default="none"),
    Column("forced", Boolean, nullable=False, server_default=text("false")),  # the last step was an admin's force
    display_column("title"),
    display_column("owner", nullable=True),
    display_column("ticket", nullable=True),
    display_column("reason", nullable=True),  # why it is acknowledged, stabilised, closed …: the last one said
    text_column("resolution", nullable=True),
    Column("affected", Integer, nullable=False),  # workflows that drift now; severity follows its highest
    text_column("drift_fingerprint"),  # of what drifts now
    time_column("detected_at", nullable=False),
    time_column("last_seen_at", nullable=False),  # the last check that found the drift
    time_column("expires_at", nullable=False),
    time_column("next_due_at"),  # when the next escalation is due; null when there is none
    time_column("acknowledged_at"),
    display_column("acknowledged_by", nullable=True),
    time_column("stabilized_at"),
    display_column("stabilized_by", nullable=True),
    time_column("reconciled_at"),
    display_column("reconciled_by", nullable=True),
    time_column("expired_at"),
    time_column("closed_at"),  # closed or cancelled
    display_column("closed_by", nullable=True),
    uuid_column("opened_by_operation", nullable=True),
    uuid_column("resolved_by_operation", nullable=True),
    Column("drift_snapshot", JSONB(none_as_null=True), nullable=True),  # immutable (§10.5); null once purged
    time_column("payload_purged_at"),
    Column("cause", JSONB(none_as_null=True), nullable=True),
    Column("reach", JSONB(none_as_null=True), nullable=True),
    text_column("change_group", nullable=True),  # equal where the same change was made elsewhere
    refers("environment_id", "environments"),
    CheckConstraint("status in ('detected', 'acknowledged', 'stabilized', 'reconciled', 'expired', 'closed', 'cancelled')",
                    name="status"),
    CheckConstraint("severity in ('low', 'medium', 'high', 'critical')", name="severity"),
    CheckConstraint("escalation in ('none', 'escalated', 'critical_overdue', 'overdue')", name="escalation"),
    CheckConstraint("resolution in ('promote', 'revert', 'replace', 'acknowledge', 'drift_gone')", name="resolution"),
    CheckConstraint("payload_purged_at is null or drift_snapshot is null", name="payload"),
    Index("uq_drift_incidents_number", "tenant_id", "number", unique=True),
    Index("uq_drift_incidents_open", "tenant_id", "environment_id", unique=True, postgresql_where=text(OPEN)),
    Index("ix_drift_incidents_detected", "tenant_id", "detected_at", "id"),
    Index("ix_drift_incidents_status", "tenant_id", "status", "detected_at", "id"),
    Index("ix_drift_incidents_severity", "tenant_id", "severity", "detected_at", "id"),
    Index("ix_drift_incidents_environment", "tenant_id", "environment_id", "detected_at", "id"),
    Index("ix_drift_incidents_newest", "detected_at", "id"),  # of every tenant
    Index("ix_drift_incidents_open", "detected_at", "id", postgresql_where=text(OPEN)),  # of every tenant
    Index("ix_drift_incidents_due", "next_due_at", postgresql_where=text("next_due_at is not null")),
    Index("ix_drift_incidents_group", "change_group", postgresql_where=text(OPEN)),
    Index("ix_drift_incidents_closed", "tenant_id", "closed_at",
          postgresql_where=text("closed_at is not null and payload_purged_at is null")),
)

drift_approvals = Table(
    "drift_approvals",
    metadata,
    tenant_column(),
    id_column(),
    uuid_column("incident_id"),
    text_column("kind"),
    text_column("status"),
    Column("arguments", JSONB, nullable=False, server_default=text("'{}'::jsonb")),  # of the step, as it was asked for
    display_column("reason", nullable=True),
    display_column("requested_by"),
    time_column("requested_at", nullable=False),
    display_column("decided_by", nullable=True),
    time_column("decided_at"),
    display_column("decision_reason", nullable=True),
    time_column("executed_at"),
    refers("incident_id", "drift_incidents"),
    CheckConstraint("kind in ('acknowledge', 'extend_ttl', 'close', 'reconcile')", name="kind"),
    CheckConstraint("status in ('pending', 'approved', 'rejected', 'executed', 'cancelled')", name="status"),
    CheckConstraint("decided_by is null or status = 'cancelled' or decided_by <> requested_by", name="someone_else"),
    Index("uq_drift_approvals_waiting", "tenant_id", "incident_id", "kind", unique=True,
          postgresql_where=text("status in ('pending', 'approved')")),
    Index("ix_drift_approvals_incident", "tenant_id", "incident_id", "requested_at"),
)

drift_ignore_rules = Table(
    "drift_ignore_rules",
    metadata,
    tenant_column(),
    id_column(),
    uuid_column("environment_id", nullable=True),  # null: every environment of the tenant
    display_column("workflow", nullable=True),  # n8n id, canonical id or a pattern of the name
    display_column("node_type", nullable=True),
    display_column("parameter_path", nullable=True),
    display_column("owner"),
    display_column("reason"),
    display_column("created_by"),
    time_column("created_at", nullable=False),
    time_column("expires_at", nullable=False),
    time_column("removed_at"),
    Column("hides", Integer, nullable=False, server_default=text("0")),  # changes it hid in the last checks
    time_column("last_hid_at"),
    refers("environment_id", "environments"),
    Index("ix_drift_ignore_rules_environment", "tenant_id", "environment_id", postgresql_where=text("removed_at is null")),
)

runtime_journal = Table(
    "runtime_journal",  # writes to n8n: intent before, outcome after (design decision 7)
    metadata,
    tenant_column(),
    Column("operation_id", UUID(as_uuid=True), primary_key=True),
    Column("position", Integer, primary_key=True),
    uuid_column("environment_id"),
    text_column("action"),  # update | create | activate | deactivate | archive | unarchive | delete
    text_column("state"),  # intended | done | settled | undone | failed | abandoned
    text_column("workflow_id", nullable=True),  # n8n's; of a create, once it is known
    uuid_column("canonical_id", nullable=True),
    display_column("name"),
    Column("before", JSONB(none_as_null=True), nullable=True),  # digests, hashes, active, archived; null: was not there
    Column("after", JSONB(none_as_null=True), nullable=True),  # the same; null: shall not be there
    display_column("error", nullable=True),
    time_column("intended_at", nullable=False),
    time_column("ended_at"),
    refers("operation_id", "operations"),
    refers("environment_id", "environments"),
    CheckConstraint("action in ('update', 'create', 'activate', 'deactivate', 'archive', 'unarchive', 'delete')",
                    name="action"),
    CheckConstraint("state in ('intended', 'done', 'settled', 'undone', 'failed', 'abandoned')", name="state"),
    Index("ix_runtime_journal_unfinished", "tenant_id", "environment_id",
          postgresql_where=text("state in ('intended', 'done', 'failed')")),
)
