"""Incidents on a real n8n 2.x, by the command line alone: found, told, acknowledged, reverted or promoted, and closed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wfops_pipelines_tests.end_to_end.real_fleet import RealFleet, commits
from wfops_pipelines_tests.end_to_end.test_real_n8n import changed, daily
from wfops_pipelines_tests.servers.bare import BareRepository, make_bare
from wfops_pipelines_tests.services.outbox import Receiver

pytestmark = [pytest.mark.n8n, pytest.mark.xdist_group("end_to_end")]

JsonObject = dict[str, Any]


@pytest.fixture
def hooks() -> Iterator[Receiver]:
    """Who is on call."""
    with Receiver() as receiver:
        yield receiver


def production(fleet: RealFleet, folder: Path, receiver: Receiver, *names: str,
               **policy: Any) -> tuple[str, BareRepository, list[JsonObject]]:
    """A tenant whose prod holds these workflows, active, as Git does; its drift is followed up and told."""
    tenant, bare, person = f"acme-{uuid.uuid4().hex[:6]}", make_bare(folder / "acme.git"), fleet.people["prod"]
    person.delete_everything()
    made = [person.create(daily(name)) for name in names]
    for workflow in made:
        person.activate(workflow)
    (folder / "hook").write_text(receiver.url)
    applied = fleet.declare(
        tenant, {"url": bare.url, "branch": "main"}, ["staging", "prod"], writable=True,
        drift_policy={"auto_create_incidents": True, **policy},
        notifications=[{"name": "on-call", "url": f"file:{folder / 'hook'}"}])
    assert applied.code == 0, applied.err
    assert len(fleet.run("export", tenant, "prod")["files"]) == len(names)
    return tenant, bare, made


def test_an_edit_in_production_is_followed_from_found_to_reverted_and_closed(
        real_fleet: RealFleet, tmp_path: Path, hooks: Receiver) -> None:
    person = real_fleet.people["prod"]
    tenant, bare, (orders, billing) = production(real_fleet, tmp_path, hooks, "Orders", "Billing")
    person.edit(changed(orders))

    (row,) = real_fleet.run("drift", tenant, "prod", code=3)
    assert row["status"] == "DRIFT_INCIDENT_ACTIVE"
    (listed,) = real_fleet.run("incident", "list", tenant)
    assert (listed["status"], listed["severity"], listed["environment"]) == ("detected", "low", "prod")
    assert "Orders" in listed["title"]
    real_fleet.run("notify", "send", tenant)
    assert [message["title"] for message in hooks.told if "Orders" in message["title"]], hooks.told

    real_fleet.run("incident", "ack", listed["id"], "--reason", "looking")
    plan = real_fleet.run("incident", "reconcile", listed["id"], "--resolution", "revert", "--dry-run", code=0)
    assert [(p["action"], p["name"]) for p in plan["plan"]] == [("update", "Orders")]
    assert person.get(orders)["nodes"] == person.edit(changed(orders))["nodes"]  # nothing was written

    done = real_fleet.run("incident", "reconcile", listed["id"], "--resolution", "revert", "--yes")
    assert (done["status"], done["drift_status"]) == ("closed", "IN_SYNC")
    live = person.get(orders)
    assert live["active"] and live["activeVersion"]["nodes"][1]["parameters"] == orders["nodes"][1]["parameters"]
    assert [node["id"] for node in live["nodes"]] == [node["id"] for node in orders["nodes"]]
    assert person.get(billing)["versionId"] == billing["versionId"]
    assert real_fleet.run("drift", tenant, "prod")[0]["status"] == "IN_SYNC"
    assert commits(bare) == 1

    shown = real_fleet.run("incident", "show", listed["id"])
    told = [event["action"] for event in shown["timeline"] if event["action"].startswith("incident.")]
    assert told[0] == "incident.opened" and told[-1] == "incident.closed"
    assert told.index("incident.acknowledged") < told.index("incident.reconciled")
    assert real_fleet.run("audit", "verify", tenant)["ok"]
    real_fleet.run("notify", "send", tenant)
    assert [m["title"] for m in hooks.told if "closed" in m["title"]], hooks.told


def test_what_somebody_did_in_production_is_promoted_to_git(real_fleet: RealFleet, tmp_path: Path,
                                                            hooks: Receiver) -> None:
    person = real_fleet.people["prod"]
    tenant, bare, (orders,) = production(real_fleet, tmp_path, hooks, "Orders")
    person.edit(changed(orders))
    person.create(daily("Hotfix"))
    real_fleet.run("drift", tenant, "prod", code=3)
    (listed,) = real_fleet.run("incident", "list", tenant)
    real_fleet.run("incident", "ack", listed["id"])
    done = real_fleet.run("incident", "reconcile", listed["id"], "--resolution", "promote", "--yes")
    assert (done["status"], done["commit"], commits(bare)) == ("closed", bare.head(), 2)
    written = json.loads(bare.files()["prod/workflows/orders.json"])
    assert written["nodes"][1]["parameters"]["jsonOutput"] == "{\"by\": \"hand\"}"
    assert "prod/workflows/hotfix.json" in bare.files()
    assert real_fleet.run("drift", tenant, "prod")[0]["status"] == "IN_SYNC"
    assert real_fleet.run("audit", "verify", tenant)["ok"]


def test_a_workflow_that_was_deleted_comes_back_active_and_one_that_was_added_is_archived(
        real_fleet: RealFleet, tmp_path: Path, hooks: Receiver) -> None:
    person = real_fleet.people["prod"]
    tenant, _, (orders,) = production(real_fleet, tmp_path, hooks, "Orders")
    person.deactivate(orders)
    person.delete(orders)
    added = person.create(daily("Hotfix"))
    real_fleet.run("drift", tenant, "prod", code=3)
    (listed,) = real_fleet.run("incident", "list", tenant)
    real_fleet.run("incident", "ack", listed["id"])
    done = real_fleet.run("incident", "reconcile", listed["id"], "--resolution", "revert", "--prune", "--yes")
    assert done["drift_status"] == "IN_SYNC"
    created = next(w["workflow_id"] for w in done["writes"] if w["action"] == "create")
    live = person.get({"id": created})
    assert live["active"] and "wfops" not in (live["staticData"] or {})
    assert person.get(added)["isArchived"]
    assert real_fleet.run("drift", tenant, "prod")[0]["workflows"] == []
