"""Row-level security (§2.1), proved table by table from the catalogue: what a tenant owns is out of every other's reach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.errors import CheckViolation, ForeignKeyViolation, InsufficientPrivilege
from sqlalchemy import text

from wfops_pipelines.domain.context import Context
from wfops_pipelines.store.roles import Urls
from wfops_pipelines.store.tables import TENANT_TABLES
from wfops_pipelines.store.unit_of_work import Store
from wfops_pipelines_tests.servers.postgres import PostgresServer
from wfops_pipelines_tests.store.catalogue import (
    Connection,
    Row,
    Table,
    in_order,
    insert,
    insert_graph,
    make_row,
    read_catalogue,
)
from wfops_pipelines_tests.store.stores import new_environment, open_store, prepared

NOT_A_TENANTS = {"alembic_version", "cancelled_runs", "command_runs", "installation_pause", "installation_secrets", "sweeps"}
"""The revision of the schema, the secrets of the installation itself (row-level security guards those too), runs of Dagster by
their ids, and what sweeps over all tenants did (counts and times)."""

tenant_table = pytest.mark.parametrize("name", TENANT_TABLES)


@dataclass
class Populated:
    """A database in which two tenants have rows in every table."""

    urls: Urls
    tables: dict[str, Table]
    a: UUID
    b: UUID
    rows: dict[UUID, dict[str, list[Row]]]


@pytest.fixture(scope="module")
def populated(postgres_server: PostgresServer) -> Iterator[Populated]:
    urls, a, b = postgres_server.create_database(prepared), uuid4(), uuid4()
    with psycopg.connect(urls.owner) as owner:
        tables = read_catalogue(owner)
        rows = {tenant: insert_graph(owner, tables, tenant) for tenant in (a, b)}
    yield Populated(urls, tables, a, b, rows)
    postgres_server.drop_database(urls.owner)


@contextmanager
def connected(url: str, tenant: UUID | None = None) -> Iterator[Connection]:
    """A connection with the tenant set as the unit of work sets it; what the block did is undone."""
    with psycopg.connect(url) as connection:
        if tenant is not None:
            connection.execute("SELECT set_config('wfops.tenant_id', %s, true)", (str(tenant),))
        yield connection
        connection.rollback()


def count(connection: Connection, table: str, tenant: UUID | None = None) -> int:
    query = "SELECT count(*) FROM {}" + ("" if tenant is None else " WHERE tenant_id = %s")
    row = connection.execute(sql.SQL(query).format(sql.Identifier(table)), [] if tenant is None else [tenant]).fetchone()
    assert row is not None
    return int(row[0])


def touched(connection: Connection, statement: str, table: str, *values: object) -> int:
    """How many rows a statement touches; none where the role has no right to it."""
    try:
        with connection.transaction():
            return connection.execute(sql.SQL(statement).format(sql.Identifier(table)), values).rowcount
    except InsufficientPrivilege:
        return 0


# -- the catalogue -------------------------------------------------------------------------------------------------------


def test_every_table_is_a_tenants_but_for_those_that_are_named(populated: Populated) -> None:
    owned = {name for name, table in populated.tables.items() if table.is_tenants}
    assert owned == set(TENANT_TABLES)
    assert set(populated.tables) - owned == NOT_A_TENANTS


def test_row_level_security_is_enabled_and_forced_on_every_table_with_a_policy_for_each_role(populated: Populated) -> None:
    with connected(populated.urls.owner) as owner:
        secured = owner.execute(
            "SELECT oid::regclass::text, relrowsecurity AND relforcerowsecurity,"
            " ARRAY(SELECT r.rolname::text || ' ' || polcmd::text FROM pg_policy, pg_roles r"
            "       WHERE polrelid = c.oid AND r.oid = ANY(polroles) ORDER BY 1)"
            " FROM pg_class c WHERE oid::regclass::text = ANY(%s)", (list(populated.tables),)).fetchall()
    for name, forced, policies in secured:
        if name in TENANT_TABLES:
            assert forced, name
            assert policies == ["wfops_app *", "wfops_system r"], name
    assert {name: forced for name, forced, _ in secured}["installation_secrets"]


def test_no_policy_is_wider_than_the_tenant_that_is_set(populated: Populated) -> None:
    with connected(populated.urls.owner) as owner:
        rules = owner.execute(
            "SELECT DISTINCT pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid), polpermissive"
            " FROM pg_policy WHERE polname = 'tenant_isolation'").fetchall()
    ours = "(tenant_id = (NULLIF(current_setting('wfops.tenant_id'::text, true), ''::text))::uuid)"
    assert rules == [(ours, ours, True)]


def test_references_between_tables_of_tenants_name_the_tenant(populated: Populated) -> None:
    for table in in_order(populated.tables):
        for key in table.foreign_keys:
            pairs = zip(key.columns, key.target_columns, strict=True)
            assert ("tenant_id", "tenant_id") in pairs, f"{table.name}: {key.name} lets a cross-tenant reference in"


NEVER_CHANGES = {
    ("drift_incidents", "environment_id"), ("drift_approvals", "incident_id"), ("promotions", "source_environment_id"),
    ("promotions", "target_environment_id"), ("promotions", "source_snapshot_id"),
    ("promotions", "operation_id"), ("promotions", "pre_snapshot_id"), ("promotions", "post_snapshot_id"),
    ("deployments", "source_environment_id"), ("deployments", "target_environment_id"), ("deployments", "promotion_id"),
    ("snapshots", "environment_id"), ("snapshots", "manifest_digest")}


def test_a_reference_to_another_tenants_row_is_refused(populated: Populated) -> None:
    """Even to the owner, whom row-level security does not bind."""
    refused = 0
    with connected(populated.urls.owner) as owner:
        for table in in_order(populated.tables):
            for key in table.foreign_keys:
                column = next((c for c in key.columns if c != "tenant_id"), None)
                if column is None:
                    continue
                other = dict(zip(key.columns, key.target_columns, strict=True))[column]
                foreign = populated.rows[populated.a][key.target][0][other]
                # What never changes at all, a trigger refuses before the key is asked.
                refusal = (InsufficientPrivilege, "never change") if (table.name, column) in NEVER_CHANGES else (
                    ForeignKeyViolation, key.name)
                with pytest.raises(refusal[0], match=refusal[1]), owner.transaction():
                    owner.execute(sql.SQL("UPDATE {0} SET {1} = %s WHERE ctid = (SELECT min(ctid) FROM {0} WHERE tenant_id = %s)")
                                  .format(sql.Identifier(table.name), sql.Identifier(column)), (foreign, populated.b))
                refused += 1
    assert refused > 20


# -- one tenant and another ----------------------------------------------------------------------------------------------


@tenant_table
def test_a_tenant_sees_its_own_rows_and_no_others(populated: Populated, name: str) -> None:
    with connected(populated.urls.app, populated.b) as app:
        assert count(app, name) == len(populated.rows[populated.b][name])
        assert count(app, name, populated.a) == 0


@tenant_table
def test_rows_of_another_tenant_cannot_be_changed_or_deleted(populated: Populated, name: str) -> None:
    with connected(populated.urls.app, populated.b) as app:
        assert touched(app, "UPDATE {} SET tenant_id = tenant_id WHERE tenant_id = %s", name, populated.a) == 0
        assert touched(app, "DELETE FROM {} WHERE tenant_id = %s", name, populated.a) == 0
        assert touched(app, "SELECT FROM {} WHERE tenant_id = %s FOR UPDATE", name, populated.a) == 0


@tenant_table
def test_a_row_cannot_be_written_for_another_tenant(populated: Populated, name: str) -> None:
    row = make_row(populated.tables[name], populated.a, populated.rows[populated.a], 0)
    with connected(populated.urls.app, populated.b) as app, pytest.raises(InsufficientPrivilege, match="row-level security"):
        insert(app, populated.tables[name], row)


@tenant_table
def test_a_row_cannot_be_given_to_another_tenant(populated: Populated, name: str) -> None:
    with connected(populated.urls.app, populated.b) as app, pytest.raises(InsufficientPrivilege):
        app.execute(sql.SQL("UPDATE {} SET tenant_id = %s").format(sql.Identifier(name)), (populated.a,))


@tenant_table
def test_an_upsert_does_not_reach_another_tenants_row(populated: Populated, name: str) -> None:
    table, row = populated.tables[name], populated.rows[populated.a][name][0]
    columns = sql.SQL(", ").join(map(sql.Identifier, sorted(set(row) - table.computed)))
    statement = sql.SQL("INSERT INTO {name} ({columns}) SELECT {columns} FROM jsonb_populate_record(NULL::{name}, %s)"
                        " ON CONFLICT ({key}) DO UPDATE SET tenant_id = excluded.tenant_id").format(
        name=sql.Identifier(name), columns=columns, key=sql.SQL(", ").join(map(sql.Identifier, table.primary_key)))
    with connected(populated.urls.app, populated.b) as app, pytest.raises(InsufficientPrivilege):
        app.execute(statement, (psycopg.types.json.Jsonb(row),))


def test_a_tenant_can_write_its_own_rows_in_every_table(populated: Populated) -> None:
    """What the refusals above are measured against."""
    tenant = uuid4()
    with connected(populated.urls.app, tenant) as app:
        rows = insert_graph(app, populated.tables, tenant)
        for name in TENANT_TABLES:
            assert count(app, name, tenant) == len(rows[name]) > 0


# -- no tenant -----------------------------------------------------------------------------------------------------------


@tenant_table
@pytest.mark.parametrize("setting", [None, ""])
def test_without_a_tenant_nothing_is_visible_and_nothing_can_be_written(populated: Populated, name: str,
                                                                        setting: str | None) -> None:
    row = make_row(populated.tables[name], populated.a, populated.rows[populated.a], 0)
    with connected(populated.urls.app) as app:
        if setting is not None:  # what a commit leaves behind
            app.execute("SELECT set_config('wfops.tenant_id', %s, true)", (setting,))
        assert count(app, name) == 0
        assert touched(app, "UPDATE {} SET tenant_id = tenant_id", name) == 0
        assert touched(app, "DELETE FROM {}", name) == 0
        with pytest.raises(InsufficientPrivilege):
            insert(app, populated.tables[name], row)


def test_after_a_commit_the_tenant_is_gone(populated: Populated) -> None:
    with psycopg.connect(populated.urls.app) as app:
        app.execute("SELECT set_config('wfops.tenant_id', %s, true)", (str(populated.a),))
        assert count(app, "environments") == 2
        app.commit()
        assert app.execute("SELECT current_setting('wfops.tenant_id', true)").fetchone() == ("",)
        assert count(app, "environments") == 0


def test_one_connection_serves_tenant_after_tenant_without_mixing_them(store_urls: Urls, acme: Context,
                                                                       globex: Context) -> None:
    store = open_store(store_urls, pool_size=1)
    try:
        first, second = new_environment(store, acme), new_environment(store, globex)
        for context, own in ((acme, first), (globex, second)):
            with store.read(context) as work:
                assert [row.id for row in work.fleet.environments()] == [own]
    finally:
        store.close()


def test_a_unit_of_work_leaves_no_tenant_on_its_pooled_connection(store_urls: Urls, acme: Context) -> None:
    asked = text("SELECT pg_backend_pid(), current_setting('wfops.tenant_id', true), (SELECT count(*) FROM tenants)")
    store = open_store(store_urls, pool_size=1)
    try:
        for end in (store.bookkeeping(acme, "test.pooled"), store.read(acme)):
            with end as work:
                pool = work.connection.engine
                pid, tenant, seen = work.connection.execute(asked).one()
                assert (tenant, seen) == (str(acme.tenant_id), 1)
            with pool.connect() as connection:
                assert tuple(connection.execute(asked).one()) == (pid, "", 0)
    finally:
        store.close()


# -- the roles -----------------------------------------------------------------------------------------------------------


def test_the_application_is_neither_owner_nor_superuser_and_bound_by_row_level_security(populated: Populated) -> None:
    with connected(populated.urls.app) as app:
        assert app.execute(
            "SELECT rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles"
            " WHERE rolname = current_user").fetchone() == ("wfops_app", False, False, False, False)
        assert app.execute("SELECT count(*) FROM pg_class WHERE pg_has_role(relowner, 'USAGE')").fetchone() == (0,)
        assert app.execute("SELECT session_user = current_user").fetchone() == (True,)
        for name in populated.tables:
            assert app.execute("SELECT row_security_active(%s)", (name,)).fetchone() == (
                name not in NOT_A_TENANTS - {"installation_secrets"},), name


@pytest.mark.parametrize("statement", [
    "SET ROLE wfops_owner", "SET SESSION AUTHORIZATION wfops_owner", "ALTER TABLE tenants DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE tenants NO FORCE ROW LEVEL SECURITY", "DROP POLICY tenant_isolation ON tenants",
    "CREATE POLICY mine ON tenants USING (true)", "ALTER TABLE audit_events DISABLE TRIGGER append_only",
    "SET session_replication_role = replica", "CREATE TABLE mine (id int)", "TRUNCATE payloads",
    "INSERT INTO installation_secrets VALUES ('a', 'b', 'c')", "UPDATE installation_secrets SET token = ''",
    "DELETE FROM installation_secrets", "UPDATE alembic_version SET version_num = ''",
])
def test_the_application_cannot_loosen_its_own_bounds(populated: Populated, statement: str) -> None:
    with connected(populated.urls.app, populated.a) as app, pytest.raises(InsufficientPrivilege):
        app.execute(statement.encode())


def test_row_level_security_switched_off_is_an_error_and_no_way_around(populated: Populated) -> None:
    with connected(populated.urls.app, populated.b) as app:
        app.execute("SET row_security = off")
        with pytest.raises(InsufficientPrivilege, match="row-level security"):
            count(app, "tenants")


@tenant_table
def test_the_system_role_reads_across_tenants_and_writes_nothing(populated: Populated, name: str) -> None:
    table = populated.tables[name]
    with connected(populated.urls.owner) as owner, connected(populated.urls.system) as system:
        assert count(system, name) == count(owner, name) >= 2
        for privilege in ("INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"):
            assert system.execute("SELECT has_table_privilege(%s, %s)", (name, privilege)).fetchone() == (False,)
    with connected(populated.urls.system, populated.a) as system, pytest.raises(InsufficientPrivilege):
        insert(system, table, make_row(table, populated.a, populated.rows[populated.a], 0))


def test_the_system_role_does_not_see_the_installations_secrets(populated: Populated) -> None:
    with connected(populated.urls.system) as system, pytest.raises(InsufficientPrivilege):
        count(system, "installation_secrets")


# -- what the rules of the tables refuse ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("table", "values"), [
    ("tenants", {"slug": "Acme"}), ("tenants", {"slug": ""}), ("tenants", {"slug": "-a"}),
    ("tenants", {"slug": "a" * 64}), ("tenants", {"slug": "a\n"}), ("environments", {"slug": "a/b"}),
    ("environments", {"class": "test"}), ("workflow_env_map", {"status": "new"}),
    ("workflow_env_map", {"status": "linked", "canonical_id": None}), ("workflow_diff_state", {"status": "equal"}),
])
def test_values_that_mean_nothing_are_refused(populated: Populated, table: str, values: dict[str, Any]) -> None:
    description = populated.tables[table]
    row = make_row(description, populated.a, populated.rows[populated.a], 0)
    with connected(populated.urls.owner) as owner, pytest.raises(CheckViolation):
        insert(owner, description, {**row, **values})


def test_a_slug_is_free_again_once_its_tenant_is_deleted(store: Store, acme: Context) -> None:
    with store.unit_of_work(acme, "test.delete") as work:
        work.fleet.save_tenant(slug=acme.tenant_slug, name="Acme", deleted_at=acme.now())
        work.record("tenant.deleted", "tenant", acme.tenant_slug)
    again = Context(uuid4(), acme.tenant_slug, acme.actor, acme.now, acme.new_id)
    with store.unit_of_work(again, "test.create") as work:
        work.fleet.save_tenant(slug=again.tenant_slug, name="Acme again")
        work.record("tenant.created", "tenant", again.tenant_slug)
    with store.system() as system:
        found = system.tenant(acme.tenant_slug)
    assert found is not None
    assert found.tenant_id == again.tenant_id
