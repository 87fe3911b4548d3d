"""The sender is killed in the middle (§16): nothing is lost, what comes twice comes under the same key, order is kept."""

from __future__ import annotations

import signal
from collections import Counter

import pytest

from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet
from wfops_pipelines_tests.services.outbox import Incident, Receiver, declare, outbox, send, told, with_targets
from wfops_pipelines_tests.services.outbox_child import start_round

LEASE = 101


def finish(fleet: FleetUnderTest) -> None:
    """Rounds until nothing waits; each message has its time."""
    for _ in range(10):
        fleet.clock.pass_time(seconds=LEASE)
        send(fleet)
    assert {row.status for row in outbox(fleet)} == {"sent"}


@pytest.mark.parametrize(("failpoint", "twice"), [
    ("outbox.claim.before_commit=kill@2", 0), ("outbox.claim.after_commit=kill@2", 0), ("notify.before_send=kill@2", 0),
    ("notify.after_send=kill@2", 1), ("outbox.sent=kill@2", 1), ("outbox.settle.before_commit=kill@2", 1),
    ("outbox.settle.after_commit=kill@2", 0),
])
def test_a_killed_sender_loses_nothing_and_repeats_only_under_the_same_key(
        new_fleet: NewFleet, failpoint: str, twice: int) -> None:
    with Receiver() as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        incidents = [Incident(fleet, f"incident {n}") for n in range(3)]
        told(fleet, *(incident.opened() for incident in incidents), *(incident.closed() for incident in incidents))
        child = start_round(fleet, failpoint)
        assert child.wait(60) == -signal.SIGKILL
        finish(fleet)
    assert sorted(Counter(hook.keys).values()) == [1] * (6 - twice) + [2] * twice
    for n in range(3):
        titles = list(dict.fromkeys(title for title in hook.titles if title.endswith(f"incident {n}")))
        assert "Drift incident" in titles[0] and "is closed" in titles[1]
    assert fleet.chain_verifies()


def test_a_digest_whose_sender_was_killed_comes_again_as_the_same_digest(new_fleet: NewFleet) -> None:
    with Receiver() as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        declare(fleet, hook={"digest_minutes": 5})
        told(fleet, *(Incident(fleet, f"number {n}").opened() for n in range(4)))
        fleet.clock.pass_time(minutes=5)
        child = start_round(fleet, "outbox.sent=kill")
        assert child.wait(60) == -signal.SIGKILL
        told(fleet, Incident(fleet, "late").opened())
        fleet.clock.pass_time(minutes=10)
        finish(fleet)
    assert [title.split(" of ")[0] for title in hook.titles] == ["[high] 4 messages"] * 2 + hook.titles[2:]
    assert hook.keys[0] == hook.keys[1] and "late" in hook.titles[2]
    assert hook.told[0]["message"] == hook.told[1]["message"]


def test_a_message_that_always_takes_its_process_down_is_given_up(new_fleet: NewFleet) -> None:
    with Receiver() as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        told(fleet, Incident(fleet).opened())
        (row,) = outbox(fleet)
        for _ in range(12):
            until = fleet.clock.now()
            with fleet.services.store.bookkeeping(fleet.context, "test") as work:
                work.outbox.claim([row.id], until)
        fleet.clock.pass_time(seconds=1)
        assert send(fleet).dead == 1 and not hook.told
    assert "ended with its process" in outbox(fleet)[0].last_error


def test_two_processes_at_once_send_nothing_twice(new_fleet: NewFleet) -> None:
    with Receiver() as one, Receiver() as two:
        fleet = with_targets(new_fleet, one=one.url, two=two.url)
        incidents = [Incident(fleet, f"incident {n}") for n in range(20)]
        told(fleet, *(incident.opened() for incident in incidents), *(incident.closed() for incident in incidents))
        children = [start_round(fleet) for _ in range(2)]
        assert [child.wait(60) for child in children] == [0, 0]
        finish(fleet)
    for hook in (one, two):
        assert len(hook.keys) == len(set(hook.keys)) == 40
        for n in range(20):
            first, second = [title for title in hook.titles if title.endswith(f"incident {n}")]
            assert "Drift incident" in first and "is closed" in second
