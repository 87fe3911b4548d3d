"""Export to a protected branch (§7): a branch and a pull request with the diff in its text."""

from __future__ import annotations

import pytest

from wfops_pipelines.domain.diff import as_json, diff
from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.domain.workflow import read_content
from wfops_pipelines.services.export_text import pull_request_text
from wfops_pipelines_tests.servers.github import GitHubServer
from wfops_pipelines_tests.services.fleet import FleetUnderTest, commits, workflow


def test_a_protected_branch_gets_a_pull_request_that_stays_one(hub_fleet: tuple[FleetUnderTest, GitHubServer]) -> None:
    fleet, _ = hub_fleet
    prod = fleet["prod"]
    main = fleet.repository.commit({"README.md": b"hello"})
    prod.create_in_n8n(workflow("A"))
    first = prod.export()
    assert first.pull_request is not None and first.commit is None
    assert (fleet.repository.head("main"), commits(fleet, "wfops/export-prod")) == (main, 2)
    assert "prod/workflows/a.json" in fleet.repository.files("wfops/export-prod")
    second = prod.export()
    assert second.pull_request == first.pull_request
    assert commits(fleet, "wfops/export-prod") == 2  # the same content is the same commit: the canonical id is kept
    fleet.repository.git("update-ref", "refs/heads/main", "refs/heads/wfops/export-prod")  # merged
    assert prod.export().files == []
    assert prod.check().status == "IN_SYNC"


def test_a_pull_request_shows_what_it_changes(hub_fleet: tuple[FleetUnderTest, GitHubServer]) -> None:
    fleet, hub = hub_fleet
    prod = fleet["prod"]
    fleet.repository.commit({"README.md": b"hello"})
    (one,) = prod.create_in_n8n(workflow("A"))
    prod.export()
    fleet.repository.git("update-ref", "refs/heads/main", "refs/heads/wfops/export-prod")  # merged
    prod.edit_in_n8n(one, "something else")
    prod.export()
    text = [pull["body"] for pulls in hub.state.pulls.values() for pull in pulls][-1]
    assert "### prod/workflows/a.json" in text and "something else" in text and "Wfops-Operation" in text


def test_the_text_of_a_pull_request_stays_below_githubs_limit() -> None:
    files = [{"path": f"{n}.json", "diff": as_json(diff(read_content(workflow("A")), read_content(workflow("A", text="y" * 200))))} for n in range(2000)]
    text = pull_request_text("message\n", files)
    assert len(text) < 65_536 and "more files" in text


def test_a_pull_request_needs_a_branch_to_go_to(hub_fleet: tuple[FleetUnderTest, GitHubServer]) -> None:
    fleet, _ = hub_fleet
    fleet["prod"].create_in_n8n(workflow("A"))
    with pytest.raises(UsageError, match="does not exist"):
        fleet["prod"].export()


def test_a_plain_remote_knows_no_pull_requests(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.push_workflow("a.json", workflow("A"))
    row = prod.row
    fleet.writing(lambda work: work.fleet.set_environment(row.id, write_mode="pull_request"))
    prod.create_in_n8n(workflow("B"))
    with pytest.raises(UsageError, match="pull requests"):
        prod.export()
