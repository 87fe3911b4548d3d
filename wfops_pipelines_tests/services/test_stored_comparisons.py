"""A push is compared with what n8n held when it was last seen: that is no check of n8n, however many pushes there are (§9)."""

from __future__ import annotations

from wfops_pipelines.services.refresh import Part, Target, refresh
from wfops_pipelines_tests.services.fleet import Environment, NewFleet, run, workflow
from wfops_pipelines_tests.services.test_sweeps import INTERVAL, history, impatient, swept, three

OF_A_PUSH = (Part.REPOSITORY, Part.DIFF, Part.DRIFT)


def pushed(environment: Environment, number: int = 0) -> None:
    """Somebody pushed something into the environment's folder, and its run is over."""
    environment.fleet.repository.commit({f"{environment.slug}/notes-{number}.txt": b"%d" % number})
    refreshed(environment)


def refreshed(environment: Environment) -> None:
    """The run of a push is over."""
    fleet = environment.fleet
    run(refresh(fleet.services, [Target(fleet.context, environment.row)], OF_A_PUSH, check_type="scheduled"))


def test_however_often_somebody_pushes_n8n_is_asked_in_its_time(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(three)
    (edited,) = fleet["eu"].mappings()
    fleet["eu"].edit_in_n8n(edited, "wrong")
    for number in range(4):
        fleet.clock.pass_time(seconds=0.45 * INTERVAL)
        pushed(fleet["eu"], number)
        swept(fleet, seconds=1)
    assert fleet["eu"].row.drift_status == "DRIFT_DETECTED"


def test_pushes_that_change_nothing_are_no_entries_of_the_history(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(three)
    entries = len(history(fleet["eu"]))
    for number in range(3):
        pushed(fleet["eu"], number)
    assert [each.type for each in history(fleet["eu"])[entries - 1:]] == ["scheduled"]


def test_a_push_leaves_the_status_of_dev_to_whoever_asks_for_it(new_fleet: NewFleet) -> None:
    """In dev n8n is the truth, and no schedule would ever look again."""
    fleet = new_fleet(("dev", "prod"))
    for slug in ("dev", "prod"):
        fleet[slug].in_sync(workflow("Orders"))
        fleet[slug].push_workflow("new.json", workflow("New in Git"))
        refreshed(fleet[slug])
    assert [fleet[slug].row.drift_status for slug in ("dev", "prod")] == ["IN_SYNC", "DRIFT_DETECTED"]
    assert fleet["dev"].check().status == "DRIFT_DETECTED"


def test_a_branch_that_goes_and_comes_back_leaves_the_status_of_dev_as_it_was(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("dev", "prod"))
    for slug in ("dev", "prod"):
        fleet[slug].in_sync(workflow("Orders"))
        fleet[slug].push_workflow("new.json", workflow("New in Git"))
    head = fleet.repository.git("rev-parse", "refs/heads/main").strip()
    said = []
    for arguments in (("-d", "refs/heads/main"), ("refs/heads/main", head)):
        fleet.repository.git("update-ref", *arguments)
        for slug in ("dev", "prod"):
            refreshed(fleet[slug])
        said.append([fleet[slug].row.drift_status for slug in ("dev", "prod")])
    assert said == [["IN_SYNC", "ERROR"], ["IN_SYNC", "DRIFT_DETECTED"]]


def test_an_n8n_that_is_away_is_not_called_in_sync_for_a_push(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(three)
    impatient(fleet)
    fleet["eu"].sandbox.faults.add("reset")
    swept(fleet)
    well = fleet["eu"].row.last_good_drift_at
    pushed(fleet["eu"])
    row = fleet["eu"].row
    assert (row.drift_status, row.drift_reason, row.last_good_drift_at) == ("ERROR", "unreachable", well)
    fleet["eu"].sandbox.faults.clear()
    swept(fleet, hours=2)
    assert fleet["eu"].row.drift_status == "IN_SYNC"


def test_a_branch_that_is_gone_is_an_error_at_once_and_none_when_it_is_back(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(three)
    head = fleet.repository.git("rev-parse", "refs/heads/main").strip()
    fleet.repository.git("update-ref", "-d", "refs/heads/main")
    refreshed(fleet["eu"])
    row = fleet["eu"].row
    assert (row.drift_status, row.drift_reason, row.last_good_drift_status) == ("ERROR", "not_found", "IN_SYNC")
    fleet.repository.git("update-ref", "refs/heads/main", head)
    refreshed(fleet["eu"])
    assert fleet["eu"].row.drift_status == "IN_SYNC"


def test_files_of_an_environment_that_nobody_looked_at_yet_are_not_missing_there(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("prod",))
    fleet["prod"].create_in_n8n(workflow("A"))
    fleet["prod"].push_files({"a.json": b"{}"})
    pushed(fleet["prod"])
    assert fleet["prod"].row.drift_status == "UNKNOWN"
    assert fleet["prod"].compare().status == "UNKNOWN"


def test_a_look_from_before_a_comparison_is_not_recorded_over_it(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(three)
    looked = {"environment_id": fleet["eu"].row.id, "check_id": history(fleet["eu"])[-1].id, "duration_ms": 1, "read": True,
              "last": fleet["eu"].row.last_drift_check_at, "at": fleet.clock.time, "message": None}
    fleet["eu"].push_files(dict.fromkeys(fleet["eu"].files()))
    pushed(fleet["eu"])
    assert fleet["eu"].row.drift_status == "DRIFT_DETECTED"
    with fleet.services.store.sweep_writes() as work:
        assert work.repeat(fleet.context.tenant_id, [looked]) == set()
    assert history(fleet["eu"])[-1].status == "DRIFT_DETECTED"
