"""Activation, versions, archive, delete: facts §7, and what §13 says of calls between workflows."""

from __future__ import annotations

import copy
import uuid

import pytest

from wfops_pipelines_tests.n8n.conformance.target import (
    JsonObject,
    Target,
    manual,
    node,
    ok,
    refused,
    scheduled,
    unique,
    wait_until,
    webhook,
    writable,
)

UNKNOWN_VERSION = "00000000-0000-4000-8000-000000000000"


def test_activate_and_deactivate_work_in_both_and_twice(n8n: Target) -> None:
    workflow = n8n.create(scheduled())
    for _ in range(2):
        assert ok(n8n.post(f"/workflows/{workflow['id']}/activate"))["active"] is True
    for _ in range(2):
        assert ok(n8n.post(f"/workflows/{workflow['id']}/deactivate"))["active"] is False


def test_publish_and_unpublish_are_of_2x(n8n: Target) -> None:
    workflow = n8n.create(scheduled())
    publish = n8n.post(f"/workflows/{workflow['id']}/publish", {})
    if n8n.is_v1:
        refused(publish, 405)
        return
    assert ok(publish)["activeVersionId"] == workflow["versionId"]
    assert ok(n8n.post(f"/workflows/{workflow['id']}/unpublish"))["activeVersionId"] is None


def test_a_chosen_version_is_published_in_2x(n8n: Target) -> None:
    if n8n.is_v1:
        pytest.skip("1.x has no drafts")
    workflow = n8n.create(scheduled())
    changed = copy.deepcopy(writable(workflow))
    changed["nodes"][1]["notes"] = "second"
    second = ok(n8n.put(f"/workflows/{workflow['id']}", changed))
    for version in (workflow["versionId"], second["versionId"]):
        assert ok(n8n.post(f"/workflows/{workflow['id']}/activate", {"versionId": version}))["activeVersionId"] == version
    assert refused(n8n.post(f"/workflows/{workflow['id']}/publish", {"versionId": UNKNOWN_VERSION}), 404) == "Version not found"


def test_active_means_that_there_is_an_active_version(n8n: Target) -> None:
    workflow = n8n.create(scheduled())
    assert (workflow["active"], workflow["activeVersionId"]) == (False, None)
    n8n.activate(workflow)
    after = n8n.workflow(workflow["id"])
    assert (after["active"], after["activeVersionId"]) == (True, after["versionId"])


def test_a_workflow_without_a_trigger_cannot_be_activated(n8n: Target) -> None:
    workflow = n8n.create(manual())
    message = refused(n8n.post(f"/workflows/{workflow['id']}/activate"), 400)
    assert "trigger" in message.lower()


def _hook(path: str) -> JsonObject:
    body = webhook(path)
    body["nodes"][0]["webhookId"] = str(uuid.uuid4())
    return body


def test_two_workflows_cannot_have_one_webhook_path(n8n: Target) -> None:
    path = uuid.uuid4().hex
    first, second = n8n.create(_hook(path)), n8n.create(_hook(path))
    n8n.activate(first)
    answer = n8n.post(f"/workflows/{second['id']}/activate")
    if n8n.is_v1:
        assert refused(answer, 400).startswith('The URL path that the "Hook" node uses is already taken')
    else:
        assert refused(answer, 409) == "There is a conflict with one of the webhooks."


def test_2x_registers_after_it_has_answered_and_1x_before(n8n: Target) -> None:
    workflow = n8n.create(scheduled())
    answer = ok(n8n.post(f"/workflows/{workflow['id']}/activate"))
    assert answer["active"] is True
    if n8n.is_v1:
        assert n8n.listed(workflow)["triggerCount"] == 1
    else:
        assert answer["triggerCount"] == 0
        wait_until(lambda: n8n.listed(workflow)["triggerCount"] == 1)


def test_a_webhook_answers_once_it_is_registered(n8n: Target) -> None:
    if not n8n.real:
        pytest.skip("the sandbox runs nothing")
    path = uuid.uuid4().hex
    n8n.activate(n8n.create(_hook(path)))
    wait_until(lambda: n8n.http.get(f"/webhook/{path}").status_code == 200)


def test_a_version_can_be_read_and_has_no_name_or_settings(n8n: Target) -> None:
    workflow = n8n.create(manual())
    version = ok(n8n.get(f"/workflows/{workflow['id']}/{workflow['versionId']}"))
    assert version["nodes"] == workflow["nodes"]
    assert version["connections"] == workflow["connections"]
    assert "settings" not in version
    if n8n.is_v2:
        assert ok(n8n.get(f"/workflows/{workflow['id']}/versions/{workflow['versionId']}"))["nodes"] == workflow["nodes"]


def test_the_history_is_newest_first_and_of_2x(n8n: Target) -> None:
    workflow = n8n.create(manual())
    changed = copy.deepcopy(writable(workflow))
    changed["nodes"][1]["notes"] = "second"
    second = ok(n8n.put(f"/workflows/{workflow['id']}", changed))
    answer = n8n.get(f"/workflows/{workflow['id']}/history")
    if n8n.is_v1:
        assert answer.status_code == 404
        return
    versions = ok(answer)["data"]
    assert [version["versionId"] for version in versions] == [second["versionId"], workflow["versionId"]]
    assert "nodes" not in versions[0]


def test_1x_has_no_archive(n8n: Target) -> None:
    workflow = n8n.create(manual())
    answer = n8n.post(f"/workflows/{workflow['id']}/archive")
    if n8n.is_v1:
        refused(answer, 405)
    else:
        assert ok(answer)["isArchived"] is True


def test_archiving_twice_is_fine_unarchiving_twice_is_not(n8n: Target) -> None:
    if n8n.is_v1:
        pytest.skip("1.x cannot archive through its API")
    workflow = n8n.create(manual())
    for verb, archived in (("archive", True), ("archive", True), ("unarchive", False)):
        assert ok(n8n.post(f"/workflows/{workflow['id']}/{verb}"))["isArchived"] is archived
    assert refused(n8n.post(f"/workflows/{workflow['id']}/unarchive"), 400) == "Workflow is not archived."


def test_an_archived_workflow_can_neither_be_written_nor_activated(n8n: Target) -> None:
    if n8n.is_v1:
        pytest.skip("1.x cannot archive through its API")
    workflow = n8n.create(scheduled())
    ok(n8n.post(f"/workflows/{workflow['id']}/archive"))
    assert refused(n8n.put(f"/workflows/{workflow['id']}", writable(workflow)), 400) == "Cannot update an archived workflow."
    assert refused(n8n.post(f"/workflows/{workflow['id']}/activate"), 400) == "Cannot activate an archived workflow."


def test_an_inactive_workflow_is_deleted_at_once_archived_or_not(n8n: Target) -> None:
    workflow = n8n.create(manual())
    assert ok(n8n.delete(f"/workflows/{workflow['id']}"))["id"] == workflow["id"]
    refused(n8n.delete(f"/workflows/{workflow['id']}"), 404)
    if n8n.is_v2:
        archived = n8n.create(manual())
        ok(n8n.post(f"/workflows/{archived['id']}/archive"))
        ok(n8n.delete(f"/workflows/{archived['id']}"))


def test_an_active_workflow_is_deleted_by_1x_and_refused_by_2x(n8n: Target) -> None:
    workflow = n8n.create(scheduled())
    n8n.activate(workflow)
    answer = n8n.delete(f"/workflows/{workflow['id']}")
    if n8n.is_v1:
        ok(answer)
        return
    assert refused(answer, 409) == "Cannot delete a published workflow. Unpublish it before deleting."
    ok(n8n.post(f"/workflows/{workflow['id']}/unpublish"))
    wait_until(lambda: n8n.delete(f"/workflows/{workflow['id']}").status_code == 200)


def _calling(callee: str, *, name: str | None = None) -> JsonObject:
    body = scheduled(name)
    body["nodes"][1] = node("End", "executeWorkflow", version=1.2, position=(200, 0), parameters={
        "workflowId": {"__rl": True, "mode": "id", "value": callee}, "options": {}})
    return body


def _callable() -> JsonObject:
    trigger = node("When called", "executeWorkflowTrigger", version=1.1, parameters={"inputSource": "passthrough"})
    return {"name": unique("callee"), "nodes": [trigger], "connections": {}, "settings": {}}


def test_2x_publishes_no_caller_of_an_unpublished_workflow(n8n: Target) -> None:
    callee = n8n.create(_callable())
    caller = n8n.create(_calling(callee["id"]))
    answer = n8n.post(f"/workflows/{caller['id']}/activate")
    if n8n.is_v1:
        ok(answer)
        return
    refused(answer, 400)
    ok(n8n.post(f"/workflows/{callee['id']}/publish", {}))
    ok(n8n.post(f"/workflows/{caller['id']}/publish", {}))


def test_after_a_put_that_1x_could_not_start_the_version_before_it_is_what_starts(n8n: Target) -> None:
    """1.x: the content stays under the former version, whose history still holds the trigger; 2.x goes on running."""
    workflow = n8n.create(scheduled())
    n8n.activate(workflow)
    path = f"/workflows/{workflow['id']}"
    bare = {**writable(workflow), "nodes": [node("End", "noOp")], "connections": {}}
    refused(n8n.put(path, bare), 400)
    assert n8n.workflow(workflow["id"])["active"] is not n8n.is_v1
    for _ in range(2):
        answer = n8n.post(f"{path}/activate")
        if n8n.is_v1:
            assert ok(answer)["active"] is True
        else:
            assert refused(answer, 400).startswith("Workflow cannot be activated because it has no trigger node.")
    after = n8n.workflow(workflow["id"])
    assert (after["active"], [one["name"] for one in after["nodes"]]) == (True, ["End"])
    assert [one["name"] for one in after["activeVersion"]["nodes"]] == ["Every day", "End"]
    if n8n.is_v1:
        assert after["versionId"] == after["activeVersionId"] == n8n.get(f"{path}/{after['versionId']}").json()["versionId"]
        refused(n8n.put(path, {**bare, "nodes": [node("Other", "noOp")]}), 400)
