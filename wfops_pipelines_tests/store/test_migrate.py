"""Migrations: up and down, by one process at a time, and never over a database of another version."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest
from alembic.script import ScriptDirectory

from wfops_pipelines.domain.errors import StoreBusy, StoreError, StoreNotReady, StoreUnavailable
from wfops_pipelines.store import migrate
from wfops_pipelines.store.engine import open_engine
from wfops_pipelines.store.migrate import downgrade, upgrade
from wfops_pipelines.store.roles import Urls
from wfops_pipelines_tests.servers.processes import child_environment, eventually
from wfops_pipelines_tests.store.catalogue import insert_graph, read_catalogue
from wfops_pipelines_tests.store.stores import open_store, prepared

FreshDatabase = Callable[..., Urls]
REVISIONS = [s.revision for s in ScriptDirectory.from_config(migrate.configuration()).walk_revisions()][::-1]
BEFORE_TENANCY = REVISIONS[REVISIONS.index("0003") - 1]
UPGRADE = "import sys; from wfops_pipelines.store.migrate import upgrade; upgrade(sys.argv[1])"


def one(url: str, query: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    return None if row is None else row[0]


def revision(url: str) -> str | None:
    engine = open_engine(url, pool_size=1)
    try:
        return migrate.current(engine)
    finally:
        engine.dispose()


def test_up_down_and_up_again_ends_where_the_tables_of_the_code_are(fresh_database_urls: FreshDatabase) -> None:
    urls = fresh_database_urls()
    assert revision(urls.owner) is None
    upgrade(urls.owner)
    assert revision(urls.owner) == migrate.heads()
    assert migrate.differences(urls.owner) == []
    downgrade(urls.owner)
    assert one(urls.owner, "SELECT string_agg(relname, ',') FROM pg_class WHERE relkind = 'r'"
                           " AND relnamespace = 'public'::regnamespace") == "alembic_version"
    assert one(urls.owner, "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace") == 0
    upgrade(urls.owner)
    assert migrate.differences(urls.owner) == []
    assert one(urls.app, "SELECT count(*) FROM tenants") == 0


def test_each_revision_goes_up_and_down_by_itself(fresh_database_urls: FreshDatabase) -> None:
    urls = fresh_database_urls()
    for target in REVISIONS:
        upgrade(urls.owner, revision=target)
        assert revision(urls.owner) == target
    for lower in [*reversed(REVISIONS[:-1]), None]:
        downgrade(urls.owner, revision=lower or "base")
        assert revision(urls.owner) == lower
        if lower == BEFORE_TENANCY:
            assert one(urls.owner, "SELECT count(*) FROM pg_policies") == 0
            assert one(urls.owner, "SELECT has_table_privilege('wfops_app', 'tenants', 'SELECT')") is False


def test_what_waits_for_approvals_still_has_to_have_them_after_0007(fresh_database_urls: FreshDatabase) -> None:
    urls = fresh_database_urls(lambda url: upgrade(url, revision="0006"))
    tenant = uuid4()
    with psycopg.connect(urls.owner) as owner:
        rows = insert_graph(owner, read_catalogue(owner), tenant)  # promotions that wait, between the ends of the stages
        owner.execute("UPDATE pipeline_stages SET approvers = 2")
        ends = [(row["source_environment_id"], row["target_environment_id"]) for row in rows["pipeline_stages"]]
    upgrade(urls.owner)
    with psycopg.connect(urls.owner) as owner:
        found = owner.execute("SELECT source_environment_id::text, target_environment_id::text, status, approvers"
                              " FROM promotions WHERE tenant_id = %s", (tenant,)).fetchall()
        assert {each[2] for each in found} == {"pending_approval"}
        assert {(each[0], each[1]) in ends: each[3] for each in found} == {True: 2}
        with pytest.raises(psycopg.errors.CheckViolation, match="1 of 2 approvals of this plan are there"):
            owner.execute("UPDATE promotions SET status = 'approved', approved_checksum = checksum")


def test_a_difference_between_code_and_database_is_found(fresh_database_urls: FreshDatabase) -> None:
    urls = fresh_database_urls(upgrade)
    with psycopg.connect(urls.owner) as owner:
        owner.execute("ALTER TABLE tenants DROP COLUMN plan")
    assert "plan" in str(migrate.differences(urls.owner))


def test_a_schema_that_is_current_is_left_alone(fresh_database_urls: FreshDatabase) -> None:
    urls = fresh_database_urls(upgrade)
    with psycopg.connect(urls.owner) as other:  # would block any migration
        other.execute("SELECT pg_advisory_lock(%s)", (migrate.LOCK,))
        other.execute("LOCK TABLE tenants")
        upgrade(urls.owner)


def test_two_processes_at_once_both_succeed_and_one_of_them_does_it(fresh_database_urls: FreshDatabase) -> None:
    urls = fresh_database_urls()
    with psycopg.connect(urls.owner, autocommit=True) as gate:
        gate.execute("SELECT pg_advisory_lock(%s)", (migrate.LOCK,))
        children = [subprocess.Popen([sys.executable, "-c", UPGRADE, urls.owner], env=child_environment(),
                                     stderr=subprocess.PIPE, text=True) for _ in range(2)]
        eventually(lambda: one(urls.owner, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                                           " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())") == 2)
        gate.execute("SELECT pg_advisory_unlock(%s)", (migrate.LOCK,))
    for child in children:
        _, said = child.communicate(timeout=120)
        assert child.returncode == 0, said
    assert one(urls.owner, "SELECT string_agg(version_num, ',') FROM alembic_version") == migrate.heads()
    assert migrate.differences(urls.owner) == []


@pytest.mark.parametrize("move", [upgrade, downgrade])
def test_a_database_of_a_newer_version_is_refused(fresh_database_urls: FreshDatabase, move: Callable[[str], None]) -> None:
    urls = fresh_database_urls(upgrade)
    with psycopg.connect(urls.owner) as owner:
        owner.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreNotReady, match=r"newer version .*9999") as caught:
        move(urls.owner)
    assert "restore a backup" in str(caught.value.fix)
    assert revision(urls.owner) == "9999"
    assert one(urls.owner, "SELECT count(*) FROM tenants") == 0


def test_a_database_that_is_not_migrated_says_so(fresh_database_urls: FreshDatabase) -> None:
    store = open_store(fresh_database_urls())
    try:
        with pytest.raises(StoreNotReady, match="schema does not fit") as caught, store.system() as system:
            system.tenants()
        assert "doctor" in str(caught.value.fix)
    finally:
        store.close()


def test_a_migration_does_not_queue_behind_a_table_in_use_for_long(fresh_database_urls: FreshDatabase,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody else would queue behind it. It gives up, whole, and works once the table is free."""
    assert migrate.LOCK_TIMEOUT == "10s"
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT", "50ms")
    urls = fresh_database_urls()
    upgrade(urls.owner, revision=BEFORE_TENANCY)
    with psycopg.connect(urls.owner, application_name="a-report") as reader:
        reader.execute("SELECT count(*) FROM tenants")
        with pytest.raises(StoreBusy, match=r"up to revision 0003 .*got no lock within 50ms") as caught:
            upgrade(urls.owner)
        assert f"process {reader.info.backend_pid} (wfops_owner, a-report) holds" in caught.value.message
        assert "tenants" in caught.value.message and f"schema is at {BEFORE_TENANCY}" in caught.value.message
        assert f"pg_terminate_backend({reader.info.backend_pid})" in str(caught.value.fix)
        assert revision(urls.owner) == BEFORE_TENANCY
        assert one(urls.owner, "SELECT count(*) FROM pg_policies") == 0
    upgrade(urls.owner)
    assert migrate.differences(urls.owner) == []


def test_a_failed_migration_gives_its_lock_back(fresh_database_urls: FreshDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    urls = fresh_database_urls()
    with psycopg.connect(urls.owner) as owner:
        owner.execute("CREATE TABLE tenants (in_the_way int)")
    with pytest.raises(StoreNotReady, match=r'up to revision 0001 .*"tenants" already exists.*nothing of it was applied') as caught:
        upgrade(urls.owner)
    assert "the beginning" in caught.value.message and "try again" in str(caught.value.fix)
    assert one(urls.owner, f"SELECT pg_try_advisory_lock({migrate.LOCK})") is True
    assert revision(urls.owner) is None


def test_a_migration_down_that_fails_names_its_revision_and_leaves_it_whole(fresh_database_urls: FreshDatabase) -> None:
    urls = fresh_database_urls(upgrade)
    with psycopg.connect(urls.owner) as owner:
        owner.execute("CREATE VIEW in_the_way AS SELECT * FROM tenants")
    with pytest.raises(StoreNotReady, match=rf"down from revision {REVISIONS[0]} .*depend"):
        downgrade(urls.owner)
    assert revision(urls.owner) == REVISIONS[0]
    assert one(urls.owner, "SELECT count(*) FROM tenants") == 0
    with psycopg.connect(urls.owner) as owner:
        owner.execute("DROP VIEW in_the_way")
    upgrade(urls.owner)
    assert migrate.differences(urls.owner) == []


def test_a_server_that_goes_away_in_the_middle_is_unavailable(fresh_database_urls: FreshDatabase) -> None:
    urls = fresh_database_urls()
    upgrade(urls.owner, revision=BEFORE_TENANCY)
    with (psycopg.connect(urls.owner) as reader, psycopg.connect(urls.owner, autocommit=True) as killer,
          ThreadPoolExecutor(1) as pool):
        reader.execute("SELECT count(*) FROM tenants")
        migrating = pool.submit(upgrade, urls.owner)
        eventually(lambda: killer.execute(
            "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
            " WHERE NOT l.granted AND l.locktype = 'relation' AND a.datname = current_database()").fetchone() is not None)
        with pytest.raises(StoreUnavailable, match="revision 0003") as caught:
            migrating.result()
    assert f"schema is at {BEFORE_TENANCY}" in caught.value.message
    assert revision(urls.owner) == BEFORE_TENANCY


def test_other_names_of_roles_get_the_same_rights(fresh_database_urls: FreshDatabase) -> None:
    """Two installations on one server have roles of their own: what the migrations grant follows the prefix."""
    urls = fresh_database_urls()
    with pytest.raises(StoreError, match='role "nobodys_app" does not exist'):
        upgrade(urls.owner, role_prefix="nobodys")
    assert revision(urls.owner) in {None, *REVISIONS[:REVISIONS.index(BEFORE_TENANCY) + 1]}


def test_a_prepared_database_has_one_audit_key(fresh_database_urls: FreshDatabase) -> None:
    urls = fresh_database_urls(prepared)
    first = one(urls.owner, "SELECT token FROM installation_secrets")
    prepared(urls.owner)
    assert one(urls.owner, "SELECT token FROM installation_secrets") == first
    store = open_store(urls)
    try:
        assert len(store.audit_key) == 32
        with store.system() as system:
            assert system.tenant("acme") is None
    finally:
        store.close()
