"""What the database itself says of promotions and deployments (§11.2, §12): the domain's lifecycles, requests that never
change, plans that are carried out as they were approved."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.errors import CheckViolation, InsufficientPrivilege
from psycopg.types.json import Jsonb

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.deployment import DeploymentStatus, allowed_deployment_pairs
from wfops_pipelines.domain.errors import StoreError
from wfops_pipelines.domain.promotion import PromotionStatus, allowed_pairs
from wfops_pipelines.store.migrations.promotions import (
    DEPLOYMENT_FIRST,
    DEPLOYMENT_TRANSITIONS,
    PROMOTION_FIRST,
    PROMOTION_TRANSITIONS,
)
from wfops_pipelines.store.migrations.promotions_frozen import DEPLOYMENT_ENDED, PROMOTION_ENDED
from wfops_pipelines.store.roles import Urls
from wfops_pipelines.store.unit_of_work import Store
from wfops_pipelines_tests.store.stores import NOON, new_environment, new_tenant


def new_promotion(store: Store, context: Context, **values: Any) -> UUID:
    """A pending promotion, between environments of its own."""
    promotion_id = uuid4()
    source, target = (new_environment(store, context, f"{side}{promotion_id.hex[:8]}") for side in ("s", "t"))
    with store.bookkeeping(context, "test.promotion") as work:
        work.promotions.add(**{"id": promotion_id, "kind": "promotion", "source_environment_id": source,
                               "target_environment_id": target, "requested_by": "local:ada", "requested_at": NOON,
                               "changed_at": NOON, **values})
    return promotion_id


def new_deployment(store: Store, context: Context, **values: Any) -> UUID:
    """A pending deployment, between environments of its own."""
    deployment_id = uuid4()
    source, target = (new_environment(store, context, f"{side}{deployment_id.hex[:8]}") for side in ("s", "t"))
    with store.bookkeeping(context, "test.deployment") as work:
        work.deployments.add(**{"id": deployment_id, "source_environment_id": source, "target_environment_id": target,
                                "requested_by": "local:ada", "requested_at": NOON, "starts_at": NOON, **values})
    return deployment_id


NEW = {"promotions": new_promotion, "deployments": new_deployment}


@dataclass(frozen=True)
class Ready:
    """One promotion and one deployment, pending, that many tests begin with; nothing that they do to them lasts."""

    context: Context
    rows: dict[str, UUID]


@pytest.fixture(scope="module")
def ready(store: Store) -> Ready:
    context = new_tenant(store)
    return Ready(context, {table: new(store, context) for table, new in NEW.items()})


@pytest.fixture(scope="module")
def connections(store_urls: Urls, ready: Ready) -> Iterator[dict[str, psycopg.Connection]]:
    """Connections of both roles, as the tenant."""
    with psycopg.connect(store_urls.app) as app, psycopg.connect(store_urls.owner) as owner:
        for connection in (app, owner):
            connection.execute("SELECT set_config('wfops.tenant_id', %s, false)", (str(ready.context.tenant_id),))
            connection.commit()
        yield {"app": app, "owner": owner}


@pytest.fixture
def app(connections: dict[str, psycopg.Connection]) -> Iterator[psycopg.Connection]:
    """The application's own connection; nothing of it lasts."""
    yield connections["app"]
    connections["app"].rollback()


def move(connection: psycopg.Connection, table: str, row_id: UUID, status: str) -> int:
    return connection.execute(f"UPDATE {table} SET status = %s WHERE id = %s", (status, row_id)).rowcount


def path_to(pairs: Iterable[tuple[str, str]], first: str, last: str) -> list[str]:
    """The statuses on a way from the first one, without it."""
    follow: dict[str, list[str]] = {}
    for before, after in pairs:
        follow.setdefault(before, []).append(after)
    ways = deque([[first]])
    while ways:
        way = ways.popleft()
        if way[-1] == last:
            return way[1:]
        ways.extend([*way, after] for after in follow.get(way[-1], ()) if after not in way)
    raise AssertionError(f"no way leads to {last}")


def rows_of(transitions: Mapping[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    return sorted((before, after) for before, follow in transitions.items() for after in follow)


def test_the_tables_of_the_triggers_are_the_domains() -> None:
    assert rows_of(PROMOTION_TRANSITIONS) == allowed_pairs()
    assert rows_of(DEPLOYMENT_TRANSITIONS) == allowed_deployment_pairs()
    assert (PROMOTION_FIRST, DEPLOYMENT_FIRST) == (PromotionStatus.PENDING, DeploymentStatus.PENDING)
    assert set(PROMOTION_ENDED) == {each for each in PromotionStatus if each.is_terminal or each.has_run}
    assert set(DEPLOYMENT_ENDED) == {each for each in DeploymentStatus if each.is_terminal}


EVERY = [("promotions", b, a) for b, a in product(PromotionStatus, PromotionStatus) if b is not a] + [
    ("deployments", b, a) for b, a in product(DeploymentStatus, DeploymentStatus) if b is not a]


@pytest.mark.parametrize(("table", "before", "after"), EVERY, ids=str)
def test_the_database_allows_a_step_exactly_where_the_domain_does(
        ready: Ready, app: psycopg.Connection, table: str, before: str, after: str) -> None:
    pairs = allowed_pairs() if table == "promotions" else allowed_deployment_pairs()
    row_id = ready.rows[table]
    for status in path_to(pairs, "pending", before):
        assert move(app, table, row_id, status) == 1
    if (str(before), str(after)) in pairs:
        assert move(app, table, row_id, after) == 1
    else:
        with pytest.raises(CheckViolation, match=f"that is {before} cannot become {after}"):
            move(app, table, row_id, after)


@pytest.mark.parametrize("table", NEW)
def test_a_status_that_is_written_as_it_was_is_no_step(ready: Ready, app: psycopg.Connection, table: str) -> None:
    assert move(app, table, ready.rows[table], "pending") == 1


@pytest.mark.parametrize(("table", "status"), [
    *(("promotions", each) for each in PromotionStatus if each is not PromotionStatus.PENDING),
    *(("deployments", each) for each in DeploymentStatus if each is not DeploymentStatus.PENDING)], ids=str)
def test_both_begin_pending(ready: Ready, app: psycopg.Connection, table: str, status: str) -> None:
    row_id = ready.rows[table]
    columns = "source_environment_id, target_environment_id, requested_by, requested_at, tenant_id"
    own = "kind, changed_at, number" if table == "promotions" else "starts_at"
    given = "kind, changed_at, number + 1" if table == "promotions" else "starts_at"
    with pytest.raises(CheckViolation, match="begins pending, not"):
        app.execute(f"INSERT INTO {table} (id, status, {columns}, {own}) "
                    f"SELECT gen_random_uuid(), %s, {columns}, {given} FROM {table} WHERE id = %s", (str(status), row_id))


REQUESTS: dict[str, dict[str, Any]] = {
    "promotions": {"number": 77, "kind": "restore", "options": Jsonb({"prune": True}), "requested_by": "local:mallory",
                   "requested_through": "local:mallory", "requested_at": NOON + timedelta(days=1), "id": uuid4()},
    "deployments": {"options": Jsonb({"prune": True}), "requested_by": "local:mallory", "wave": 2, "batch_id": uuid4(),
                    "requested_at": NOON + timedelta(days=1), "id": uuid4()}}


@pytest.mark.parametrize(("table", "column"), [(table, column) for table, of in REQUESTS.items() for column in of])
@pytest.mark.parametrize("role", ["app", "owner"])
def test_what_was_asked_for_never_changes(ready: Ready, connections: dict[str, psycopg.Connection], role: str, table: str,
                                          column: str) -> None:
    with pytest.raises(InsufficientPrivilege, match="was asked for never changes"):
        connections[role].execute(f"UPDATE {table} SET {column} = %s WHERE id = %s",
                                  (REQUESTS[table][column], ready.rows[table]))
    connections[role].rollback()


@pytest.mark.parametrize("table", NEW)
def test_the_application_deletes_none(ready: Ready, app: psycopg.Connection, table: str) -> None:
    with pytest.raises(InsufficientPrivilege):
        app.execute(f"DELETE FROM {table} WHERE id = %s", (ready.rows[table],))


# -- promotions --------------------------------------------------------------------------------------------------------


def test_a_plan_that_was_not_approved_does_not_run(store: Store, acme: Context) -> None:
    promotion_id = new_promotion(store, acme, checksum="one")
    with store.bookkeeping(acme, "test") as work:
        work.promotions.change(promotion_id, now=NOON, status="approved", approved_checksum="one")
    with pytest.raises(StoreError, match="not the one that was approved"), store.bookkeeping(acme, "test") as work:
        work.promotions.change(promotion_id, now=NOON, status="running", checksum="other")
    with store.bookkeeping(acme, "test") as work:
        work.promotions.change(promotion_id, now=NOON, status="running")


@pytest.mark.parametrize("through", [False, True])
def test_nobody_approves_what_he_or_she_asked_for(store: Store, acme: Context, through: bool) -> None:
    promotion_id = new_promotion(store, acme, checksum="one", requested_through="local:root" if through else None)
    with store.bookkeeping(acme, "test") as work:
        work.promotions.change(promotion_id, now=NOON, status="pending_approval")
    with pytest.raises(StoreError, match="that he or she asked for"), store.bookkeeping(acme, "test") as work:
        decide(work, promotion_id, "local:root" if through else "local:ada")
    with store.bookkeeping(acme, "test") as work:
        decide(work, promotion_id, "local:ada", approve=False)
        decide(work, promotion_id, "local:grace")
    with pytest.raises(StoreError), store.bookkeeping(acme, "test") as work:
        decide(work, promotion_id, "local:grace")


def decide(work: Any, promotion_id: UUID, by: str, *, approve: bool = True) -> None:
    work.promotions.decide(promotion_id, id=uuid4(), decided_by=by, checksum="one", approve=approve, decided_at=NOON)


def test_one_promotion_at_a_time_runs_on_a_target(store: Store, acme: Context) -> None:
    first = new_promotion(store, acme)
    with store.read(acme) as work:
        row = work.promotions.by_id(first)
    assert row is not None
    second = new_promotion(store, acme, target_environment_id=row.target_environment_id)
    with store.bookkeeping(acme, "test") as work:
        for promotion_id in (first, second):
            work.promotions.change(promotion_id, now=NOON, status="approved")
        work.promotions.change(first, now=NOON, status="running")
        running = work.promotions.running_on(row.target_environment_id)
        assert running is not None and running.id == first
    with pytest.raises(StoreError, match="uq_promotions_running"), store.bookkeeping(acme, "test") as work:
        work.promotions.change(second, now=NOON, status="running")


def test_promotions_are_numbered_by_tenant_without_a_gap(store: Store, acme: Context, globex: Context) -> None:
    made = [new_promotion(store, acme), new_promotion(store, acme), new_promotion(store, globex)]
    with store.read(acme) as work:
        assert work.promotions.numbers_of(made) == {made[0]: 1, made[1]: 2}
    with store.read(globex) as work:
        assert work.promotions.numbers_of(made) == {made[2]: 1}


# -- deployments -------------------------------------------------------------------------------------------------------


def begin(store: Store, context: Context, deployment_id: UUID, *statuses: str, **values: Any) -> None:
    with store.bookkeeping(context, "test") as work:
        for status in statuses:
            work.deployments.change(deployment_id, status=status, **values)


def test_what_is_due_comes_page_by_page_the_longest_waiting_first(store: Store, acme: Context, globex: Context) -> None:
    made = [new_deployment(store, context, starts_at=NOON - timedelta(days=999, minutes=minutes))
            for minutes, context in ((1, acme), (3, globex), (2, acme))]
    for deployment_id, context in zip(made, (acme, globex, acme), strict=True):
        begin(store, context, deployment_id, "scheduled")
    later = new_deployment(store, acme, starts_at=NOON + timedelta(days=1))
    begin(store, acme, later, "scheduled")
    new_deployment(store, acme, starts_at=NOON - timedelta(days=1000))  # pending: not yet
    with store.system() as system:
        until = NOON - timedelta(days=998)
        first = system.scheduled_deployments(until, limit=2)
        rest = system.scheduled_deployments(until, limit=2, after=(first[-1].starts_at, first[-1].id))
    found = [row.id for row in [*first, *rest]]
    assert [each for each in found if each in made] == [made[1], made[2], made[0]] and later not in found


def test_deployments_of_a_deleted_tenant_are_not_due(store: Store) -> None:
    gone = new_tenant(store)
    deployment_id = new_deployment(store, gone, starts_at=NOON - timedelta(days=2000))
    begin(store, gone, deployment_id, "scheduled")
    with store.bookkeeping(gone, "test") as work:
        work.fleet.save_tenant(slug=gone.tenant_slug, name="Gone", deleted_at=NOON)
    with store.system() as system:
        assert deployment_id not in {row.id for row in system.scheduled_deployments(NOON)}


def test_a_heartbeat_is_that_of_the_run_that_carries_it_out(store: Store, acme: Context) -> None:
    deployment_id = new_deployment(store, acme)
    begin(store, acme, deployment_id, "scheduled")
    later = NOON + timedelta(minutes=5)
    with store.bookkeeping(acme, "test") as work:
        work.deployments.beat(deployment_id, None, later)  # not running
        work.deployments.change(deployment_id, status="running", run_id="r1", heartbeat_at=NOON)
        work.deployments.beat(deployment_id, "r2", later)
        row = work.deployments.by_id(deployment_id)
        assert row is not None and row.heartbeat_at == NOON
        work.deployments.beat(deployment_id, "r1", later)
        row = work.deployments.by_id(deployment_id)
        assert row is not None and row.heartbeat_at == later


def test_results_are_replaced_by_key(store: Store, acme: Context) -> None:
    deployment_id = new_deployment(store, acme)
    result = {"key": "k", "name": "Orders", "action": "create", "status": "skipped", "message": "", "at": NOON}
    with store.bookkeeping(acme, "test") as work:
        work.deployments.save_results(deployment_id, [result])
        work.deployments.save_results(deployment_id, [{**result, "status": "success"}, {**result, "key": "l"}])
        work.deployments.save_results(deployment_id, [])
        assert [(row.key, row.status) for row in work.deployments.results_of(deployment_id)] == [
            ("k", "success"), ("l", "skipped")]


def test_a_promotion_that_was_scheduled_twice_has_a_newest_deployment(store: Store, acme: Context) -> None:
    promotion_id = new_promotion(store, acme)
    new_deployment(store, acme, promotion_id=promotion_id)
    second = new_deployment(store, acme, promotion_id=promotion_id, requested_at=NOON + timedelta(hours=1))
    with store.read(acme) as work:
        newest = work.deployments.of_promotion(promotion_id)
        assert newest is not None and newest.id == second


def test_a_promotion_that_was_scheduled_does_not_begin_by_itself(store: Store, acme: Context) -> None:
    promotion_id = new_promotion(store, acme, options={"when_ready": True})
    with store.bookkeeping(acme, "test") as work:
        work.promotions.change(promotion_id, now=NOON, status="approved")

    def ready() -> bool:
        with store.system() as system:
            return promotion_id in {row.id for row in system.promotions_ready()}

    assert ready()
    new_deployment(store, acme, promotion_id=promotion_id)
    assert not ready()


def test_the_members_of_a_batch_are_found_across_tenants(store: Store, acme: Context, globex: Context) -> None:
    batch_id = uuid4()
    waves = {"waves": [["a"], ["g"]], "tolerated": 0}
    mine = new_deployment(store, acme, batch_id=batch_id, wave=1, batch_member="a", batch_waves=waves)
    other = new_deployment(store, globex, batch_id=batch_id, wave=2, batch_member="g", batch_waves=waves)
    with store.system() as system:
        assert [row.id for row in system.batch(batch_id)] == [mine, other]
        assert batch_id in system.open_batches()
        assert system.batches_between(batch_id, batch_id) == [batch_id]
    for context, deployment_id in ((acme, mine), (globex, other)):
        begin(store, context, deployment_id, "cancelled")
    with store.system() as system:
        assert batch_id not in system.open_batches()
    with store.read(acme) as work:
        assert [row.id for row in work.deployments.of_batch(batch_id)] == [mine]
