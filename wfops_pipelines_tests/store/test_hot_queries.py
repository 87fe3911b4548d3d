"""Queries that run for every batch, page or request find their rows by an index (§19.4), also under row-level security.

The statements are those the store really makes, explained as the application role over the rows of many tenants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import event

from wfops_pipelines.domain.context import Context
from wfops_pipelines.store.incident_pages import IncidentFilter
from wfops_pipelines.store.matrix_pages import PageKey
from wfops_pipelines.store.roles import Urls, in_database
from wfops_pipelines.store.unit_of_work import Store, UnitOfWork
from wfops_pipelines_tests.servers.postgres import PostgresServer
from wfops_pipelines_tests.store.stores import context_for, open_store, prepared

TENANTS, WORKFLOWS, ENVIRONMENTS = 20, 300, 2
FILL = """
INSERT INTO tenants (tenant_id, slug, name) SELECT gen_random_uuid(), 't' || n, 'T' FROM generate_series(1, {tenants}) n;
INSERT INTO environments (tenant_id, id, slug, name, class, base_url, api_key_secret)
    SELECT tenant_id, gen_random_uuid(), 'e' || n, 'E', 'production', 'http://x', 'k' FROM tenants, generate_series(1, {environments}) n;
INSERT INTO payloads SELECT tenant_id, encode(sha256(n::text::bytea), 'hex'), '', 0 FROM tenants, generate_series(1, {workflows}) n;
INSERT INTO canonical_workflows (tenant_id, id, name)
    SELECT tenant_id, gen_random_uuid(), 'W' || n FROM tenants, generate_series(1, {workflows}) n;
CREATE TEMPORARY TABLE numbered AS
    SELECT *, row_number() OVER (PARTITION BY tenant_id) AS n FROM canonical_workflows;
INSERT INTO workflow_env_map (tenant_id, id, environment_id, workflow_id, canonical_id, status, name, active, draft_digest,
                              live_digest, draft_hash, live_hash, portable_hash, normalizer_version)
    SELECT tenant_id, gen_random_uuid(), e.id, 'w' || c.n, c.id, 'linked', c.name, true, d, d, d, d, d, 1
    FROM numbered c JOIN environments e USING (tenant_id), encode(sha256(c.n::text::bytea), 'hex') d;
INSERT INTO workflow_hash_registry (tenant_id, portable_hash, normalizer_version, canonical_id, proof)
    SELECT tenant_id, portable_hash, 1, canonical_id, 'p' FROM workflow_env_map m ON CONFLICT DO NOTHING;
INSERT INTO canonical_workflow_git_state (tenant_id, environment_id, path, canonical_id, blob, commit, workflow_id, name,
                                          digest, content_hash, portable_hash, normalizer_version)
    SELECT tenant_id, environment_id, workflow_id || '.json', canonical_id, 'b', 'c', workflow_id, name, live_digest, 'h', 'h', 1
    FROM workflow_env_map;
INSERT INTO workflow_drift (tenant_id, environment_id, subject, name, kind, kinds)
    SELECT tenant_id, environment_id, workflow_id, name, 'modified', '{{modified}}' FROM workflow_env_map;
INSERT INTO drift_check_history (tenant_id, id, environment_id, type, status, counts, fingerprint, duration_ms, first_at, last_at)
    SELECT tenant_id, gen_random_uuid(), environment_id, 'scheduled', 'IN_SYNC', '{{}}', 'f', 1, now(), now() FROM workflow_env_map;
INSERT INTO operations (tenant_id, id, kind, environment_id, state, actor, created_at)
    SELECT tenant_id, id, 'environment_sync', environment_id, 'queued', 'a', now() FROM workflow_env_map;
INSERT INTO drift_incidents (tenant_id, id, number, environment_id, status, severity, title, affected, drift_fingerprint,
                             detected_at, last_seen_at, expires_at, next_due_at, closed_at)
    SELECT tenant_id, id, number, environment_id, CASE WHEN n = 1 THEN 'detected' ELSE 'closed' END,
           (ARRAY['low', 'medium', 'high', 'critical'])[1 + n % 4], 'Drift', 1, 'f', t, t, t,
           CASE WHEN n = 1 THEN t END, CASE WHEN n > 1 THEN t END
    FROM (SELECT *, row_number() OVER (PARTITION BY environment_id ORDER BY id) AS n,
                 row_number() OVER (PARTITION BY tenant_id) AS number FROM workflow_env_map) m,
         LATERAL (SELECT now() - m.n * interval '1 hour' AS t) times;
INSERT INTO audit_events (tenant_id, sequence, id, at, actor, action, subject_type, subject_id, operation_id, encoded, previous, hash)
    SELECT tenant_id, row_number() OVER (PARTITION BY tenant_id), id, now(), 'a', 'mapping.linked', 'workflow', workflow_id, id, '', '', ''
    FROM workflow_env_map;
"""


@dataclass
class Filled:
    """A store of many tenants, and one environment to ask about."""

    store: Store
    context: Context
    environment_id: UUID
    workflow_ids: list[str]
    canonical_ids: list[UUID]
    digests: list[str]


@pytest.fixture(scope="module")
def filled(postgres_server: PostgresServer) -> Iterator[Filled]:
    urls: Urls = postgres_server.create_database(prepared)
    with psycopg.connect(in_database(postgres_server.admin_url, str(conninfo_to_dict(urls.owner)["dbname"]))) as admin:
        admin.execute("SET session_replication_role = replica")  # no look at references, row by row: three times as fast
        admin.execute(FILL.format(tenants=TENANTS, workflows=WORKFLOWS, environments=ENVIRONMENTS).encode())
        tenant, environment = admin.execute("SELECT tenant_id, id FROM environments ORDER BY id LIMIT 1").fetchall()[0]
        rows = admin.execute("SELECT workflow_id, canonical_id, live_digest FROM workflow_env_map"
                             " WHERE environment_id = %s ORDER BY workflow_id LIMIT 25", (environment,)).fetchall()
    with psycopg.connect(urls.owner, autocommit=True) as admin:
        admin.execute("ANALYZE")
    store = open_store(urls)
    yield Filled(store, context_for(tenant, "t1"), environment, *(list(column) for column in zip(*rows, strict=True)))
    store.close()
    postgres_server.drop_database(urls.owner)


def scans(work: UnitOfWork, ask: Callable[[UnitOfWork], object]) -> set[tuple[str, str]]:
    """How the tables of the statements that ``ask`` makes are read: (kind of scan, table)."""
    made: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        made.append((statement, parameters))

    event.listen(work.connection, "before_cursor_execute", note)
    ask(work)
    event.remove(work.connection, "before_cursor_execute", note)
    assert made
    found: set[tuple[str, str]] = set()
    planned_once = False
    for statement, parameters in made:
        if "plan_cache_mode" in statement:
            planned_once = True
        else:
            _collect(_plan(work, statement, parameters, planned_once=planned_once), found)
    return found


def _plan(work: UnitOfWork, statement: str, parameters: dict[str, Any], *, planned_once: bool) -> dict[str, Any]:
    """How a statement is executed: with these parameters, or with whatever comes."""
    if planned_once:
        places = {name: f"${number}" for number, name in enumerate(parameters, 1)}
        asked = work.connection.exec_driver_sql(f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {statement % places}")
    else:
        asked = work.connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
    [plan] = asked.scalar_one()
    return dict(plan["Plan"])


def _collect(node: dict[str, Any], found: set[tuple[str, str]]) -> None:
    if "Relation Name" in node:
        found.add((node["Node Type"], node["Relation Name"]))
    for child in node.get("Plans", []):
        _collect(child, found)


Ask = Callable[[UnitOfWork, Filled], object]


@pytest.mark.parametrize(("table", "ask"), [
    pytest.param("workflow_env_map", lambda w, f: w.mappings.by_workflow(f.environment_id, f.workflow_ids),
                 id="mappings by workflow ids"),
    pytest.param("workflow_env_map", lambda w, f: w.mappings.canonical_ids_mapped(f.environment_id, f.canonical_ids),
                 id="mappings by canonical workflow in an environment"),
    pytest.param("workflow_env_map", lambda w, f: w.mappings.canonical_ids_of(f.environment_id, f.workflow_ids),
                 id="canonical workflows by workflow ids"),
    pytest.param("workflow_env_map", lambda w, f: w.mappings.of_environment(f.environment_id), id="mappings of an environment"),
    pytest.param("workflow_env_map", lambda w, f: w.mappings.change(uuid4(), in_sync_hash="h"), id="one mapping by its id"),
    pytest.param("canonical_workflows", lambda w, f: w.mappings.canonicals(f.canonical_ids), id="canonical workflows by id"),
    pytest.param("workflow_hash_registry", lambda w, f: w.mappings.registered(f.digests, 1), id="the hash registry"),
    pytest.param("payloads", lambda w, f: w.payloads.save(dict.fromkeys(f.digests, b"")), id="payloads by digest"),
    pytest.param("canonical_workflow_git_state", lambda w, f: w.git_states.by_workflow(f.environment_id, f.workflow_ids),
                 id="Git states by workflow ids"),
    pytest.param("canonical_workflow_git_state", lambda w, f: w.git_states.count(f.environment_id), id="files of an environment"),
    pytest.param("workflow_drift", lambda w, f: w.drift.of_environment(f.environment_id), id="drift of an environment"),
    pytest.param("drift_check_history", lambda w, f: w.drift.last_check(f.environment_id), id="the last drift check"),
    pytest.param("drift_incidents", lambda w, f: w.incidents.listed(IncidentFilter()), id="the newest incidents"),
    pytest.param("drift_incidents", lambda w, f: w.incidents.listed(IncidentFilter(before=(datetime.now(UTC), uuid4()))),
                 id="a later page of incidents"),
    pytest.param("drift_incidents", lambda w, f: w.incidents.listed(IncidentFilter(open_only=True)), id="open incidents"),
    pytest.param("drift_incidents", lambda w, f: w.incidents.listed(IncidentFilter(environment_id=f.environment_id)),
                 id="incidents of an environment"),
    pytest.param("drift_incidents", lambda w, f: w.incidents.listed(IncidentFilter(severities=["high"])),
                 id="incidents of a severity"),
    pytest.param("drift_incidents", lambda w, f: w.incidents.open_of(f.environment_id), id="the open incident"),
    pytest.param("drift_incidents", lambda w, f: w.incidents.last_of(f.environment_id), id="the last incident"),
    pytest.param("drift_incidents", lambda w, f: w.incidents.by_number(3), id="an incident by its number"),
    pytest.param("drift_incidents", lambda w, f: w.incidents.lock_due([uuid4()], datetime.now(UTC)), id="due incidents by id"),
    *(pytest.param(table, lambda w, f: w.mappings.matrix_page(after=None, limit=50), id=f"the first page of the matrix: {table}")
      for table in ("canonical_workflows", "workflow_env_map", "canonical_workflow_git_state", "workflow_drift")),
    *(pytest.param(table, lambda w, f: w.mappings.matrix_page(after=PageKey("W2", False, uuid4()), limit=50),
                   id=f"a later page of the matrix: {table}")
      for table in ("canonical_workflows", "workflow_env_map", "canonical_workflow_git_state", "workflow_drift")),
    pytest.param("operations", lambda w, f: w.operations.recent(environment_id=f.environment_id), id="recent operations"),
    pytest.param("operations", lambda w, f: w.operations.recent(), id="recent operations of a tenant"),
    pytest.param("audit_events", lambda w, f: w.audit.events(), id="the newest events"),
    pytest.param("audit_events", lambda w, f: w.audit.events(operation_id=uuid4()), id="the story of an operation"),
    pytest.param("audit_events", lambda w, f: w.audit.events(action="mapping.linked"), id="events of one action"),
])
def test_rows_are_found_by_an_index(filled: Filled, table: str, ask: Ask) -> None:
    with filled.store.bookkeeping(filled.context, "test.explain") as work:
        found = scans(work, lambda w: ask(w, filled))
    kinds = {kind for kind, name in found if name == table}
    assert kinds, found
    assert all("Index" in kind or "Bitmap" in kind or kind == "ModifyTable" for kind in kinds), found


def test_a_sweep_finds_what_is_due_by_an_index(filled: Filled) -> None:
    with filled.store.system() as system:
        made: list[tuple[str, Any]] = []
        event.listen(system._connection, "before_cursor_execute", lambda *asked: made.append((asked[2], asked[3])))
        assert system.due_incidents(datetime.now(UTC) - timedelta(days=1)) == []
        statement, parameters = made[0]
        [plan] = system._connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
    found: set[tuple[str, str]] = set()
    _collect(plan["Plan"], found)
    assert ("Seq Scan", "drift_incidents") not in found


def test_mappings_of_a_canonical_workflow_in_all_environments_are_found_by_an_index(filled: Filled) -> None:
    """As a matrix row, an unlink or a deletion of the canonical workflow asks."""
    def ask(work: UnitOfWork) -> None:
        work.connection.exec_driver_sql(
            "SELECT * FROM workflow_env_map WHERE tenant_id = %(t)s AND canonical_id = %(c)s",
            {"t": filled.context.tenant_id, "c": filled.canonical_ids[0]})

    with filled.store.bookkeeping(filled.context, "test.explain") as work:
        assert {kind for kind, _ in scans(work, ask)} <= {"Index Scan", "Bitmap Heap Scan"}
