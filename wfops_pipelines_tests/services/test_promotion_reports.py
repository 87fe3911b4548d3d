"""What is told of one promotion: what it waits for now, its whole story, and how it ended (§11.2, §19.3)."""

from __future__ import annotations

from typing import Any

import pytest

from wfops_pipelines.domain.errors import ForbiddenTransition
from wfops_pipelines.services.promotion_reports import list_promotions, promotion_status, show_promotion
from wfops_pipelines_tests.services.child import run_in_child
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, workflow
from wfops_pipelines_tests.services.promotions import (
    cancel,
    decide,
    execute,
    promote,
    promoting_fleet,
    request,
    roll_back,
)

ALWAYS = {"name": "the fair", "kind": "deny", "from": "2020-01-01T00:00", "to": "2099-01-01T00:00"}


def edited(new_fleet: NewFleet) -> FleetUnderTest:
    """One and Two are in prod, and edited in dev: that is approved, as number 2."""
    fleet = promoting_fleet(new_fleet, ("dev", "prod"))
    ids = fleet["dev"].create_in_n8n(workflow("One"), workflow("Two"))
    promote(fleet)
    for each in ids:
        fleet["dev"].edit_in_n8n(each, "better")
    assert request(fleet).number == 2
    return fleet


def shown(fleet: FleetUnderTest, number: int) -> dict[str, Any]:
    return show_promotion(fleet.services, fleet.context, number)


def story(fleet: FleetUnderTest, number: int) -> list[str]:
    """Its timeline, without what every operation tells."""
    return [event["action"] for event in shown(fleet, number)["timeline"]
            if event["action"].startswith(("promotion.", "runtime.", "operation."))]


class TestTimeline:
    def test_one_whose_process_died_tells_what_it_was_about_to_write(self, new_fleet: NewFleet) -> None:
        fleet = new_fleet.as_left_by(edited)
        assert run_in_child(fleet["prod"], "execute", "runtime.record.after_commit=kill@1").returncode == -9
        before = story(fleet, 2)
        assert before[-3:] == ["promotion.running", "runtime.intended", "runtime.done"]
        fleet["prod"].check()
        assert story(fleet, 2) == [*before, "runtime.done", "promotion.completed", "promotion.git_committed",
                                   "operation.recovered"]

    def test_what_another_one_finished_is_the_story_of_the_one_that_it_finished(self, new_fleet: NewFleet) -> None:
        fleet = new_fleet.as_left_by(edited)
        first = story(fleet, 1)
        assert run_in_child(fleet["prod"], "execute", "runtime.record.after_commit=kill@1").returncode == -9
        fleet["dev"].create_in_n8n(workflow("Three"))
        third = promote(fleet)
        assert third.status == "completed"
        assert story(fleet, 2).count("runtime.done") == 2 and story(fleet, 2).count("runtime.intended") == 1
        assert story(fleet, third.number or 0).count("runtime.done") == 1
        assert story(fleet, 1) == first

    def test_a_rollback_whose_process_died_tells_what_it_was_about_to_write(self, new_fleet: NewFleet) -> None:
        fleet = new_fleet.as_left_by(edited)
        execute(fleet, 2)
        before = story(fleet, 2)
        assert run_in_child(fleet["prod"], "roll back", "runtime.record.after_commit=kill@1").returncode == -9
        assert story(fleet, 2) == [*before, "promotion.rollback_begun", "runtime.intended", "runtime.done"]
        fleet["prod"].check()
        assert story(fleet, 2)[len(before) + 3:] == ["runtime.done", "promotion.rolled_back", "promotion.git_committed",
                                                     "operation.recovered"]


class TestWaiting:
    def test_one_that_a_freeze_window_holds_says_so_until_it_is_over(self, new_fleet: NewFleet) -> None:
        fleet = promoting_fleet(new_fleet, ("dev", "prod"), stage={"freezeWindows": [ALWAYS]})
        fleet["dev"].create_in_n8n(workflow("One"))
        asked = fleet.clock.time
        assert request(fleet, when_ready=True).status == "approved"
        fleet.clock.pass_time(hours=3)
        found = shown(fleet, 1)
        assert asked.isoformat() <= found["gates_at"] <= found["waiting"]["since"] < fleet.clock.time.isoformat()
        (reason,) = found["waiting"]["for"]
        assert "'the fair'" in reason and "opens at 2099-01-01 00:00 UTC" in reason
        (row,), _ = list_promotions(fleet.services, fleet.context)
        assert row["waiting"] == found["waiting"] == promotion_status(fleet.services, fleet.context, 1)["waiting"]
        fleet.document["tenants"][0]["pipelines"][0]["stages"][0]["freezeWindows"] = []
        fleet.apply()
        assert shown(fleet, 1)["waiting"]["for"] == [], "the gates are as they were, but nothing holds it any more"
        execute(fleet, 1)
        assert shown(fleet, 1)["waiting"] is None and shown(fleet, 1)["gates_at"] == shown(fleet, 1)["started_at"]

    def test_one_that_soaks_says_until_when(self, new_fleet: NewFleet) -> None:
        fleet = promoting_fleet(new_fleet, ("dev", "prod"), stage={"soakHours": 24})
        fleet["dev"].create_in_n8n(workflow("One"))
        assert request(fleet, when_ready=True).status == "approved"
        (reason,) = shown(fleet, 1)["waiting"]["for"]
        assert reason.startswith("soak time until 20")
        fleet.clock.pass_time(hours=25)
        assert shown(fleet, 1)["waiting"]["for"] == []

    def test_one_that_waits_for_people_says_for_how_many_and_for_whom(self, new_fleet: NewFleet) -> None:
        fleet = promoting_fleet(new_fleet, ("dev", "prod"), stage={"approvers": 2})
        fleet["dev"].create_in_n8n(workflow("One"))
        request(fleet)
        assert shown(fleet, 1)["waiting"]["for"] == ["approvals: 0 of 2 are there"]
        decide(fleet, 1, actor="local:grace")
        assert shown(fleet, 1)["waiting"]["for"] == ["approvals: 1 of 2 are there"]
        decide(fleet, 1, actor="local:edsger")
        assert shown(fleet, 1)["waiting"]["for"] == ["somebody who carries it out: wfops promotion execute acme/p1"]


class TestTheEnd:
    def test_a_step_that_cannot_be_names_the_promotion_and_how_it_ended(self, new_fleet: NewFleet) -> None:
        fleet = new_fleet.as_left_by(edited)
        with pytest.raises(ForbiddenTransition, match=r"acme/p1 is completed \(since 20.* UTC\), and cannot become cancelled"):
            cancel(fleet, 1)
        roll_back(fleet, 1, reason="orders are doubled")
        ended = r"since 20..-..-.. ..:.. UTC: orders are doubled"
        with pytest.raises(ForbiddenTransition, match=rf"acme/p1 is rolled back already \({ended}\)"):
            roll_back(fleet, 1)
        with pytest.raises(ForbiddenTransition, match=rf"acme/p1 is rolled back, which is final \({ended}\): it cannot become r"):
            execute(fleet, 1)
