"""Heads of branches in a sweep: a host that is away is not asked by everybody, and no tenant makes one seem away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import pytest

from wfops_pipelines.domain.errors import Unreachable
from wfops_pipelines.services.sweep_heads import Heads
from wfops_pipelines_tests.services.fleet import NewFleet

HEAD = "a" * 40
HOST = "https://git.example"


@dataclass
class GitHost:
    """Answers for repositories by their names: ``limited`` with 429, ``mute`` not at all, any other with a head."""

    asked: list[str] = field(default_factory=list)

    def opened(self, source: Any, *, cache: Any) -> GitHost:
        self.asked.append(source.url.rpartition("/")[0].rpartition("/")[2].rpartition(":")[2])
        return self

    def head(self, branch: str) -> str:
        if self.asked[-1].startswith("mute"):
            raise Unreachable("no answer", target=HOST)
        if self.asked[-1].startswith("limited"):
            raise Unreachable("the server cannot answer now (HTTP 429)", target=HOST, status=429)
        return HEAD

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def git_host() -> GitHost:
    return GitHost()


@pytest.fixture
def heads_of(new_fleet: NewFleet, git_host: GitHost) -> Callable[..., list[str | None]]:
    """Asks for the heads of tenants' branches, one after the other; what could not be read is none. A tenant is the names
    of its environments, which are also those of its repositories."""

    def ask(*tenants: tuple[str, ...], written: str = f"{HOST}/{{}}.git",
            more: Mapping[str, Any] = MappingProxyType({})) -> list[str | None]:
        fleet = new_fleet(("prod",))
        fleet.secrets["TOKEN"] = "token"
        template = fleet.tenant
        fleet.document["tenants"] += [
            {**template, "slug": f"t{number}", "name": f"t{number}", "environments": [
                {**template["environments"][0], "slug": name, "name": name,
                 "repository": {"url": written.format(f"{name}/{number}"), "branch": "main", **more.get(name, {})}}
                for name in names]}
            for number, names in enumerate(tenants)]
        fleet.apply()
        services = replace(fleet.services, open_repository=git_host.opened)
        with services.store.sweep_reads() as system:
            rows = [row for row in system.environments() if row.tenant_slug != "acme"]

        async def one(heads: Heads, row: Any) -> str | None:
            try:
                return (await heads.of(services.context_of(row.tenant_id, row.tenant_slug, "system:test"), row)).commit
            except Unreachable:
                return None

        async def each() -> list[str | None]:
            heads = Heads(services)
            return [await one(heads, row) for row in rows]
        return asyncio.run(each())

    return ask


def test_tenants_that_ask_too_often_keep_no_other_from_asking(heads_of: Callable[..., list[str | None]]) -> None:
    limited = tuple(f"limited-{number}" for number in range(4))
    assert heads_of(limited, ("limited",), ("limited",), ("good",)) == [None] * 6 + [HEAD]


def test_a_tenant_that_is_not_answered_gives_up_by_itself_and_keeps_no_other_from_asking(
        heads_of: Callable[..., list[str | None]], git_host: GitHost) -> None:
    assert heads_of(tuple(f"mute-{number}" for number in range(9)), ("good",)) == [None] * 9 + [HEAD]
    assert len(git_host.asked) == 4


def test_a_host_that_answers_three_tenants_in_a_row_nothing_is_not_asked_by_the_others(
        heads_of: Callable[..., list[str | None]], git_host: GitHost) -> None:
    assert heads_of(("mute",), ("mute",), ("good",), ("mute",), ("mute",), ("mute",), ("good",)) == [
        None, None, HEAD, None, None, None, None]
    assert git_host.asked == ["mute", "mute", "good", "mute", "mute", "mute"]


def test_a_host_is_the_same_in_each_way_to_write_an_address(
        heads_of: Callable[..., list[str | None]], git_host: GitHost) -> None:
    heads_of(tuple(f"mute-{number}" for number in range(9)), written="git@git.example:{}.git")
    assert len(git_host.asked) == 3


def test_who_answers_for_a_repository_of_github_is_its_api(heads_of: Callable[..., list[str | None]]) -> None:
    github = {"provider": "github", "token": "env:TOKEN"}
    away = {**github, "api_url": "https://github.corp.example/api/v3"}
    assert heads_of(("mute",), ("mute",), ("mute",), ("good",), written="https://github.com/{}",
                    more={"mute": away, "good": github}) == [None, None, None, HEAD]
