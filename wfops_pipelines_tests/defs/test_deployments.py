"""Deployments as Dagster starts them: when they are due, once, and not what somebody called off (§12, §24)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import dagster as dg
import pytest

from wfops_pipelines.defs.deployment.sensors import ATTEMPTS, Asked, asked_of, scheduled_deployments
from wfops_pipelines.defs.location import defs
from wfops_pipelines.defs.resources import Wfops
from wfops_pipelines.services.deployment_batches import BatchTemplate, schedule_batch
from wfops_pipelines.services.deployment_reports import DeploymentReport, report_of
from wfops_pipelines.services.deployments import cancel_deployment, schedule_deployment
from wfops_pipelines.services.promotion_options import PromotionOptions
from wfops_pipelines_tests.defs.conftest import Given

S = dg.DagsterRunStatus


@pytest.fixture
def ready(given: Given) -> Given:
    """staging is empty: everything of dev would be new there."""
    given.sandboxes["staging"].state.workflows.clear()
    return given


def schedule(given: Given, *, at: datetime | None = None) -> DeploymentReport:
    services = given.installation.services
    context = services.context("acme", actor="local:ada")
    return schedule_deployment(services, context, services.environment(context, "dev"),
                               services.environment(context, "staging"), PromotionOptions(), at=at)


def shown(given: Given, made: DeploymentReport) -> DeploymentReport:
    services = given.installation.services
    return report_of(services, services.context("acme", actor="local:ada"), UUID(made.deployment_id))


def tick(given: Given) -> list[Any]:
    """What the sensor asks for; its reason to skip when that is nothing."""
    answer = scheduled_deployments(dg.build_sensor_context(instance=given.instance, resources={"wfops": Wfops()}))
    return list(answer)  # type: ignore[arg-type, call-overload]


def asked_for(given: Given) -> list[dg.RunRequest]:
    return [each for each in tick(given) if isinstance(each, dg.RunRequest)]


def execute(given: Given, deployment: str, at_its_time: bool = False, **tags: str) -> tuple[dg.ExecuteInProcessResult, dict[str, Any]]:
    """The run, and the metadata of its step."""
    result = defs.resolve_job_def("run_deployment").execute_in_process(
        instance=given.instance, raise_on_error=False, tags=tags,
        run_config={"ops": {"deploy": {"config": {
            "deployment": deployment, "at_its_time": at_its_time}}}})
    outputs = [e for e in result.all_events if e.event_type is dg.DagsterEventType.STEP_OUTPUT]
    metadata = outputs[0].step_output_data.metadata if outputs else {}
    return result, {name: value.value for name, value in metadata.items()}


def ended_run(given: Given, request: dg.RunRequest, status: S) -> None:
    """A run of it that came to an end before it began anything."""
    given.instance.create_run_for_job(defs.resolve_job_def("run_deployment"), tags=dict(request.tags),
                                      run_config=dict(request.run_config), status=status)


def test_a_run_is_asked_for_when_it_is_due_with_its_id_as_key(ready: Given) -> None:
    schedule(ready, at=datetime.now().astimezone() + timedelta(hours=1))
    (skipped,) = tick(ready)
    assert skipped.skip_message == "no deployment is due"
    made = schedule(ready)
    (request,) = asked_for(ready)
    assert request.run_key == made.deployment_id
    assert request.tags["wfops/tenant"] == "acme" and request.tags["wfops/environment"] == "staging"
    assert request.tags["wfops/source"] == "dev" and request.tags["wfops/deployment"] == made.deployment_id
    assert request.tags["wfops/actor"] == "system:scheduled_deployments"


def test_a_run_is_asked_for_ahead_and_begins_at_its_time(ready: Given) -> None:
    made = schedule(ready, at=datetime.now().astimezone() + timedelta(seconds=4))
    (request,) = asked_for(ready)
    assert request.run_config["ops"]["deploy"]["config"] == {"deployment": made.deployment_id, "at_its_time": True}
    result, _ = execute(ready, str(made.deployment_id), at_its_time=True)
    done = shown(ready, made)
    assert result.success and done.started_at is not None and done.started_at >= done.starts_at


def test_one_that_is_hours_away_by_a_clock_that_was_set_back_is_asked_for_again_in_time(ready: Given) -> None:
    made = schedule(ready, at=datetime.now().astimezone() + timedelta(hours=3))
    result, _ = execute(ready, str(made.deployment_id), at_its_time=True)
    assert result.success and shown(ready, made).status == "scheduled"
    assert not asked_for(ready)


def test_one_that_is_called_off_while_its_run_waits_is_no_failure(ready: Given) -> None:
    made = schedule(ready)
    services = ready.installation.services
    cancel_deployment(services, services.context("acme", actor="local:ada"), UUID(made.deployment_id))
    result, _ = execute(ready, str(made.deployment_id), at_its_time=True)
    assert result.success and shown(ready, made).status == "cancelled"


def test_the_job_carries_it_out_and_shows_what_became_of_each_workflow(ready: Given) -> None:
    made = schedule(ready)
    (request,) = asked_for(ready)
    result, metadata = execute(ready, str(made.deployment_id), **dict(request.tags))
    assert result.success, result.all_events
    assert (metadata["status"], metadata["promotion"], metadata["success"]) == ("completed", "acme/p1", 2)
    assert {record.data["workflow"] for record in metadata["workflows"].records} == {"Orders", "Invoices"}
    tags = ready.instance.get_run_by_id(result.run_id).tags  # type: ignore[union-attr]
    assert tags["wfops/promotion"] == "acme/p1" and tags["dagster/max_retries"] == "0"
    done = shown(ready, made)
    assert (done.status, done.run_id) == ("completed", result.run_id)
    assert not asked_for(ready)


def test_one_started_in_the_launchpad_by_the_beginning_of_its_id_is_tagged(ready: Given) -> None:
    made = schedule(ready, at=datetime.now().astimezone() + timedelta(hours=1))
    result, _ = execute(ready, str(made.deployment_id)[:8])
    assert result.success and shown(ready, made).status == "completed"
    assert ready.instance.get_run_by_id(result.run_id).tags["wfops/deployment"] == made.deployment_id  # type: ignore[union-attr]


def test_a_failed_one_fails_its_run_with_the_reason_and_is_not_tried_again(ready: Given) -> None:
    ready.sandboxes["staging"].faults.add("status", status=500)
    made = schedule(ready)
    result, metadata = execute(ready, str(made.deployment_id))
    assert not result.success and metadata["status"] == "failed"
    (failure,) = [e for e in result.all_events if e.is_step_failure]
    assert "the deployment failed" in failure.step_failure_data.user_failure_data.description
    assert shown(ready, made).status == "failed" and not asked_for(ready)


def test_while_a_run_may_still_begin_no_other_is_asked_for(ready: Given) -> None:
    schedule(ready)
    (request,) = asked_for(ready)
    ended_run(ready, request, S.NOT_STARTED)
    assert not asked_for(ready)


def test_a_run_that_ended_before_it_began_is_asked_for_again_and_then_given_up(ready: Given) -> None:
    made = schedule(ready)
    keys = []
    for _ in range(ATTEMPTS):
        (request,) = asked_for(ready)
        keys.append(request.run_key)
        ended_run(ready, request, S.FAILURE)
    assert keys == [made.deployment_id, f"{made.deployment_id}-1", f"{made.deployment_id}-2"]
    assert not asked_for(ready)
    done = shown(ready, made)
    assert done.status == "failed" and "3 runs ended before they could begin it" in (done.message or "")


def test_a_run_that_somebody_cancelled_in_the_queue_cancels_it(ready: Given) -> None:
    made = schedule(ready)
    (request,) = asked_for(ready)
    ended_run(ready, request, S.CANCELED)
    assert not asked_for(ready)
    assert shown(ready, made).status == "cancelled"


def test_what_was_missed_is_not_started_any_more(ready: Given) -> None:
    made = schedule(ready)
    services = ready.installation.services
    with services.store.bookkeeping(services.context("acme", actor="local:ada"), "test") as work:
        work.deployments.change(UUID(made.deployment_id), starts_at=services.now() - timedelta(hours=2))
    (skipped,) = tick(ready)
    assert skipped.skip_message == "1 deployments missed their time"
    assert shown(ready, made).status == "failed"


def test_one_whose_run_died_ends_in_the_tick(ready: Given) -> None:
    made = schedule(ready)
    (request,) = asked_for(ready)
    run = ready.instance.create_run_for_job(defs.resolve_job_def("run_deployment"), tags=dict(request.tags),
                                            run_config=dict(request.run_config), status=S.STARTED)
    services = ready.installation.services
    with services.store.bookkeeping(services.context("acme", actor="local:ada"), "test") as work:
        now = services.now()
        work.deployments.change(UUID(made.deployment_id), status="running", started_at=now, heartbeat_at=now, run_id=run.run_id)
    tick(ready)
    assert shown(ready, made).status == "running"
    ready.instance.report_run_failed(run)
    tick(ready)
    done = shown(ready, made)
    assert done.status == "failed" and "died before anything was written" in (done.message or "")


def test_a_tick_moves_batches_on(ready: Given) -> None:
    report = schedule_batch(ready.installation.services, ["acme"], BatchTemplate("dev", "staging"), actor="local:ada")
    (request,) = asked_for(ready)
    assert request.tags["wfops/batch"] == report.batch_id
    result, metadata = execute(ready, str(request.run_key))
    assert result.success and (metadata["batch"], metadata["wave"]) == (report.batch_id, 1)


@pytest.mark.parametrize(("statuses", "expected"), [
    ([], Asked()),
    ([S.QUEUED], Asked(open=True)),
    ([S.STARTED, S.FAILURE], Asked(ended=1, open=True)),
    ([S.CANCELED, S.FAILURE], Asked(ended=2, cancelled=True)),
    ([S.FAILURE, S.CANCELED], Asked(ended=2)),
])
def test_what_the_runs_of_a_deployment_tell(statuses: list[S], expected: Asked) -> None:
    assert asked_of(statuses) == expected
