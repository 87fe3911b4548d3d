"""Tags, credentials, users, executions and what needs a licence: facts §8."""

from __future__ import annotations

import base64
import json
import uuid

import pytest

from wfops_pipelines_tests.n8n.conformance.target import Target, manual, ok, refused, unique, wait_until, webhook


def test_a_tag_is_created_once(n8n: Target) -> None:
    name = unique("tag")[:24]
    tag = n8n.tag(name)
    assert tag["name"] == name
    assert refused(n8n.post("/tags", {"name": name}), 409) == "Tag already exists"


@pytest.mark.parametrize("name", ["", "x" * 30])
def test_an_empty_or_long_name_of_a_tag_is_said_to_exist(n8n: Target, name: str) -> None:
    assert refused(n8n.post("/tags", {"name": name}), 409) == "Tag already exists"


def test_tags_are_listed_read_renamed_and_deleted(n8n: Target) -> None:
    tag = n8n.tag()
    page = ok(n8n.get("/tags", limit=250))
    assert set(page) == {"data", "nextCursor"}
    assert tag["id"] in {row["id"] for row in page["data"]}
    assert ok(n8n.get(f"/tags/{tag['id']}"))["name"] == tag["name"]
    renamed = unique("renamed")[:24]
    assert ok(n8n.put(f"/tags/{tag['id']}", {"name": renamed}))["name"] == renamed
    ok(n8n.delete(f"/tags/{tag['id']}"))
    refused(n8n.get(f"/tags/{tag['id']}"), 404)


def test_the_tags_of_a_workflow_are_replaced_as_a_whole(n8n: Target) -> None:
    one, two, workflow = n8n.tag(), n8n.tag(), n8n.create(manual())
    path = f"/workflows/{workflow['id']}/tags"
    ok(n8n.put(path, [{"id": one["id"]}]))
    assert [tag["id"] for tag in ok(n8n.put(path, [{"id": two["id"]}]))] == [two["id"]]
    assert [tag["name"] for tag in ok(n8n.get(path))] == [two["name"]]
    assert ok(n8n.put(path, [])) == []


def test_tags_are_given_by_id_alone(n8n: Target) -> None:
    tag, workflow = n8n.tag(), n8n.create(manual())
    path = f"/workflows/{workflow['id']}/tags"
    refused(n8n.put(path, [{"name": tag["name"]}]), 400)
    assert refused(n8n.put(path, [{"id": "AAAAAAAAAAAAAAAA"}]), 404) == "Some tags not found"


def test_credentials_are_created_and_deleted_and_only_2x_shows_them(n8n: Target) -> None:
    credential = n8n.credential()
    listing, one = n8n.get("/credentials"), n8n.get(f"/credentials/{credential['id']}")
    patch = n8n.request("PATCH", f"/credentials/{credential['id']}", json={"name": unique("renamed")})
    if n8n.is_v1:
        assert [answer.status_code for answer in (listing, one, patch)] == [405, 405, 405]
    else:
        row = next(row for row in ok(listing)["data"] if row["id"] == credential["id"])
        assert (row["name"], row["type"]) == (credential["name"], "httpBasicAuth")
        assert "data" not in row
        assert "data" not in ok(one)
        ok(patch)
    ok(n8n.delete(f"/credentials/{credential['id']}"))


def test_2x_takes_a_chosen_id_for_a_credential(n8n: Target) -> None:
    chosen = uuid.uuid4().hex[:16]
    body = {"id": chosen, "name": unique("chosen"), "type": "httpBasicAuth", "data": {"user": "u", "password": "p"}}
    answer = n8n.post("/credentials", body)
    if n8n.is_v1:
        assert refused(answer, 400) == "request/body/id is read-only"
    else:
        assert ok(answer)["id"] == chosen
        n8n.forget_later(f"/credentials/{chosen}")


def test_names_of_credentials_need_not_be_unique(n8n: Target) -> None:
    name = unique("twin")
    assert n8n.credential(name)["id"] != n8n.credential(name)["id"]


def test_the_data_of_a_credential_are_checked_against_its_schema(n8n: Target) -> None:
    schema = ok(n8n.get("/credentials/schema/httpBasicAuth"))
    assert set(schema["properties"]) >= {"user", "password"}
    body = {"name": unique("bad"), "type": "httpBasicAuth", "data": {"user": "u", "password": "p", "x": 1}}
    assert 'is not allowed to have the additional property "x"' in refused(n8n.post("/credentials", body), 400)
    refused(n8n.post("/credentials", {**body, "type": "noSuchType", "data": {}}), 400)


def test_empty_data_are_refused_where_the_type_requires_some(n8n: Target) -> None:
    refused(n8n.post("/credentials", {"name": unique("empty"), "type": "openAiApi", "data": {}}), 400)


@pytest.mark.parametrize("path", ["/variables", "/projects"])
def test_some_things_need_a_licence(n8n: Target, path: str) -> None:
    assert "license does not allow" in refused(n8n.get(path), 403)


def test_promotions_between_instances_need_a_licence(n8n: Target) -> None:
    assert n8n.get("/promotions").status_code in ({404} if n8n.is_v1 else {403, 404, 405})


def test_the_owner_is_listed_as_a_user(n8n: Target) -> None:
    users = ok(n8n.get("/users"))["data"]
    assert len(users) >= 1
    assert ok(n8n.get(f"/users/{users[0]['id']}"))["email"] == users[0]["email"]


def test_executions_are_an_empty_page_at_first(n8n: Target) -> None:
    workflow = n8n.create(manual())
    assert ok(n8n.get("/executions", workflowId=workflow["id"])) == {"data": [], "nextCursor": None}


@pytest.mark.parametrize("status", ["canceled", "error", "running", "success", "waiting"])
def test_executions_can_be_asked_for_by_status(n8n: Target, status: str) -> None:
    ok(n8n.get("/executions", status=status))


def test_2x_knows_more_of_executions(n8n: Target) -> None:
    for params in ({"status": "crashed"}, {"startedAfter": "2026-01-01T00:00:00.000Z"}):
        answer = n8n.get("/executions", **params)
        assert answer.status_code == (400 if n8n.is_v1 else 200)


def test_executions_are_newest_first_behind_a_key_set_cursor(n8n: Target) -> None:
    if not n8n.real:
        pytest.skip("the sandbox runs nothing")
    body = webhook()
    body["nodes"][0]["webhookId"] = str(uuid.uuid4())
    path = body["nodes"][0]["parameters"]["path"]
    workflow = n8n.create(body)
    n8n.activate(workflow)
    wait_until(lambda: n8n.http.get(f"/webhook/{path}").status_code == 200)
    for _ in range(2):
        assert n8n.http.get(f"/webhook/{path}").status_code == 200
    wait_until(lambda: len(ok(n8n.get("/executions", workflowId=workflow["id"], status="success"))["data"]) == 3)
    first = ok(n8n.get("/executions", workflowId=workflow["id"], limit=2))
    second = ok(n8n.get("/executions", workflowId=workflow["id"], limit=2, cursor=first["nextCursor"]))
    ids = [row["id"] for row in first["data"] + second["data"]]
    assert [int(one) for one in ids] == sorted((int(one) for one in ids), reverse=True)
    assert json.loads(base64.b64decode(first["nextCursor"])) == {"lastId": ids[1], "limit": 2}
    assert set(first["data"][0]) == {"finished", "id", "mode", "retryOf", "retrySuccessId", "startedAt", "status", "stoppedAt",
                                     "waitTill", "workflowId"}
    whole = ok(n8n.get("/executions", workflowId=workflow["id"], includeData="true"))["data"][0]
    assert {"data", "workflowData"} <= set(whole)
    assert ("workflowVersionId" in whole) == n8n.is_v2
    assert n8n.post(f"/executions/{ids[0]}/retry", {}).status_code == (400 if n8n.is_v1 else 409)
    assert ok(n8n.delete(f"/executions/{ids[0]}"))["id"] == int(ids[0])


def test_an_audit_is_an_object_by_report(n8n: Target) -> None:
    if not n8n.real:
        pytest.skip("nothing of ours asks for an audit, so the sandbox has none")
    report = ok(n8n.post("/audit", {}))
    assert all(title.endswith("Report") for title in report)


def test_packages_are_exported_by_2x_alone(n8n: Target) -> None:
    if not n8n.real:
        pytest.skip("nothing of ours uses packages (a beta that failed on 12 of 40 workflows), so the sandbox has none")
    workflow = n8n.create(manual())
    answer = n8n.post("/n8n-packages/export", {"workflowIds": [workflow["id"]]})
    assert answer.status_code == (404 if n8n.is_v1 else 200)
    if n8n.is_v2:
        assert answer.headers["content-type"].startswith("application/gzip")
