"""The semantic diff by example (§8), and on odd content (§25)."""

from __future__ import annotations

import copy
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from wfops_pipelines.domain.diff import ABSENT, ChangeKind, as_json, diff
from wfops_pipelines.domain.errors import MalformedFile
from wfops_pipelines.domain.layout import read_file
from wfops_pipelines.domain.masking import MASKED
from wfops_pipelines.domain.normalize import content_hash
from wfops_pipelines.domain.value_diff import compare_values
from wfops_pipelines.domain.workflow import read_content
from wfops_pipelines_tests.domain.workflow_strategies import JsonObject

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"


def node(name: str, *, at: tuple[int, int] = (0, 0), node_type: str = "n8n-nodes-base.noOp", **more: Any) -> JsonObject:
    return {"id": f"id of {name}", "name": name, "type": node_type, "typeVersion": 1, "position": list(at),
            "parameters": {}, **more}


def to(*targets: str) -> JsonObject:
    return {"main": [[{"node": target, "type": "main", "index": 0} for target in targets]]}


def workflow(*nodes: JsonObject, connections: JsonObject | None = None, **settings: Any) -> JsonObject:
    return read_content({"name": "W", "nodes": list(nodes), "connections": connections or {}, "settings": settings})


def changes(before: JsonObject | None, after: JsonObject | None) -> list[JsonObject]:
    result = diff(before, after)
    assert result.equal is (not result.changes)
    shown: list[JsonObject] = as_json(result)["changes"]
    return shown


def test_a_workflow_that_appears_or_goes_is_one_change() -> None:
    content = workflow(node("A"))
    assert changes(None, content) == [{"kind": "workflow_added", "after": {"name": "W", "nodes": 1}}]
    assert changes(content, None) == [{"kind": "workflow_removed", "before": {"name": "W", "nodes": 1}}]
    assert diff(None, None).equal


def test_null_and_absent_are_told_apart() -> None:
    assert changes(workflow(node("A", parameters={"a": 1})), workflow(node("A", parameters={"a": 1, "b": None}))) == [
        {"kind": "node_changed", "node": "A", "path": "parameters.b", "after": None}]


def test_true_is_not_one_and_one_is_one_point_zero() -> None:
    one, true, double = (workflow(node("A", parameters={"a": value})) for value in (1, True, 1.0))
    assert changes(one, true) == [{"kind": "node_changed", "node": "A", "path": "parameters.a", "before": 1, "after": True}]
    assert diff(one, double).equal
    assert diff(one, double).cosmetic == 0


def test_another_credential_is_a_change_and_another_id_of_it_is_cosmetic() -> None:
    old, renamed, elsewhere = (workflow(node("A", credentials={"jwtAuth": reference})) for reference in (
        {"id": "1", "name": "stripe"}, {"id": "1", "name": "stripe-live"}, {"id": "2", "name": "stripe"}))
    assert changes(old, renamed) == [
        {"kind": "credentials_changed", "node": "A", "path": "jwtAuth", "before": "stripe", "after": "stripe-live"}]
    assert diff(old, elsewhere).cosmetic == 1
    added = diff(workflow(), old)
    assert as_json(added)["changes"][0]["after"]["credentials"] == {"jwtAuth": "stripe"}


class TestRenames:
    def test_a_chain_of_renames_is_told_by_the_ids(self) -> None:
        before = workflow(node("A", id="1", notes="one"), node("B", id="2", notes="two"), connections={"A": to("B")})
        after = workflow(node("B", id="1", notes="one"), node("C", id="2", notes="two"), connections={"B": to("C")})
        assert changes(before, after) == [
            {"kind": "node_renamed", "node": "B", "before": "A", "after": "B"},
            {"kind": "node_renamed", "node": "C", "before": "B", "after": "C"}]

    def test_ids_that_moved_among_equal_nodes_mean_nothing(self) -> None:
        before = workflow(node("A", id="1"), node("B", id="2", disabled=True))
        after = workflow(node("A", id="2"), node("B", id="1", disabled=True))
        assert diff(before, after).equal
        assert diff(before, after).cosmetic == 2

    def test_without_ids_the_place_on_the_canvas_tells_equal_nodes_apart(self) -> None:
        before = workflow(node("A", id=None, at=(0, 0)), node("B", id=None, at=(0, 100)))
        after = workflow(node("X", id=None, at=(0, 100)), node("Y", id=None, at=(0, 0)))
        assert {(c["before"], c["after"]) for c in changes(before, after)} == {("A", "Y"), ("B", "X")}

    def test_a_node_replaced_by_another_kind_of_node_is_no_rename(self) -> None:
        before, after = workflow(node("A", id="1")), workflow(node("B", id="2", node_type="n8n-nodes-base.set"))
        assert [change["kind"] for change in changes(before, after)] == ["node_removed", "node_added"]


class TestConnections:
    def test_a_connection_moved_to_another_output_is_removed_and_added(self) -> None:
        nodes = node("If"), node("B")
        target = to("B")["main"][0]
        before = workflow(*nodes, connections={"If": {"main": [target]}})
        after = workflow(*nodes, connections={"If": {"main": [[], target]}})
        assert changes(before, after) == [
            {"kind": "connection_removed", "node": "If", "path": "main[0] -> B (main[0])"},
            {"kind": "connection_added", "node": "If", "path": "main[1] -> B (main[0])"}]

    def test_a_move_past_a_sibling_changes_the_order_of_execution_in_v1(self) -> None:
        def with_c_at(y: int) -> JsonObject:
            return workflow(node("A"), node("B", at=(200, 100)), node("C", at=(200, y)), connections={"A": to("B", "C")},
                            executionOrder="v1")
        assert diff(with_c_at(200), with_c_at(150)) == diff(with_c_at(150), with_c_at(200))
        assert diff(with_c_at(200), with_c_at(150)).cosmetic == 1
        result = diff(with_c_at(200), with_c_at(0))
        assert as_json(result)["changes"] == [{
            "kind": "execution_order_changed", "node": "A", "path": "main",
            "before": ["main[0] -> B (main[0])", "main[0] -> C (main[0])"],
            "after": ["main[0] -> C (main[0])", "main[0] -> B (main[0])"]}]
        assert result.cosmetic == 0

    def test_a_new_target_between_two_others_leaves_their_order(self) -> None:
        nodes = node("A"), node("B", at=(200, 0)), node("C", at=(200, 200)), node("D", at=(200, 100))
        before = workflow(*nodes, connections={"A": to("B", "C")}, executionOrder="v1")
        after = workflow(*nodes, connections={"A": to("B", "C", "D")}, executionOrder="v1")
        assert [change["kind"] for change in changes(before, after)] == ["connection_added"]

    def test_without_v1_the_order_in_the_list_counts(self) -> None:
        nodes = node("A"), node("B"), node("C")
        before = workflow(*nodes, connections={"A": to("B", "C")})
        after = workflow(*nodes, connections={"A": to("C", "B")})
        assert [change["kind"] for change in changes(before, after)] == ["execution_order_changed"]

    def test_a_switch_of_the_execution_order_is_a_change_of_settings(self) -> None:
        nodes = node("A"), node("B"), node("C")
        before = workflow(*nodes, connections={"A": to("C", "B")})
        after = workflow(*nodes, connections={"A": to("C", "B")}, executionOrder="v1")
        assert changes(before, after) == [{"kind": "settings_changed", "path": "executionOrder", "after": "v1"}]


class TestSecrets:
    def test_a_secret_is_masked_and_its_change_still_shows(self) -> None:
        def with_header(value: str) -> JsonObject:
            return workflow(node("A", parameters={"headers": {"parameters": [{"name": "X-Api-Key", "value": value}]}}))
        assert changes(with_header("hunter2"), with_header("hunter3")) == [
            {"kind": "node_changed", "node": "A", "path": "parameters.headers.parameters[0].value",
             "before": MASKED, "after": MASKED}]

    def test_no_secret_is_in_any_part_of_the_json(self) -> None:
        parameters = {"password": "hunter2", "options": {"token": {"value": "hunter2"}}, "list": [{"apiKey": "hunter2"}],
                      "code": "const secret = 'hunter2';\n"}
        for before, after in (
            (workflow(), workflow(node("A", parameters=parameters))),
            (workflow(node("A")), workflow(node("A", parameters=parameters))),
            (workflow(node("A", parameters={"list": []})), workflow(node("A", parameters=parameters))),
            (workflow(clientSecret="hunter1"), workflow(clientSecret="hunter2")),
        ):
            for result in (diff(before, after), diff(after, before)):
                assert "hunter" not in json.dumps(as_json(result))
                assert "hunter" not in repr(result)


class TestLists:
    @pytest.mark.parametrize(("before", "after", "paths"), [
        ([1, 2, 3], [1, 3], ["[1]"]), ([1, 3], [1, 2, 3], ["[1]"]), ([], [1, 2], ["[0]", "[1]"]), ([1], [], ["[0]"]),
        ([1, 2], [2, 1], ["[0]", "[1]"]), ([{"a": 1}, 2], [{"a": 2}, 2, 3], ["[0].a", "[2]"]), ([[1], [2]], [[1], [3]], ["[1][0]"]),
    ])
    def test_places_of_a_list_that_differ(self, before: list[Any], after: list[Any], paths: list[str]) -> None:
        assert [leaf.path for leaf in compare_values(before, after)] == paths


ODD = {
    "names given twice": {"nodes": [node("A"), node("A", disabled=True), node("A")], "connections": {"A": to("A", "A")}},
    "connections that dangle": {"nodes": [node("A")], "connections": {"A": to("Gone"), "Ghost": to("A")}},
    "null parameters": {"nodes": [{"name": "A", "type": None, "parameters": None, "position": None, "credentials": None}],
                        "connections": {}},
    "odd connections": {"nodes": [node("A")], "connections": {
        "A": {"main": [None, [None, 7, "x", {"node": 5}, {"node": "A", "index": "0", "type": 3}], {"a": 1}], "x": {"y": 1}, "z": None},
        "B": [1], "C": None, "D": {"main": [[{"node": "A", "index": 0, "type": "main"}]]}, "": {"": [[{}]]}}},
    "an index in quotes": {"nodes": [node("A")], "connections": {"D": {"main": [[{"node": "A", "index": "0", "type": "main"}]]}}},
    "an index": {"nodes": [node("A")], "connections": {"D": {"main": [[{"node": "A", "index": 0, "type": "main"}]]}}},
    "odd nodes": {"nodes": [{"name": ""}, {"name": "\ud800\0", "credentials": ["x"], "parameters": ["y"], "id": 7},
                            {"name": "🏳️‍🌈 שלום", "credentials": {"a": "text", "b": None, "c": {}, "d": 7}}],
                  "connections": {}},
    "sticky notes": {"nodes": [node("Note", node_type="n8n-nodes-base.stickyNote", id=None),
                               node("Note", node_type="n8n-nodes-base.stickyNote", id=None), node("Note")],
                     "connections": {"Note": to("Note")}},
    "groups": {"nodes": [node("A")], "connections": {}, "nodeGroups": [{"x": 1}]},
    "deep nesting": {"nodes": [node("A", parameters=json.loads('{"a":[' * 190 + "1" + "]}" * 190))], "connections": {}},
    "deep lists": {"nodes": [node("A", parameters={"a": json.loads("[" * 390 + "2" + "]" * 390)})], "connections": {}},
    "deep objects": {"nodes": [node("A", parameters=json.loads('{"a":' * 390 + "3" + "}" * 390))], "connections": {}},
    "nothing": {"nodes": [], "connections": {}},
    "plain": {"nodes": [node("A")], "connections": {}, "settings": {"executionOrder": "v1"}},
}


@pytest.mark.parametrize("before", ODD.values(), ids=ODD)
@pytest.mark.parametrize("after", ODD.values(), ids=ODD)
def test_odd_content_is_compared_like_any_other(before: JsonObject, after: JsonObject) -> None:
    one, other = read_content(copy.deepcopy(before)), read_content(copy.deepcopy(after))
    result = diff(one, other)
    assert result.equal is (content_hash(one) == content_hash(other)) is (not result.changes)
    as_json(result)


def test_of_nodes_that_share_a_name_the_one_that_changed_is_named_once() -> None:
    before = workflow(node("A", id="1"), node("A", id="2", notes="x"), node("A", id="3"))
    after = workflow(node("A", id="1"), node("A", id="2", notes="y"), node("A", id="3"))
    assert changes(before, after) == [{"kind": "node_changed", "node": "A", "path": "notes", "before": "x", "after": "y"}]


def test_a_thousand_nodes_that_all_changed_are_all_named() -> None:
    def chain(version: int, suffix: str) -> JsonObject:
        names = [f"Node {index}{suffix}" for index in range(1000)]
        return workflow(*(node(name, typeVersion=version, id=f"{index}", at=(0, index)) for index, name in enumerate(names)),
                        connections={name: to(following) for name, following in pairwise(names)},
                        executionOrder="v1")
    renamed = diff(chain(1, ""), chain(1, " new"))
    assert [change.kind for change in renamed.changes] == [ChangeKind.NODE_RENAMED] * 1000
    changed = diff(chain(1, ""), chain(2, ""))
    assert {change.path for change in changed.changes} == {"typeVersion"}
    assert len(changed.changes) == 1000


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of real workflows is not here")
def test_real_workflows_differ_where_their_hashes_do() -> None:
    contents = []
    for path in sorted(CORPUS.rglob("*.json")):
        try:
            contents.append(read_file(path.name, path.read_bytes()).content)
        except MalformedFile:
            continue
    for one, other in zip(contents, contents[1:] + contents[:1], strict=True):
        result = diff(one, other)
        assert result.equal is (content_hash(one) == content_hash(other)) is (not result.changes)
        assert all(change.before is not ABSENT or change.after is not ABSENT or change.path for change in result.changes)
        unchanged = diff(one, copy.deepcopy(one))
        assert unchanged.equal
        assert unchanged.cosmetic == 0
