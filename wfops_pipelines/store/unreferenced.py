"""Payloads that nothing refers to any more (§18).

Who refers to a payload: columns with a foreign key (mappings, Git states, the manifests of snapshots), columns and documents
without one (what was promoted last, journals, incidents, checkpoints, promotions under way), and the manifests of snapshots,
which list contents. The last are packed, and so the caller's to look into: :meth:`UnreferencedPayloads.manifests`.
In documents any text as long as a digest counts: one too many is kept rather than one too few.

A payload is not referred to in the moment it is stored: an operation stores first, and what is there already is not stored
again. Whoever stores payloads holds the lease of an environment until they are referred to. So payloads are removed only
while no operation of the tenant runs and none can begin: :meth:`UnreferencedPayloads.hold_still`.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

_REFERRED: Final = """
    SELECT draft_digest AS digest FROM workflow_env_map WHERE tenant_id = :tenant
    UNION ALL SELECT live_digest FROM workflow_env_map WHERE tenant_id = :tenant
    UNION ALL SELECT digest FROM canonical_workflow_git_state WHERE tenant_id = :tenant
    UNION ALL SELECT manifest_digest FROM snapshots WHERE tenant_id = :tenant
    UNION ALL SELECT digest FROM promoted_workflows WHERE tenant_id = :tenant
    UNION ALL SELECT named FROM (
        SELECT before AS document FROM runtime_journal WHERE tenant_id = :tenant
        UNION ALL SELECT after FROM runtime_journal WHERE tenant_id = :tenant
        UNION ALL SELECT drift_snapshot FROM drift_incidents WHERE tenant_id = :tenant
        UNION ALL SELECT checkpoint FROM operations
            WHERE tenant_id = :tenant AND state IN ('queued', 'running', 'failed') AND checkpoint IS NOT NULL
        UNION ALL SELECT jsonb_build_array(options, plan, results) FROM promotions
            WHERE tenant_id = :tenant AND status IN ('pending', 'pending_approval', 'approved', 'running', 'failed')
    ) AS told, unnest(string_to_array(CAST(told.document AS text), '"')) AS named WHERE length(named) = 64"""
_UNREFERENCED: Final = f"""
    payloads.tenant_id = :tenant AND NOT EXISTS (
        SELECT FROM ({_REFERRED}) AS referred WHERE referred.digest = payloads.digest)"""
_FIND: Final = text(f"SELECT digest FROM payloads WHERE {_UNREFERENCED} ORDER BY digest")  # noqa: S608 - our own words
_REMOVE: Final = text(f"DELETE FROM payloads WHERE {_UNREFERENCED} AND digest = ANY(:digests) "  # noqa: S608
                      "RETURNING octet_length(body)").bindparams(bindparam("digests", type_=ARRAY(TEXT)))
_MANIFESTS: Final = text("SELECT DISTINCT manifest_digest FROM snapshots WHERE tenant_id = :tenant")
# The lock under which a lease is taken (``Leases.lock``), of every environment, also of deleted ones.
_NONE_BEGINS: Final = text(
    "SELECT pg_try_advisory_xact_lock(hashtextextended(CAST(tenant_id AS text) || '/' || CAST(id AS text), 2)) "
    "FROM environments WHERE tenant_id = :tenant ORDER BY id")
_RUNNING: Final = text(
    "SELECT count(*) FROM environment_leases WHERE tenant_id = :tenant AND released_at IS NULL "
    "AND heartbeat_at > clock_timestamp() - CAST(:stale AS interval)")


class UnreferencedPayloads:
    """A tenant's payloads, as far as columns and documents tell."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant = {"tenant": tenant_id}

    def hold_still(self, stale_after: float) -> bool:
        """Whether no operation of the tenant runs; if so, none begins until the transaction ends. A holder lives whose
        heartbeat is younger than ``stale_after`` seconds."""
        free = all(self._connection.execute(_NONE_BEGINS, self._tenant).scalars().all())
        return free and self._connection.execute(
            _RUNNING, {**self._tenant, "stale": timedelta(seconds=stale_after)}).scalar_one() == 0

    def manifests(self) -> set[str]:
        """Digests of the manifests of all snapshots."""
        return set(self._connection.execute(_MANIFESTS, self._tenant).scalars())

    def find(self) -> list[str]:
        """Digests that no column and no document names, in order; manifests may list some of them."""
        return list(self._connection.execute(_FIND, self._tenant).scalars())

    def remove(self, digests: Collection[str]) -> tuple[int, int]:
        """Remove those that are still named by nothing; returns how many, and the bytes that they took."""
        sizes = self._connection.execute(_REMOVE, {**self._tenant, "digests": sorted(digests)}).scalars().all()
        return len(sizes), sum(sizes)
