"""Operations and their steps (§19.2): the database allows the transitions of the domain's table, and no other."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.errors import CheckViolation
from sqlalchemy import text

from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import ForbiddenTransition
from wfops_pipelines.domain.operation import TRANSITIONS, OperationState
from wfops_pipelines.store.roles import Urls
from wfops_pipelines.store.unit_of_work import Store
from wfops_pipelines_tests.store.stores import NOON, new_environment, new_operation

TO_REACH: dict[OperationState, list[OperationState]] = {
    OperationState.QUEUED: [],
    **{state: [state] for state in TRANSITIONS[OperationState.QUEUED]},
    **{state: [OperationState.RUNNING, state]
       for state in TRANSITIONS[OperationState.RUNNING] - TRANSITIONS[OperationState.QUEUED]},
}
INSERT = ("INSERT INTO operations (tenant_id, id, kind, state, actor, created_at)"
          " VALUES (%s, %s, 'environment_sync', %s, 'local:ada', now())")


@pytest.mark.parametrize("role", ["app", "owner"])
@pytest.mark.parametrize(("before", "after"), list(product(OperationState, OperationState)))
def test_the_database_allows_a_transition_exactly_where_the_domain_does(store_urls: Urls, acme: Context, role: str,
                                                                        before: OperationState,
                                                                        after: OperationState) -> None:
    operation_id = uuid4()
    with psycopg.connect(getattr(store_urls, role)) as connection:
        connection.execute("SELECT set_config('wfops.tenant_id', %s, true)", (str(acme.tenant_id),))
        connection.execute(INSERT, (acme.tenant_id, operation_id, "queued"))
        for state in TO_REACH[before]:
            connection.execute("UPDATE operations SET state = %s WHERE id = %s", (state, operation_id))
        move = "UPDATE operations SET state = %s, ended_at = now() WHERE id = %s", (after, operation_id)
        if after in TRANSITIONS[before]:
            assert connection.execute(*move).rowcount == 1
        else:
            with pytest.raises(CheckViolation, match=f"that is {before} cannot become {after}"):
                connection.execute(*move)
        connection.rollback()


@pytest.mark.parametrize("state", [*(s for s in OperationState if s is not OperationState.QUEUED), "paused"])
def test_an_operation_begins_queued(store_urls: Urls, acme: Context, state: str) -> None:
    with psycopg.connect(store_urls.owner) as owner, pytest.raises(CheckViolation):
        owner.execute(INSERT, (acme.tenant_id, uuid4(), state))


def test_other_columns_change_in_any_state(store: Store, acme: Context) -> None:
    operation_id = new_operation(store, acme)
    with store.bookkeeping(acme, "test.end") as work:
        work.operations.end(operation_id, OperationState.CANCELLED, now=NOON)
        work.operations.checkpoint(operation_id, {"page": 1})
        row = work.operations.get(operation_id)
    assert row is not None
    assert (row.state, row.checkpoint) == ("cancelled", {"page": 1})


def test_a_forbidden_transition_names_both_states_and_changes_nothing(store: Store, acme: Context) -> None:
    operation_id = new_operation(store, acme)
    with pytest.raises(ForbiddenTransition, match="queued cannot become completed"), store.bookkeeping(acme, "t") as work:
        work.operations.end(operation_id, OperationState.COMPLETED, now=NOON)
    assert state_of(store, acme, operation_id) == "queued"


def state_of(store: Store, context: Context, operation_id: UUID) -> str:
    with store.read(context) as work:
        row = work.operations.get(operation_id)
    assert row is not None
    return str(row.state)


def test_an_operation_that_failed_is_resumed_under_its_id_with_its_checkpoint(store: Store, acme: Context) -> None:
    operation_id, later = new_operation(store, acme), NOON + timedelta(minutes=5)
    with store.bookkeeping(acme, "test.attempts") as work:
        assert work.operations.start(operation_id, run_id="run-1", now=NOON) == 1
        work.operations.checkpoint(operation_id, {"batches": 7})
        work.operations.end(operation_id, OperationState.FAILED, now=NOON, error_kind="holder_died", error_message="died")
        assert work.operations.start(operation_id, run_id="run-2", now=later) == 2
        running = work.operations.get(operation_id)
        work.operations.end(operation_id, OperationState.COMPLETED, now=later, metrics={"seen": 3})
        ended = work.operations.get(operation_id)
    assert running is not None
    assert ended is not None
    assert (running.state, running.run_id, running.attempts, running.checkpoint) == ("running", "run-2", 2, {"batches": 7})
    assert (running.error_kind, running.ended_at, running.started_at) == (None, None, NOON)
    assert (ended.state, ended.ended_at, ended.metrics) == ("completed", later, {"seen": 3})


def test_steps_keep_their_order_results_and_attempts(store: Store, acme: Context) -> None:
    operation_id, later = new_operation(store, acme), NOON + timedelta(seconds=9)
    with store.bookkeeping(acme, "test.steps") as work:
        step = work.operations.step
        step(operation_id, "store", position=2, state="running", now=later)
        step(operation_id, "list", position=1, state="running", now=NOON)
        step(operation_id, "list", position=1, state="failed", now=NOON)
        step(operation_id, "list", position=1, state="running", now=later)
        step(operation_id, "list", position=1, state="completed", now=later, result={"seen": 12})
        steps = work.operations.steps(operation_id)
    assert [(s.name, s.state, s.attempts, s.result) for s in steps] == [
        ("list", "completed", 2, {"seen": 12}), ("store", "running", 1, None)]
    assert [(s.started_at, s.ended_at) for s in steps] == [(NOON, later), (later, None)]


def test_a_checkpoint_that_is_cleared_is_no_value_at_all(store: Store, store_urls: Urls, acme: Context) -> None:
    operation_id = new_operation(store, acme)
    with store.bookkeeping(acme, "test.checkpoint") as work:
        work.operations.checkpoint(operation_id, {"page": 1})
        work.operations.checkpoint(operation_id, None)
    with psycopg.connect(store_urls.owner) as owner:
        assert owner.execute("SELECT checkpoint IS NULL AND metrics IS NULL FROM operations WHERE id = %s",
                             (operation_id,)).fetchone() == (True,)


def test_recent_operations_are_listed_newest_first_and_by_environment(store: Store, acme: Context) -> None:
    environment_id = new_environment(store, acme)
    ids = [uuid4() for _ in range(3)]
    with store.bookkeeping(acme, "test.recent") as work:
        for number, operation_id in enumerate(ids):
            work.operations.create(operation_id, "export", environment_id=environment_id if number else None,
                                   actor=acme.actor, run_id=None, now=NOON + timedelta(seconds=number))
        assert [row.id for row in work.operations.recent()] == ids[::-1]
        assert [row.id for row in work.operations.recent(environment_id=environment_id, limit=1)] == [ids[2]]


def test_sweeps_are_told_which_environments_somebody_holds(store: Store, acme: Context) -> None:
    environment_id = new_environment(store, acme)
    operation_id = new_operation(store, acme, environment_id)
    with store.bookkeeping(acme, "test.take") as work:
        database_now = work.connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        work.operations.start(operation_id, run_id=None, now=NOON)
        epoch = work.leases.take(environment_id, operation_id, {"host": "here"}, database_now - timedelta(seconds=30))
    with store.system() as system:
        assert environment_id in system.busy_environments(600)
        assert environment_id not in system.busy_environments(29)
        assert [row.holder for row in system.running() if row.id == operation_id] == [{"host": "here"}]
    with store.bookkeeping(acme, "test.release") as work:
        work.leases.release(environment_id, epoch, NOON)
    with store.system() as system:
        assert environment_id not in system.busy_environments(600)
