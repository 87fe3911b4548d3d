"""When and in which order messages go out (§16)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from random import Random
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.delivery import (
    MAX_DIGEST,
    Backoff,
    Entry,
    EntryStatus,
    QuietHours,
    Timing,
    batches,
    next_to_send,
    sendable,
)
from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.domain.incident import Severity

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = QuietHours(time(22), time(7), "Europe/Berlin")


def berlin(day: int, hour: int, minute: int = 0, month: int = 1) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=BERLIN)


# -- quiet hours ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("now", "expected"), [
    (berlin(6, 21, 59), berlin(6, 21, 59)), (berlin(6, 22), berlin(7, 7)), (berlin(7, 3), berlin(7, 7)),
    (berlin(7, 6, 59), berlin(7, 7)), (berlin(7, 7), berlin(7, 7)), (berlin(7, 12), berlin(7, 12)),
])
def test_quiet_hours_span_midnight(now: datetime, expected: datetime) -> None:
    assert NIGHT.deliver_at(now) == expected


def test_quiet_hours_follow_the_wall_clock_of_their_zone() -> None:
    assert NIGHT.deliver_at(datetime(2026, 1, 6, 21, 30, tzinfo=UTC)) == datetime(2026, 1, 7, 6, tzinfo=UTC)
    assert NIGHT.deliver_at(datetime(2026, 7, 6, 20, 30, tzinfo=UTC)) == datetime(2026, 7, 7, 5, tzinfo=UTC)


def test_the_night_on_which_the_clocks_change_ends_at_seven_too() -> None:
    assert NIGHT.deliver_at(berlin(29, 1, month=3)) == datetime(2026, 3, 29, 5, tzinfo=UTC)
    assert NIGHT.deliver_at(berlin(25, 1, month=10)) == datetime(2026, 10, 25, 6, tzinfo=UTC)


def test_only_nights_that_begin_on_the_chosen_days_are_quiet() -> None:
    weekdays = replace(NIGHT, days=frozenset({0, 1, 2, 3}))  # Monday to Thursday
    assert weekdays.deliver_at(berlin(9, 3)) == berlin(9, 7)  # the night of Thursday, on Friday
    assert weekdays.deliver_at(berlin(9, 23)) == berlin(9, 23)  # Friday night


def test_a_quiet_weekend_joins_the_nights_around_it() -> None:
    hours = replace(NIGHT, whole_days=frozenset({5, 6}))
    assert hours.deliver_at(berlin(9, 22)) == berlin(12, 7)  # Friday evening to Monday morning


def test_critical_messages_pass_through_if_so_set() -> None:
    now = berlin(7, 3)
    assert NIGHT.deliver_at(now, Severity.CRITICAL) == now
    assert NIGHT.deliver_at(now, Severity.HIGH) == berlin(7, 7)
    assert replace(NIGHT, critical_passes=False).deliver_at(now, Severity.CRITICAL) == berlin(7, 7)


@pytest.mark.parametrize("wrong", [
    {"zone": "Mars/Olympus"}, {"zone": "../etc/passwd"}, {"zone": ""}, {"days": frozenset({7})},
    {"whole_days": frozenset(range(7))}, {"start": time(8), "end": time(8)},
    {"start": time(22), "end": time(7), "days": frozenset({6}), "whole_days": frozenset(range(6)) | {6}},
    {"start": time(22, tzinfo=UTC)},
])
def test_wrong_quiet_hours_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="quiet hours"):
        QuietHours(**{"start": time(22), "end": time(7), **wrong})


quiet = st.builds(
    QuietHours, st.times().map(lambda t: t.replace(second=0, microsecond=0)), st.just(time(7)),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "Africa/Casablanca"]),
    st.frozensets(st.integers(0, 6), max_size=5), st.frozensets(st.integers(0, 6), max_size=3))


@given(quiet, st.datetimes(datetime(2010, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)))
def test_what_is_put_off_goes_out_later_and_outside_quiet_hours(hours: QuietHours, now: datetime) -> None:
    at = hours.deliver_at(now)
    assert at >= now and hours.until(at) is None
    assert hours.deliver_at(at) == at


# -- retries -------------------------------------------------------------------------------------------------------------

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_pauses_grow_up_to_the_cap() -> None:
    assert [Backoff().pause(n, 0).total_seconds() for n in range(1, 11)] == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_an_outage_of_some_hours_kills_no_message() -> None:
    backoff = Backoff()
    at = NOW
    for attempts in range(1, backoff.max_attempts):
        retry = backoff.retry_at(attempts, at, transient=True, jitter=1)
        assert retry is not None
        at = retry
    assert at - NOW > timedelta(hours=2)
    assert backoff.retry_at(backoff.max_attempts, at, transient=True, jitter=0) is None


def test_a_permanent_failure_is_dead_at_once() -> None:
    assert Backoff().retry_at(1, NOW, transient=False, jitter=0) is None


def test_a_receiver_may_ask_for_more_time_up_to_the_cap() -> None:
    backoff = Backoff()
    assert backoff.retry_at(1, NOW, transient=True, jitter=0, not_before=NOW + timedelta(minutes=5)) == NOW + timedelta(minutes=5)
    assert backoff.retry_at(1, NOW, transient=True, jitter=0, not_before=NOW + timedelta(days=9)) == NOW + backoff.cap


@given(st.integers(1, 10_000), st.floats(-1, 2))
def test_no_pause_is_longer_than_the_cap_or_shorter_than_half_the_first(attempts: int, jitter: float) -> None:
    backoff = Backoff(max_attempts=20_000)
    assert backoff.first / 2 <= backoff.pause(attempts, jitter) <= backoff.cap


# -- order ---------------------------------------------------------------------------------------------------------------

def entry(number: int, subject: str = "incident:1", target: str = "chat", *, wait: float = 0, **more: Any) -> Entry:
    return Entry(UUID(int=number), number, target, subject, NOW + timedelta(minutes=wait), **more)


def numbers(entries: Any) -> list[int]:
    return [found.sequence for found in entries]


def test_messages_of_one_subject_to_one_target_wait_for_each_other() -> None:
    queue = [entry(2), entry(1), entry(3, "incident:2"), entry(4, target="mail")]
    assert numbers(sendable(queue, NOW)) == [1, 3, 4]
    assert next_to_send(queue, NOW) == entry(1)


def test_one_that_is_tried_again_later_holds_up_its_lane_alone() -> None:
    assert numbers(sendable([entry(1, wait=5, attempts=1), entry(2), entry(3, "incident:2")], NOW)) == [3]


@pytest.mark.parametrize("status", [EntryStatus.DEAD, EntryStatus.SENT, EntryStatus.DROPPED])
def test_one_that_is_done_with_holds_up_nothing(status: EntryStatus) -> None:
    assert numbers(sendable([entry(1, status=status), entry(2)], NOW)) == [2]


def test_one_that_somebody_is_sending_holds_up_its_lane_until_the_claim_ends() -> None:
    queue = [entry(1, claimed_until=NOW + timedelta(minutes=1)), entry(2)]
    assert sendable(queue, NOW) == ()
    assert numbers(sendable(queue, NOW + timedelta(minutes=1))) == [1]


def test_an_urgent_one_pulls_along_what_only_waits_for_quiet_hours() -> None:
    assert numbers(sendable([entry(1, wait=60), entry(2, urgent=True)], NOW)) == [1]
    assert numbers(sendable([entry(1, wait=60, attempts=1), entry(2, urgent=True)], NOW)) == []
    assert numbers(sendable([entry(1, wait=60), entry(2, "incident:2", urgent=True)], NOW)) == [2]


def test_nothing_to_send_is_none() -> None:
    assert next_to_send([], NOW) is None
    assert next_to_send([entry(1, wait=1)], NOW) is None


def test_many_for_one_target_go_out_as_one() -> None:
    queue = [entry(1), entry(2), entry(3, "incident:2"), entry(4, target="mail"), entry(5, "incident:2", wait=9)]
    assert [numbers(batch) for batch in batches(queue, NOW, digest_from=3)] == [[1, 2, 3], [4]]
    assert [numbers(batch) for batch in batches(queue, NOW)] == [[1], [3], [4]]


entries = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.integers(-2, 5), st.integers(0, 2),
                             st.sampled_from(EntryStatus), st.booleans()), max_size=12).map(
    lambda rows: [entry(n, s, t, wait=w, attempts=a, status=st_, urgent=u) for n, (t, s, w, a, st_, u) in enumerate(rows, 1)])


@given(entries, st.randoms(use_true_random=False), st.sampled_from([None, 2, 4]))
def test_whatever_fails_each_lane_goes_out_in_order_and_whole(
        queue: list[Entry], random: Random, digest_from: int | None) -> None:
    sent: list[Entry] = []
    waiting = {e.id: e for e in queue}
    now = NOW
    for _ in range(200):
        for batch in batches(waiting.values(), now, digest_from=digest_from):
            for found in batch:
                if len(batch) == 1 and found.attempts < 4 and random.random() < 0.3:
                    waiting[found.id] = replace(found, attempts=found.attempts + 1, not_before=now + timedelta(minutes=2))
                else:
                    sent.append(found)
                    waiting[found.id] = replace(found, status=EntryStatus.SENT)
        now += timedelta(minutes=1)
    assert {e.id for e in sent} == {e.id for e in queue if e.status is EntryStatus.PENDING}
    for lane in {e.lane for e in queue}:
        order = [e.sequence for e in sent if e.lane == lane]
        assert order == sorted(order)


# -- when a target wants its messages ------------------------------------------------------------------------------------

def test_a_digest_ends_at_the_same_time_for_all_that_comes_up_meanwhile() -> None:
    quarter = Timing(digest=timedelta(minutes=15))
    noon = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
    assert {quarter.not_before(noon + timedelta(minutes=m), Severity.HIGH) for m in range(15)} == {noon + timedelta(minutes=15)}
    assert quarter.not_before(noon + timedelta(minutes=3), Severity.CRITICAL) == noon + timedelta(minutes=3)


def test_a_digest_that_would_end_in_quiet_hours_ends_with_them() -> None:
    timing = Timing(NIGHT, timedelta(hours=1))
    assert timing.not_before(berlin(6, 21, 30), Severity.LOW) == berlin(7, 7)
    assert timing.not_before(berlin(6, 20, 30), Severity.LOW) == berlin(6, 21)


def test_who_wants_neither_gets_each_message_at_once_and_by_itself() -> None:
    assert Timing().not_before(berlin(7, 3), Severity.LOW) == berlin(7, 3) and Timing().digest_from() is None
    assert Timing(digest=timedelta(minutes=1)).digest_from() == 2
    assert [Timing(hours).urgent(Severity.CRITICAL) for hours in (None, NIGHT, replace(NIGHT, critical_passes=False))] == [
        True, True, False]
    assert not Timing().urgent(Severity.HIGH)


@given(st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)), st.integers(1, 1440), st.sampled_from(list(Severity)))
def test_a_message_never_waits_longer_than_a_digest_takes(at: datetime, minutes: int, severity: Severity) -> None:
    now = at.replace(tzinfo=UTC)
    assert now <= Timing(digest=timedelta(minutes=minutes)).not_before(now, severity) <= now + timedelta(minutes=minutes)


# -- tried together, tried together again --------------------------------------------------------------------------------

def written(*subjects: str, together: int | None = None, start: int = 1, now: datetime = NOW) -> list[Entry]:
    return [Entry(UUID(int=n), n, "slack", subject, now, together=UUID(int=together) if together else None)
            for n, subject in enumerate(subjects, start)]


def sequences(found: tuple[tuple[Entry, ...], ...]) -> list[list[int]]:
    return [[entry.sequence for entry in batch] for batch in found]


def test_what_was_tried_together_goes_together_again_and_without_what_came_later() -> None:
    queue = written("a", "b", together=1) + written("a", "c", start=3)
    assert sequences(batches(queue, NOW, digest_from=2)) == [[1, 2], [4]]
    assert sequences(batches(queue, NOW)) == [[1, 2], [4]]


def test_what_was_tried_alone_stays_alone() -> None:
    queue = written("a", together=1) + written("b", together=2, start=2) + written("c", "d", start=3)
    assert sequences(batches(queue, NOW, digest_from=2)) == [[1], [2], [3, 4]]


def test_what_was_tried_together_waits_for_all_of_it() -> None:
    first, second = written("a", "b", together=1)
    assert batches([first, replace(second, not_before=NOW + timedelta(hours=1))], NOW, digest_from=2) == ()


def test_no_digest_is_larger_than_its_titles_fit() -> None:
    found = sequences(batches(written(*map(str, range(120))), NOW, digest_from=2))
    assert len(found[0]) == MAX_DIGEST and found[0] == list(range(1, MAX_DIGEST + 1))
