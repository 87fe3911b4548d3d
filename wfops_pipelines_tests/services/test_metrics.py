"""The figures of ``GET /metrics``: what they say of a fleet, and that Prometheus can read them (§15)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from wfops_pipelines.domain.errors import Blocked, Refused, StoreUnavailable
from wfops_pipelines.domain.metrics import METRICS
from wfops_pipelines.domain.operation import OperationKind
from wfops_pipelines.services.metrics import Exposition, MetricOptions, known_samples
from wfops_pipelines.services.operations import run_operation
from wfops_pipelines.services.pausing import pause, resume
from wfops_pipelines.services.push_delivery import receive
from wfops_pipelines.services.push_health import check_pushes
from wfops_pipelines.services.repository_poll import RepositoryPoll
from wfops_pipelines.services.sweeps import KIND, sweep
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, file_bytes, run, workflow
from wfops_pipelines_tests.services.outbox import Incident, Receiver, declare, send, told, with_targets
from wfops_pipelines_tests.services.pushing import delivered, push_document, signing_fleet

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def exposition(fleet: FleetUnderTest, *, tenants: bool = False, runs: Any = None, cache: float = 0.0) -> Exposition:
    """Figures that are read anew each time."""
    return Exposition(fleet.services, MetricOptions(interval=300.0, tenants=tenants, cache=cache), runs=runs)


def samples(figures: Exposition) -> Samples:
    """What a scrape finds, by name and labels."""
    answer, content_type = figures.text()
    assert content_type.startswith("text/plain")
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(answer.decode()) for sample in family.samples}


def value(found: Samples, name: str, **labels: str) -> float:
    """One sample."""
    return found[name, tuple(sorted(labels.items()))]


def drifting(fleet: FleetUnderTest) -> None:
    """Production says something else than Git."""
    [workflow_id] = fleet["prod"].create_in_n8n(workflow("Orders"))
    fleet["prod"].push_files({"orders.json": file_bytes({**workflow("Orders"), "id": workflow_id})})
    fleet["prod"].edit_in_n8n(workflow_id)


def test_every_figure_has_a_help_text_a_type_and_a_name_by_prometheus_conventions(fleet: FleetUnderTest) -> None:
    text, _ = exposition(fleet, runs=lambda: {"QUEUED": 2}).text()
    families = {family.name: family for family in text_string_to_metric_families(text.decode())}
    assert set(families) == {metric.name for metric in METRICS}
    for metric in METRICS:
        assert families[metric.name].documentation == metric.help
        assert families[metric.name].type == metric.kind
        assert metric.name.startswith("wfops_") and not metric.name.endswith(("_total", "_bucket", "_count", "_sum"))
        assert metric.help.endswith((".", "0."))
        assert {sample.name for sample in families[metric.name].samples} <= known_samples()
        for sample in families[metric.name].samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)


def test_the_newer_format_of_prometheus_is_spoken_too(fleet: FleetUnderTest) -> None:
    text, content_type = exposition(fleet).text("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert {family.name for family in openmetrics(text.decode())} == {metric.name for metric in METRICS}


def test_environments_are_counted_by_status_and_every_status_is_there(fleet: FleetUnderTest) -> None:
    figures = exposition(fleet)
    before = samples(figures)
    assert value(before, "wfops_environments", **{"class": "production", "status": "UNKNOWN"}) == 1
    assert value(before, "wfops_environments", **{"class": "staging", "status": "ERROR"}) == 0
    drifting(fleet)
    fleet["prod"].check()
    after = samples(figures)
    assert value(after, "wfops_environments", **{"class": "production", "status": "DRIFT_DETECTED"}) == 1
    assert value(after, "wfops_drifted_workflows", kind="modified") == 1
    assert value(after, "wfops_open_incidents", severity="critical") == 0


def test_operations_and_their_calls_are_counted_once(fleet: FleetUnderTest) -> None:
    figures = exposition(fleet)
    assert value(samples(figures), "wfops_operations_total", kind="drift_detection", outcome="completed") == 0
    drifting(fleet)
    fleet["prod"].check()
    for found in (samples(figures), samples(figures)):
        assert value(found, "wfops_operations_total", kind="drift_detection", outcome="completed") == 1
        assert value(found, "wfops_operation_duration_seconds_count", kind="drift_detection") == 1
        assert value(found, "wfops_calls_total", service="n8n", outcome="ok") >= 1
        assert value(found, "wfops_calls_total", service="git", outcome="ok") >= 1
    fleet["prod"].sandbox.faults.add("status", method="GET", path="/workflows$", status=401)
    fleet["prod"].check()
    found = samples(figures)
    assert value(found, "wfops_operation_errors_total", kind="drift_detection", error="refused") == 1
    assert value(found, "wfops_calls_total", service="n8n", outcome="refused") == 1
    assert value(found, "wfops_environment_errors", error="refused") == 1


def test_what_ended_before_counting_began_is_not_counted(fleet: FleetUnderTest) -> None:
    drifting(fleet)
    fleet["prod"].check()
    assert value(samples(exposition(fleet)), "wfops_operations_total", kind="drift_detection", outcome="completed") == 0


def test_a_sweep_is_told_with_its_duration_and_what_it_did(fleet: FleetUnderTest) -> None:
    figures = exposition(fleet)
    drifting(fleet)
    before = samples(figures)
    assert value(before, "wfops_drift_check_interval_seconds") == 300
    run(sweep(fleet.services, interval=300.0, actor="system:test"))
    after = samples(figures)
    assert value(after, "wfops_sweeps_total", kind="drift", state="completed") == 1
    assert value(after, "wfops_sweep_environments_total", kind="drift", outcome="checked") == 1
    assert value(after, "wfops_sweep_duration_seconds_count", kind="drift") == 1
    assert value(after, "wfops_sweep_last_lag_seconds", kind="drift") == 0


def test_when_the_last_sweep_was_is_told_days_after_it(fleet: FleetUnderTest) -> None:
    figures = exposition(fleet)
    drifting(fleet)
    run(sweep(fleet.services, interval=300.0, actor="system:test"))
    ended = fleet.clock.time.timestamp()
    fleet.clock.pass_time(days=3)
    assert value(samples(figures), "wfops_sweep_last_end_timestamp_seconds", kind="drift") == pytest.approx(ended, abs=60)


def test_what_was_refused_is_not_counted_as_failed(fleet: FleetUnderTest) -> None:
    figures = exposition(fleet)
    before = samples(figures)
    assert value(before, "wfops_operations_total", kind="export", outcome="blocked") == 0
    for error in (Blocked("a gate says no"), Refused("n8n says no", target="there")):
        with pytest.raises(type(error)):
            run(ended_by(fleet, error))
    after = samples(figures)
    assert value(after, "wfops_operations_total", kind="export", outcome="blocked") == 1
    assert value(after, "wfops_operations_total", kind="export", outcome="failed") == 1


async def ended_by(fleet: FleetUnderTest, error: Exception) -> None:
    async with run_operation(fleet.services, fleet.context, OperationKind.EXPORT, fleet["prod"].row):
        raise error


def test_an_operation_that_is_gone_on_with_the_next_day_is_counted_when_it_ends(fleet: FleetUnderTest) -> None:
    """It keeps the time at which it was created."""
    drifting(fleet)
    fleet["prod"].check()
    fleet.clock.pass_time(days=1)
    figures = exposition(fleet)
    samples(figures)
    fleet.clock.pass_time(seconds=1)
    for change in ("UPDATE operations SET attempts = 2, ended_at = :now WHERE kind = 'drift_detection'",
                   "UPDATE environment_leases SET released_at = :now"):
        fleet.writing(lambda work, change=change: work.connection.execute(text(change), {"now": fleet.clock.time}))
    for found in (samples(figures), samples(figures)):
        assert value(found, "wfops_operations_total", kind="drift_detection", outcome="completed") == 1


def test_the_first_sweep_that_fails_is_seen_to_grow(fleet: FleetUnderTest) -> None:
    """``increase`` of a counter whose first sample is 1 is nothing."""
    found = samples(exposition(fleet))
    for state in ("completed", "failed", "died"):
        assert value(found, "wfops_sweeps_total", kind=KIND, state=state) == 0
    assert value(found, "wfops_sweep_environments_total", kind=KIND, outcome="failed") == 0


def test_sweeps_of_a_time_without_scrapes_are_counted_afterwards(fleet: FleetUnderTest) -> None:
    figures = exposition(fleet)
    samples(figures)
    run(sweep(fleet.services, interval=300.0, actor="system:test"))
    fleet.clock.pass_time(hours=3)
    assert value(samples(figures), "wfops_sweeps_total", kind="drift", state="completed") == 1


def test_the_steps_of_a_run_that_share_a_sweep_are_one_sweep(new_fleet: NewFleet) -> None:
    """Each Celery worker writes a row of its own: the first does the work here, and the second finds it done or taken."""
    fleet = new_fleet(("prod", "eu"))
    figures = exposition(fleet)
    samples(figures)
    first, second = uuid4(), uuid4()
    began = fleet.clock.time
    with fleet.services.store.sweep_writes() as work:
        for row in (first, second):
            work.begin(row, kind="drift", run_id="run-1", holder={}, now=began, clock=began)
        work.change(second, state="completed", ended_at=began + timedelta(seconds=1), duration_ms=1000, lag_ms=0, mean_lag_ms=0,
                    counts={"skipped_taken": 7, "circuit_open": 1})
    fleet.clock.pass_time(minutes=2)
    under_way = samples(figures)
    assert not any(name == "wfops_sweep_last_duration_seconds" for name, _ in under_way)
    assert under_way.get(("wfops_sweeps_total", (("kind", "drift"), ("state", "completed"))), 0) == 0
    with fleet.services.store.sweep_writes() as work:
        work.change(first, state="completed", ended_at=began + timedelta(seconds=90), duration_ms=90_000, lag_ms=40_000,
                    mean_lag_ms=20_000, counts={"checked": 7, "circuit_open": 1})
    for found in (samples(figures), samples(figures)):
        assert value(found, "wfops_sweeps_total", kind="drift", state="completed") == 1
        assert value(found, "wfops_sweep_environments_total", kind="drift", outcome="checked") == 7
        assert value(found, "wfops_sweep_environments_total", kind="drift", outcome="circuit_open") == 1
        assert not any(dict(labels).get("outcome") == "skipped_taken" for _, labels in found)
        assert value(found, "wfops_sweep_duration_seconds_sum", kind="drift") == 90
        assert [value(found, f"wfops_sweep_last_{name}_seconds", kind="drift") for name in ("duration", "lag", "mean_lag")] == [
            90, 40, 20]


def test_an_environment_that_waits_for_its_check_is_overdue(fleet: FleetUnderTest) -> None:
    drifting(fleet)
    fleet["prod"].check()
    assert value(samples(exposition(fleet)), "wfops_drift_checks_overdue") == 0
    fleet.clock.pass_time(hours=1)
    found = samples(exposition(fleet))
    assert value(found, "wfops_drift_checks_overdue") == 1
    assert 3000 < value(found, "wfops_oldest_due_seconds") < 3600


def test_a_tenant_that_is_paused_is_late_with_nothing_and_after_that_only_since_then(new_fleet: NewFleet) -> None:
    fleet = signing_fleet(new_fleet, ("prod",))
    run(sweep(fleet.services, interval=300.0, actor="system:test"))
    pause(fleet.services, "acme", actor="local:ada")
    assert receive(fleet.services, delivered(push_document("prod/a.json")))
    fleet.clock.pass_time(hours=3)
    late = ("wfops_oldest_due_seconds", "wfops_drift_checks_overdue", "wfops_webhook_deliveries_waiting")
    paused = samples(exposition(fleet))
    assert [value(paused, name) for name in late] == [0, 0, 0]
    resume(fleet.services, "acme", actor="local:ada")
    fleet.clock.pass_time(minutes=2)
    resumed = samples(exposition(fleet))
    assert 110 < value(resumed, "wfops_oldest_due_seconds") < 130
    assert [value(resumed, name) for name in late[1:]] == [1, 1]


def test_everything_paused_is_late_with_nothing(fleet: FleetUnderTest) -> None:
    run(sweep(fleet.services, interval=300.0, actor="system:test"))
    fleet.clock.pass_time(hours=3)
    assert value(samples(exposition(fleet)), "wfops_drift_checks_overdue") == 1
    pause(fleet.services, None, actor="local:ada")
    assert value(samples(exposition(fleet)), "wfops_drift_checks_overdue") == 0


def test_a_branch_that_nobody_reads_any_more_does_not_fail_for_ever(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("prod", "eu"))
    path = Path(fleet.tenant["repository"]["url"].removeprefix("file://"))
    prod = fleet.tenant["environments"][0]
    prod["branch"] = "other"
    fleet.apply()
    poll = RepositoryPoll(fleet.services, shortest=60)
    away = path.rename(path.with_suffix(".away"))
    assert len(poll.tick().errors) == 2
    assert value(samples(exposition(fleet)), "wfops_repository_branches_failing") == 2
    away.rename(path)
    del prod["branch"]
    fleet.apply()
    fleet.clock.pass_time(hours=2)
    assert poll.tick().errors == []
    assert value(samples(exposition(fleet)), "wfops_repository_branches_failing") == 0
    assert check_pushes(fleet.services).ok


def test_what_is_gone_counts_no_more(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("prod", "eu"))
    fleet.with_limits(sweep_patience=0.5, request_attempts=1)
    drifting(fleet)
    fleet["eu"].sandbox.faults.add("reset")
    for _ in range(3):
        run(sweep(fleet.services, interval=300.0, actor="system:test"))
        fleet.clock.pass_time(minutes=5)
    before = samples(exposition(fleet))
    assert value(before, "wfops_instance_circuits", state="open") == 1
    assert value(before, "wfops_drifted_workflows", kind="modified") == 1
    fleet.document["tenants"] = []
    fleet.apply(prune=True)
    after = samples(exposition(fleet))
    assert value(after, "wfops_instance_circuits", state="open") == 0
    assert ("wfops_drifted_workflows", (("kind", "modified"),)) not in after
    assert not any(name == "wfops_environment_errors" for name, _ in after)


def test_after_the_clock_was_set_back_figures_are_those_of_now(fleet: FleetUnderTest) -> None:
    fleet.clock.pass_time(hours=7)
    figures = exposition(fleet)
    drifting(fleet)
    run(sweep(fleet.services, interval=300.0, actor="system:test"))
    assert value(samples(figures), "wfops_sweeps_total", kind="drift", state="completed") == 1
    fleet.clock.pass_time(hours=-7)
    samples(figures)
    run(sweep(fleet.services, interval=300.0, actor="system:test"))
    found = samples(figures)
    assert value(found, "wfops_sweeps_total", kind="drift", state="completed") == 2
    assert value(found, "wfops_sweep_last_end_timestamp_seconds", kind="drift") < fleet.clock.time.timestamp()


def test_messages_that_nobody_can_send_any_more_are_told_no_longer(new_fleet: NewFleet) -> None:
    with Receiver(lambda message: 401) as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        told(fleet, Incident(fleet).opened())
        send(fleet)
    assert value(samples(exposition(fleet)), "wfops_outbox_messages", status="dead") == 1
    declare(fleet)
    assert value(samples(exposition(fleet)), "wfops_outbox_messages", status="dead") == 0


def test_tenants_are_a_label_only_where_that_is_wanted(new_fleet: NewFleet) -> None:
    fleet = new_fleet()
    found = samples(exposition(fleet, tenants=True))
    assert value(found, "wfops_environments", tenant="acme", **{"class": "production", "status": "UNKNOWN"}) == 1
    assert not any("tenant" in dict(labels) for _, labels in samples(exposition(fleet)))


def test_scrapes_within_a_moment_get_the_same_reading(fleet: FleetUnderTest) -> None:
    figures = exposition(fleet, cache=3600.0)
    first = samples(figures)
    drifting(fleet)
    fleet["prod"].check()
    assert samples(figures) == first


def test_the_queue_of_dagster_is_shown_by_status(fleet: FleetUnderTest) -> None:
    found = samples(exposition(fleet, runs=lambda: {"QUEUED": 3, "STARTED": 1}))
    assert (value(found, "wfops_runs", status="QUEUED"), value(found, "wfops_runs", status="STARTED")) == (3, 1)


def test_without_a_database_the_answer_says_so(fleet: FleetUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = exposition(fleet)

    def gone() -> Any:
        raise StoreUnavailable("the database is gone")

    monkeypatch.setattr(type(fleet.services.store), "system", lambda _: gone())
    found = samples(figures)
    assert value(found, "wfops_store_up") == 0
    assert not any(name == "wfops_environments" for name, _ in found)
    assert value(found, "wfops_operations_total", kind="promotion", outcome="completed") == 0


def test_what_took_longest_is_remembered_long_enough_to_be_counted(fleet: FleetUnderTest) -> None:
    """An operation is found by when it was created: one that ended late in the time it may take is counted, and once."""
    figures = exposition(fleet)
    drifting(fleet)
    fleet["prod"].check()
    fleet.clock.pass_time(minutes=100)
    assert value(samples(figures), "wfops_operations_total", kind="drift_detection", outcome="completed") == 1
    fleet.clock.time += timedelta(hours=9)
    assert value(samples(figures), "wfops_operations_total", kind="drift_detection", outcome="completed") == 1
