"""Pages of incidents, newest first: of one tenant, or for whoever may see all of them (§10, §19.4)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, ColumnElement, Connection, Row, Select, and_, literal_column, select, text, tuple_

from wfops_pipelines.store.tables.fleet import environments, tenants
from wfops_pipelines.store.tables.incidents import OPEN
from wfops_pipelines.store.tables.incidents import drift_incidents as incidents

# what a list shows: the snapshot is large, and read for one incident alone
LISTED = tuple(c for c in incidents.c if c.name not in {"drift_snapshot", "cause", "reach"})
_IS_OPEN: ColumnElement[bool] = literal_column(f"drift_incidents.{OPEN}", Boolean)  # as the partial index says it
_WORKFLOWS = text("""
    SELECT i.id, (SELECT jsonb_agg(jsonb_build_object(
        'name', w -> 'name', 'kind', w -> 'kind', 'workflow_id', w -> 'workflow_id', 'canonical_id', w -> 'canonical_id',
        'path', w -> 'path') ORDER BY position)
      FROM jsonb_array_elements(i.drift_snapshot -> 'workflows') WITH ORDINALITY AS found(w, position)) AS workflows
    FROM unnest(CAST(:tenant_ids AS uuid[]), CAST(:ids AS uuid[])) AS wanted(tenant_id, id)
    JOIN drift_incidents i USING (tenant_id, id)""")


@dataclass(frozen=True, slots=True)
class IncidentFilter:
    """Which incidents a listing is about; what is not said does not narrow it."""

    environment_id: UUID | None = None
    environment: str | None = None  # its slug, where tenants are listed together
    statuses: Collection[str] = ()
    severities: Collection[str] = ()
    open_only: bool = False
    before: tuple[datetime, UUID] | None = None  # the last row of the page before: a cursor


def page(wanted: IncidentFilter, *, limit: int, tenant_id: UUID | None = None) -> Select[Any]:
    """A page with ``environment`` (slug) and ``tenant_slug``, without the payloads; of one tenant, or of all that are not
    deleted."""
    conditions: list[ColumnElement[bool]] = []
    if tenant_id is not None:
        conditions.append(incidents.c.tenant_id == tenant_id)
    else:
        conditions.append(incidents.c.tenant_id.in_(select(tenants.c.tenant_id).where(tenants.c.deleted_at.is_(None))))
    if wanted.open_only:
        conditions.append(_IS_OPEN)
    if wanted.environment_id is not None:
        conditions.append(incidents.c.environment_id == wanted.environment_id)
    if wanted.environment is not None:
        conditions.append(tuple_(incidents.c.tenant_id, incidents.c.environment_id).in_(
            select(environments.c.tenant_id, environments.c.id).where(environments.c.slug == wanted.environment)))
    if wanted.statuses:
        conditions.append(incidents.c.status.in_(sorted(wanted.statuses)))
    if wanted.severities:
        conditions.append(incidents.c.severity.in_(sorted(wanted.severities)))
    if wanted.before is not None:
        # as one comparison of rows: the index is read from there on, and PostgreSQL knows how much that leaves
        conditions.append(tuple_(incidents.c.detected_at, incidents.c.id) < wanted.before)
    # The page is found first, and its names are looked up then: joined at once, PostgreSQL likes to begin with the
    # environments, reads every incident of each, and sorts them.
    found = (select(*LISTED).where(*conditions).order_by(incidents.c.detected_at.desc(), incidents.c.id.desc())
             .limit(limit).subquery("found"))
    owner = found.c.tenant_id if tenant_id is None else tenant_id  # said again: a row's own costs a scan for each row
    return (select(found, environments.c.slug.label("environment"), tenants.c.slug.label("tenant_slug"))
            .join(environments, and_(environments.c.tenant_id == owner, environments.c.id == found.c.environment_id))
            .join(tenants, tenants.c.tenant_id == owner)
            .order_by(found.c.detected_at.desc(), found.c.id.desc()))


def workflows_of(connection: Connection, rows: Collection[Row[Any]]) -> dict[UUID, list[dict[str, Any]]]:
    """What drifted when each of these incidents was opened: name, kind, ids and path; nothing of what is purged."""
    if not rows:
        return {}
    found = connection.execute(_WORKFLOWS, {"ids": [row.id for row in rows],
                                            "tenant_ids": [row.tenant_id for row in rows]})
    return {row.id: row.workflows or [] for row in found}
