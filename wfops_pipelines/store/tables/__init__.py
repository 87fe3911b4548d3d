"""The tables, one file per noun, on one MetaData; ``TENANT_TABLES`` are those that row-level security guards."""

from __future__ import annotations

from wfops_pipelines.store.tables import (
    audit,
    command_runs,
    deployments,
    drift,
    fleet,
    git_states,
    incidents,
    mappings,
    notices,
    operations,
    pauses,
    payloads,
    promotions,
    pushes,
    reconciliation,
    snapshots,
    sweeps,
)
from wfops_pipelines.store.tables.base import metadata

TENANT_TABLES: tuple[str, ...] = tuple(
    sorted(t.name for t in metadata.tables.values() if "tenant_id" in t.c or t.name == "tenants")
)

__all__ = [
    "TENANT_TABLES", "audit", "command_runs", "deployments", "drift", "fleet", "git_states", "incidents", "mappings",
    "metadata", "notices", "operations", "pauses", "payloads", "promotions", "pushes", "reconciliation", "snapshots",
    "sweeps",
]
