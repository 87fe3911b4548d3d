"""What goes into a body: the keys of each generation and nothing else (facts §6)."""

from __future__ import annotations

from typing import Any

import pytest

from wfops_pipelines.n8n.whitelist import create_body, credential_body, update_body

WORKFLOW: dict[str, Any] = {
    "id": "x", "name": "n", "active": True, "tags": [], "versionId": "v", "isArchived": False, "meta": {}, "shared": [],
    "createdAt": "t", "wfops": {}, "parentFolderId": "elsewhere", "projectId": "elsewhere",
    "nodes": [{"name": "a", "type": "t", "typeVersion": 1, "position": [1, 2], "parameters": {}, "color": "#fff", "notes": None}],
    "connections": {}, "settings": {"timezone": None, "executionOrder": "v1", "maxExecutions": 3, "timeSavedMode": "fixed"},
    "staticData": None, "pinData": {"a": []}, "description": "text", "nodeGroups": [],
}


def test_a_create_for_1x_has_five_keys() -> None:
    assert set(create_body(WORKFLOW, 1)) == {"name", "nodes", "connections", "settings", "staticData"}


def test_a_create_for_2x_has_no_description_and_an_update_has() -> None:
    common = {"name", "nodes", "connections", "settings", "staticData", "pinData", "nodeGroups"}
    assert set(create_body(WORKFLOW, 2)) == common
    assert set(update_body(WORKFLOW, 2)) == common | {"description"}


@pytest.mark.parametrize("generation", [1, 2])
def test_unknown_and_null_keys_of_nodes_and_settings_are_left_out(generation: int) -> None:
    body = create_body(WORKFLOW, generation)
    assert body["nodes"] == [{"name": "a", "type": "t", "typeVersion": 1, "position": [1, 2], "parameters": {}}]
    assert body["settings"] == {"executionOrder": "v1", **({"timeSavedMode": "fixed"} if generation == 2 else {})}


def test_null_clears_static_and_pinned_data_and_is_left_out_elsewhere() -> None:
    body = update_body({**WORKFLOW, "pinData": None, "description": None, "nodeGroups": None, "settings": None}, 2)
    assert (body["staticData"], body["pinData"]) == (None, None)
    assert "description" not in body
    assert "nodeGroups" not in body
    assert body["settings"] == {}


def test_what_is_not_there_is_not_sent() -> None:
    assert set(update_body({"name": "n", "nodes": [], "connections": {}}, 2)) == {"name", "nodes", "connections", "settings"}


def test_a_node_without_a_position_gets_one() -> None:
    assert create_body({"nodes": [{"name": "a", "position": None}, {"name": "b"}]}, 2)["nodes"] == [
        {"name": "a", "position": [0, 0]}, {"name": "b", "position": [0, 0]}]


def test_the_workflow_given_is_not_changed() -> None:
    before = repr(WORKFLOW)
    create_body(WORKFLOW, 1)
    assert repr(WORKFLOW) == before


def test_nodes_that_are_none_are_left_for_n8n_to_refuse() -> None:
    assert create_body({"nodes": "x", "settings": "y"}, 1)["nodes"] == "x"
    assert create_body({"nodes": ["x"]}, 1)["nodes"] == ["x"]


def test_only_2x_is_sent_the_id_of_a_credential() -> None:
    credential = {"id": "i", "name": "n", "type": "t", "data": {}, "shared": []}
    assert set(credential_body(credential, 1)) == {"name", "type", "data"}
    assert set(credential_body(credential, 2)) == {"id", "name", "type", "data"}


def test_a_credential_by_name_alone_is_sent_with_no_id_so_that_n8n_looks_for_the_name() -> None:
    node = {"name": "a", "position": [1, 1], "credentials": {"x": {"name": "mine"}, "y": {"id": "7", "name": "other"}, "z": "old"}}
    (sent,) = update_body({"nodes": [node]}, 2)["nodes"]
    assert sent["credentials"] == {"x": {"id": None, "name": "mine"}, "y": {"id": "7", "name": "other"}, "z": "old"}
