"""A restore on a real n8n 2.x (§13): edited, deleted, switched off, archived and new since the snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from wfops_pipelines.domain.normalize import content_hash
from wfops_pipelines.domain.workflow import read_listed
from wfops_pipelines.embedded.n8n_server import N8nServer
from wfops_pipelines_tests.end_to_end.real_fleet import Person
from wfops_pipelines_tests.services.fleet import Environment, NewFleet, calling, workflow
from wfops_pipelines_tests.services.promotions import roll_back
from wfops_pipelines_tests.services.restores import actions, ask, restorable, restore
from wfops_pipelines_tests.services.snapshots import snapshot

pytestmark = [pytest.mark.n8n, pytest.mark.xdist_group("n8n-v2")]

JsonObject = dict[str, Any]


@pytest.fixture
def person(n8n_v2: N8nServer) -> Iterator[Person]:
    """Somebody in an n8n that is empty before and after."""
    somebody = Person(n8n_v2)
    somebody.delete_everything()
    yield somebody
    somebody.delete_everything()
    somebody.close()


@pytest.fixture
def prod(new_fleet: NewFleet, n8n_v2: N8nServer, person: Person) -> Environment:
    """Production on that n8n, in real time."""
    fleet = restorable(new_fleet).fleet
    fleet.services = replace(fleet.services, now=lambda: datetime.now(UTC))
    fleet.declared("prod")["url"] = n8n_v2.url
    fleet.secrets["KEY_PROD"] = n8n_v2.api_key
    fleet.apply()
    return fleet["prod"]


def listed(person: Person) -> dict[str, JsonObject]:
    """What n8n holds, by name; archived ones left out."""
    return {each["name"]: each for each in person._ask("GET", "/workflows", limit=100)["data"] if not each.get("isArchived")}


def live(person: Person) -> dict[str, tuple[str, bool]]:
    """What runs, and whether it does."""
    return {name: (content_hash(read_listed(raw).live), raw["active"]) for name, raw in listed(person).items()}


def started_by_others(name: str) -> JsonObject:
    """A sub-workflow with a trigger of its own."""
    made = workflow(name)
    made["nodes"].append({"id": "t", "name": "When called", "type": "n8n-nodes-base.executeWorkflowTrigger",
                          "typeVersion": 1.1, "position": [0, 200], "parameters": {"inputSource": "passthrough"}})
    return made


def test_a_real_n8n_is_restored_and_brought_forward_again(prod: Environment, person: Person) -> None:
    called = person.create(started_by_others("Called"))
    person.activate(called)
    caller = person.create(calling("Caller", called["id"]))
    steady, shelved, off = (person.create(workflow(name)) for name in ("Edited", "Shelved", "Off"))
    for each in (caller, steady, off):
        person.activate(each)
    prod.sync()
    prod.export()
    before = snapshot(prod)
    was = live(person)

    edited = person.get(steady)
    edited["nodes"][1]["parameters"]["text"] = "worse"
    person.edit(edited)
    person.deactivate(off)
    person._ask("POST", f"/workflows/{shelved['id']}/archive")
    for each in (caller, called):
        person.deactivate(each)
        person.delete(each)
    person.create(workflow("New"))
    now = live(person)

    done = restore(prod, before, prune=True)
    assert done.status == "completed", (done.reason, done.workflows)
    assert actions(done) == {"Edited": "update", "Off": "activate", "Shelved": "unarchive", "Called": "create",
                             "Caller": "create", "New": "archive"}
    there = listed(person)
    ids = {name: raw["id"] for name, raw in there.items()}
    after = live(person)
    assert {name: state for name, state in after.items() if name != "Caller"} == {
        name: state for name, state in was.items() if name != "Caller"}
    assert after["Caller"][1] and next(node for node in there["Caller"]["nodes"] if node["name"] == "Call")[
        "parameters"]["workflowId"]["value"] == ids["Called"]
    assert (ids["Edited"], ids["Off"], ids["Shelved"]) == (steady["id"], off["id"], shelved["id"])
    assert done.commit and done.drift_status == "IN_SYNC"
    assert ask(prod, before, prune=True).status == "unchanged"

    back = roll_back(prod.fleet, done.number or 0)
    assert back.status == "rolled_back" and live(person) == now
