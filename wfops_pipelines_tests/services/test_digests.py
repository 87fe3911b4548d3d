"""Quiet hours and digests (§16): what waits, what does not, and that one digest says all of it, once."""

from __future__ import annotations

from datetime import UTC, datetime

from wfops_pipelines.domain.incident import Severity
from wfops_pipelines_tests.services.fleet import NewFleet
from wfops_pipelines_tests.services.outbox import Incident, Receiver, declare, outbox, send, told, with_targets

NIGHT = {"start": "22:00", "end": "07:00", "zone": "Europe/Berlin"}  # 21:00 to 06:00 UTC in winter


def test_quiet_hours_hold_back_all_but_what_is_critical_and_the_morning_is_one_digest(new_fleet: NewFleet) -> None:
    with Receiver() as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        declare(fleet, hook={"quiet_hours": NIGHT})
        fleet.clock.time = datetime(2026, 3, 1, 23, 0, tzinfo=UTC)
        told(fleet, *(Incident(fleet, f"number {n}").opened() for n in range(6)))
        told(fleet, Incident(fleet, "fire", Severity.CRITICAL).opened())
        assert send(fleet).sent == 1 and "fire" in hook.titles[0]
        fleet.clock.time = datetime(2026, 3, 2, 6, 0, 1, tzinfo=UTC)
        assert send(fleet).sent == 6
    (_, morning) = hook.told
    assert morning["title"].startswith("[high] 6 messages of WorkflowOps: 6 high")
    assert all(f"number {n}" in morning["message"] for n in range(6))
    assert len({row.digest_of for row in outbox(fleet)}) == 2


def test_quiet_hours_that_begin_while_a_message_waits_hold_it_back(new_fleet: NewFleet) -> None:
    with Receiver() as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        fleet.clock.time = datetime(2026, 3, 1, 20, 59, tzinfo=UTC)
        declare(fleet, hook={"quiet_hours": NIGHT})
        told(fleet, Incident(fleet).opened())
        fleet.clock.pass_time(minutes=2)
        assert send(fleet).words() == "" and not hook.told


def test_quiet_hours_that_cannot_be_read_keep_no_event_from_being_told(new_fleet: NewFleet) -> None:
    with Receiver() as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        fleet.writing(lambda work: work.connection.exec_driver_sql(
            """UPDATE notification_targets SET quiet_hours = '{"start": "00:00", "end": "23:59", "zone": "Mars/Olympus"}'"""))
        told(fleet, Incident(fleet).opened())
        assert send(fleet).sent == 1


def test_a_digest_gathers_what_comes_up_within_its_minutes(new_fleet: NewFleet) -> None:
    with Receiver() as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        declare(fleet, hook={"digest_minutes": 15})
        for number in range(3):
            told(fleet, Incident(fleet, f"number {number}").opened())
            fleet.clock.pass_time(minutes=4)
            assert send(fleet).words() == ""
        fleet.clock.pass_time(minutes=4)
        assert send(fleet).sent == 3
    assert len(hook.told) == 1 and hook.titles[0].startswith("[high] 3 messages")


def test_a_digest_that_failed_comes_again_with_the_same_contents_and_key(new_fleet: NewFleet) -> None:
    keys: list[str] = []

    def down(message: dict[str, str]) -> int:
        keys.append(message["id"])
        return 500

    with Receiver(down) as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        declare(fleet, hook={"digest_minutes": 5})
        told(fleet, Incident(fleet, "one").opened(), Incident(fleet, "two").opened())
        fleet.clock.pass_time(minutes=5)
        assert send(fleet).retried == 2
        told(fleet, Incident(fleet, "three").opened())
        hook.answer = lambda message: 200
        fleet.clock.pass_time(minutes=10)
        assert send(fleet).sent == 3
    again, later = hook.told
    assert again["id"] == keys[0] and again["title"].startswith("[high] 2 messages") and "three" in later["title"]


def test_one_message_that_is_not_taken_does_not_spoil_a_digest(new_fleet: NewFleet) -> None:
    with Receiver(lambda message: 413 if "poison" in message["message"] else 200) as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        declare(fleet, hook={"digest_minutes": 5})
        told(fleet, Incident(fleet, "one").opened(), Incident(fleet, "poison").opened(), Incident(fleet, "two").opened())
        fleet.clock.pass_time(minutes=5)
        done = send(fleet)
        assert (done.sent, done.dead) == (2, 1)
    assert ["one" in hook.titles[0], "two" in hook.titles[1]] == [True, True]


def test_a_flood_of_digests_names_every_message(new_fleet: NewFleet) -> None:
    with Receiver() as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        declare(fleet, hook={"digest_minutes": 5})
        told(fleet, *(Incident(fleet, f"number-{n}-end").opened() for n in range(120)))
        fleet.clock.pass_time(minutes=5)
        assert send(fleet).sent == 120
    assert len(hook.told) == 3
    text = "".join(message["message"] for message in hook.told)
    assert all(f"number-{n}-end" in text for n in range(120))
