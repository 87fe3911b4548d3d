"""The claims of the content hash, on real servers: one hash for a file, n8n 1.x and 2.x, and the order nodes run in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count, permutations
from typing import Any

import httpx
import pytest

from wfops_pipelines.domain.canonical_json import encode, parse_json
from wfops_pipelines.domain.normalize import content_hash, normalize
from wfops_pipelines.domain.workflow import Content, read_content, read_listed
from wfops_pipelines_tests.benchmarks.hash_throughput import corpus, generated

JsonObject = dict[str, Any]
NODE_KEYS = {  # what both generations take (facts/n8n.md §6)
    "id", "name", "webhookId", "disabled", "notesInFlow", "notes", "type", "typeVersion", "executeOnce",
    "alwaysOutputData", "retryOnFail", "maxTries", "waitBetweenTries", "continueOnFail", "onError", "position",
    "parameters", "credentials"}
SETTING_KEYS = {
    "saveExecutionProgress", "saveManualExecutions", "saveDataErrorExecution", "saveDataSuccessExecution",
    "executionTimeout", "errorWorkflow", "timezone", "executionOrder", "callerPolicy", "callerIds",
    "timeSavedPerExecution", "availableInMCP"}
paths = count()


@pytest.fixture(params=[
    pytest.param("n8n_v2", marks=[pytest.mark.n8n, pytest.mark.xdist_group("n8n2")]),
    pytest.param("n8n_v1", marks=[pytest.mark.n8n, pytest.mark.xdist_group("n8n1")]),
])
def http(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """A client for each generation; the workflows that a test made are deleted again."""
    server = request.getfixturevalue(request.param)
    with httpx.Client(base_url=f"{server.url}/api/v1", headers={"X-N8N-API-KEY": server.api_key}, timeout=60,
                      trust_env=False) as client:
        before = {raw["id"] for raw in listing(client)}
        yield client
        for raw in listing(client):
            if raw["id"] not in before:
                client.delete(f"/workflows/{raw['id']}")


def listing(http: httpx.Client) -> Iterator[JsonObject]:
    cursor = None
    while True:
        page = parse_json(http.get("/workflows", params={"limit": 100, **({"cursor": cursor} if cursor else {})}).content)
        yield from page["data"]
        cursor = page.get("nextCursor")
        if not cursor:
            return


def create(http: httpx.Client, content: Content) -> str:
    answer = http.post("/workflows", content=encode(content), headers={"content-type": "application/json"})
    assert answer.status_code == 200, (content["name"], answer.text)
    return str(parse_json(answer.content)["id"])


def acceptable(content: Content) -> Content:
    """The part of a workflow that both generations take."""
    return {
        "name": content["name"][:128] or "unnamed",
        "nodes": [{key: value for key, value in node.items() if key in NODE_KEYS} for node in content["nodes"]],
        "connections": content["connections"],
        "settings": {key: value for key, value in content["settings"].items() if key in SETTING_KEYS},
    }


def test_a_real_workflow_has_one_hash_in_its_file_and_on_the_server(http: httpx.Client) -> None:
    sent = {create(http, content): content for content in map(acceptable, corpus() or generated(60))}
    listed = {raw["id"]: read_listed(raw) for raw in listing(http)}
    for workflow_id, content in sent.items():
        assert normalize(listed[workflow_id].live) == normalize(content)
        assert content_hash(listed[workflow_id].live) == content_hash(content)


@pytest.mark.parametrize("parameters", [
    '{"a": 1.0, "b": 9007199254740993, "c": 1e400, "d": -0, "e": 123456789012345678901234567890, "f": 1e-7, "g": 1e21}',
    '{"text": "\\ud800 \\u0000 \\udc00\\ud800 \\u2028 caf\\u00e9 cafe\\u0301", "\\ud800": "key"}',
    '{"a": 1, "a": 2}', '{"a":' * 300 + "1" + "}" * 300,
])
def test_odd_values_have_one_hash_in_a_file_and_on_the_server(http: httpx.Client, parameters: str) -> None:
    document = (f'{{"name": "odd", "connections": {{}}, "settings": {{}}, "nodes": [{{"id": "1", "name": "A", '
                f'"type": "n8n-nodes-base.set", "typeVersion": 1, "position": [0, 0], "parameters": {parameters}}}]}}')
    answer = http.post("/workflows", content=document.encode(), headers={"content-type": "application/json"})
    assert answer.status_code == 200, answer.text
    workflow_id = parse_json(answer.content)["id"]
    kept = read_listed(parse_json(http.get(f"/workflows/{workflow_id}").content))
    assert content_hash(kept.live) == content_hash(read_content(parse_json(document)))


@pytest.mark.parametrize("order", ["v1", "v0"])
def test_nodes_run_in_the_order_that_is_hashed(http: httpx.Client, order: str) -> None:
    places = [{"A": [0, 0], "B": [0, 0], "C": [0, 0]}, {"A": [0, 40], "B": [0, 20], "C": [0, 20]}]
    places += [dict(zip("ABC", mixed, strict=True)) for mixed in permutations([[0, 0], [20, 0], [0, 20]])]
    ran: dict[str, set[tuple[str, ...]]] = {}
    for place in places:
        content = _fan_out(place, order)
        ran.setdefault(content_hash(content), set()).add(_execute(http, content))
    assert all(len(orders) == 1 for orders in ran.values())
    assert len({orders.copy().pop() for orders in ran.values()}) == len(ran)
    assert len(ran) == (6 if order == "v1" else 1)


def _fan_out(places: dict[str, list[int]], order: str) -> Content:
    nodes = [{"id": name, "name": name, "type": "n8n-nodes-base.noOp", "typeVersion": 1, "position": place,
              "parameters": {}} for name, place in places.items()]
    hook = {"id": "Hook", "name": "Hook", "type": "n8n-nodes-base.webhook", "typeVersion": 2, "position": [-200, 0],
            "parameters": {"path": "order"}}
    targets = [{"node": name, "type": "main", "index": 0} for name in places]
    return {"name": "order", "nodes": [hook, *nodes], "connections": {"Hook": {"main": [targets]}},
            "settings": {"executionOrder": order}}


def _execute(http: httpx.Client, content: Content) -> tuple[str, ...]:
    """Publish, call the webhook, and read from the execution in which order the nodes ran."""
    path = f"order-{time.time_ns()}-{next(paths)}"
    content["nodes"][0].update(parameters={"path": path}, webhookId=path)
    workflow_id = create(http, content)
    assert http.post(f"/workflows/{workflow_id}/activate", json={}).status_code == 200
    hook = str(http.base_url).removesuffix("/api/v1/") + f"/webhook/{path}"
    _wait_until(lambda: http.get(hook).status_code == 200)

    def finished() -> list[JsonObject]:
        found = http.get("/executions", params={"workflowId": workflow_id, "includeData": "true"}).json()["data"]
        return [execution for execution in found if execution.get("finished")]

    executions = _wait_until(finished)
    ran = executions[0]["data"]["resultData"]["runData"]
    return tuple(sorted((name for name in ran if name != "Hook"), key=lambda name: ran[name][0]["executionIndex"]))


def _wait_until(condition: Any, seconds: float = 30) -> Any:
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, "n8n did not answer in time"
        time.sleep(0.05)
    return result
