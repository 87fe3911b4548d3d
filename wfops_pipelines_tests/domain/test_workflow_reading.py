"""Reading workflows (§1, §25): what n8n lists, what files hold, and what is refused with a clear error."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from hypothesis import given

from wfops_pipelines.domain.canonical_json import MAX_DEPTH, canonical_number
from wfops_pipelines.domain.errors import MalformedWorkflow
from wfops_pipelines.domain.workflow import (
    decode_content,
    digest,
    encode_content,
    parse_json,
    read_content,
    read_listed,
)
from wfops_pipelines_tests.domain.workflow_strategies import json_values, law

JsonObject = dict[str, Any]


def node(name: str = "A", **keys: Any) -> JsonObject:
    return {"id": "1", "name": name, "type": "n8n-nodes-base.set", "typeVersion": 1, "position": [0, 0],
            "parameters": {}, **keys}


def listed(**keys: Any) -> JsonObject:
    raw = {"id": "wf1", "name": "Orders", "active": False, "isArchived": False, "nodes": [node()], "connections": {},
           "settings": {"executionOrder": "v1"}, "tags": [], "updatedAt": "2026-11-21T09:00:00.000Z",
           "versionId": "v-1", "staticData": {"lastId": 1}, "pinData": {}, "meta": None, **keys}
    return {key: value for key, value in raw.items() if value is not ...}


class TestJson:
    @pytest.mark.parametrize("data", [b'\xef\xbb\xbf{"a": 1}', '\ufeff{"a": 1}', b'\r\n{"a":\t1}\r\n', '{"a":1}'])
    def test_byte_order_marks_and_line_ends_are_no_content(self, data: bytes | str) -> None:
        assert parse_json(data) == {"a": 1}

    @pytest.mark.parametrize("data, value", [
        (b'"\\ud800"', "\ud800"), (b'["\\udc00\\ud800", 1.5]', ["\udc00\ud800", 1.5]), (b'"\\ud83d\\ude00"', "😀"),
        (b'"\\u0000"', "\0"), (b'{"a": 1, "a": 2}', {"a": 2}), (b'{"a": "\\ud800", "a": 2}', {"a": 2}),
        (b"1e400", None), (b"-1e400", None), (b"[1e400, -0]", [None, 0]), (b"9" * 5000, None),
        (b"123456789012345678901234567890", 123456789012345678901234567890.0), (b"9007199254740993", 9007199254740993),
    ])
    def test_what_n8n_keeps_is_kept(self, data: bytes, value: Any) -> None:
        assert parse_json(data) == parse_json(data.decode()) == value

    @pytest.mark.parametrize("data, problem", [
        (b"", "no valid JSON"), (b"{", "no valid JSON"), (b"{'a': 1}", "no valid JSON"), (b'{"a": 1,}', "no valid JSON"),
        (b"[NaN]", "NaN"), (b"Infinity", "Infinity"), (b"-Infinity", "Infinity"), (b"{} {}", "line 1, column 4"),
        (b'{\n"a" 1}', "line 2, column 5"), (b'"\xff"', "not UTF-8"), ('{"a":1}'.encode("utf-16"), "not UTF-8"),
        (b'"caf\xe9"', "not UTF-8"), (b'"a\nb"', "no valid JSON"), (b"<html>", "no valid JSON"), (b"01", "no valid JSON"),
        (b'"\\ud800', "no valid JSON"), (b"[" * 5000, "no valid JSON"), (b"[" * 5000 + b"1" + b"]" * 4999, "no valid"),
        (b"[" * 5000 + b"x" + b"]" * 5000, "no valid"), (b'{"a":' * 5000 + b'{"b"}' + b"}" * 5000, "no valid"),
        (b"[" * 5000 + b"{1" + b"]" * 5000, "no valid"), (b"[" * 5000 + b"]" * 5001, "Extra data"),
    ])
    def test_what_is_no_json_is_refused_with_the_place(self, data: bytes, problem: str) -> None:
        with pytest.raises(MalformedWorkflow, match=problem):
            parse_json(data)

    @pytest.mark.parametrize("depth", [5, 300, 1000, 1100, 100_000])
    def test_nesting_of_any_depth_is_read(self, depth: int) -> None:
        value = parse_json(b' [ {"a" : [ ] , "b":{}, "c": [1, "x"], "d" :' * depth + b'"end"' + b" } , 2 ] " * depth)
        for _ in range(depth):
            assert list(value[0]) == ["a", "b", "c", "d"]
            assert value[1] == 2
            value = value[0]["d"]
        assert value == "end"

    @pytest.mark.parametrize("number", [-(2**63), 2**63 - 1, 2**63, 2**64 - 1, -(10**18) - 1, 2**64, -(2**63) - 1])
    def test_big_integers_are_read_the_same_beside_a_lone_surrogate(self, number: int) -> None:
        value, beside = parse_json(f"[{number}]")[0], parse_json(f'[{number}, "\\ud800"]')[0]
        assert (value, type(value)) == (beside, type(beside))

    @law
    @given(json_values)
    def test_encoding_and_parsing_gives_the_value_back(self, value: Any) -> None:
        again = parse_json(encode_content({"value": value}))["value"]
        assert again == value
        encode_content({"value": value}).decode("utf-8")

    @pytest.mark.parametrize("number, canonical", [
        (1, 1), (1.0, 1), (1.5, 1.5), (2**53, 2**53), (2**53 + 1, 2**53), (float(2**53), 2**53), (2**60, float(2**60)),
        (1e21, 1e21), (10**21, 1e21), (10**400, None), (float("inf"), None), (float("-inf"), None),
        (float("nan"), None), (-0.0, 0), (5e-324, 5e-324),
    ])
    def test_the_canonical_number_is_the_double(self, number: float, canonical: float | None) -> None:
        result = canonical_number(number)
        assert (result, type(result)) == (canonical, type(canonical))
        assert str(result) != "-0.0"


class TestContent:
    def test_content_is_name_nodes_connections_and_settings(self) -> None:
        content = read_content(listed(createdAt="x", wfops={"canonical_id": "c"}))
        assert content == {"name": "Orders", "nodes": [node()], "connections": {}, "settings": {"executionOrder": "v1"}}

    def test_groups_of_nodes_are_kept_where_there_are_some(self) -> None:
        groups = [{"id": "g", "name": "Group", "nodeIds": ["1"]}]
        assert read_content(listed(nodeGroups=groups))["nodeGroups"] == groups
        assert "nodeGroups" not in read_content(listed(nodeGroups=[]))
        assert "nodeGroups" not in read_content(listed(nodeGroups=None))

    @pytest.mark.parametrize("keys, expected", [
        ({"settings": None}, {"settings": {}}), ({"settings": ...}, {"settings": {}}), ({"name": ...}, {"name": ""}),
        ({"name": None}, {"name": ""}), ({"nodes": []}, {"nodes": []}),
        ({"nodes": [node(parameters=None, position=None, type="unknown.type")]}, {}),
        ({"nodes": [node("A"), node("A")]}, {}), ({"nodes": [node("")]}, {}), ({"nodes": [{"name": "A"}]}, {}),
        ({"connections": {"gone": {"main": [[{"node": "nowhere", "type": "main", "index": 0}]]}}}, {}),
        ({"connections": {"A": None}}, {}), ({"name": "שלום 😀 \ud800\0"}, {}), ({"name": "n" * 500}, {}),
    ])
    def test_what_n8n_tolerates_is_tolerated(self, keys: JsonObject, expected: JsonObject) -> None:
        content = read_content(listed(**keys))
        assert content.items() >= expected.items()
        assert decode_content(encode_content(content)) == content

    @pytest.mark.parametrize("keys, problem", [
        ({"nodes": ...}, "nodes is no list but missing or null"), ({"nodes": None}, "nodes is no list"),
        ({"nodes": {"A": {}}}, "nodes is no list but an object"), ({"nodes": "x"}, "nodes is no list but a text"),
        ({"nodes": [node(), 5]}, r"nodes\[1\] is no object but a number"), ({"nodes": [None]}, r"nodes\[0\] is no object"),
        ({"nodes": [{"type": "n8n-nodes-base.set"}]}, r"nodes\[0\] has no name \(its type: 'n8n-nodes-base.set'\)"),
        ({"nodes": [{"name": 5}]}, r"nodes\[0\] has no name"), ({"connections": ...}, "connections is no object"),
        ({"connections": None}, "connections is no object"), ({"connections": []}, "connections is no object but a list"),
        ({"settings": "{}"}, "settings are no object but a text"), ({"settings": []}, "settings are no object"),
        ({"name": 5}, "name is no text but a number"), ({"name": {}}, "name is no text but an object"),
        ({"nodes": [node(parameters=parse_json("[" * 3000 + "]" * 3000))]}, f"nested deeper than {MAX_DEPTH} levels"),
    ])
    def test_what_is_no_workflow_is_refused_by_name(self, keys: JsonObject, problem: str) -> None:
        with pytest.raises(MalformedWorkflow, match=problem):
            read_content(listed(**keys))
        with pytest.raises(MalformedWorkflow, match="workflow wf1: "):
            read_listed(listed(**keys))

    @pytest.mark.parametrize("document", [None, [], "x", 5, True, [listed()]])
    def test_what_is_no_object_is_no_workflow(self, document: Any) -> None:
        with pytest.raises(MalformedWorkflow, match="object"):
            read_content(document)
        with pytest.raises(MalformedWorkflow, match="object"):
            read_listed(document)

    def test_encoding_is_stable_compact_and_whole(self) -> None:
        content = read_content(listed(name="é\ud800\0", nodes=[node(webhookId="w", position=[10, 20.5])]))
        encoded = encode_content(content)
        assert encoded == encode_content(decode_content(encoded))
        assert decode_content(encoded) == content
        assert encoded.startswith(b'{"connections":{},"name":"\xc3\xa9\\ud800\\u0000","nodes":[{"id":"1",')
        assert json.loads(encoded) == content
        assert digest(encoded) == digest(bytes(encoded)) != digest(encoded + b" ")
        assert len(digest(encoded)) == 64

    @pytest.mark.parametrize("depth", [240, 260, 380])
    def test_deep_nesting_within_the_limit_is_stored(self, depth: int) -> None:
        content = read_content(listed(nodes=[node(parameters={"a": parse_json("[" * depth + "]" * depth)})]))
        assert decode_content(encode_content(content)) == content

    def test_a_workflow_of_five_megabytes_is_read(self) -> None:
        content = read_content(parse_json(json.dumps(listed(nodes=[
            node(f"N{index}", parameters={"text": "ü" * 1000}) for index in range(2500)]))))
        assert len(encode_content(content)) > 5_000_000
        assert decode_content(encode_content(content)) == content


class TestListing:
    published: ClassVar[JsonObject] = {
        "versionId": "v-0", "nodes": [node(parameters={"old": True})], "connections": {}, "name": None}

    def test_an_inactive_workflow_lives_as_its_draft(self) -> None:
        workflow = read_listed(listed())
        assert (workflow.id, workflow.name, workflow.active, workflow.archived) == ("wf1", "Orders", False, False)
        assert (workflow.version_id, workflow.published_version_id) == ("v-1", None)
        assert workflow.updated_at == "2026-11-21T09:00:00.000Z"
        assert workflow.live is workflow.draft

    def test_an_active_workflow_lives_as_published_under_todays_name_and_settings(self) -> None:
        workflow = read_listed(listed(active=True, activeVersionId="v-0", activeVersion=self.published))
        assert workflow.published_version_id == "v-0"
        assert workflow.draft["nodes"] == [node()]
        assert workflow.live == {**workflow.draft, "nodes": [node(parameters={"old": True})]}

    def test_a_draft_that_is_published_is_live_itself(self) -> None:
        same = {"versionId": "v-1", "nodes": [node()], "connections": {}}
        workflow = read_listed(listed(active=True, activeVersionId="v-1", activeVersion=same))
        assert workflow.live is workflow.draft

    @pytest.mark.parametrize("keys", [{}, {"activeVersion": None}, {"activeVersion": None, "activeVersionId": "v-1"}])
    def test_an_active_workflow_without_a_published_version_lives_as_its_draft(self, keys: JsonObject) -> None:
        workflow = read_listed(listed(active=True, **keys))
        assert workflow.active
        assert workflow.live is workflow.draft

    def test_what_was_published_once_is_not_live_when_inactive(self) -> None:
        workflow = read_listed(listed(active=False, activeVersion=self.published, activeVersionId="v-0"))
        assert workflow.live is workflow.draft
        assert workflow.published_version_id is None

    def test_the_id_of_the_published_version_may_stand_in_the_version_alone(self) -> None:
        assert read_listed(listed(active=True, activeVersion=self.published)).published_version_id == "v-0"

    def test_groups_have_versions_too(self) -> None:
        groups = [{"id": "g", "name": "Group", "nodeIds": ["1"]}]
        drafted = read_listed(listed(active=True, nodeGroups=groups, activeVersion={**self.published, "nodeGroups": []}))
        assert "nodeGroups" in drafted.draft
        assert "nodeGroups" not in drafted.live
        version = {**self.published, "nodeGroups": groups}
        assert read_listed(listed(active=True, activeVersion=version)).live["nodeGroups"] == groups

    @pytest.mark.parametrize("version, problem", [
        ("v-0", "activeVersion is no object"), ({}, "activeVersion.nodes is no list"),
        ({"nodes": [5], "connections": {}}, r"activeVersion.nodes\[0\] is no object"),
        ({"nodes": [], "connections": None}, "activeVersion.connections is no object"),
        ({"nodes": [node(parameters=parse_json("[" * 3000 + "]" * 3000))], "connections": {}}, "nested deeper"),
    ])
    def test_a_broken_published_version_is_never_taken_for_the_draft(self, version: Any, problem: str) -> None:
        with pytest.raises(MalformedWorkflow, match=f"workflow wf1: {problem}"):
            read_listed(listed(active=True, activeVersion=version))

    @pytest.mark.parametrize("tags, names", [
        ([{"id": "2", "name": "b"}, {"id": "1", "name": "a"}], ("a", "b")), (None, ()), ([], ()), (..., ()),
        (["b", "a", "b"], ("a", "b")), ([{"id": "1"}, {"name": None}], ()),
    ])
    def test_tags_are_names_in_order(self, tags: Any, names: tuple[str, ...]) -> None:
        assert read_listed(listed(tags=tags)).tags == names

    @pytest.mark.parametrize("keys", [{"id": ...}, {"id": None}, {"id": ""}, {"id": {}}, {"id": True}])
    def test_a_workflow_without_an_id_is_named_by_its_name(self, keys: JsonObject) -> None:
        with pytest.raises(MalformedWorkflow, match=r"no id.*Orders"):
            read_listed(listed(**keys))

    def test_a_number_is_an_id_too(self) -> None:
        assert read_listed(listed(id=12)).id == "12"

    def test_an_archived_workflow_says_so(self) -> None:
        assert read_listed(listed(isArchived=True)).archived
        assert not read_listed(listed(isArchived=...)).archived
