"""Names, ids and paths that are longer than an index of PostgreSQL takes: nobody else's sweep ends with them (§20, §25)."""

from __future__ import annotations

import random
from typing import Any

import pytest

from wfops_pipelines.services import detect_drift
from wfops_pipelines_tests.servers.hostile import HostileServer, Request, http
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, workflow
from wfops_pipelines_tests.services.test_sweeps import swept

chance = random.Random(1)
LONG = "".join(chr(chance.randrange(0x4E00, 0x9FFF)) for _ in range(5000))  # which no compression makes short


def node(name: str = "N", kind: str = "x", **more: Any) -> dict[str, Any]:
    return {"id": "n", "name": name, "type": kind, "typeVersion": 1, "position": [0, 0], "parameters": {}, **more}


def beside_a_good_one(new_fleet: NewFleet) -> FleetUnderTest:
    fleet = new_fleet(("prod", "eu"))
    fleet["eu"].in_sync(workflow("A"))
    return fleet


@pytest.mark.parametrize("long", [
    pytest.param({"name": LONG}, id="name"), pytest.param({"name": "a" * 300_000}, id="name of one letter"),
    pytest.param({"tags": [{"id": "t", "name": LONG}]}, id="tag"),
    pytest.param({"nodes": [node(credentials={LONG: {"id": LONG, "name": LONG}})]}, id="credential"),
    pytest.param({"nodes": [node(LONG, LONG, parameters={"path": LONG})]}, id="node"),
    pytest.param({"nodes": [node(kind="n8n-nodes-base.webhook", webhookId=LONG, parameters={"path": LONG})]}, id="webhook")])
def test_a_workflow_of_n8n_with_a_long_text_is_read_like_any_other(new_fleet: NewFleet, long: dict[str, Any]) -> None:
    document = {**workflow("W"), "id": "w1", **long}
    fleet = beside_a_good_one(new_fleet)

    def script(request: Request) -> bytes:
        return http(200, {"data": [document], "nextCursor": None})

    with HostileServer(script) as server:
        fleet.declared("prod")["url"] = server.url
        fleet.apply()
        report = swept(fleet)
    assert report.counts == {"checked": 2}
    assert [mapping.name for mapping in fleet["prod"].mappings().values()] == [document["name"]]


def test_a_workflow_of_n8n_with_a_long_id_is_an_error_that_names_it_and_the_others_are_read(new_fleet: NewFleet) -> None:
    fleet = beside_a_good_one(new_fleet)
    listed = [{**workflow("Odd"), "id": LONG}, {**workflow("Good"), "id": "w1"}]
    with HostileServer(lambda asked: http(200, {"data": listed[:int(asked.query["limit"])], "nextCursor": None})) as server:
        fleet.declared("prod")["url"] = server.url
        fleet.apply()
        report = swept(fleet)
    assert report.counts.total() == 2 and report.statuses["IN_SYNC"] == 1
    assert [mapping.name for mapping in fleet["prod"].mappings().values()] == ["Good"]


def test_a_file_in_git_with_a_long_id_or_path_keeps_no_other_from_being_read(new_fleet: NewFleet) -> None:
    fleet = beside_a_good_one(new_fleet)
    prod = fleet["prod"]
    deep = "/".join(LONG[at:at + 80] for at in range(0, 1200, 80))
    for path, content in {"good.json": workflow("Good"), "id.json": {**workflow("Long id"), "id": LONG},
                          "name.json": workflow(LONG), f"{deep}/deep.json": workflow("Deep")}.items():
        prod.push_workflow(path, content)
    assert swept(fleet).counts == {"checked": 2}
    assert {state.name for state in fleet.reading(lambda work: work.git_states.of_environment(prod.row.id))} == {
        "Good", "Long id", LONG}
    (problem,) = fleet.reading(lambda work: work.git_states.errors(prod.row.id))
    assert problem.reason == "path_too_long" and len(problem.path) < 200


def test_data_that_the_database_refuses_fail_their_environment_alone(
        new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = beside_a_good_one(new_fleet)
    prod, real = fleet["prod"].row.id, detect_drift.check_drift

    async def refused(services: Any, context: Any, environment: Any, **more: Any) -> Any:
        if environment.id == prod:
            with services.store.unit_of_work(context, "test") as work:
                work.fleet.set_environment(prod, slug="\N{SNOWMAN}" * 5000 + LONG)
        return await real(services, context, environment, **more)

    monkeypatch.setattr("wfops_pipelines.services.sweep_visits.check_drift", refused)
    assert swept(fleet).counts == {"checked": 1, "failed": 1}
    assert (fleet["prod"].row.drift_status, fleet["prod"].row.drift_reason) == ("ERROR", "store_refused")
    assert fleet["eu"].row.drift_status == "IN_SYNC"
