"""Whatever fails while a promotion is carried out or rolled back, the target is as before or as after (§11.6-§11.9).

The walk is long. Each run goes through a part of it that has every kind of point; ``WFOPS_WHOLE_WALK=1`` goes through all.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import WfopsError
from wfops_pipelines.failpoints import FailpointReached
from wfops_pipelines_tests.services.child import run_in_child
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet
from wfops_pipelines_tests.services.promotion_scenes import (
    Act,
    Build,
    Ends,
    assert_whole,
    ends_of,
    every_kind_of_write,
    every_kind_of_write_1,
    try_again,
)
from wfops_pipelines_tests.services.promotions import execute, roll_back, told

pytestmark = pytest.mark.system

WHOLE = bool(os.environ.get("WFOPS_WHOLE_WALK"))
OURS = ("runtime.", "promotion.", "rollback.", "export.", "git.push.")
"""What writing passes. What reading passes is walked by the tests of reading, and here when the walk is whole."""
Share = tuple[int, int]
"""Which part of a walk, of how many: parts are walked at the same time."""
ALL: list[Share] = [(part, 8) for part in range(8)] if WHOLE else [(0, 1)]
HALVES: list[Share] = ALL if WHOLE else [(0, 2), (1, 2)]


def carried_out(fleet: FleetUnderTest) -> Any:
    return execute(fleet, 2)


def rolled_back(fleet: FleetUnderTest) -> Any:
    return roll_back(fleet, 2)


def promoted(new_fleet: NewFleet) -> FleetUnderTest:
    """The promotion of the scene, carried out."""
    fleet = every_kind_of_write(new_fleet)
    carried_out(fleet)
    return fleet


def promoted_to_1(new_fleet: NewFleet) -> FleetUnderTest:
    """The same to n8n 1.x: what the rollback makes again has another id."""
    fleet = every_kind_of_write_1(new_fleet)
    carried_out(fleet)
    return fleet


def undone(fleet: FleetUnderTest) -> None:
    """The promotion of the scene, which n8n refuses towards its end: everything is taken back."""
    fleet["prod"].sandbox.faults.add("status", method="POST", path=r"/archive$", status=400, after=2)
    failing(carried_out, fleet)


def some(points: Sequence[str], share: Share, *, step: int) -> list[str]:
    """The points of one share; of all when the walk is whole, else of one of each ``step``-th name of ours, in its middle."""
    if not WHOLE:
        names: dict[str, list[str]] = {}
        for point in points:
            if point.startswith(OURS) and ".lease." not in point:
                names.setdefault(point.partition("@")[0], []).append(point)
        points = [each[len(each) // 2] for each in names.values()][step // 2::step]
    return list(points[share[0]::share[1]])


def failing(act: Act, fleet: FleetUnderTest) -> None:
    with suppress(FailpointReached, WfopsError):
        act(fleet)


def walk(new_fleet: NewFleet, scene: Build, act: Act, share: Share, *, killed: bool, step: int) -> int:
    """Fail at each point of what an act passes; how many there were."""
    ends = ends_of(new_fleet, scene, act)
    points: Sequence[str] = ends.points
    if act is undone:
        ends = ends_of(new_fleet, scene, carried_out)
        names = {point.partition("@")[0] for point in ends.points}  # what the way there passes is walked by itself
        points = [point for point in points if point not in ends.points and (
            WHOLE or point.partition("@")[0] not in names)]
    walked = some(points, share, step=step)
    wrong = []
    for number, point in enumerate(walked):
        fleet = new_fleet.as_left_by(scene)
        stop_at(fleet, act, point, killed=killed)
        fleet["prod"].sandbox.faults.clear()
        fleet.nobody_beats()
        try:
            where = assert_whole(fleet, ends, point, back=act is rolled_back)
            if where == "before" and (WHOLE or number % 4 == 0):
                again(fleet, ends, act, point)
        except Exception as error:
            wrong.append(f"{point}: {error!s:.3000}")
            print(wrong[-1], flush=True)
        fleet.services.store.close()
    print(f"{act.__name__}{', killed' if killed else ''}: {len(walked)} of {len(points)} points", flush=True)
    assert not wrong, "\n".join(wrong)
    return len(walked)


def stop_at(fleet: FleetUnderTest, act: Act, point: str, *, killed: bool) -> None:
    """Make an act fail at a point, or kill its process there."""
    name, _, nth = point.partition("@")
    if not killed:
        failpoints.arm(f"{name}=raise@{nth}")
        failing(act, fleet)
        failpoints.disarm()
        return
    if act is undone:
        fleet["prod"].sandbox.faults.add("status", method="POST", path=r"/archive$", status=400, after=2)
    died = run_in_child(fleet["prod"], "roll back" if act is rolled_back else "execute", f"{name}=kill@{nth}")
    assert died.returncode == -9, (point, died.stderr[-2000:])


def again(fleet: FleetUnderTest, ends: Ends, act: Act, point: str) -> None:
    if act is rolled_back:
        act(fleet)
        assert assert_whole(fleet, ends, point, back=True) == "after"
    else:
        try_again(fleet, ends, point)


@pytest.mark.parametrize("share", HALVES, ids=str)
def test_a_promotion_that_is_killed_anywhere(new_fleet: NewFleet, share: Share) -> None:
    assert walk(new_fleet, every_kind_of_write, carried_out, share, killed=True, step=1) > 10


@pytest.mark.parametrize("share", ALL, ids=str)
def test_a_promotion_that_fails_anywhere(new_fleet: NewFleet, share: Share) -> None:
    assert walk(new_fleet, every_kind_of_write, carried_out, share, killed=False, step=4) > 5


@pytest.mark.parametrize("share", ALL, ids=str)
@pytest.mark.parametrize("killed", [False, True], ids=["fails", "killed"])
def test_a_promotion_that_ends_anywhere_while_it_is_undone(new_fleet: NewFleet, share: Share, killed: bool) -> None:
    assert walk(new_fleet, every_kind_of_write, undone, share, killed=killed, step=3) > 1


@pytest.mark.parametrize("share", ALL, ids=str)
@pytest.mark.parametrize("killed", [False, True], ids=["fails", "killed"])
def test_a_promotion_to_1_that_ends_anywhere(new_fleet: NewFleet, share: Share, killed: bool) -> None:
    assert walk(new_fleet, every_kind_of_write_1, carried_out, share, killed=killed, step=12) > 1


@pytest.mark.parametrize("share", ALL, ids=str)
@pytest.mark.parametrize("killed", [False, True], ids=["fails", "killed"])
def test_a_rollback_that_ends_anywhere(new_fleet: NewFleet, share: Share, killed: bool) -> None:
    assert walk(new_fleet, promoted, rolled_back, share, killed=killed, step=8) > 2


@pytest.mark.parametrize("share", ALL, ids=str)
@pytest.mark.parametrize("killed", [False, True], ids=["fails", "killed"])
def test_a_rollback_on_1_that_ends_anywhere(new_fleet: NewFleet, share: Share, killed: bool) -> None:
    assert walk(new_fleet, promoted_to_1, rolled_back, share, killed=killed, step=12) > 1


@pytest.mark.parametrize("point", ["operation.acquire.after_commit@2", "operation.step.after_commit@6"])
def test_what_was_committed_though_its_answer_never_came_is_told_as_it_is(new_fleet: NewFleet, point: str) -> None:
    ends = ends_of(new_fleet, every_kind_of_write, carried_out)
    fleet = new_fleet.as_left_by(every_kind_of_write)
    stop_at(fleet, carried_out, point, killed=False)
    assert assert_whole(fleet, ends, point) == ("after" if "step" in point else "before")


# -- what n8n answers --------------------------------------------------------------------------------------------------

FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "400": ("status", {"status": 400}), "409": ("status", {"status": 409}), "500": ("status", {"status": 500}),
    "HTML": ("status", {"status": 502, "html": True}), "reset": ("reset", {}), "late reset": ("late_reset", {}),
    "hang": ("latency", {"ms": 1500}),
}


def written_requests(requests: Sequence[str]) -> list[int]:
    """The places of the requests from the first write to the last."""
    writes = [place for place, each in enumerate(requests) if not each.startswith("GET ")]
    return list(range(writes[0], writes[-1] + 2))


def answered(new_fleet: NewFleet, fault: str, places: Sequence[int], *, forever: bool) -> None:
    """One request of the writing, and with ``forever`` all after it, are answered so."""
    ends = ends_of(new_fleet, every_kind_of_write, carried_out)
    kind, options = FAULTS[fault]
    for place in places:
        point = f"{fault}{' from' if forever else ' at'} {place} {ends.requests[place]}"
        fleet = new_fleet.as_left_by(every_kind_of_write)
        prod = fleet["prod"]
        if fault == "hang":
            fleet.with_limits(read_timeout=0.3)
        prod.sandbox.faults.add(kind, after=place, times=None if forever else 1, **options)
        failing(carried_out, fleet)
        if forever and fault != "late reset":
            stays_down(fleet, point)
        prod.sandbox.faults.clear()
        fleet.with_limits(read_timeout=20)
        if assert_whole(fleet, ends, point) == "before" and WHOLE:
            try_again(fleet, ends, point)
        found = last_incident(fleet)
        assert found is None or found.status == "closed", (point, found.status)
        fleet.services.store.close()
    print(f"{fault}: {len(places)} requests", flush=True)


def stays_down(fleet: FleetUnderTest, point: str) -> None:
    """While n8n is away: either nothing had been written, or everybody is told that it is not as before."""
    prod = fleet["prod"]
    report = told(fleet, 2)
    if not report.rollback_incomplete:
        return
    assert report.status == "failed" and prod.row.writes_blocked_at is not None, (point, report)
    found = last_incident(fleet)
    assert (found.severity, found.status) == ("critical", "detected"), point
    failing(lambda each: each["prod"].check(), fleet)  # still away
    assert told(fleet, 2).rollback_incomplete and prod.row.writes_blocked_at is not None, point


def last_incident(fleet: FleetUnderTest) -> Any:
    """The last incident of prod, if there was one."""
    return fleet.reading(lambda work: work.incidents.last_of(fleet["prod"].row.id))


CASES = [(fault, forever) for number, fault in enumerate(FAULTS) for forever in (False, True)
         if WHOLE or forever is (number % 2 == 0)]


@pytest.mark.parametrize(("fault", "forever"), CASES)
def test_whatever_n8n_answers(new_fleet: NewFleet, fault: str, forever: bool) -> None:
    places = written_requests(ends_of(new_fleet, every_kind_of_write, carried_out).requests)
    if not WHOLE:
        place = len(places) * (list(FAULTS).index(fault) + 1) // (len(FAULTS) + 1)
        places = places[place:place + 1]
    answered(new_fleet, fault, places, forever=forever)
