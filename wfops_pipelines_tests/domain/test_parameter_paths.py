"""Patterns of places inside a workflow (§9)."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.parameter_paths import Glob, PathPattern, leaves, parse_place
from wfops_pipelines.domain.value_diff import compare_values
from wfops_pipelines_tests.domain.workflow_strategies import any_text, json_values, law


def covers(pattern: str, place: str) -> bool:
    found = parse_place(place)
    assert found is not None
    return PathPattern.parse(pattern).covers(found)


@pytest.mark.parametrize(("pattern", "place"), [
    ("parameters.url", "parameters.url"),
    ("parameters.options", "parameters.options.timeout"),
    ("parameters", "parameters.assignments[2].value"),
    ("parameters.*.url", "parameters.request.url"),
    ("parameters.*.url", "parameters[3].url"),
    ("parameters.time*", "parameters.timeout"),
    ("parameters.assignments[*].value", "parameters.assignments[2].value"),
    ("parameters.assignments[2].value", "parameters.assignments[2].value"),
    ("parameters.**.timeout", "parameters.timeout"),
    ("parameters.**.timeout", "parameters.a[1].b.timeout"),
    ("**.timeout", "parameters.a.timeout.unit"),
    ('parameters["odd key"].x', 'parameters["odd key"].x'),
    ('parameters["a*b"]', 'parameters["a*b"]'),
    ('parameters["url"]', "parameters.url"),
])
def test_a_pattern_covers_the_place_it_names_and_what_is_below(pattern: str, place: str) -> None:
    assert covers(pattern, place)


@pytest.mark.parametrize(("pattern", "place"), [
    ("parameters.url", "parameters"),
    ("parameters.url", "parameters.urls"),
    ("parameters.url", "parameters.URL"),
    ("parameters.*.url", "parameters.url"),
    ("parameters.*.url", "parameters.a.b.url"),
    ("parameters.assignments[*].value", "parameters.assignments.name.value"),
    ("parameters.assignments[1]", "parameters.assignments[11]"),
    ("parameters.time*", "parameters[0]"),
    ('parameters["a*b"]', "parameters.aXb"),
    ("parameters.**.timeout", "parameters.a.timeouts"),
])
def test_and_no_other(pattern: str, place: str) -> None:
    assert not covers(pattern, place)


@pytest.mark.parametrize("text", ["", ".", ".a", "a.", "a..b", "a b", "a[", "a[x]", "a[0]b", "a.[0]", '["\\x"]', "a[-1]", "a\n"])
def test_what_is_no_path_is_refused_with_the_place_where_it_ends_to_be_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"path|JSON text"):
        PathPattern.parse(text)


@pytest.mark.parametrize("text", ["a[", "‹masked› text", "a b"])
def test_a_place_that_cannot_be_read_is_none(text: str) -> None:
    assert parse_place(text) is None


def test_an_object_that_came_as_a_whole_is_covered_when_everything_in_it_is() -> None:
    pattern = PathPattern.parse("parameters.options.timeout")
    assert pattern.covers_all(("parameters", "options"), {"timeout": {"unit": "s", "value": 3}})
    assert not pattern.covers_all(("parameters", "options"), {"timeout": 3, "retry": True})
    assert not pattern.covers_all(("parameters", "options"), {})
    assert not pattern.covers_all(("parameters", "options"), "timeout")


def test_many_wildcards_take_no_longer() -> None:
    assert not Glob("*a" * 200 + "b").matches("a" * 5000)
    assert not PathPattern.parse(".".join(["**", "a"] * 60 + ["b"])).covers(tuple("a" * 2000))


@law
@given(st.text("ab*", max_size=8), st.text("ab", max_size=8))
def test_a_glob_is_the_regular_expression_it_looks_like(pattern: str, text: str) -> None:
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None
    assert Glob(pattern).matches(text) is expected


@law
@given(st.lists(st.sampled_from(["a", "b", "**", "*", 0, "[*]"]), min_size=1, max_size=5),
       st.lists(st.sampled_from(["a", "b", 0, 1]), max_size=6))
def test_a_path_pattern_is_what_trying_everything_finds(pattern: list[Any], place: list[Any]) -> None:
    def found(steps: list[Any], rest: list[Any]) -> bool:
        if not steps:
            return True
        if steps[0] == "**":
            return any(found(steps[1:], rest[i:]) for i in range(len(rest) + 1))
        return bool(rest) and (steps[0] in ("*", rest[0]) or (steps[0] == "[*]" and isinstance(rest[0], int))) and found(
            steps[1:], rest[1:])

    text = "".join(step if step == "[*]" else f"[{step}]" if isinstance(step, int) else f".{step}" for step in pattern)
    assert PathPattern.parse(text.removeprefix(".")).covers(tuple(place)) is found(pattern, place)


@law
@given(st.dictionaries(any_text, json_values, max_size=4), st.dictionaries(any_text, json_values, max_size=4))
def test_every_path_that_a_diff_writes_can_be_read_and_names_itself(one: dict[str, Any], other: dict[str, Any]) -> None:
    for leaf in compare_values(one, other):
        place = parse_place(leaf.path)
        assert place is not None
        assert place
        here: Any = one if _has(one, place) else other
        for step in place:
            here = here[step]


def _has(value: Any, place: tuple[Any, ...]) -> bool:
    try:
        for step in place:
            value = value[step]
    except (KeyError, IndexError, TypeError):
        return False
    return True


@law
@given(json_values)
def test_the_leaves_of_a_value_are_as_many_as_hold_nothing_more(value: Any) -> None:
    def count(here: Any) -> int:
        inner = list(here.values()) if isinstance(here, dict) else here if isinstance(here, list) else []
        return sum(map(count, inner)) if inner else 1

    assert len(list(leaves((), value))) == count(value)
