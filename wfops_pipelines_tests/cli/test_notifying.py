"""``wfops notify`` and ``wfops alerts`` as processes (§16, §22), with a real receiver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from wfops_pipelines_tests.cli.fleet import Fleet
from wfops_pipelines_tests.servers.hostile import closed_port
from wfops_pipelines_tests.services.outbox import Receiver

pytestmark = pytest.mark.xdist_group("cli-notifying")

SECRET = "s3cr3t-in-the-url"


@pytest.fixture(scope="module")
def hook() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def applied(fleet: Fleet, hook: Receiver) -> Iterator[Fleet]:
    """Two targets: one that takes what it gets, and one where nobody listens."""
    with closed_port() as port:
        (fleet.document.parent / "keys" / "hook").write_text(f"{hook.url}/{SECRET}")
        (fleet.document.parent / "keys" / "gone").write_text(f"json://127.0.0.1:{port}/{SECRET}")
        fleet.document.write_text(fleet.document.read_text() + (
            "    notifications:\n      - {name: on-call, url: 'file:keys/hook', min_severity: high, digest_minutes: 10,"
            " quiet_hours: {start: 22:00, end: 07:00, zone: Europe/Berlin, whole_days: [sat, sun]}}\n"
            "      - {name: gone, url: 'file:keys/gone'}\n"))
        assert fleet.wfops("apply", "-f", fleet.document).code == 0
        assert fleet.wfops("apply", "-f", fleet.document, "--json").json["changes"] == []
        yield fleet


def test_a_test_message_arrives_at_once_and_what_does_not_is_told(applied: Fleet, hook: Receiver) -> None:
    done = applied.wfops("notify", "test", "acme")
    assert done.code == 5 and "sent    on-call (json://127.0.0.1" in done.out and "failed  gone (json://127.0.0.1" in done.out
    assert SECRET not in done.out + done.err
    assert hook.titles == ["Test message to on-call of acme"]
    alone = applied.wfops("notify", "test", "acme", "on-call", "--json")
    assert (alone.code, alone.json[0]["sent"], alone.json[0]["error"]) == (0, True, None)
    dry = applied.wfops("notify", "test", "acme", "--dry-run", "--json")
    assert dry.code == 0 and [tested["sent"] for tested in dry.json] == [False, False] and len(hook.told) == 2
    tested = applied.wfops("audit", "list", "acme", "--action", "notification.tested", "--json").json
    assert [event["subject_id"] for event in tested] == ["on-call", "on-call", "gone"]


def test_a_target_that_is_none_is_a_usage_error(applied: Fleet) -> None:
    done = applied.wfops("notify", "test", "acme", "nobody")
    assert done.code == 2 and "targets: gone, on-call" in done.err


def test_the_outbox_is_listed_and_dead_letters_are_sent_again(applied: Fleet) -> None:
    found = applied.wfops("notify", "outbox", "acme", "--json").json
    assert found == {"tenant": "acme", "counts": {"pending": 0, "sent": 0, "dead": 0, "dropped": 0}, "messages": []}
    assert applied.wfops("notify", "outbox", "acme", "--status", "lost").code == 2
    assert applied.wfops("notify", "send", "acme", "--dry-run").out == applied.wfops("notify", "send", "acme").out == (
        "nothing is due\n")
    assert "there are no dead letters" in applied.wfops("notify", "retry", "acme").err
    unknown = applied.wfops("notify", "retry", "acme", "00000000-0000-0000-0000-000000000000", "--json")
    assert unknown.code == 2 and "has no message" in unknown.err


def test_rules_are_made_changed_tried_and_removed(applied: Fleet) -> None:
    rule = ("alerts", "set", "acme", "stale", "--metric", "sync_age", "--above", "2", "--environment", "prod", "--for", "15")
    assert "would be made: stale" in applied.wfops(*rule, "--dry-run").out
    made = applied.wfops(*rule, "--json").json
    assert (made["changed"], made["before"], made["after"]["window_minutes"]) == (True, None, 15)
    assert "nothing to change" in applied.wfops(*rule).out
    assert "threshold: 5 (was 2)" in applied.wfops("alerts", "set", "acme", "stale", "--above", "5").out
    (listed,) = applied.wfops("alerts", "list", "acme", "--json").json
    assert listed["rule"] == "sync_age > 5 hours for 15 minutes" and listed["environment"] == "prod"
    (tried,) = applied.wfops("alerts", "test", "acme", "--json").json
    assert tried["verdict"] == "quiet" and tried["value"] < 1
    assert "quiet" in applied.wfops("alerts", "test", "acme", "stale").out
    assert applied.wfops("alerts", "history", "acme", "--json").json == []
    assert applied.wfops("alerts", "remove", "acme", "stale").out == "removed: stale\n"
    assert applied.wfops("alerts", "remove", "acme", "stale").code == 2


@pytest.mark.parametrize(("options", "message"), [
    (("--above", "1", "--below", "2"), "give one of"), (("--above", "1"), "metric"),
    (("--metric", "sync_age", "--above", "1", "--severity", "awful"), "severity"),
    (("--metric", "outbox_age", "--above", "1", "--environment", "prod"), "whole tenant"),
])
def test_a_rule_that_does_not_fit_is_refused(applied: Fleet, options: tuple[str, ...], message: str) -> None:
    done = applied.wfops("alerts", "set", "acme", "wrong", *options)
    assert done.code == 2 and message in done.err
