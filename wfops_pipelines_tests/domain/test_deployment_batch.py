"""Batches over tenants (§12): waves, stopping on failure, progress."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.deployment import DeploymentStatus
from wfops_pipelines.domain.deployment_batch import failures, next_step, plan_waves, progress
from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines_tests.domain.workflow_strategies import law

S = DeploymentStatus
MEMBERS = ["acme", "bolt", "cyan", "dune", "echo"]


def test_a_canary_goes_first_and_the_rest_in_waves() -> None:
    assert plan_waves(MEMBERS, first=1, then=2) == (("acme",), ("bolt", "cyan"), ("dune", "echo"))
    assert plan_waves(MEMBERS, first=2) == (("acme", "bolt"), ("cyan", "dune", "echo"))
    assert plan_waves(["acme"], first=3) == (("acme",),)
    assert plan_waves([]) == ()


def test_a_wave_of_nobody_and_a_member_given_twice_are_refused() -> None:
    for first, then in ((0, 1), (1, 0)):
        with pytest.raises(UsageError, match="one member"):
            plan_waves(MEMBERS, first=first, then=then)
    with pytest.raises(UsageError, match="acme"):
        plan_waves(["acme", "bolt", "acme"])


def test_a_wave_begins_when_the_wave_before_it_ended_well() -> None:
    waves = plan_waves(MEMBERS, first=1, then=2)
    assert next_step(waves, {}).start == ("acme",)
    assert next_step(waves, {"acme": S.SCHEDULED}).start == ()
    assert next_step(waves, {"acme": S.RUNNING}).start == ()
    assert next_step(waves, {"acme": S.COMPLETED}).start == ("bolt", "cyan")
    assert next_step(waves, {"acme": S.COMPLETED, "bolt": S.COMPLETED, "cyan": S.RUNNING}).start == ()
    assert next_step(waves, dict.fromkeys(MEMBERS, S.COMPLETED)).status == "completed"


def test_a_failure_stops_what_has_not_begun_and_lets_the_rest_end() -> None:
    waves = plan_waves(MEMBERS, first=3)
    statuses = {"acme": S.FAILED, "bolt": S.RUNNING, "cyan": S.SCHEDULED}
    step = next_step(waves, statuses)
    assert (step.status, step.start, step.cancel) == ("stopping", (), ("cyan", "dune", "echo"))
    statuses |= {"bolt": S.COMPLETED, "cyan": S.CANCELLED, "dune": S.CANCELLED, "echo": S.CANCELLED}
    step = next_step(waves, statuses)
    assert (step.status, step.start, step.cancel) == ("stopped", (), ())
    assert failures(waves, statuses) == ["acme", "cyan", "dune", "echo"]


def test_failures_that_are_tolerated_or_ignored_stop_nothing() -> None:
    waves = plan_waves(MEMBERS, first=2)
    statuses = {"acme": S.FAILED, "bolt": S.COMPLETED}
    assert next_step(waves, statuses, tolerated=1).start == ("cyan", "dune", "echo")
    assert next_step(waves, statuses, stop_on_failure=False).start == ("cyan", "dune", "echo")
    assert next_step(waves, {"acme": S.FAILED, "bolt": S.FAILED}, tolerated=1).status == "stopped"


def test_a_member_that_somebody_cancelled_is_left_out() -> None:
    assert next_step(plan_waves(MEMBERS[:2]), {"acme": S.CANCELLED}).start == ("bolt",)


def test_one_view_says_how_far_the_batch_is() -> None:
    waves = plan_waves(MEMBERS, first=1, then=2)
    shown = progress(waves, {"acme": S.COMPLETED, "bolt": S.COMPLETED, "cyan": S.RUNNING})
    assert (shown.members, shown.waves, shown.wave, shown.percent) == (5, 3, 2, 40)
    assert shown.counts == {"pending": 2, "scheduled": 0, "running": 1, "completed": 2, "failed": 0, "cancelled": 0}
    assert progress(waves, dict.fromkeys(MEMBERS, S.COMPLETED)).as_json()["percent"] == 100
    assert progress((), {}).percent == 100


@law
@given(st.integers(0, 12), st.integers(1, 4), st.integers(1, 4), st.sets(st.integers(0, 11)), st.booleans())
def test_every_batch_comes_to_its_end_and_starts_each_member_at_most_once(
        size: int, first: int, then: int, failing: set[int], stop: bool) -> None:
    members = [f"tenant-{i}" for i in range(size)]
    waves = plan_waves(members, first=first, then=then)
    assert [member for wave in waves for member in wave] == members
    statuses: dict[str, DeploymentStatus] = {}
    started: list[str] = []
    for _ in range(size + 2):
        step = next_step(waves, statuses, stop_on_failure=stop)
        assert not (step.start and step.cancel)
        if not step.start and not step.cancel:
            break
        for member in step.start:
            started.append(member)
            statuses[member] = S.FAILED if int(member.partition("-")[2]) in failing else S.COMPLETED
        statuses.update(dict.fromkeys(step.cancel, S.CANCELLED))
    assert all(statuses[member].is_terminal for member in members)
    assert len(started) == len(set(started))
    failed = failing & set(range(size))
    assert (step.status == "stopped") is (stop and bool(failed))
    assert stop or started == members
