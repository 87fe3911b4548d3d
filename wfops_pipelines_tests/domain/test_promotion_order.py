"""The order of a promotion's changes (§11.3): what is needed comes first, cycles are named."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.promotion_order import NamedWorkflows, Order, named_workflows, order, with_needed
from wfops_pipelines_tests.domain.workflow_strategies import hostile_contents, law

EXECUTE = "n8n-nodes-base.executeWorkflow"


def ordered(needs: dict[str, set[str]], **names: str) -> Order:
    return order(needs, name_of=names or {key: key for key in needs})


def content(*nodes: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return {"name": "A", "nodes": list(nodes), "connections": {}, "settings": settings}


def call(called: Any, **more: Any) -> dict[str, Any]:
    return {"name": f"Call {called}", "type": EXECUTE, "parameters": {"workflowId": called}, **more}


# -- what a workflow names -------------------------------------------------------------------------------------------------

def test_called_workflows_and_the_error_workflow_are_needed_and_allowed_callers_only_mentioned() -> None:
    found = named_workflows(content(call("b"), call({"mode": "url", "value": "{{wfops.base_url}}/workflow/{{wfops.workflow.c}}"}), errorWorkflow="d", callerIds="e, f"),
                            key="a")
    assert found == NamedWorkflows(frozenset("bcd"), frozenset("ef"), frozenset("bc"))
    assert found.all == frozenset("bcdef")


@pytest.mark.parametrize("itself", ["a", "itself", "{{wfops.workflow.self}}", "{{wfops.workflow.a}}"])
def test_a_reference_to_itself_is_its_own_key(itself: str) -> None:
    assert named_workflows(content(call(itself)), key="a").needs == {"a"}


def test_disabled_nodes_count_and_expressions_and_notes_do_not() -> None:
    note = {"name": "N", "type": "n8n-nodes-base.stickyNote", "parameters": {"workflowId": "z"}}
    found = named_workflows(content(call("b", disabled=True), call("={{ $json.id }}"), note), key="a")
    assert found.needs == {"b"}
    assert not found.calls


def test_only_what_execute_nodes_pick_has_to_be_published_before_the_caller() -> None:
    def picked(mode: str) -> dict[str, Any]:
        return {"__rl": True, "mode": mode, "value": "https://n8n.dev/workflow/b" if mode == "url" else "b"}

    def calls(called: Any, **more: Any) -> frozenset[str]:
        parameters = {"workflowId": called, **more.pop("parameters", {})}
        return named_workflows(content({**call("x"), "parameters": parameters, **more}), key="a").calls

    for called in ("b", picked("id"), picked("list"), picked("url")):
        assert calls(called) == {"b"}
    tool = "@n8n/n8n-nodes-langchain.toolWorkflow"
    assert not calls("b", type=tool)
    assert named_workflows(content({**call("b"), "type": tool}), key="a").needs == {"b"}
    assert not calls("b", parameters={"source": "parameter"})
    assert not calls({"mode": "id", "value": "={{ $json.id }}"})
    assert not calls("")
    assert not named_workflows(content(errorWorkflow="b", callerIds="b"), key="a").calls


@law
@given(hostile_contents())
def test_whatever_a_workflow_holds_can_be_asked(hostile: dict[str, Any]) -> None:
    named_workflows(hostile, key="a")


# -- order -----------------------------------------------------------------------------------------------------------------

def test_sub_workflows_come_before_their_callers_and_names_decide_the_rest() -> None:
    assert ordered({"a": {"c"}, "b": set(), "c": {"d"}, "d": set()}).keys == ("d", "c", "a", "b")
    assert ordered({"1": set(), "2": set()}, **{"1": "Zebra", "2": "Ant"}).keys == ("2", "1")


def test_a_cycle_is_named_and_has_callees_first_as_far_as_that_goes() -> None:
    found = ordered({"a": {"b"}, "b": {"c"}, "c": {"a", "x"}, "x": set(), "top": {"a"}})
    assert found.keys == ("x", "c", "b", "a", "top")
    assert found.cycles == (("c", "b", "a"),)


def test_two_cycles_are_two() -> None:
    found = ordered({"a": {"b"}, "b": {"a"}, "c": {"d", "a"}, "d": {"c"}})
    assert found.cycles == (("b", "a"), ("d", "c"))


def test_a_workflow_that_calls_itself_is_no_cycle() -> None:
    assert ordered({"a": {"a"}}) == Order(("a",), ())


def test_a_chain_of_thousands_is_no_matter() -> None:
    keys = [f"{i:05}" for i in range(5_000)]
    found = ordered({**{key: {needed} for key, needed in pairwise(keys)}, keys[-1]: set()})
    assert found.keys == tuple(reversed(keys))


@st.composite
def graphs(draw: Any, *, acyclic: bool) -> dict[str, set[str]]:
    keys = [str(i) for i in range(draw(st.integers(0, 9)))]
    pairs = draw(st.sets(st.tuples(st.sampled_from(keys), st.sampled_from(keys)), max_size=25)) if keys else set()
    ranks = draw(st.permutations(keys))
    return {key: {b for a, b in pairs if a == key and (not acyclic or ranks.index(b) < ranks.index(a))} for key in keys}


@law
@given(graphs(acyclic=True), st.dictionaries(st.sampled_from("012345678"), st.text(max_size=2)))
def test_without_cycles_everything_comes_after_all_it_needs(needs: dict[str, set[str]], names: dict[str, str]) -> None:
    found = order(needs, name_of=names)
    place = {key: number for number, key in enumerate(found.keys)}
    assert sorted(found.keys) == sorted(needs)
    assert not found.cycles
    assert all(place[needed] < place[key] for key in needs for needed in needs[key])


@law
@given(graphs(acyclic=False), st.randoms(use_true_random=False))
def test_cycles_are_exactly_those_that_reach_each_other_and_the_order_is_that_of_no_input(
        needs: dict[str, set[str]], random: Random) -> None:
    found = ordered(needs)
    keys = list(needs)
    random.shuffle(keys)
    assert ordered({key: needs[key] for key in keys}) == found
    reached = {key: with_needed(needs[key], needs) for key in needs}
    together = {(a, b): a in reached[b] and b in reached[a] for a in needs for b in needs if a != b}
    named = {(a, b) for cycle in found.cycles for a in cycle for b in cycle if a != b}
    assert named == {pair for pair, mutual in together.items() if mutual}
    place = {key: number for number, key in enumerate(found.keys)}
    assert sorted(found.keys) == sorted(needs)
    assert all(place[b] < place[a] for a in needs for b in needs[a] if a != b and not together[a, b])


def test_within_a_cycle_calls_decide_and_other_needs_do_not() -> None:
    needs = {"a": {"b"}, "b": {"a", "x"}, "x": set(), "top": {"a"}}  # b is only the error workflow of a, and calls it
    found = order(needs, name_of={key: key for key in needs}, calls={"b": {"a", "x"}, "top": {"a"}})
    assert found == Order(("x", "a", "b", "top"), (("a", "b"),))
    assert ordered(needs).keys == ("x", "b", "a", "top")


@law
@given(graphs(acyclic=False), graphs(acyclic=False))
def test_calls_turn_the_order_within_cycles_alone(needs: dict[str, set[str]], others: dict[str, set[str]]) -> None:
    calls = {key: needs[key] & others.get(key, set()) for key in needs}
    found, plain = order(needs, name_of={}, calls=calls), order(needs, name_of={})
    place = {key: number for number, key in enumerate(found.keys)}
    assert sorted(found.keys) == sorted(plain.keys)
    assert sorted(map(sorted, found.cycles)) == sorted(map(sorted, plain.cycles))
    together = {(a, b) for cycle in found.cycles for a in cycle for b in cycle}
    assert all(place[b] < place[a] for a in needs for b in needs[a] if a != b and (a, b) not in together)
    assert sum(place[b] > place[a] for a in calls for b in calls[a]) == 0 or order(calls, name_of={}).cycles


def test_what_is_chosen_brings_along_what_it_needs() -> None:
    assert with_needed({"a"}, {"a": {"b"}, "b": {"c", "a"}, "d": set()}) == {"a", "b", "c"}
