"""Random workflows in n8n's own shapes, and the changes that laws about hashes are stated over."""

from __future__ import annotations

import copy
from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

JsonObject = dict[str, Any]

# The first text drawn loads Hypothesis's table of characters: a second that says nothing about the test.
law = hypothesis_settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
brief_law = hypothesis_settings(law, max_examples=20)

NODE_TYPES = ("n8n-nodes-base.set", "n8n-nodes-base.if", "n8n-nodes-base.httpRequest", "n8n-nodes-base.merge",
              "n8n-nodes-base.webhook", "@n8n/n8n-nodes-langchain.agent", "n8n-nodes-unknown.thing")

any_text = st.text(st.characters(exclude_categories=[]), max_size=8)  # with NUL and lone surrogates
plain_text = st.text(max_size=8)
numbers = (st.integers(-(2**60), 2**60)
           | st.floats(allow_nan=False, allow_infinity=False)
           | st.sampled_from([0, 1, 1.0, -0.0, 2**53, 2**53 + 1, 1e21, 1e-7, 0.1]))
json_values = st.recursive(
    st.none() | st.booleans() | numbers | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=6,
)
coordinates = st.integers(-600, 600).map(lambda step: step * 20)


@st.composite
def nodes(draw: Any, name: str) -> JsonObject:
    node: JsonObject = {
        "id": draw(st.uuids()).hex,
        "name": name,
        "type": draw(st.sampled_from(NODE_TYPES)),
        "typeVersion": draw(st.sampled_from([1, 2, 1.1, 3.4])),
        "position": [draw(coordinates), draw(coordinates)],
        "parameters": draw(st.dictionaries(plain_text, json_values, max_size=4)),
    }
    if draw(st.booleans()):
        kinds = draw(st.sets(st.sampled_from(["httpBasicAuth", "slackApi"]), min_size=1))
        node["credentials"] = {kind: {"id": draw(plain_text), "name": draw(any_text)} for kind in sorted(kinds)}
    for flag in draw(st.sets(st.sampled_from(["disabled", "executeOnce", "retryOnFail"]))):
        node[flag] = draw(st.booleans())
    if draw(st.booleans()):
        node["notes"] = draw(any_text)
    return node


@st.composite
def contents(draw: Any, min_nodes: int = 0) -> JsonObject:
    """Content as ``read_content`` gives it: valid for n8n, connected at random."""
    names = draw(st.lists(any_text.filter(bool), min_size=min_nodes, max_size=5, unique=True))
    connections: JsonObject = {}
    for source in names:
        outputs = draw(st.lists(st.lists(st.sampled_from(names), max_size=3, unique=True), max_size=3))
        if outputs:
            kind = draw(st.sampled_from(["main", "main", "main", "ai_tool"]))
            connections[source] = {kind: [
                [{"node": target, "type": kind, "index": draw(st.integers(0, 2))} for target in output]
                for output in outputs]}
    settings = draw(st.fixed_dictionaries({}, optional={
        "executionOrder": st.sampled_from(["v0", "v1"]),
        "timezone": st.sampled_from(["Europe/Paris", "DEFAULT"]),
        "saveManualExecutions": st.booleans(),
        "callerPolicy": st.sampled_from(["workflowsFromSameOwner", "any", "none"]),
        "executionTimeout": st.sampled_from([-1, 120]),
        "errorWorkflow": st.sampled_from(["", "abc"]),
    }))
    return {"name": draw(any_text), "nodes": [draw(nodes(name)) for name in names],
            "connections": connections, "settings": settings}


@st.composite
def hostile_contents(draw: Any) -> JsonObject:
    """Whatever ``read_content`` lets pass: any JSON where n8n 1.x checks nothing, names given twice, notes, locators."""
    anything = json_values | st.sampled_from([
        {"__rl": True, "mode": "url", "value": "https://[", "cachedResultName": 5}, {"mode": 1, "value": []}, [[]], {}])
    name = st.sampled_from(["A", "B", "", "\ud800"])
    some_type = st.sampled_from([*NODE_TYPES, "n8n-nodes-base.stickyNote", "n8n-nodes-base.executeWorkflow"])
    node = st.fixed_dictionaries({"name": name}, optional={
        "type": some_type | anything, "parameters": st.dictionaries(
            st.sampled_from(["workflowId", "source", "a"]), anything, max_size=3) | anything,
        **dict.fromkeys(("id", "position", "disabled", "notes", "maxTries", "typeVersion", "webhookId"), anything),
        "credentials": st.dictionaries(any_text, anything, max_size=2) | anything})
    target = st.fixed_dictionaries({}, optional={
        "node": name | anything, "type": anything, "index": anything, "order": anything}) | anything
    outputs = st.lists(st.lists(target, max_size=3) | anything, max_size=3) | anything
    connections = st.dictionaries(
        name, st.dictionaries(st.sampled_from(["main", "ai_tool"]), outputs, max_size=2) | anything, max_size=3)
    keys = ("executionOrder", "callerIds", "errorWorkflow", "executionTimeout", "timezone", "callerPolicy",
            "saveManualExecutions", "availableInMCP", "customTelemetryTags", "settingOf2030")
    return {
        "name": draw(any_text), "nodes": draw(st.lists(node, max_size=4)), "connections": draw(connections),
        "settings": draw(st.dictionaries(
            st.sampled_from(keys), anything | st.sampled_from(["v1", "DEFAULT", "a,b"]), max_size=4)),
    }


def shuffled_keys(value: Any, random: Random) -> Any:
    """The same value with the keys of every object in another order."""
    if isinstance(value, dict):
        keys = list(value)
        random.shuffle(keys)
        return {key: shuffled_keys(value[key], random) for key in keys}
    if isinstance(value, list):
        return [shuffled_keys(item, random) for item in value]
    return value


def translated(content: JsonObject, right: int, down: int) -> JsonObject:
    """The whole canvas moved."""
    moved = copy.deepcopy(content)
    for node in moved["nodes"]:
        if node.get("position"):
            node["position"] = [node["position"][0] + right, node["position"][1] + down]
    return moved


def with_numbers(value: Any, convert: Callable[[float], float]) -> Any:
    """Every number written another way; booleans are none."""
    if isinstance(value, dict):
        return {key: with_numbers(item, convert) for key, item in value.items()}
    if isinstance(value, list):
        return [with_numbers(item, convert) for item in value]
    return convert(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def as_n8n_1_keeps_it(content: JsonObject, random: Random) -> JsonObject:
    """What 1.123 lists after this content was sent to it (facts/n8n.md §5)."""
    kept = copy.deepcopy(content)
    kept["settings"].setdefault("callerPolicy", "workflowsFromSameOwner")
    kept["settings"].setdefault("availableInMCP", False)
    for node in kept["nodes"]:
        node["id"] = f"{random.getrandbits(128):032x}"
    return kept


def as_n8n_2_keeps_it(content: JsonObject, random: Random) -> JsonObject:
    """What 2.41 lists after this content was sent to it: node keys reordered, ids, webhook ids, credential objects."""
    kept = copy.deepcopy(content)
    for index, node in enumerate(kept["nodes"]):
        for kind, reference in node.get("credentials", {}).items():
            if isinstance(reference, str):
                node["credentials"][kind] = {"id": None, "name": reference}
        front = {"id": f"{random.getrandbits(128):032x}", "name": node["name"], "type": node["type"]}
        if "webhook" in node["type"]:
            front["webhookId"] = f"{random.getrandbits(128):032x}"
        kept["nodes"][index] = {**front, **{key: value for key, value in node.items() if key not in front}}
    return kept
