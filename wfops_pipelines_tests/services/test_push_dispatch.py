"""From deliveries that were kept to runs: which are launched, and what is noted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import pytest

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import Paused, StoreUnavailable, Unreachable
from wfops_pipelines.domain.pushes import Partition
from wfops_pipelines.failpoints import FailpointReached
from wfops_pipelines.services import push_dispatch
from wfops_pipelines.services.pausing import pause, resume
from wfops_pipelines.services.push_delivery import receive
from wfops_pipelines.services.push_dispatch import dispatch, hand_back, left_behind, note_branches
from wfops_pipelines.services.push_health import check_pushes
from wfops_pipelines.services.refresh import Outcome, Part, Target
from wfops_pipelines.services.sync_repository import RepositorySync
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet
from wfops_pipelines_tests.services.pushing import (
    NotedQueue,
    delivered,
    deliveries,
    push_document,
    signing_fleet,
)


@pytest.fixture
def fleet(new_fleet: NewFleet) -> FleetUnderTest:
    """A tenant with dev and prod, whose repository signs its webhooks."""
    return signing_fleet(new_fleet)


def test_what_was_kept_is_launched_as_one_run_and_noted(fleet: FleetUnderTest) -> None:
    queue = NotedQueue()
    receive(fleet.services, delivered(push_document("prod/a.json")))
    receive(fleet.services, delivered(push_document("dev/a.json")))
    done = dispatch(fleet.services, queue)
    assert (done.deliveries, set(done.runs.values())) == (2, {"run-0"})
    assert queue.submitted == [{("acme", "dev"), ("acme", "prod")}]
    assert {(row.status, row.run_id) for row in deliveries(fleet)} == {("launched", "run-0")}
    assert dispatch(fleet.services, queue).deliveries == 0


def test_an_environment_whose_git_did_not_answer_lately_is_waited_for_apart_until_it_does(fleet: FleetUnderTest) -> None:
    queue, prod = NotedQueue(), fleet["prod"].row
    failed = Outcome(Target(fleet.context, prod), Part.REPOSITORY, None, Unreachable("no answer", target="there"))
    note_branches(fleet.services, [failed])
    receive(fleet.services, delivered(push_document("prod/a.json", "dev/a.json")))
    dispatch(fleet.services, queue)
    lanes = {run.lane: run.partitions for run in queue.queued}
    assert lanes == {"push-slow": {("acme", "prod"), ("acme", "dev")}}  # they read one branch
    note_branches(fleet.services, [replace(failed, result=RepositorySync("prod", "o"), error=None)])
    queue.queued.clear()
    receive(fleet.services, delivered(push_document("prod/a.json", after="c" * 40)))
    dispatch(fleet.services, queue)
    assert [run.lane for run in queue.queued] == ["push"]


def test_what_a_pause_refused_is_launched_when_it_is_over_once(fleet: FleetUnderTest) -> None:
    queue, prod = NotedQueue(), fleet["prod"].row
    receive(fleet.services, delivered(push_document("prod/a.json")))
    receive(fleet.services, delivered(push_document("dev/a.json", after="c" * 40)))
    dispatch(fleet.services, queue)
    queue.queued.clear()  # they work
    receive(fleet.services, delivered(push_document("prod/b.json", after="d" * 40)))
    dispatch(fleet.services, queue)
    queue.queued.clear()
    pause(fleet.services, "acme", actor="local:ada")
    refused = Outcome(Target(fleet.context, prod), Part.REPOSITORY, None, Paused("acme is paused"))
    hand_back(fleet.services, [refused, replace(refused, part=Part.DRIFT)])
    assert asked(fleet) == {"dev"}  # the poll does not take it for asked for
    assert not dispatch(fleet.services, queue).launched
    resume(fleet.services, "acme", actor="local:ada")
    assert dispatch(fleet.services, queue).runs == {("acme", "prod"): "run-2"}
    assert queue.submitted[2:] == [{("acme", "prod")}]
    assert not dispatch(fleet.services, queue).launched and asked(fleet) == {"dev", "prod"}


def refused_by_a_pause(fleet: FleetUnderTest, *slugs: str) -> None:
    pause(fleet.services, "acme", actor="local:ada")
    hand_back(fleet.services, [Outcome(Target(fleet.context, fleet[slug].row), Part.DIFF, None, Paused("acme is paused"))
                               for slug in slugs])


def test_of_one_push_in_two_runs_what_was_refused_is_launched_again(fleet: FleetUnderTest) -> None:
    queue = NotedQueue()
    receive(fleet.services, delivered(push_document("prod/a.json")))
    dispatch(fleet.services, queue)
    receive(fleet.services, delivered(push_document("prod/a.json", "dev/a.json", after="c" * 40)))
    dispatch(fleet.services, queue)
    assert queue.submitted == [{("acme", "prod")}, {("acme", "dev")}]
    queue.queued.clear()  # the first was done when the pause began
    refused_by_a_pause(fleet, "dev")
    resume(fleet.services, "acme", actor="local:ada")
    assert set(dispatch(fleet.services, queue).runs) == {("acme", "dev")}


def test_what_the_poll_had_asked_for_is_launched_again_too(fleet: FleetUnderTest) -> None:
    refused_by_a_pause(fleet, "dev", "prod")
    assert left_behind(fleet.services, older_than=0).partitions == frozenset()
    pause(fleet.services, None, actor="local:ada")
    resume(fleet.services, "acme", actor="local:ada")
    assert left_behind(fleet.services, older_than=0).partitions == frozenset()  # everything is paused still
    resume(fleet.services, None, actor="local:ada")
    fleet.clock.pass_time(seconds=14)
    assert left_behind(fleet.services).partitions == frozenset()
    fleet.clock.pass_time(seconds=2)
    assert left_behind(fleet.services).partitions == {("acme", "dev"), ("acme", "prod")}
    assert check_pushes(fleet.services).ok
    fleet.clock.pass_time(minutes=5)
    found = check_pushes(fleet.services)
    assert not found.ok and found.message.startswith("2 environments wait")
    assert set(dispatch(fleet.services, NotedQueue()).runs) == {("acme", "dev"), ("acme", "prod")}
    assert check_pushes(fleet.services).ok


def test_a_run_that_is_refused_before_its_launch_is_noted_is_launched_again(fleet: FleetUnderTest) -> None:
    @dataclass
    class RefusedAtOnce(NotedQueue):
        def submit(self, partitions: Collection[Partition], *, lane: str) -> str:
            fleet.clock.pass_time(seconds=1)
            refused_by_a_pause(fleet, "prod")
            return super().submit(partitions, lane=lane)

    receive(fleet.services, delivered(push_document("prod/a.json")))
    for waits in (delivered(push_document("prod/b.json", after="c" * 40)), None):
        assert set(dispatch(fleet.services, RefusedAtOnce()).runs) == {("acme", "prod")}
        resume(fleet.services, "acme", actor="local:ada")
        if waits is not None:
            receive(fleet.services, waits)
    assert set(dispatch(fleet.services, NotedQueue()).runs) == {("acme", "prod")}
    assert not dispatch(fleet.services, NotedQueue()).runs


def test_what_was_refused_in_an_environment_that_is_no_more_is_not_waited_for(fleet: FleetUnderTest) -> None:
    refused_by_a_pause(fleet, "dev")
    resume(fleet.services, "acme", actor="local:ada")
    fleet.tenant["environments"] = [each for each in fleet.tenant["environments"] if each["slug"] != "dev"]
    fleet.apply(prune=True)
    assert not left_behind(fleet.services, older_than=0).waits


def test_what_failed_for_another_reason_is_not_launched_again(fleet: FleetUnderTest) -> None:
    queue = NotedQueue()
    receive(fleet.services, delivered(push_document("prod/a.json")))
    dispatch(fleet.services, queue)
    failed = Outcome(Target(fleet.context, fleet["prod"].row), Part.REPOSITORY, None, Unreachable("no answer", target="there"))
    hand_back(fleet.services, [failed])
    assert not left_behind(fleet.services, older_than=0).waits
    assert [row.status for row in deliveries(fleet)] == ["launched"]


def asked(fleet: FleetUnderTest) -> set[str]:
    """Environments of which a refresh was asked for."""
    with fleet.services.store.system() as system:
        return {row.slug for row in system.pushes.watched() if row.asked_at is not None}


@pytest.mark.parametrize(("point", "noted"), [("branches.noted.before_commit", False), ("branches.noted.after_commit", True)])
def test_a_run_that_dies_while_it_notes_a_branch_has_noted_it_or_not_and_the_next_one_notes_it(
        fleet: FleetUnderTest, point: str, noted: bool) -> None:
    target = Target(fleet.context, fleet["prod"].row)
    failed = Outcome(target, Part.REPOSITORY, None, Unreachable("no answer", target="there"))
    both = frozenset({("acme", "prod"), ("acme", "dev")})  # they read one branch
    failpoints.arm(f"{point}=raise")
    with pytest.raises(FailpointReached):
        note_branches(fleet.services, [failed])
    assert push_dispatch.in_trouble(fleet.services) == (both if noted else frozenset())
    note_branches(fleet.services, [failed])
    assert push_dispatch.in_trouble(fleet.services) == both


@pytest.mark.parametrize(("point", "noted"), [("push.handed_back.before_commit", False),
                                              ("push.handed_back.after_commit", True)])
def test_a_run_that_dies_while_it_hands_back_has_done_so_or_not_and_its_retry_does(
        fleet: FleetUnderTest, point: str, noted: bool) -> None:
    refused = Outcome(Target(fleet.context, fleet["prod"].row), Part.REPOSITORY, None, Paused("acme is paused"))
    failpoints.arm(f"{point}=raise")
    with pytest.raises(FailpointReached):
        hand_back(fleet.services, [refused])
    assert left_behind(fleet.services, older_than=0).waits == noted
    hand_back(fleet.services, [refused])
    assert left_behind(fleet.services, older_than=0).partitions == {("acme", "prod")}


def test_a_flood_of_one_tenant_puts_nobody_off_and_is_worked_off_in_parts(
        fleet: FleetUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_dispatch, "AT_ONCE", 2)
    queue = NotedQueue()
    for n in range(3):
        receive(fleet.services, delivered(push_document("prod/a.json", after=f"{n + 1:040x}")))
    assert [dispatch(fleet.services, queue).more for _ in range(2)] == [True, False]
    assert {row.status for row in deliveries(fleet)} == {"launched"}


def test_however_many_pushes_there_are_there_is_one_run_that_works_and_one_that_waits(fleet: FleetUnderTest) -> None:
    queue = NotedQueue()
    for n in range(100):
        receive(fleet.services, delivered(push_document("prod/a.json", after=f"{n:040x}"[::-1].replace("0", "1", 1))))
        dispatch(fleet.services, queue)
        if n == 50:
            queue.start()
    assert len(queue.submitted) == 2
    assert {row.status for row in deliveries(fleet)} == {"launched"}


def test_a_run_that_works_already_may_have_read_the_branch_before_and_so_another_one_follows_in_its_lane(
        fleet: FleetUnderTest) -> None:
    queue = NotedQueue()
    receive(fleet.services, delivered(push_document("prod/a.json")))
    dispatch(fleet.services, queue)
    queue.start()
    receive(fleet.services, delivered(push_document("prod/a.json", "dev/b.json", after="c" * 40)))
    dispatch(fleet.services, queue)
    assert queue.submitted[1] == {("acme", "prod"), ("acme", "dev")}
    assert queue.queued[0].lane == queue.queued[1].lane


def test_while_the_queue_is_away_what_was_kept_waits(fleet: FleetUnderTest) -> None:
    queue = NotedQueue(error=StoreUnavailable("away"))
    receive(fleet.services, delivered(push_document("prod/a.json")))
    with pytest.raises(StoreUnavailable):
        dispatch(fleet.services, queue)
    assert [row.status for row in deliveries(fleet)] == ["received"]
    queue.error = None
    assert dispatch(fleet.services, queue).runs == {("acme", "prod"): "run-0"}


def test_a_process_that_died_between_keeping_and_launching_leaves_what_the_next_one_finds(fleet: FleetUnderTest) -> None:
    queue = NotedQueue()
    receive(fleet.services, delivered(push_document("prod/a.json")))
    failpoints.arm("push.launch.after=raise")
    with pytest.raises(FailpointReached):
        dispatch(fleet.services, queue)
    dispatch(fleet.services, queue)
    assert len(queue.submitted) == 1  # the run of the one that died covers it
    assert [(row.status, row.run_id) for row in deliveries(fleet)] == [("launched", "run-0")]


def test_only_what_waits_for_long_counts_as_left_behind(fleet: FleetUnderTest) -> None:
    receive(fleet.services, delivered(push_document("prod/a.json")))
    assert left_behind(fleet.services).rows == []
    fleet.clock.pass_time(seconds=20)
    assert left_behind(fleet.services).partitions == {("acme", "prod")}


def test_an_environment_that_was_deleted_meanwhile_is_not_asked_for(fleet: FleetUnderTest) -> None:
    queue = NotedQueue()
    receive(fleet.services, delivered(push_document("prod/a.json")))
    fleet.tenant["environments"] = [e for e in fleet.tenant["environments"] if e["slug"] != "prod"]
    fleet.apply(prune=True)
    done = dispatch(fleet.services, queue)
    assert (done.deliveries, done.runs, queue.submitted) == (1, {}, [])
    assert [row.status for row in deliveries(fleet)] == ["launched"]


def test_deliveries_that_come_out_of_order_ask_for_the_same(fleet: FleetUnderTest) -> None:
    queue = NotedQueue()
    late = delivered(push_document("prod/a.json", before="c" * 40, after="d" * 40))
    receive(fleet.services, delivered(push_document("prod/b.json", before="d" * 40, after="e" * 40)))
    dispatch(fleet.services, queue)
    receive(fleet.services, late)
    dispatch(fleet.services, queue)
    assert queue.submitted == [{("acme", "prod")}]
