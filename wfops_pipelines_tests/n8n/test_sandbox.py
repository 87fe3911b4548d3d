"""What the sandbox offers to those who set it up: seeding, editing, time, files."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from wfops_pipelines.n8n.sandbox import Sandbox, create_sandbox
from wfops_pipelines.n8n.sandbox.generated import generate_workflow
from wfops_pipelines.n8n.sandbox.samples import samples, seed_samples
from wfops_pipelines.n8n.sandbox.serve import serve, serve_many

HOOK = {"name": "Hook", "type": "n8n-nodes-base.webhook", "typeVersion": 2, "position": [0, 0], "parameters": {"path": "a/b"}}


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def pass_by(self, milliseconds: int) -> None:
        self.moment += timedelta(milliseconds=milliseconds)


@contextmanager
def client(sandbox: Sandbox) -> Iterator[httpx.Client]:
    with serve(sandbox) as url, httpx.Client(base_url=f"{url}/api/v1", headers={"x-n8n-api-key": sandbox.api_key},
                                             trust_env=False, timeout=30) as http:
        yield http


def hooked(name: str = "hooked", **more: Any) -> dict[str, Any]:
    return {"name": name, "nodes": [HOOK], "connections": {}, "settings": {}, **more}


def everything(http: httpx.Client) -> list[dict[str, Any]]:
    rows, cursor = [], ""
    while True:
        page = http.get("/workflows", params={"limit": 7, **({"cursor": cursor} if cursor else {})}).json()
        rows += page["data"]
        if page["nextCursor"] is None:
            return rows
        cursor = page["nextCursor"]


def test_it_answers_in_process_too() -> None:
    sandbox = create_sandbox(api_key="k")
    sandbox.state.seed_workflows([hooked()])

    async def names() -> list[str]:
        transport = httpx.ASGITransport(app=sandbox.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://n8n/api/v1", headers={"x-n8n-api-key": "k"}) as http:
            return [row["name"] for row in (await http.get("/workflows")).json()["data"]]

    assert asyncio.run(names()) == ["hooked"]


def test_what_is_seeded_is_listed_page_by_page_in_order_of_ids() -> None:
    sandbox = create_sandbox()
    rng = random.Random(5)
    ids = sandbox.state.seed_workflows([{**generate_workflow(rng), "name": f"W{number}"} for number in range(40)])
    with client(sandbox) as http:
        rows = everything(http)
    assert [row["id"] for row in rows] == sorted(ids)
    assert {row["name"] for row in rows} == {f"W{number}" for number in range(40)}


def test_seeding_takes_what_an_export_says_of_a_workflow() -> None:
    sandbox = create_sandbox()
    given = hooked(id="abcdefgh12345678", active=True, tags=["shop", {"name": "urgent"}], pinData={"Hook": [{"json": {}}]},
                   createdAt="2025-01-01T00:00:00.000Z", updatedAt="2025-02-01T00:00:00.000Z", isArchived=False)
    sandbox.state.seed_workflows([given])
    with client(sandbox) as http:
        row = http.get("/workflows/abcdefgh12345678").json()
    assert row["active"] and row["triggerCount"] == 1 and row["activeVersion"]["nodes"] == row["nodes"]
    assert [tag["name"] for tag in row["tags"]] == ["shop", "urgent"]
    assert (row["createdAt"], row["updatedAt"]) == ("2025-01-01T00:00:00.000Z", "2025-02-01T00:00:00.000Z")
    assert row["pinData"] == {"Hook": [{"json": {}}]}
    assert row["nodes"][0]["id"] and row["nodes"][0]["webhookId"]


def test_a_person_edits_one_parameter_and_the_listing_shows_it() -> None:
    sandbox = create_sandbox()
    (workflow_id,) = sandbox.state.seed_workflows([hooked(active=True)])
    with client(sandbox) as http:
        before = http.get("/workflows").json()["data"][0]
        sandbox.state.edit(workflow_id, node=("Hook", {"httpMethod": "POST"}))
        after = http.get("/workflows").json()["data"][0]
    assert before["nodes"][0]["parameters"] == {"path": "a/b"}
    assert after["activeVersion"]["nodes"][0]["parameters"] == {"path": "a/b", "httpMethod": "POST"}
    assert after["versionId"] == after["activeVersionId"] != before["versionId"]


def test_an_edit_that_is_not_published_stays_a_draft() -> None:
    sandbox = create_sandbox()
    (workflow_id,) = sandbox.state.seed_workflows([hooked(active=True)])
    edited = sandbox.state.edit(workflow_id, node=("Hook", {"path": "c"}), publish=False)
    assert edited["versionId"] != edited["activeVersionId"]
    assert edited["activeVersion"]["nodes"][0]["parameters"]["path"] == "a/b"


def test_2x_registers_webhooks_only_after_it_has_answered() -> None:
    clock = Clock()
    sandbox = create_sandbox(clock=clock, registration_delay=timedelta(milliseconds=300))
    with client(sandbox) as http:
        made = http.post("/workflows", json=hooked()).json()
        at = f"/workflows/{made['id']}"
        assert http.post(f"{at}/activate").json()["triggerCount"] == 0
        clock.pass_by(299)
        assert http.get(at).json()["triggerCount"] == 0
        assert httpx.get(f"{http.base_url}".replace("/api/v1/", "/webhook/a/b"), trust_env=False).status_code == 404
        clock.pass_by(1)
        assert http.get(at).json()["triggerCount"] == 1
        assert httpx.get(f"{http.base_url}".replace("/api/v1/", "/webhook/a/b"), trust_env=False).status_code == 200


def test_2x_deletes_an_active_workflow_only_after_it_is_unpublished_and_that_is_done() -> None:
    clock = Clock()
    sandbox = create_sandbox(clock=clock)
    (workflow_id,) = sandbox.state.seed_workflows([hooked(active=True)])
    at = f"/workflows/{workflow_id}"
    with client(sandbox) as http:
        assert http.delete(at).status_code == 409
        http.post(f"{at}/unpublish")
        assert http.delete(at).json()["message"].startswith("Workflow is still being unpublished.")
        clock.pass_by(1000)
        assert http.delete(at).status_code == 200


def test_a_clash_with_a_path_that_is_not_registered_yet_slips_through() -> None:
    clock = Clock()
    sandbox = create_sandbox(clock=clock)
    one, other = sandbox.state.seed_workflows([hooked("one"), hooked("other")])
    with client(sandbox) as http:
        assert http.post(f"/workflows/{one}/publish", json={}).status_code == 200
        assert http.post(f"/workflows/{other}/publish", json={}).status_code == 200


def test_two_sandboxes_of_one_seed_are_the_same() -> None:
    def listing() -> str:
        sandbox = create_sandbox(rng=random.Random(3), clock=Clock())
        seed_samples(sandbox.state)
        with client(sandbox) as http:
            return http.get("/workflows").text

    assert listing() == listing()


def test_an_unchanged_listing_is_answered_with_304() -> None:
    sandbox = create_sandbox()
    (workflow_id,) = sandbox.state.seed_workflows([hooked()])
    with client(sandbox) as http:
        etag = http.get("/workflows").headers["etag"]
        assert http.get("/workflows", headers={"if-none-match": etag}).status_code == 304
        sandbox.state.edit(workflow_id, name="renamed")
        assert http.get("/workflows", headers={"if-none-match": etag}).status_code == 200


def test_answers_are_compressed_for_those_who_take_it() -> None:
    sandbox = create_sandbox()
    sandbox.state.seed_workflows([generate_workflow(random.Random(1), 30)])
    with client(sandbox) as http:
        plain = http.get("/workflows", headers={"accept-encoding": "identity"})
        with http.stream("GET", "/workflows", headers={"accept-encoding": "gzip"}) as packed:
            raw = b"".join(packed.iter_raw())
    assert packed.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers
    assert gzip.decompress(raw) == plain.content


def test_executions_are_paged_by_the_last_id() -> None:
    sandbox = create_sandbox()
    (workflow_id,) = sandbox.state.seed_workflows([hooked()])
    for number in range(5):
        sandbox.state.seed_execution(workflow_id, status="error" if number == 2 else "success")
    with client(sandbox) as http:
        first = http.get("/executions", params={"limit": 3}).json()
        sandbox.state.seed_execution(workflow_id)
        second = http.get("/executions", params={"cursor": first["nextCursor"]}).json()
        failed = http.get("/executions", params={"status": "error"}).json()
    assert [run["id"] for run in first["data"] + second["data"]] == ["5", "4", "3", "2", "1"]
    assert second["nextCursor"] is None
    assert [run["id"] for run in failed["data"]] == ["3"]


@pytest.mark.parametrize("generation", [2, 1])
def test_the_samples_go_through_the_api_and_start(generation: int) -> None:
    sandbox = create_sandbox(generation=generation, registration_delay=timedelta())
    ids: dict[str, str] = {}
    with client(sandbox) as http:
        for sample in samples():
            answer = http.post("/workflows", json=sample.body(ids, {}))
            assert answer.status_code == 200, answer.text
            ids[sample.key] = answer.json()["id"]
            if sample.active and (generation == 2 or sample.key != "stock"):
                activated = http.post(f"/workflows/{ids[sample.key]}/activate", json={})
                assert activated.status_code == 200, activated.text
    assert len(ids) == 12


@pytest.mark.parametrize("generation", [2, 1])
def test_seeded_samples_refer_to_each_other_and_to_credentials(generation: int) -> None:
    sandbox = create_sandbox(generation=generation)
    ids = seed_samples(sandbox.state)
    with client(sandbox) as http:
        order = http.get(f"/workflows/{ids['orders']}").json()
    assert order["settings"]["errorWorkflow"] == ids["failures"]
    called = next(node for node in order["nodes"] if node["type"].endswith(".executeWorkflow"))
    assert called["parameters"]["workflowId"]["value"] == ids["stock"]
    slack = next(node for node in order["nodes"] if node["type"].endswith(".slack"))["credentials"]["slackApi"]
    assert sandbox.state.credentials[slack["id"]].name == slack["name"] == "team-slack"


def test_generated_workflows_are_taken_by_2x_and_have_the_sizes_of_real_ones() -> None:
    rng = random.Random(11)
    made = [generate_workflow(rng) for _ in range(300)]
    sizes = sorted(len(json.dumps(workflow, separators=(",", ":"))) for workflow in made)
    nodes = sorted(len(workflow["nodes"]) for workflow in made)
    assert 8_000 < sum(sizes) / len(sizes) < 14_000
    assert 10 <= nodes[150] <= 15
    sandbox = create_sandbox()
    with client(sandbox) as http:
        answers = [http.post("/workflows", json=workflow) for workflow in made[:60]]
        assert {answer.status_code for answer in answers} == {200}
        assert http.post("/workflows", json=generate_workflow(rng, 180)).status_code == 200


@pytest.mark.parametrize("generation", [2, 1])
def test_the_state_survives_in_a_file(generation: int, tmp_path: Path) -> None:
    file = tmp_path / "n8n.json"
    first = create_sandbox(generation=generation, state_file=file)
    with client(first) as http:
        made = http.post("/workflows", json=hooked(settings={"executionOrder": "v1"})).json()
        http.post(f"/workflows/{made['id']}/activate")
        tag = http.post("/tags", json={"name": "kept"}).json()
        http.put(f"/workflows/{made['id']}/tags", json=[{"id": tag["id"]}])
        http.post("/credentials", json={"name": "c", "type": "httpBasicAuth", "data": {}})
        first.state.registration_delay = timedelta()
        http.put(f"/workflows/{made['id']}", json=hooked("renamed"))
        before = http.get("/workflows").json()
    first.save()

    second = create_sandbox(generation=generation, state_file=file)
    with client(second) as http:
        after = http.get("/workflows").json()
        assert len(second.state.credentials) == 1
    for row in (*before["data"], *after["data"]):
        row.pop("triggerCount")
    assert after == before


def test_a_state_of_another_generation_is_refused(tmp_path: Path) -> None:
    first = create_sandbox(generation=1, state_file=tmp_path / "s.json")
    first.state.seed_workflows([hooked()])
    first.save()
    with pytest.raises(ValueError, match=r"1\.x, not 2\.x"):
        create_sandbox(generation=2, state_file=tmp_path / "s.json")


def test_six_servers_live_in_one_process() -> None:
    sandboxes = [create_sandbox(generation=1 + number % 2) for number in range(6)]
    for number, sandbox in enumerate(sandboxes):
        sandbox.state.seed_workflows([hooked(f"of {number}")])
    with serve_many(sandboxes) as urls:
        names = [httpx.get(f"{url}/api/v1/workflows", headers={"x-n8n-api-key": "sandbox-key"}, trust_env=False).json()["data"][0]["name"]
                 for url in urls]
    assert names == [f"of {number}" for number in range(6)]


def test_the_key_does_not_show() -> None:
    assert "s3cret" not in repr(create_sandbox(api_key="s3cret"))
