"""Freeze windows (§11.5): weekly and once, deny beats allow, clocks that change, and what is said about mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfops_pipelines.domain.errors import InvalidFields
from wfops_pipelines.domain.freeze_windows import FreezeWindow, is_open, next_open, read_windows, state

WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def weekly(start: str, end: str, kind: str = "deny", name: str = "w", **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": kind, "start": start, "end": end, **more}


def once(begins: str, ends: str, kind: str = "deny", name: str = "o", **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": kind, "from": begins, "to": ends, **more}


def at(text: str) -> datetime:
    when = datetime.fromisoformat(text)
    return when if when.tzinfo else when.replace(tzinfo=UTC)


BERLIN = {"zone": "Europe/Berlin"}


@pytest.mark.parametrize(("now", "expected"), [
    ("2026-11-20T15:59+01:00", True), ("2026-11-20T16:00+01:00", False), ("2026-11-21T07:59+01:00", False),
    ("2026-11-21T08:00+01:00", True), ("2026-11-21T16:00+01:00", True), ("2026-11-20T02:00+01:00", True),
])
def test_a_weekly_window_over_midnight_belongs_to_the_day_on_which_it_starts(now: str, expected: bool) -> None:
    assert is_open(read_windows([weekly("16:00", "08:00", days=["fri"], **BERLIN)]), at(now)) is expected


def test_a_time_that_ends_when_it_starts_is_a_whole_day() -> None:
    sunday = read_windows([weekly("00:00", "00:00", days=["sun"])])
    assert [is_open(sunday, at(f"2026-11-{day}T{clock}")) for day, clock in (
        (21, "23:59"), (22, "00:00"), (22, "23:59"), (23, "00:00"))] == [True, False, False, True]


def test_a_window_that_is_once_has_a_first_moment_and_is_over_at_its_last() -> None:
    windows = read_windows([once("2026-12-20T18:00", "2027-01-04T08:00", **BERLIN)])
    assert is_open(windows, at("2026-12-20T16:59"))
    assert not is_open(windows, at("2026-12-20T17:00"))
    assert next_open(windows, at("2026-12-24T12:00")) == at("2027-01-04T07:00")
    assert is_open(windows, at("2027-01-04T07:00"))


def test_what_does_not_open_for_a_century_is_not_walked_through_day_by_day(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[datetime] = []
    spans = FreezeWindow.spans

    def counted(window: FreezeWindow, at: datetime) -> Iterator[tuple[datetime, datetime]]:
        looks.append(at)
        return spans(window, at)

    monkeypatch.setattr(FreezeWindow, "spans", counted)
    never = weekly("00:00", "00:00", name="always")
    assert next_open(read_windows([never, once("2199-01-01", "2199-02-01", "allow", name="far")]), at("2026-11-20T12:00")) is None
    assert next_open(read_windows([weekly("09:00", "09:00", days=["mon", "tue"]), once("2199-01-01", "2199-02-01", "allow", name="far")]),
                     at("2026-11-20T12:00")) == at("2199-01-02T09:00")
    assert len(looks) < 10_000, "of 63,000 days"


def test_a_date_is_its_first_moment_and_an_offset_is_taken_at_its_word() -> None:
    dates = read_windows([once("2026-12-24", "2026-12-27", **BERLIN)])
    moments = read_windows([once("2026-12-23T23:00Z", "2026-12-27T00:00+01:00", zone="Asia/Tokyo")])
    for window in (*dates, *moments):
        assert list(window.spans(at("2026-01-01"))) == [(at("2026-12-23T23:00"), at("2026-12-26T23:00"))]


def test_without_windows_it_is_open() -> None:
    assert state([], at("2026-11-21T12:00")).open
    assert next_open([], at("2026-11-21T12:00")) == at("2026-11-21T12:00")


def test_what_no_window_allows_is_closed_once_a_window_allows_something() -> None:
    windows = read_windows([weekly("09:00", "17:00", "allow", name="office", days=["mon", "tue"])])
    found = state(windows, at("2026-11-21T12:00"))
    assert (found.open, found.windows, found.opens_at) == (False, ("office",), at("2026-11-23T09:00"))
    assert "office" in found.reason
    assert "2026-11-23 09:00 UTC" in found.reason
    allowed = state(windows, at("2026-11-24T16:59"))
    assert (allowed.open, allowed.windows) == (True, ("office",))


def test_deny_beats_allow() -> None:
    windows = read_windows([
        weekly("09:00", "17:00", "allow", name="office"), weekly("12:00", "13:00", name="lunch"),
        once("2026-11-21T13:00", "2026-11-21T16:00", name="audit")])
    found = state(windows, at("2026-11-21T12:30"))
    assert (found.open, found.windows, found.opens_at) == (False, ("lunch",), at("2026-11-21T16:00"))
    assert next_open(windows, at("2026-11-21T17:30")) == at("2026-11-22T09:00")


@pytest.mark.parametrize("windows", [
    [weekly("00:00", "00:00")],
    [weekly("09:00", "17:00", "allow", name="a"), weekly("08:00", "18:00", name="d")],
    [once("2026-01-01", "2026-02-01", "allow")],
])
def test_it_is_said_when_it_never_opens(windows: list[dict[str, Any]]) -> None:
    found = state(read_windows(windows), at("2026-11-21T12:00"))
    assert (found.open, found.opens_at) == (False, None)
    assert "does not open" in found.reason


def test_a_long_freeze_is_looked_beyond() -> None:
    windows = read_windows([once("2026-01-01", "2035-01-01", name="o"), weekly("00:00", "12:00", name="w")])
    assert next_open(windows, at("2026-11-21")) == at("2035-01-01T12:00")


def test_a_start_that_the_clocks_skip_is_the_moment_they_change() -> None:
    windows = read_windows([weekly("02:30", "04:00", days=["sun"], **BERLIN)])  # 2027-03-28: 02:00 becomes 03:00
    assert is_open(windows, at("2027-03-28T00:59:59"))
    assert not is_open(windows, at("2027-03-28T01:00:00"))
    assert next_open(windows, at("2027-03-28T01:00:00")) == at("2027-03-28T02:00:00")


def test_a_window_that_the_clocks_skip_is_left_out() -> None:
    windows = read_windows([weekly("02:10", "02:50", "allow", days=["sun"], **BERLIN)])
    assert next_open(windows, at("2027-03-28T00:00:00")) == at("2027-04-04T00:10:00")


def test_an_hour_that_the_clocks_show_twice_is_covered_twice() -> None:
    windows = read_windows([weekly("02:15", "02:45", days=["sun"], **BERLIN)])  # 2026-10-25: 03:00 becomes 02:00
    assert is_open(windows, at("2026-10-25T00:14:59"))
    assert not is_open(windows, at("2026-10-25T00:15:00"))
    assert next_open(windows, at("2026-10-25T00:15:00")) == at("2026-10-25T01:45:00")


@pytest.mark.parametrize(("window", "field"), [
    (weekly("25:00", "08:00"), "[0].start"), (weekly("16:00", "08:00", zone="Europe/Atlantis"), "[0].zone"),
    (weekly("16:00", "08:00", days=["friday"]), "[0].days"), (weekly("16:00", "08:00", days=[]), "[0].days"),
    (weekly("16:00", "08:00", kind="maybe"), "[0].kind"), (weekly("16:00", "08:00", name=""), "[0].name"),
    ({"name": "w", "start": "16:00"}, "[0].end"), ({"name": "w", "from": "2026-01-01"}, "[0].to"),
    (once("2026-01-02", "2026-01-01"), "[0].to"), (once("tomorrow", "2026-01-01"), "[0].from"),
    (once("2026-01-01", "9999-12-31"), "[0].to"), (weekly("16:00", "08:00", untli="x"), "[0].untli"),
    ({"name": "w"}, "[0]"), ({**weekly("16:00", "08:00"), **once("2026-01-01", "2026-01-02")}, "[0]"),
])
def test_what_does_not_fit_is_named_by_its_field(window: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        read_windows([window], whose="stage dev to prod")
    assert any(str(problem.field).startswith(field) for problem in refused.value.problems), str(refused.value)
    assert str(refused.value).startswith("stage dev to prod: ")


def test_two_windows_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidFields, match="name"):
        read_windows([weekly("16:00", "08:00"), once("2026-01-01", "2026-01-02", name="w")])


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu",
         "Pacific/Apia", "Africa/Casablanca"]
clocks = st.times().map(lambda t: f"{t.hour:02}:{t.minute:02}")
moments = st.datetimes(datetime(2011, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))
weeklies = st.builds(
    weekly, clocks, clocks, st.sampled_from(["allow", "deny"]), days=st.sets(st.sampled_from(WEEK), min_size=1).map(sorted),
    zone=st.sampled_from(ZONES))
onces = st.builds(
    lambda begin, hours, kind, zone: once(begin.isoformat(), (begin + timedelta(hours=hours)).isoformat(), kind, zone=zone),
    moments, st.integers(1, 5000), st.sampled_from(["allow", "deny"]), st.sampled_from(ZONES))


@st.composite
def window_sets(draw: st.DrawFn) -> tuple[FreezeWindow, ...]:
    given_ = draw(st.lists(st.one_of(weeklies, onces), max_size=4))
    return read_windows([{**window, "name": f"w{index}"} for index, window in enumerate(given_)])


def on_the_clock(window: dict[str, Any], now: datetime) -> bool:
    """Whether the clock of the zone shows a time in a weekly window, by the clock alone."""
    local = now.astimezone(ZoneInfo(window["zone"]))
    start, end = time.fromisoformat(window["start"]), time.fromisoformat(window["end"])
    today, yesterday = WEEK[local.weekday()], WEEK[local.weekday() - 1]
    if start < end:
        return today in window["days"] and start <= local.time() < end
    return (today in window["days"] and local.time() >= start) or (yesterday in window["days"] and local.time() < end)


@given(weeklies, moments)
@settings(max_examples=300, deadline=None)
def test_a_weekly_window_covers_what_the_clock_shows_and_more_only_where_clocks_go_back(
        window: dict[str, Any], now: datetime) -> None:
    [read] = read_windows([{**window, "kind": "deny"}])
    covered = not is_open([read], now)
    zone = ZoneInfo(window["zone"])
    around = {(now + timedelta(hours=hours)).astimezone(zone).utcoffset() for hours in range(-26, 27)}
    if on_the_clock(window, now):
        assert covered
    elif covered:
        assert len(around) > 1


@given(window_sets(), moments)
@settings(max_examples=150, deadline=None)
def test_the_next_open_moment_is_open_not_before_now_and_the_first_one(
        windows: tuple[FreezeWindow, ...], now: datetime) -> None:
    found = next_open(windows, now)
    assert is_open(windows, now) == (found == now)
    assert state(windows, now).open == is_open(windows, now)
    assert state(windows, now).opens_at == found
    if found is None:
        assert not any(is_open(windows, now + timedelta(hours=7 * step)) for step in range(60))
        return
    assert found >= now
    assert is_open(windows, found)
    if found > now:
        assert not is_open(windows, found - timedelta(microseconds=1))
        assert not any(is_open(windows, now + (found - now) * part / 12) for part in range(12))


@given(window_sets(), moments)
@settings(max_examples=100, deadline=None)
def test_deny_beats_allow_everywhere_and_the_order_makes_no_difference(
        windows: tuple[FreezeWindow, ...], now: datetime) -> None:
    deny = [window for window in windows if window.kind == "deny"]
    allow = [window for window in windows if window.kind == "allow"]
    assert is_open(windows, now) == (is_open(deny, now) and is_open(allow, now))
    assert is_open(windows[::-1], now) == is_open(windows, now)


@given(window_sets())
@settings(deadline=None)
def test_stored_windows_are_read_back_as_they_were(windows: tuple[FreezeWindow, ...]) -> None:
    assert read_windows([window.as_json() for window in windows]) == windows
