"""Contents that nothing refers to go; what anything refers to stays, whatever runs meanwhile (§18)."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, select, text, update

from wfops_pipelines import failpoints
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.domain.snapshot import SnapshotKind
from wfops_pipelines.domain.workflow import digest
from wfops_pipelines.services.operations import run_operation
from wfops_pipelines.services.payload_retention import UnreferencedRemoved, remove_unreferenced
from wfops_pipelines.services.retention import run_retention
from wfops_pipelines.services.snapshots import digests_of
from wfops_pipelines.store.tables.incidents import runtime_journal
from wfops_pipelines.store.tables.operations import operations
from wfops_pipelines.store.tables.payloads import payloads
from wfops_pipelines.store.tables.promotions import promoted_workflows, promotions
from wfops_pipelines_tests.servers.processes import eventually
from wfops_pipelines_tests.services.fleet import Environment, FleetUnderTest, NewFleet, run, workflow
from wfops_pipelines_tests.services.snapshots import held, snapshot


@pytest.fixture
def prod(fleet: FleetUnderTest) -> Environment:
    return fleet["prod"]


def stored(fleet: FleetUnderTest) -> set[str]:
    """What is stored, by digest."""
    return fleet.reading(lambda work: set(work.connection.execute(select(payloads.c.digest)).scalars()))


def put(fleet: FleetUnderTest, *bodies: bytes) -> list[str]:
    """Given contents that nothing refers to; their digests."""
    fleet.writing(lambda work: work.payloads.save({digest(body): body for body in bodies}))
    return [digest(body) for body in bodies]


def remove(fleet: FleetUnderTest, **options: Any) -> UnreferencedRemoved:
    """As retention does it."""
    return remove_unreferenced(fleet.services, fleet.context, **options)


def test_of_a_workflow_that_was_edited_the_last_content_stays(fleet: FleetUnderTest, prod: Environment) -> None:
    (workflow_id,) = prod.create_in_n8n(workflow("Orders"))
    prod.sync()
    first = prod.mapping(workflow_id).live_digest
    for text_ in ("two", "three"):
        prod.edit_in_n8n(workflow_id, text_)
        prod.sync()
    row = prod.mapping(workflow_id)
    assert remove(fleet, dry_run=True).count == 2 and first in stored(fleet)
    done = run_retention(fleet.services, actor="system:retention")
    assert [(one.what, one.count, one.before) for one in done.removed] == [("payloads", 2, None)]
    assert stored(fleet) == {row.live_digest, row.draft_digest}
    (event,) = fleet.events("retention.removed")
    assert event.details["count"] == 2 and event.details["bytes"] > 0
    assert remove(fleet) == UnreferencedRemoved() and prod.sync().unchanged == 1 and fleet.chain_verifies()


def test_what_a_snapshot_lists_stays_as_long_as_the_snapshot(fleet: FleetUnderTest, prod: Environment) -> None:
    (workflow_id,) = prod.create_in_n8n(workflow("Orders"))
    kept = held(prod, snapshot(prod, kind=SnapshotKind.SCHEDULED)).digests()
    prod.edit_in_n8n(workflow_id, "since")
    snapshot(prod)
    assert remove(fleet).count == 0 and kept < stored(fleet)
    fleet.writing(lambda work: work.connection.execute(text("DELETE FROM snapshots WHERE kind = 'scheduled'")))
    assert remove(fleet).count == 2 and not kept & stored(fleet)  # the content and the manifest


def test_a_manifest_lists_every_content_of_its_snapshot(fleet: FleetUnderTest, prod: Environment) -> None:
    (workflow_id,) = prod.create_in_n8n(workflow("Orders"))
    prod.activate_in_n8n(workflow_id)
    prod.edit_in_n8n(workflow_id, "drafted", publish=False)
    report = snapshot(prod)
    manifest = fleet.reading(lambda work: work.payloads.load(work.retention.payloads.manifests()))
    assert [digests_of(body) for body in manifest.values()] == [held(prod, report).digests()]
    assert len(held(prod, report).digests()) == 2


def test_what_git_holds_stays(fleet: FleetUnderTest, prod: Environment) -> None:
    prod.push_workflow("workflows/a.json", workflow("Orders"))
    prod.read_git()
    assert remove(fleet).count == 0
    prod.push_workflow("workflows/a.json", workflow("Orders", text="edited"))
    prod.read_git()
    assert remove(fleet).count == 1


REFERRING = ["journal before", "journal after", "incident", "checkpoint", "promoted", "promotion under way"]


@pytest.mark.parametrize("where", REFERRING)
def test_what_is_named_without_a_foreign_key_stays(fleet: FleetUnderTest, prod: Environment, where: str) -> None:
    kept, gone = put(fleet, b'{"kept":true}', b'{"gone":true}')
    now, environment = fleet.clock.now(), prod.row.id
    ids = [fleet.services.new_id() for _ in range(3)]

    def refer(work: Any) -> None:
        tenant, connection = fleet.context.tenant_id, work.connection
        work.operations.create(ids[0], "incident_resolution", environment_id=environment, actor="a", run_id=None, now=now)
        if where.startswith("journal"):
            side = where.removeprefix("journal ")
            connection.execute(insert(runtime_journal).values(
                tenant_id=tenant, operation_id=ids[0], position=1, environment_id=environment, action="update", name="W",
                state="settled", intended_at=now, **{side: {"live_digest": kept, "tags": ["a"]}}))
        elif where == "incident":
            work.incidents.add(
                id=ids[1], environment_id=environment, status="detected", severity="low", title="drift", affected=1,
                drift_fingerprint="f", detected_at=now, last_seen_at=now, expires_at=now, next_due_at=now,
                drift_snapshot={"workflows": [{"git_digest": None, "runtime_digest": kept}]})
        elif where == "checkpoint":
            connection.execute(update(operations).values(checkpoint={"files": {"a.json": kept}}))
        else:
            connection.execute(insert(promotions).values(
                tenant_id=tenant, id=ids[1], number=1, kind="promotion", source_environment_id=environment,
                target_environment_id=environment, status="pending", requested_by="a", requested_at=now, changed_at=now,
                plan={"changes": [{"after": kept}]} if where == "promotion under way" else None))
        if where == "promoted":
            work.mappings.save_canonicals({ids[2]: "W"}, now)
            connection.execute(insert(promoted_workflows).values(
                tenant_id=tenant, environment_id=environment, canonical_id=ids[2], digest=kept, portable_hash="p",
                promotion_id=ids[1], promoted_at=now))

    fleet.writing(refer)
    assert remove(fleet).count == 1 and stored(fleet) == {kept} and gone != kept


LOOKED_INTO = {"runtime_journal.before", "runtime_journal.after", "drift_incidents.drift_snapshot", "operations.checkpoint",
               "promotions.options", "promotions.plan", "promotions.results"}
WITHOUT_DIGESTS = {
    "alert_states.state", "deployments.batch_waves", "deployments.options", "drift_approvals.arguments",
    "drift_check_history.counts", "drift_incidents.cause", "drift_incidents.reach", "drift_policies.policy",
    "environment_leases.holder", "environments.variables", "known_listings.pages", "operation_steps.result",
    "operations.metrics", "operations.request", "outbox.message",
    "notification_targets.events", "notification_targets.quiet_hours",
    "pipeline_stages.freeze_windows", "pipeline_stages.gates", "pipeline_stages.verification", "promotions.gates",
    "repositories.github_app", "sweeps.counts", "sweeps.holder", "sweeps.statuses", "webhook_deliveries.environments",
    "workflow_diff_state.diff", "workflow_drift.diff"}


@pytest.mark.parametrize(("wanted", "known"), [
    ("column_name LIKE '%digest'", {
        "payloads.digest", "workflow_env_map.draft_digest", "workflow_env_map.live_digest",
        "canonical_workflow_git_state.digest", "snapshots.manifest_digest", "promoted_workflows.digest",
        "webhook_deliveries.body_digest"}),  # of what a webhook said
    ("data_type = 'jsonb'", LOOKED_INTO | WITHOUT_DIGESTS)])
def test_no_column_that_may_name_a_payload_is_forgotten(fleet: FleetUnderTest, wanted: str, known: set[str]) -> None:
    """Whoever adds one says in ``store/unreferenced.py``, or here, what it holds."""
    found = fleet.reading(lambda work: work.connection.execute(text(
        "SELECT table_name || '.' || column_name FROM information_schema.columns "
        f"WHERE table_schema = 'public' AND {wanted}")).scalars().all())
    assert set(found) == known


# -- while others work ---------------------------------------------------------------------------------------------------

def test_nothing_goes_while_an_operation_of_the_tenant_runs(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "prod"))
    put(fleet, b"1", b"2")

    async def while_running() -> UnreferencedRemoved:
        async with run_operation(fleet.services, fleet.context, OperationKind.ENVIRONMENT_SYNC, fleet["dev"].row):
            return await asyncio.to_thread(remove, fleet)

    assert run(while_running()) == UnreferencedRemoved(waiting=2) and len(stored(fleet)) == 2
    assert remove(fleet) == UnreferencedRemoved(count=2)


def test_what_waits_is_told_by_the_run(fleet: FleetUnderTest, prod: Environment) -> None:
    put(fleet, b"1")

    async def while_running() -> Any:
        async with run_operation(fleet.services, fleet.context, OperationKind.ENVIRONMENT_SYNC, prod.row):
            return await asyncio.to_thread(run_retention, fleet.services, actor="system:retention")

    done = run(while_running())
    assert (done.removed, done.waiting) == ([], {"acme": 1})
    assert done.as_json()["waiting"] == [{"tenant": "acme", "what": "payloads", "count": 1}]


def test_an_operation_whose_process_died_keeps_nothing(fleet: FleetUnderTest, prod: Environment) -> None:
    put(fleet, b"1")
    operation_id = fleet.services.new_id()

    def die(work: Any) -> None:
        now = fleet.clock.now()
        work.operations.create(operation_id, "environment_sync", environment_id=prod.row.id, actor="a", run_id=None, now=now)
        work.leases.take(prod.row.id, operation_id, {}, now)  # long ago, by the database's clock

    fleet.writing(die)
    assert remove(fleet).count == 1


def test_no_operation_begins_while_a_batch_goes(fleet: FleetUnderTest, prod: Environment) -> None:
    """One that began would find its content stored already, and refer to it when it is gone."""
    waiting = text("SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database "
                   "WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted")
    with ThreadPoolExecutor(1) as pool:
        with fleet.services.store.bookkeeping(fleet.context, "test") as work:
            assert work.retention.payloads.hold_still(60)
            syncing = pool.submit(prod.sync)
            eventually(lambda: fleet.reading(lambda look: look.connection.execute(waiting).scalar_one()) > 0)
            assert [operation.kind for operation in fleet.operations()] == ["apply"]
        assert syncing.result().seen == 0


def test_a_content_that_was_referred_to_after_it_was_found_stays(
        fleet: FleetUnderTest, prod: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between looking and removing a sync may come and go."""
    (workflow_id,) = prod.create_in_n8n(workflow("Orders"))
    prod.sync()
    back = prod.mapping(workflow_id).live_digest
    prod.edit_in_n8n(workflow_id, "edited")
    prod.sync()
    prod.edit_in_n8n(workflow_id, "hello")
    reached: list[str] = []
    unit = fleet.services.store.bookkeeping

    def bookkeeping(context: Any, name: str, **options: Any) -> Any:
        if name == "retention.payloads" and not reached:
            reached.append(name)
            prod.sync()
        return unit(context, name, **options)

    monkeypatch.setattr(fleet.services.store, "bookkeeping", bookkeeping)
    assert remove(fleet).count == 0  # what it had found is the workflow's content again
    assert reached and prod.mapping(workflow_id).live_digest == back and back in stored(fleet)


def test_a_content_that_a_snapshot_took_after_it_was_found_stays(
        fleet: FleetUnderTest, prod: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    (workflow_id,) = prod.create_in_n8n(workflow("Orders"))
    prod.sync()
    prod.edit_in_n8n(workflow_id, "edited")
    prod.sync()
    reached: list[Any] = []
    unit = fleet.services.store.bookkeeping

    def bookkeeping(context: Any, name: str, **options: Any) -> Any:
        if name == "retention.payloads" and not reached:
            reached.append(name)
            prod.edit_in_n8n(workflow_id, "hello")
            reached.append(held(prod, snapshot(prod)).digests())
            prod.edit_in_n8n(workflow_id, "third")
            prod.sync()
        return unit(context, name, **options)

    monkeypatch.setattr(fleet.services.store, "bookkeeping", bookkeeping)
    remove(fleet)
    assert reached[1] <= stored(fleet)


def test_syncs_that_go_back_and_forth_never_miss_a_content(fleet: FleetUnderTest, prod: Environment) -> None:
    """Contents that nothing refers to come back all the time, from n8n and from Git, while they are being removed."""
    (workflow_id,) = prod.create_in_n8n(workflow("Orders"))
    over, removed = threading.Event(), threading.Event()

    def keep_removing() -> None:
        while not over.is_set():
            if remove(fleet, batch_size=1).count:
                removed.set()

    with ThreadPoolExecutor(1) as pool:
        removing = pool.submit(keep_removing)
        try:
            for turn in range(200):
                if turn >= 12 and removed.is_set():  # nothing goes while an operation runs: it may take its time
                    break
                prod.edit_in_n8n(workflow_id, f"text {turn % 2}")
                prod.push_workflow("workflows/a.json", workflow("Orders", text=f"text {turn % 2}"))
                prod.sync()
                prod.read_git()
        finally:
            over.set()
            removing.result()
    named = {prod.mapping(workflow_id).live_digest, prod.git_states()["workflows/a.json"].digest}
    assert removed.is_set() and named <= stored(fleet) and fleet.chain_verifies()


@pytest.mark.parametrize("place", ["retention.payloads.before_commit=raise@2", "retention.payloads.after_commit=raise@2"])
def test_a_run_that_is_cut_off_is_gone_on_with(fleet: FleetUnderTest, place: str) -> None:
    put(fleet, *(b"%d" % n for n in range(5)))
    failpoints.arm(place)
    with pytest.raises(failpoints.FailpointReached):
        remove(fleet, batch_size=2)
    failpoints.disarm()
    left = len(stored(fleet))
    assert left == (3 if "before" in place else 1)
    assert remove(fleet, batch_size=2).count == left
    assert sum(event.details["count"] for event in fleet.events("retention.removed")) == 5 and fleet.chain_verifies()


def test_a_failure_at_any_statement_is_told_by_what_was_recorded(fleet: FleetUnderTest, prod: Environment) -> None:
    """Every statement fails once, one run after the other; what went is in the audit trail, and nothing else went."""
    prod.create_in_n8n(workflow("Orders"))
    snapshot(prod)
    kept = stored(fleet)
    put(fleet, *(b"%d" % n for n in range(4)))
    failures = 0
    while True:
        failpoints.arm(f"store.statement=raise@{1 + failures}")
        try:
            remove(fleet, batch_size=2)
        except failpoints.FailpointReached:
            failures += 1
        else:
            break
        finally:
            failpoints.disarm()
        gone = sum(event.details["count"] for event in fleet.events("retention.removed"))
        assert len(stored(fleet)) == len(kept) + 4 - gone
    assert failures > 10 and stored(fleet) == kept and fleet.chain_verifies()


def test_another_tenants_contents_are_not_seen(fleet: FleetUnderTest) -> None:
    (found,) = put(fleet, b"1")
    other = UUID(int=7)
    with fleet.services.store.read(fleet.context) as work:
        work.connection.execute(text("SELECT set_config('wfops.tenant_id', :t, true)"), {"t": str(other)})
        assert work.retention.payloads.find() == []
    assert found in stored(fleet)
