"""Pages of the workflow matrix: what a page lists, and all that its cells are made of, read as one statement (§15, §19.4).

Rows are canonical workflows that are not deleted and are somewhere, in n8n or in Git; and *loose* mappings, those of no
canonical workflow or of a deleted one. They are ordered by ``sort_name``, canonical workflows first, then by id; each kind
is read in the order of an index of its own, from the cursor on. It all travels as JSON: several hundred rows of five tables
cost less that way than their round trips and conversions would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, TextualSelect, text
from sqlalchemy.dialects.postgresql import JSON

_LEAST, _GREATEST = UUID(int=0), UUID(int=2**128 - 1)

# Whether a workflow is somewhere is asked as scalars, which PostgreSQL asks for each row that a page needs: for EXISTS it
# may read all mappings of the tenant beforehand. What cells are made of is asked for the whole page at once, by an array: an
# index is gone through once then, and not once a row. OFFSET 0 keeps environments from being asked first: PostgreSQL takes
# the mappings of one for few, since it does not know that an environment says the tenant. Comparisons of rows let an index
# be read from the cursor on.
_CELL = "id, environment_id, workflow_id, canonical_id, status, unlinked_reason, name, active, archived, live_hash"
_SQL = """
    WITH here AS MATERIALIZED (
        SELECT id, slug FROM environments WHERE tenant_id = :tenant AND deleted_at IS NULL),
    page AS MATERIALIZED (
        (SELECT false AS loose, c.sort_name, c.id, c.name FROM canonical_workflows c
         WHERE c.tenant_id = :tenant AND c.deleted_at IS NULL AND (c.sort_name, c.id) {canonical} (:sort_name, :canonical)
           AND coalesce((SELECT true FROM workflow_env_map m WHERE m.tenant_id = :tenant AND m.canonical_id = c.id
                           AND m.status <> 'deleted' AND m.environment_id IN (SELECT id FROM here) LIMIT 1),
                        (SELECT true FROM here JOIN canonical_workflow_git_state s ON s.environment_id = here.id
                         WHERE s.tenant_id = :tenant AND s.canonical_id = c.id AND s.deleted_at IS NULL LIMIT 1), false)
         ORDER BY c.sort_name, c.id LIMIT :limit)
        UNION ALL
        (SELECT true, m.sort_name, m.id, m.name FROM workflow_env_map m
         WHERE m.tenant_id = :tenant AND m.canonical_id IS NULL AND m.status <> 'deleted'
           AND (m.sort_name, m.id) {loose} (:sort_name, :loose) AND m.environment_id IN (SELECT id FROM here)
         ORDER BY m.sort_name, m.id LIMIT :limit)
        UNION ALL
        (SELECT true, m.sort_name, m.id, m.name FROM canonical_workflows c
         JOIN workflow_env_map m ON m.tenant_id = :tenant AND m.canonical_id = c.id
         WHERE c.tenant_id = :tenant AND c.deleted_at IS NOT NULL AND m.status <> 'deleted'
           AND (m.sort_name, m.id) {loose} (:sort_name, :loose) AND m.environment_id IN (SELECT id FROM here)
         ORDER BY m.sort_name, m.id LIMIT :limit)
        ORDER BY sort_name, loose, id LIMIT :limit),
    mapped AS MATERIALIZED (
        SELECT m.* FROM (
            SELECT {cell} FROM workflow_env_map WHERE tenant_id = :tenant AND status <> 'deleted'
              AND canonical_id = ANY(ARRAY(SELECT id FROM page WHERE NOT loose)) OFFSET 0) m
        WHERE m.environment_id IN (SELECT id FROM here)
        UNION ALL
        SELECT m.* FROM page CROSS JOIN LATERAL (
            SELECT {cell} FROM workflow_env_map WHERE tenant_id = :tenant AND id = page.id OFFSET 0) m
        WHERE page.loose),
    files AS MATERIALIZED (
        SELECT s.* FROM (
            SELECT environment_id, canonical_id, path, content_hash FROM canonical_workflow_git_state
            WHERE tenant_id = :tenant AND deleted_at IS NULL
              AND canonical_id = ANY(ARRAY(SELECT id FROM page WHERE NOT loose)) OFFSET 0) s
        WHERE s.environment_id IN (SELECT id FROM here)),
    drifting AS (
        SELECT d.* FROM here CROSS JOIN LATERAL (
            SELECT environment_id, subject, kind FROM workflow_drift WHERE tenant_id = :tenant AND environment_id = here.id
              AND subject = ANY(ARRAY(SELECT workflow_id FROM mapped UNION SELECT path FROM files)) OFFSET 0) d)
    SELECT json_build_array(
        (SELECT json_agg(json_build_array(id, slug)) FROM here),
        (SELECT json_agg(json_build_array(sort_name, loose, id, name) ORDER BY sort_name, loose, id) FROM page),
        (SELECT json_agg(json_build_array({cell})) FROM mapped),
        (SELECT json_agg(json_build_array(environment_id, canonical_id, path, content_hash)) FROM files),
        (SELECT json_agg(json_build_array(environment_id, subject, kind)) FROM drifting),
        (SELECT json_agg(json_build_array(environment_id, number)) FROM drift_incidents
         WHERE tenant_id = :tenant AND status not in ('closed', 'cancelled')))"""


class PageKey(NamedTuple):
    """Where a row stands among the pages."""

    sort_name: str
    loose: bool
    id: UUID


class Listed(NamedTuple):
    """A row of a page: of a canonical workflow, or (``loose``) of the mapping with that id."""

    sort_name: str
    loose: bool
    id: str
    name: str


class PageMapping(NamedTuple):
    """What a cell shows of a mapping."""

    id: str
    environment_id: str
    workflow_id: str
    canonical_id: str | None
    status: str
    unlinked_reason: str | None
    name: str
    active: bool
    archived: bool
    live_hash: str


class PageFile(NamedTuple):
    """What a cell shows of a canonical workflow's file."""

    environment_id: str
    canonical_id: str
    path: str
    content_hash: str


@dataclass(frozen=True, slots=True)
class PageRead:
    """Some rows, and what the store holds of them. Ids are text."""

    slugs: dict[str, str]  # of the environments
    listed: list[Listed]
    mappings: list[PageMapping]
    files: list[PageFile]
    drifts: dict[tuple[str, str], str]  # the kind, by environment, and n8n id or path
    incidents: dict[str, int]  # numbers of open ones, by environment


def _statement(canonical: str, loose: str) -> TextualSelect:
    return text(_SQL.format(canonical=canonical, loose=loose, cell=_CELL)).columns(page=JSON)


# To plan the statement takes longer than to execute it, and the plan is the same for every tenant: one plan a connection,
# from the time on that the driver prepares it.
_PLAN_ONCE = text("SET LOCAL plan_cache_mode = force_generic_plan")
_FIRST, _AFTER_CANONICAL, _AFTER_LOOSE = _statement(">=", ">="), _statement(">", ">="), _statement(">", ">")


def read_page(connection: Connection, tenant_id: UUID, *, after: PageKey | None, limit: int) -> PageRead:
    """The first rows, at most ``limit``, of a tenant's matrix; or the first behind ``after``."""
    if after is None:
        statement, sort_name, canonical, loose = _FIRST, "", _LEAST, _LEAST
    elif after.loose:
        statement, sort_name, canonical, loose = _AFTER_LOOSE, after.sort_name, _GREATEST, after.id
    else:
        statement, sort_name, canonical, loose = _AFTER_CANONICAL, after.sort_name, after.id, _LEAST
    connection.execute(_PLAN_ONCE)
    parts: list[Sequence[Sequence[object]] | None] = connection.execute(statement, {
        "tenant": tenant_id, "sort_name": sort_name, "canonical": canonical, "loose": loose, "limit": limit}).scalar_one()
    slugs, listed, mappings, files, drifts, incidents = (part or () for part in parts)
    return PageRead(dict(slugs), [Listed(*row) for row in listed], [PageMapping(*row) for row in mappings],  # type: ignore[arg-type]
                    [PageFile(*row) for row in files], {(e, s): kind for e, s, kind in drifts},  # type: ignore[arg-type, misc]
                    dict(incidents))  # type: ignore[arg-type]
