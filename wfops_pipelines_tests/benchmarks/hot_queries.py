"""What people look at all day, at 1,000,000 mappings and 5,000,000 audit rows (issue: fleet scale).

1,000 tenants of three environments and 334 workflows each. Half of the audit rows belong to ten tenants whose chains are
whole (made here, loaded with ``COPY``; one is proved), the rest is spread over the others. Each query by a fresh unit of
work as the application's role, under row-level security, or, across tenants, as the system's role.

``python -m wfops_pipelines_tests.benchmarks.hot_queries`` prints the rows, with ``--plans`` how PostgreSQL finds them, with
``--small`` of a small store, to try it. It takes 10 GB of the temporary folder.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, Engine, event

from wfops_pipelines.bootstrap import Installation
from wfops_pipelines.domain.audit import GENESIS, AuditEvent, chain_hash, encode
from wfops_pipelines.domain.context import Context
from wfops_pipelines.services.audit_reports import list_events
from wfops_pipelines.services.audit_trail import verify_tenant
from wfops_pipelines.services.listings import environment_listing, tenant_listing
from wfops_pipelines.services.matrix import matrix_page
from wfops_pipelines.services.operation_reports import list_operations, show_operation
from wfops_pipelines.services.services import Limits, Services
from wfops_pipelines_tests.benchmarks.first_sync import installation
from wfops_pipelines_tests.benchmarks.rows import Row, row, show

GOAL = 10.0  # ms, p99
TIMES, WARM = 300, 20
SLUGS = ("dev", "staging", "prod")
EVENTS, STEPS = 25, 5  # of each operation
BATCH = Limits().batch_size  # workflows that a sync stores together
NOW = datetime(2026, 1, 1, tzinfo=UTC)
"""When everything was; nothing that is measured looks at the clock."""
_TABLES = ("tenants", "environments", "canonical_workflows", "payloads", "workflow_env_map", "canonical_workflow_git_state",
           "workflow_drift", "operations", "operation_steps", "audit_events", "audit_heads")


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is: ``chained`` of the tenants have a chain of ``chain`` events, the others share what is left."""

    tenants: int = 1000
    workflows: int = 334  # in each of three environments
    chained: int = 10
    chain: int = 250_000
    events: int = 5_000_000

    @property
    def each(self) -> int:
        """Events of a tenant without a chain that holds."""
        return -(-(self.events - self.chained * self.chain) // (self.tenants - self.chained))

    @property
    def ids(self) -> list[uuid.UUID]:
        """The tenants; those with chains come first."""
        return [uuid.UUID(int=number + 1) for number in range(self.tenants)]


SMALL = Size(tenants=20, workflows=30, chained=2, chain=5_000, events=20_000)


def measure(size: Size | None = None, *, plans: bool = False) -> list[Row]:
    """Rows: p99 of each query, and how long the proof of one chain takes."""
    size = size or Size()
    with tempfile.TemporaryDirectory() as directory, installation(Path(directory)) as installed:
        mappings, events = fill(installed, size)
        return [row("mappings", mappings, ""), row("audit events", events, ""),
                *_queries(installed, size, plans=plans), *_proof(installed, size)]


# -- what there is -----------------------------------------------------------------------------------------------------


def fill(installed: Installation, size: Size) -> tuple[int, int]:
    """Everything, by the server's administrator, whom row-level security does not bind; how many mappings and events."""
    assert installed.holder is not None
    database = str(conninfo_to_dict(installed.urls.owner)["dbname"])
    with psycopg.connect(installed.holder.admin_url(database)) as admin:
        admin.execute("SET session_replication_role = replica")  # neither triggers nor foreign keys: the rows are right
        admin.execute("SET maintenance_work_mem = '512MB'")
        _copy(admin, "tenants", ("tenant_id", "slug", "name"), (
            (tenant, f"t{number}", f"T{number}") for number, tenant in enumerate(size.ids)))
        _workflows(admin, size)
        _operations(admin, size)
        for number in range(size.chained):
            _chain(admin, installed.services.store.audit_key, number, size)
        _other_events(admin, size)
        admin.commit()
        admin.autocommit = True
        admin.execute("VACUUM ANALYZE")
        admin.execute("CHECKPOINT")
    os.sync()  # gigabytes on their way to the disk would be measured with the queries
    with psycopg.connect(installed.holder.admin_url(database)) as admin:
        mappings, events = (int(admin.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # type: ignore[index]
                            for table in ("workflow_env_map", "audit_events"))
    assert (mappings, events) >= (size.tenants * size.workflows * len(SLUGS), size.events)
    return mappings, events


def _copy(admin: psycopg.Connection, table: str, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    with admin.cursor().copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        for values in rows:
            copy.write_row(values)


def _workflows(admin: psycopg.Connection, size: Size) -> None:
    """Three environments each, in which each workflow is linked, but for one in fifty of prod; one in a hundred drifts. They
    lie where syncs of the whole fleet at once put them: a batch of one environment, then one of another."""
    admin.execute("""
        INSERT INTO environments (tenant_id, id, slug, name, class, base_url, api_key_secret, position, drift_status)
        SELECT tenant_id, md5(t.slug || e)::uuid, e, e, CASE e WHEN 'prod' THEN 'production' ELSE e END, 'http://127.0.0.1:9',
               'k', p, CASE e WHEN 'prod' THEN 'DRIFT_DETECTED' ELSE 'IN_SYNC' END
        FROM tenants t, unnest(%s::text[]) WITH ORDINALITY AS given(e, p)""", [list(SLUGS)])
    admin.execute("INSERT INTO payloads (tenant_id, digest, body, size) SELECT tenant_id, 'd', 'x', 1 FROM tenants")
    admin.execute("""
        INSERT INTO canonical_workflows (tenant_id, id, name)
        SELECT tenant_id, md5(slug || 'w' || n)::uuid, 'Workflow ' || md5(n::text || slug)
        FROM tenants, generate_series(1, %s) n ORDER BY n / %s, slug, n""", [size.workflows, BATCH])
    admin.execute("""
        INSERT INTO workflow_env_map (tenant_id, id, environment_id, workflow_id, canonical_id, status, name, active,
                                      draft_digest, live_digest, draft_hash, live_hash, portable_hash, normalizer_version)
        SELECT t.tenant_id, md5(t.slug || e.slug || n)::uuid, e.id, 'w' || n,
               CASE WHEN linked THEN md5(t.slug || 'w' || n)::uuid END, CASE WHEN linked THEN 'linked' ELSE 'untracked' END,
               'Workflow ' || md5(n::text || t.slug), n %% 3 = 0, 'd', 'd', h, h, h, 1
        FROM tenants t JOIN environments e USING (tenant_id), generate_series(1, %s) n,
             LATERAL (SELECT n %% 50 > 0 OR e.slug <> 'prod' AS linked, encode(sha256(n::text::bytea), 'hex') AS h) made
        ORDER BY n / %s, t.slug, e.slug, n""", [size.workflows, BATCH])
    admin.execute("""
        INSERT INTO canonical_workflow_git_state (tenant_id, environment_id, path, canonical_id, blob, commit, workflow_id, name,
                                                  digest, content_hash, portable_hash, normalizer_version)
        SELECT tenant_id, environment_id, 'prod/' || workflow_id || '.json', canonical_id, md5(name), md5(name), workflow_id,
               name, 'd', live_hash, portable_hash, 1
        FROM workflow_env_map WHERE canonical_id IS NOT NULL
        ORDER BY substr(workflow_id, 2)::int / %s, tenant_id, environment_id""", [BATCH])
    admin.execute("""
        INSERT INTO workflow_drift (tenant_id, environment_id, subject, name, canonical_id, workflow_id, kind, kinds)
        SELECT tenant_id, environment_id, workflow_id, name, canonical_id, workflow_id, 'modified', ARRAY['modified']
        FROM workflow_env_map WHERE right(workflow_id, 2) = '07'""")


def _operations(admin: psycopg.Connection, size: Size) -> None:
    """As many as the events of a tenant make."""
    admin.execute("""
        INSERT INTO operations (tenant_id, id, kind, environment_id, state, actor, run_id, attempts, created_at, started_at,
                                ended_at)
        SELECT t.tenant_id, md5(t.slug || 'o' || n)::uuid, 'environment_sync', md5(t.slug || 'prod')::uuid, 'completed', 'a',
               'r' || n, 1, at, at, at
        FROM (SELECT *, substr(slug, 2)::int < %(chained)s AS large FROM tenants) t,
             LATERAL generate_series(0, CASE WHEN large THEN %(chain)s ELSE %(each)s END / %(events)s - 1) n,
             LATERAL (SELECT %(now)s + n * interval '1 minute' AS at) made
        """, {"chained": size.chained, "chain": size.chain, "each": size.each, "events": EVENTS, "now": NOW})
    admin.execute("""
        INSERT INTO operation_steps (tenant_id, operation_id, name, position, state, started_at)
        SELECT tenant_id, id, 's' || n, n, 'completed', created_at FROM operations, generate_series(1, %s) n""", [STEPS])


_COLUMNS = ("tenant_id", "sequence", "id", "at", "actor", "action", "subject_type", "subject_id", "environment",
            "operation_id", "run_id", "encoded", "previous", "hash")


def _chain(admin: psycopg.Connection, key: bytes, number: int, size: Size) -> None:
    """A tenant's events with hashes that hold, each of one of its operations."""
    slug, tenant, rng = f"t{number}", size.ids[number], random.Random(number)
    head = GENESIS

    def rows() -> Iterator[tuple[Any, ...]]:
        nonlocal head
        for sequence in range(1, size.chain + 1):
            found = AuditEvent(
                tenant_id=tenant, sequence=sequence, id=uuid.UUID(int=rng.getrandbits(128), version=4),
                at=NOW + timedelta(seconds=sequence), actor="a",
                action=rng.choice(("mapping.linked", "workflow.changed", "drift.changed")), subject_type="workflow",
                subject_id=f"{slug}-w{rng.randrange(size.workflows)}", environment="prod",
                operation_id=_operation(slug, (sequence - 1) // EVENTS), run_id="r", before_hash="0" * 64,
                after_hash="1" * 64, details={"name": "Workflow"})
            encoded = encode(found)
            previous, head = head, chain_hash(key, head, encoded)
            yield (tenant, sequence, found.id, found.at, found.actor, found.action, found.subject_type, found.subject_id,
                   found.environment, found.operation_id, found.run_id, encoded, previous, head)

    _copy(admin, "audit_events", _COLUMNS, rows())
    admin.execute("INSERT INTO audit_heads (tenant_id, events, head) VALUES (%s, %s, %s)", [tenant, size.chain, head])


def _operation(slug: str, number: int) -> uuid.UUID:
    return uuid.UUID(hashlib.md5(f"{slug}o{number}".encode(), usedforsecurity=False).hexdigest())


def _other_events(admin: psycopg.Connection, size: Size) -> None:
    """As many for the other tenants as are missing; nobody proves those."""
    admin.execute(f"""
        INSERT INTO audit_events ({', '.join(_COLUMNS)})
        SELECT tenant_id, n, md5(slug || n)::uuid, %(now)s + n * interval '1 second', 'a', 'mapping.linked', 'workflow',
               slug || '-w' || n %% %(workflows)s, 'prod', md5(slug || 'o' || (n - 1) / %(events)s)::uuid, 'r',
               convert_to(repeat(md5(n::text), 14), 'UTF8'), repeat(md5(n::text), 2), repeat(md5((n + 1)::text), 2)
        FROM tenants, generate_series(1, %(each)s) n WHERE substr(slug, 2)::int >= %(chained)s
        """, {"chained": size.chained, "each": size.each, "events": EVENTS, "now": NOW,
              "workflows": size.workflows})


# -- what is asked -----------------------------------------------------------------------------------------------------


def _queries(installed: Installation, size: Size, *, plans: bool) -> Iterator[Row]:
    services, rng = installed.services, random.Random(5)
    tenants = size.ids

    def one() -> Context:
        return _context(installed, rng.choice(tenants))

    def large() -> Context:
        return _context(installed, rng.choice(tenants[:size.chained]))

    def matrix(context: Context) -> Any:
        return matrix_page(services, context, limit=50)

    cursors = {tenant: matrix_page(services, _context(installed, tenant), limit=size.workflows // 2).next_cursor
               for tenant in tenants[:100]}

    def deep_matrix(context: Context) -> Any:
        return matrix_page(services, context, limit=50, after=cursors[context.tenant_id])

    def story(context: Context) -> Any:
        number = rng.randrange(size.chain // EVENTS)
        return show_operation(services, context, _operation(context.tenant_slug, number))

    def deep_events(context: Context) -> Any:
        return list_events(services, context, action="mapping.linked", before=rng.randrange(1000, size.chain), limit=50)

    asked: dict[str, tuple[Callable[[], Context], Callable[[Context], Any]]] = {
        "matrix of a tenant, a page of 50": (one, matrix),
        "matrix of a tenant, a page of 50, deep": (lambda: _context(installed, rng.choice(tenants[:100])), deep_matrix),
        "drift status of a tenant's environments": (one, lambda context: environment_listing(services, context)),
        f"operations of a tenant that has {size.chain // EVENTS:,}, a page of 50": (
            large, lambda context: list_operations(services, context)),
        "an operation's whole story": (large, story),
        f"audit events of one action of {size.chain:,}, a page of 50, deep": (large, deep_events),
    }
    for name, (context_of, ask) in asked.items():
        yield _timed(name, context_of, ask)
        if plans:
            _explain(name, ask, context_of())
    fleet = sorted(_ms(lambda: fleet_status(services)) for _ in range(TIMES))
    value = fleet[int(len(fleet) * 0.99) - 1]
    yield row(f"drift status of the whole fleet, {size.tenants * len(SLUGS):,} environments, counted: p99", value, "ms",
              f"< {GOAL:.0f}", ok=value < GOAL)
    listed = sorted(_ms(lambda: tenant_listing(services)) for _ in range(20))
    yield row("every environment of the fleet with its drift status: median", listed[10], "ms")


def fleet_status(services: Services) -> Any:
    """How many environments are in which state, as monitoring asks."""
    with services.store.system() as system:
        return system.exposition.environments()


def _context(installed: Installation, tenant: uuid.UUID) -> Context:
    return Context(tenant, f"t{tenant.int - 1}", "benchmark", installed.services.now, uuid.uuid4)


def _timed(name: str, context_of: Callable[[], Context], ask: Callable[[Context], Any]) -> Row:
    taken = []
    for number in range(TIMES + WARM):
        context = context_of()
        spent = _ms(lambda asking=context: ask(asking))  # type: ignore[misc]
        if number >= WARM:  # the first ones warm up
            taken.append(spent)
    value = sorted(taken)[int(len(taken) * 0.99) - 1]
    print(f"{name}: median {sorted(taken)[len(taken) // 2]:.1f} ms", flush=True)
    return row(f"{name}: p99", value, "ms", f"< {GOAL:.0f}", ok=value < GOAL)


def _ms(act: Callable[[], Any]) -> float:
    started = time.perf_counter()
    act()
    return (time.perf_counter() - started) * 1000


def _proof(installed: Installation, size: Size) -> Iterator[Row]:
    started = time.perf_counter()
    proved = verify_tenant(installed.services, _context(installed, size.ids[0]))
    taken = time.perf_counter() - started
    assert proved.ok and proved.events == size.chain, proved
    yield row(f"the proof of a chain of {size.chain:,} events", taken, "s")


def _explain(name: str, ask: Callable[[Context], Any], context: Context) -> None:
    """Print how the statements of a query are executed, each in its own transaction and role, right before it is."""
    explaining = False

    def note(connection: Connection, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        nonlocal explaining
        if explaining or not statement.lstrip(" \n(").upper().startswith(("SELECT", "WITH")) or "set_config" in statement:
            return
        explaining = True
        lines = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS) {statement}", parameters).scalars().all()
        explaining = False
        print(f"-- {name}", statement, *lines, sep="\n")

    event.listen(Engine, "before_cursor_execute", note)
    try:
        ask(context)
    finally:
        event.remove(Engine, "before_cursor_execute", note)


if __name__ == "__main__":
    show(measure(SMALL if "--small" in sys.argv else None, plans="--plans" in sys.argv), "hot queries")
