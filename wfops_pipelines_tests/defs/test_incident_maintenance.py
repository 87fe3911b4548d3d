"""The clock of incidents as a tick, retention as a run a day."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest

from wfops_pipelines.defs.maintenance.incident_ttl import incident_ttl
from wfops_pipelines.defs.maintenance.retention import retention, retention_job
from wfops_pipelines.defs.resources import DISCARDING, Discarding, Wfops
from wfops_pipelines.store.tables.notices import outbox
from wfops_pipelines_tests.defs.conftest import Given

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
WEEK_LATER = datetime(2020, 1, 8, tzinfo=UTC)


@pytest.fixture
def overdue(given: Given) -> None:
    """An incident in prod whose time was over years ago, and a message that was sent before."""
    services = given.installation.services
    context = services.context("acme", actor="local:test")
    environment = services.environment(context, "prod")
    with services.store.bookkeeping(context, "test") as work:
        work.incidents.add(
            id=context.new_id(), environment_id=environment.id, status="detected", severity="low", title="drift", affected=1,
            drift_fingerprint="f", detected_at=LONG_AGO, last_seen_at=LONG_AGO, expires_at=WEEK_LATER, next_due_at=LONG_AGO,
            drift_snapshot={})
        work.connection.execute(outbox.insert().values(
            tenant_id=context.tenant_id, id=context.new_id(), target="ops", event="incident.opened", subject="incident:1",
            severity="low", dedupe_key="k", message={}, status="sent", not_before=LONG_AGO, sent_at=LONG_AGO))


def tick(given: Given, sensor: dg.SensorDefinition) -> object:
    return sensor(dg.build_sensor_context(instance=given.instance, resources={"wfops": Wfops()}))


def test_the_clock_of_incidents_is_a_tick_that_says_what_it_did(given: Given, overdue: None) -> None:
    first, second = tick(given, incident_ttl), tick(given, incident_ttl)
    assert isinstance(first, dg.SkipReason) and first.skip_message == "escalated 1, 1 of them expired"
    assert isinstance(second, dg.SkipReason) and second.skip_message == "nothing is due"


def test_retention_is_asked_for_once_a_day_and_removes_what_is_old(given: Given, overdue: None) -> None:
    first, second = tick(given, retention), tick(given, retention)
    assert isinstance(first, dg.RunRequest) and isinstance(second, dg.RunRequest)
    assert first.run_key == second.run_key  # Dagster makes one run of them
    assert first.tags["wfops/actor"] == "system:retention"
    done = retention_job.execute_in_process(
        run_config=first.run_config, instance=given.instance, resources={"wfops": Wfops(), DISCARDING: Discarding()})
    assert done.output_for_node("remove_old_rows")["total"] == 1


def test_a_run_from_the_launchpad_counts_and_removes_nothing_unless_it_is_told_to(given: Given, overdue: None) -> None:
    for _ in range(2):
        done = retention_job.execute_in_process(
            instance=given.instance, resources={"wfops": Wfops(), DISCARDING: Discarding()})
        assert done.output_for_node("remove_old_rows")["total"] == 1
