"""The lifecycle of an incident (§10.2): every status against every event, by the table and by force."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.drift import DriftKind
from wfops_pipelines.domain.errors import Blocked, ForbiddenTransition, UsageError
from wfops_pipelines.domain.incident import (
    OPEN,
    RECONCILING,
    TARGETS,
    TERMINAL,
    TRANSITIONS,
    IncidentEvent,
    IncidentStatus,
    Resolution,
    Severity,
    allowed_events,
    allowed_pairs,
    check_step,
    forced_only_pairs,
    incident_title,
    move,
    risen,
    severity_of,
)
from wfops_pipelines_tests.domain.workflow_strategies import any_text, law

# § 10.2, word for word
CONTRACT = {
    "detected": {"acknowledged", "expired", "closed", "cancelled"},
    "expired": {"acknowledged", "closed", "cancelled"},
    "acknowledged": {"stabilized", "reconciled", "closed", "cancelled"},
    "stabilized": {"reconciled", "closed", "cancelled"},
    "reconciled": {"closed"},
    "closed": set(),
    "cancelled": set(),
}
EVERY_MOVE = list(product(IncidentStatus, IncidentEvent, [False, True]))


@pytest.mark.parametrize(("status", "event", "forced"), EVERY_MOVE)
def test_each_status_and_event_go_where_the_contract_says_or_are_refused_by_name(
        status: IncidentStatus, event: IncidentEvent, forced: bool) -> None:
    target = TARGETS[event]
    if target in CONTRACT[status] or (forced and status not in {"closed", "cancelled"} and target != status):
        assert move(status, event, forced=forced) is target
        return
    with pytest.raises(ForbiddenTransition) as refused:
        move(status, event, forced=forced)
    assert isinstance(refused.value, Blocked)
    assert (refused.value.before, refused.value.after) == (status, target)
    assert status in str(refused.value)
    assert all((allowed in str(refused.value.fix)) is (allowed is not IncidentEvent.EXPIRE)  # that one is the clock's
               for allowed in allowed_events(status))


def test_the_table_is_the_contract() -> None:
    assert {(str(before), str(after)) for (before, _), after in TRANSITIONS.items()} == {
        (before, after) for before, afters in CONTRACT.items() for after in afters}


def test_each_event_leads_to_one_status() -> None:
    assert all(TARGETS[event] is after for (_, event), after in TRANSITIONS.items())


def test_closed_and_cancelled_are_terminal_and_all_others_open() -> None:
    assert {IncidentStatus.CLOSED, IncidentStatus.CANCELLED} == TERMINAL
    assert set(IncidentStatus) == OPEN | TERMINAL
    assert not OPEN & TERMINAL
    assert all(status.is_open is (status in OPEN) for status in IncidentStatus)


def test_every_status_can_be_reached_and_every_open_one_can_be_closed() -> None:
    reached, waiting = {IncidentStatus.DETECTED}, [IncidentStatus.DETECTED]
    while waiting:
        here = waiting.pop()
        new = {after for (before, _), after in TRANSITIONS.items() if before is here} - reached
        reached |= new
        waiting.extend(new)
    assert reached == set(IncidentStatus)
    assert all(move(status, IncidentEvent.CLOSE) is IncidentStatus.CLOSED for status in OPEN)


def test_force_is_no_way_out_of_the_end() -> None:
    assert all(allowed_events(status, forced=True) == () for status in TERMINAL)


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("status", list(IncidentStatus))
def test_the_events_offered_are_those_that_work(status: IncidentStatus, forced: bool) -> None:
    works = []
    for event in IncidentEvent:
        try:
            move(status, event, forced=forced)
        except ForbiddenTransition:
            continue
        works.append(event)
    assert sorted(allowed_events(status, forced=forced)) == sorted(works)


def test_the_rows_for_the_database_say_the_same_as_the_moves() -> None:
    def pairs(*, forced: bool) -> set[tuple[str, str]]:
        return {(str(status), str(move(status, event, forced=forced))) for status in IncidentStatus
                for event in allowed_events(status, forced=forced)}

    assert allowed_pairs() == sorted(pairs(forced=False))
    assert forced_only_pairs() == sorted(pairs(forced=True) - pairs(forced=False))


def test_the_acknowledged_statuses_are_those_that_somebody_takes_care_of() -> None:
    assert {status for status in IncidentStatus if status.is_acknowledged} == {"acknowledged", "stabilized", "reconciled"}


# -- what a step needs -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("reason", [None, "", " \n"])
def test_stabilising_needs_a_reason(reason: str | None) -> None:
    with pytest.raises(UsageError, match="needs a reason"):
        check_step(IncidentEvent.STABILIZE, reason=reason)
    check_step(IncidentEvent.STABILIZE, reason="the node is switched off")


@pytest.mark.parametrize("resolution", [None, Resolution.DRIFT_GONE])
def test_reconciling_needs_a_resolution_that_somebody_can_choose(resolution: Resolution | None) -> None:
    with pytest.raises(UsageError, match="revert, promote, replace, acknowledge"):
        check_step(IncidentEvent.RECONCILE, resolution=resolution, reason="because")
    for chosen in RECONCILING:
        check_step(IncidentEvent.RECONCILE, resolution=chosen, reason="because")


def test_leaving_drift_as_it_is_needs_a_reason_and_acting_on_it_none() -> None:
    with pytest.raises(UsageError, match="needs a reason"):
        check_step(IncidentEvent.RECONCILE, resolution=Resolution.ACKNOWLEDGE)
    for acting in (resolution for resolution in Resolution if resolution.acts):
        check_step(IncidentEvent.RECONCILE, resolution=acting)


@pytest.mark.parametrize("event", [event for event in IncidentEvent if event is not IncidentEvent.RECONCILE])
def test_other_steps_take_no_resolution_but_closing_when_the_drift_is_gone(event: IncidentEvent) -> None:
    with pytest.raises(UsageError, match="reconcile"):
        check_step(event, resolution=Resolution.REVERT, reason="because")
    check_step(event, reason="because")
    check_step(IncidentEvent.CLOSE, resolution=Resolution.DRIFT_GONE)


# -- severity --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("affected", "severity"), [
    (0, "low"), (1, "low"), (2, "medium"), (4, "medium"), (5, "high"), (9, "high"), (10, "critical"), (1000, "critical"),
])
def test_severity_goes_by_the_number_of_workflows(affected: int, severity: str) -> None:
    assert severity_of(affected) == severity


def test_severities_are_ordered_as_words_are_not() -> None:
    low, medium, high, critical = Severity
    assert sorted([critical, low, high, medium]) == [low, medium, high, critical]
    assert low < medium < high < critical
    assert critical >= high >= high
    assert low <= low
    assert max(Severity, key=lambda severity: severity.rank) is critical
    word = "critical"  # as a column holds it
    assert low < word
    assert word > low
    with pytest.raises(ValueError, match="overdue"):
        assert low < "overdue"


@law
@given(st.lists(st.integers(0, 20), min_size=1))
def test_severity_rises_and_never_falls(counts: list[int]) -> None:
    severity = Severity.LOW
    for affected in counts:
        before, severity = severity, risen(severity, severity_of(affected))
        assert severity >= before
    assert severity is severity_of(max(counts))


# -- titles ----------------------------------------------------------------------------------------------------------------

CHANGED, ADDED, MISSING, ACTIVATION = (DriftKind.MODIFIED, DriftKind.ADDED_IN_RUNTIME, DriftKind.MISSING_IN_RUNTIME,
                                       DriftKind.ACTIVATION)


def title(*drifts: tuple[str, DriftKind]) -> str:
    return incident_title(drifts, tenant="acme", environment="prod")


def test_a_title_says_how_many_what_where_and_which() -> None:
    assert title(("Orders", CHANGED)) == "1 workflow changed in acme/prod: Orders"
    assert title(("Orders", ADDED), ("Billing", ADDED)) == "2 workflows added outside Git in acme/prod: Orders, Billing"
    assert title(("Orders", MISSING)) == "1 workflow missing in acme/prod: Orders"
    assert title(("Orders", ACTIVATION)) == "1 workflow switched on or off in acme/prod: Orders"


def test_where_kinds_differ_each_workflow_says_its_own() -> None:
    assert title(("Orders", CHANGED), ("Billing", MISSING)) == (
        "2 workflows drifted in acme/prod: Orders (changed), Billing (missing)")


def test_a_title_names_what_fits_and_counts_all() -> None:
    found = title(*((f"Workflow number {i}", CHANGED) for i in range(50)))
    assert found.startswith("50 workflows changed in acme/prod: Workflow number 0, Workflow number 1, ")
    assert found.endswith(", …")
    assert len(found) <= 164


def test_a_title_shows_no_secret_that_stands_in_a_name() -> None:
    assert "hunter22" not in title(("Sync https://ann:hunter22secret@example.com/", CHANGED))


@law
@given(st.lists(st.tuples(any_text, st.sampled_from(DriftKind)), max_size=8))
def test_a_title_is_one_line_that_can_be_shown(drifts: list[tuple[str, DriftKind]]) -> None:
    found = title(*drifts)
    assert len(found.splitlines()) == 1
    assert found.encode()
    assert found.startswith(f"{len(drifts)} workflow")
