"""GET /workflows and GET /workflows/{id}: facts §4."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from wfops_pipelines.n8n.adapter import N8nProvider
from wfops_pipelines.n8n.provider import KnownPage
from wfops_pipelines_tests.n8n.conformance.target import (
    JsonObject,
    Target,
    manual,
    ok,
    refused,
    scheduled,
    unique,
    wait_until,
)

MANY = 260  # more than one page of the largest size


@pytest.fixture(scope="session")
def many(server: Target) -> Iterator[Target]:
    """The server with 260 workflows more."""
    mine = Target(server.name, server.generation, server.url, server.api_key, server.http)
    for number in range(MANY):
        mine.create({"name": f"one of many {number}", "nodes": [], "connections": {}, "settings": {}})
    yield mine
    mine.clean_up()


def _all(n8n: Target, limit: int) -> list[JsonObject]:
    page = ok(n8n.get("/workflows", limit=limit))
    rows = list(page["data"])
    while page["nextCursor"] is not None:
        page = ok(n8n.get("/workflows", limit=limit, cursor=page["nextCursor"]))
        rows += page["data"]
    return rows


def test_a_page_holds_100_by_default(many: Target) -> None:
    assert len(ok(many.get("/workflows"))["data"]) == 100


def test_a_limit_above_250_is_refused_by_1x_and_clamped_by_2x(many: Target) -> None:
    answer = many.get("/workflows", limit=251)
    if many.is_v1:
        assert refused(answer, 400) == "request/query/limit must be <= 250"
    else:
        assert len(ok(answer)["data"]) == 250


def test_a_limit_that_is_no_number_is_400(n8n: Target) -> None:
    refused(n8n.get("/workflows", limit="abc"), 400)


def test_a_limit_of_0_gives_rows_all_the_same(many: Target) -> None:
    assert ok(many.get("/workflows", limit=0))["data"]


def test_pages_follow_their_cursor_to_null_and_cover_all(many: Target) -> None:
    rows = _all(many, 250)
    assert len(rows) >= MANY
    assert len({row["id"] for row in rows}) == len(rows)


def test_a_page_is_data_and_next_cursor_alone(many: Target) -> None:
    page = ok(many.get("/workflows", limit=5))
    assert set(page) == {"data", "nextCursor"}
    assert len(page["data"]) == 5


def test_a_cursor_is_base64_of_limit_and_offset(many: Target) -> None:
    cursor = ok(many.get("/workflows", limit=7))["nextCursor"]
    assert base64.b64decode(cursor) == b'{"limit":7,"offset":7}'


def test_the_limit_of_the_cursor_wins(many: Target) -> None:
    cursor = ok(many.get("/workflows", limit=7))["nextCursor"]
    assert len(ok(many.get("/workflows", limit=3, cursor=cursor))["data"]) == 7


def test_a_cursor_can_be_forged(many: Target) -> None:
    rows = [row["id"] for row in ok(many.get("/workflows", limit=20))["data"]]
    cursor = base64.b64encode(b'{"limit":5,"offset":10}').decode()
    assert [row["id"] for row in ok(many.get("/workflows", cursor=cursor))["data"]] == rows[10:15]


def test_offset_is_a_parameter_of_2x_alone(many: Target) -> None:
    rows = [row["id"] for row in ok(many.get("/workflows", limit=20))["data"]]
    answer = many.get("/workflows", limit=5, offset=10)
    if many.is_v1:
        assert refused(answer, 400) == "Unknown query parameter 'offset'"
    else:
        assert [row["id"] for row in ok(answer)["data"]] == rows[10:15]


def test_a_bad_cursor_is_400(n8n: Target) -> None:
    assert refused(n8n.get("/workflows", cursor="nonsense"), 400) == "An invalid cursor was provided"


def test_rows_are_in_the_order_of_their_ids(many: Target) -> None:
    ids = [row["id"] for row in _all(many, 100)]
    assert ids == sorted(ids)


def test_ids_are_16_letters_and_digits(n8n: Target) -> None:
    workflow_id = n8n.create(manual())["id"]
    assert len(workflow_id) == 16
    assert workflow_id.isalnum()


def test_a_delete_between_two_pages_shifts_a_row_out_of_sight(n8n: Target) -> None:
    word = unique("shift").replace(" ", "")
    made = sorted((n8n.create(manual(f"{word} {i}")) for i in range(4)), key=lambda workflow: str(workflow["id"]))
    first = ok(n8n.get("/workflows", name=word, limit=2))
    ok(n8n.delete(f"/workflows/{made[0]['id']}"))
    second = ok(n8n.get("/workflows", name=word, limit=2, cursor=first["nextCursor"]))
    seen = [row["id"] for row in first["data"] + second["data"]]
    assert seen == [made[0]["id"], made[1]["id"], made[3]["id"]]  # the third was missed


def test_the_filter_active(n8n: Target) -> None:
    on, off = n8n.create(scheduled()), n8n.create(scheduled())
    n8n.activate(on)
    active = {row["id"] for row in ok(n8n.get("/workflows", active="true", limit=250))["data"]}
    assert on["id"] in active
    assert off["id"] not in active
    refused(n8n.get("/workflows", active="maybe"), 400)


def test_the_filter_tags_takes_names_and_means_all_of_them(n8n: Target) -> None:
    one, two = n8n.tag(), n8n.tag()
    both, single = n8n.create(manual()), n8n.create(manual())
    ok(n8n.put(f"/workflows/{both['id']}/tags", [{"id": one["id"]}, {"id": two["id"]}]))
    ok(n8n.put(f"/workflows/{single['id']}/tags", [{"id": one["id"]}]))

    def found(tags: str) -> set[str]:
        return {row["id"] for row in ok(n8n.get("/workflows", tags=tags))["data"]}

    assert found(one["name"]) == {both["id"], single["id"]}
    assert found(f"{one['name']},{two['name']}") == {both["id"]}
    assert found("no such tag") == set()


def test_an_empty_tags_filter_is_refused_by_1x_and_ignored_by_2x(n8n: Target) -> None:
    n8n.create(manual())
    answer = n8n.get("/workflows", tags="")
    if n8n.is_v1:
        refused(answer, 400)
    else:
        assert ok(answer)["data"]


def test_the_filter_name_is_part_of_the_name_in_any_case(n8n: Target) -> None:
    word = unique("needle").replace(" ", "")
    workflow = n8n.create(manual(f"before {word} after"))
    for asked in (word, word.upper()):
        assert [row["id"] for row in ok(n8n.get("/workflows", name=asked))["data"]] == [workflow["id"]]


def test_an_unknown_project_is_an_empty_list(n8n: Target) -> None:
    assert ok(n8n.get("/workflows", projectId="AAAAAAAAAAAAAAAA"))["data"] == []


def test_archived_is_no_filter(n8n: Target) -> None:
    answer = n8n.get("/workflows", isArchived="true")
    if n8n.is_v1:
        assert refused(answer, 400) == "Unknown query parameter 'isArchived'"
    else:
        ok(answer)


def test_archived_workflows_are_in_the_list(n8n: Target) -> None:
    if n8n.is_v1:
        pytest.skip("1.x cannot archive through its API")
    workflow = n8n.create(manual())
    assert n8n.listed(workflow)["isArchived"] is False
    ok(n8n.post(f"/workflows/{workflow['id']}/archive"))
    assert n8n.listed(workflow)["isArchived"] is True


_LISTED = {"id", "name", "active", "activeVersionId", "createdAt", "updatedAt", "isArchived", "versionId", "triggerCount",
           "nodes", "connections", "settings", "staticData", "meta", "pinData", "tags", "shared", "activeVersion"}


def test_the_fields_of_a_row(n8n: Target) -> None:
    row = n8n.listed(n8n.create(manual()))
    assert set(row) == _LISTED | ({"nodeGroups"} if n8n.is_v2 else set())
    assert set(row["shared"][0]) == {"role", "workflowId", "projectId", "createdAt", "updatedAt"}


def test_one_workflow_has_more_fields_than_its_row(n8n: Target) -> None:
    workflow = n8n.create(manual())
    row, one = n8n.listed(workflow), n8n.workflow(workflow["id"])
    more = {"description", "versionCounter"} | ({"sourceWorkflowId"} if n8n.is_v2 else set())
    assert set(one) - set(row) == more
    assert "project" in one["shared"][0]


def test_1x_shows_the_owner_and_so_personal_data(n8n: Target) -> None:
    project = n8n.workflow(n8n.create(manual())["id"])["shared"][0]["project"]
    assert ("projectRelations" in project) == n8n.is_v1


def test_a_row_carries_whole_nodes_and_connections(n8n: Target) -> None:
    workflow = n8n.create(scheduled())
    row, one = n8n.listed(workflow), n8n.workflow(workflow["id"])
    for key in ("name", "nodes", "connections", "settings", "active", "versionId", "updatedAt", "tags"):
        assert row[key] == one[key], key


def test_an_active_workflow_carries_a_second_copy_in_the_list_too(n8n: Target) -> None:
    workflow = n8n.create(scheduled())
    assert n8n.listed(workflow)["activeVersion"] is None
    n8n.activate(workflow)
    row = n8n.listed(workflow)
    assert row["activeVersion"]["nodes"] == row["nodes"]
    assert row["activeVersion"]["connections"] == row["connections"]
    assert ("workflowPublishHistory" in n8n.workflow(workflow["id"])["activeVersion"]) == n8n.is_v2


def test_exclude_pinned_data_drops_pinned_data_alone(n8n: Target) -> None:
    pinned: JsonObject = {} if n8n.is_v1 else {"pinData": {"Start": [{"json": {"a": 1}}]}}
    workflow = n8n.create(manual(**pinned))
    with_it = n8n.listed(workflow)
    without = ok(n8n.get("/workflows", name=workflow["name"], excludePinnedData="true"))["data"][0]
    if n8n.is_v2:
        assert with_it["pinData"] == pinned["pinData"]
    assert set(with_it) - set(without) <= {"pinData"}
    assert not without.get("pinData")


def test_a_deleted_workflow_leaves_no_trace(n8n: Target) -> None:
    workflow = n8n.create(manual())
    ok(n8n.delete(f"/workflows/{workflow['id']}"))
    refused(n8n.get(f"/workflows/{workflow['id']}"), 404)
    assert ok(n8n.get("/workflows", name=workflow["name"]))["data"] == []


def test_the_adapter_lists_them_all_page_by_page(many: Target) -> None:
    async def collect(provider: object) -> list[list[str]]:
        return [[row["id"] for row in page.workflows] async for page in provider.list_workflows(page_size=60)]  # type: ignore[attr-defined]

    found = many.provider(collect)
    assert [len(page) for page in found[:4]] == [60, 60, 60, 60]
    assert sorted(i for page in found for i in page) == sorted(row["id"] for row in _all(many, 250))


def test_trigger_counts_appear_after_activation(n8n: Target) -> None:
    workflow = n8n.create(scheduled())
    assert workflow["triggerCount"] == 0
    ok(n8n.post(f"/workflows/{workflow['id']}/activate"))
    wait_until(lambda: n8n.listed(workflow)["triggerCount"] == 1)


@pytest.mark.parametrize("query", ["{}=1&{}=2", "{}[]=1", "{}=1&{}=1"])
@pytest.mark.parametrize("name", ["limit", "cursor", "name", "active"])
def test_a_parameter_that_is_given_twice_is_an_array_and_refused(n8n: Target, name: str, query: str) -> None:
    said = refused(n8n.request("GET", f"/workflows?{query.replace('{}', name)}"), 400)
    kind = {"limit": "number", "active": "boolean"}.get(name, "string")
    expected = "'true' | 'false'" if name == "active" else "string"
    assert said == f"request/query/{name} " + (f"must be {kind}" if n8n.is_v1 else f"Expected {expected}, received array")


def test_a_listing_that_nobody_changed_is_byte_for_byte_the_same(many: Target, n8n: Target) -> None:
    """Which sweeps recognise it by (``still_lists``)."""
    async def known(provider: N8nProvider) -> list[KnownPage]:
        return [page.known_as async for page in provider.list_workflows(page_size=100)]

    wait_until(lambda: many.provider(known) == many.provider(known))  # what was activated just now is counted by then
    pages = many.provider(known)
    assert len(pages) > 2
    assert many.provider(lambda provider: provider.still_lists(pages, page_size=100))
    assert not many.provider(lambda provider: provider.still_lists(pages[:-1], page_size=100))
    assert not many.provider(lambda provider: provider.still_lists([], page_size=100))
    n8n.create(manual())
    assert not many.provider(lambda provider: provider.still_lists(pages, page_size=100))
