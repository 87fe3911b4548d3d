"""The lifecycle of a deployment (§12), its time, and its results."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from uuid import UUID

import pytest

from wfops_pipelines.domain.deployment import (
    DEPLOYMENT_TARGETS,
    DEPLOYMENT_TERMINAL,
    DEPLOYMENT_TRANSITIONS,
    DeploymentEvent,
    DeploymentStatus,
    ResultStatus,
    ScheduledDeployment,
    WorkflowResult,
    allowed_deployment_events,
    allowed_deployment_pairs,
    check_time,
    count_results,
    due,
    move_deployment,
    outcome_of,
    staleness,
)
from wfops_pipelines.domain.errors import ForbiddenTransition, UsageError
from wfops_pipelines.domain.promotion import PromotionStatus

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)

# § 12, word for word
CONTRACT = {
    "pending": {"scheduled", "cancelled"},
    "scheduled": {"running", "cancelled"},
    "running": {"completed", "failed"},
    "completed": set(),
    "failed": set(),
    "cancelled": set(),
}


@pytest.mark.parametrize(("status", "event"), list(product(DeploymentStatus, DeploymentEvent)))
def test_each_status_and_event_go_where_the_contract_says_or_are_refused_by_name(
        status: DeploymentStatus, event: DeploymentEvent) -> None:
    target = DEPLOYMENT_TARGETS[event]
    if target in CONTRACT[status]:
        assert move_deployment(status, event) is target
        return
    with pytest.raises(ForbiddenTransition) as refused:
        move_deployment(status, event)
    assert (refused.value.before, refused.value.after) == (status, target)
    assert all(allowed in str(refused.value.fix) for allowed in allowed_deployment_events(status))


def test_the_table_is_the_contract() -> None:
    wanted = {(before, after) for before, afters in CONTRACT.items() for after in afters}
    assert {(str(before), str(after)) for (before, _), after in DEPLOYMENT_TRANSITIONS.items()} == wanted
    assert allowed_deployment_pairs() == sorted(wanted)
    assert {"completed", "failed", "cancelled"} == DEPLOYMENT_TERMINAL
    assert all(status.is_terminal is (status in DEPLOYMENT_TERMINAL) for status in DeploymentStatus)


@pytest.mark.parametrize("promotion", list(PromotionStatus))
def test_a_deployment_ends_as_its_promotion_does(promotion: PromotionStatus) -> None:
    goes_on = {"pending", "pending_approval", "approved", "running"}
    wanted = None if promotion in goes_on else "complete" if promotion == "completed" else "fail"
    assert outcome_of(promotion) == wanted


# -- time ------------------------------------------------------------------------------------------------------------------

def test_what_is_due_is_started_the_longest_waiting_first() -> None:
    early, sharp, late = (ScheduledDeployment(UUID(int=i), NOW + timedelta(seconds=s)) for i, s in enumerate([-5, 0, 1]))
    assert due([late, sharp, early], NOW) == [early, sharp]


def test_a_time_needs_a_zone_and_must_not_be_past() -> None:
    with pytest.raises(UsageError, match="time zone"):
        check_time(NOW.replace(tzinfo=None), NOW)
    with pytest.raises(UsageError, match="past"):
        check_time(NOW - timedelta(minutes=2), NOW)
    check_time(NOW, NOW)


@pytest.mark.parametrize(("heartbeat", "alive", "wanted"), [
    (timedelta(seconds=5), True, None),
    (timedelta(seconds=5), None, None),
    (timedelta(seconds=5), False, "dead_run"),
    (timedelta(minutes=9, seconds=59), True, None),
    (timedelta(minutes=10), True, "no_heartbeat"),
    (timedelta(minutes=10), None, "no_heartbeat"),
    (None, True, "no_heartbeat"),  # started an hour ago, never heard of
])
def test_a_dead_run_and_ten_minutes_of_silence_are_stale(
        heartbeat: timedelta | None, alive: bool | None, wanted: str | None) -> None:
    found = staleness(started_at=NOW - timedelta(hours=1), heartbeat_at=None if heartbeat is None else NOW - heartbeat,
                      run_alive=alive, now=NOW)
    assert found == wanted


def test_one_that_just_started_is_not_stale_before_its_first_heartbeat() -> None:
    assert staleness(started_at=NOW - timedelta(minutes=1), heartbeat_at=None, run_alive=None, now=NOW) is None


# -- results ---------------------------------------------------------------------------------------------------------------

def result(status: ResultStatus, message: str = "") -> WorkflowResult:
    return WorkflowResult("key", "Orders", "update", status, message, NOW)


def test_results_are_counted_with_zeros() -> None:
    found = [result(ResultStatus.SUCCESS), result(ResultStatus.SUCCESS), result(ResultStatus.SKIPPED)]
    assert count_results(found) == {"success": 2, "failed": 0, "skipped": 1}


def test_what_n8n_said_is_shown_masked_and_on_one_line() -> None:
    shown = result(ResultStatus.FAILED, "no:\nhttps://me:hunter2@n8n.example.com refused").as_json()
    assert shown["status"] == "failed"
    assert shown["at"] == "2026-01-31T12:00:00+00:00"
    assert "hunter2" not in shown["message"]
    assert "\n" not in shown["message"]
