"""Alert rules (§16): firing, clearing, cooldown, hysteresis, missing figures, and rules that are wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.alerts import (
    AlertEvent,
    AlertEventKind,
    AlertRule,
    AlertState,
    Comparison,
    Metric,
    OnMissing,
    evaluate,
    read_rule,
    rule_as_json,
)
from wfops_pipelines.domain.errors import InvalidDocument

START = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(minutes=5)
RULE = AlertRule("many", Metric.DRIFTED_ENVIRONMENTS, Comparison.ABOVE, 3, cooldown=timedelta(0))


def run(rule: AlertRule, *values: float | None) -> list[AlertEvent | None]:
    """The events of evaluations five minutes apart."""
    state, events = AlertState(), []
    for number, value in enumerate(values):
        state, event = evaluate(rule, state, value, START + number * STEP)
        events.append(event)
    return events


def kinds(rule: AlertRule, *values: float | None) -> list[str | None]:
    return [None if event is None else event.kind.value for event in run(rule, *values)]


@pytest.mark.parametrize(("comparison", "bad", "good"), [(">", 4, 3), (">=", 3, 2), ("<", 2, 3), ("<=", 3, 4)])
def test_a_rule_fires_once_when_the_figure_breaches_and_tells_when_it_is_clear(comparison: str, bad: float, good: float) -> None:
    rule = replace(RULE, comparison=Comparison(comparison))
    assert kinds(rule, good, bad, bad, good, good) == [None, "fired", None, "cleared", None]


def test_between_threshold_and_clear_threshold_nothing_changes() -> None:
    rule = replace(RULE, clear_threshold=1)
    assert kinds(rule, 2, 4, 2, 3, 4, 2, 1, 2, 3) == [None, "fired", None, None, None, None, "cleared", None, None]


def test_a_breach_fires_only_when_it_lasted_for_the_window() -> None:
    rule = replace(RULE, window=timedelta(minutes=10))
    assert kinds(rule, 4, 4, 3, 4, 4, 4) == [None, None, None, None, None, "fired"]


def test_a_breach_fires_only_after_so_many_evaluations_in_a_row() -> None:
    assert kinds(replace(RULE, evaluations=3), 4, 4, 2, 4, 4, 4) == [None, None, None, None, None, "fired"]


def test_a_rule_clears_only_after_so_many_evaluations_in_a_row() -> None:
    assert kinds(replace(RULE, clear_evaluations=2), 4, 1, 4, 1, 1) == ["fired", None, None, None, "cleared"]


def test_what_breaches_again_within_the_cooldown_fires_when_it_ends() -> None:
    rule = replace(RULE, cooldown=timedelta(minutes=20))
    assert kinds(rule, 4, 1, 4, 4, 4, 4) == ["fired", "cleared", None, None, "fired", None]


def test_a_rule_that_repeats_tells_after_each_cooldown() -> None:
    rule = replace(RULE, cooldown=timedelta(minutes=10), repeat=True)
    assert kinds(rule, 4, 4, 4, 4, 4) == ["fired", None, "still_firing", None, "still_firing"]


@pytest.mark.parametrize("missing", [None, float("nan")])
@pytest.mark.parametrize(("on_missing", "expected"), [
    ("keep", ["fired", None, None, "cleared"]), ("clear", ["fired", "cleared", None, None]),
    ("breach", ["fired", None, None, "cleared"])])
def test_a_missing_figure_means_what_the_rule_says(missing: float | None, on_missing: str, expected: list[str | None]) -> None:
    assert kinds(replace(RULE, on_missing=OnMissing(on_missing)), 4, missing, 4 if on_missing != "clear" else missing, 1) == expected


def test_a_missing_figure_is_not_zero() -> None:
    rule = replace(RULE, comparison=Comparison.BELOW, threshold=1)
    assert kinds(rule, None, None) == [None, None]
    assert kinds(replace(rule, on_missing=OnMissing.BREACH), None) == ["fired"]


def test_an_evaluation_that_is_not_later_changes_nothing() -> None:
    state, _ = evaluate(RULE, AlertState(), 4, START)
    assert evaluate(RULE, state, 0, START) == (state, None)
    assert evaluate(RULE, state, 0, START - STEP) == (state, None)


def test_an_event_says_what_and_since_when() -> None:
    rule = replace(RULE, window=timedelta(minutes=10))
    event = run(rule, 4, 5, 6)[-1]
    assert event is not None and event.since == START
    assert event.words() == ("many fires: 6 environments (rule: drifted_environments > 3 environments for 10 minutes)")


def test_every_metric_says_what_it_is_and_in_which_unit() -> None:
    assert all(metric.description and metric.unit and str(metric) == metric.value for metric in Metric)


# -- laws ----------------------------------------------------------------------------------------------------------------

figures = st.lists(st.tuples(st.none() | st.integers(0, 6), st.integers(1, 30)), max_size=40)
rules = st.builds(
    AlertRule, st.just("rule"), st.just(Metric.OPEN_INCIDENTS), st.sampled_from([Comparison.ABOVE, Comparison.AT_LEAST]),
    st.just(4.0), window=st.integers(0, 30).map(lambda m: timedelta(minutes=m)),
    cooldown=st.integers(0, 90).map(lambda m: timedelta(minutes=m)), clear_threshold=st.sampled_from([None, 2.0, 4.0]),
    evaluations=st.integers(1, 3), clear_evaluations=st.integers(1, 3), on_missing=st.sampled_from(OnMissing),
    repeat=st.booleans())


def history(rule: AlertRule, steps: list[tuple[int | None, int]]) -> list[tuple[AlertState, AlertEvent | None]]:
    state, now, result = AlertState(), START, []
    for value, minutes in steps:
        now += timedelta(minutes=minutes)
        state, event = evaluate(rule, AlertState.from_json(json.loads(json.dumps(state.as_json()))), value, now)
        result.append((state, event))
    return result


@given(rules, figures)
def test_a_rule_never_fires_twice_within_its_cooldown(rule: AlertRule, steps: list[tuple[int | None, int]]) -> None:
    fired = [event.at for _, event in history(rule, steps) if event and event.kind is not AlertEventKind.CLEARED]
    assert all(later - earlier >= rule.cooldown for earlier, later in pairwise(fired))


@given(rules, figures)
def test_fired_and_cleared_take_turns(rule: AlertRule, steps: list[tuple[int | None, int]]) -> None:
    turns = [event.kind for _, event in history(rule, steps) if event and event.kind is not AlertEventKind.STILL_FIRING]
    assert turns == [AlertEventKind.FIRED, AlertEventKind.CLEARED] * (len(turns) // 2) + [AlertEventKind.FIRED] * (len(turns) % 2)


@given(rules, figures, st.lists(st.tuples(st.sampled_from([3]), st.integers(1, 30)), max_size=20))
def test_a_figure_between_the_thresholds_never_tells_anything(
        rule: AlertRule, before: list[tuple[int | None, int]], between: list[tuple[int | None, int]]) -> None:
    rule = replace(rule, clear_threshold=2.0)
    assert all(event is None for _, event in history(rule, before + between)[len(before):])


# -- wrong rules ---------------------------------------------------------------------------------------------------------

GOOD: dict[str, Any] = {"name": "r", "metric": "sync_age", "comparison": ">", "threshold": 2}


def test_a_rule_is_read_and_written() -> None:
    rule = read_rule({**GOOD, "window_minutes": 10, "clear_threshold": 1, "severity": "high"})
    assert (rule.metric, rule.window, rule.clear_threshold) == (Metric.SYNC_AGE, timedelta(minutes=10), 1.0)
    assert read_rule(rule_as_json(rule)) == rule


@pytest.mark.parametrize(("change", "field"), [
    ({"name": ""}, "name"), ({"name": "a\nb"}, "name"), ({"metric": "weather"}, "metric"), ({"metric": None}, "metric"),
    ({"comparison": "=="}, "comparison"), ({"threshold": "many"}, "threshold"), ({"threshold": True}, "threshold"),
    ({"threshold": float("nan")}, "threshold"), ({"severity": "bad"}, "severity"), ({"window_minutes": -1}, "window_minutes"),
    ({"cooldown_minutes": 1e9}, "cooldown_minutes"), ({"evaluations": 0}, "evaluations"), ({"evaluations": 1.5}, "evaluations"),
    ({"clear_threshold": 3}, "clear_threshold"), ({"comparison": "<", "clear_threshold": 1}, "clear_threshold"),
    ({"on_missing": "panic"}, "on_missing"), ({"repeat": "yes"}, "repeat"), ({"repeat": True, "cooldown_minutes": 0}, "repeat"),
    ({"treshold": 1}, "treshold"),
])
def test_a_wrong_rule_names_the_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidDocument) as refused:
        read_rule({**GOOD, **change}, source="rule 1")
    assert [problem.field for problem in refused.value.problems] == [field]
    assert f"rule 1: {field}: " in str(refused.value)


def test_all_problems_of_a_rule_are_told_at_once() -> None:
    with pytest.raises(InvalidDocument) as refused:
        read_rule({"threshold": "x"})
    assert [problem.field for problem in refused.value.problems] == ["name", "metric", "comparison", "threshold"]
