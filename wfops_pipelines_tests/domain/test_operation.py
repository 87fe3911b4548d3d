"""The lifecycle of an operation (§19.2): every state against every other."""

from __future__ import annotations

from itertools import product

import pytest

from wfops_pipelines.domain.errors import Blocked, ForbiddenTransition
from wfops_pipelines.domain.operation import TRANSITIONS, OperationState, check_transition

QUEUED, RUNNING, COMPLETED, FAILED, CANCELLED, COMPENSATED = OperationState

ALLOWED = {
    (QUEUED, RUNNING), (QUEUED, CANCELLED), (QUEUED, FAILED),
    (RUNNING, COMPLETED), (RUNNING, FAILED), (RUNNING, CANCELLED), (RUNNING, COMPENSATED),
    (FAILED, RUNNING), (FAILED, COMPENSATED),
}


@pytest.mark.parametrize(("before", "after"), list(product(OperationState, repeat=2)))
def test_each_pair_of_states_is_allowed_or_refused_by_name(before: OperationState, after: OperationState) -> None:
    if (before, after) in ALLOWED:
        check_transition(before, after)
        return
    with pytest.raises(ForbiddenTransition) as refused:
        check_transition(before, after)
    assert isinstance(refused.value, Blocked)
    assert before in str(refused.value)
    assert after in str(refused.value)
    assert (refused.value.before, refused.value.after) == (before, after)


def test_the_table_knows_every_state() -> None:
    assert set(TRANSITIONS) == set(OperationState)


def test_every_state_can_be_reached_from_the_queue() -> None:
    reached, waiting = {QUEUED}, [QUEUED]
    while waiting:
        new = TRANSITIONS[waiting.pop()] - reached
        reached |= new
        waiting.extend(new)
    assert reached == set(OperationState)


def test_completed_cancelled_and_compensated_are_final() -> None:
    assert {state for state in OperationState if state.is_final} == {COMPLETED, CANCELLED, COMPENSATED}


def test_a_failed_operation_is_neither_open_nor_final_so_that_it_can_be_resumed() -> None:
    assert not FAILED.is_open
    assert not FAILED.is_final


def test_only_queued_and_running_ones_are_open() -> None:
    assert {state for state in OperationState if state.is_open} == {QUEUED, RUNNING}
