"""What `wfops doctor` says of repositories: each once, by the tenant's name, or the environments' that have their own."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from wfops_pipelines.services.diagnose import Finding, check_fleet
from wfops_pipelines_tests.servers.bare import make_bare
from wfops_pipelines_tests.servers.hostile import HostileServer, refs_without_end
from wfops_pipelines_tests.services.fleet import ACTOR, FleetUnderTest, NewFleet


def repositories(fleet: FleetUnderTest) -> dict[str, Finding]:
    """Findings about repositories by what was looked at; each name stands once."""
    found = [finding for finding in asyncio.run(check_fleet(fleet.services, actor=ACTOR)) if finding.check.startswith("repo")]
    by_name = {finding.check: finding for finding in found}
    assert len(by_name) == len(found)
    return by_name


def test_environments_that_share_the_tenants_repository_are_one_line_under_its_name(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "staging", "prod"))
    (finding,) = repositories(fleet).values()
    assert (finding.check, finding.ok) == ("repository acme", True)
    assert finding.message == f"{fleet.repository.url} main: readable, the branch is not there yet"
    fleet["dev"].push_files({"a.json": b"{}"})
    assert repositories(fleet)["repository acme"].message.startswith(f"{fleet.repository.url} main: readable, head ")


def test_a_branch_that_was_read_and_is_gone_is_said_to_be(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "prod"))
    fleet["prod"].push_files({"a.json": b"{}"})
    fleet["prod"].read_git()
    fleet.repository.git("update-ref", "-d", "refs/heads/main")
    finding = repositories(fleet)["repository acme"]
    assert not finding.ok and "branch main is gone (it was at" in finding.message and fleet.repository.url in finding.message
    fleet.declared("prod")["branch"] = "other"
    fleet.apply()
    assert repositories(fleet)["repository acme/prod"].ok  # this one was never there


def test_an_environment_with_a_repository_of_its_own_is_named(new_fleet: NewFleet, tmp_path: Path) -> None:
    fleet = new_fleet(("dev", "prod"))
    own = make_bare(tmp_path / "own.git")
    fleet.declared("prod")["repository"] = {"url": own.url, "provider": "git", "branch": "main"}
    fleet.apply()
    found = repositories(fleet)
    assert list(found) == ["repository acme", "repository acme/prod"]
    assert own.url in found["repository acme/prod"].message and own.url not in found["repository acme"].message


def test_environments_on_a_branch_of_their_own_are_named_together(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "staging", "prod"))
    for slug in ("staging", "prod"):
        fleet.declared(slug)["branch"] = "release"
    fleet.apply()
    found = repositories(fleet)
    assert list(found) == ["repository acme", "repository acme/staging,prod"]
    assert " release: " in found["repository acme/staging,prod"].message


def test_a_repository_that_cannot_be_read_keeps_its_name_and_says_why(new_fleet: NewFleet, tmp_path: Path) -> None:
    fleet = new_fleet(("dev", "prod"))
    nowhere = f"file://{tmp_path / 'nowhere.git'}"
    fleet.declared("prod")["repository"] = {"url": nowhere, "provider": "git", "branch": "main"}
    fleet.apply()
    found = repositories(fleet)
    assert found["repository acme"].ok
    assert not found["repository acme/prod"].ok and nowhere in found["repository acme/prod"].message


def test_a_git_server_that_never_comes_to_an_end_is_named_after_the_time_that_the_poll_has(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "prod"))
    with HostileServer(refs_without_end) as server:
        fleet.declared("prod")["repository"] = {"url": f"{server.url}/acme.git", "provider": "git", "branch": "main"}
        fleet.apply()
        fleet.with_limits(poll_patience=1.0)
        found, url = repositories(fleet), server.url
    assert found["repository acme"].ok
    assert not found["repository acme/prod"].ok and url in found["repository acme/prod"].message


def test_an_app_key_that_is_none_is_said_where_it_is_used_and_the_others_are_shown(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "prod"))
    fleet.secrets["KEY"] = "not a key"
    fleet.declared("prod")["repository"] = {
        "url": "https://github.com/acme/flows", "provider": "github", "branch": "main",
        "github_app": {"app_id": 1, "installation_id": 2, "private_key": "env:KEY"}}
    fleet.apply()
    found = repositories(fleet)
    assert found["repository acme"].ok
    assert found["repository acme/prod"].message == "github_app.private_key is no RSA key, or one with a password"
    check = fleet["prod"].check()
    assert check.status == "ERROR" and "github_app.private_key is no RSA key" in str(check.error)


def test_an_error_that_nobody_expected_is_one_finding_among_the_others(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "prod"))

    def opened(*_: object, **__: object) -> None:
        raise RuntimeError("what is this")

    fleet.services = replace(fleet.services, open_repository=opened)  # type: ignore[arg-type]
    found = asyncio.run(check_fleet(fleet.services, actor=ACTOR))
    assert {finding.check: finding.ok for finding in found} == {
        "environment acme/dev": True, "environment acme/prod": True, "repository acme": False}
