"""The provider against each server: what services rely on."""

from __future__ import annotations

import asyncio
import copy
import uuid
from typing import Any

import pytest

from wfops_pipelines.domain.errors import Conflict, NotFound, Refused, Rejected
from wfops_pipelines.n8n.adapter import N8nProvider
from wfops_pipelines.n8n.provider import Connection, Health, open_provider
from wfops_pipelines_tests.n8n.conformance.target import (
    JsonObject,
    Target,
    manual,
    ok,
    scheduled,
    unique,
    wait_until,
    writable,
)

NOBODY = "AAAAAAAAAAAAAAAA"


def test_it_finds_out_the_generation(n8n: Target) -> None:
    assert n8n.provider(lambda provider: provider.server()).generation == n8n.generation


def test_it_is_registered_as_n8n(n8n: Target) -> None:
    async def generation() -> int:
        provider = open_provider(Connection(n8n.url, n8n.api_key))
        try:
            return (await provider.server()).generation
        finally:
            await provider.aclose()

    assert asyncio.run(generation()) == n8n.generation


def _created(n8n: Target, body: JsonObject) -> JsonObject:
    workflow = n8n.provider(lambda provider: provider.create_workflow(body))
    n8n.forget_later(f"/workflows/{workflow['id']}")
    return workflow


def test_what_get_gave_can_be_created_elsewhere(n8n: Target) -> None:
    source = n8n.workflow(n8n.create(scheduled())["id"])
    copied = _created(n8n, source)
    assert copied["id"] != source["id"]
    assert (copied["nodes"], copied["connections"]) == (source["nodes"], source["connections"])


def test_old_exports_can_be_created(n8n: Target) -> None:
    body = manual(meta={"instanceId": "x"}, tags=[{"name": "old"}], pinData={}, versionId="x", active=True, id=NOBODY,
                  description=None, staticData=None)
    body["nodes"][0] |= {"color": "#fff", "extendsCredential": "x", "notes": None, "parameters": None, "position": None}
    body["settings"] |= {"maxExecutions": 1, "errorWorkflow": None}
    workflow = _created(n8n, body)
    assert workflow["active"] is False
    assert len(workflow["nodes"]) == 2


def test_what_get_gave_can_be_put_back(n8n: Target) -> None:
    workflow = n8n.workflow(n8n.create(manual())["id"])
    after = n8n.provider(lambda provider: provider.update_workflow(workflow["id"], workflow))
    assert after["versionId"] == workflow["versionId"]


def test_an_update_can_leave_what_is_live_alone_in_2x(n8n: Target) -> None:
    workflow = n8n.create(scheduled())
    n8n.activate(workflow)
    changed = copy.deepcopy(writable(workflow))
    changed["nodes"][1]["notes"] = "draft"
    n8n.provider(lambda provider: provider.update_workflow(workflow["id"], changed, publish=False))
    after = n8n.workflow(workflow["id"])
    assert ("notes" in after["activeVersion"]["nodes"][1]) == n8n.is_v1
    if n8n.is_v2:
        n8n.provider(lambda provider: provider.activate_workflow(workflow["id"]))
        assert n8n.workflow(workflow["id"])["activeVersion"]["nodes"][1]["notes"] == "draft"


def test_it_activates_and_deactivates(n8n: Target) -> None:
    workflow = n8n.create(scheduled())
    assert n8n.provider(lambda provider: provider.activate_workflow(workflow["id"]))["active"] is True
    assert n8n.provider(lambda provider: provider.deactivate_workflow(workflow["id"]))["active"] is False


def test_a_chosen_version_is_published_in_2x_and_rejected_in_1x(n8n: Target) -> None:
    workflow = n8n.create(scheduled())
    act = lambda provider: provider.activate_workflow(workflow["id"], version_id=workflow["versionId"])  # noqa: E731
    if n8n.is_v1:
        with pytest.raises(Rejected, match=r"n8n 1\.x cannot publish a chosen version"):
            n8n.provider(act)
    else:
        assert n8n.provider(act)["activeVersionId"] == workflow["versionId"]


def test_archiving_is_rejected_in_1x_naming_the_version(n8n: Target) -> None:
    workflow = n8n.create(manual())
    if n8n.is_v1:
        with pytest.raises(Rejected, match=r"n8n 1\.x cannot archive"):
            n8n.provider(lambda provider: provider.archive_workflow(workflow["id"]))
        return
    assert n8n.provider(lambda provider: provider.archive_workflow(workflow["id"]))["isArchived"] is True
    for _ in range(2):
        assert n8n.provider(lambda provider: provider.unarchive_workflow(workflow["id"]))["isArchived"] is False


@pytest.mark.parametrize("active", [False, True])
def test_it_deletes_active_or_not_and_says_when_there_was_nothing(n8n: Target, active: bool) -> None:
    workflow = n8n.create(scheduled())
    if active:
        n8n.activate(workflow)
    n8n.provider(lambda provider: provider.delete_workflow(workflow["id"]))
    assert n8n.get(f"/workflows/{workflow['id']}").status_code == 404
    with pytest.raises(NotFound):
        n8n.provider(lambda provider: provider.delete_workflow(workflow["id"]))


@pytest.mark.parametrize("act", [
    lambda provider: provider.get_workflow(NOBODY),
    lambda provider: provider.update_workflow(NOBODY, manual()),
    lambda provider: provider.activate_workflow(NOBODY),
    lambda provider: provider.deactivate_workflow(NOBODY),
    lambda provider: provider.set_workflow_tags(NOBODY, []),
], ids=["get", "update", "activate", "deactivate", "tags"])
def test_an_unknown_workflow_is_not_found(n8n: Target, act: Any) -> None:
    with pytest.raises(NotFound):
        n8n.provider(act)


def test_a_workflow_that_n8n_refuses_is_rejected_with_its_words(n8n: Target) -> None:
    body = manual()
    body["nodes"][1]["typeVersion"] = "one"
    with pytest.raises(Rejected, match="typeVersion"):
        n8n.provider(lambda provider: provider.create_workflow(body))


def test_the_history_of_a_workflow_tells_who_saved_which_content_when_newest_first(n8n: Target) -> None:
    workflow = n8n.create(scheduled())
    act = lambda provider: provider.workflow_history(workflow["id"])  # noqa: E731
    if n8n.is_v1:
        with pytest.raises(Rejected, match=r"n8n 1\.x cannot show the history"):
            n8n.provider(act)
        return
    changed = copy.deepcopy(writable(workflow))
    changed["nodes"][1]["notes"] = "edited"
    n8n.tick()
    edited = ok(n8n.put(f"/workflows/{workflow['id']}", changed))
    renamed = ok(n8n.put(f"/workflows/{workflow['id']}", {**changed, "name": unique("renamed")}))
    n8n.activate(renamed)  # neither a name nor an activation is a version
    history = n8n.provider(act)
    assert [version["versionId"] for version in history] == [edited["versionId"], workflow["versionId"]]
    assert history[0]["createdAt"] > history[1]["createdAt"]
    for version in history:
        assert set(version) == {"versionId", "workflowId", "authors", "name", "description", "createdAt", "updatedAt"}
        assert isinstance(version["authors"], str) and version["authors"]
    newest = n8n.provider(lambda provider: provider.workflow_history(workflow["id"], limit=1))
    assert [version["versionId"] for version in newest] == [edited["versionId"]]


def test_archiving_is_a_version_of_its_own_and_what_is_deleted_has_no_history(n8n: Target) -> None:
    if n8n.is_v1:
        pytest.skip("1.x shows no history")
    workflow = n8n.create(manual())
    ok(n8n.post(f"/workflows/{workflow['id']}/archive"))
    assert len(n8n.provider(lambda provider: provider.workflow_history(workflow["id"]))) == 2
    ok(n8n.delete(f"/workflows/{workflow['id']}"))
    with pytest.raises(NotFound):
        n8n.provider(lambda provider: provider.workflow_history(workflow["id"]))


def test_only_an_active_workflow_tells_when_it_was_published_and_only_in_2x(n8n: Target) -> None:
    workflow = n8n.create(scheduled())
    n8n.activate(workflow)
    live = n8n.provider(lambda provider: provider.get_workflow(workflow["id"]))["activeVersion"]
    assert ("workflowPublishHistory" in live) == n8n.is_v2
    if n8n.is_v2:
        assert [entry["event"] for entry in live["workflowPublishHistory"]] == ["activated"]
    n8n.provider(lambda provider: provider.deactivate_workflow(workflow["id"]))
    assert n8n.provider(lambda provider: provider.get_workflow(workflow["id"]))["activeVersion"] is None


def test_tags_by_the_adapter(n8n: Target) -> None:
    name = unique("tag")[:24]
    tag = n8n.provider(lambda provider: provider.create_tag(name))
    n8n.forget_later(f"/tags/{tag['id']}")
    assert tag["id"] in {row["id"] for row in n8n.provider(lambda provider: provider.list_tags())}
    with pytest.raises(Conflict):
        n8n.provider(lambda provider: provider.create_tag(name))
    workflow = n8n.create(manual())
    assert [t["name"] for t in n8n.provider(lambda provider: provider.set_workflow_tags(workflow["id"], [tag["id"]]))] == [name]
    assert list(n8n.provider(lambda provider: provider.set_workflow_tags(workflow["id"], []))) == []


def test_credentials_by_the_adapter(n8n: Target) -> None:
    body = {"id": uuid.uuid4().hex[:16], "name": unique("credential"), "type": "httpBasicAuth",
            "data": {"user": "u", "password": "p"}, "shared": []}
    credential = n8n.provider(lambda provider: provider.create_credential(body))
    n8n.forget_later(f"/credentials/{credential['id']}")
    assert (credential["id"] == body["id"]) == n8n.is_v2
    if n8n.is_v1:
        with pytest.raises(Rejected, match=r"n8n 1\.x cannot list credentials"):
            n8n.provider(lambda provider: provider.list_credentials())
        return
    rows = n8n.provider(lambda provider: provider.list_credentials())
    assert (credential["id"], body["name"]) in {(row["id"], row["name"]) for row in rows}
    assert not [row for row in rows if "data" in row]


def test_the_schema_of_a_credential_by_the_adapter(n8n: Target) -> None:
    schema = n8n.provider(lambda provider: provider.credential_schema("httpBasicAuth"))
    assert {"user", "password"} <= set(schema["properties"])


def test_executions_by_the_adapter(n8n: Target) -> None:
    rows, _ = n8n.provider(lambda provider: provider.list_executions(limit=5))
    assert len(rows) <= 5


def test_a_healthy_server(n8n: Target) -> None:
    health = n8n.provider(lambda provider: provider.health())
    assert (health.reachable, health.key_valid, health.generation, health.problem) == (True, True, n8n.generation, None)
    assert health.latency is not None
    assert 0 < health.latency < 60


def _with_key(n8n: Target, key: str, act: Any) -> Any:
    async def run() -> Any:
        provider = N8nProvider(Connection(n8n.url, key))
        try:
            return await act(provider)
        finally:
            await provider.aclose()

    return asyncio.run(run())


def test_a_wrong_key_is_refused_and_not_echoed(n8n: Target) -> None:
    with pytest.raises(Refused) as raised:
        _with_key(n8n, "a-wrong-key", lambda provider: provider.get_workflow(NOBODY))
    assert raised.value.status == 401
    assert "a-wrong-key" not in str(raised.value)


def test_the_health_of_a_server_whose_key_is_refused(n8n: Target) -> None:
    health: Health = _with_key(n8n, "a-wrong-key", lambda provider: provider.health())
    assert (health.reachable, health.key_valid, health.problem) == (True, False, "refused")


def test_a_clash_of_webhooks_is_a_conflict_in_2x_and_rejected_in_1x(n8n: Target) -> None:
    path = uuid.uuid4().hex
    body = manual()
    body["nodes"] = [{"id": str(uuid.uuid4()), "name": "Hook", "type": "n8n-nodes-base.webhook", "typeVersion": 2,
                      "position": [0, 0], "webhookId": str(uuid.uuid4()), "parameters": {"path": path, "options": {}}}]
    body["connections"] = {}
    first, second = n8n.create(body), n8n.create({**body, "name": unique("second")})
    n8n.activate(first)
    with pytest.raises(Rejected if n8n.is_v1 else Conflict):
        n8n.provider(lambda provider: provider.activate_workflow(second["id"]))
    assert n8n.workflow(second["id"])["active"] is False


def test_pages_of_the_adapter_hold_what_a_raw_listing_holds(n8n: Target) -> None:
    made = {n8n.create(manual())["id"] for _ in range(5)}

    async def collect(provider: N8nProvider) -> tuple[list[str], list[bool], int]:
        found = [page async for page in provider.list_workflows(page_size=2)]
        return ([row["id"] for page in found for row in page.workflows], [page.last for page in found],
                sum(page.received_bytes for page in found))

    listed, last, received = n8n.provider(collect)
    assert made <= set(listed)
    assert last == [False] * (len(last) - 1) + [True]
    assert received > 0


def test_a_deleted_workflow_is_gone_from_its_listing(n8n: Target) -> None:
    workflow = n8n.create(manual())
    ok(n8n.delete(f"/workflows/{workflow['id']}"))
    wait_until(lambda: n8n.get(f"/workflows/{workflow['id']}").status_code == 404)

    async def listed(provider: N8nProvider) -> list[str]:
        return [row["id"] async for page in provider.list_workflows() for row in page.workflows]

    assert workflow["id"] not in n8n.provider(listed)
