"""The laws of the content hash (§4): what never changes it, and that everything else does."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from wfops_pipelines.domain.canonical_json import encode
from wfops_pipelines.domain.normalize import canonical_bytes, clean, content_hash, normalize, shape
from wfops_pipelines.domain.references import portable_hash, references
from wfops_pipelines.domain.workflow import decode_content, encode_content, read_content
from wfops_pipelines_tests.domain.workflow_strategies import (
    JsonObject,
    as_n8n_1_keeps_it,
    as_n8n_2_keeps_it,
    brief_law,
    contents,
    hostile_contents,
    law,
    shuffled_keys,
    translated,
    with_numbers,
)

seeds = st.integers(0, 2**32).map(Random)


@law
@given(contents(), seeds)
def test_the_order_of_keys_never_matters(content: JsonObject, random: Random) -> None:
    assert content_hash(shuffled_keys(content, random)) == content_hash(content)


@law
@given(contents(min_nodes=2), seeds)
def test_the_order_of_nodes_in_the_array_never_matters(content: JsonObject, random: Random) -> None:
    reordered = {**content, "nodes": random.sample(content["nodes"], len(content["nodes"]))}
    assert content_hash(reordered) == content_hash(content)


@law
@given(contents(min_nodes=3), seeds)
def test_the_order_of_nodes_that_share_a_name_never_matters(content: JsonObject, random: Random) -> None:
    content["nodes"][1]["name"] = content["nodes"][0]["name"]
    reordered = {**content, "nodes": random.sample(content["nodes"], len(content["nodes"]))}
    assert content_hash(reordered) == content_hash(content)
    assert content_hash({**content, "nodes": content["nodes"][1:]}) != content_hash(content)


@law
@given(contents(min_nodes=1), seeds)
def test_ids_of_nodes_and_webhooks_never_matter(content: JsonObject, random: Random) -> None:
    before = content_hash(content)
    for node in content["nodes"]:
        node["id"] = str(random.random())
        node["webhookId"] = str(random.random())
    assert content_hash(content) == before


@law
@given(contents(min_nodes=1), st.integers(-10_000, 10_000), st.integers(-10_000, 10_000))
def test_moving_the_whole_canvas_never_matters(content: JsonObject, right: int, down: int) -> None:
    assert content_hash(translated(content, right, down)) == content_hash(content)


@law
@given(contents(), seeds)
def test_what_n8n_1_and_2_add_by_themselves_never_matters(content: JsonObject, random: Random) -> None:
    assert content_hash(as_n8n_1_keeps_it(content, random)) == content_hash(content)
    assert content_hash(as_n8n_2_keeps_it(content, random)) == content_hash(content)


@law
@given(contents(min_nodes=1))
def test_a_credential_given_as_text_is_the_same_reference_as_an_object(content: JsonObject) -> None:
    as_text = copy.deepcopy(content)
    without_id = copy.deepcopy(content)
    for one, two in zip(as_text["nodes"], without_id["nodes"], strict=True):
        for kind, reference in one.get("credentials", {}).items():
            one["credentials"][kind] = reference["name"]
            two["credentials"][kind] = {"id": None, "name": reference["name"]}
    assert content_hash(as_text) == content_hash(without_id) == content_hash(content)


@law
@given(contents(min_nodes=1))
@example({"name": "", "connections": {}, "settings": {},
          "nodes": [{"name": "a", "parameters": {"a": 2**53 + 1, "b": -(2**64), "c": -0.0, "\ud800": 10**30}}]})
def test_a_number_is_the_double_it_stands_for_however_it_is_written(content: JsonObject) -> None:
    as_floats = with_numbers(content, float)
    as_ints = with_numbers(content, lambda value: int(value) if float(value).is_integer() else value)
    assert content_hash(as_floats) == content_hash(as_ints) == content_hash(content)


@law
@given(contents())
def test_reading_what_was_written_gives_the_same_content_and_hash(content: JsonObject) -> None:
    again = decode_content(encode_content(content))
    assert again == content
    assert content_hash(again) == content_hash(content)
    assert encode_content(again) == encode_content(content)


@law
@given(contents())
def test_normalising_twice_is_normalising_once(content: JsonObject) -> None:
    once = normalize(content)
    assert normalize(once) == once
    assert canonical_bytes(once) == canonical_bytes(content)


@law
@given(contents())
def test_every_way_to_the_canonical_bytes_gives_the_same_ones(content: JsonObject) -> None:
    assert canonical_bytes(content) == encode(clean(shape(content))) == encode(normalize(content))


@law
@given(contents(), contents())
def test_hashes_are_equal_exactly_where_normalised_forms_are(one: JsonObject, two: JsonObject) -> None:
    assert (normalize(one) == normalize(two)) == (content_hash(one) == content_hash(two))


@law
@given(contents())
def test_normalising_leaves_the_content_as_it_was(content: JsonObject) -> None:
    before = copy.deepcopy(content)
    content_hash(content)
    normalize(content)["nodes"].clear()
    assert content == before


@law
@given(contents(), st.dictionaries(
    st.sampled_from(["id", "createdAt", "updatedAt", "versionId", "versionCounter", "active", "activeVersion",
                     "activeVersionId", "isArchived", "tags", "triggerCount", "staticData", "meta", "pinData",
                     "shared", "parentFolderId", "hash", "description", "wfops", "addedIn2030"]),
    st.integers() | st.text(max_size=3) | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)))
def test_everything_else_at_the_top_level_never_matters(content: JsonObject, rest: JsonObject) -> None:
    assert content_hash(read_content({**content, **rest})) == content_hash(content)


@law
@given(hostile_contents(), seeds)
def test_whatever_can_be_read_is_hashed_by_the_same_laws(content: JsonObject, random: Random) -> None:
    expected = content_hash(read_content(content))
    assert encode(normalize(content)) == canonical_bytes(content)
    reordered = {**content, "nodes": random.sample(content["nodes"], len(content["nodes"]))}
    assert content_hash(shuffled_keys(reordered, random)) == expected
    assert content_hash(decode_content(encode_content(content))) == expected
    assert content_hash(with_numbers(content, float)) == expected
    found = references(content)
    portable_hash(content, self_id="A", canonical_id_of=dict.fromkeys(found.workflow_ids, "C"),
                  credential_key_of=dict.fromkeys(found.credentials, "K"))


def _rename(content: JsonObject, random: Random) -> None:
    random.choice(content["nodes"])["name"] += "!"


def _retype(content: JsonObject, random: Random) -> None:
    random.choice(content["nodes"])["type"] += "Trigger"


def _change_version(content: JsonObject, random: Random) -> None:
    random.choice(content["nodes"])["typeVersion"] += 0.5


def _disable(content: JsonObject, random: Random) -> None:
    node = random.choice(content["nodes"])
    node["disabled"] = not node.get("disabled", False)


def _add_parameter(content: JsonObject, random: Random) -> None:
    random.choice(content["nodes"])["parameters"]["a new one, longer than any"] = None


def _change_parameter(content: JsonObject, random: Random) -> None:
    parameters = random.choice(content["nodes"])["parameters"]
    assume(parameters)
    key = random.choice(list(parameters))
    parameters[key] = [parameters[key]]


def _rename_credential(content: JsonObject, random: Random) -> None:
    node = random.choice(content["nodes"])
    assume(node.get("credentials"))
    node["credentials"][random.choice(list(node["credentials"]))]["name"] += "!"


def _retype_credential(content: JsonObject, random: Random) -> None:
    node = random.choice(content["nodes"])
    assume(node.get("credentials"))
    node["credentials"]["otherApi"] = node["credentials"].popitem()[1]


def _targets(content: JsonObject) -> list[JsonObject]:
    targets = [target for by_type in content["connections"].values() for outputs in by_type.values()
               for output in outputs for target in output]
    assume(targets)
    return targets


def _retarget(content: JsonObject, random: Random) -> None:
    random.choice(_targets(content))["node"] += "!"


def _change_input(content: JsonObject, random: Random) -> None:
    random.choice(_targets(content))["index"] += 1000


def _change_connection_type(content: JsonObject, random: Random) -> None:
    random.choice(_targets(content))["type"] = "ai_memory"


def _move_to_another_output(content: JsonObject, random: Random) -> None:
    _targets(content)
    random.choice([outputs for by_type in content["connections"].values() for outputs in by_type.values()
                   if any(outputs)]).insert(0, [])


def _disconnect(content: JsonObject, random: Random) -> None:
    _targets(content)
    random.choice([output for by_type in content["connections"].values() for outputs in by_type.values()
                   for output in outputs if output]).pop()


def _set_timezone(content: JsonObject, random: Random) -> None:
    content["settings"]["timezone"] = random.choice(["Asia/Tokyo", "UTC"])


def _change_order_of_execution(content: JsonObject, random: Random) -> None:
    content["settings"]["executionOrder"] = "v0" if content["settings"].get("executionOrder") == "v1" else "v1"


def _rename_workflow(content: JsonObject, random: Random) -> None:
    content["name"] += "!"


def _add_a_node(content: JsonObject, random: Random) -> None:
    content["nodes"].append({"name": "a new one, longer than any", "type": "n8n-nodes-base.noOp", "parameters": {}})


def _remove_a_node(content: JsonObject, random: Random) -> None:
    content["nodes"].remove(random.choice(content["nodes"]))


def _add_an_unknown_key(content: JsonObject, random: Random) -> None:
    random.choice(content["nodes"])["keyOf2030"] = 1


MUTATIONS = [_rename, _retype, _change_version, _disable, _add_parameter, _change_parameter, _rename_credential,
             _retype_credential, _retarget, _change_input, _change_connection_type, _move_to_another_output,
             _disconnect, _set_timezone, _change_order_of_execution, _rename_workflow, _add_a_node, _remove_a_node,
             _add_an_unknown_key]


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__.strip("_"))
@brief_law
@given(content=contents(min_nodes=2), random=seeds)
def test_every_semantic_change_changes_the_hash(mutate: Any, content: JsonObject, random: Random) -> None:
    changed = copy.deepcopy(content)
    mutate(changed, random)
    assume(json.dumps(changed, sort_keys=True) != json.dumps(content, sort_keys=True))
    assert content_hash(changed) != content_hash(content)
