"""Looks of the poll that hang: they end, and leave places to the others'."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from wfops_pipelines.domain.errors import Unreachable
from wfops_pipelines.services.repository_poll import PER_HOST, PER_TENANT, THREADS, Branch, RepositoryPoll
from wfops_pipelines.unwaited import call_unwaited
from wfops_pipelines_tests.servers.hostile import HostileServer, refs_without_end
from wfops_pipelines_tests.servers.processes import eventually
from wfops_pipelines_tests.services.fleet import workflow
from wfops_pipelines_tests.services.polling import Polled, unreadable, with_tenants


def test_one_host_that_hangs_does_not_hold_up_the_others(polled_of: Callable[..., Polled]) -> None:
    polled = polled_of(("prod",))
    hanging = {f"t{n}": [f"b{n}{m}" for m in range(PER_TENANT)] for n in range(PER_HOST // PER_TENANT + 1)}
    with_tenants(polled.fleet, hanging, "http://127.0.0.1:9/acme/{}.git")
    polled.looks.held = threading.Event()
    polled.looks.holding = {branch for branches in hanging.values() for branch in branches}
    poll = polled.poll.tick(seconds=2.0)
    assert poll.looked == 1 and poll.unanswered == PER_HOST + PER_TENANT
    assert polled.looks.seen.count("main") == 1
    assert len(polled.looks.seen) == PER_HOST + 1


def test_one_tenant_whose_branches_hang_leaves_the_others_threads(polled_of: Callable[..., Polled]) -> None:
    slugs = [f"e{n}" for n in range(THREADS - 1)]
    polled = polled_of((*slugs, "prod"))
    for number, slug in enumerate(slugs):  # a host each
        polled.fleet.declared(slug)["repository"] = {"url": f"http://127.0.0.{number + 2}:9/acme.git", "branch": slug}
    polled.fleet.apply()
    polled.looks.held = threading.Event()
    assert polled.poll.tick(seconds=0.2).unanswered == THREADS
    assert len(polled.looks.seen) == PER_TENANT


def test_one_tenant_whose_branches_hang_leaves_the_others_places_on_the_same_host(polled_of: Callable[..., Polled]) -> None:
    polled = polled_of(("prod",))
    hanging = {"noisy": [f"b{n}" for n in range(PER_HOST + 2)]}
    with_tenants(polled.fleet, hanging, polled.fleet.repository.url)
    looks, poll = polled.looks, polled.poll
    looks.held, looks.holding = threading.Event(), hanging["noisy"]
    places = min(PER_TENANT, PER_HOST)
    eventually(lambda: poll.tick(seconds=0.5).unanswered > 0 and "main" in looks.seen and looks.most_held == places)
    polled.fleet.clock.pass_time(hours=1)
    eventually(lambda: poll.tick(seconds=0.5).unanswered > 0 and looks.seen.count("main") == 2, within=30)
    assert looks.most_held == places


@pytest.mark.parametrize("tenants", [1, 8], ids=["one tenant's", "many tenants'"])
def test_branches_that_failed_leave_half_of_the_places_to_the_others(polled_of: Callable[..., Polled], tenants: int) -> None:
    polled = polled_of(("dev", "prod"))
    failing = [f"b{n}" for n in range(8)]
    if tenants == 1:
        for name in failing:
            polled.fleet.tenant["environments"].append({
                **polled.fleet.declared("dev"), "slug": name, "folder": name,
                "repository": {"url": f"http://127.0.0.{len(polled.fleet.tenant['environments'])}:9/acme.git", "branch": name}})
        polled.fleet.apply()
    else:
        with_tenants(polled.fleet, {f"t-{name}": [name] for name in failing}, "http://127.0.0.{}:9/acme.git")
    looks, poll = polled.looks, RepositoryPoll(polled.looks.watching(), shortest=60, threads=4)
    looks.error, looks.failing = Unreachable("nobody answers", target="http://127.0.0.1:9"), failing
    assert len(poll.tick(seconds=30).errors) == 8
    looks.held, looks.holding = threading.Event(), failing
    polled.fleet["prod"].push_workflow("a.json", workflow("A"))
    polled.fleet.clock.pass_time(hours=1)
    ticking = call_unwaited(poll.tick, seconds=60)
    eventually(lambda: looks.seen.count("main") == 2 and looks.most_held == 2)
    looks.held.set()
    assert [one.environment for one in ticking.result(120).moved] == ["dev", "prod"]
    assert looks.most_held == 2


def test_what_a_host_is_counted_by_is_the_api_that_is_asked(polled_of: Callable[..., Polled]) -> None:
    """A tenant that gives an API of its own for a repository of GitHub takes no places from the others there."""
    polled = polled_of(("dev", "prod"))
    polled.fleet.tenant["repository"] = {"url": "https://github.com/acme/flows", "provider": "github"}
    polled.fleet.declared("prod")["repository"] = {
        "url": "https://github.com/acme/flows", "provider": "github", "api_url": "https://mine.example/api/v3"}
    polled.fleet.apply()
    assert [Branch(row).host for row in polled.poll._watched()] == ["github.com", "mine.example"]


def test_a_look_ends_when_the_patience_is_over_and_counts_as_a_failure(polled_of: Callable[..., Polled]) -> None:
    polled = polled_of(("prod",))
    polled.fleet.with_limits(poll_patience=2.0)
    with HostileServer(refs_without_end) as server:
        polled.fleet.tenant["repository"]["url"] = f"{server.url}/acme.git"
        polled.fleet.apply()
        poll = RepositoryPoll(polled.fleet.services, shortest=60)
        assert len(poll.tick(seconds=60).errors) == 1
        (row,) = unreadable(polled)
        assert (row.failures, row.error.partition(":")[0]) == (1, Unreachable.kind)


def test_tenants_take_turns(polled_of: Callable[..., Polled]) -> None:
    polled = polled_of(("dev", "prod"))
    fleet = polled.fleet
    first = fleet.tenant
    for n in range(6):
        first["environments"].append({**first["environments"][1], "slug": f"more-{n}", "folder": f"m{n}", "branch": f"b{n}"})
    fleet.document["tenants"].append({**first, "slug": "small", "environments": [
        {**first["environments"][0], "folder": "small", "branch": "small"}]})
    fleet.apply()
    RepositoryPoll(polled.looks.watching(), shortest=60, threads=1).tick(seconds=30)
    assert polled.looks.seen.index("small") <= 1
