"""Notifications by hand (§16): test messages past the outbox, and dead letters again."""

from __future__ import annotations

import uuid

import pytest

from wfops_pipelines.domain.errors import Refused, UnknownNotification, Unreachable, UsageError
from wfops_pipelines.services.notification_commands import list_due, list_outbox, retry_dead, send_test
from wfops_pipelines.services.send_notifications import send_waiting
from wfops_pipelines_tests.servers.hostile import closed_port
from wfops_pipelines_tests.servers.mail import MailServer
from wfops_pipelines_tests.services.fleet import NewFleet
from wfops_pipelines_tests.services.outbox import Incident, Receiver, declare, outbox, receivers, send, told, with_targets


def test_a_test_message_says_for_each_target_whether_it_arrived(new_fleet: NewFleet) -> None:
    with Receiver() as well, Receiver(lambda message: 403) as refusing, closed_port() as port, MailServer() as mail:
        fleet = with_targets(
            new_fleet, well=well.url, refusing=refusing.url, gone=f"json://127.0.0.1:{port}/secret-path",
            mail=f"mailto://127.0.0.1:{mail.port}?from=wfops@example.com&mode=insecure&to=ada@example.com")
        found = {tested.target: tested for tested in send_test(fleet.services, fleet.context)}
    assert found["well"].sent and found["mail"].sent
    assert isinstance(found["refusing"].error, Refused) and isinstance(found["gone"].error, Unreachable)
    assert well.titles == ["Test message to well of acme"] and mail.messages[0]["Subject"] == "Test message to mail of acme"
    assert outbox(fleet) == []
    events = fleet.events("notification.tested")
    assert {event.subject_id: event.details["sent"] for event in events} == {
        "well": True, "mail": True, "refusing": False, "gone": False}
    assert "secret-path" not in str(events)


def test_a_test_goes_out_in_quiet_hours_too(new_fleet: NewFleet) -> None:
    with Receiver() as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        declare(fleet, hook={"quiet_hours": {"start": "00:00", "end": "23:59", "critical_passes": False},
                             "min_severity": "critical", "events": ["incident.opened"], "digest_minutes": 60})
        assert [tested.sent for tested in send_test(fleet.services, fleet.context, "hook")] == [True]


def test_a_dry_run_sends_nothing_and_records_nothing(new_fleet: NewFleet) -> None:
    with Receiver() as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        (tested,) = send_test(fleet.services, fleet.context, dry_run=True)
        assert not tested.sent and tested.address.startswith("json://127.0.0.1:") and not hook.asked
    assert not fleet.events("notification.tested")


def test_a_tenant_without_targets_is_told_how_to_get_some(new_fleet: NewFleet) -> None:
    fleet = new_fleet((), git=False)
    with pytest.raises(UnknownNotification, match="has no notification targets"):
        send_test(fleet.services, fleet.context)


def test_dead_letters_are_sent_again_under_their_old_keys_and_before_what_came_later(new_fleet: NewFleet) -> None:
    with Receiver(lambda message: 401) as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        incident = Incident(fleet)
        told(fleet, incident.opened())
        send(fleet)
        (dead,) = list_outbox(fleet.services, fleet.context, status="dead")["messages"]
        assert "does not accept the credentials" in dead["error"]
        assert retry_dead(fleet.services, fleet.context, dry_run=True) == [dead] and outbox(fleet, "dead")
        hook.answer = lambda message: 200
        told(fleet, incident.closed())
        retry_dead(fleet.services, fleet.context)
        assert send(fleet).sent == 2
    assert "Drift incident" in hook.titles[0] and "is closed" in hook.titles[1] and hook.keys[0] == dead["key"]
    assert [event.subject_id for event in fleet.events("notification.retried")] == [dead["id"]]
    assert list_outbox(fleet.services, fleet.context)["counts"] == {"pending": 0, "sent": 2, "dead": 0, "dropped": 0}


def test_a_tenant_can_be_sent_for_alone_and_what_is_due_is_seen_before(new_fleet: NewFleet) -> None:
    with Receiver() as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        told(fleet, Incident(fleet, "one").opened(), Incident(fleet, "two").opened())
        due = list_due(fleet.services, fleet.context)
        assert ["one" in due[0]["title"], "two" in due[1]["title"]] == [True, True] and not hook.asked
        assert send_waiting(fleet.services, tenant="nobody").words() == ""
        assert send_waiting(fleet.services, tenant=fleet.slug).as_json()["sent"] == 2
        assert list_due(fleet.services, fleet.context) == []


def test_one_of_several_dead_letters_can_be_chosen(new_fleet: NewFleet) -> None:
    with Receiver(lambda message: 401) as hook:
        fleet = with_targets(new_fleet, hook=hook.url)
        told(fleet, Incident(fleet, "one").opened(), Incident(fleet, "two").opened())
        send(fleet)
    _, second = outbox(fleet, "dead")
    assert [row["id"] for row in retry_dead(fleet.services, fleet.context, second.id)] == [str(second.id)]
    assert [row.status for row in outbox(fleet)] == ["dead", "pending"]


def test_what_is_not_dead_or_not_there_is_not_sent_again(new_fleet: NewFleet) -> None:
    with receivers(2) as (hook, gone):
        fleet = with_targets(new_fleet, hook=hook.url, gone=gone.url)
        told(fleet, Incident(fleet).opened())
        declare(fleet, hook={"url": hook.url})
        send(fleet)
        sent, dropped = next(r for r in outbox(fleet) if r.status == "sent"), next(
            r for r in outbox(fleet) if r.status == "dropped")
        with pytest.raises(UsageError, match="is sent"):
            retry_dead(fleet.services, fleet.context, sent.id)
        with pytest.raises(UsageError, match="no target any more"):
            retry_dead(fleet.services, fleet.context, dropped.id)
        with pytest.raises(UnknownNotification):
            retry_dead(fleet.services, fleet.context, uuid.uuid4())
        declare(fleet, hook={"url": hook.url}, gone={"url": gone.url})
        retry_dead(fleet.services, fleet.context, dropped.id)
        assert send(fleet).sent == 1 and len(gone.told) == 1
