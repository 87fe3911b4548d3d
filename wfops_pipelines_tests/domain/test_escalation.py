"""Escalation and TTL of an incident (§10.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.errors import ForbiddenTransition, UsageError
from wfops_pipelines.domain.escalation import (
    Due,
    Escalation,
    check_extension,
    deadlines,
    due,
    expires_at,
    extended,
    next_due,
    on_severity_risen,
    past_ttl,
)
from wfops_pipelines.domain.incident import IncidentEvent, IncidentStatus, Severity, move
from wfops_pipelines_tests.domain.workflow_strategies import law

NONE, ESCALATED, CRITICAL, OVERDUE = Escalation
DETECTED, EXPIRED, ACKNOWLEDGED, STABILIZED, RECONCILED, CLOSED, CANCELLED = IncidentStatus
TTLS = {Severity.CRITICAL: 24, Severity.HIGH: 48, Severity.MEDIUM: 72, Severity.LOW: 168}
START = datetime(2026, 3, 1, tzinfo=UTC)


def after(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def look(hours: float, *, status: IncidentStatus = DETECTED, reached: Escalation = NONE, ttl: float = 100) -> Due | None:
    return due(status=status, reached=reached, detected_at=START, expires_at=after(ttl), now=after(hours))


def test_levels_are_due_at_a_quarter_three_quarters_and_the_whole_of_the_ttl() -> None:
    assert deadlines(START, after(100)) == {ESCALATED: after(25), CRITICAL: after(75), OVERDUE: after(100)}


@pytest.mark.parametrize(("hours", "reached", "found"), [
    (0, NONE, None), (24.99, NONE, None), (25, NONE, Due(ESCALATED)), (74.99, ESCALATED, None),
    (75, ESCALATED, Due(CRITICAL)), (99.99, CRITICAL, None), (100, CRITICAL, Due(OVERDUE, expires=True)),
    (200, OVERDUE, None),
])
def test_an_incident_that_nobody_touches_walks_through_its_levels(hours: float, reached: Escalation,
                                                                  found: Due | None) -> None:
    assert look(hours, reached=reached) == found


@pytest.mark.parametrize(("hours", "found"), [
    (80, Due(CRITICAL, (ESCALATED,))), (100, Due(OVERDUE, (ESCALATED, CRITICAL), expires=True)),
])
def test_after_an_outage_only_the_highest_level_is_due_and_names_those_missed(hours: float, found: Due) -> None:
    assert look(hours) == found


@pytest.mark.parametrize("status", [ACKNOWLEDGED, STABILIZED, RECONCILED])
def test_what_is_acknowledged_never_escalates_and_yet_becomes_overdue(status: IncidentStatus) -> None:
    assert look(74, status=status) is None
    assert look(75, status=status) == Due(CRITICAL)
    assert look(100, status=status) == Due(OVERDUE, (CRITICAL,))


@pytest.mark.parametrize("status", [CLOSED, CANCELLED])
def test_nothing_is_due_for_what_is_over(status: IncidentStatus) -> None:
    assert look(1000, status=status) is None
    assert next_due(status=status, reached=NONE, detected_at=START, expires_at=after(1)) is None


def test_what_an_admin_expired_early_still_escalates_but_does_not_expire_again() -> None:
    assert look(25, status=EXPIRED) == Due(ESCALATED)
    assert look(100, status=EXPIRED, reached=CRITICAL) == Due(OVERDUE)


def test_the_next_look_is_at_the_first_level_that_can_still_be_reached() -> None:
    def look_again(status: IncidentStatus, reached: Escalation) -> datetime | None:
        return next_due(status=status, reached=reached, detected_at=START, expires_at=after(100))

    assert look_again(DETECTED, NONE) == after(25)
    assert look_again(ACKNOWLEDGED, NONE) == after(75)
    assert look_again(ACKNOWLEDGED, CRITICAL) == after(100)
    assert look_again(ACKNOWLEDGED, OVERDUE) is None


def test_the_ttl_follows_the_severity() -> None:
    assert [expires_at(START, severity, TTLS) for severity in Severity] == [after(168), after(72), after(48), after(24)]


def test_when_severity_rises_the_earlier_end_holds() -> None:
    assert on_severity_risen(after(168), START, Severity.CRITICAL, TTLS) == after(24)
    assert on_severity_risen(after(10), START, Severity.CRITICAL, TTLS) == after(10)
    assert on_severity_risen(extended(after(168), 100), START, Severity.HIGH, TTLS) == after(48)


def test_an_overdue_incident_that_is_given_time_is_within_its_ttl_again_and_keeps_the_level_it_reached() -> None:
    end = extended(after(100), 50)
    assert end == after(150)
    assert past_ttl(after(100), after(101))
    assert not past_ttl(end, after(101))
    assert look(149, status=ACKNOWLEDGED, reached=OVERDUE, ttl=150) is None
    assert look(151, status=ACKNOWLEDGED, reached=OVERDUE, ttl=150) is None


def test_an_extension_moves_the_levels_still_to_come() -> None:
    assert look(80, reached=ESCALATED, ttl=200) is None
    assert look(150, reached=ESCALATED, ttl=200) == Due(CRITICAL)


@pytest.mark.parametrize("hours", [0, -1, 8761])
def test_an_extension_is_one_hour_to_a_year(hours: int) -> None:
    with pytest.raises(UsageError, match="1 to 8760 hours"):
        extended(START, hours)


def test_an_end_that_no_calendar_holds_is_refused() -> None:
    with pytest.raises(UsageError, match="too far"):
        extended(datetime(9999, 12, 31, tzinfo=UTC), 8760)


def test_an_extension_needs_an_open_incident_and_a_reason() -> None:
    check_extension(EXPIRED, "the author is on leave")
    with pytest.raises(UsageError, match="closed"):
        check_extension(CLOSED, "the author is on leave")
    with pytest.raises(UsageError, match="needs a reason"):
        check_extension(DETECTED, "  ")


# -- laws: whatever happens in whatever order ------------------------------------------------------------------------------

@dataclass
class Incident:
    """An incident as the store keeps it, and what was told about it."""

    status: IncidentStatus = DETECTED
    reached: Escalation = NONE
    severity: Severity = Severity.LOW
    end: datetime = field(default_factory=lambda: expires_at(START, Severity.LOW, TTLS))
    told: list[Due] = field(default_factory=list)

    def look(self, now: datetime) -> Due | None:
        return due(status=self.status, reached=self.reached, detected_at=START, expires_at=self.end, now=now)

    @property
    def next_due(self) -> datetime | None:
        return next_due(status=self.status, reached=self.reached, detected_at=START, expires_at=self.end)

    def sweep(self, now: datetime) -> None:
        found = self.look(now)
        if found is not None:
            self.reached = found.level
            self.told.append(found)
            if found.expires:
                self.status = move(self.status, IncidentEvent.EXPIRE)

    def step(self, event: IncidentEvent, *, forced: bool) -> None:
        try:
            self.status = move(self.status, event, forced=forced)
        except ForbiddenTransition:
            return

    def rise(self, severity: Severity) -> None:
        if severity > self.severity:
            self.severity, self.end = severity, on_severity_risen(self.end, START, severity, TTLS)


Act = Callable[[Incident, datetime], None]
sweeps: st.SearchStrategy[Act] = st.just(lambda incident, now: incident.sweep(now))
acts: st.SearchStrategy[Act] = st.one_of(
    sweeps, sweeps,
    st.tuples(st.sampled_from(IncidentEvent), st.booleans()).map(
        lambda drawn: lambda incident, now: incident.step(drawn[0], forced=drawn[1])),
    st.integers(1, 200).map(lambda hours: lambda incident, now: setattr(incident, "end", extended(incident.end, hours))),
    st.sampled_from(Severity).map(lambda severity: lambda incident, now: incident.rise(severity)),
)
histories = st.lists(st.tuples(st.floats(0, 60), acts), max_size=30)


@law
@given(histories)
def test_no_level_is_reached_or_missed_twice_and_none_after_a_higher_one(history: list[tuple[float, Act]]) -> None:
    incident, now = Incident(), START
    for hours, act in history:
        now += timedelta(hours=hours)
        before = incident.reached
        act(incident, now)
        assert incident.reached >= before
    named = [level for told in incident.told for level in (*told.missed, told.level)]
    assert named == sorted(set(named))
    assert NONE not in named


@law
@given(histories)
def test_a_sweep_has_something_to_do_exactly_when_the_next_look_is_due(history: list[tuple[float, Act]]) -> None:
    incident, now = Incident(), START
    for hours, act in history:
        now += timedelta(hours=hours)
        look_at = incident.next_due
        assert (incident.look(now) is not None) is (look_at is not None and look_at <= now)
        act(incident, now)
    incident.sweep(now)
    assert incident.look(now) is None


@law
@given(histories, st.floats(0, 500), st.floats(0, 500))
def test_what_is_due_only_grows_with_time(history: list[tuple[float, Act]], one: float, other: float) -> None:
    incident, now = Incident(), START
    for hours, act in history:
        now += timedelta(hours=hours)
        act(incident, now)
    earlier, later = (incident.look(now + timedelta(hours=hours)) for hours in sorted((one, other)))
    if earlier is not None:
        assert later is not None
        assert later.level >= earlier.level
        assert {*earlier.missed, earlier.level} <= {*later.missed, later.level}


@law
@given(histories)
def test_nothing_stays_detected_once_it_is_overdue(history: list[tuple[float, Act]]) -> None:
    incident, now = Incident(), START
    for hours, act in history:
        now += timedelta(hours=hours)
        act(incident, now)
        assert not (incident.status is DETECTED and incident.reached is OVERDUE)
        assert incident.status.is_open or incident.look(now) is None


@law
@given(st.lists(st.floats(0, 400), max_size=40), st.sampled_from([DETECTED, ACKNOWLEDGED]))
def test_whenever_sweeps_come_each_level_is_named_once(times: list[float], status: IncidentStatus) -> None:
    incident = Incident(status=status)
    for hours in [*sorted(times), 400]:
        incident.sweep(after(hours))
    named = [level for told in incident.told for level in (*told.missed, told.level)]
    assert named == ([ESCALATED, CRITICAL, OVERDUE] if status is DETECTED else [CRITICAL, OVERDUE])
    assert incident.status is (EXPIRED if status is DETECTED else ACKNOWLEDGED)


@law
@given(st.lists(st.sampled_from(Severity), max_size=6))
def test_rises_never_move_the_end_away_and_end_where_the_worst_alone_would(severities: list[Severity]) -> None:
    incident = Incident()
    for severity in severities:
        before = incident.end
        incident.rise(severity)
        assert incident.end <= before
    assert incident.end == expires_at(START, max([Severity.LOW, *severities]), TTLS)
