"""Reconciling incidents towards Git (§10.2): promote, and replace, which brings both sides to a commit."""

from __future__ import annotations

import json

import pytest

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import UsageError, WfopsError
from wfops_pipelines.failpoints import FailpointReached
from wfops_pipelines_tests.servers.github import GitHubServer
from wfops_pipelines_tests.services.child import run_in_child
from wfops_pipelines_tests.services.fleet import Environment, FleetUnderTest, NewFleet, workflow
from wfops_pipelines_tests.services.incidents import (
    acknowledge,
    drifted,
    fleet_with_incidents,
    incident,
    open_incident,
    resolve,
    said,
)


def test_promote_commits_what_n8n_holds_and_closes(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    number, (_, other) = drifted(prod, workflow("Orders", text="right"), workflow("Billing"))
    prod.edit_in_n8n(other, "hello")  # as it was: only one of them drifts
    (new,) = prod.create_in_n8n(workflow("New"))
    prod.check()
    acknowledge(prod, number)
    before = prod.fleet.repository.head()
    done = resolve(prod, number, "promote")
    assert done.commit is not None and done.commit == prod.fleet.repository.head() != before
    assert sorted(file["path"] for file in done.files) == ["prod/workflows/new.json", "prod/workflows/orders.json"]
    assert json.loads(prod.files()["workflows/orders.json"])["nodes"][1]["parameters"]["text"] == "edited by hand"
    assert (done.status, done.drift_status) == ("closed", "IN_SYNC")
    assert prod.mapping(new).status == "linked"


def test_promoting_a_workflow_that_is_gone_removes_its_file(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    gone, _ = prod.in_sync(workflow("A"), workflow("B"))
    prod.delete_in_n8n(gone)
    prod.check()
    number = open_incident(prod).number
    acknowledge(prod, number)
    done = resolve(prod, number, "promote")
    assert [(f["path"], f["change"]) for f in done.files] == [("prod/workflows/a.json", "removed")]
    assert list(prod.files()) == ["workflows/b.json"]
    assert done.drift_status == "IN_SYNC"


def test_a_promotion_whose_branch_moved_is_read_again_and_loses_nobodys_work(
        new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    number, _ = drifted(prod, workflow("Orders"))
    acknowledge(prod, number)
    prod.fleet.push_meanwhile(monkeypatch, 2)
    done = resolve(prod, number, "promote")
    assert (done.status, done.commit) == ("closed", prod.fleet.repository.head())
    assert {"other-0.txt", "other-1.txt"} <= set(prod.fleet.repository.files())


@pytest.mark.parametrize(("failpoint", "committed"), [
    ("incident.promote.after_commit", False), ("export.before_write", False), ("export.after_write", True),
    ("export.record.before_commit", True), ("export.record.after_commit", True), ("incident.reconciled.before_commit", True),
    ("incident.reconciled.after_commit", True)])
def test_a_promotion_that_is_killed_has_committed_or_has_not_and_the_next_check_says_which(
        new_fleet: NewFleet, failpoint: str, committed: bool) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    number, _ = drifted(prod, workflow("Orders"))
    acknowledge(prod, number)
    before = prod.fleet.repository.head()
    died = run_in_child(prod, "promote", f"{failpoint}=kill")
    assert died.returncode == -9, died.stderr[-2000:]
    assert (prod.fleet.repository.head() != before) is committed
    check = prod.check()
    row = incident(prod, number)
    if committed:
        assert (check.status, row.status, row.resolution) == ("IN_SYNC", "closed", "promote")
    else:
        assert (check.status, row.status) == ("DRIFT_INCIDENT_ACKNOWLEDGED", "acknowledged")
        assert resolve(prod, number, "promote").status == "closed"
    assert prod.fleet.chain_verifies()


def test_a_protected_branch_gets_a_pull_request_and_the_incident_stays_until_it_is_merged(
        hub_fleet: tuple[FleetUnderTest, GitHubServer]) -> None:
    fleet, _ = hub_fleet
    fleet.tenant["drift_policy"] = {"auto_create_incidents": True}
    fleet.apply()
    prod = fleet["prod"]
    (workflow_id,) = prod.create_in_n8n(workflow("Orders"))
    fleet.writing(lambda work: work.fleet.set_environment(prod.row.id, write_mode="push"))
    prod.export()
    fleet.writing(lambda work: work.fleet.set_environment(prod.row.id, write_mode="pull_request"))
    prod.edit_in_n8n(workflow_id)
    prod.check()
    number = open_incident(prod).number
    acknowledge(prod, number)
    done = resolve(prod, number, "promote")
    assert done.pull_request is not None and done.commit is None
    assert done.status == "acknowledged"
    assert prod.check().status == "DRIFT_INCIDENT_ACKNOWLEDGED"


def edited_twice(new_fleet: NewFleet) -> tuple[Environment, str, str | None, int]:
    """A workflow that went from first to second in Git, and by hand to a third text in n8n: the environment, its n8n id, the
    commit of the first text, and the number of the acknowledged incident."""
    prod = fleet_with_incidents(new_fleet)["prod"]
    (workflow_id,) = prod.in_sync(workflow("Orders", text="first"))
    first = prod.fleet.repository.head()
    prod.edit_in_n8n(workflow_id, "second")
    prod.export()
    prod.edit_in_n8n(workflow_id, "by hand")
    prod.check()
    number = open_incident(prod).number
    acknowledge(prod, number)
    return prod, workflow_id, first, number


def test_replace_takes_the_files_of_a_commit_for_n8n_and_git(new_fleet: NewFleet) -> None:
    prod, workflow_id, first, number = edited_twice(new_fleet)
    done = resolve(prod, number, "replace", version=first)
    assert said(prod, workflow_id) == "first"
    assert json.loads(prod.files()["workflows/orders.json"])["nodes"][1]["parameters"]["text"] == "first"
    assert done.commit == prod.fleet.repository.head()
    assert (done.status, done.drift_status) == ("closed", "IN_SYNC")


def test_replace_needs_a_commit_of_the_branch(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    number, (workflow_id,) = drifted(prod, workflow("Orders"))
    acknowledge(prod, number)
    with pytest.raises(UsageError, match="no commit of branch main"):
        resolve(prod, number, "replace", version="0" * 40)
    with pytest.raises(UsageError, match="needs a commit"):
        resolve(prod, number, "replace")
    assert said(prod, workflow_id) == "edited by hand"


def test_a_replacement_that_fails_when_the_drift_is_gone_already_is_ended_by_whoever_comes_next(new_fleet: NewFleet) -> None:
    prod, _, first, number = edited_twice(new_fleet)
    failpoints.arm("incident.settled.before_commit=raise@1")
    with pytest.raises(FailpointReached):
        resolve(prod, number, "replace", version=first)
    failpoints.disarm()
    assert incident(prod, number).status == "closed"
    assert prod.fleet.reading(lambda work: work.journal.unfinished(prod.row.id))
    prod.check()
    assert not prod.fleet.reading(lambda work: work.journal.unfinished(prod.row.id))
    assert prod.fleet.operations()[-2].state == "completed" and prod.row.drift_status == "IN_SYNC"


def test_a_replacement_whose_commit_is_refused_is_undone_in_n8n(new_fleet: NewFleet) -> None:
    prod, workflow_id, first, number = edited_twice(new_fleet)
    hook = prod.fleet.repository.path / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(WfopsError):
        resolve(prod, number, "replace", version=first)
    assert said(prod, workflow_id) == "by hand"
    assert incident(prod, number).status == "acknowledged"
    hook.unlink()
    assert resolve(prod, number, "replace", version=first).status == "closed"
    assert said(prod, workflow_id) == "first"
