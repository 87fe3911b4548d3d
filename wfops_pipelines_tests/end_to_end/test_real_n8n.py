"""The main job on real servers, by the command line alone: three n8n 2.x, and Git over ``file://`` and over HTTP.

Slow by nature (each command is a process that opens the installation), so each test is one story.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from wfops_pipelines_tests.end_to_end.real_fleet import RealFleet, commits
from wfops_pipelines_tests.end_to_end.real_workflows import seed, workflows
from wfops_pipelines_tests.servers.bare import BareRepository, make_bare
from wfops_pipelines_tests.servers.git_http import GitHttpServer

pytestmark = [pytest.mark.n8n, pytest.mark.xdist_group("end_to_end")]

JsonObject = dict[str, Any]
DEV_WORKFLOWS = 200
TOKEN = "token-of-acme"


@dataclass(frozen=True)
class Hosting:
    """A bare repository, and how fleet.yaml names it."""

    tenant: str
    repository: BareRepository
    declared: Mapping[str, Any]


@pytest.fixture(params=["file", "http"])
def hosting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hosting]:
    """An empty repository over ``file://``, and over HTTP for those who have the token."""
    tenant = f"acme-{uuid.uuid4().hex[:6]}"
    bare = make_bare(tmp_path / "acme.git")
    if request.param == "file":
        yield Hosting(tenant, bare, {"url": bare.url, "branch": "main"})
        return
    with GitHttpServer(tmp_path, tokens={TOKEN: "rw"}) as server:
        yield Hosting(tenant, bare, {"url": server.url("acme.git"), "branch": "main", "token": "env:ACCESS"})


@pytest.fixture(scope="module")
def dev(real_fleet: RealFleet) -> RealFleet:
    """The dev server holds 200 workflows as people make them."""
    server = real_fleet.servers["dev"]
    assert len(seed(server.url, server.api_key, workflows(), DEV_WORKFLOWS)) == DEV_WORKFLOWS
    return real_fleet


def test_an_export_of_200_workflows_is_one_commit_and_a_second_none_and_all_are_linked(
        dev: RealFleet, hosting: Hosting) -> None:
    tenant, repository = hosting.tenant, hosting.repository
    assert dev.declare(tenant, hosting.declared, ["dev", "staging", "prod"], token=TOKEN).code == 0
    again = dev.declare(tenant, hosting.declared, ["dev", "staging", "prod"], token=TOKEN).json["changes"]
    assert [change for change in again if change["tenant"] == tenant] == []

    first = dev.run("export", tenant, "dev")
    assert commits(repository) == 1 and first["commit"] == repository.head()
    assert {file["change"] for file in first["files"]} == {"added"}
    assert sorted(repository.files()) == sorted(file["path"] for file in first["files"])
    assert len(first["files"]) == DEV_WORKFLOWS

    second = dev.run("export", tenant, "dev")
    assert (second["commit"], second["files"], second["unchanged"]) == (None, [], DEV_WORKFLOWS)
    assert commits(repository) == 1

    rows = {row["environment"]: row for row in dev.run("sync", tenant)}
    assert set(rows) == {"dev", "staging", "prod"}
    counted = {name: rows["dev"][name] for name in ("seen", "created", "updated", "unchanged", "linked", "untracked",
                                                    "missing", "errors")}
    assert counted == {"seen": DEV_WORKFLOWS, "created": 0, "updated": 0, "unchanged": DEV_WORKFLOWS,
                       "linked": DEV_WORKFLOWS, "untracked": 0, "missing": 0, "errors": 0}
    assert dev.run("audit", "verify", tenant)["ok"]


def test_an_edit_in_n8n_is_found_as_modified_and_reverting_it_brings_in_sync(
        real_fleet: RealFleet, hosting: Hosting) -> None:
    person = real_fleet.people["prod"]
    edited, _ = baseline(real_fleet, hosting, ["Orders", "Invoices"])

    person.edit(changed(edited))
    assert drift(real_fleet, hosting.tenant, code=3) == ("DRIFT_DETECTED", {"Orders": "modified"})

    person.edit(edited)
    assert drift(real_fleet, hosting.tenant) == ("IN_SYNC", {})


@pytest.mark.parametrize("hosting", ["file"], indirect=True)
def test_what_was_added_deleted_deactivated_or_left_as_a_draft_is_named_and_put_right(
        real_fleet: RealFleet, hosting: Hosting) -> None:
    person = real_fleet.people["prod"]
    deleted, drafted, switched, _ = baseline(real_fleet, hosting, ["Invoices", "Returns 💶", "Reports", "Stock"],
                                             active=["Returns 💶", "Reports", "Stock"])
    assert drift(real_fleet, hosting.tenant) == ("IN_SYNC", {})

    added = person.create(daily("Hotfix"))
    person.delete(deleted)
    person.edit(changed(drafted), publish=False)
    person.deactivate(switched)
    assert drift(real_fleet, hosting.tenant, code=3) == ("DRIFT_DETECTED", {
        "Hotfix": "added_in_runtime", "Invoices": "missing_in_runtime", "Returns 💶": "unpublished_changes",
        "Reports": "activation"})

    person.delete(added)
    person.create(deleted)  # under a new id: its content says which workflow it is
    person.activate(switched)
    assert drift(real_fleet, hosting.tenant) == ("IN_SYNC", {"Returns 💶": "unpublished_changes"})

    person.edit(drafted)
    assert drift(real_fleet, hosting.tenant) == ("IN_SYNC", {})
    assert commits(hosting.repository) == 1
    assert real_fleet.run("audit", "verify", hosting.tenant)["ok"]


def baseline(fleet: RealFleet, hosting: Hosting, names: Sequence[str], *, active: Sequence[str] = ()) -> list[JsonObject]:
    """A prod that holds these workflows alone, and has exported them to Git."""
    person = fleet.people["prod"]
    person.delete_everything()
    made = [person.create(daily(name)) for name in names]
    for workflow in made:
        if workflow["name"] in active:
            person.activate(workflow)
    assert fleet.declare(hosting.tenant, hosting.declared, ["staging", "prod"], token=TOKEN).code == 0
    assert len(fleet.run("export", hosting.tenant, "prod")["files"]) == len(names)
    return made


def drift(fleet: RealFleet, tenant: str, *, code: int = 0) -> tuple[str, dict[str, str]]:
    """``wfops drift TENANT prod --json``: the status, and the kind of each workflow that it names."""
    (row,) = fleet.run("drift", tenant, "prod", code=code)
    assert len({workflow["name"] for workflow in row["workflows"]}) == len(row["workflows"])
    return row["status"], {workflow["name"]: workflow["kind"] for workflow in row["workflows"]}


def daily(name: str) -> JsonObject:
    """A workflow that can be activated, and does nothing once a day."""
    nodes = [
        {"id": str(uuid.uuid4()), "name": "Every day", "type": "n8n-nodes-base.scheduleTrigger", "typeVersion": 1.2,
         "position": [0, 0], "parameters": {"rule": {"interval": [{"field": "days", "daysInterval": 1}]}}},
        {"id": str(uuid.uuid4()), "name": "Note it", "type": "n8n-nodes-base.set", "typeVersion": 3.4, "position": [220, 0],
         "parameters": {"mode": "raw", "jsonOutput": "{\"by\": \"" + name + "\"}", "options": {}}}]
    return {"name": name, "nodes": nodes, "settings": {"executionOrder": "v1"},
            "connections": {"Every day": {"main": [[{"node": "Note it", "type": "main", "index": 0}]]}}}


def changed(workflow: JsonObject) -> JsonObject:
    """The same workflow with one parameter changed."""
    other = copy.deepcopy(workflow)
    other["nodes"][1]["parameters"]["jsonOutput"] = "{\"by\": \"hand\"}"
    return other

