"""The failpoint walk (§19.1, §20): whatever fails, wherever it fails, whoever comes next finds everything whole.

Every use case of ``walked_use_cases`` is made to fail at the failpoints that it passes, by an error and by SIGKILL, and is
done again; then everything has to be as if nothing had happened. ``make test`` walks some of the points, by a fixed seed
(``WFOPS_FRESH_SEED=1``: others each time); ``WFOPS_WHOLE_WALK=1`` walks all of them. Promotions with every kind of write,
and their rollbacks, have a walk of their own (``test_promotion_walk``).
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import WfopsError
from wfops_pipelines.failpoints import FailpointReached
from wfops_pipelines.services.snapshots import load
from wfops_pipelines_tests.model.seeds import choices
from wfops_pipelines_tests.services.failpoint_names import failpoints_of_the_package
from wfops_pipelines_tests.services.fleet import Environment, FleetUnderTest, NewFleet
from wfops_pipelines_tests.services.walked_use_cases import USE_CASES, do, do_in_child

pytestmark = pytest.mark.system

WHOLE = bool(os.environ.get("WFOPS_WHOLE_WALK"))
SHARE = 16  # use cases that are walked where the walk is not whole, each at one point
NOT_WALKED = ("store.statement", "*.heartbeat.*")
"""Every commit is walked; that statements fail too is the store's own test. Heartbeats come by the clock."""
ELSEWHERE = {
    "apply.*": "services/test_apply_fleet.py",
    "branches.*": "services/test_push_dispatch.py",
    "deployment.*": "services/test_deployment_recovery.py",
    "git.fetch_blobs.*": "git/test_remote_failures.py",
    "notify.*": "services/test_send_killed.py",
    "outbox.*": "services/test_send_killed.py",
    "placeholder.create.*": "services/targets/test_placeholder_credentials.py",
    "promotion.*": "services/test_promotion_walk.py",
    "retention.batch.*": "services/test_retention.py",
    "retention.payloads.*": "services/test_payload_retention.py",
    "runtime.*": "services/test_promotion_walk.py",
    "push.launch.*": "services/test_push_dispatch.py",
    "push.handed_back.*": "services/test_push_dispatch.py",
    "push.*": "services/test_push_delivery.py",
    "poll.*": "services/test_repository_poll.py",
    "sweep.*": "services/test_sweeps.py",
}
"""Failpoints that no use case here passes, and the test that makes things fail there."""
NOT_YET = ("apply.delete_tenant.*", "deployment.batch.*", "deployment.member.*", "deployment.unstarted.*", "installation.*",
           "notify.retry.*", "notify.test.*", "operation.cancel.*", "operation.resume.*", "outbox.give_up.*",
           "outbox.look.*", "outbox.release.*", "*pause.*", "poll.*", "push.launched.*", "secrets.rotate.*")
"""Failpoints that nothing fails at yet."""


_points: dict[str, list[str]] = {}
_ends: dict[str, dict[str, Any]] = {}
_untouched: dict[str, dict[str, Any]] = {}


def points_of(new_fleet: NewFleet, name: str) -> list[str]:
    """What a use case passes when nothing fails, once per process."""
    if name not in _points:
        fleet = _begun(new_fleet, name)
        met = failpoints.record()
        with suppress(WfopsError):
            do(USE_CASES[name], fleet.services, fleet.slug)
        failpoints.disarm()
        fleet.services.store.close()
        _points[name] = [f"{point}@{n}" for point in sorted(met) if not passed_over(point)
                         for n in range(1, met[point] + 1)]
        print(f"{name}: {len(_points[name])} points", flush=True)
    return _points[name]


def end_of(new_fleet: NewFleet, name: str) -> dict[str, Any]:
    """How everything is afterwards when nothing fails, once per process."""
    if name not in _ends:
        fleet = _begun(new_fleet, name)
        with suppress(WfopsError):
            do(USE_CASES[name], fleet.services, fleet.slug)
        _ends[name] = settled(fleet, name, "nothing fails")
        fleet.services.store.close()
    return _ends[name]


def untouched(new_fleet: NewFleet, name: str) -> dict[str, Any]:
    """How everything is when it was never done, once per process."""
    if name not in _untouched:
        fleet = _begun(new_fleet, name)
        _untouched[name] = settled(fleet, name, "nothing is done", again=False)
        fleet.services.store.close()
    return _untouched[name]


def ends_otherwise(new_fleet: NewFleet, name: str, now: dict[str, Any]) -> bool:
    """Whether everything is as it may be as well, where something failed. What was planned stays linked, in the source."""
    use_case = USE_CASES[name]
    ends = [untouched(new_fleet, name)] if use_case.fails_whole else []
    ends += [end_of(new_fleet, use_case.or_as)] if use_case.or_as is not None else []
    return any(all(now[part] == end[part] for part in ("prod", "stages", "incidents")) for end in ends)


def _begun(new_fleet: NewFleet, name: str) -> FleetUnderTest:
    fleet = new_fleet.as_left_by(USE_CASES[name].scene)
    USE_CASES[name].before(fleet)
    return fleet


def passed_over(point: str) -> bool:
    return any(fnmatchcase(point, pattern) for pattern in NOT_WALKED)


def settled(fleet: FleetUnderTest, name: str, point: str, *, again: bool = True) -> dict[str, Any]:
    """What stood in the way is gone, it is done again (which may be refused: it is done already), and somebody looks.
    Returns how everything is then."""
    for environment in fleet.environments.values():
        environment.sandbox.faults.clear()
    fleet.nobody_beats()
    USE_CASES[name].mend(fleet)
    if again:
        with suppress(WfopsError):
            do(USE_CASES[name], fleet.services, fleet.slug)
    for environment in fleet.environments.values():
        check = environment.check()
        assert check.error is None, (name, point, check.error)
    for environment in fleet.environments.values():
        assert_whole(environment, f"{name}, {point}")
    assert fleet.chain_verifies(), (name, point)
    assert not lost_payloads(fleet), (name, point)
    return picture(fleet)


def assert_whole(environment: Environment, point: str) -> None:
    """Everything is mapped once, and nothing is held, half-written or counted wrong."""
    fleet, row, in_n8n = environment.fleet, environment.row, set(environment.sandbox.state.workflows)
    mapped = environment.mappings()
    live = {i for i, mapping in mapped.items() if mapping.missing_at is None and mapping.deleted_at is None}
    assert live <= in_n8n <= set(mapped), (point, live, in_n8n, set(mapped))
    linked = Counter(mapping.canonical_id for mapping in mapped.values() if mapping.status == "linked")
    assert not linked or max(linked.values()) == 1, (point, linked)
    again = environment.sync()
    statuses = Counter(mapping.status for mapping in environment.mappings().values())
    assert (again.created, again.updated, again.unchanged) == (0, 0, len(in_n8n)), (point, again)
    assert (again.linked, again.untracked, again.ignored) == tuple(
        statuses[status] for status in ("linked", "untracked", "ignored")), (point, again, statuses)
    assert row.writes_blocked_at is None, point
    assert not fleet.reading(lambda work: work.journal.unfinished(row.id)), point
    assert not fleet.reading(lambda work: work.promotions.with_git_left(row.id)), point
    assert fleet.reading(lambda work: work.promotions.running_on(row.id)) is None, point
    assert not fleet.reading(lambda work: work.promotions.restored_untold(row.id)), point
    assert {operation.state for operation in fleet.operations()} <= {"completed", "failed", "compensated"}, point
    held = fleet.reading(lambda work: work.connection.execute(
        text("SELECT count(*) FROM environment_leases WHERE released_at IS NULL")).scalar_one())
    assert held == 0, point


def lost_payloads(fleet: FleetUnderTest) -> set[str]:
    """Payloads that are referred to and not stored."""
    def find(work: Any) -> set[str]:
        snapshots = [load(work, row) for row in work.snapshots.listed(limit=1000)]
        named = {digest for each in snapshots for workflow in each.workflows
                 for digest in (workflow.draft_digest, workflow.live_digest)}
        for (told,) in work.connection.execute(text("SELECT drift_snapshot FROM drift_incidents")):
            named |= {each[key] for each in told["workflows"] for key in ("runtime_digest", "git_digest") if each[key]}
        named |= set(work.connection.execute(text(
            "SELECT digest FROM promoted_workflows UNION SELECT live_digest FROM workflow_env_map "
            "UNION SELECT draft_digest FROM workflow_env_map UNION SELECT digest FROM canonical_workflow_git_state")).scalars())
        return named - set(work.connection.execute(text("SELECT digest FROM payloads")).scalars())
    return fleet.reading(find)


def picture(fleet: FleetUnderTest) -> dict[str, Any]:
    """How everything is: what n8n holds and what it is known as, what Git holds, drift, incidents and promotions."""
    found: dict[str, Any] = {}
    for slug, environment in fleet.environments.items():
        found[slug] = {
            "mappings": Counter((m.name, m.status, m.canonical_id is not None, m.live_hash, m.active, m.archived)
                                for m in environment.mappings().values()),
            "files": {path: (row.content_hash, row.wants_active) for path, row in environment.git_states().items()},
            "repository": sorted(environment.files()), "problems": environment.problems(),
            "drift": (environment.row.drift_status, environment.kinds(environment.compare())),
        }
    found["stages"] = fleet.reading(lambda work: sorted((row.name, row.status) for row in work.diffs.of_tenant()))
    found["incidents"] = fleet.reading(lambda work: sorted(tuple(row) for row in work.connection.execute(text(
        "SELECT number, status, severity FROM drift_incidents"))))
    found["canonical workflows"] = fleet.reading(
        lambda work: Counter((row.name, row.deleted_at is not None) for row in work.mappings.canonicals().values()))
    return found


def walk(new_fleet: NewFleet, name: str, points: list[str], *, killed: bool) -> list[str]:
    """Fail at each of these points; what was wrong afterwards."""
    end, wrong = end_of(new_fleet, name), []
    for point in points:
        fleet = _begun(new_fleet, name)
        try:
            stop_at(fleet, name, point, killed=killed)
            now = settled(fleet, name, point)
            assert now == end or ends_otherwise(new_fleet, name, now), "\n".join(differences(now, end))
        except Exception as error:
            wrong.append(f"{name}{', killed' if killed else ''}, {point}: {type(error).__name__} {error!s:.3000}")
            print(wrong[-1], flush=True)
        failpoints.disarm()
        fleet.services.store.close()
    print(f"{name}{', killed' if killed else ''}: {len(points)} of {len(points_of(new_fleet, name))} points", flush=True)
    return wrong


def stop_at(fleet: FleetUnderTest, name: str, point: str, *, killed: bool) -> None:
    """Let the use case fail at a point, or kill its process there."""
    place, _, nth = point.partition("@")
    if killed:
        died = do_in_child(name, fleet, f"{place}=kill@{nth}")
        assert died.returncode == -9, (point, died.stderr[-2000:])
        return
    failpoints.arm(f"{place}=raise@{nth}")
    with suppress(FailpointReached, WfopsError):
        do(USE_CASES[name], fleet.services, fleet.slug)
    failpoints.disarm()


def differences(now: Any, end: Any, where: str = "") -> list[str]:
    """Where two pictures differ."""
    if isinstance(now, dict) and isinstance(end, dict):
        return [line for key in sorted({*now, *end}, key=str) if now.get(key) != end.get(key)
                for line in differences(now.get(key), end.get(key), f"{where} {key}")]
    return [f"{where}: {now} and not {end}"]


@pytest.mark.parametrize("part", range(2))
def test_whatever_fails_everything_is_whole_afterwards(new_fleet: NewFleet, part: int) -> None:
    """Some use cases, each at one point: every other one is killed there."""
    if WHOLE:
        pytest.skip("the whole walk is walked")
    random = choices("the failpoint walk")
    chosen = random.sample(sorted(USE_CASES), SHARE)
    wrong = []
    for number, name in enumerate(sorted(chosen, key=lambda name: (USE_CASES[name].scene.__name__, name))):
        place = random.random()
        if number * 2 // SHARE == part:  # neighbours begin with the same scene
            points = points_of(new_fleet, name)
            wrong += walk(new_fleet, name, [points[int(place * len(points))]], killed=number % 2 == 0)
    assert not wrong, "\n".join(wrong)


@pytest.mark.skipif(not WHOLE, reason="WFOPS_WHOLE_WALK=1 walks all")
@pytest.mark.parametrize("killed", [False, True], ids=["fails", "killed"])
@pytest.mark.parametrize("name", USE_CASES)
def test_whatever_fails_anywhere_everything_is_whole_afterwards(new_fleet: NewFleet, name: str, killed: bool) -> None:
    wrong = walk(new_fleet, name, points_of(new_fleet, name), killed=killed)
    assert not wrong, "\n".join(wrong)


def test_every_failpoint_of_the_package_is_walked(new_fleet: NewFleet) -> None:
    """A new failpoint needs a use case that passes it, or another test that makes things fail there."""
    tests = Path(__file__).parent.parent
    walked: set[str] = set()
    wrong: list[str] = []
    for name in USE_CASES:
        try:
            walked |= {point.partition("@")[0] for point in points_of(new_fleet, name)}
        except Exception as error:
            wrong.append(f"{name}: {type(error).__name__} {error!s:.1000}")
            failpoints.disarm()
    left = [name for name in failpoints_of_the_package()
            if not passed_over(name) and not any(fnmatchcase(met, name) for met in walked)]
    for name in list(left):
        other = next((path for pattern, path in ELSEWHERE.items() if fnmatchcase(name, pattern)), None)
        if other is not None and armed_in(tests / other, name):
            left.remove(name)
    print(f"{len(failpoints_of_the_package())} failpoints, {len(USE_CASES)} use cases", flush=True)
    left = [name for name in left if not any(fnmatchcase(name, pattern) for pattern in NOT_YET)]
    print(f"not met: {left}", flush=True)
    assert not wrong, "\n".join(wrong)
    assert not left, f"nobody walks {left}: add a use case to walked_use_cases"


def armed_in(path: Path, name: str) -> bool:
    """Whether a test names a failpoint, one before or after the same thing, or the beginning of all that are named like it."""
    said = path.read_text()
    return name.rpartition(".")[0] in said or f'"{name.partition(".")[0]}."' in said
