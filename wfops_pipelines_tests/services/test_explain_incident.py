"""An incident says why, since when, how far it reaches and where else: §10."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row

from wfops_pipelines import failpoints
from wfops_pipelines.domain.incident import IncidentEvent
from wfops_pipelines.services.explain_incident import MAX_ASKED, incident_pictures, similar
from wfops_pipelines_tests.servers.bare import make_bare
from wfops_pipelines_tests.services.fleet import Environment, NewFleet, calling, file_bytes, with_credential, workflow
from wfops_pipelines_tests.services.incidents import POLICY, acknowledge, drifted, fleet_with_incidents, open_incident, step


def cause_of(environment: Environment, name: str | None = None) -> dict[str, Any]:
    """The cause that the open incident has of a workflow, or of its only one."""
    entries = open_incident(environment).cause["workflows"]
    found: dict[str, Any] = next(entry for entry in entries if name in (None, entry["name"]))
    return found


def texts(entry: dict[str, Any], source: str) -> list[str]:
    """What a source says."""
    return [evidence["text"] for evidence in entry["evidence"] if evidence["source"] == source]


def test_an_edit_in_n8n_names_who_saved_it_and_when(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    (workflow_id,) = prod.in_sync(workflow("Orders"))
    prod.fleet.clock.pass_time(hours=1)
    prod.edit_in_n8n(workflow_id)
    prod.fleet.clock.pass_time(hours=1)
    prod.check()
    row, entry = open_incident(prod), cause_of(prod)
    saved = prod.raw(workflow_id).draft.created_at.replace("Z", "+00:00")
    assert (entry["workflow_id"], entry["kind"], entry["confidence"], entry["who"]) == (
        workflow_id, "edited_in_n8n", "certain", "O W")
    assert entry["earliest"][:23] == entry["latest"][:23] == saved[:23]
    assert row.cause["summary"].startswith("edited in n8n by O W, at 2026-03-01 13:00 UTC")
    assert "between the two, n8n changed" in texts(entry, "checks")
    assert "between the two, Git did not change" in texts(entry, "checks")
    assert any(text.endswith("saved by O W") for text in texts(entry, "n8n"))
    assert (row.cause["again"], row.cause["unread"], row.cause["not_explained"]) == (False, [], 0)


def test_a_change_in_git_names_the_author_of_the_last_commit(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    (workflow_id,) = prod.in_sync(workflow("Orders"))
    (path,) = prod.files()
    prod.push_files({path: file_bytes(workflow("Orders", text="new in Git"), id=workflow_id)})
    prod.check()
    entry = cause_of(prod)
    assert (entry["kind"], entry["confidence"], entry["who"]) == ("not_deployed", "certain", "Ada")
    assert texts(entry, "git") == [f"last commit of the file: {str(prod.fleet.repository.head())[:12]} by Ada: change"]


def test_a_change_on_both_sides_names_both(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    (workflow_id,) = prod.in_sync(workflow("Orders"))
    prod.edit_in_n8n(workflow_id, "by hand")
    (path,) = prod.files()
    prod.push_files({path: file_bytes(workflow("Orders", text="new in Git"))})
    prod.check()
    assert (cause_of(prod)["kind"], cause_of(prod)["confidence"]) == ("changed_on_both_sides", "certain")


def test_created_deleted_archived_and_switched_workflows_and_removed_files_are_told_apart(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    names = ["Deleted", "Archived", "Switched", "Removed"]
    deleted, archived, switched, _ = prod.in_sync(*(workflow(name) for name in names))
    prod.create_in_n8n(workflow("Created"))
    prod.delete_in_n8n(deleted)
    prod.archive_in_n8n(archived)
    prod.activate_in_n8n(switched)
    paths = {data["name"]: path for path, data in ((p, _json(b)) for p, b in prod.files().items())}
    prod.push_files({paths["Removed"]: None,
                     paths["Switched"]: file_bytes(workflow("Switched"), id=switched, active=False)})
    prod.check()
    found = {entry["name"]: (entry["kind"], entry["confidence"]) for entry in open_incident(prod).cause["workflows"]}
    assert found == {
        "Created": ("created_in_n8n", "certain"), "Deleted": ("deleted_in_n8n", "certain"),
        "Archived": ("archived_in_n8n", "certain"), "Removed": ("removed_from_git", "certain"),
        "Switched": ("changed_on_both_sides", "certain"),
    }
    assert cause_of(prod, "Created")["who"] == "O W"
    assert cause_of(prod, "Removed")["who"] == "Ada"
    assert cause_of(prod, "Deleted")["workflow_id"] == deleted
    assert cause_of(prod, "Archived")["who"] == "O W"
    assert open_incident(prod).change_group is not None


def _json(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(data)
    return found


def test_n8n_1x_tells_no_author_and_the_reason_is_recorded(new_fleet: NewFleet) -> None:
    prod = fleet_with_incidents(new_fleet, generation=1)["prod"]
    drifted(prod, workflow("Orders"))
    entry = cause_of(prod)
    assert (entry["kind"], entry["confidence"], entry["who"]) == ("edited_in_n8n", "certain", None)
    assert any("1.x cannot show the history" in text for text in texts(entry, "n8n"))
    assert any(text.startswith("updatedAt of the workflow") for text in texts(entry, "n8n"))
    assert open_incident(prod).cause["again"] is False


@pytest.mark.parametrize("fault", [
    {"kind": "status", "status": 404}, {"kind": "forbid"}, {"kind": "html"}, {"kind": "wrong_json"}, {"kind": "reset"}],
    ids=lambda fault: "-".join(map(str, fault.values())))
def test_a_history_that_cannot_be_read_does_not_fail_the_check(new_fleet: NewFleet, fault: dict[str, Any]) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    ids = prod.in_sync(workflow("Orders"), workflow("Returns"))
    for workflow_id in ids:
        prod.edit_in_n8n(workflow_id)
    prod.sandbox.faults.add(**fault, path="/history")
    assert prod.check().status == "DRIFT_INCIDENT_ACTIVE"
    for name in ("Orders", "Returns"):
        entry = cause_of(prod, name)
        assert (entry["kind"], entry["who"]) == ("edited_in_n8n", None)
        assert any(text.startswith("the version history could not be read: ") for text in texts(entry, "n8n"))
    assert prod.fleet.operations()[-1].state == "completed"


def test_n8n_that_goes_down_while_explaining_is_asked_again_by_the_next_check(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    ids = prod.in_sync(*(workflow(f"W{number}") for number in range(9)))
    for workflow_id in ids:
        prod.edit_in_n8n(workflow_id)
    fault = prod.sandbox.faults.add("status", status=503, path="/history")
    assert prod.check().status == "DRIFT_INCIDENT_ACTIVE"
    assert fault.hits <= prod.fleet.services.limits.instance_concurrency  # then it asks no more
    row = open_incident(prod)
    assert row.cause["again"] and row.cause["unread"][0]["source"] == "n8n"
    assert all(any("could not be read" in t for t in texts(entry, "n8n")) for entry in row.cause["workflows"])

    prod.sandbox.faults.clear()
    prod.check()
    row = open_incident(prod)
    assert {entry["who"] for entry in row.cause["workflows"]} == {"O W"}
    assert row.cause["again"] is False
    assert row.cause["summary"] == "9 workflows edited in n8n by O W; at 2026-03-01 12:00 UTC"


def test_n8n_that_takes_too_long_is_not_waited_for(new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfops_pipelines.services.incident_facts.ASKING", 0.05)
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    (workflow_id,) = prod.in_sync(workflow("Orders"))
    prod.edit_in_n8n(workflow_id)
    prod.sandbox.faults.add("latency", ms=2000, path="/history")
    assert prod.check().status == "DRIFT_INCIDENT_ACTIVE"
    assert "the version history could not be read: n8n did not answer within 0.05 s" in texts(cause_of(prod), "n8n")
    assert open_incident(prod).cause["again"] is True


def test_git_that_cannot_be_read_is_said_and_the_rest_is_explained(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(fleet_with_incidents)
    prod = fleet["prod"]
    (workflow_id,) = prod.in_sync(workflow("Orders"))
    prod.edit_in_n8n(workflow_id)
    services = fleet.services

    def repository_of(context: Any, environment: Any) -> Any:
        """The sync has read it; then it is gone."""
        opened = type(services).repository_of(services, context, environment)
        fleet.repository.path.rename(fleet.repository.path.with_suffix(".away"))
        for clone in (fleet.home / "tenants").rglob("HEAD"):
            clone.unlink()
        return opened

    object.__setattr__(services, "repository_of", repository_of)
    assert prod.check().status == "DRIFT_INCIDENT_ACTIVE"
    entry = cause_of(prod)
    assert (entry["kind"], entry["who"]) == ("edited_in_n8n", "O W")
    assert [text for text in texts(entry, "git") if text.startswith("the last commit could not be read: ")]
    assert [one["source"] for one in open_incident(prod).cause["unread"]] == ["git"]


def test_what_is_explained_is_not_asked_again_and_what_is_new_is_added(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    ids = prod.in_sync(workflow("Orders"), workflow("Returns"))
    prod.edit_in_n8n(ids[0])
    prod.check()
    first = cause_of(prod, "Orders")
    asked = _histories(prod)
    prod.check()
    assert _histories(prod) == asked
    prod.fleet.clock.pass_time(hours=1)
    prod.edit_in_n8n(ids[1])
    prod.check()
    assert _histories(prod) == asked + 1
    assert cause_of(prod, "Orders") == first
    assert cause_of(prod, "Returns")["who"] == "O W"
    assert open_incident(prod).cause["summary"] == (
        "2 workflows edited in n8n by O W; between 2026-03-01 12:00 UTC and 2026-03-01 13:00 UTC")
    assert prod.fleet.actions()["incident.explained"] == 2
    assert prod.fleet.chain_verifies()


def _histories(environment: Environment) -> int:
    calls: list[str] = next(calls for name, calls in environment.fleet.host.requests.items()
                            if environment.url.endswith(f"/{name}"))
    return sum(call.endswith("/history") for call in calls)


def test_a_workflow_that_goes_on_changing_is_explained_anew(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    _, (workflow_id,) = drifted(prod, workflow("Orders"))
    prod.fleet.clock.pass_time(hours=3)
    prod.edit_in_n8n(workflow_id, "and again")
    prod.check()
    entry = cause_of(prod)
    assert (entry["earliest"][:13], entry["latest"][:13]) == ("2026-03-01T12", "2026-03-01T15")


@pytest.mark.parametrize("at", ["before_commit", "after_commit"])
def test_a_check_that_dies_while_explaining_leaves_its_incident_to_be_explained_by_the_next(
        new_fleet: NewFleet, at: str) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    (workflow_id,) = prod.in_sync(workflow("Orders"))
    prod.edit_in_n8n(workflow_id)
    failpoints.arm(f"incident.explain.{at}=raise")
    with pytest.raises(failpoints.FailpointReached):
        prod.check()
    assert (open_incident(prod).cause is None) == (at == "before_commit")
    prod.check()
    assert cause_of(prod)["who"] == "O W"
    assert prod.fleet.actions()["incident.explained"] == 1
    assert prod.fleet.chain_verifies()


def test_an_unexpected_failure_of_explaining_does_not_fail_the_check(
        new_fleet: NewFleet, caplog: pytest.LogCaptureFixture) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    (workflow_id,) = prod.in_sync(workflow("Orders"))
    prod.edit_in_n8n(workflow_id)
    services = prod.fleet.services

    def repository_of(context: Any, environment: Any) -> Any:
        if prod.fleet.reading(lambda work: work.incidents.open_of(environment.id)) is not None:
            raise ValueError("nobody thought of this")
        return type(services).repository_of(services, context, environment)

    object.__setattr__(services, "repository_of", repository_of)
    assert prod.check().status == "DRIFT_INCIDENT_ACTIVE"
    assert open_incident(prod).cause is None
    assert "could not be explained" in caplog.text
    object.__delattr__(services, "repository_of")
    prod.check()
    assert cause_of(prod)["who"] == "O W"


def test_names_that_nobody_sees_or_the_store_refuses_are_explained_too(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    odd = workflow("odd \u202e \u0000 name")
    odd["nodes"].append({"id": "h", "name": "Hook\u0000", "type": "n8n-nodes-base.webhook", "typeVersion": 2,
                         "position": [0, 200], "parameters": {"path": "p\u0000\ud800"}, "webhookId": "w"})
    (workflow_id,) = prod.in_sync(odd)
    prod.edit_in_n8n(workflow_id)
    prod.check()
    row = open_incident(prod)
    assert row.cause["workflows"][0]["who"] == "O W"
    assert row.reach["counts"]["entry_points"] == 1


def test_acknowledging_explains_nothing_anew(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    number, _ = drifted(prod, workflow("Orders"))
    acknowledge(prod, number)
    prod.check()
    assert prod.fleet.actions()["incident.explained"] == 1


def test_drift_that_was_there_at_the_first_check_says_that_it_does_not_know(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    prod.push_workflow("a.json", workflow("Orders"))
    prod.create_in_n8n(workflow("Orders", text="other"))
    prod.check()
    entry = cause_of(prod)
    assert (entry["earliest"], entry["confidence"]) in {(None, "unknown"), (None, "possible"), (None, "likely")}


def test_the_reach_names_callers_and_shared_credentials_of_the_environment(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    (called,) = prod.create_in_n8n(with_credential("Orders", "Shop"))
    _, caller = prod.create_in_n8n(with_credential("Returns", "Shop"), calling("Caller", called))
    prod.export()
    assert prod.check().status == "IN_SYNC"
    prod.edit_in_n8n(called, node=("Say", {"text": "edited"}))
    prod.check()
    row = open_incident(prod)
    assert [(c["workflow"]["workflow_id"], c["distance"]) for c in row.reach["callers"]] == [(caller, 1)]
    assert [ref["name"] for use in row.reach["credentials"] for ref in use["others"]] == ["Returns"]
    assert row.reach["counts"]["callers"] == 1
    assert row.reach["summary"] == "called by 1 workflow, runs on 1 schedule, shares credentials with 1 workflow"


def test_a_deleted_workflow_still_tells_who_called_it(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    (called,) = prod.create_in_n8n(workflow("Orders"))
    prod.create_in_n8n(calling("Caller", called))
    prod.export()
    assert prod.check().status == "IN_SYNC"
    prod.delete_in_n8n(called)
    prod.check()
    reach = open_incident(prod).reach
    assert [c["workflow"]["name"] for c in reach["callers"]] == ["Caller"]
    assert [(ref["name"], ref["active"]) for ref in reach["affected"]] == [("Orders", False)]


def test_the_same_edit_elsewhere_is_found_within_the_tenant_and_another_one_is_not(new_fleet: NewFleet) -> None:
    fleet = fleet_with_incidents(new_fleet, ("staging", "prod", "qa"), policy={"auto_create_for_production_only": False})
    for slug, text in (("staging", "hotfix"), ("prod", "hotfix"), ("qa", "other")):
        drifted(fleet[slug], workflow("Orders"), text=text)
    prod, staging = open_incident(fleet["prod"]), open_incident(fleet["staging"])
    expected = [{"tenant": "acme", "environment": "staging", "number": staging.number, "id": str(staging.id)}]
    assert similar(fleet.services, fleet.context, prod) == expected
    assert similar(fleet.services, fleet.context, prod, any_tenant=True) == expected
    assert similar(fleet.services, fleet.context, open_incident(fleet["qa"])) == []
    step(fleet["staging"], staging.number, IncidentEvent.CLOSE)
    assert similar(fleet.services, fleet.context, prod) == []


def test_the_same_edit_in_another_tenant_is_told_to_those_who_may_see_all(new_fleet: NewFleet, tmp_path: Path) -> None:
    acme = new_fleet.as_left_by(fleet_with_incidents)
    globex = replace(acme, slug="globex", repository=make_bare(tmp_path / "globex.git"), environments={}, secrets={})
    globex.declare(drift_policy=POLICY)
    for fleet in (acme, globex):
        drifted(fleet["prod"], workflow("Orders"), text="hotfix")
    row, other = open_incident(acme["prod"]), open_incident(globex["prod"])
    assert similar(acme.services, acme.context, row) == []
    assert similar(acme.services, acme.context, row, any_tenant=True) == [
        {"tenant": "globex", "environment": "prod", "number": other.number, "id": str(other.id)}]


def test_pictures_are_of_what_the_incident_found_whatever_came_later(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    changed, deleted = prod.in_sync(workflow("Orders"), workflow("Returns"))
    prod.edit_in_n8n(changed)
    prod.delete_in_n8n(deleted)
    prod.create_in_n8n(workflow("New"))
    prod.check()
    row = open_incident(prod)
    before = _pictures(prod, row)
    assert [name for name, _ in before] == ["Orders", "New", "Returns"]
    assert all(svg.startswith("<svg") for _, svg in before)
    assert "not in n8n" in before[2][1] and "not in Git" in before[1][1]
    prod.edit_in_n8n(changed, "yet another")
    prod.check()
    assert _pictures(prod, row) == before
    assert [name for name, _ in _pictures(prod, row, limit=1)] == ["Orders"]


def _pictures(environment: Environment, row: Row[Any], **options: Any) -> list[tuple[str, str]]:
    fleet = environment.fleet
    return [(picture.name, picture.svg) for picture in incident_pictures(fleet.services, fleet.context, row, **options)]


def test_of_500_drifting_workflows_some_are_asked_about_and_all_are_counted(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    ids = prod.in_sync(*(workflow(f"W{number:03}") for number in range(500)))
    for workflow_id in ids:
        prod.edit_in_n8n(workflow_id)
    prod.check()
    row = open_incident(prod)
    assert len(row.cause["workflows"]) == MAX_ASKED == _histories(prod)
    assert row.cause["not_explained"] == 450
    assert row.cause["summary"].startswith("50 workflows edited in n8n by O W, 450 more; at ")
    assert row.reach["counts"]["affected"] == 500
    assert len(row.reach["affected"]) == 100
