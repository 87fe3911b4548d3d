"""Connections matter as n8n executes them (§4.3): by position with execution order v1, else in list order."""

from __future__ import annotations

from functools import cmp_to_key
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wfops_pipelines.domain.normalize import content_hash, normalize
from wfops_pipelines_tests.domain.workflow_strategies import law

JsonObject = dict[str, Any]
Place = tuple[int, int] | None


def to(*names: str, kind: str = "main") -> list[JsonObject]:
    return [{"node": name, "type": kind, "index": 0} for name in names]


def workflow(outputs: Any, places: dict[str, Any], *, order: str | None = "v1", kind: str = "main") -> JsonObject:
    nodes = [{"name": name, "type": "n8n-nodes-base.noOp", "typeVersion": 1, "parameters": {}, "position": place}
             for name, place in {"Start": [0, 0], **places}.items()]
    return {"name": "w", "nodes": nodes, "connections": {"Start": {kind: outputs}},
            "settings": {"executionOrder": order} if order else {}}


def hash_of(outputs: Any, places: dict[str, Any], **keys: Any) -> str:
    return content_hash(workflow(outputs, places, **keys))


def executed(outputs: list[list[str]], places: dict[str, Place]) -> list[tuple[int, str]]:
    """What n8n's ``workflow-execute`` does: it sorts backwards and puts one after the other on top of its stack."""
    def compare(a: tuple[int, str], b: tuple[int, str]) -> int:
        (ax, ay), (bx, by) = places[a[1]] or (0, 0), places[b[1]] or (0, 0)
        if ay < by:
            return 1
        if ay > by:
            return -1
        return -1 if ax > bx else (1 if ax < bx else 0)

    pushed = sorted(((number, name) for number, output in enumerate(outputs) for name in output),
                    key=cmp_to_key(compare))
    return pushed[::-1]


names = ("A", "B", "C", "D")
some_outputs = st.lists(st.lists(st.sampled_from(names), max_size=3), min_size=1, max_size=3)
some_places = st.fixed_dictionaries(
    {name: st.none() | st.tuples(st.integers(-2, 2), st.integers(-2, 2)) for name in names})


@law
@given(some_outputs, some_places, some_places)
@example([["A", "B"]], {"A": (0, 0), "B": (0, 1), "C": None, "D": None},
         {"A": (0, 1), "B": (0, 0), "C": None, "D": None})
@example([["A"], ["B"]], {"A": (0, 0), "B": (1, 0), "C": None, "D": None},
         {"A": (1, 0), "B": (0, 0), "C": None, "D": None})
def test_a_move_changes_the_hash_exactly_when_it_changes_the_order_of_execution(
        outputs: list[list[str]], before: dict[str, Place], after: dict[str, Place]) -> None:
    connected = [to(*output) for output in outputs]
    one, two = (hash_of(connected, {name: list(place) if place else None for name, place in places.items()})
                for places in (before, after))
    assert (one == two) == (executed(outputs, before) == executed(outputs, after))


@pytest.mark.parametrize("order", [None, "v0"])
def test_without_v1_positions_mean_nothing_and_the_list_order_everything(order: str | None) -> None:
    there, here = {"A": [0, 0], "B": [0, 100]}, {"A": [0, 100], "B": [0, 0]}
    assert hash_of([to("A", "B")], there, order=order) == hash_of([to("A", "B")], here, order=order)
    assert hash_of([to("A", "B")], there, order=order) != hash_of([to("B", "A")], there, order=order)


def test_with_v1_the_list_order_means_nothing_but_between_equal_places() -> None:
    apart, together = {"A": [0, 0], "B": [0, 100]}, {"A": [0, 0], "B": [0, 0]}
    assert hash_of([to("A", "B")], apart) == hash_of([to("B", "A")], apart)
    assert hash_of([to("A", "B")], together) != hash_of([to("B", "A")], together)


def test_with_v1_targets_at_one_place_run_last_in_the_list_first() -> None:
    """Measured on both servers: tied A, B run B, A. So moving A above B is a change, and moving B above A none."""
    tied = hash_of([to("A", "B")], {"A": [0, 0], "B": [0, 0]})
    assert tied == hash_of([to("A", "B")], {"A": [0, 20], "B": [0, 0]})
    assert tied != hash_of([to("A", "B")], {"A": [0, 0], "B": [0, 20]})


def test_with_v1_all_outputs_of_a_node_are_ordered_together() -> None:
    one, two = {"A": [0, 0], "B": [0, 100]}, {"A": [0, 200], "B": [0, 100]}
    assert hash_of([to("A"), to("B")], one) != hash_of([to("A"), to("B")], two)


def test_with_v1_a_node_with_one_target_may_move_it_anywhere() -> None:
    assert hash_of([to("A")], {"A": [0, 0]}) == hash_of([to("A")], {"A": [-900, 7]})
    assert hash_of([[], to("A")], {"A": [0, 0]}) == hash_of([[], to("A")], {"A": [-900, 7]})


def test_with_v1_nodes_that_are_no_targets_may_move_anywhere() -> None:
    assert (hash_of([to("A", "B")], {"A": [0, 0], "B": [0, 1], "C": [0, 2]})
            == hash_of([to("A", "B")], {"A": [0, 0], "B": [0, 1], "C": [0, -2]}))


def test_the_targets_of_different_nodes_are_not_ordered_among_each_other() -> None:
    def hash_with(a: list[int], b: list[int]) -> str:
        content = workflow([to("A")], {"A": a, "B": b})
        content["connections"]["A"] = {"main": [to("B")]}
        return content_hash(content)

    assert hash_with([0, 0], [0, 100]) == hash_with([0, 100], [0, 0])


def test_a_node_without_position_stands_at_the_origin() -> None:
    above, below = {"A": None, "B": [0, -1]}, {"A": None, "B": [0, 1]}
    assert hash_of([to("A", "B")], above) != hash_of([to("A", "B")], below)
    assert hash_of([to("A", "B")], {**below, "A": [0, 0]}) == hash_of([to("A", "B")], below)


@pytest.mark.parametrize("place", [None, [], [5], {}, "here", ["0", "0"], [None, None]])
def test_a_broken_position_is_none(place: Any) -> None:
    assert (hash_of([to("A", "B")], {"A": place, "B": [0, 20]})
            == hash_of([to("A", "B")], {"A": [0, 0], "B": [0, 20]}))


def test_targets_that_do_not_exist_do_not_make_translations_matter() -> None:
    near, far = {"A": [0, 40], "B": [0, -40]}, {"A": [0, 9040], "B": [0, 8960]}
    assert hash_of([to("A", "gone", "B")], near) == hash_of([to("A", "gone", "B")], far)
    assert hash_of([to("A", "gone", "B")], near) != hash_of([to("A", "B")], near)


@pytest.mark.parametrize("order", ["v1", None])
def test_connections_of_sub_nodes_have_no_order_by_position(order: str | None) -> None:
    there, here = {"A": [0, 0], "B": [0, 100]}, {"A": [0, 100], "B": [0, 0]}
    outputs = [to("A", "B", kind="ai_tool")]
    assert hash_of(outputs, there, kind="ai_tool", order=order) == hash_of(outputs, here, kind="ai_tool", order=order)


@pytest.mark.parametrize("order", ["v1", None])
@pytest.mark.parametrize("same", [
    [[{"node": "A"}]], [[{"node": "A", "type": "main"}]], [[{"node": "A", "index": 0}]],
    [[{"node": "A", "type": None, "index": None}]], [[{"node": "A", "type": "main", "index": 0.0}]],
    [*[to("A")], []], [*[to("A")], None, [], None], [[*to("A"), None]],
])
def test_defaults_and_empty_outputs_at_the_end_mean_nothing(same: Any, order: str | None) -> None:
    assert hash_of(same, {"A": [0, 0]}, order=order) == hash_of([to("A")], {"A": [0, 0]}, order=order)


@pytest.mark.parametrize("nothing", [[], [[]], [None], [[], None], None, [[None]], {}])
def test_a_source_without_targets_is_no_source(nothing: Any) -> None:
    assert hash_of(nothing, {"A": [0, 0]}) == content_hash({**workflow([], {"A": [0, 0]}), "connections": {}})


def test_the_number_of_the_output_matters() -> None:
    at_second = hash_of([[], to("A")], {"A": [0, 0]})
    assert at_second == hash_of([None, to("A")], {"A": [0, 0]}) != hash_of([to("A")], {"A": [0, 0]})


@pytest.mark.parametrize("odd", [
    [["A"]], ["A"], [[5]], {"0": [{"node": "A"}]}, [{"node": "A"}], "A", [[{"type": "main"}]], [[{"node": ["A"]}]],
    [[{"node": "A", "index": "0"}, {"node": "B", "index": None}]], [[{"node": None}, {"node": {}}]],
])
@pytest.mark.parametrize("order", ["v1", "v0"])
@pytest.mark.parametrize("kind", ["main", "ai_tool"])
def test_connections_that_n8n_would_not_run_are_still_compared(odd: Any, order: str, kind: str) -> None:
    strange = hash_of(odd, {"A": [0, 0]}, order=order, kind=kind)
    assert strange == hash_of(odd, {"A": [0, 0]}, order=order, kind=kind)
    assert strange != hash_of([], {"A": [0, 0]}, order=order, kind=kind)
    normalize(workflow(odd, {"A": [0, 0]}, order=order, kind=kind))


def test_keys_of_later_versions_on_a_target_are_compared() -> None:
    assert hash_of([[{**to("A")[0], "keyOf2030": 1}]], {"A": [0, 0]}) != hash_of([to("A")], {"A": [0, 0]})


@pytest.mark.parametrize("connections", [{"Start": None}, {"Start": {}}, {"Start": []}, {"gone": {"main": [[]]}}])
def test_empty_connections_are_none(connections: JsonObject) -> None:
    content = {**workflow([], {}), "connections": connections}
    assert content_hash(content) == content_hash({**content, "connections": {}})
