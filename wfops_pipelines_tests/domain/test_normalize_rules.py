"""The rules of normalisation one by one (§4.1, §4.2, §4.4, §4.5), each with what is the same and what is not."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import pytest

from wfops_pipelines.domain.canonical_json import parse_json
from wfops_pipelines.domain.normalize import NORMALIZER_VERSION, canonical_bytes, content_hash, normalize
from wfops_pipelines.domain.workflow import read_content

JsonObject = dict[str, Any]
ABSENT = object()


def node(name: str = "Fetch", **keys: Any) -> JsonObject:
    whole = {"id": "1", "name": name, "type": "n8n-nodes-base.httpRequest", "typeVersion": 4, "position": [0, 0],
             "parameters": {"url": "https://example.com"}, **keys}
    return {key: value for key, value in whole.items() if value is not ABSENT}


def workflow(*nodes: JsonObject, settings: JsonObject | None = None, connections: JsonObject | None = None,
             name: str = "Orders") -> JsonObject:
    return {"name": name, "nodes": list(nodes), "connections": connections or {}, "settings": settings or {}}


def hash_of(*nodes: JsonObject, **rest: Any) -> str:
    return content_hash(workflow(*nodes, **rest))


def test_the_version_of_the_normaliser_and_its_hash_change_together() -> None:
    """When this fails, the form changed: raise ``NORMALIZER_VERSION``, and record the new hash here (§4.6)."""
    content = workflow(
        node("A", credentials={"httpBasicAuth": {"id": "7", "name": "shop"}}, webhookId="w", disabled=False),
        node("B", position=[0, 100], parameters={"n": 1.0, "sheet": {
            "__rl": True, "mode": "list", "value": "x", "cachedResultName": "Sheet"}}),
        node("C", position=[0, 50]),
        {"id": "n", "name": "Note", "type": "n8n-nodes-base.stickyNote", "position": [0, 0], "parameters": {}},
        connections={"A": {"main": [[{"node": "B", "type": "main", "index": 0}],
                                    [{"node": "C", "type": "main", "index": 0}], None]}},
        settings={"executionOrder": "v1", "callerPolicy": "workflowsFromSameOwner", "binaryMode": "separate"})
    assert canonical_bytes(content) == (
        b'{"connections":{"A":{"main":[[{"index":0,"node":"B","order":1,"type":"main"}],'
        b'[{"index":0,"node":"C","order":0,"type":"main"}]]}},"name":"Orders","nodes":['
        b'{"credentials":{"httpBasicAuth":"shop"},"name":"A","parameters":{"url":"https://example.com"},'
        b'"type":"n8n-nodes-base.httpRequest","typeVersion":4},'
        b'{"name":"B","parameters":{"n":1,"sheet":{"__rl":true,"mode":"list","value":"x"}},'
        b'"type":"n8n-nodes-base.httpRequest","typeVersion":4},'
        b'{"name":"C","parameters":{"url":"https://example.com"},'
        b'"type":"n8n-nodes-base.httpRequest","typeVersion":4}],"settings":{"executionOrder":"v1"}}')
    assert (NORMALIZER_VERSION, content_hash(content)) == (
        1, "fc2fccfa07ca14416b8de8046dca6910fd065cf3e79cdaea15a0fdae8cf296f0")


class TestNodes:
    @pytest.mark.parametrize("key, value", [
        ("id", "another"), ("id", ABSENT), ("position", [700, 20]), ("position", None), ("position", ABSENT),
        ("webhookId", "3d5f"), ("notesInFlow", True), ("color", "#ff0000"), ("color", 4),
        ("disabled", False), ("disabled", None), ("notes", ""), ("notes", None), ("executeOnce", False),
        ("alwaysOutputData", False), ("retryOnFail", False), ("continueOnFail", False), ("maxTries", 3),
        ("waitBetweenTries", 1000), ("credentials", {}), ("credentials", None), ("credentials", {"slackApi": None}),
        ("onError", None), ("keyOf2030", None),
    ])
    def test_what_the_canvas_or_n8n_adds_is_not_compared(self, key: str, value: Any) -> None:
        assert hash_of(node(**{key: value})) == hash_of(node())

    @pytest.mark.parametrize("key, value", [
        ("name", "Get"), ("type", "n8n-nodes-base.set"), ("typeVersion", 4.1), ("typeVersion", ABSENT),
        ("disabled", True), ("notes", "why"), ("executeOnce", True), ("alwaysOutputData", True), ("retryOnFail", True),
        ("continueOnFail", True), ("maxTries", 5), ("waitBetweenTries", 0), ("onError", "continueErrorOutput"),
        ("onError", "stopWorkflow"),  # an AI tool without it continues
        ("parameters", {}), ("parameters", None), ("parameters", {"url": "https://example.com", "method": "POST"}),
        ("extendsCredential", "x"), ("rewireOutputLogTo", "ai_tool"), ("keyOf2030", False), ("keyOf2030", {"a": 1}),
    ])
    def test_everything_else_is_compared_even_keys_nobody_knows_yet(self, key: str, value: Any) -> None:
        assert hash_of(node(**{key: value})) != hash_of(node())

    @pytest.mark.parametrize("parameters", [{}, None, ABSENT])
    def test_no_parameters_are_empty_parameters(self, parameters: Any) -> None:
        assert hash_of(node(parameters=parameters)) == hash_of(node(parameters={}))

    def test_inside_parameters_null_and_false_and_empty_are_values(self) -> None:
        values: list[Any] = [None, False, "", [], {}, 0, "0", True, 1]
        hashes = {hash_of(node(parameters={"a": value})) for value in values}
        assert len(hashes | {hash_of(node(parameters={}))}) == 10

    def test_ids_positions_and_notes_inside_parameters_are_values(self) -> None:
        for key in ("id", "position", "webhookId", "color", "notesInFlow", "credentials"):
            assert hash_of(node(parameters={key: "a"})) != hash_of(node(parameters={key: "b"}))

    def test_the_order_of_lists_in_parameters_matters(self) -> None:
        assert hash_of(node(parameters={"a": [1, 2]})) != hash_of(node(parameters={"a": [2, 1]}))

    def test_every_node_that_shares_a_name_counts(self) -> None:
        one, two = node(parameters={"a": 1}), node(parameters={"a": 2})
        assert hash_of(one, two) == hash_of(two, one)
        assert len({hash_of(one), hash_of(two), hash_of(one, two), hash_of(one, one), hash_of(two, two)}) == 5
        assert len(normalize(workflow(one, two))["nodes"]) == 2

    def test_no_workflow_is_empty_by_accident(self) -> None:
        assert hash_of() != hash_of(node())
        assert normalize(workflow()) == {"name": "Orders", "nodes": [], "connections": {}, "settings": {}}


class TestCredentials:
    def test_a_reference_is_type_and_name(self) -> None:
        def with_reference(reference: Any, kind: str = "slackApi") -> str:
            return hash_of(node(credentials={kind: reference}))

        references: list[Any] = ["shop", {"id": None, "name": "shop"}, {"id": "1", "name": "shop"}, {"name": "shop"}]
        same = {with_reference(reference) for reference in references}
        assert len(same) == 1
        assert with_reference("other") not in same
        assert with_reference("shop", "slackOAuth2Api") not in same
        assert hash_of(node()) not in same

    def test_a_reference_without_a_name_is_still_one(self) -> None:
        assert hash_of(node(credentials={"slackApi": {"id": "1"}})) == hash_of(node(credentials={"slackApi": {}}))
        assert hash_of(node(credentials={"slackApi": {"id": "1"}})) != hash_of(node())

    def test_names_are_compared_as_they_are(self) -> None:
        composed, decomposed = "caf\u00e9", "cafe\u0301"
        assert (hash_of(node(credentials={"slackApi": composed}))
                != hash_of(node(credentials={"slackApi": decomposed})))


class TestStickyNotes:
    note: ClassVar[JsonObject] = {"id": "9", "name": "Sticky Note", "type": "n8n-nodes-base.stickyNote", "typeVersion": 1,
            "position": [0, 0], "parameters": {"content": "## Read me", "color": 4}}

    def test_a_note_is_no_node(self) -> None:
        changed = {**self.note, "parameters": {"content": "changed"}, "position": [5, 5]}
        assert hash_of(node(), self.note) == hash_of(node(), changed) == hash_of(node())

    def test_connections_from_and_to_a_note_are_none(self) -> None:
        def to(name: str) -> JsonObject:
            return {"main": [[{"node": name, "type": "main", "index": 0}]]}

        connected = workflow(node(), node("B"), self.note, connections={
            "Fetch": {"main": [[{"node": "B", "type": "main", "index": 0},
                                {"node": "Sticky Note", "type": "main", "index": 0}]]},
            "B": to("Sticky Note"), "Sticky Note": to("B")})
        assert content_hash(connected) == hash_of(node(), node("B"), connections={"Fetch": to("B")})

    def test_a_node_that_shares_its_name_with_a_note_keeps_its_connections(self) -> None:
        connections = {"Sticky Note": {"main": [[{"node": "Fetch", "type": "main", "index": 0}]]}}
        real = node("Sticky Note")
        assert (hash_of(real, node(), self.note, connections=connections)
                == hash_of(real, node(), connections=connections) != hash_of(real, node()))


class TestPickers:
    picked: ClassVar[JsonObject] = {"__rl": True, "mode": "list", "value": "42"}

    @pytest.mark.parametrize("wrap", [
        lambda picked: {"sheet": picked},
        lambda picked: {"options": {"deep": [[{"sheet": picked}], picked]}},
        lambda picked: {"sheet": picked, "other": {"inner": picked}},
    ])
    def test_the_caches_of_pickers_are_not_compared_at_any_depth(self, wrap: Any) -> None:
        cached = {**self.picked, "cachedResultName": "Orders", "cachedResultUrl": "https://example.com/42"}
        before = copy.deepcopy(cached)
        assert hash_of(node(parameters=wrap(cached))) == hash_of(node(parameters=wrap(self.picked)))
        assert cached == before
        assert (hash_of(node(parameters=wrap(cached)))
                != hash_of(node(parameters=wrap({**cached, "value": "43"}))))

    def test_a_picker_of_old_versions_has_no_marker(self) -> None:
        old = {"mode": "list", "value": "42"}
        assert (hash_of(node(parameters={"a": {**old, "cachedResultName": "Orders"}}))
                == hash_of(node(parameters={"a": old})))

    def test_the_same_words_outside_a_picker_are_data(self) -> None:
        values: list[Any] = [{"cachedResultName": "Orders"}, '{"cachedResultName": "Orders"}']
        for value in values:
            changed: Any = {"cachedResultName": "x"} if isinstance(value, dict) else value.replace("Orders", "x")
            assert hash_of(node(parameters={"a": value})) != hash_of(node(parameters={"a": changed}))


class TestSettings:
    @pytest.mark.parametrize("key, value", [
        ("callerPolicy", "workflowsFromSameOwner"), ("availableInMCP", False),
        ("binaryMode", "separate"), ("binaryMode", "combined"), ("credentialResolverId", "abc"),
        ("timezone", "DEFAULT"), ("timezone", None), ("timezone", ""),
        ("errorWorkflow", "DEFAULT"), ("errorWorkflow", ""), ("errorWorkflow", None),
        ("executionTimeout", -1), ("executionTimeout", -1.0), ("executionTimeout", 0),
        ("saveDataErrorExecution", "DEFAULT"), ("saveDataSuccessExecution", "DEFAULT"),
        ("saveManualExecutions", "DEFAULT"), ("saveExecutionProgress", "DEFAULT"), ("saveManualExecutions", None),
        ("executionOrder", "v0"), ("timeSavedMode", "fixed"), ("redactionPolicy", "none"), ("callerIds", ""),
        ("customTelemetryTags", []), ("settingOf2030", None),
    ])
    def test_absent_is_default(self, key: str, value: Any) -> None:
        assert hash_of(node(), settings={key: value}) == hash_of(node())

    @pytest.mark.parametrize("key, value", [
        ("callerPolicy", "any"), ("callerPolicy", "none"), ("callerPolicy", "workflowsFromAList"),
        ("availableInMCP", True), ("timezone", "Europe/Paris"), ("errorWorkflow", "abc"), ("executionTimeout", 120),
        ("saveDataErrorExecution", "none"), ("saveDataErrorExecution", "all"), ("saveDataSuccessExecution", "none"),
        ("saveManualExecutions", True), ("saveManualExecutions", False), ("saveExecutionProgress", True),
        ("executionOrder", "v1"), ("timeSavedPerExecution", 5), ("timeSavedMode", "dynamic"),
        ("redactionPolicy", "all"), ("callerIds", "abc"), ("settingOf2030", False),
    ])
    def test_any_other_value_counts(self, key: str, value: Any) -> None:
        assert hash_of(node(), settings={key: value}) != hash_of(node())

    def test_callers_are_a_set(self) -> None:
        assert (hash_of(settings={"callerPolicy": "workflowsFromAList", "callerIds": " b, a,,b "})
                == hash_of(settings={"callerPolicy": "workflowsFromAList", "callerIds": "a,b"}))

    def test_a_file_without_settings_is_one_with_none(self) -> None:
        bare = {"name": "Orders", "nodes": [], "connections": {}}
        assert content_hash(read_content(bare)) == content_hash(read_content({**bare, "settings": None})) == hash_of()


class TestValues:
    @pytest.mark.parametrize("one, two", [
        ("1", "1.0"), ("1", "1e0"), ("1", "10E-1"), ("0", "-0"), ("0", "-0.0"), ("0.1", "1e-1"), ("0", "1e-400"),
        ("9007199254740993", "9007199254740992"), ("9007199254740992", "9007199254740992.0"),
        ("12345678901234567890", "12345678901234567000"), ("1e21", "1000000000000000000000"),
        ("123456789012345678901234567890", "1.2345678901234568e+29"), ("1e400", "null"), ("-1e400", "null"),
        ("100000000000000000", "1e17"), ("9" * 400, "null"), ('"\\u00e9"', '"\u00e9"'), ('"\\ud83d\\ude00"', '"😀"'),
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}'), ('{"a": 1, "a": 2}', '{"a": 2}'), ('"\\/"', '"/"'),
        ('["\\ud800", 1.0, 9007199254740993]', '["\\ud800", 1, 9007199254740992]'),
    ])
    def test_two_spellings_of_one_value(self, one: str, two: str) -> None:
        assert self.hash_with(one) == self.hash_with(two)

    @pytest.mark.parametrize("one, two", [
        ("1", "true"), ("0", "false"), ("1", '"1"'), ("0", "null"), ("0.1", "0.10000000000000002"),
        ("9007199254740992", "9007199254740994"), ('"\\u00e9"', '"e\\u0301"'), ('{"\\u00e9": 1}', '{"e\\u0301": 1}'),
        ('"a"', '"a\\u0000"'), ('"\\ud800"', '"\\udc00"'), ('"\\ud800"', '"?"'), ('"\\ud800"', '"\\\\ud800"'),
        ('{"\\ud800": 1}', '{"\\ud801": 1}'), ('"\\u2028"', '" "'), ('"A"', '"a"'), ('" a"', '"a"'), ("[]", "{}"),
        ("1e-7", "1e-8"), ('"1.0"', '"1"'),
    ])
    def test_two_values(self, one: str, two: str) -> None:
        assert self.hash_with(one) != self.hash_with(two)

    @staticmethod
    def hash_with(literal: str) -> str:
        return hash_of(node(parameters={"value": parse_json(literal)}))

    def test_names_of_nodes_and_workflows_take_any_text(self) -> None:
        names = ["", "😀", "שלום", "a\u0000b", "\ud800", "caf\u00e9", "cafe\u0301", "A", "a", " a"]
        assert len({hash_of(node(name)) for name in names}) == len(names)
        assert len({hash_of(name=name) for name in names}) == len(names)

    @pytest.mark.parametrize("depth", [10, 250, 300, 380])
    def test_deep_nesting_is_compared_to_the_bottom(self, depth: int) -> None:
        one, two = ("[" * depth + bottom + "]" * depth for bottom in ("1", "2"))
        assert self.hash_with(one) != self.hash_with(two)
        assert self.hash_with(one) == self.hash_with(one.replace("1", "1.0"))
