"""Runs are cancelled from elsewhere, and a tenant's queue has an end (§20)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from wfops_pipelines.defs import launch
from wfops_pipelines.defs.actors import ACTOR_TAG
from wfops_pipelines.defs.location import defs
from wfops_pipelines.defs.maintenance.cancelling import cancel_run, refuse_ended, run_of_operation_stops, run_status
from wfops_pipelines.domain.errors import ForbiddenTransition, QueueFull
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.domain.run_tags import REQUEST_TAG
from wfops_pipelines.services import refresh
from wfops_pipelines.services.operation_control import cancel_operation
from wfops_pipelines.services.operations import run_operation
from wfops_pipelines_tests.defs.conftest import Given

CONFIG = {"ops": {"refresh_environments": {"config": {"partitions": ["prod|acme"]}}}}
TAGS = {"wfops/tenant": "acme", ACTOR_TAG: "local:ada"}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def waiting(instance: dg.DagsterInstance, **tags: str) -> dg.DagsterRun:
    job = defs.resolve_job_def("refresh")
    return instance.create_run_for_job(job, run_config=CONFIG, tags={**TAGS, **tags})


def test_a_run_that_waits_never_starts(instance: dg.DagsterInstance) -> None:
    run = waiting(instance)
    assert cancel_run(instance, run.run_id) == "CANCELED"
    with pytest.raises(ForbiddenTransition, match="has ended: canceled"):
        refuse_ended(instance, run.run_id)
    assert run_status(instance, "no such run") is None


def test_the_same_is_not_queued_twice_and_who_asks_is_told_which(instance: dg.DagsterInstance) -> None:
    assert launch._waiting(instance, "refresh", CONFIG, TAGS, 5) is None
    run = waiting(instance, **{REQUEST_TAG: launch._request("refresh", CONFIG, TAGS)})
    found = launch._waiting(instance, "refresh", CONFIG, TAGS, 5)
    assert found is not None and (found.run_id, found.waited_already) == (run.run_id, True)
    assert launch._waiting(instance, "export", CONFIG, TAGS, 5) is None  # another job
    cancel_run(instance, run.run_id)
    assert launch._waiting(instance, "refresh", CONFIG, TAGS, 5) is None


def test_a_queue_that_is_full_refuses_at_once_with_its_length_and_a_way_out(instance: dg.DagsterInstance) -> None:
    for _ in range(2):
        waiting(instance)
    with pytest.raises(QueueFull, match="2 runs of acme wait") as refused:
        launch._waiting(instance, "refresh", CONFIG, TAGS, 2)
    assert refused.value.exit_code == 4 and refused.value.fix is not None and "WFOPS_LONGEST_QUEUE" in refused.value.fix
    assert launch._waiting(instance, "refresh", CONFIG, {**TAGS, "wfops/tenant": "globex"}, 2) is None


def test_a_run_for_many_goes_on_when_one_of_its_operations_is_cancelled(instance: dg.DagsterInstance) -> None:
    many, one = waiting(instance), waiting(instance, **{"wfops/environment": "prod"})
    assert not run_of_operation_stops(instance, many.run_id)
    assert not run_of_operation_stops(instance, None)
    assert run_of_operation_stops(instance, one.run_id)
    assert run_status(instance, one.run_id) == "CANCELING"


def test_a_run_whose_operation_was_cancelled_ends_as_cancelled(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `wfops cancel OPERATION` does it, from another process; here from within the batch."""
    services = given.installation.services
    context = services.context("acme", actor="local:ada")

    async def cancelled(_: Any, use: Any, environment: Any) -> None:
        async with run_operation(services, use, OperationKind.ENVIRONMENT_SYNC, environment) as operation:
            run_of_operation_stops(given.instance, use.run_id)
            cancel_operation(services, context, operation.id, reason="wrong one")
            await asyncio.sleep(3600)

    monkeypatch.setattr(refresh, "sync_environment", cancelled)
    config = {"ops": {"refresh_environments": {"config": {
        "partitions": ["prod|acme"], "parts": ["environment_workflows"]}}}}
    done = defs.resolve_job_def("refresh").execute_in_process(
        instance=given.instance, run_config=config, raise_on_error=False,
        tags={"wfops/tenant": "acme", "wfops/environment": "prod"})
    assert not done.success
    assert run_status(given.instance, done.run_id) == "CANCELED"
    with services.store.read(context) as work:
        assert [row.state for row in work.operations.recent(limit=1)] == ["cancelled"]
