"""The poll: who is looked at when, and who is to be refreshed after."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from wfops_pipelines.domain.errors import NotFound, SecretUnreadable, StoreBusy, Unreachable
from wfops_pipelines.store.pushes import Pushes
from wfops_pipelines_tests.servers.processes import eventually
from wfops_pipelines_tests.services.fleet import workflow
from wfops_pipelines_tests.services.polling import Polled, answering_late, unreadable, with_tenants
from wfops_pipelines_tests.services.test_sweeps import settle, swept


@pytest.fixture
def polled(polled_of: Callable[..., Polled]) -> Polled:
    """dev and prod in one branch of one repository."""
    return polled_of(("dev", "prod"))


def test_a_branch_is_looked_at_once_for_all_environments_that_read_it(polled: Polled) -> None:
    poll = polled.tick()
    assert (poll.branches, poll.due, poll.looked, poll.moved) == (1, 1, 1, [])
    assert polled.looks.seen == ["main"]


def test_a_branch_is_looked_at_again_when_it_is_due_and_not_before(polled: Polled) -> None:
    polled.tick()
    assert polled.tick(seconds=20).looked == 0
    assert polled.tick(seconds=75).looked == 1
    assert polled.tick().looked == 0


def test_a_restart_does_not_look_at_everything_at_once(polled: Polled) -> None:
    polled.tick()
    polled.restart()
    assert polled.tick(seconds=10).due == 0


def test_a_late_tick_looks_once(polled: Polled) -> None:
    polled.tick()
    assert polled.tick(hours=5).looked == 1
    assert polled.tick().looked == 0


@pytest.mark.parametrize("hours", [1, 7])
def test_after_the_clock_was_set_back_branches_are_looked_at_and_refreshed_as_ever(polled: Polled, hours: int) -> None:
    """What a clock that was wrong wrote lies in the future: the next look, the last sync, what was asked for last."""
    polled.tick()
    polled.fleet.clock.pass_time(hours=hours)
    polled.fleet["dev"].push_workflow("a.json", workflow("A"))
    assert {slug for slug, _ in polled.moved()} == {"dev", "prod"}
    for slug in ("dev", "prod"):
        polled.fleet[slug].read_git()
    polled.fleet.clock.pass_time(hours=-hours)
    head = polled.fleet["prod"].push_workflow("b.json", workflow("B"))
    assert polled.moved() == [("dev", head), ("prod", head)]
    assert polled.moved() == []
    polled.fleet["prod"].read_git()
    assert polled.moved(seconds=150) == [("dev", head)]


def test_a_refresh_that_was_asked_for_by_a_clock_that_was_wrong_is_asked_for_again(polled: Polled) -> None:
    head = polled.fleet["prod"].push_workflow("a.json", workflow("A"))
    polled.fleet["dev"].read_git()
    polled.fleet.clock.pass_time(hours=7)
    assert polled.moved() == [("prod", head)]
    polled.fleet.clock.pass_time(hours=-7)
    assert polled.moved() == [("prod", head)]
    assert polled.moved() == []


def test_a_branch_that_cannot_be_read_keeps_its_backoff_and_no_more_than_that(polled: Polled) -> None:
    polled.looks.error = NotFound("there is no Git repository", target="a")
    for _ in range(8):
        polled.tick(hours=1)
    assert polled.tick(minutes=10).due == 0
    polled.fleet.clock.pass_time(hours=-7)
    assert polled.tick().due == 1


@pytest.mark.parametrize("corrected", ["address", "token"])
def test_a_branch_that_cannot_be_read_is_looked_at_when_that_may_have_changed(polled: Polled, corrected: str) -> None:
    fleet = polled.fleet
    fleet.secrets["TOKEN"] = "one that has expired"
    fleet.tenant["repository"] = {"url": "https://git.example/acme.git", "token": "env:TOKEN"}
    fleet.apply()
    polled.looks.error = NotFound("there is no Git repository", target="https://git.example")
    for _ in range(6):
        assert polled.tick(hours=1).errors
    fleet.apply()
    assert polled.tick().due == 0
    if corrected == "address":
        fleet.tenant["repository"]["url"] = "https://git.example/acme/flows.git"
    else:
        fleet.secrets["TOKEN"] = "a new one"
    fleet.apply()
    assert (polled.tick().looked, polled.tick(seconds=1).looked) == (1, 0)


def test_a_look_that_could_not_be_noted_for_another_transaction_stays_due_and_keeps_no_other_from_being_noted(
        polled: Polled, monkeypatch: pytest.MonkeyPatch) -> None:
    with_tenants(polled.fleet, {"other": ["theirs"]}, polled.fleet.repository.url)
    save = Pushes.save_head

    def preceded(pushes: Pushes, repository_id: UUID, branch: str, **values: Any) -> None:
        if branch == "theirs":
            raise StoreBusy("a deadlock was broken up")
        save(pushes, repository_id, branch, **values)

    monkeypatch.setattr(Pushes, "save_head", preceded)
    poll = polled.tick()
    assert poll.looked == 2
    assert [error.partition(":")[0] for error in poll.errors] == ["other/e1"]
    monkeypatch.undo()
    assert polled.tick(seconds=1).due == 1


def test_who_stands_elsewhere_is_to_be_refreshed_and_asked_for_once(polled: Polled) -> None:
    assert polled.moved() == []
    head = polled.fleet["prod"].push_workflow("a.json", workflow("A"))
    assert polled.moved(seconds=95) == [("dev", head), ("prod", head)]
    assert polled.moved(seconds=20) == []
    for slug in ("dev", "prod"):
        polled.fleet[slug].read_git()
    assert polled.moved(seconds=95) == [] and polled.moved(hours=1) == []


def test_a_refresh_that_came_to_nothing_is_asked_for_again_some_minutes_later_and_later_each_time(polled: Polled) -> None:
    head = polled.fleet["prod"].push_workflow("a.json", workflow("A"))
    polled.fleet["dev"].read_git()
    asked = [seconds for seconds in range(0, 1200, 60) if polled.moved(seconds=60) == [("prod", head)]]
    assert asked == [0, 120, 360, 840]


def test_a_look_that_is_older_than_what_an_environment_was_read_at_says_nothing(polled: Polled) -> None:
    polled.tick()
    polled.fleet["prod"].push_workflow("a.json", workflow("A"))
    polled.fleet["prod"].read_git()
    polled.fleet["dev"].read_git()
    assert polled.moved() == []


@pytest.mark.parametrize("reader", ["sweep", "sync"])
def test_a_push_that_is_seen_while_an_environment_is_read_at_the_commit_before_is_not_forgotten(
        polled_of: Callable[..., Polled], reader: str) -> None:
    polled = polled_of(("prod",))
    fleet, seen = polled.fleet, []
    fleet["prod"].in_sync(workflow("A"))
    settle(fleet)
    polled.tick()

    def push_and_look() -> None:
        seen.append(fleet["prod"].push_workflow("b.json", workflow("B")))
        assert polled.tick(minutes=2).looked == 1
        fleet.clock.pass_time(seconds=1)

    fleet.services = answering_late(fleet.services, push_and_look)
    if reader == "sweep":
        assert swept(fleet).counts == {"unchanged": 1}
    else:
        assert fleet["prod"].read_git().unchanged_head
    assert polled.moved(seconds=1) == [("prod", seen[0])]


def test_a_webhook_that_asked_for_the_same_head_is_enough(polled: Polled) -> None:
    head = polled.fleet["prod"].push_workflow("a.json", workflow("A"))
    polled.fleet["dev"].read_git()
    prod = polled.fleet["prod"].row.id
    polled.fleet.writing(lambda work: work.pushes.ask({prod: head}, by="webhook", now=polled.fleet.clock.now(), run_id="r"))
    assert polled.moved() == []
    assert polled.moved(minutes=3) == [("prod", head)]


def test_a_branch_that_is_gone_is_asked_for_until_that_is_known_and_audited_once(polled: Polled) -> None:
    prod = polled.fleet["prod"]
    prod.push_workflow("a.json", workflow("A"))
    prod.read_git()
    polled.fleet["dev"].read_git()
    polled.fleet.repository.git("update-ref", "-d", "refs/heads/main")
    assert polled.moved(seconds=95) == [("dev", None), ("prod", None)]
    for slug in ("dev", "prod"):
        with pytest.raises(NotFound):
            polled.fleet[slug].read_git()
    for _ in range(5):
        assert polled.moved(minutes=10) == []
    assert [event.environment for event in polled.fleet.events("repository.branch_deleted")] == ["dev", "prod"]


def test_a_branch_that_comes_back_is_seen(polled: Polled) -> None:
    prod = polled.fleet["prod"]
    first = prod.push_workflow("a.json", workflow("A"))
    for slug in ("dev", "prod"):
        polled.fleet[slug].read_git()
    polled.fleet.repository.git("update-ref", "-d", "refs/heads/main")
    polled.moved(seconds=95)
    for slug in ("dev", "prod"):
        with pytest.raises(NotFound):
            polled.fleet[slug].read_git()
    second = polled.fleet.repository.commit({"prod/b.json": b"{}"}, orphan=True)
    assert polled.moved(seconds=95) == [("dev", second), ("prod", second)] and first != second


def test_a_forced_push_is_seen_and_audited_once(polled: Polled) -> None:
    prod = polled.fleet["prod"]
    prod.push_workflow("a.json", workflow("A"))
    polled.fleet["dev"].read_git()
    prod.read_git()
    head = polled.fleet.repository.commit({"prod/b.json": b"{}"}, orphan=True)
    assert ("prod", head) in polled.moved(seconds=95)
    prod.read_git()
    polled.fleet["dev"].read_git()
    for _ in range(3):
        assert polled.moved(minutes=10) == []
    assert [event.environment for event in polled.fleet.events("repository.force_pushed")] == ["prod", "dev"]


def test_what_cannot_be_read_is_looked_at_more_and_more_seldom_and_the_error_is_kept(polled: Polled) -> None:
    polled.looks.error = Unreachable("nobody answers", target="https://host/x")
    waits, last = [], 0
    for minute in range(120):
        if polled.tick(minutes=1).errors:
            waits.append(minute - last)
            last = minute
    assert 4 <= len(waits) < 12 and waits[-1] >= 20
    (row,) = unreadable(polled)
    assert row.failures == len(waits) and "nobody answers" in row.error
    polled.looks.error = None
    assert polled.tick(hours=1).errors == []
    assert unreadable(polled) == []


@pytest.mark.parametrize("error", [RuntimeError("nobody thought of \0 this"), SecretUnreadable("no key opens it")])
def test_one_branch_with_an_error_of_its_own_keeps_nobody_from_looking_at_the_others(
        polled_of: Callable[..., Polled], error: Exception) -> None:
    polled = polled_of(("dev", "prod"))
    polled.fleet.declared("dev")["branch"] = "odd"
    polled.fleet.apply()
    polled.looks.error, polled.looks.failing = error, ["odd"]
    poll = polled.tick()
    assert (poll.due, poll.looked, len(poll.errors)) == (2, 2, 1)
    (row,) = unreadable(polled)
    assert row.branch == "odd" and str(error).replace("\0", "\ufffd") in row.error


def test_what_hangs_takes_a_bounded_time_and_is_noted_when_it_answers(polled: Polled) -> None:
    polled.looks.held = threading.Event()
    head = polled.fleet["prod"].push_workflow("a.json", workflow("A"))
    poll = polled.poll.tick(seconds=0.2)
    assert (poll.looked, poll.unanswered, poll.moved) == (0, 1, [])
    assert polled.poll.tick(seconds=0.2).due == 0  # it is still under way: nobody asks twice
    polled.looks.held.set()
    found: list[Any] = []
    deadline = threading.Event()
    while not found and not deadline.wait(0.02):
        found = polled.poll.tick(seconds=5).moved
    assert {one.head for one in found} == {head}
    assert polled.looks.seen == ["main"]


def test_what_answers_while_a_tick_begins_is_not_asked_twice(polled: Polled, monkeypatch: pytest.MonkeyPatch) -> None:
    polled.looks.held = held = threading.Event()
    assert polled.poll.tick(seconds=0.2).unanswered == 1
    read = polled.poll._watched

    def read_then_answered() -> Any:
        rows = read()
        held.set()
        eventually(lambda: not polled.poll._flying)
        return rows

    monkeypatch.setattr(polled.poll, "_watched", read_then_answered)
    assert polled.poll.tick(seconds=5).due == 0
    assert polled.looks.seen == ["main"]


def test_two_tenants_with_one_repository_share_nothing(polled_of: Callable[..., Polled]) -> None:
    polled = polled_of(("dev",))
    first = polled.fleet.tenant
    polled.fleet.document["tenants"].append({**first, "slug": "globex", "environments": [
        {**first["environments"][0], "folder": "globex"}]})
    polled.fleet.apply()
    assert polled.tick().looked == 2
