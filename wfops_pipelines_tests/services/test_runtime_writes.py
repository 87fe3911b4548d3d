"""Writes to n8n are all or nothing, wherever they fail and wherever the process dies (§11.6, §11.7, §11.8)."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

from wfops_pipelines import failpoints
from wfops_pipelines.cli.incident_screen import incident_text
from wfops_pipelines.domain.errors import ChangedMeanwhile, RollbackIncomplete, UsageError, WfopsError
from wfops_pipelines.failpoints import FailpointReached
from wfops_pipelines.services.incident_reports import show_incident
from wfops_pipelines.services.unblocking import unblock
from wfops_pipelines_tests.services.child import run_in_child
from wfops_pipelines_tests.services.fleet import Environment, FleetUnderTest, NewFleet, run, workflow
from wfops_pipelines_tests.services.incidents import (
    acknowledge,
    fleet_with_incidents,
    incident,
    open_incident,
    resolve,
    said,
)

OURS = ("runtime.", "incident.")  # the failpoints of a resolution; those of reading have their own tests


NAMES = ("Edited", "Deleted", "Archived", "Switched")


def scene(new_fleet: NewFleet) -> tuple[Environment, dict[str, str]]:
    """Production with an edited, a deleted, an archived and a switched-on workflow; an acknowledged incident about it."""
    prod = new_fleet.as_left_by(_drifted)["prod"]
    with prod.fleet.services.store.read(prod.fleet.context) as work:
        ids = {row.name: row.workflow_id for row in work.mappings.of_environment(prod.row.id)}
    return prod, ids


def _drifted(new_fleet: NewFleet) -> FleetUnderTest:
    prod = fleet_with_incidents(new_fleet)["prod"]
    ids = dict(zip(NAMES, prod.in_sync(*(workflow(name, text="right") for name in NAMES)), strict=True))
    prod.edit_in_n8n(ids["Edited"], "wrong")
    prod.delete_in_n8n(ids["Deleted"])
    prod.archive_in_n8n(ids["Archived"])
    prod.activate_in_n8n(ids["Switched"])
    prod.check()
    acknowledge(prod, open_incident(prod).number)
    return prod.fleet


def state(prod: Environment, ids: dict[str, str]) -> str:
    """``old``, ``new``, or what is between: where n8n stands between the drift and what Git says."""
    names = Counter(record.name for record in prod.sandbox.state.workflows.values())
    assert max(names.values()) == 1, f"made twice: {names}"
    new = [said(prod, ids["Edited"]) == "right", names["Deleted"] == 1, not prod.raw(ids["Archived"]).archived,
           prod.raw(ids["Switched"]).active_id is None]
    return "new" if all(new) else "old" if not any(new) else f"between: {new}"


def points(new_fleet: NewFleet) -> list[str]:
    """Every failpoint that a resolution passes, as often as it passes it."""
    prod, _ = scene(new_fleet)
    met: Counter[str] = Counter()
    real = failpoints.reach

    def counting(name: str) -> None:
        met[name] += 1
        real(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failpoints, "reach", counting)
        resolve(prod, 1, "revert")
    return [f"{name}@{n}" for name in sorted(met) if name.startswith(OURS) for n in range(1, met[name] + 1)]


@pytest.mark.system
def test_a_failure_anywhere_leaves_the_old_state_or_the_new_one(new_fleet: NewFleet) -> None:
    walked = points(new_fleet)
    assert len(walked) > 20, walked
    for point in walked:
        name, _, nth = point.partition("@")
        prod, ids = scene(new_fleet)
        failpoints.arm(f"{name}=raise@{nth}")
        with suppress(FailpointReached, WfopsError):
            resolve(prod, 1, "revert")
        failpoints.disarm()
        after = state(prod, ids)
        assert after in ("old", "new"), point
        # Whoever comes next finds it whole, and the incident says which it is.
        check = prod.check()
        assert state(prod, ids) == after, point
        assert (check.status == "IN_SYNC") == (after == "new"), (point, check.status, after)
        assert (incident(prod, 1).status == "closed") == (after == "new"), (point, incident(prod, 1).status)
        assert prod.fleet.chain_verifies(), point
        prod.fleet.services.store.close()


@pytest.mark.system
@pytest.mark.parametrize("part", range(4))
def test_a_process_killed_anywhere_is_finished_by_the_next_command(new_fleet: NewFleet, part: int) -> None:
    walked = points(new_fleet)
    for point in walked[part::4]:
        name, _, nth = point.partition("@")
        prod, ids = scene(new_fleet)
        died = run_in_child(prod, "revert", f"{name}=kill@{nth}")
        assert died.returncode == -9, (point, died.stderr[-2000:])
        check = prod.check()  # which finishes first what was left
        after = state(prod, ids)
        assert after in ("old", "new"), point
        assert (check.status == "IN_SYNC") == (after == "new"), (point, check.status)
        assert (incident(prod, 1).status == "closed") == (after == "new"), (point, incident(prod, 1).status)
        if after == "new":
            assert incident(prod, 1).resolution == "revert", point
        else:
            assert resolve(prod, 1, "revert").status == "closed", point
            assert state(prod, ids) == "new", point
        environment_id = prod.row.id
        assert not prod.fleet.reading(lambda work, i=environment_id: work.journal.unfinished(i)), point
        assert prod.fleet.chain_verifies(), point
        prod.fleet.services.store.close()


def test_a_resolution_that_was_killed_is_told_with_what_finishes_it(new_fleet: NewFleet) -> None:
    prod, _ = scene(new_fleet)
    died = run_in_child(prod, "revert", "runtime.record.after_commit=kill@2")
    assert died.returncode == -9, died.stderr[-2000:]
    fleet = prod.fleet
    found = show_incident(fleet.services, fleet.context, 1)
    (unfinished,) = found["unfinished"]
    assert (unfinished["resolution"], unfinished["state"], unfinished["writes"]) == ("revert", "interrupted", 4)
    assert 0 < unfinished["done"] < 4
    assert (found["next_steps"][0]["command"], "interrupted" in found["next_steps"][0]["does"]) == (
        "wfops drift acme prod", True)
    text = incident_text(found)
    assert f"interrupted: revert by {fleet.context.actor}, begun" in text
    assert f"{unfinished['done']} of 4 writes to n8n done, as far as is known; the next look at the environment" in text
    prod.check()
    found = show_incident(fleet.services, fleet.context, 1)
    assert not found["unfinished"] and "interrupted" not in incident_text(found).partition("Timeline")[0]


CALLS = {"update": ("PUT", r"/workflows/[^/]+$"), "create": ("POST", r"/workflows$"),
         "unarchive": ("POST", r"/unarchive$"), "deactivate": ("POST", r"/(unpublish|deactivate)$")}
FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "400": ("status", {"status": 400}), "500": ("status", {"status": 500}), "503": ("status", {"status": 503}),
    "HTML": ("status", {"status": 502, "html": True}), "reset": ("reset", {}),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_n8n_refuses_in_the_middle_is_undone(new_fleet: NewFleet, fault: str, call: str) -> None:
    prod, ids = scene(new_fleet)
    kind, options = FAULTS[fault]
    method, path = CALLS[call]
    # The undoing needs the same calls: all that the write itself makes fail (it tries three times), those after it do not.
    prod.sandbox.faults.add(kind, method=method, path=path, times=3, **options)
    try:
        resolve(prod, 1, "revert")
    except WfopsError:
        prod.sandbox.faults.clear()
        prod.check()  # in case something could not be restored before
        assert state(prod, ids) == "old"
        assert incident(prod, 1).status == "acknowledged"
        assert prod.row.writes_blocked_at is None
        assert resolve(prod, 1, "revert").status == "closed"
    assert state(prod, ids) == "new"
    assert prod.check().status == "IN_SYNC"


def test_a_workflow_that_somebody_edits_meanwhile_is_not_overwritten(new_fleet: NewFleet) -> None:
    prod, ids = scene(new_fleet)
    failpoints.arm("runtime.intend.after_commit=raise")
    with pytest.raises(FailpointReached):
        resolve(prod, 1, "revert")
    failpoints.disarm()
    prod.edit_in_n8n(ids["Edited"], "a third thing")
    check = prod.check()
    assert said(prod, ids["Edited"]) == "a third thing"
    assert check.status == "DRIFT_INCIDENT_ACKNOWLEDGED"


def test_a_rollback_that_n8n_does_not_allow_blocks_the_environment_until_it_is_back(new_fleet: NewFleet) -> None:
    prod, ids = scene(new_fleet)
    prod.sandbox.faults.add("status", method="POST", path=r"/(deactivate|unpublish)$", status=400)
    prod.sandbox.faults.add("status", method="POST", path=r"/archive$", status=500)
    with pytest.raises(RollbackIncomplete, match="could not be restored"):
        resolve(prod, 1, "revert")
    assert prod.row.writes_blocked_at is not None
    prod.sandbox.faults.clear()
    prod.check()
    assert prod.row.writes_blocked_at is None
    assert state(prod, ids) == "old"
    assert resolve(prod, 1, "revert").status == "closed"


def test_a_setting_that_cannot_be_taken_back_is_named_and_everything_else_is(new_fleet: NewFleet) -> None:
    prod = new_fleet.as_left_by(fleet_with_incidents)["prod"]
    asked = {"executionOrder": "v1", "timezone": "Asia/Tokyo", "saveManualExecutions": True}
    first, second = prod.in_sync({**workflow("A"), "settings": asked}, workflow("B"))
    prod.delete_in_n8n(first)
    (first,) = prod.create_in_n8n(workflow("A"))
    prod.edit_in_n8n(second, "wrong")
    path, file = next((path, json.loads(data)) for path, data in prod.files().items() if json.loads(data)["name"] == "A")
    prod.push_files({path: json.dumps({**file, "id": first}).encode()})
    prod.check()
    acknowledge(prod, 1)
    prod.sandbox.faults.add("status", method="PUT", path=f"/workflows/{second}$", status=400)
    with pytest.raises(RollbackIncomplete, match="saveManualExecutions"):
        resolve(prod, 1, "revert")
    assert prod.raw(first).settings == {"executionOrder": "v1", "saveManualExecutions": True}


def test_an_admin_can_unblock_with_a_reason_what_cannot_be_restored(new_fleet: NewFleet) -> None:
    prod, ids = scene(new_fleet)
    prod.sandbox.faults.add("status", method="POST", path=r"/(deactivate|unpublish)$", status=400)
    prod.sandbox.faults.add("status", method="POST", path=r"/archive$", status=500)
    with pytest.raises(RollbackIncomplete):
        resolve(prod, 1, "revert")
    services, context = prod.fleet.services, prod.fleet.context
    with pytest.raises(UsageError, match="needs a reason"):
        run(unblock(services, context, "prod", reason=" "))
    assert run(unblock(services, context, "prod", reason="right as it is", dry_run=True)).changed
    assert prod.row.writes_blocked_at is not None
    done = run(unblock(services, context, "prod", reason="right as it is"))
    assert done.changed and done.abandoned == ["Archived"]
    assert prod.row.writes_blocked_at is None
    assert not run(unblock(services, context, "prod", reason="again")).changed
    prod.sandbox.faults.clear()
    prod.check()
    assert not prod.raw(ids["Archived"]).archived  # nobody comes back to it
    assert resolve(prod, 1, "revert").status == "closed"
    (event,) = [e for e in prod.fleet.events("environment.writes_unblocked") if e.details["reason"] == "right as it is"]
    assert event.details["abandoned"] == ["Archived"]


def test_the_error_of_a_foreign_edit_names_the_workflow() -> None:
    assert ChangedMeanwhile("x", target="t").kind == "changed_meanwhile"
