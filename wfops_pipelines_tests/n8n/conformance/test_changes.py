"""What moves updatedAt and versionId, and what comes back of what was sent: facts §5."""

from __future__ import annotations

import copy
import itertools
import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from wfops_pipelines_tests.n8n.conformance.target import (
    JsonObject,
    Target,
    manual,
    ok,
    scheduled,
    unique,
    wait_until,
    webhook,
    writable,
)


def _moved(n8n: Target, workflow: JsonObject, act: Callable[[], Any]) -> tuple[bool, bool]:
    """Whether an act moved (updatedAt, versionId); the clock is let tick first."""
    before = n8n.workflow(workflow["id"])
    n8n.tick()
    act()
    after = n8n.workflow(workflow["id"])
    return after["updatedAt"] != before["updatedAt"], after["versionId"] != before["versionId"]


def _put(n8n: Target, workflow: JsonObject, **changes: Any) -> None:
    ok(n8n.put(f"/workflows/{workflow['id']}", {**writable(n8n.workflow(workflow["id"])), **changes}))


def test_putting_the_same_moves_updated_at_alone(n8n: Target) -> None:
    workflow = n8n.create(manual())
    assert _moved(n8n, workflow, lambda: _put(n8n, workflow)) == (True, False)


def test_a_new_name_moves_the_version_in_1x_alone(n8n: Target) -> None:
    workflow = n8n.create(manual())
    assert _moved(n8n, workflow, lambda: _put(n8n, workflow, name=unique("renamed"))) == (True, n8n.is_v1)


def test_nodes_and_positions_move_both(n8n: Target) -> None:
    workflow = n8n.create(manual())
    nodes = copy.deepcopy(workflow["nodes"])
    nodes[0]["notes"] = "changed"
    assert _moved(n8n, workflow, lambda: _put(n8n, workflow, nodes=nodes)) == (True, True)
    moved = copy.deepcopy(nodes)
    moved[0]["position"] = [400, 400]
    assert _moved(n8n, workflow, lambda: _put(n8n, workflow, nodes=moved)) == (True, True)


def test_settings_move_the_version_in_1x_alone(n8n: Target) -> None:
    workflow = n8n.create(manual())
    settings = {"executionOrder": "v1", "timezone": "Europe/Berlin"}
    assert _moved(n8n, workflow, lambda: _put(n8n, workflow, settings=settings)) == (True, n8n.is_v1)


def test_settings_left_out_move_the_version_in_1x_alone(n8n: Target) -> None:
    workflow = n8n.create(manual(settings={"executionOrder": "v1", "timezone": "Europe/Berlin"}))
    assert _moved(n8n, workflow, lambda: _put(n8n, workflow, settings={})) == (True, n8n.is_v1)


def test_static_data_moves_the_version_in_1x_alone(n8n: Target) -> None:
    workflow = n8n.create(manual())
    assert _moved(n8n, workflow, lambda: _put(n8n, workflow, staticData={"a": 1})) == (True, n8n.is_v1)


@pytest.mark.parametrize("verb", ["activate", "deactivate"])
def test_activation_moves_neither(n8n: Target, verb: str) -> None:
    workflow = n8n.create(scheduled())
    if verb == "deactivate":
        n8n.activate(workflow)
    assert _moved(n8n, workflow, lambda: ok(n8n.post(f"/workflows/{workflow['id']}/{verb}"))) == (False, False)


def test_activation_counts_in_1x_and_not_in_2x(n8n: Target) -> None:
    workflow = n8n.create(scheduled())
    before = n8n.workflow(workflow["id"])["versionCounter"]
    n8n.activate(workflow)
    assert (n8n.workflow(workflow["id"])["versionCounter"] > before) == n8n.is_v1


def test_the_version_counter_moves_with_any_write_in_1x_and_with_content_in_2x(n8n: Target) -> None:
    workflow = n8n.create(manual())
    counters = [n8n.workflow(workflow["id"])["versionCounter"]]
    _put(n8n, workflow)
    counters.append(n8n.workflow(workflow["id"])["versionCounter"])
    nodes = copy.deepcopy(workflow["nodes"])
    nodes[0]["notes"] = "changed"
    _put(n8n, workflow, nodes=nodes)
    counters.append(n8n.workflow(workflow["id"])["versionCounter"])
    steps = [after - before for before, after in itertools.pairwise(counters)]
    assert steps == ([1, 1] if n8n.is_v1 else [0, 1])


def test_tags_move_neither(n8n: Target) -> None:
    workflow, tag = n8n.create(manual()), n8n.tag()
    tags = f"/workflows/{workflow['id']}/tags"
    assert _moved(n8n, workflow, lambda: ok(n8n.put(tags, [{"id": tag["id"]}]))) == (False, False)
    renamed = unique("renamed")[:24]
    assert _moved(n8n, workflow, lambda: ok(n8n.put(f"/tags/{tag['id']}", {"name": renamed}))) == (False, False)
    assert [t["name"] for t in n8n.workflow(workflow["id"])["tags"]] == [renamed]
    assert _moved(n8n, workflow, lambda: ok(n8n.put(tags, []))) == (False, False)


def test_a_tag_that_is_deleted_moves_neither(n8n: Target) -> None:
    workflow, tag = n8n.create(manual()), n8n.tag()
    ok(n8n.put(f"/workflows/{workflow['id']}/tags", [{"id": tag["id"]}]))
    assert _moved(n8n, workflow, lambda: ok(n8n.delete(f"/tags/{tag['id']}"))) == (False, False)
    assert n8n.workflow(workflow["id"])["tags"] == []


def test_a_credential_that_is_deleted_moves_neither_and_its_name_stays(n8n: Target) -> None:
    credential = n8n.credential()
    reference = {"httpBasicAuth": {"id": credential["id"], "name": credential["name"]}}
    body = manual()
    body["nodes"][1]["credentials"] = reference
    workflow = n8n.create(body)
    assert _moved(n8n, workflow, lambda: ok(n8n.delete(f"/credentials/{credential['id']}"))) == (False, False)
    assert n8n.workflow(workflow["id"])["nodes"][1]["credentials"] == reference


def test_a_credential_that_is_renamed_keeps_its_old_name_in_nodes(n8n: Target) -> None:
    if n8n.is_v1:
        pytest.skip("1.x cannot rename a credential through its API")
    credential = n8n.credential()
    body = manual()
    body["nodes"][1]["credentials"] = {"httpBasicAuth": {"id": credential["id"], "name": credential["name"]}}
    workflow = n8n.create(body)
    rename = lambda: ok(n8n.request("PATCH", f"/credentials/{credential['id']}", json={"name": unique("new")}))  # noqa: E731
    assert _moved(n8n, workflow, rename) == (False, False)
    assert n8n.workflow(workflow["id"])["nodes"][1]["credentials"]["httpBasicAuth"]["name"] == credential["name"]


def test_archiving_moves_both_and_deactivates(n8n: Target) -> None:
    if n8n.is_v1:
        pytest.skip("1.x cannot archive through its API")
    workflow = n8n.create(scheduled())
    n8n.activate(workflow)
    archived = ok(n8n.post(f"/workflows/{workflow['id']}/archive"))
    assert (archived["isArchived"], archived["active"], archived["activeVersionId"]) == (True, False, None)
    after = n8n.workflow(workflow["id"])
    assert after["versionId"] != workflow["versionId"]
    assert after["updatedAt"].endswith(".000Z")
    ok(n8n.post(f"/workflows/{workflow['id']}/unarchive"))
    assert n8n.workflow(workflow["id"])["isArchived"] is False


def test_timestamps_are_utc_with_milliseconds(n8n: Target) -> None:
    workflow = n8n.create(manual())
    for key in ("createdAt", "updatedAt"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", workflow[key])


# What comes back of what was sent

ODD_PARAMETERS: JsonObject = {
    "z": 1, "a": [1.5, True, None, "", {}], "nested": {"k": "\u2028 ü 你好 🎉 \u202ertl", "nul": "a\x00b"}, "float": 1.0,
}


def test_parameters_come_back_with_their_values_and_order(n8n: Target) -> None:
    body = manual()
    body["nodes"][1]["parameters"] = ODD_PARAMETERS
    sent = n8n.workflow(n8n.create(body)["id"])["nodes"][1]["parameters"]
    assert sent == ODD_PARAMETERS
    assert list(sent) == list(ODD_PARAMETERS)
    assert isinstance(sent["float"], int)  # 1.0 has become 1


def test_integers_beyond_2_to_the_53_are_rounded(n8n: Target) -> None:
    body = manual()
    body["nodes"][1]["parameters"] = {"n": 2**53 + 1}
    assert n8n.workflow(n8n.create(body)["id"])["nodes"][1]["parameters"] == {"n": 2**53}


def test_connections_come_back_as_they_were(n8n: Target) -> None:
    body = manual()
    assert n8n.workflow(n8n.create(body)["id"])["connections"] == body["connections"]


def test_1x_adds_two_settings(n8n: Target) -> None:
    settings = n8n.workflow(n8n.create(manual(settings={}))["id"])["settings"]
    assert settings == ({"callerPolicy": "workflowsFromSameOwner", "availableInMCP": False} if n8n.is_v1 else settings)
    if n8n.is_v2:
        assert "callerPolicy" not in settings


def test_a_node_without_an_id_gets_one(n8n: Target) -> None:
    body = manual()
    del body["nodes"][0]["id"]
    assert len(n8n.workflow(n8n.create(body)["id"])["nodes"][0]["id"]) == 36


def test_2x_adds_a_webhook_id(n8n: Target) -> None:
    hook = n8n.workflow(n8n.create(webhook())["id"])["nodes"][0]
    assert ("webhookId" in hook) == n8n.is_v2


def test_a_credential_given_as_text_that_names_none_stays_text(n8n: Target) -> None:
    body = manual()
    body["nodes"][1]["credentials"] = {"httpBasicAuth": "by name"}
    sent = n8n.workflow(n8n.create(body)["id"])["nodes"][1]["credentials"]
    assert sent == {"httpBasicAuth": "by name"}


def test_what_get_gave_can_be_put_back_without_a_new_version(n8n: Target) -> None:
    workflow = n8n.create(webhook())
    assert _moved(n8n, workflow, lambda: _put(n8n, workflow)) == (True, False)
    first, second = n8n.workflow(workflow["id"]), None
    _put(n8n, workflow)
    second = n8n.workflow(workflow["id"])
    assert writable(first) == writable(second)


def test_executions_move_neither(n8n: Target) -> None:
    if not n8n.real:
        pytest.skip("the sandbox runs nothing")
    body = webhook()
    body["nodes"][0]["webhookId"] = str(uuid.uuid4())  # 1.x gives it none, and then another path
    workflow = n8n.create(body)
    path = body["nodes"][0]["parameters"]["path"]
    n8n.activate(workflow)

    def run() -> None:
        wait_until(lambda: n8n.http.get(f"/webhook/{path}").status_code == 200)
        wait_until(lambda: ok(n8n.get("/executions", workflowId=workflow["id"]))["data"])

    assert _moved(n8n, workflow, run) == (False, False)
