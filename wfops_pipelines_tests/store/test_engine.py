"""What PostgreSQL says, in our words and with the way out; and connections that come back when the server does (§25)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import text

from wfops_pipelines.domain.audit import decode
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import StoreBusy, StoreError, StoreRefusal, StoreUnavailable, TenantRequired
from wfops_pipelines.postgres.embedded import EmbeddedPostgres
from wfops_pipelines.store import engine as engines
from wfops_pipelines.store.engine import connected, open_engine
from wfops_pipelines.store.roles import Urls, bootstrap_roles
from wfops_pipelines.store.unit_of_work import Store
from wfops_pipelines_tests.servers.postgres import FAST, reachable_base
from wfops_pipelines_tests.store.stores import new_tenant, open_store, prepared


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A server of this test alone: it may be stopped."""
    server = EmbeddedPostgres(tmp_path / "home", base=reachable_base(), settings=FAST)
    yield server
    server.destroy()


def say(urls: Urls, statement: str) -> None:
    """Run a statement as the application."""
    engine = open_engine(urls.app, pool_size=1)
    try:
        with engine.begin() as connection:
            connection.execute(text(statement))
    finally:
        engine.dispose()


# -- a server that goes away ---------------------------------------------------------------------------------------------


def test_a_server_that_stops_is_unavailable_and_one_that_is_back_is_used_at_once(own_server: EmbeddedPostgres) -> None:
    holder = own_server.acquire()
    urls = bootstrap_roles(holder.admin_url(), passwords=lambda role: f"{role}-throw-away")
    prepared(urls.owner)
    store = open_store(urls)
    try:
        acme = new_tenant(store)
        with ExitStack() as several:  # a pool of connections, all of which the server forgets
            for _ in range(4):
                several.enter_context(store.read(acme))

        with pytest.raises(StoreUnavailable, match="not reachable") as caught, store.unit_of_work(acme, "test.middle") as work:
            work.fleet.save_secret("a", "b")
            own_server.stop()
            work.record("secret.created", "secret", "a")
        assert "is the server running" in str(caught.value.fix)
        assert (caught.value.exit_code, caught.value.transient) == (5, True)
        with pytest.raises(StoreUnavailable, match="not reachable") as caught, store.read(acme):
            pass
        assert "throw-away" not in str(caught.value)

        with own_server.acquire():
            with store.read(acme) as work:
                assert work.fleet.secret_names() == []
                assert [decode(event).action for event in work.audit.events()] == ["tenant.created"]
            with store.unit_of_work(acme, "test.after") as work:
                work.record("secret.created", "secret", "a")
            with store.system() as system:
                assert [row.slug for row in system.tenants()] == [acme.tenant_slug]
    finally:
        store.close()
        holder.close()


def test_connections_that_the_server_dropped_are_replaced_before_they_are_used(store_urls: Urls) -> None:
    store = open_store(store_urls)
    try:
        acme = new_tenant(store)
        with ExitStack() as several:
            for _ in range(4):
                several.enter_context(store.read(acme))
        with psycopg.connect(store_urls.app, autocommit=True) as app:
            dropped = app.execute("SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity"
                                  " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                                  " AND usename = current_user").fetchone()
        assert dropped is not None
        assert dropped[0] >= 4
        for _ in range(6):
            with store.unit_of_work(acme, "test.after") as work:
                work.record("secret.created", "secret", "a")
    finally:
        store.close()


def test_a_connection_dropped_in_the_middle_loses_that_unit_of_work_alone(store: Store, store_urls: Urls,
                                                                          acme: Context) -> None:
    with (pytest.raises(StoreUnavailable, match="terminating connection"),
          store.unit_of_work(acme, "test.middle") as work):
        work.record("secret.created", "secret", "a")
        pid = work.connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with psycopg.connect(store_urls.app, autocommit=True) as app:
            app.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
        work.fleet.save_secret("a", "b")
    with store.read(acme) as work:
        assert len(work.audit.events()) == 1


# -- a server that cannot be used ----------------------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_unavailable(store_urls: Urls) -> None:
    nowhere = Urls(*["postgresql://wfops_app:hunter2@/wfops?host=/nonexistent"] * 4)
    with pytest.raises(StoreUnavailable, match="not reachable") as caught:
        say(nowhere, "SELECT 1")
    assert "WFOPS_DATABASE_URL" in str(caught.value.fix)
    assert "hunter2" not in str(caught.value)


def test_a_password_that_is_refused_is_told_apart(store_urls: Urls) -> None:
    where = conninfo_to_dict(store_urls.app)
    wrong = f"postgresql://wfops_app:hunter2@/{where['dbname']}?host={where['host']}"
    with pytest.raises(StoreUnavailable, match="refuses the login") as caught:
        say(Urls(wrong, wrong, wrong, wrong), "SELECT 1")
    assert "WFOPS_SECRET_KEY" in str(caught.value.fix)
    assert "hunter2" not in str(caught.value)


def test_a_server_that_takes_no_more_connections_is_told_apart(store_urls: Urls) -> None:
    name = sql.Identifier(str(conninfo_to_dict(store_urls.owner)["dbname"]))
    with psycopg.connect(store_urls.owner, autocommit=True) as owner:
        owner.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT 0").format(name))
        try:
            with pytest.raises(StoreUnavailable, match="takes no more connections") as caught:
                say(store_urls, "SELECT 1")
        finally:
            owner.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT -1").format(name))
    assert "max_connections" in str(caught.value.fix)


def test_threads_that_wait_too_long_for_a_connection_are_told_why(store_urls: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "POOL_SECONDS", 0.01)
    engine = open_engine(store_urls.app, pool_size=1)
    try:
        with ExitStack() as several, pytest.raises(StoreUnavailable, match="became free within"):
            for _ in range(50):
                several.enter_context(connected(engine))
    finally:
        engine.dispose()


# -- statements that are refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("statement", "kind", "words"), [
    ("INSERT INTO tenants (tenant_id, slug, name) VALUES (gen_random_uuid(), 'x', 'x')", TenantRequired, "another tenant's rows"),
    ("DELETE FROM audit_events", StoreError, "permission denied for table audit_events"),
    ("SET statement_timeout = 1; SELECT pg_sleep(60)", StoreError, "statement timeout"),
    ("SET lock_timeout = 1; SELECT pg_advisory_lock(4711)", StoreBusy, "precedence.*lock timeout"),
    ("SELECT 1/0", StoreRefusal, "division by zero"),
    ("SELECT", None, ""),
])
def test_refusals_keep_their_reason(store_urls: Urls, statement: str, kind: type[StoreError] | None, words: str) -> None:
    with psycopg.connect(store_urls.owner) as other:
        other.execute("SELECT pg_advisory_lock(4711)")
        if kind is None:
            say(store_urls, statement)
            return
        with pytest.raises(StoreError, match=words) as caught:
            say(store_urls, statement)
    assert type(caught.value) is kind


def test_a_refusal_names_the_rule_and_quotes_no_value(store: Store, acme: Context) -> None:
    with pytest.raises(StoreError, match="pk_secrets") as caught, store.bookkeeping(acme, "test.twice") as work:
        for _ in range(2):
            work.connection.execute(
                text("INSERT INTO secrets (tenant_id, name, token, key_id) VALUES (:t, 'hunter2', 'x', 'x')"),
                {"t": acme.tenant_id})
    assert "hunter2" not in str(caught.value)
