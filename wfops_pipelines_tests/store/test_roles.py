"""Databases and login roles (§2.1): made once, mended when they differ, and no more powerful than they have to be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from secrets import token_hex

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import create_engine, make_url, text

from wfops_pipelines.domain.errors import InvalidSetting, StoreNotReady, StoreUnavailable
from wfops_pipelines.store.roles import Urls, bootstrap_roles, derived_passwords, in_database
from wfops_pipelines.store.secrets import SecretBox, generate_key
from wfops_pipelines_tests.servers.postgres import PostgresServer

SUFFIXES = ("owner", "app", "system", "dagster")


@pytest.fixture
def prefix(postgres_server: PostgresServer) -> Iterator[str]:
    """A prefix for roles and databases of one test on the shared server."""
    prefix = f"r{token_hex(4)}"
    yield prefix
    with psycopg.connect(postgres_server.admin_url, autocommit=True) as admin:
        for database in (f"{prefix}_store", f"{prefix}_dagster_db"):
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))
        for suffix in (*SUFFIXES, "admin"):
            admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(f"{prefix}_{suffix}")))


def bootstrap(admin_url: str, prefix: str, box: SecretBox | None = None) -> Urls:
    return bootstrap_roles(admin_url, passwords=derived_passwords((box or KEY).derive), prefix=prefix,
                           store_database=f"{prefix}_store", dagster_database=f"{prefix}_dagster_db")


KEY = SecretBox([generate_key()])


def one(url: str, query: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def test_each_role_enters_its_database_and_no_other(postgres_server: PostgresServer, prefix: str) -> None:
    urls = bootstrap(postgres_server.admin_url, prefix)
    assert one(urls.owner, "SELECT current_user || ' ' || current_database()") == f"{prefix}_owner {prefix}_store"
    assert one(urls.app, "SELECT current_user || ' ' || current_database()") == f"{prefix}_app {prefix}_store"
    assert one(urls.system, "SELECT current_user || ' ' || current_database()") == f"{prefix}_system {prefix}_store"
    assert one(urls.dagster, "SELECT current_user || ' ' || current_database()") == f"{prefix}_dagster {prefix}_dagster_db"
    for url, database in ((urls.app, f"{prefix}_dagster_db"), (urls.dagster, f"{prefix}_store")):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            one(in_database(url, database), "SELECT 1")


def test_no_role_is_more_than_it_has_to_be(postgres_server: PostgresServer, prefix: str) -> None:
    bootstrap(postgres_server.admin_url, prefix)
    with psycopg.connect(postgres_server.admin_url) as admin:
        rows = admin.execute(
            "SELECT rolname, rolbypassrls FROM pg_roles WHERE rolname LIKE %s AND rolcanlogin"
            " AND NOT (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication)", (f"{prefix}%",)).fetchall()
        members = admin.execute("SELECT count(*) FROM pg_auth_members WHERE member::regrole::text LIKE %s", (f"{prefix}%",)).fetchone()
    assert dict(rows) == {f"{prefix}_owner": True, f"{prefix}_app": False, f"{prefix}_system": False, f"{prefix}_dagster": False}
    assert members == (0,)


def test_the_owner_makes_tables_and_the_others_cannot(postgres_server: PostgresServer, prefix: str) -> None:
    urls = bootstrap(postgres_server.admin_url, prefix)
    with psycopg.connect(urls.owner) as owner:
        owner.execute("CREATE TABLE things (id int)")
    for url in (urls.app, urls.system):
        with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE mine (id int)")
        with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM things")
    with psycopg.connect(urls.dagster) as dagster:
        dagster.execute("CREATE TABLE events (id int)")


def test_nothing_is_done_a_second_time(postgres_server: PostgresServer, prefix: str) -> None:
    urls = bootstrap(postgres_server.admin_url, prefix)
    query = f"SELECT string_agg(xmin::text, ',' ORDER BY rolname) FROM pg_authid WHERE rolname LIKE '{prefix}%'"
    before = one(postgres_server.admin_url, query)
    assert bootstrap(postgres_server.admin_url, prefix) == urls
    assert one(postgres_server.admin_url, query) == before


def test_another_key_sets_the_passwords_anew(postgres_server: PostgresServer, prefix: str) -> None:
    before = bootstrap(postgres_server.admin_url, prefix)
    after = bootstrap(postgres_server.admin_url, prefix, SecretBox([generate_key()]))
    assert one(after.app, "SELECT 1") == 1
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        one(before.app, "SELECT 1")


def test_what_somebody_changed_is_mended(postgres_server: PostgresServer, prefix: str) -> None:
    urls = bootstrap(postgres_server.admin_url, prefix)
    with psycopg.connect(postgres_server.admin_url, autocommit=True) as admin:
        app, owner, store = (sql.Identifier(f"{prefix}_{name}") for name in ("app", "owner", "store"))
        admin.execute(sql.SQL("ALTER ROLE {} SUPERUSER BYPASSRLS PASSWORD 'changed'").format(app))
        admin.execute(sql.SQL("ALTER ROLE {} NOBYPASSRLS CREATEDB").format(owner))
        admin.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO PUBLIC").format(store))
        admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO postgres").format(store))
    assert bootstrap(postgres_server.admin_url, prefix) == urls
    test_no_role_is_more_than_it_has_to_be(postgres_server, prefix)
    test_each_role_enters_its_database_and_no_other(postgres_server, prefix)


def test_many_at_once_make_one_of_each(postgres_server: PostgresServer, prefix: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        urls = list(pool.map(lambda _: bootstrap(postgres_server.admin_url, prefix), range(6)))
    assert all(u == urls[0] for u in urls)
    assert one(urls[0].app, "SELECT 1") == 1


def test_an_administrator_need_not_be_superuser(postgres_server: PostgresServer, prefix: str) -> None:
    admin_url = make_administrator(postgres_server, prefix, "CREATEDB CREATEROLE BYPASSRLS")
    for box in (KEY, KEY, SecretBox([generate_key()])):
        urls = bootstrap(admin_url, prefix, box)
        assert one(urls.owner, "SELECT 1") == one(urls.dagster, "SELECT 1") == 1


def test_one_that_may_not_make_roles_is_told_what_it_lacks(postgres_server: PostgresServer, prefix: str) -> None:
    admin_url = make_administrator(postgres_server, prefix, "NOCREATEROLE")
    with pytest.raises(StoreNotReady, match=f"{prefix}_admin may not make the roles") as caught:
        bootstrap(admin_url, prefix)
    assert "BYPASSRLS" in str(caught.value.fix)


def make_administrator(server: PostgresServer, prefix: str, attributes: str) -> str:
    name = f"{prefix}_admin"
    with psycopg.connect(server.admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'pw' {}").format(
            sql.Identifier(name), sql.SQL(attributes)))
    host = psycopg.conninfo.conninfo_to_dict(server.admin_url)["host"]
    return f"postgresql://{name}:pw@/postgres?host={host}"


def test_passwords_are_in_no_repr_and_no_statement(postgres_server: PostgresServer, prefix: str) -> None:
    urls = bootstrap(postgres_server.admin_url, prefix)
    password = derived_passwords(KEY.derive)(f"{prefix}_app")
    assert password in urls.app
    assert password not in repr(urls)


def test_urls_are_read_alike_by_sqlalchemy_and_both_drivers(postgres_server: PostgresServer, prefix: str) -> None:
    urls = bootstrap(postgres_server.admin_url, prefix)
    for driver in ("psycopg", "psycopg2"):
        engine = create_engine(make_url(urls.app).set(drivername=f"postgresql+{driver}"))
        with engine.connect() as connection:
            assert connection.execute(text("SELECT current_user")).scalar() == f"{prefix}_app"
        engine.dispose()


@pytest.mark.parametrize(("url", "expected"), [
    ("postgresql://a:b@db.example.com:6432/x?sslmode=require", "postgresql://a:b@db.example.com:6432/other?sslmode=require"),
    ("postgresql+psycopg://a@h/x", "postgresql://a@h/other"),
    ("postgres://a:p%40ss%2F@h/x", "postgresql://a:p%40ss%2F@h/other"),
    ("postgresql://a@h1:1,h2:2/x", "postgresql://a@/other?host=h1%2Ch2&port=1%2C2"),
    ("postgresql://a@/x?host=/run/pg", "postgresql://a@/other?host=%2Frun%2Fpg"),
    ("postgresql://a@[::1]:5/x", "postgresql://a@/other?host=%3A%3A1&port=5"),
])
def test_the_url_of_another_database_keeps_everything_else(url: str, expected: str) -> None:
    assert in_database(url, "other") == expected
    assert in_database(expected, "other") == expected


def test_what_is_no_url_is_refused_without_showing_it() -> None:
    with pytest.raises(InvalidSetting) as caught:
        bootstrap("postgresql://user:pa ss@[host/db", "x")
    assert "pa ss" not in str(caught.value)


def test_a_server_that_is_not_there_is_unavailable(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
        bootstrap("postgresql://user:hunter2@/db?host=/nonexistent", "x")
    assert "hunter2" not in str(caught.value)


def test_a_migrated_database_is_copied_for_each_test(fresh_database_urls: Callable[..., Urls]) -> None:
    first, second = fresh_database_urls(migrate), fresh_database_urls(migrate)
    with psycopg.connect(first.app) as connection:
        connection.execute("INSERT INTO things VALUES (1)")
    assert one(first.owner, "SELECT count(*) FROM things") == 1
    assert one(second.owner, "SELECT count(*) FROM things") == 0


def migrate(owner_url: str) -> None:
    with psycopg.connect(owner_url) as owner:
        owner.execute("CREATE TABLE things (id int)")
        owner.execute("GRANT INSERT ON things TO wfops_app")


def test_dagster_gets_an_empty_database_of_its_own(fresh_dagster_url: str) -> None:
    assert one(fresh_dagster_url, "SELECT current_user") == "wfops_dagster"
    assert one(fresh_dagster_url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
