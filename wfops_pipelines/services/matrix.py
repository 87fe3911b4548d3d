"""The workflow matrix (§15): canonical workflow × environment, with status, hash and drift."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.drift import DriftKind
from wfops_pipelines.domain.mapping import MappingStatus
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.incident_pages import IncidentFilter
from wfops_pipelines.store.unit_of_work import UnitOfWork

_MAX_INCIDENTS = 10_000  # one per environment at most


@dataclass
class MatrixRow:
    """One workflow: canonical, or (canonical id none) one that is untracked in a single environment. Each cell has
    ``status``, ``hash``, ``drift``, ``incident`` (the open one that its drift belongs to), and the n8n id and path in Git
    where there are any."""

    canonical_id: str | None
    name: str
    environments: dict[str, dict[str, Any]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {"canonical_id": self.canonical_id, "name": self.name, "environments": self.environments}


def workflow_matrix(services: Services, context: Context) -> list[MatrixRow]:
    """The tenant's matrix as the store holds it, by name. Deleted canonical workflows are left out."""
    with services.store.read(context) as work:
        slugs = {row.id: row.slug for row in work.fleet.environments()}
        canonicals = {i: row for i, row in work.mappings.canonicals().items() if row.deleted_at is None}
        mappings = [m for m in work.mappings.of_tenant() if m.environment_id in slugs]
        states = [s for s in work.git_states.of_tenant() if s.environment_id in slugs]
        drifts = {(d.environment_id, d.workflow_id or d.path): d.kind for d in work.drift.of_tenant()}
        incidents = _open_incidents(work, context)
    rows = {i: MatrixRow(str(i), row.name) for i, row in canonicals.items()}
    loose: list[MatrixRow] = []
    for mapping in mappings:
        cell = _cell(mapping, drifts.get((mapping.environment_id, mapping.workflow_id)))
        row = rows.get(mapping.canonical_id) if mapping.canonical_id is not None else None
        if row is None:
            row = MatrixRow(None, mapping.name)
            loose.append(row)
        known = row.environments.get(slugs[mapping.environment_id])
        if known is None or known["status"] == MappingStatus.MISSING:  # a new claim beats one that vanished
            row.environments[slugs[mapping.environment_id]] = cell
    for state in states:
        row = rows.get(state.canonical_id)
        if row is None:
            continue
        cell = row.environments.setdefault(slugs[state.environment_id], {
            "status": "git_only", "hash": None, "drift": None})
        cell["drift"] = cell["drift"] or drifts.get((state.environment_id, state.path))  # of one that is missing
        cell["path"], cell["git_hash"] = state.path, state.content_hash
    shown = [row for row in rows.values() if row.environments] + loose
    for row in shown:
        for slug, cell in row.environments.items():
            drifted = cell["drift"] not in (None, DriftKind.UNPUBLISHED_CHANGES)
            cell["incident"] = incidents.get(slug) if drifted else None
    return sorted(shown, key=lambda row: (row.name.casefold(), row.name, row.canonical_id or ""))


def _open_incidents(work: UnitOfWork, context: Context) -> dict[str, str]:
    """The open incident of each environment that has one, as people call it."""
    rows = work.incidents.listed(IncidentFilter(open_only=True), limit=_MAX_INCIDENTS)
    return {row.environment: f"{context.tenant_slug}#{row.number}" for row in rows}


def _cell(mapping: Row[Any], drift: str | None) -> dict[str, Any]:
    return {"status": mapping.status, "hash": mapping.live_hash, "drift": drift, "workflow_id": mapping.workflow_id,
            "active": mapping.active, "archived": mapping.archived, "name": mapping.name,
            "reason": mapping.unlinked_reason}
