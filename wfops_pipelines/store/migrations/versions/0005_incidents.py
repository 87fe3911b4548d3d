"""drift incidents with approvals, ignore rules and a journal of writes; outbox and alert rules

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from wfops_pipelines.store.migrations.incidents import guard_incidents, unguard_incidents
from wfops_pipelines.store.migrations.security import guard

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = (
    "tenant_counters",
    "drift_incidents",
    "drift_approvals",
    "drift_ignore_rules",
    "runtime_journal",
    "outbox",
    "alert_rules",
    "alert_states",
    "alert_events",
)


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=False),
        sa.Column("message", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("digest_of", sa.UUID(), nullable=True),
        sa.CheckConstraint("status in ('pending', 'sent', 'dead', 'dropped')", name=op.f("ck_outbox_status")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_outbox_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_outbox")),
    )
    op.create_index("ix_outbox_due", "outbox", ["not_before"], unique=False, postgresql_where=sa.text("status = 'pending'"))
    op.create_index(
        "ix_outbox_order",
        "outbox",
        ["tenant_id", "target", "subject", "sequence"],
        unique=False,
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index("ix_outbox_status", "outbox", ["tenant_id", "status", "sequence"], unique=False)
    op.create_index("uq_outbox_dedupe_key", "outbox", ["tenant_id", "target", "dedupe_key"], unique=True)
    op.create_table(
        "tenant_counters",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_tenant_counters_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "name", name=op.f("pk_tenant_counters")),
    )
    op.create_table(
        "alert_rules",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("comparison", sa.Text(), nullable=False),
        sa.Column("threshold", sa.Float(), nullable=False),
        sa.Column("clear_threshold", sa.Float(), nullable=True),
        sa.Column("window_seconds", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("cooldown_seconds", sa.Integer(), nullable=False),
        sa.Column("evaluations", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("clear_evaluations", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("on_missing", sa.Text(), server_default="keep", nullable=False),
        sa.Column("repeat", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.UUID(), nullable=True),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_alert_rules_tenant_id_environment_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_alert_rules_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_alert_rules")),
    )
    op.create_index("uq_alert_rules_name", "alert_rules", ["tenant_id", "name"], unique=True)
    op.create_table(
        "drift_ignore_rules",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("environment_id", sa.UUID(), nullable=True),
        sa.Column("workflow", sa.Text(), nullable=True),
        sa.Column("node_type", sa.Text(), nullable=True),
        sa.Column("parameter_path", sa.Text(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("hides", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_hid_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_drift_ignore_rules_tenant_id_environment_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_drift_ignore_rules")),
    )
    op.create_index(
        "ix_drift_ignore_rules_environment",
        "drift_ignore_rules",
        ["tenant_id", "environment_id"],
        unique=False,
        postgresql_where=sa.text("removed_at is null"),
    )
    op.create_table(
        "drift_incidents",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("environment_id", sa.UUID(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("escalation", sa.Text(), server_default="none", nullable=False),
        sa.Column("forced", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("ticket", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("resolution", sa.Text(), nullable=True),
        sa.Column("affected", sa.Integer(), nullable=False),
        sa.Column("drift_fingerprint", sa.Text(), nullable=False),
        sa.Column("detected_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
        sa.Column("stabilized_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stabilized_by", sa.Text(), nullable=True),
        sa.Column("reconciled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reconciled_by", sa.Text(), nullable=True),
        sa.Column("expired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_by", sa.Text(), nullable=True),
        sa.Column("opened_by_operation", sa.UUID(), nullable=True),
        sa.Column("resolved_by_operation", sa.UUID(), nullable=True),
        sa.Column("drift_snapshot", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("payload_purged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cause", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("reach", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("change_group", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "escalation in ('none', 'escalated', 'critical_overdue', 'overdue')", name=op.f("ck_drift_incidents_escalation")
        ),
        sa.CheckConstraint(
            "resolution in ('promote', 'revert', 'replace', 'acknowledge', 'drift_gone')",
            name=op.f("ck_drift_incidents_resolution"),
        ),
        sa.CheckConstraint("severity in ('low', 'medium', 'high', 'critical')", name=op.f("ck_drift_incidents_severity")),
        sa.CheckConstraint(
            "status in ('detected', 'acknowledged', 'stabilized', 'reconciled', 'expired', 'closed', 'cancelled')",
            name=op.f("ck_drift_incidents_status"),
        ),
        sa.CheckConstraint(
            "payload_purged_at is null or drift_snapshot is null", name=op.f("ck_drift_incidents_payload")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_drift_incidents_tenant_id_environment_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_drift_incidents")),
    )
    op.create_index(
        "ix_drift_incidents_closed",
        "drift_incidents",
        ["tenant_id", "closed_at"],
        unique=False,
        postgresql_where=sa.text("closed_at is not null and payload_purged_at is null"),
    )
    op.create_index("ix_drift_incidents_detected", "drift_incidents", ["tenant_id", "detected_at", "id"], unique=False)
    op.create_index(
        "ix_drift_incidents_due",
        "drift_incidents",
        ["next_due_at"],
        unique=False,
        postgresql_where=sa.text("next_due_at is not null"),
    )
    op.create_index(
        "ix_drift_incidents_environment",
        "drift_incidents",
        ["tenant_id", "environment_id", "detected_at", "id"],
        unique=False,
    )
    op.create_index(
        "ix_drift_incidents_group",
        "drift_incidents",
        ["change_group"],
        unique=False,
        postgresql_where=sa.text("status not in ('closed', 'cancelled')"),
    )
    op.create_index("ix_drift_incidents_newest", "drift_incidents", ["detected_at", "id"], unique=False)
    op.create_index(
        "ix_drift_incidents_open",
        "drift_incidents",
        ["detected_at", "id"],
        unique=False,
        postgresql_where=sa.text("status not in ('closed', 'cancelled')"),
    )
    op.create_index(
        "ix_drift_incidents_severity", "drift_incidents", ["tenant_id", "severity", "detected_at", "id"], unique=False
    )
    op.create_index(
        "ix_drift_incidents_status", "drift_incidents", ["tenant_id", "status", "detected_at", "id"], unique=False
    )
    op.create_index("uq_drift_incidents_number", "drift_incidents", ["tenant_id", "number"], unique=True)
    op.create_index(
        "uq_drift_incidents_open",
        "drift_incidents",
        ["tenant_id", "environment_id"],
        unique=True,
        postgresql_where=sa.text("status not in ('closed', 'cancelled')"),
    )
    op.create_table(
        "alert_events",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("rule_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "rule_id"],
            ["alert_rules.tenant_id", "alert_rules.id"],
            name=op.f("fk_alert_events_tenant_id_rule_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_alert_events")),
    )
    op.create_index("ix_alert_events_rule", "alert_events", ["tenant_id", "rule_id", "at"], unique=False)
    op.create_table(
        "alert_states",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("rule_id", sa.UUID(), nullable=False),
        sa.Column("state", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("firing", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("evaluated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "rule_id"],
            ["alert_rules.tenant_id", "alert_rules.id"],
            name=op.f("fk_alert_states_tenant_id_rule_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "rule_id", name=op.f("pk_alert_states")),
    )
    op.create_table(
        "drift_approvals",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("incident_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column(
            "arguments", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decision_reason", sa.Text(), nullable=True),
        sa.Column("executed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "decided_by is null or status = 'cancelled' or decided_by <> requested_by",
            name=op.f("ck_drift_approvals_someone_else"),
        ),
        sa.CheckConstraint(
            "kind in ('acknowledge', 'extend_ttl', 'close', 'reconcile')", name=op.f("ck_drift_approvals_kind")
        ),
        sa.CheckConstraint(
            "status in ('pending', 'approved', 'rejected', 'executed', 'cancelled')", name=op.f("ck_drift_approvals_status")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "incident_id"],
            ["drift_incidents.tenant_id", "drift_incidents.id"],
            name=op.f("fk_drift_approvals_tenant_id_incident_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_drift_approvals")),
    )
    op.create_index(
        "ix_drift_approvals_incident", "drift_approvals", ["tenant_id", "incident_id", "requested_at"], unique=False
    )
    op.create_index(
        "uq_drift_approvals_waiting",
        "drift_approvals",
        ["tenant_id", "incident_id", "kind"],
        unique=True,
        postgresql_where=sa.text("status in ('pending', 'approved')"),
    )
    op.create_table(
        "runtime_journal",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("operation_id", sa.UUID(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("environment_id", sa.UUID(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("workflow_id", sa.Text(), nullable=True),
        sa.Column("canonical_id", sa.UUID(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("before", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("after", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("intended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "action in ('update', 'create', 'activate', 'deactivate', 'archive', 'unarchive', 'delete')",
            name=op.f("ck_runtime_journal_action"),
        ),
        sa.CheckConstraint(
            "state in ('intended', 'done', 'settled', 'undone', 'failed', 'abandoned')",
            name=op.f("ck_runtime_journal_state"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_runtime_journal_tenant_id_environment_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "operation_id"],
            ["operations.tenant_id", "operations.id"],
            name=op.f("fk_runtime_journal_tenant_id_operation_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "operation_id", "position", name=op.f("pk_runtime_journal")),
    )
    op.create_index(
        "ix_runtime_journal_unfinished",
        "runtime_journal",
        ["tenant_id", "environment_id"],
        unique=False,
        postgresql_where=sa.text("state in ('intended', 'done', 'failed')"),
    )
    op.add_column("environments", sa.Column("writes_blocked_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("environments", sa.Column("writes_blocked_reason", sa.Text(), nullable=True))
    op.add_column("notification_targets", sa.Column("quiet_hours", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column(
        "notification_targets", sa.Column("digest_minutes", sa.Integer(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column("notification_targets", sa.Column("min_severity", sa.Text(), server_default="low", nullable=False))
    for table in TABLES:
        guard(table)
    guard_incidents()


def downgrade() -> None:
    unguard_incidents()
    op.drop_column("notification_targets", "min_severity")
    op.drop_column("notification_targets", "digest_minutes")
    op.drop_column("notification_targets", "quiet_hours")
    op.drop_column("environments", "writes_blocked_reason")
    op.drop_column("environments", "writes_blocked_at")
    op.drop_table("runtime_journal")
    op.drop_table("drift_approvals")
    op.drop_table("alert_states")
    op.drop_table("alert_events")
    op.drop_table("drift_incidents")
    op.drop_table("drift_ignore_rules")
    op.drop_table("alert_rules")
    op.drop_table("tenant_counters")
    op.drop_table("outbox")
