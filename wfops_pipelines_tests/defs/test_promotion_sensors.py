"""Promotions that are carried out when their time has come, and what dead ones left (§11.6, §11.8)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import update

from wfops_pipelines import failpoints
from wfops_pipelines.defs.location import defs
from wfops_pipelines.defs.promotion.sensors import approved_promotions, unfinished_promotions
from wfops_pipelines.defs.resources import Wfops
from wfops_pipelines.services.promotion_options import PromotionOptions
from wfops_pipelines.services.promotion_request import cancel_promotion, decide_promotion, report_of, request_promotion
from wfops_pipelines.store.tables.fleet import pipeline_stages
from wfops_pipelines_tests.defs.conftest import Given

WAY = {"tenant": "acme", "source": "dev", "target": "staging", "dry_run": False}
Tick = dg.SensorResult | dg.SkipReason


@pytest.fixture
def begun(given: Given) -> Iterator[Given]:
    """Staging is empty: two workflows of dev can go there."""
    given.sandboxes["staging"].state.workflows.clear()
    yield given
    failpoints.disarm()


def stage(given: Given, **values: Any) -> None:
    """What the stages ask for."""
    services = given.installation.services
    with services.store.bookkeeping(services.context("acme", actor="local:test"), "test") as work:
        work.connection.execute(update(pipeline_stages).values(**values))


def run(given: Given, job: str, op: str, **config: Any) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def(job).execute_in_process(
        instance=given.instance, run_config={"ops": {op: {"config": config}}}, raise_on_error=False)


def carry_out(given: Given, tick: Tick) -> dg.ExecuteInProcessResult:
    """What Dagster does with the one run that a tick asks for."""
    (request,) = requests(tick)
    job = "promote" if "plan" in request.run_config["ops"] else "recover"
    return defs.resolve_job_def(job).execute_in_process(
        instance=given.instance, run_config=request.run_config, tags=request.tags, raise_on_error=False)


def requests(tick: Tick) -> list[dg.RunRequest]:
    assert isinstance(tick, dg.SensorResult), tick
    return list(tick.run_requests or [])


def look(given: Given, sensor: Any) -> Tick:
    answer = sensor(dg.build_sensor_context(instance=given.instance, resources={"wfops": Wfops()}))
    assert isinstance(answer, dg.SensorResult | dg.SkipReason)
    return answer


def told(given: Given, number: int = 1) -> Any:
    services = given.installation.services
    return report_of(services, services.context("acme", actor="local:test"), number)


def age(given: Given) -> None:
    """Whoever asked for the first promotion is gone for minutes."""
    services = given.installation.services
    with services.store.bookkeeping(services.context("acme", actor="local:test"), "test") as work:
        row = work.promotions.by_number(1)
        assert row is not None
        work.promotions.change(row.id, now=services.now() - timedelta(minutes=5))


def decide(given: Given, *, approve: bool = True) -> None:
    services = given.installation.services
    decide_promotion(services, services.context("acme", actor="local:grace"), 1, approve=approve, reason="seen")


def test_what_somebody_approved_is_carried_out_once(begun: Given) -> None:
    stage(begun, approvers=1)
    assert run(begun, "promote", "plan", **WAY).success
    assert told(begun).status == "pending_approval" and isinstance(look(begun, approved_promotions), dg.SkipReason)
    decide(begun)
    first, second = look(begun, approved_promotions), look(begun, approved_promotions)
    (request,), (same,) = requests(first), requests(second)
    assert request.run_key == same.run_key  # Dagster makes one run of them
    assert request.tags.items() >= {"wfops/target": "acme/staging", "wfops/promotion": "acme/p1",
                                    "wfops/actor": "system:approved_promotions"}.items()
    assert carry_out(begun, first).success
    assert told(begun).status == "completed" and told(begun).requested_by == "dagster-ui"
    assert isinstance(look(begun, approved_promotions), dg.SkipReason)
    assert not carry_out(begun, second).success  # asked for twice: it has run


def test_one_that_is_manual_rejected_or_cancelled_waits_for_nobody(begun: Given) -> None:
    stage(begun, approvers=1)
    assert run(begun, "promote", "plan", **WAY, manual=True).success
    decide(begun)
    assert told(begun).status == "approved" and isinstance(look(begun, approved_promotions), dg.SkipReason)
    services = begun.installation.services
    cancel_promotion(services, services.context("acme", actor="local:test"), 1)
    assert run(begun, "promote", "plan", promotion="acme/p1", dry_run=False).success is False


def test_a_freeze_window_holds_it_until_it_opens(begun: Given) -> None:
    now = begun.installation.services.now()
    closed = {"name": "year end", "from": (now - timedelta(hours=1)).isoformat(), "to": (now + timedelta(hours=1)).isoformat()}
    stage(begun, freeze_windows=[closed])
    result = run(begun, "promote", "plan", **WAY)
    assert result.success and told(begun).status == "approved" and not begun.sandboxes["staging"].state.workflows
    assert "execute" in {e.step_key for e in result.all_events if e.event_type is dg.DagsterEventType.STEP_SKIPPED}
    age(begun)
    skipped = look(begun, approved_promotions)
    assert isinstance(skipped, dg.SkipReason) and "year end" in (skipped.skip_message or "")
    stage(begun, freeze_windows=[])
    assert carry_out(begun, look(begun, approved_promotions)).success
    assert told(begun).status == "completed"


def test_whoever_asked_for_it_carries_it_out_and_the_sensor_only_what_is_left(begun: Given) -> None:
    services = begun.installation.services
    context = services.context("acme", actor="local:test")
    source, target = services.environments(context, ["dev", "staging"])
    asked = asyncio.run(request_promotion(services, context, source, target, PromotionOptions(when_ready=True)))
    assert asked.status == "approved"
    skipped = look(begun, approved_promotions)
    assert isinstance(skipped, dg.SkipReason) and "whoever asked for it" in (skipped.skip_message or "")
    age(begun)
    assert carry_out(begun, look(begun, approved_promotions)).success and told(begun).status == "completed"


def test_what_a_process_left_between_n8n_and_its_record_is_finished(begun: Given) -> None:
    assert isinstance(look(begun, unfinished_promotions), dg.SkipReason)
    failpoints.arm("promotion.complete.before=raise")
    assert not run(begun, "promote", "plan", **WAY).success
    failpoints.disarm()
    tick = look(begun, unfinished_promotions)
    (request,) = requests(tick)
    assert request.run_config["ops"]["finish"]["config"] == {"tenant": "acme", "environment": "staging"}
    assert carry_out(begun, tick).success
    report = told(begun)
    assert report.status == "completed" and report.git_status == "committed" and report.drift_status == "IN_SYNC"
    assert isinstance(look(begun, unfinished_promotions), dg.SkipReason)


def test_a_commit_that_git_refused_is_made_by_the_recovery(begun: Given) -> None:
    hook = begun.repository.path / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    result = run(begun, "promote", "plan", **WAY)
    assert result.success and told(begun).status == "completed" and told(begun).git_status == "failed"
    tick = look(begun, unfinished_promotions)
    hook.unlink()
    assert carry_out(begun, tick).success
    assert told(begun).git_status == "committed"
    assert isinstance(look(begun, unfinished_promotions), dg.SkipReason)
