"""Delivery of the outbox (§16) to real receivers on loopback: nothing lost, nothing twice, order kept, nobody held up."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from wfops_pipelines.domain.incident import Severity
from wfops_pipelines.notify.apprise_sender import AppriseSender
from wfops_pipelines.notify.sender import Sender
from wfops_pipelines_tests.servers.hostile import closed_port
from wfops_pipelines_tests.servers.mail import MailServer
from wfops_pipelines_tests.services.fleet import NewFleet
from wfops_pipelines_tests.services.outbox import Incident, Receiver, declare, outbox, receivers, send, told, with_targets


class Listening:
    """Passes on, and notes to whom in which order."""

    def __init__(self, sender: Sender, order: list[str]) -> None:
        self._sender, self._order = sender, order

    def send(self, url: str, **message: Any) -> None:
        self._order.append(url)
        self._sender.send(url, **message)


# -- what arrives --------------------------------------------------------------------------------------------------------

def test_what_is_told_arrives_once_at_every_target(new_fleet: NewFleet) -> None:
    with Receiver() as hook, MailServer() as mail:
        fleet = with_targets(new_fleet, hook=hook.url, mail=(
            f"mailto://127.0.0.1:{mail.port}?from=wfops@example.com&mode=insecure&to=ada@example.com"))
        incident = Incident(fleet)
        told(fleet, incident.opened(), incident.opened())
        assert send(fleet).sent == 2
        assert send(fleet).words() == ""
    (message,), (letter,) = hook.told, mail.messages
    assert message["title"] == letter["Subject"] == "[high] Drift incident in acme / prod: 1 workflow changed"
    assert "http://127.0.0.1:3000/assets/drift_report" in message["message"]
    assert {row.status for row in outbox(fleet)} == {"sent"} and all(row.sent_at for row in outbox(fleet))
    assert letter["Message-ID"] == f"<{next(r.dedupe_key for r in outbox(fleet) if r.target == 'mail')}@wfops>"


def test_a_target_hears_of_what_it_wants_to_hear_of(new_fleet: NewFleet) -> None:
    with Receiver() as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        declare(fleet, hook={"min_severity": "high", "events": ["incident.opened"]})
        low, high = Incident(fleet, severity=Severity.LOW), Incident(fleet, "bad")
        told(fleet, low.opened(), high.opened(), high.closed())
        send(fleet)
        assert len(hook.told) == 1 and "bad" in hook.titles[0]


def test_the_secret_is_read_when_it_is_sent(new_fleet: NewFleet) -> None:
    with receivers(2) as (before, after):
        fleet = with_targets(new_fleet, hook=before.url)
        told(fleet, Incident(fleet).opened())
        declare(fleet, hook={"url": after.url})
        send(fleet)
        assert (len(before.told), len(after.told)) == (0, 1)


# -- failures ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("written_ahead", [True, False])
def test_what_a_clock_wrote_that_was_hours_ahead_goes_out_in_order_when_it_is_right_again(
        new_fleet: NewFleet, written_ahead: bool) -> None:
    away = [written_ahead is False]
    with Receiver(lambda message: 503 if away[0] else 200) as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        incident = Incident(fleet)
        if written_ahead:
            fleet.clock.pass_time(hours=7)
            told(fleet, incident.opened())
        else:
            told(fleet, incident.opened())
            fleet.clock.pass_time(hours=7)
            assert send(fleet).retried == 1
        fleet.clock.pass_time(hours=-7)
        away[0] = False
        told(fleet, incident.closed())
        send(fleet)
        assert len(hook.told) == 2 and "closed" in hook.titles[1]


def test_an_hour_without_delivery_loses_nothing_doubles_nothing_and_keeps_the_order(new_fleet: NewFleet) -> None:
    with Receiver(lambda message: 503) as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        incidents = [Incident(fleet, f"incident {number}") for number in range(3)]
        for minute in range(60):
            if minute % 10 == 0:
                told(fleet, *(incident.opened() for incident in incidents[minute // 20:minute // 20 + 1]))
            if minute == 55:
                told(fleet, *(incident.closed() for incident in incidents))
            send(fleet)
            fleet.clock.pass_time(minutes=1)
        assert not hook.told and hook.asked > 5 and {row.status for row in outbox(fleet)} == {"pending"}
        assert all("answered 503" in row.last_error for row in outbox(fleet) if row.attempts)
        hook.answer = lambda message: 200
        for _ in range(70):
            fleet.clock.pass_time(minutes=1)
            send(fleet)
    assert {row.status for row in outbox(fleet)} == {"sent"}
    assert len(hook.told) == len(set(hook.keys)) == 6
    for number in range(3):
        first, second = [title for title in hook.titles if f"incident {number}" in title]
        assert first.startswith("[high]") and "is closed" in second


def test_a_mail_server_that_takes_nothing_for_an_hour_gets_each_mail_once_and_in_order(new_fleet: NewFleet) -> None:
    with MailServer(data_reply="451 try later") as mail:
        fleet = with_targets(new_fleet, mail=(
            f"mailto://127.0.0.1:{mail.port}?from=wfops@example.com&mode=insecure&to=ada@example.com"))
        one, two = Incident(fleet, "one"), Incident(fleet, "two")
        told(fleet, one.opened(), two.opened(), one.closed(), two.closed())
        for _ in range(12):
            send(fleet)
            fleet.clock.pass_time(minutes=5)
        assert not mail.messages and {row.status for row in outbox(fleet)} == {"pending"}
        mail.data_reply = None
        for _ in range(13):
            fleet.clock.pass_time(minutes=5)
            send(fleet)
    subjects = [message["Subject"] for message in mail.messages]
    assert len(subjects) == len({message["Message-ID"] for message in mail.messages}) == 4
    for title in ("one", "two"):
        first, second = [subject for subject in subjects if subject.endswith(title)]
        assert "Drift incident" in first and "is closed" in second


def test_targets_that_hang_come_after_those_that_work(new_fleet: NewFleet) -> None:
    release = threading.Event()

    def hang(message: object) -> int:
        release.wait(30)
        return 200

    with Receiver() as well, ExitStack() as stack:
        hanging = [stack.enter_context(Receiver(hang)) for _ in range(4)]
        fleet = with_targets(new_fleet, zebra=well.url, **{f"hanging{n}": hook.url for n, hook in enumerate(hanging)})
        fleet.with_limits(send_concurrency=1)
        fleet.with_sender(AppriseSender(timeout=0.3))
        told(fleet, Incident(fleet).opened())
        send(fleet)
        told(fleet, Incident(fleet, "second").opened())
        fleet.clock.pass_time(hours=1)
        order: list[str] = []
        address = well.url
        fleet.with_sender(Listening(AppriseSender(timeout=0.3), order))
        send(fleet)
        release.set()
    assert order[0] == address and len(well.told) == 2


def test_no_transaction_is_open_while_a_message_is_sent(new_fleet: NewFleet) -> None:
    found: list[int] = []

    class Looking:
        def send(self, url: str, **message: Any) -> None:
            with psycopg.connect(fleet.urls.owner) as connection:
                row = connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
                    " AND xact_start IS NOT NULL AND pid <> pg_backend_pid()").fetchone()
                assert row is not None
                found.append(row[0])

    fleet = with_targets(new_fleet, one="json://127.0.0.1:1/", two="json://127.0.0.1:1/")
    fleet.with_limits(send_concurrency=1)
    fleet.with_sender(Looking())
    told(fleet, Incident(fleet).opened())
    assert send(fleet).sent == 2 and found == [0, 0]


def test_a_secret_that_no_key_opens_is_tried_again_and_sent_once_it_is_set_anew(new_fleet: NewFleet) -> None:
    with Receiver() as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        told(fleet, Incident(fleet).opened())
        fleet.writing(lambda work: work.connection.exec_driver_sql("UPDATE secrets SET token = 'broken'"))
        assert send(fleet).retried == 1 and outbox(fleet)[0].last_error
        fleet.apply()
        fleet.clock.pass_time(minutes=1)
        assert send(fleet).sent == 1


def test_a_sender_with_an_error_of_its_own_keeps_the_message(new_fleet: NewFleet) -> None:
    class Broken:
        def send(self, url: str, **message: Any) -> None:
            raise RuntimeError(url)

    fleet = with_targets(new_fleet, hook="json://127.0.0.1:1/secret-path")
    fleet.with_sender(Broken())
    told(fleet, Incident(fleet).opened())
    assert send(fleet).retried == 1
    assert outbox(fleet)[0].last_error == "hook: sending failed with RuntimeError"


def test_what_was_claimed_and_not_tried_is_given_back_as_it_was(new_fleet: NewFleet) -> None:
    with Receiver(lambda message: 500) as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        told(fleet, *(Incident(fleet, f"number {n}").opened() for n in range(4)))
        assert send(fleet).retried == 1
    first, *others = outbox(fleet)
    assert first.attempts == 1 and {(row.attempts, row.claimed_until, row.digest_of) for row in others} == {(0, None, None)}


def test_a_target_that_is_gone_or_hangs_keeps_no_other_one_back(new_fleet: NewFleet) -> None:
    release = threading.Event()

    def hang(message: object) -> int:
        release.wait(30)
        return 200

    with Receiver() as well, Receiver(hang) as hanging, closed_port() as port:
        fleet = with_targets(new_fleet, gone=f"json://127.0.0.1:{port}/", hanging=hanging.url, well=well.url)
        fleet.with_sender(AppriseSender(timeout=0.3))
        told(fleet, *(Incident(fleet).opened() for _ in range(5)))
        done = send(fleet)
        release.set()
    assert len(well.told) == 5 and (done.sent, done.retried) == (5, 2)
    errors = {row.target: row.last_error for row in outbox(fleet) if row.last_error}
    assert "could not be reached" in errors["gone"] and "did not take the message within" in errors["hanging"]


def test_a_message_that_nobody_takes_is_dead_and_the_others_go_on(new_fleet: NewFleet) -> None:
    with Receiver(lambda message: 422 if "poison" in message["title"] else 200) as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        poison = Incident(fleet, "poison")
        told(fleet, poison.opened(), Incident(fleet).opened(), poison.closed())
        done = send(fleet)
        assert (done.sent, done.dead) == (1, 2)
    dead = outbox(fleet, "dead")
    assert [row.event for row in dead] == ["incident.opened", "incident.closed"]
    assert "answered 422" in dead[0].last_error and "/hook" not in dead[0].last_error
    events = fleet.events("notification.dead")
    assert [event.subject_id for event in events] == [str(row.id) for row in dead]
    assert events[0].actor == "system:outbox" and fleet.chain_verifies()


def test_a_message_that_cannot_be_read_is_dead(new_fleet: NewFleet) -> None:
    with Receiver() as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        told(fleet, Incident(fleet).opened(), Incident(fleet).opened())
        first = outbox(fleet)[0]
        fleet.writing(lambda work: work.connection.exec_driver_sql(f"UPDATE outbox SET message = '[1]' WHERE id = '{first.id}'"))
        assert (send(fleet).dead, len(hook.told)) == (1, 1)


def test_a_target_that_refuses_our_credentials_is_not_tried_again(new_fleet: NewFleet) -> None:
    with Receiver(lambda message: 401) as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        told(fleet, Incident(fleet).opened())
        assert send(fleet).dead == 1 and hook.asked == 1


def test_after_the_last_attempt_a_message_is_dead(new_fleet: NewFleet) -> None:
    with Receiver(lambda message: 500) as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        told(fleet, Incident(fleet).opened())
        while not outbox(fleet, "dead"):
            send(fleet)
            fleet.clock.pass_time(hours=1)
        assert hook.asked == outbox(fleet)[0].attempts == 12


def test_what_waits_for_a_target_that_is_no_more_is_dropped(new_fleet: NewFleet) -> None:
    with receivers(2) as (kept, gone):
        fleet = with_targets(new_fleet, kept=kept.url, gone=gone.url)
        told(fleet, Incident(fleet).opened())
        declare(fleet, kept={"url": kept.url})
        done = send(fleet)
        assert (done.sent, done.dropped) == (1, 1) and not gone.told
    assert [(row.target, row.status) for row in outbox(fleet) if row.target == "gone"] == [("gone", "dropped")]
    assert [event.subject_id for event in fleet.events("notification.dropped")] == ["gone"]


# -- at once, and killed -------------------------------------------------------------------------------------------------

def test_two_senders_at_once_send_nothing_twice(new_fleet: NewFleet) -> None:
    with receivers(3) as hooks:
        fleet = with_targets(new_fleet, **{f"hook{n}": hook.url for n, hook in enumerate(hooks)})
        incidents = [Incident(fleet, f"incident {n}") for n in range(8)]
        told(fleet, *(incident.opened() for incident in incidents), *(incident.closed() for incident in incidents))
        threads = [threading.Thread(target=send, args=(fleet,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        send(fleet)
    for hook in hooks:
        assert len(hook.keys) == len(set(hook.keys)) == 16
        for n in range(8):
            first, second = [title for title in hook.titles if title.endswith(f"incident {n}")]
            assert "Drift incident" in first and "is closed" in second


def test_a_claim_holds_until_its_time_is_over(new_fleet: NewFleet) -> None:
    with Receiver() as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        told(fleet, Incident(fleet).opened())
        (row,) = outbox(fleet)
        until = fleet.clock.now() + timedelta(seconds=90)
        fleet.writing(lambda work: work.outbox.claim([row.id], until))
        assert send(fleet).words() == ""
        fleet.clock.pass_time(seconds=91)
        assert send(fleet).sent == 1
        fleet.writing(lambda work: work.outbox.settle([row.id], until, status="dead"))  # the late word of who had it before
        assert outbox(fleet)[0].status == "sent"
