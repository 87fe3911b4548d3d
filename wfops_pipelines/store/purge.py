"""What belongs to a deleted tenant or environment (§2.7): counted, and removed a batch at a time.

The rows of the tenant and of the environment stay, as what audit events, promotions, deployments and incidents tell of. What
was known of n8n and Git goes, and with it what held contents; so do secrets that nothing declared refers to any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, text

_OF_ENVIRONMENT: Final = "environment_id = :environment"
_SNAPSHOTS: Final = """
    environment_id = :environment
    AND (kind <> 'manual_backup' OR EXISTS (
        SELECT FROM tenants t WHERE t.tenant_id = snapshots.tenant_id AND t.deleted_at < :before))
    AND NOT EXISTS (SELECT FROM promotions p WHERE p.tenant_id = snapshots.tenant_id
                    AND p.source_snapshot_id = snapshots.id)"""
_INVENTORY: Final[Mapping[str, str]] = MappingProxyType({
    "workflow_diff_state": "source_environment_id = :environment OR target_environment_id = :environment",
    **dict.fromkeys(("workflow_drift", "workflow_env_map", "canonical_workflow_git_state", "repository_file_errors",
                     "known_listings", "instance_circuits", "refresh_requests", "credential_map", "drift_check_history",
                     "promoted_workflows"),
                    _OF_ENVIRONMENT),
    "runtime_journal": f"{_OF_ENVIRONMENT} AND state IN ('settled', 'undone', 'abandoned')",  # others are to be finished
    # What people took stays as long as the tenant. Those that a promotion was made from are part of its record; what it took
    # around itself is forgotten before.
    "snapshots": _SNAPSHOTS})
"""What is known of an environment, by table: nothing refers to these rows, but for snapshots."""
_FORGET: Final = text("""
    UPDATE promotions SET
        pre_snapshot_id = CASE WHEN pre_snapshot_id = ANY(:gone) THEN NULL ELSE pre_snapshot_id END,
        post_snapshot_id = CASE WHEN post_snapshot_id = ANY(:gone) THEN NULL ELSE post_snapshot_id END
    WHERE tenant_id = :tenant AND (pre_snapshot_id = ANY(:gone) OR post_snapshot_id = ANY(:gone))""")
_WAIT_A_WHILE: Final = text("SET LOCAL lock_timeout = '10s'")
_NOBODY_DECLARES: Final = text(  # the lock of SystemReads.lock_slug, under which a tenant is declared
    "SELECT pg_advisory_xact_lock(hashtextextended(slug, 1)) FROM tenants WHERE tenant_id = :tenant")
_UNUSED_SECRETS: Final = """
    FROM secrets s WHERE s.tenant_id = :tenant AND (
        EXISTS (SELECT FROM tenants t WHERE t.tenant_id = s.tenant_id AND t.deleted_at < :before)
        OR NOT EXISTS (SELECT FROM tenants t WHERE t.tenant_id = s.tenant_id AND t.deleted_at IS NOT NULL)
        AND NOT EXISTS (SELECT FROM notification_targets n WHERE n.tenant_id = s.tenant_id AND n.url_secret = s.name)
        AND NOT EXISTS (SELECT FROM environments e WHERE e.tenant_id = s.tenant_id AND e.api_key_secret = s.name
                        AND (e.deleted_at IS NULL OR e.deleted_at >= :before))
        AND NOT EXISTS (SELECT FROM repositories r WHERE r.tenant_id = s.tenant_id
                        AND s.name IN (r.secret_name, r.webhook_secret)
                        AND (r.name = 'default' OR EXISTS (
                            SELECT FROM environments e WHERE e.tenant_id = r.tenant_id AND e.repository_id = r.id
                            AND (e.deleted_at IS NULL OR e.deleted_at >= :before))))
        AND (s.updated_at < :before
             OR EXISTS (SELECT FROM environments e WHERE e.tenant_id = s.tenant_id AND e.api_key_secret = s.name)
             OR EXISTS (SELECT FROM repositories r WHERE r.tenant_id = s.tenant_id
                        AND s.name IN (r.secret_name, r.webhook_secret))))"""
"""When an environment was deleted is known; when something else was declared no more is not, but when its secret was set."""


class Purge:
    """A tenant's rows that outlived what they belong to."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant = {"tenant": tenant_id}

    def count_inventory(self, environment_id: UUID, before: datetime) -> int:
        """How many rows tell what was known of an environment that was deleted before a time."""
        given = {**self._tenant, "environment": environment_id, "before": before}
        return sum(int(self._connection.execute(
            text(f"SELECT count(*) FROM {table} WHERE tenant_id = :tenant AND ({condition})"),  # noqa: S608 - our own words
            given).scalar_one()) for table, condition in _INVENTORY.items())

    def remove_inventory(self, environment_id: UUID, before: datetime, limit: int) -> int:
        """Remove at most so many of them; returns how many."""
        removed = 0
        for table, condition in _INVENTORY.items():
            if removed < limit:
                given = {**self._tenant, "environment": environment_id, "before": before, "limit": limit - removed}
                if table == "snapshots":
                    removed += self._remove_snapshots(given)
                    continue
                removed += self._connection.execute(text(
                    f"DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table}"  # noqa: S608 - our own words
                    f" WHERE tenant_id = :tenant AND ({condition}) LIMIT :limit))"), given).rowcount
        return removed

    def _remove_snapshots(self, given: Mapping[str, object]) -> int:
        gone: Sequence[UUID] = self._connection.execute(text(
            f"SELECT id FROM snapshots WHERE tenant_id = :tenant AND ({_INVENTORY['snapshots']}) LIMIT :limit"),  # noqa: S608
            given).scalars().all()
        if gone:
            self._connection.execute(_FORGET, {**self._tenant, "gone": list(gone)})
            self._connection.execute(text("DELETE FROM snapshots WHERE tenant_id = :tenant AND id = ANY(:gone)"),
                                     {**self._tenant, "gone": list(gone)})
        return len(gone)

    def count_secrets(self, before: datetime) -> int:
        """How many secrets nothing refers to that is declared, or was deleted since a time."""
        return int(self._connection.execute(text(f"SELECT count(*) {_UNUSED_SECRETS}"),
                                            {**self._tenant, "before": before}).scalar_one())

    def remove_secrets(self, before: datetime, limit: int) -> list[str]:
        """Remove at most so many of them; returns their names. Nobody declares the tenant meanwhile: what is declared anew
        would lose its secret. :class:`StoreBusy` when somebody does for longer than a while."""
        self._connection.execute(_WAIT_A_WHILE)
        self._connection.execute(_NOBODY_DECLARES, self._tenant)
        return list(self._connection.execute(text(
            "DELETE FROM secrets WHERE tenant_id = :tenant AND name = ANY(ARRAY("  # noqa: S608 - our own words
            f"SELECT s.name {_UNUSED_SECRETS} ORDER BY s.name LIMIT :limit)) RETURNING name"),
            {**self._tenant, "before": before, "limit": limit}).scalars())
