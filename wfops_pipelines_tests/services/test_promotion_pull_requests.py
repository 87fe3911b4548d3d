"""Promotions whose target's folder changes by pull request alone (§7, §11.6): they wait for nothing, and show the link."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from wfops_pipelines.domain.errors import OutsideError
from wfops_pipelines.git.github import GitHubRepository
from wfops_pipelines.services.promotion_options import PromotionReport
from wfops_pipelines.services.promotion_reports import show_promotion
from wfops_pipelines_tests.servers.github import GitHubServer
from wfops_pipelines_tests.services.fleet import Environment, FleetUnderTest, NewFleet, workflow
from wfops_pipelines_tests.services.promotions import by_name, promote, promoting_fleet, request, roll_back, told

BRANCH = "wfops/promote-prod"


@dataclass
class Hub:
    """A fleet from dev to prod over a GitHub, and what people do with its pull requests."""

    fleet: FleetUnderTest
    server: GitHubServer

    @property
    def dev(self) -> Environment:
        return self.fleet["dev"]

    @property
    def prod(self) -> Environment:
        return self.fleet["prod"]

    @property
    def requests(self) -> list[dict[str, Any]]:
        """All pull requests, as GitHub keeps them."""
        return self.server.state.pulls.get("acme/flows", [])

    def url(self, number: int) -> str:
        return f"{self.server.url}/acme/flows/pull/{number}"

    def merge(self, number: int) -> None:
        """Somebody merges it."""
        self.fleet.repository.git("update-ref", "refs/heads/main", f"refs/heads/{BRANCH}")
        self.requests[number - 1].update(state="closed", merged=True)

    def close(self, number: int) -> None:
        """Somebody does not want it."""
        self.requests[number - 1]["state"] = "closed"

    def shown(self, name: str) -> str:
        """A file of the target's folder as the request's branch has it."""
        return self.fleet.repository.files(BRANCH)[f"prod/workflows/{name}.json"].decode()

    def has_incident(self) -> bool:
        """Whether the target's drift is followed up."""
        return self.fleet.reading(lambda work: work.incidents.open_of(self.prod.row.id) is not None)


@pytest.fixture
def hub(new_fleet: NewFleet, tmp_path: Path) -> Iterator[Hub]:
    """``Orders`` and ``Invoices`` in dev, ``Orders`` was promoted once and merged; drift opens incidents."""
    with GitHubServer(tmp_path / "hub", tokens={"tok": "rw"}) as server:
        bare = server.make("acme/flows")
        fleet = promoting_fleet(new_fleet, ("dev", "prod"), git=False, drift_policy={"auto_create_incidents": True})
        fleet.repository = bare
        fleet.secrets["TOKEN"] = "tok"
        fleet.tenant["repository"] = {"url": f"{server.url}/acme/flows", "provider": "github", "token": "env:TOKEN",
                                      "api_url": server.api_url}
        fleet.declared("dev")["folder"] = "dev"
        fleet.declared("prod").update({"folder": "prod", "write_mode": "pull_request"})
        fleet.apply()
        bare.commit({"README.md": b"hello"})
        yield Hub(fleet, server)


def begun(hub: Hub) -> PromotionReport:
    """Given one workflow that was promoted, and is in an open pull request."""
    hub.dev.create_in_n8n(workflow("Orders"))
    return promote(hub.fleet)


def merged(hub: Hub) -> PromotionReport:
    """Given two workflows that were promoted, and whose request was merged."""
    hub.dev.create_in_n8n(workflow("Orders"), workflow("Invoices"))
    done = promote(hub.fleet)
    hub.merge(1)
    assert hub.prod.check().status == "IN_SYNC"
    return done


def edit(environment: Environment, name: str, text: str) -> None:
    environment.edit_in_n8n(by_name(environment)[name], text)


def test_a_promotion_is_completed_at_once_and_shows_the_link(hub: Hub) -> None:
    done = begun(hub)
    assert (done.status, done.git_status, done.pull_request, done.commit) == ("completed", "pull_request", hub.url(1), None)
    assert done.drift_status == "IN_SYNC"
    assert told(hub.fleet, 1).as_json()["pull_request"] == hub.url(1)
    shown = show_promotion(hub.fleet.services, hub.fleet.context, 1)
    assert (shown["git_status"], shown["pull_request"]) == ("pull_request", hub.url(1))
    (pull,) = hub.requests
    assert (pull["state"], pull["head"], pull["base"]) == ("open", BRANCH, "main")
    assert pull["title"] == "acme/prod: promote from dev (p1)" and "Orders" in pull["body"]
    assert set(hub.prod.files()) == set(), "nothing is in the branch itself"


def test_while_it_is_open_what_was_promoted_is_no_drift(hub: Hub) -> None:
    begun(hub)
    assert hub.prod.check().status == "IN_SYNC"
    assert not hub.has_incident()


def test_an_edit_by_hand_is_drift_while_it_is_open(hub: Hub) -> None:
    begun(hub)
    edit(hub.prod, "Orders", "by hand")
    check = hub.prod.check()
    assert check.drifted and hub.prod.kinds(check) == {"Orders": "added_in_runtime"}
    edit(hub.prod, "Orders", "hello")
    assert not hub.prod.check().drifted


def test_its_state_costs_one_request_a_check(hub: Hub) -> None:
    begun(hub)
    before = len(hub.server.calls())
    hub.prod.check()
    assert [(method, path) for method, path, _ in hub.server.calls()[before:] if "/pulls" in path] == [
        ("GET", "/repos/acme/flows/pulls/1")]


def test_a_second_promotion_meanwhile_finds_no_hotfix_and_no_conflict(hub: Hub) -> None:
    begun(hub)
    edit(hub.dev, "Orders", "second")
    asked = request(hub.fleet, dry_run=True)
    (change,) = (each for each in asked.plan["changes"] if each["name"] == "Orders")
    assert change["status"] == "modified", change
    done = promote(hub.fleet)
    assert (done.git_status, done.pull_request, done.drift_status) == ("pull_request", hub.url(1), "IN_SYNC")
    assert len(hub.requests) == 1 and "second" in hub.shown("orders")


def test_a_request_keeps_showing_what_earlier_promotions_put_there(hub: Hub) -> None:
    merged(hub)
    edit(hub.dev, "Orders", "first")
    promote(hub.fleet)
    edit(hub.dev, "Invoices", "second")
    done = promote(hub.fleet)
    assert done.pull_request == hub.url(2)
    assert "first" in hub.shown("orders") and "second" in hub.shown("invoices")
    hub.merge(2)
    assert hub.prod.check().status == "IN_SYNC"
    assert {told(hub.fleet, number).git_status for number in (1, 2, 3)} == {"committed"}


def test_a_hotfix_meanwhile_is_caught(hub: Hub) -> None:
    merged(hub)
    edit(hub.dev, "Orders", "first")
    promote(hub.fleet)
    edit(hub.prod, "Orders", "hotfix")
    edit(hub.dev, "Invoices", "second")
    asked = request(hub.fleet, dry_run=True)
    assert asked.status == "blocked" and "Orders" in (asked.reason or "")
    assert "hotfix" not in hub.shown("orders")


def test_a_merged_one_is_committed_and_the_next_one_opens_another(hub: Hub) -> None:
    begun(hub)
    hub.merge(1)
    assert hub.prod.check().status == "IN_SYNC"
    report = told(hub.fleet, 1)
    assert (report.git_status, report.commit) == ("committed", hub.fleet.repository.head("main"))
    assert request(hub.fleet).status == "unchanged"
    edit(hub.dev, "Orders", "second")
    done = promote(hub.fleet)
    assert (done.status, done.git_status, done.pull_request) == ("completed", "pull_request", hub.url(2))
    hub.merge(2)
    assert hub.prod.check().status == "IN_SYNC"
    assert told(hub.fleet, 2).git_status == "committed"


def test_one_that_is_merged_and_promoted_over_at_once_is_no_conflict(hub: Hub) -> None:
    begun(hub)
    hub.merge(1)
    edit(hub.dev, "Orders", "second")
    assert promote(hub.fleet).pull_request == hub.url(2)
    assert told(hub.fleet, 1).git_status == "committed"


def test_one_that_is_closed_without_being_merged_becomes_drift(hub: Hub) -> None:
    merged(hub)
    edit(hub.dev, "Orders", "unwanted")
    promote(hub.fleet)
    hub.close(2)
    check = hub.prod.check()
    assert check.drifted and hub.prod.kinds(check) == {"Orders": "modified"}
    assert hub.has_incident()
    report = told(hub.fleet, 2)
    assert report.git_status == "none" and "closed without being merged" in report.notes[0]
    assert "promotion.pull_request_closed" in hub.fleet.actions()
    roll_back(hub.fleet, 2)
    assert not hub.prod.check().drifted


def test_a_rollback_takes_the_request_back(hub: Hub) -> None:
    merged(hub)
    edit(hub.dev, "Orders", "wrong")
    done = promote(hub.fleet)
    back = roll_back(hub.fleet, done.number or 0)
    assert (back.status, back.drift_status, back.git_status) == ("rolled_back", "IN_SYNC", "committed")
    assert hub.requests[1]["state"] == "closed"
    assert hub.prod.check().status == "IN_SYNC"


def test_a_rollback_of_one_of_two_leaves_the_other_in_the_request(hub: Hub) -> None:
    merged(hub)
    edit(hub.dev, "Orders", "wrong")
    wrong = promote(hub.fleet)
    edit(hub.dev, "Invoices", "right")
    promote(hub.fleet)
    back = roll_back(hub.fleet, wrong.number or 0)
    assert back.drift_status == "IN_SYNC"
    assert hub.requests[1]["state"] == "open"
    assert "right" in hub.shown("invoices") and "wrong" not in hub.shown("orders")
    hub.merge(2)
    assert hub.prod.check().status == "IN_SYNC"


def test_what_was_removed_is_no_drift_either(hub: Hub) -> None:
    merged(hub)
    hub.dev.delete_in_n8n(by_name(hub.dev)["Invoices"])
    done = promote(hub.fleet, prune=True, allow_large="it is not needed", allow_irreversible=True)
    assert (done.status, done.pull_request, done.drift_status) == ("completed", hub.url(2), "IN_SYNC")
    hub.merge(2)
    assert hub.prod.check().status == "IN_SYNC"
    assert set(hub.prod.files()) == {"workflows/orders.json"}


def test_a_github_that_does_not_tell_changes_nothing(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(hub)

    def silent(*_: object) -> None:
        raise OutsideError("the API is not there", target="github")
    monkeypatch.setattr(GitHubRepository, "pull_request_state", silent)
    assert hub.prod.check().status == "IN_SYNC"
    assert told(hub.fleet, 1).git_status == "pull_request"


def test_one_that_github_refuses_is_opened_by_the_next_check(hub: Hub) -> None:
    hub.server.tokens["tok"] = "ro"
    done = begun(hub)
    assert (done.status, done.git_status, done.drift_status) == ("completed", "failed", "IN_SYNC")
    hub.server.tokens["tok"] = "rw"
    assert hub.prod.check().status == "IN_SYNC"
    assert told(hub.fleet, 1).pull_request == hub.url(1)


def state(hub: Hub, number: int) -> str | None:
    """What became of the request that is shown of a promotion."""
    found: str | None = show_promotion(hub.fleet.services, hub.fleet.context, number)["pull_request_state"]
    return found


def test_what_became_of_each_request_is_shown(hub: Hub) -> None:
    merged(hub)
    assert state(hub, 1) == "merged"
    edit(hub.dev, "Orders", "wrong")
    promote(hub.fleet)
    edit(hub.dev, "Invoices", "right")
    promote(hub.fleet)
    assert (state(hub, 2), state(hub, 3)) == ("open", "open")
    roll_back(hub.fleet, 2)
    assert (state(hub, 2), state(hub, 3)) == ("without_it", "open")
    roll_back(hub.fleet, 3)
    assert state(hub, 3) == "undone" and hub.requests[1]["state"] == "closed"
    roll_back(hub.fleet, 1)
    assert state(hub, 1) == "of_rollback"
    hub.merge(3)
    assert hub.prod.check().status == "IN_SYNC"
    assert state(hub, 1) == "rollback_merged"


def test_a_request_that_somebody_closed_is_shown_as_that(hub: Hub) -> None:
    begun(hub)
    hub.close(1)
    hub.prod.check()
    assert state(hub, 1) == "closed"
