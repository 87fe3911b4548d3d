"""The laws of the semantic diff (§8): empty iff the hashes are equal, exact about what changed, the same both ways."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.diff import WorkflowDiff, as_json, diff
from wfops_pipelines.domain.diff_text import as_markdown, render_text
from wfops_pipelines.domain.node_pairing import read_nodes
from wfops_pipelines.domain.normalize import content_hash, normalize
from wfops_pipelines.domain.value_diff import ABSENT
from wfops_pipelines_tests.domain.workflow_strategies import JsonObject, contents, law, translated

Named = set[tuple[str, str | None, str | None]]
Mutation = Callable[[JsonObject, Any], Named]


def named(result: WorkflowDiff) -> Named:
    return {(change.kind.value, change.node, change.path) for change in result.changes}


@law
@given(contents())
def test_nothing_differs_from_itself(content: JsonObject) -> None:
    assert diff(content, copy.deepcopy(content)) == WorkflowDiff(equal=True)


@law
@given(contents(), contents())
def test_a_diff_is_empty_exactly_where_the_hashes_are_equal(one: JsonObject, other: JsonObject) -> None:
    result = diff(one, other)
    assert result.equal is (content_hash(one) == content_hash(other)) is (not result.changes)


@law
@given(contents(min_nodes=1), contents(min_nodes=1), st.data())
def test_it_stays_so_with_names_given_twice_and_parts_mixed(one: JsonObject, other: JsonObject, data: Any) -> None:
    for content in (one, other):
        data.draw(st.sampled_from(content["nodes"]))["name"] = data.draw(st.sampled_from(["A", "B"]))
        content["nodes"] += copy.deepcopy(data.draw(st.lists(st.sampled_from(one["nodes"] + other["nodes"]), max_size=3)))
    mixed = {**other, **{key: one[key] for key in data.draw(st.sets(st.sampled_from(["name", "nodes", "connections"])))}}
    result = diff(one, mixed)
    assert result.equal is (content_hash(one) == content_hash(mixed)) is (not result.changes)


@law
@given(contents())
def test_the_nodes_compared_are_those_of_the_normalised_form(content: JsonObject) -> None:
    assert [node.comparable for node in read_nodes(content)] == normalize(content)["nodes"]


SWAPPED = {"node_added": "node_removed", "connection_added": "connection_removed"}
SWAPPED |= {after: before for before, after in SWAPPED.items()}


@law
@given(contents(), contents())
def test_swapping_the_sides_swaps_added_and_removed(one: JsonObject, other: JsonObject) -> None:
    there, back = diff(one, other), diff(other, one)
    kinds = Counter(SWAPPED.get(change.kind.value, change.kind.value) for change in there.changes)
    assert kinds == Counter(change.kind.value for change in back.changes)
    assert there.cosmetic == back.cosmetic
    if "node_renamed" not in kinds:
        assert ({(SWAPPED.get(kind, kind), node, path) for kind, node, path in named(there)}) == named(back)
        values = {(change.node, change.path): (change.before, change.after) for change in back.changes}
        for change in there.changes:
            assert values[change.node, change.path] == (change.after, change.before)


@law
@given(contents(), contents())
def test_every_rendering_can_be_written(one: JsonObject, other: JsonObject) -> None:
    result = diff(one, other)
    assert json.loads(json.dumps(as_json(result))) == as_json(result)
    render_text(result, before_label="a", after_label="b", colour=True).encode()
    as_markdown(result, values=True).encode()


def a_parameter_changes(content: JsonObject, data: Any) -> Named:
    node = data.draw(st.sampled_from(content["nodes"]))
    node["parameters"]["options"]["timeout"] = 20
    return {("node_changed", node["name"], "parameters.options.timeout")}


def a_parameter_appears(content: JsonObject, data: Any) -> Named:
    node = data.draw(st.sampled_from(content["nodes"]))
    node["parameters"]["url parameter"] = data.draw(st.sampled_from(["x", False, 0, {"a": 1}, []]))
    return {("node_changed", node["name"], 'parameters["url parameter"]')}


def an_array_element_changes(content: JsonObject, data: Any) -> Named:
    node = data.draw(st.sampled_from(content["nodes"]))
    node["parameters"]["assignments"][2]["value"] = True
    return {("node_changed", node["name"], "parameters.assignments[2].value")}


def an_array_element_is_put_in_front(content: JsonObject, data: Any) -> Named:
    node = data.draw(st.sampled_from(content["nodes"]))
    node["parameters"]["assignments"].insert(0, {"name": "new", "value": 0})
    return {("node_changed", node["name"], "parameters.assignments[0]")}


def an_array_element_is_taken_out(content: JsonObject, data: Any) -> Named:
    node = data.draw(st.sampled_from(content["nodes"]))
    index = data.draw(st.integers(0, 2))
    del node["parameters"]["assignments"][index]
    return {("node_changed", node["name"], f"parameters.assignments[{index}]")}


def a_type_version_changes(content: JsonObject, data: Any) -> Named:
    node = data.draw(st.sampled_from(content["nodes"]))
    node["typeVersion"] = 77
    return {("node_changed", node["name"], "typeVersion")}


def a_node_is_switched(content: JsonObject, data: Any) -> Named:
    node = data.draw(st.sampled_from(content["nodes"]))
    node["disabled"] = not node.get("disabled", False)
    return {("node_changed", node["name"], "disabled")}


def another_credential_is_used(content: JsonObject, data: Any) -> Named:
    node = data.draw(st.sampled_from(content["nodes"]))
    node.setdefault("credentials", {})["httpBasicAuth"] = {"id": "1", "name": "another credential"}
    return {("credentials_changed", node["name"], "httpBasicAuth")}


def a_node_is_added(content: JsonObject, data: Any) -> Named:
    content["nodes"].append({"id": "new", "name": "brand new node", "type": "x", "parameters": {}, "position": [0, 0]})
    return {("node_added", "brand new node", None)}


def a_node_is_removed_with_its_connections(content: JsonObject, data: Any) -> Named:
    name = data.draw(st.sampled_from(content["nodes"]))["name"]
    content["nodes"] = [node for node in content["nodes"] if node["name"] != name]
    gone: Named = {("node_removed", name, None)}
    for source, by_type in content["connections"].items():
        for kind, outputs in by_type.items():
            for number, output in enumerate(outputs):
                for target in list(output):
                    if name in (source, target["node"]):
                        output.remove(target)
                        path = f"{kind}[{number}] -> {target['node']} ({target['type']}[{target['index']}])"
                        gone.add(("connection_removed", source, path))
    return gone


def a_node_is_renamed(content: JsonObject, data: Any) -> Named:
    node = data.draw(st.sampled_from(content["nodes"]))
    old, node["name"] = node["name"], "a new name"
    content["connections"] = {("a new name" if source == old else source): by_type
                              for source, by_type in content["connections"].items()}
    for by_type in content["connections"].values():
        for target in (target for outputs in by_type.values() for output in outputs for target in output):
            if target["node"] == old:
                target["node"] = "a new name"
    return {("node_renamed", "a new name", None)}


def a_node_is_renamed_in_a_copy_with_new_ids(content: JsonObject, data: Any) -> Named:
    changes = a_node_is_renamed(content, data)
    for index, node in enumerate(content["nodes"]):
        node["id"] = f"fresh-{index}"
    return changes


def a_node_is_renamed_and_changed(content: JsonObject, data: Any) -> Named:
    changes = a_node_is_renamed(content, data)
    next(node for node in content["nodes"] if node["name"] == "a new name")["notes"] = "a note on it"
    return changes | {("node_changed", "a new name", "notes")}


def a_connection_is_added(content: JsonObject, data: Any) -> Named:
    names = [node["name"] for node in content["nodes"]]
    source, target = data.draw(st.sampled_from(names)), data.draw(st.sampled_from(names))
    outputs = content["connections"].setdefault(source, {}).setdefault("main", [])
    while len(outputs) < 5:
        outputs.append([])
    outputs[4].append({"node": target, "type": "main", "index": 7})
    return {("connection_added", source, f"main[4] -> {target} (main[7])")}


def a_setting_changes(content: JsonObject, data: Any) -> Named:
    content["settings"]["timezone"] = "Asia/Tokyo"
    return {("settings_changed", None, "timezone")}


def the_name_changes(content: JsonObject, data: Any) -> Named:
    content["name"] += "!"
    return {("name_changed", None, None)}


MUTATIONS: list[Mutation] = [
    a_parameter_changes, a_parameter_appears, an_array_element_changes, an_array_element_is_put_in_front,
    an_array_element_is_taken_out, a_type_version_changes, a_node_is_switched, another_credential_is_used,
    a_node_is_added, a_node_is_removed_with_its_connections, a_node_is_renamed,
    a_node_is_renamed_in_a_copy_with_new_ids, a_node_is_renamed_and_changed, a_connection_is_added, a_setting_changes,
    the_name_changes,
]


def with_known_parameters(content: JsonObject) -> JsonObject:
    for node in content["nodes"]:
        node["parameters"]["options"] = {"timeout": 10, "retry": True}
        node["parameters"]["assignments"] = [{"name": "a", "value": 1}, {"name": "b", "value": "2"}, {"name": "c", "value": 1}]
    return content


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
@law
@given(content=contents(min_nodes=2), data=st.data())
def test_a_diff_names_exactly_what_changed_when(mutate: Mutation, content: JsonObject, data: Any) -> None:
    before = with_known_parameters(content)
    after = copy.deepcopy(before)
    expected = mutate(after, data)
    result = diff(before, after)
    assert named(result) == expected
    assert len(result.changes) == len(expected)
    if mutate is not a_node_is_renamed_in_a_copy_with_new_ids:
        assert result.cosmetic == 0


@law
@given(contents(min_nodes=2), st.data())
def test_a_connection_that_is_removed_is_the_one_change(content: JsonObject, data: Any) -> None:
    places = [(source, kind, number, target) for source, by_type in content["connections"].items()
              for kind, outputs in by_type.items() for number, output in enumerate(outputs) for target in output]
    if not places:
        return
    after = copy.deepcopy(content)
    source, kind, number, target = data.draw(st.sampled_from(places))
    after["connections"][source][kind][number].remove(target)
    path = f"{kind}[{number}] -> {target['node']} ({target['type']}[{target['index']}])"
    assert named(diff(content, after)) == {("connection_removed", source, path)}


@law
@given(contents(min_nodes=1), st.integers(1, 1000))
def test_what_only_moves_or_is_noted_on_the_canvas_is_cosmetic(content: JsonObject, right: int) -> None:
    after = copy.deepcopy(translated(content, right, 0))
    after["nodes"].append({"name": "Note to self", "type": "n8n-nodes-base.stickyNote", "position": [0, 0],
                           "parameters": {"content": "hello"}})
    result = diff(content, after)
    assert result.equal
    assert not result.changes
    assert result.cosmetic == len(content["nodes"]) + 1


def test_absent_is_not_null() -> None:
    assert not ABSENT
    assert repr(ABSENT) == "ABSENT"
