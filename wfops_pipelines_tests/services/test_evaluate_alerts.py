"""Alert rules (§16) over the real store: what each figure counts, and that what fires is told once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from wfops_pipelines import failpoints
from wfops_pipelines.domain.alerts import Metric
from wfops_pipelines.domain.errors import InvalidDocument, UnknownAlertRule, UnknownEnvironment, UsageError
from wfops_pipelines.services.alert_rules import (
    RuleChange,
    list_rules,
    remove_rule,
    rule_history,
    set_rule,
    try_rules,
)
from wfops_pipelines.services.evaluate_alerts import Evaluated, evaluate_alerts
from wfops_pipelines.services.pausing import pause, resume
from wfops_pipelines.store.metrics import QUERIES
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, workflow
from wfops_pipelines_tests.services.incidents import POLICY, drifted
from wfops_pipelines_tests.services.outbox import Incident, Receiver, declare, outbox, send, told


def rule(fleet: FleetUnderTest, name: str = "many", **given: Any) -> RuleChange:
    options = {key: given.pop(key) for key in ("environment", "enabled", "dry_run") if key in given}
    fields = {"metric": "drifted_workflows", "comparison": ">=", "threshold": 1} | given
    return set_rule(fleet.services, fleet.context, name, fields, **options)


def look(fleet: FleetUnderTest, **gap: float) -> Evaluated:
    fleet.clock.pass_time(minutes=5)
    return evaluate_alerts(fleet.services, min_gap=timedelta(**gap))


def value_of(fleet: FleetUnderTest, metric: str, environment: str | None = None) -> float | None:
    environment_id = fleet[environment].row.id if environment else None
    found: float | None = fleet.reading(lambda work: work.metrics.figure(metric, environment_id, fleet.clock.now()).value)
    return found


# -- figures -------------------------------------------------------------------------------------------------------------

def test_every_metric_has_its_query_and_is_answered(fleet: FleetUnderTest) -> None:
    assert QUERIES.keys() == {metric.value for metric in Metric}
    for metric in Metric:
        for environment in (None, "prod"):
            value_of(fleet, metric.value, environment)


def test_dev_is_overdue_for_a_sync_only_where_it_is_named(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "prod"))
    fleet["dev"].sync()
    fleet.clock.pass_time(hours=13)
    fleet["prod"].sync()
    fleet.clock.pass_time(hours=1)
    assert [value_of(fleet, "sync_age", where) for where in (None, "prod", "dev")] == pytest.approx([1, 1, 14], abs=0.1)
    only_dev = new_fleet(("dev",))
    only_dev["dev"].sync()
    assert (value_of(only_dev, "sync_age"), value_of(only_dev, "sync_age", "dev")) == (None, pytest.approx(0, abs=0.1))


@pytest.mark.parametrize("scope", ["acme", None])
def test_no_sync_is_overdue_on_account_of_a_pause(new_fleet: NewFleet, scope: str | None) -> None:
    fleet = new_fleet(("prod",))
    fleet["prod"].sync()
    fleet.clock.pass_time(hours=1)
    pause(fleet.services, scope, actor="local:ada")
    fleet.clock.pass_time(hours=5)
    assert value_of(fleet, "sync_age") == 0
    resume(fleet.services, scope, actor="local:ada")
    fleet.clock.pass_time(hours=2)
    assert value_of(fleet, "sync_age") == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(("metric", "reason"), [
    ("drifted_environments", "no environment has been checked"), ("drift_age", "no environment has been checked"),
    ("untracked_workflows", "no environment has been synced"), ("no_such_thing", "this version knows no figure"),
])
def test_what_nobody_looked_at_is_no_figure_and_not_zero(fleet: FleetUnderTest, metric: str, reason: str) -> None:
    figure = fleet.reading(lambda work: work.metrics.figure(metric, None, fleet.clock.now()))
    assert figure.value is None and figure.reason.startswith(reason)


def test_figures_of_a_tenant_with_drift_and_an_incident(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("prod", "staging"), drift_policy=POLICY)
    drifted(fleet["prod"], workflow("Orders"), workflow("Invoices"))
    fleet["staging"].in_sync(workflow("Orders"))
    fleet.clock.pass_time(hours=3)
    assert value_of(fleet, "drifted_environments") == 1 and value_of(fleet, "drifted_environments", "staging") == 0
    assert value_of(fleet, "drifted_workflows") == 2 and value_of(fleet, "drifted_workflows", "staging") == 0
    assert value_of(fleet, "drift_age") == pytest.approx(3, abs=0.1) and value_of(fleet, "drift_age", "staging") == 0
    assert (value_of(fleet, "open_incidents"), value_of(fleet, "open_incidents_medium")) == (1, 1)
    assert (value_of(fleet, "open_incidents_critical"), value_of(fleet, "overdue_incidents")) == (0, 0)
    assert value_of(fleet, "sync_age") == pytest.approx(3, abs=0.1)
    assert (value_of(fleet, "untracked_workflows"), value_of(fleet, "environments_in_error")) == (0, 0)
    fleet.clock.pass_time(days=30)
    assert value_of(fleet, "overdue_incidents") == 1


def test_checks_that_fail_in_a_row_are_counted_until_one_does_not(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.in_sync(workflow("Orders"))
    fleet.secrets["KEY_PROD"] = "wrong"
    fleet.apply()
    for _ in range(3):
        fleet.clock.pass_time(minutes=5)
        assert prod.check("scheduled").status == "ERROR"
    assert (value_of(fleet, "failed_checks_in_a_row"), value_of(fleet, "environments_in_error")) == (3, 1)
    fleet.secrets["KEY_PROD"] = prod.sandbox.api_key
    fleet.apply()
    prod.check("scheduled")
    assert (value_of(fleet, "failed_checks_in_a_row"), value_of(fleet, "environments_in_error")) == (0, 0)


def test_workflows_that_nobody_knows_are_counted(fleet: FleetUnderTest) -> None:
    fleet["prod"].create_in_n8n(workflow("One"), workflow("Two"))
    fleet["prod"].sync()
    assert value_of(fleet, "untracked_workflows") == value_of(fleet, "untracked_workflows", "prod") == 2


def test_the_outbox_has_figures_of_its_own(new_fleet: NewFleet) -> None:
    with Receiver(lambda message: 422 if "poison" in message["title"] else 500) as hook:
        fleet = new_fleet((), git=False)
        declare(fleet, hook={"url": hook.url})
        assert (value_of(fleet, "outbox_age"), value_of(fleet, "outbox_dead_letters")) == (0, 0)
        told(fleet, Incident(fleet, "poison").opened(), Incident(fleet).opened())
        send(fleet)
        fleet.clock.pass_time(hours=2)
        assert value_of(fleet, "outbox_age") == pytest.approx(2, abs=0.1)
        assert value_of(fleet, "outbox_dead_letters") == 1


# -- firing and clearing -------------------------------------------------------------------------------------------------

@pytest.fixture
def watched(new_fleet: NewFleet) -> FleetUnderTest:
    """A fleet in sync, whose messages stay in the outbox."""
    fleet = new_fleet()
    declare(fleet, hook={"url": "json://127.0.0.1:1/"})
    fleet["prod"].in_sync(workflow("Orders"))
    return fleet


def edit(fleet: FleetUnderTest, text: str) -> None:
    (workflow_id,) = fleet["prod"].mappings()
    fleet["prod"].edit_in_n8n(workflow_id, text)
    fleet["prod"].check()


def test_a_rule_fires_once_is_told_and_clears(watched: FleetUnderTest) -> None:
    rule(watched, environment="prod", severity="high")
    assert look(watched).words() == "1 looked at: nothing to tell"
    edit(watched, "by hand")
    assert look(watched).fired == 1
    assert look(watched).fired == 0
    edit(watched, "hello")
    assert look(watched).cleared == 1 and look(watched).cleared == 0
    assert [(row.event, row.severity) for row in outbox(watched)] == [("alert.fired", "high"), ("alert.cleared", "high")]
    assert "Alert for acme / prod: many fires: 1 workflow (rule" in outbox(watched)[0].message["title"]
    assert [event["kind"] for event in rule_history(watched.services, watched.context, "many")] == ["cleared", "fired"]
    fired = watched.events("alert.fired")
    assert len(fired) == len(watched.events("alert.cleared")) == 1
    assert (fired[0].actor, fired[0].environment, fired[0].subject_id) == ("system:alert_rules", "prod", "many")
    assert watched.chain_verifies()


def test_a_rule_waits_for_its_window_and_repeats_after_its_cooldown(watched: FleetUnderTest) -> None:
    rule(watched, window_minutes=10, cooldown_minutes=20, repeat=True)
    edit(watched, "by hand")
    assert [look(watched).fired for _ in range(8)] == [0, 0, 1, 0, 0, 0, 1, 0]
    kinds = [event["kind"] for event in rule_history(watched.services, watched.context)]
    assert kinds == ["still_firing", "fired"] and len(watched.events("alert.fired")) == 1
    assert len(outbox(watched)) == 2


def test_two_schedulers_at_once_count_an_evaluation_once(watched: FleetUnderTest) -> None:
    rule(watched, "twice", evaluations=2)
    rule(watched, "at once", cooldown_minutes=0)
    edit(watched, "by hand")
    watched.clock.pass_time(minutes=5)
    threads = [threading.Thread(target=lambda: evaluate_alerts(watched.services, min_gap=timedelta(minutes=2)))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event.subject_id for event in watched.events("alert.fired")] == ["at once"]
    assert look(watched, minutes=2).fired == 1


def test_a_rule_that_is_off_is_not_looked_at(watched: FleetUnderTest) -> None:
    rule(watched, enabled=False)
    edit(watched, "by hand")
    assert look(watched).rules == 0
    assert rule(watched, enabled=True).changed
    assert look(watched).fired == 1


@pytest.mark.parametrize(("change", "why"), [
    (lambda fleet: rule(fleet, environment="prod"), "it was changed, and is about something else now"),
    (lambda fleet: rule(fleet, metric="drift_age", threshold=1000), "it was changed, and is about something else now"),
    (lambda fleet: rule(fleet, enabled=False), "it was switched off"),
    (lambda fleet: remove_rule(fleet.services, fleet.context, "many"), "it was removed"),
], ids=["another environment", "another metric", "switched off", "removed"])
def test_who_heard_a_rule_fire_hears_that_it_is_watched_no_more(
        watched: FleetUnderTest, change: Callable[[FleetUnderTest], RuleChange], why: str) -> None:
    rule(watched)
    edit(watched, "by hand")
    assert look(watched).fired == 1
    watched.clock.pass_time(minutes=1)
    change(watched)
    assert [row.event for row in outbox(watched)] == ["alert.fired", "alert.cleared"]
    assert f"many fires no more: {why} (rule: drifted_workflows >= 1 workflow)" in outbox(watched)[1].message["title"]
    assert [event.details["ended"] for event in watched.events("alert.cleared")] == [why]
    assert not any(found["firing"] for found in list_rules(watched.services, watched.context))


def test_another_threshold_lets_a_rule_go_on(watched: FleetUnderTest) -> None:
    rule(watched)
    edit(watched, "by hand")
    look(watched)
    rule(watched, threshold=2)
    assert [row.event for row in outbox(watched)] == ["alert.fired"]
    assert look(watched).cleared == 1


def test_a_rule_about_an_environment_that_is_no_more_has_no_figure(watched: FleetUnderTest) -> None:
    rule(watched, environment="prod")
    watched.tenant["environments"] = []
    watched.apply(prune=True)
    assert look(watched).missing == 1


def test_nothing_is_stored_when_telling_fails(watched: FleetUnderTest) -> None:
    rule(watched)
    edit(watched, "by hand")
    failpoints.arm("alerts.evaluate.before_commit=raise")
    with pytest.raises(failpoints.FailpointReached):
        look(watched)
    assert not outbox(watched) and not watched.events("alert.fired") and not list_rules(
        watched.services, watched.context)[0]["firing"]
    assert look(watched).fired == 1


# -- by hand -------------------------------------------------------------------------------------------------------------

def test_setting_a_rule_again_changes_what_is_given_and_keeps_the_rest(fleet: FleetUnderTest) -> None:
    assert rule(fleet, severity="high", cooldown_minutes=30, environment="prod").before is None
    again = set_rule(fleet.services, fleet.context, "many", {"threshold": 5})
    assert again.after is not None and again.before is not None
    assert {k for k in again.after if again.after[k] != again.before[k]} == {"threshold"}
    assert not set_rule(fleet.services, fleet.context, "many", {"threshold": 5}).changed
    assert set_rule(fleet.services, fleet.context, "many", {}, environment="").after == again.after | {"environment": None}
    assert len(fleet.events("alert_rule.created")) == 1 and len(fleet.events("alert_rule.updated")) == 2


def test_a_dry_run_changes_nothing(fleet: FleetUnderTest) -> None:
    assert rule(fleet, dry_run=True).changed
    assert list_rules(fleet.services, fleet.context) == []
    rule(fleet)
    assert remove_rule(fleet.services, fleet.context, "many", dry_run=True).before
    assert [found["name"] for found in list_rules(fleet.services, fleet.context)] == ["many"]
    remove_rule(fleet.services, fleet.context, "many")
    assert list_rules(fleet.services, fleet.context) == [] and fleet.events("alert_rule.removed")


@pytest.mark.parametrize(("wrong", "error"), [
    (lambda fleet: rule(fleet, metric="nonsense"), InvalidDocument),
    (lambda fleet: rule(fleet, threshold="many"), InvalidDocument),
    (lambda fleet: rule(fleet, environment="nowhere"), UnknownEnvironment),
    (lambda fleet: rule(fleet, metric="outbox_age", environment="prod"), UsageError),
    (lambda fleet: remove_rule(fleet.services, fleet.context, "none"), UnknownAlertRule),
    (lambda fleet: try_rules(fleet.services, fleet.context, "none"), UnknownAlertRule),
])
def test_mistakes_are_told(fleet: FleetUnderTest, wrong: Callable[[FleetUnderTest], object], error: type[Exception]) -> None:
    with pytest.raises(error):
        wrong(fleet)
    assert list_rules(fleet.services, fleet.context) == []


def test_trying_a_rule_out_says_what_it_sees_and_stores_nothing(watched: FleetUnderTest) -> None:
    rule(watched, "now")
    rule(watched, "later", window_minutes=30)
    rule(watched, "never", metric="drift_age", threshold=1000)
    edit(watched, "by hand")
    found = {tried["name"]: (tried["value"], tried["verdict"]) for tried in try_rules(watched.services, watched.context)}
    assert found["now"] == (1, "fires") and found["later"] == (1, "breaching, not long enough yet")
    assert found["never"][1] == "quiet"
    assert not outbox(watched) and all(not r["firing"] for r in list_rules(watched.services, watched.context))
    look(watched)
    assert try_rules(watched.services, watched.context, "now")[0]["verdict"] == "firing"
