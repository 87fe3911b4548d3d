"""Tenants and environments as they are listed: what is declared, and what was last seen."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.shown import iso
from wfops_pipelines.services.pausing import pause_json
from wfops_pipelines.services.services import Services


def tenant_listing(services: Services) -> list[dict[str, Any]]:
    """Every tenant with the drift status of its environments, by slug, and what keeps it at rest (``paused``)."""
    with services.store.system() as system:
        tenants, environments, pauses = system.tenants(), system.environments(), system.pauses()
    found: dict[str, list[Row[Any]]] = {row.slug: [] for row in tenants}
    for environment in environments:
        found[environment.tenant_slug].append(environment)
    return [{
        "tenant": tenant.slug, "name": tenant.name, "plan": tenant.plan, "paused": pause_json(pauses.of(tenant.tenant_id)),
        "environments": [{
            "environment": e.slug, "class": e._mapping["class"], "drift_status": e.drift_status,
            "last_sync_at": iso(e.last_sync_at),
        } for e in found[tenant.slug]],
    } for tenant in tenants]


def environment_listing(services: Services, context: Context) -> list[dict[str, Any]]:
    """A tenant's environments, in the order they were declared. ``workflows`` counts mappings by status. ``circuit`` is that
    of an instance that did not answer lately: open, sweeps leave it alone until ``probe_at``."""
    with services.store.read(context) as work:
        repositories, circuits = work.fleet.repositories(), work.circuits.all()
        rows = [(row, work.mappings.counts(row.id)) for row in work.fleet.environments()]
    return [{
        "tenant": context.tenant_slug, "environment": row.slug, "name": row.name, "class": row._mapping["class"],
        "provider": row.provider, "url": row.base_url, "repository": _repository(row, repositories),
        "workflows": counts, "last_sync_at": iso(row.last_sync_at), "last_heartbeat_at": iso(row.last_heartbeat_at),
        "last_drift_check_at": iso(row.last_drift_check_at), "drift_status": row.drift_status,
        "drift_reason": row.drift_reason, "drift_error": row.drift_error,
        "last_good_drift_status": row.last_good_drift_status, "last_good_drift_at": iso(row.last_good_drift_at),
        "circuit": circuit_as_json(circuits.get(row.id), row.base_url),
    } for row, counts in rows]


def circuit_as_json(row: Row[Any] | None, base_url: str) -> dict[str, Any] | None:
    """A circuit as it is shown; none where the instance answered last, or is another by now."""
    if row is None or row.base_url != base_url:
        return None
    return {"state": row.state, "failures": row.failures, "since": iso(row.since), "probe_at": iso(row.probe_at),
            "reason": row.reason, "message": row.message}


def _repository(environment: Row[Any], repositories: dict[Any, Row[Any]]) -> dict[str, Any] | None:
    row = repositories.get(environment.repository_id)
    if row is None:
        return None
    return {"url": row.url, "provider": row.provider, "branch": environment.branch or row.branch,
            "folder": environment.folder or "", "commit": environment.git_commit}
