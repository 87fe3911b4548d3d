"""What the history of a real n8n 2.x tells about an edit that came past WorkflowOps (§10)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from wfops_pipelines.embedded.n8n_server import N8nServer
from wfops_pipelines_tests.end_to_end.real_fleet import Person
from wfops_pipelines_tests.services.fleet import Environment, NewFleet, run, workflow
from wfops_pipelines_tests.services.incidents import fleet_with_incidents, open_incident

pytestmark = [pytest.mark.n8n, pytest.mark.xdist_group("n8n2")]
OWNER = "Olive Owner"  # whose key it is: n8n names no other author for what comes through its API


@pytest.fixture
def person(n8n_v2: N8nServer) -> Iterator[Person]:
    """Somebody in an n8n that is empty before and after."""
    person = Person(n8n_v2)
    person.delete_everything()
    yield person
    person.delete_everything()
    person.close()


@pytest.fixture
def prod(new_fleet: NewFleet, n8n_v2: N8nServer, person: Person) -> Environment:
    """A production environment on the real n8n, in real time."""
    fleet = fleet_with_incidents(new_fleet)
    fleet.services = replace(fleet.services, now=lambda: datetime.now(UTC))
    fleet.declared("prod")["url"] = n8n_v2.url
    fleet.secrets["KEY_PROD"] = n8n_v2.api_key
    fleet.apply()
    return fleet["prod"]


def in_sync(prod: Environment, person: Person, *names: str) -> list[dict[str, Any]]:
    """Given active workflows that are as Git says."""
    made = [person.create(workflow(name)) for name in names]
    for one in made:
        person.activate(one)
    prod.export()
    assert prod.check().status == "IN_SYNC"
    return made


def test_an_edit_names_the_owner_of_the_key_and_the_moment(prod: Environment, person: Person) -> None:
    orders, = in_sync(prod, person, "Orders")
    changed = copy.deepcopy(orders)
    changed["nodes"][1]["parameters"]["text"] = "by hand"
    before = datetime.now(UTC)
    person.edit(changed)
    after = datetime.now(UTC)
    assert prod.check().status == "DRIFT_INCIDENT_ACTIVE"
    row = open_incident(prod)
    (entry,) = row.cause["workflows"]
    assert (entry["kind"], entry["confidence"], entry["who"]) == ("edited_in_n8n", "certain", OWNER)
    told = datetime.fromisoformat(entry["earliest"])
    assert entry["earliest"] == entry["latest"]
    assert before.replace(microsecond=before.microsecond // 1000 * 1000) <= told <= after
    assert row.cause["summary"].startswith(f"edited in n8n by {OWNER}, at ")
    assert (row.cause["unread"], row.cause["again"]) == ([], False)


def test_created_switched_archived_and_deleted_workflows_as_far_as_n8n_tells(prod: Environment, person: Person) -> None:
    switched, archived, deleted = in_sync(prod, person, "Switched", "Archived", "Deleted")
    person.create(workflow("Hotfix"))
    person.deactivate(switched)
    person.deactivate(deleted)
    person.delete(deleted)
    run(prod.fleet.services.provider_of(prod.fleet.context, prod.row).archive_workflow(archived["id"]))
    prod.check()
    found = {entry["name"]: (entry["kind"], entry["confidence"], entry["who"])
             for entry in open_incident(prod).cause["workflows"]}
    assert found == {
        "Hotfix": ("created_in_n8n", "certain", OWNER),
        "Switched": ("deactivated_in_n8n", "certain", None),  # n8n shows only when one that is active was switched on
        "Archived": ("archived_in_n8n", "certain", OWNER),
        "Deleted": ("deleted_in_n8n", "certain", None),
    }


def test_switching_on_is_told_with_its_moment_and_without_a_name(prod: Environment, person: Person) -> None:
    orders = person.create(workflow("Orders"))
    prod.export()
    assert prod.check().status == "IN_SYNC"
    before = datetime.now(UTC)
    person.activate(orders)
    after = datetime.now(UTC)
    prod.check()
    (entry,) = open_incident(prod).cause["workflows"]
    assert (entry["kind"], entry["who"], entry["earliest"]) == ("activated_in_n8n", None, entry["latest"])
    told = datetime.fromisoformat(entry["earliest"])
    assert before.replace(microsecond=before.microsecond // 1000 * 1000) <= told <= after
