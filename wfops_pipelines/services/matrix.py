"""The workflow matrix (§15): canonical workflow × environment, with status, hash and drift."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.drift import DriftKind
from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.domain.mapping import MappingStatus
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.incident_pages import IncidentFilter
from wfops_pipelines.store.matrix_pages import Listed, PageFile, PageKey, PageMapping
from wfops_pipelines.store.tables.base import storable
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


@dataclass(frozen=True, slots=True)
class MatrixPage:
    """Some rows of the matrix, and the cursor of those that follow; none after the last."""

    rows: list[MatrixRow]
    next_cursor: str | None

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {"rows": [row.as_json() for row in self.rows], "next_cursor": self.next_cursor}


@dataclass(frozen=True, slots=True)
class _Held:
    """What the store holds of some workflows: all that cells are made of. Ids are UUIDs, or all of them text."""

    slugs: Mapping[Any, str]
    mappings: Iterable[Row[Any] | PageMapping]
    states: Iterable[Row[Any] | PageFile]
    drifts: Mapping[tuple[Any, str], str]  # by environment, and n8n id or path
    incidents: dict[str, str]


def workflow_matrix(services: Services, context: Context) -> list[MatrixRow]:
    """The tenant's matrix as the store holds it, by name. Deleted canonical workflows are left out."""
    with services.store.read(context) as work:
        slugs = {row.id: row.slug for row in work.fleet.environments()}
        canonicals = {i: row for i, row in work.mappings.canonicals().items() if row.deleted_at is None}
        held = _Held(slugs, [m for m in work.mappings.of_tenant() if m.environment_id in slugs],
                     [s for s in work.git_states.of_tenant() if s.environment_id in slugs],
                     {(d.environment_id, d.subject): d.kind for d in work.drift.of_tenant()}, _open_incidents(work, context))
    rows = {i: MatrixRow(str(i), row.name) for i, row in canonicals.items()}
    loose = _fill(rows, held)
    shown = [row for row in rows.values() if row.environments] + list(loose.values())
    return sorted(shown, key=lambda row: (row.name.casefold(), row.name, row.canonical_id or ""))


def matrix_page(services: Services, context: Context, *, limit: int, after: str | None = None) -> MatrixPage:
    """At most ``limit`` rows of the matrix, those behind the cursor ``after`` (§19.4). A page costs the same, however many
    workflows the tenant has.

    All pages together are the rows of :func:`workflow_matrix`, in the order of the characters of a name (its first 200; "Z"
    stands before "a"). A cursor is a place, not a row: what it was made at may be gone, and nothing that stays comes twice
    or is missed while others write. :class:`UsageError` for a cursor that is none.
    """
    key = _key(after) if after is not None else None
    with services.store.read(context) as work:
        read = work.mappings.matrix_page(after=key, limit=limit + 1)
    listed = read.listed[:limit]
    wanted = {one.id for one in listed}
    incidents = {read.slugs[i]: f"{context.tenant_slug}#{number}" for i, number in read.incidents.items() if i in read.slugs}
    held = _Held(read.slugs, [m for m in read.mappings if m.canonical_id in wanted or m.id in wanted], read.files,
                 read.drifts, incidents)
    rows = {one.id: MatrixRow(one.id, one.name) for one in listed if not one.loose}
    loose = _fill(rows, held)
    return MatrixPage([(loose if one.loose else rows)[one.id] for one in listed],
                      _cursor(listed[-1]) if len(read.listed) > limit else None)


def _fill(rows: dict[Any, MatrixRow], held: _Held) -> dict[Any, MatrixRow]:
    """Put each mapping and file into its row, by canonical id; returns the rows of the mappings that have none there, by
    the mapping's id."""
    loose: dict[Any, MatrixRow] = {}
    for mapping in sorted(held.mappings, key=_claim):
        row = rows.get(mapping.canonical_id) if mapping.canonical_id is not None else None
        if row is None:
            row = loose[mapping.id] = MatrixRow(None, mapping.name)
        row.environments.setdefault(held.slugs[mapping.environment_id], _cell(
            mapping, held.drifts.get((mapping.environment_id, mapping.workflow_id))))
    for state in held.states:
        row = rows.get(state.canonical_id)
        if row is None:
            continue
        cell = row.environments.setdefault(held.slugs[state.environment_id], {
            "status": "git_only", "hash": None, "drift": None})
        cell["drift"] = cell["drift"] or held.drifts.get((state.environment_id, state.path))  # of one that is missing
        cell["path"], cell["git_hash"] = state.path, state.content_hash
    for row in (*rows.values(), *loose.values()):
        for slug, cell in row.environments.items():
            drifted = cell["drift"] not in (None, DriftKind.UNPUBLISHED_CHANGES)
            cell["incident"] = held.incidents.get(slug) if drifted else None
    return loose


def _claim(mapping: Row[Any] | PageMapping) -> tuple[bool, bool, UUID | str]:
    """Whose the one cell is that several mappings of a canonical workflow may have: a new claim beats one that vanished."""
    return mapping.status == MappingStatus.MISSING, mapping.status != MappingStatus.LINKED, mapping.id


def _cursor(last: Listed) -> str:
    said = json.dumps([last.sort_name, last.loose, last.id], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(said.encode()).decode().rstrip("=")


def _key(cursor: str) -> PageKey:
    """The place that a cursor stands for."""
    try:
        match json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)):
            case [str(sort_name), bool(loose), str(id_)] if storable(sort_name) == sort_name:
                return PageKey(sort_name, loose, UUID(id_))
    except (ValueError, RecursionError):  # no base64, UTF-8, JSON or UUID
        pass
    raise UsageError(f"{cursor[:100]!r} is no cursor of the matrix",
                     fix="a page says the cursor of the next one; without --after the first page is shown")


def _open_incidents(work: UnitOfWork, context: Context) -> dict[str, str]:
    """The open incident of each environment that has one, as people call it."""
    rows = work.incidents.listed(IncidentFilter(open_only=True), limit=_MAX_INCIDENTS)
    return {row.environment: f"{context.tenant_slug}#{row.number}" for row in rows}


def _cell(mapping: Row[Any] | PageMapping, drift: str | None) -> dict[str, Any]:
    return {"status": mapping.status, "hash": mapping.live_hash, "drift": drift, "workflow_id": mapping.workflow_id,
            "active": mapping.active, "archived": mapping.archived, "name": mapping.name,
            "reason": mapping.unlinked_reason}
