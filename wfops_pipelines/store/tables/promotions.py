"""Promotions, what people decided about them, what was promoted last, and findings that were waived (§11)."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Index, Integer, Table, text
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

WAITING = "status in ('pending', 'pending_approval', 'approved')"
GIT_LEFT = "git_status in ('pending', 'failed')"

promotions = Table(
    "promotions",
    metadata,
    tenant_column(),
    id_column(),
    Column("number", BigInteger, nullable=False),  # within the tenant: what people call it by
    text_column("kind"),  # promotion, or restore of a snapshot
    uuid_column("source_environment_id", nullable=True),  # of a promotion
    uuid_column("source_snapshot_id", nullable=True),  # of a restore
    uuid_column("target_environment_id"),
    text_column("pipeline", nullable=True),  # its name; null where no pipeline leads there
    text_column("status"),
    Column("options", JSONB, nullable=False, server_default=text("'{}'::jsonb")),  # as it was asked for
    text_column("checksum", nullable=True),  # of the plan as it was last computed
    text_column("approved_checksum", nullable=True),
    # How many people have to approve: what the stage asks for when the row is made (the database looks it up).
    Column("approvers", Integer, nullable=False, server_default=text("0")),
    Column("plan", JSONB(none_as_null=True), nullable=True),  # as people see it, without contents
    Column("gates", JSONB(none_as_null=True), nullable=True),
    Column("results", JSONB(none_as_null=True), nullable=True),  # what became of each workflow
    display_column("reason", nullable=True),  # why it is blocked, rejected, failed, rolled back …: the last one said
    Column("rollback_incomplete", Boolean, nullable=False, server_default=text("false")),
    display_column("requested_by"),
    display_column("requested_through", nullable=True),  # the platform admin behind an impersonated user
    uuid_column("operation_id", nullable=True),  # that carried it out
    text_column("run_id", nullable=True),  # the Dagster run of that
    uuid_column("pre_snapshot_id", nullable=True),
    uuid_column("post_snapshot_id", nullable=True),
    text_column("git_status", default="none"),  # none, pending, committed, pull_request, failed
    text_column("git_commit", nullable=True),
    display_column("git_pull_request", nullable=True),
    display_column("git_error", nullable=True),
    time_column("requested_at", nullable=False),
    time_column("changed_at", nullable=False),
    time_column("started_at"),
    time_column("ended_at"),
    refers("source_environment_id", "environments"),
    refers("target_environment_id", "environments"),
    refers("source_snapshot_id", "snapshots"),
    refers("pre_snapshot_id", "snapshots"),
    refers("post_snapshot_id", "snapshots"),
    refers("operation_id", "operations"),
    CheckConstraint("kind in ('promotion', 'restore')", name="kind"),
    CheckConstraint("status in ('pending', 'pending_approval', 'approved', 'running', 'completed', 'completed_with_errors', "
                    "'failed', 'rolled_back', 'blocked', 'rejected', 'cancelled')", name="status"),
    CheckConstraint("(source_environment_id is null) <> (source_snapshot_id is null)", name="one_source"),
    CheckConstraint("git_status in ('none', 'pending', 'committed', 'pull_request', 'failed')", name="git_status"),
    Index("uq_promotions_number", "tenant_id", "number", unique=True),
    Index("ix_promotions_requested", "tenant_id", "requested_at", "id"),
    Index("ix_promotions_target", "tenant_id", "target_environment_id", "requested_at", "id"),
    Index("ix_promotions_status", "tenant_id", "status", "requested_at", "id"),
    Index("uq_promotions_running", "tenant_id", "target_environment_id", unique=True,
          postgresql_where=text("status = 'running'")),  # one at a time per target (§11.6)
    Index("ix_promotions_waiting", "tenant_id", "target_environment_id", postgresql_where=text(WAITING)),
    Index("ix_promotions_git", "tenant_id", "target_environment_id", postgresql_where=text(GIT_LEFT)),
)

promotion_decisions = Table(
    "promotion_decisions",  # append-only: who approved or rejected which plan
    metadata,
    tenant_column(),
    id_column(),
    uuid_column("promotion_id"),
    display_column("decided_by"),
    display_column("decided_through", nullable=True),
    text_column("checksum"),
    Column("approve", Boolean, nullable=False),
    display_column("reason", nullable=True),
    time_column("decided_at", nullable=False),
    refers("promotion_id", "promotions"),
    Index("uq_promotion_decisions_person", "tenant_id", "promotion_id", "decided_by", "checksum", unique=True),
)

promoted_workflows = Table(
    "promoted_workflows",  # the portable content that was promoted last, into an environment or out of it
    metadata,
    tenant_column(),
    Column("environment_id", UUID(as_uuid=True), primary_key=True),
    Column("canonical_id", UUID(as_uuid=True), primary_key=True),
    text_column("digest"),  # of the portable content
    text_column("portable_hash"),  # hash_portable of it
    text_column("content_hash", nullable=True),  # what it was lowered to here; null for where it came from
    uuid_column("promotion_id"),
    time_column("promoted_at", nullable=False),
    refers("environment_id", "environments", ondelete="CASCADE"),
    refers("canonical_id", "canonical_workflows"),
    refers("promotion_id", "promotions"),
)

lint_waivers = Table(
    "lint_waivers",
    metadata,
    tenant_column(),
    id_column(),
    text_column("rule"),
    display_column("workflow", nullable=True),  # canonical id, n8n id or a pattern of the name; null: every workflow
    display_column("node", nullable=True),
    display_column("owner"),
    display_column("reason"),
    display_column("created_by"),
    time_column("created_at", nullable=False),
    time_column("expires_at", nullable=False),
    time_column("removed_at"),
    owned_by_tenant(),
    Index("ix_lint_waivers_standing", "tenant_id", postgresql_where=text("removed_at is null")),
)
