"""The database goes away in the middle of a use case (§25): a clear error, nothing half-written, and the next one ends it.

At a named failpoint every connection to the test's database is ended by the server, as a restart or a failover does it.
For as long as the outage lasts nobody gets a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import OperationRunning, StoreUnavailable
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.services.operations import run_operation
from wfops_pipelines.services.pausing import pause
from wfops_pipelines.services.promotion_recovery import recover_environment
from wfops_pipelines.services.snapshots import take_snapshot
from wfops_pipelines_tests.servers.postgres import PostgresServer
from wfops_pipelines_tests.services.fleet import Environment, FleetUnderTest, NewFleet, file_bytes, run, workflow
from wfops_pipelines_tests.services.promotion_histories import carried_out, two_edited
from wfops_pipelines_tests.services.promotions import by_name, execute, held, roll_back, told


@dataclass
class Outage:
    """Ends all connections to one database, and lets nobody back in until it is over."""

    admin_url: str
    database: str
    happened: list[str] = field(default_factory=list)

    def begin(self, *, lasting: bool) -> None:
        self.happened.append("lasting" if lasting else "short")
        with psycopg.connect(self.admin_url, autocommit=True) as admin:
            if lasting:
                self._allow(admin, False)
            admin.execute("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s", (self.database,))

    def end(self) -> None:
        with psycopg.connect(self.admin_url, autocommit=True) as admin:
            self._allow(admin, True)

    def _allow(self, admin: psycopg.Connection, allowed: bool) -> None:
        admin.execute(sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {}").format(
            sql.Identifier(self.database), sql.SQL(str(allowed).lower())))


def outage_of(fleet: FleetUnderTest, server: PostgresServer) -> Outage:
    """An outage of a fleet's database, to begin and to end."""
    return Outage(server.admin_url, str(conninfo_to_dict(fleet.urls.app)["dbname"]))


@pytest.fixture
def outage(postgres_server: PostgresServer, fleet: FleetUnderTest) -> Iterator[Outage]:
    made = outage_of(fleet, postgres_server)
    yield made
    made.end()


@pytest.fixture
def at_failpoint(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], None]], None]:
    """``at_failpoint("sync.batch.before_commit@2", act)``: ``act()`` when it is passed for the second time, and only then."""

    def arrange(point: str, act: Callable[[], None]) -> None:
        left = [act]
        monkeypatch.setattr(failpoints, "time", SimpleNamespace(sleep=lambda _: left.pop()() if left else None))
        name, _, nth = point.partition("@")
        failpoints.arm(f"{name}=delay:1@{nth or 1}")

    return arrange


def three_in_n8n_and_two_in_git(prod: Environment) -> None:
    """Enough for batches of one: everything that follows has a middle."""
    prod.create_in_n8n(*(workflow(f"W{n}") for n in range(3)))
    prod.push_files({f"{name}.json": file_bytes(workflow(name)) for name in ("one", "two")})
    prod.fleet.with_limits(batch_size=1)


def totals(prod: Environment) -> dict[str, Any]:
    """What the store holds in the end, whichever way it got there."""
    return {"workflows": {row.name: (row.status, row.live_hash) for row in prod.mappings().values()},
            "files": {path: state.content_hash for path, state in prod.git_states().items()},
            "in n8n": len(prod.sandbox.state.workflows), "drift": prod.row.drift_status}


WORK: dict[str, Callable[[Environment], Any]] = {
    "sync": Environment.sync, "read": Environment.read_git, "check": Environment.check, "export": Environment.export}

PLACES = [
    ("sync", "sync.page.received"), ("sync", "sync.batch.before_commit@2"), ("sync", "sync.batch.after_commit@2"),
    ("sync", "sync.finish.before_commit"), ("sync", "operation.end.before_commit"),
    ("read", "git.fetch.after"), ("read", "repository.batch.before_commit@2"), ("read", "repository.finish.before_commit"),
    ("check", "drift.compare"), ("check", "drift.compare.before_commit"), ("check", "sync.batch.before_commit@2"),
    ("export", "export.before_write"), ("export", "export.after_write"), ("export", "export.record.before_commit"),
]


@pytest.mark.parametrize(("kind", "point"), PLACES, ids=[f"{kind}-{point}" for kind, point in PLACES])
def test_a_database_that_is_away_is_told_and_afterwards_the_same_thing_ends_well(
        fleet: FleetUnderTest, outage: Outage, at_failpoint: Any, kind: str, point: str) -> None:
    prod = fleet["prod"]
    three_in_n8n_and_two_in_git(prod)
    work = WORK[kind]
    at_failpoint(point, lambda: outage.begin(lasting=True))
    with pytest.raises(StoreUnavailable) as caught:
        work(prod)
    failpoints.disarm()
    assert outage.happened == ["lasting"]
    assert (caught.value.exit_code, caught.value.transient) == (5, True)
    assert caught.value.fix
    outage.end()

    work(prod)  # the environment is not held by the one that could not say that it had ended
    assert fleet.operations()[-1].state == "completed"
    assert [row.state for row in fleet.operations() if row.state == "running"] == []
    assert fleet.chain_verifies()
    prod.export()
    check = prod.check()
    assert (check.status, prod.kinds(check)) == ("DRIFT_DETECTED", {"one": "missing_in_runtime", "two": "missing_in_runtime"})
    assert {name: status for name, (status, _) in totals(prod)["workflows"].items()} == dict.fromkeys(("W0", "W1", "W2"), "linked")
    assert len(prod.files()) == 5
    assert fleet.chain_verifies()


@pytest.mark.parametrize(("kind", "point"), [
    ("sync", "sync.page.received"), ("read", "git.fetch.after"), ("check", "drift.compare"), ("export", "export.before_write")])
def test_connections_that_are_cut_between_two_units_of_work_cost_nothing(
        fleet: FleetUnderTest, outage: Outage, at_failpoint: Any, kind: str, point: str) -> None:
    """A restart while nothing is being written: the connections are made anew and the use case goes on."""
    prod = fleet["prod"]
    three_in_n8n_and_two_in_git(prod)
    at_failpoint(point, lambda: outage.begin(lasting=False))
    WORK[kind](prod)
    assert outage.happened == ["short"]
    assert {row.state for row in fleet.operations()} == {"completed"}
    assert fleet.chain_verifies()


def test_a_declaration_that_the_database_did_not_hear_out_changed_nothing_and_is_applied_the_next_time(
        fleet: FleetUnderTest, outage: Outage, at_failpoint: Any) -> None:
    events = len(fleet.events())
    fleet.tenant["name"] = "Acme Corporation"
    fleet.declared("prod")["name"] = "Live"
    at_failpoint("apply.tenant.before_commit", lambda: outage.begin(lasting=True))
    with pytest.raises(StoreUnavailable) as caught:
        fleet.apply()
    failpoints.disarm()
    assert caught.value.exit_code == 5
    outage.end()
    assert (fleet["prod"].row.name, len(fleet.events())) == ("prod", events)
    assert {(c.kind, c.action) for c in fleet.apply().changes} == {("tenant", "update"), ("environment", "update")}
    assert fleet["prod"].row.name == "Live"
    assert fleet.chain_verifies()


def test_a_database_that_is_away_from_the_beginning_is_told_by_every_use_case(fleet: FleetUnderTest, outage: Outage) -> None:
    prod = fleet["prod"]
    row, context = prod.row, fleet.context
    outage.begin(lasting=True)
    attempts: list[Callable[[], Any]] = [
        fleet.apply, fleet.chain_verifies, lambda: fleet.services.environment(context, "prod"),
        *(partial(work, prod) for work in WORK.values())]
    for attempt in attempts:
        with pytest.raises(StoreUnavailable) as caught:
            attempt()
        assert caught.value.exit_code == 5 and caught.value.fix
    outage.end()
    assert prod.row == row
    assert fleet.chain_verifies()


def test_who_takes_over_from_one_that_could_not_end_is_not_taken_over_itself(
        fleet: FleetUnderTest, outage: Outage, at_failpoint: Any) -> None:
    """It goes on under the same operation, in the same process."""
    prod = fleet["prod"]
    at_failpoint("operation.end.before_commit", lambda: outage.begin(lasting=True))
    with pytest.raises(StoreUnavailable):
        prod.sync()
    failpoints.disarm()
    outage.end()

    async def both() -> None:
        async with run_operation(fleet.services, fleet.context, OperationKind.ENVIRONMENT_SYNC, prod.row) as resumed:
            assert resumed.attempt == 2
            with pytest.raises(OperationRunning) as refused:
                async with run_operation(fleet.services, fleet.context, OperationKind.ENVIRONMENT_SYNC, prod.row):
                    pass
            assert refused.value.operation_id == str(resumed.id)

    run(both())


@pytest.mark.parametrize("point", ["runtime.record.before_commit@2", "runtime.record.after_commit@1",
                                   "promotion.complete.before_commit"])
def test_a_promotion_that_lost_its_database_is_brought_to_its_end_and_nothing_is_there_twice(
        new_fleet: NewFleet, postgres_server: PostgresServer, at_failpoint: Any, point: str) -> None:
    fleet = two_edited(new_fleet)
    outage = outage_of(fleet, postgres_server)
    at_failpoint(point, lambda: outage.begin(lasting=True))
    try:
        with pytest.raises(StoreUnavailable):
            execute(fleet, 2)
    finally:
        outage.end()
    failpoints.disarm()
    assert outage.happened == ["lasting"]
    run(recover_environment(fleet.services, fleet.context, fleet["prod"].row))
    assert told(fleet, 2).status == "completed"
    assert sorted(by_name(fleet["prod"])) == ["One", "Three", "Two"] and len(held(fleet["prod"])) == 3
    assert [row.state for row in fleet.operations() if row.state == "running"] == []
    assert fleet.chain_verifies()


def test_a_rollback_that_lost_its_database_is_brought_to_its_end(
        new_fleet: NewFleet, postgres_server: PostgresServer, at_failpoint: Any) -> None:
    fleet = carried_out(new_fleet)
    outage = outage_of(fleet, postgres_server)
    at_failpoint("runtime.record.before_commit@2", lambda: outage.begin(lasting=True))
    try:
        with pytest.raises(StoreUnavailable):
            roll_back(fleet, 2)
    finally:
        outage.end()
    failpoints.disarm()
    run(recover_environment(fleet.services, fleet.context, fleet["prod"].row))
    assert told(fleet, 2).status == "rolled_back"
    assert fleet.chain_verifies()


def test_a_snapshot_that_lost_its_database_is_none_and_the_next_one_is(
        fleet: FleetUnderTest, outage: Outage, at_failpoint: Any) -> None:
    prod = fleet["prod"]
    prod.create_in_n8n(workflow("A"))
    at_failpoint("snapshot.take.before_commit", lambda: outage.begin(lasting=True))
    with pytest.raises(StoreUnavailable):
        run(take_snapshot(fleet.services, fleet.context, prod.row))
    outage.end()
    failpoints.disarm()
    assert run(take_snapshot(fleet.services, fleet.context, prod.row)).workflows == 1
    assert len(fleet.events("snapshot.taken")) == 1


def test_a_pause_that_the_database_did_not_hear_out_is_none(fleet: FleetUnderTest, outage: Outage, at_failpoint: Any) -> None:
    at_failpoint("installation.before_commit", lambda: outage.begin(lasting=True))
    with pytest.raises(StoreUnavailable):
        pause(fleet.services, None, actor="local:ada")
    outage.end()
    failpoints.disarm()
    assert fleet.events("everything.paused") == []
    assert pause(fleet.services, None, actor="local:ada").changed
    assert len(fleet.events("everything.paused")) == 1
