"""Units of work (§19.1): rows and events together or not at all, whatever fails and wherever."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text

from wfops_pipelines import failpoints
from wfops_pipelines.bootstrap import build_services
from wfops_pipelines.domain.audit import decode
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import Broken, LeaseLost, StoreBusy, StoreError, TenantRequired
from wfops_pipelines.failpoints import FailpointReached
from wfops_pipelines.services.audit_trail import verify_tenant
from wfops_pipelines.settings import Settings
from wfops_pipelines.store.roles import Urls
from wfops_pipelines.store.tables import TENANT_TABLES
from wfops_pipelines.store.unit_of_work import Held, Store, UnitOfWork
from wfops_pipelines_tests.servers.processes import eventually
from wfops_pipelines_tests.store.stores import NOON, new_environment, new_operation

HOLDER = {"host": "here", "pid": 1}


def everything_of(urls: Urls, context: Context) -> dict[str, list[str]]:
    """Every row of a tenant in every table, as the owner sees it."""
    with psycopg.connect(urls.owner) as owner:
        return {name: [row[0] for row in owner.execute(
            sql.SQL("SELECT t::text FROM {} t WHERE tenant_id = %s ORDER BY 1").format(sql.Identifier(name)),
            (context.tenant_id,))] for name in TENANT_TABLES}


def actions(store: Store, context: Context) -> list[str]:
    with store.read(context) as work:
        return [decode(encoded).action for encoded in reversed(work.audit.events())]


def take(store: Store, context: Context, environment_id: UUID) -> Held:
    operation_id = new_operation(store, context, environment_id)
    with store.bookkeeping(context, "test.take") as work:
        work.leases.lock(environment_id)
        return Held(environment_id, work.leases.take(environment_id, operation_id, HOLDER, NOON))


def mapping_row(environment_id: UUID, canonical_id: UUID | None, **changed: Any) -> dict[str, Any]:
    return {
        "id": uuid4(), "environment_id": environment_id, "workflow_id": "w1", "canonical_id": canonical_id,
        "status": "untracked" if canonical_id is None else "linked", "unlinked_reason": None, "name": "Pay invoices",
        "active": True, "archived": False, "tags": ["billing"], "draft_digest": "d1", "live_digest": "d1",
        "draft_hash": "h1", "live_hash": "h1", "portable_hash": "h1", "normalizer_version": 1, "has_references": False,
        "in_sync_hash": None, "source_updated_at": None, "changed_at": NOON, "first_seen_at": NOON, "missing_at": None,
        "ignored_at": None, "deleted_at": None, **changed,
    }


def write_everything(work: UnitOfWork, environment_id: UUID, operation_id: UUID) -> None:
    """What a batch of a sync writes, and more: one of each noun."""
    canonical_id = UUID(int=7)
    work.payloads.save({"d1": b"{}", "d2": b"[]"})
    work.mappings.save_canonicals({canonical_id: "Pay invoices"}, NOON)
    work.mappings.save([mapping_row(environment_id, canonical_id)])
    work.mappings.register([("h1", "proof", canonical_id)], 1, NOON)
    work.git_states.save_errors(environment_id, [{"path": "a.json", "blob": "b", "reason": "not_utf8", "message": "m",
                                                  "since": NOON}])
    work.drift.replace(environment_id, [{"subject": "w1", "name": "Pay", "kind": "modified", "kinds": ["modified"]}])
    work.fleet.save_secret("environment/prod/api_key", "hunter2")
    work.fleet.set_environment(environment_id, last_sync_at=NOON)
    work.operations.start(operation_id, run_id="run-1", now=NOON)
    work.operations.step(operation_id, "list", position=1, state="running", now=NOON)
    work.operations.checkpoint(operation_id, {"page": 3})
    work.record("mapping.linked", "workflow", "w1", environment="prod")
    work.record("environment.batch_synced", "environment", "prod", environment="prod")


# -- all or nothing ------------------------------------------------------------------------------------------------------


def test_a_failure_at_any_statement_leaves_nothing(store: Store, store_urls: Urls, acme: Context) -> None:
    environment_id = new_environment(store, acme)
    operation_id, before = new_operation(store, acme, environment_id), everything_of(store_urls, acme)
    statements = 0
    while True:
        failpoints.arm(f"store.statement=raise@{statements + 1}")
        try:
            with store.unit_of_work(acme, "test.batch") as work:
                write_everything(work, environment_id, operation_id)
            break
        except FailpointReached:
            statements += 1
            assert everything_of(store_urls, acme) == before, f"something was left by a failure at statement {statements}"
        finally:
            failpoints.disarm()
    assert statements > 15
    after = everything_of(store_urls, acme)
    changed = {name for name in TENANT_TABLES if after[name] != before[name]}
    assert changed == {
        "payloads", "canonical_workflows", "workflow_env_map", "workflow_hash_registry", "repository_file_errors",
        "workflow_drift", "secrets", "environments", "operations", "operation_steps", "audit_events", "audit_heads"}
    assert actions(store, acme)[-2:] == ["mapping.linked", "environment.batch_synced"]


def test_a_failure_just_before_the_commit_leaves_nothing(store: Store, store_urls: Urls, acme: Context) -> None:
    environment_id = new_environment(store, acme)
    operation_id, before = new_operation(store, acme, environment_id), everything_of(store_urls, acme)
    failpoints.arm("test.batch.before_commit=raise")
    with pytest.raises(FailpointReached), store.unit_of_work(acme, "test.batch") as work:
        write_everything(work, environment_id, operation_id)
    assert everything_of(store_urls, acme) == before


def test_a_failure_just_after_the_commit_leaves_all_of_it(store: Store, acme: Context) -> None:
    failpoints.arm("test.batch.after_commit=raise")
    with pytest.raises(FailpointReached), store.unit_of_work(acme, "test.batch") as work:
        work.fleet.save_secret("a", "b")
        work.record("secret.created", "secret", "a")
    with store.read(acme) as work:
        assert work.fleet.secret("a") == "b"
    assert actions(store, acme) == ["tenant.created", "secret.created"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_the_block_raises_undoes_it_and_passes_through(store: Store, acme: Context, error: type[BaseException]) -> None:
    with pytest.raises(error), store.unit_of_work(acme, "test.batch") as work:
        work.fleet.save_secret("a", "b")
        work.record("secret.created", "secret", "a")
        raise error
    with store.read(acme) as work:
        assert work.fleet.secret("a") is None
    assert actions(store, acme) == ["tenant.created"]


def test_a_statement_that_postgresql_refuses_undoes_the_rest(store: Store, acme: Context) -> None:
    environment_id = new_environment(store, acme)
    with (pytest.raises(StoreError, match="draft_digest"),
          store.unit_of_work(acme, "test.batch") as work):  # its payload was never stored
        work.fleet.save_secret("a", "b")
        work.mappings.save([mapping_row(environment_id, None)])
        work.record("secret.created", "secret", "a")
    with store.read(acme) as work:
        assert work.fleet.secret_names() == []


def test_the_next_unit_of_work_begins_where_a_broken_one_never_was(store: Store, acme: Context) -> None:
    for _ in range(3):
        with pytest.raises(ValueError, match="no"), store.unit_of_work(acme, "test.broken") as work:
            work.record("secret.created", "secret", "a")
            raise ValueError("no")
    with store.unit_of_work(acme, "test.good") as work:
        work.record("secret.updated", "secret", "a")
    with store.read(acme) as work:
        assert [decode(e).sequence for e in work.audit.events()] == [2, 1]
    assert verify_tenant(build_services(Settings(home=Path("unused")), store), acme).ok


# -- events --------------------------------------------------------------------------------------------------------------


def test_a_governed_change_without_an_event_is_refused_and_undone(store: Store, acme: Context) -> None:
    with pytest.raises(Broken, match=r"test\.silent recorded no audit event"), store.unit_of_work(acme, "test.silent") as work:
        work.fleet.save_secret("a", "b")
    with store.read(acme) as work:
        assert work.fleet.secret("a") is None


def test_bookkeeping_needs_no_event_but_may_record_one(store: Store, acme: Context) -> None:
    with store.bookkeeping(acme, "test.quiet") as work:
        work.fleet.save_secret("a", "b")
    with store.bookkeeping(acme, "test.loud") as work:
        work.record("secret.updated", "secret", "a")
    assert actions(store, acme) == ["tenant.created", "secret.updated"]


# -- tenants -------------------------------------------------------------------------------------------------------------


def test_writing_another_tenants_row_is_refused_by_the_database(store: Store, acme: Context, globex: Context) -> None:
    with (pytest.raises(TenantRequired, match="row-level security"), store.unit_of_work(acme, "test.other") as work):
        work.connection.execute(text("INSERT INTO payloads VALUES (:tenant, 'd', '', 0)"), {"tenant": globex.tenant_id})
    with store.read(globex) as work:
        assert work.payloads.load(["d"]) == {}


def test_two_tenants_work_at_once_without_waiting_for_each_other(store: Store, acme: Context, globex: Context) -> None:
    with store.unit_of_work(acme, "test.outer") as outer:
        outer.record("secret.updated", "secret", "a")
        outer.audit.flush()  # its head row is locked from here on
        outer.record("secret.updated", "secret", "b")
        with store.unit_of_work(globex, "test.inner") as inner:
            inner.record("secret.updated", "secret", "c")
    assert actions(store, acme) == ["tenant.created", "secret.updated", "secret.updated"]
    assert actions(store, globex) == ["tenant.created", "secret.updated"]


# -- reading -------------------------------------------------------------------------------------------------------------


def test_a_read_is_one_view_whatever_is_committed_meanwhile(store: Store, acme: Context) -> None:
    with store.read(acme) as view:
        assert view.fleet.secret_names() == []
        with store.bookkeeping(acme, "test.meanwhile") as work:
            work.fleet.save_secret("a", "b")
        assert view.fleet.secret_names() == []
    with store.read(acme) as view:
        assert view.fleet.secret_names() == ["a"]


def test_a_read_writes_nothing(store: Store, acme: Context) -> None:
    with pytest.raises(StoreError, match="read-only"), store.read(acme) as view:
        view.fleet.save_secret("a", "b")


def test_the_system_role_sees_tenants_and_writes_nothing(store: Store, acme: Context, globex: Context) -> None:
    new_environment(store, acme)
    with store.system() as system:
        assert {acme.tenant_slug, globex.tenant_slug} <= {row.slug for row in system.tenants()}
        assert acme.tenant_slug in {row.tenant_slug for row in system.environments()}
        with pytest.raises(StoreError, match="permission denied"):
            system._connection.execute(text("UPDATE tenants SET name = 'mine'"))


# -- leases --------------------------------------------------------------------------------------------------------------


def test_a_unit_of_work_under_a_lease_that_was_taken_over_writes_nothing(store: Store, store_urls: Urls,
                                                                         acme: Context) -> None:
    environment_id = new_environment(store, acme)
    first, second = take(store, acme, environment_id), take(store, acme, environment_id)
    assert second.epoch == first.epoch + 1
    before = everything_of(store_urls, acme)
    with pytest.raises(LeaseLost, match="taken over by operation"), store.unit_of_work(acme, "test.late", held=first) as work:
        work.record("secret.updated", "secret", "a")
    assert everything_of(store_urls, acme) == before
    with store.unit_of_work(acme, "test.holder", held=second) as work:
        work.record("secret.updated", "secret", "a")


def test_a_unit_of_work_under_a_released_lease_writes_nothing(store: Store, acme: Context) -> None:
    held = take(store, acme, new_environment(store, acme))
    with store.bookkeeping(acme, "test.release") as work:
        work.leases.release(held.environment_id, held.epoch, NOON)
    with pytest.raises(LeaseLost), store.bookkeeping(acme, "test.late", held=held) as work:
        work.fleet.save_secret("a", "b")


def test_a_unit_of_work_under_a_lease_that_never_was_writes_nothing(store: Store, acme: Context) -> None:
    with pytest.raises(LeaseLost), store.bookkeeping(acme, "test.nobody", held=Held(new_environment(store, acme), 1)):
        pass


def test_a_takeover_waits_for_the_unit_of_work_that_is_under_way(store: Store, store_urls: Urls, acme: Context) -> None:
    """So that what the old holder was writing is whole before the new one looks."""
    environment_id = new_environment(store, acme)
    held, successor = take(store, acme, environment_id), new_operation(store, acme, environment_id)

    def take_over() -> list[str]:
        with store.bookkeeping(acme, "test.takeover") as work:
            work.leases.lock(environment_id)
            work.leases.take(environment_id, successor, HOLDER, NOON)
            return work.fleet.secret_names()

    with ThreadPoolExecutor(1) as pool:
        with store.bookkeeping(acme, "test.under_way", held=held) as work:
            seen = pool.submit(take_over)
            eventually(lambda: somebody_waits(store_urls))
            work.fleet.save_secret("a", "b")
        assert seen.result() == ["a"]
    with pytest.raises(LeaseLost), store.bookkeeping(acme, "test.late", held=held):
        pass


def test_a_unit_of_work_that_begins_during_a_takeover_waits_and_is_refused(store: Store, store_urls: Urls,
                                                                          acme: Context) -> None:
    environment_id = new_environment(store, acme)
    held, successor = take(store, acme, environment_id), new_operation(store, acme, environment_id)

    def go_on() -> None:
        with store.bookkeeping(acme, "test.late", held=held) as work:
            work.fleet.save_secret("a", "b")

    with ThreadPoolExecutor(1) as pool:
        with store.bookkeeping(acme, "test.takeover") as work:
            work.leases.lock(environment_id)
            late = pool.submit(go_on)
            eventually(lambda: somebody_waits(store_urls))
            work.leases.take(environment_id, successor, HOLDER, NOON)
        with pytest.raises(LeaseLost, match=str(successor)):
            late.result()
    with store.read(acme) as work:
        assert work.fleet.secret_names() == []


def test_of_two_first_holders_one_waits_and_sees_the_other(store: Store, store_urls: Urls, acme: Context) -> None:
    environment_id = new_environment(store, acme)
    operation_id = new_operation(store, acme, environment_id)

    def look() -> UUID | None:
        with store.bookkeeping(acme, "test.second") as work:
            lease = work.leases.lock(environment_id)
            return None if lease is None else lease.operation_id

    with ThreadPoolExecutor(1) as pool:
        with store.bookkeeping(acme, "test.first") as work:
            assert work.leases.lock(environment_id) is None
            second = pool.submit(look)
            eventually(lambda: somebody_waits(store_urls))
            work.leases.take(environment_id, operation_id, HOLDER, NOON)
        assert second.result() == operation_id


def test_a_heartbeat_says_whether_the_lease_is_still_held(store: Store, acme: Context) -> None:
    environment_id = new_environment(store, acme)
    old = take(store, acme, environment_id)
    later = NOON + timedelta(seconds=30)
    with store.bookkeeping(acme, "test.beat") as work:
        assert work.leases.heartbeat(environment_id, old.epoch, later)
        lease = work.leases.current(environment_id)
    assert lease is not None
    assert lease.heartbeat_at == later
    new = take(store, acme, environment_id)
    with store.bookkeeping(acme, "test.beat") as work:
        assert not work.leases.heartbeat(environment_id, old.epoch, later)
        work.leases.release(environment_id, old.epoch, later)  # no longer its own to release
        assert work.leases.heartbeat(environment_id, new.epoch, later)
        work.leases.release(environment_id, new.epoch, later)
        assert not work.leases.heartbeat(environment_id, new.epoch, later)


def somebody_waits(urls: Urls) -> bool:
    """Whether a connection to this database waits for a lock."""
    with psycopg.connect(urls.owner, autocommit=True) as owner:
        return owner.execute("SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
                             " WHERE NOT granted AND d.datname = current_database()"
                             " UNION ALL SELECT 1 FROM pg_locks w JOIN pg_stat_activity a USING (pid)"
                             " WHERE NOT w.granted AND a.datname = current_database()").fetchone() is not None


# -- several at once -----------------------------------------------------------------------------------------------------


def test_two_that_block_each_other_are_told_apart_from_a_server_that_is_gone(store: Store, store_urls: Urls,
                                                                             acme: Context) -> None:
    for name in ("a", "b"):
        with store.bookkeeping(acme, "test.prepare") as work:
            work.fleet.save_secret(name, "0")

    def write(names: tuple[str, str]) -> str:
        with store.bookkeeping(acme, "test.deadlock") as work:
            work.fleet.save_secret(names[0], names[0])
            ready.add(names)
            eventually(lambda: len(ready) == 2)
            work.fleet.save_secret(names[1], names[0])
        return names[0]

    ready: set[tuple[str, str]] = set()
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(write, names) for names in (("a", "b"), ("b", "a"))]
        errors = [future.exception() for future in futures]
    [busy] = [error for error in errors if error is not None]
    assert isinstance(busy, StoreBusy)
    assert busy.transient
