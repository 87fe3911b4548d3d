"""Pipelines as people look at them: what each stage asks for, whether it is open, what is on its way (§11.1)."""

from __future__ import annotations

from typing import Any

import pytest

from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.services.pipeline_reports import pipeline_reports
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet

MIDDAY = {"name": "lunch", "start": "11:30", "end": "13:00"}  # the tests' clock begins at 12:00 UTC
STAGE: dict[str, Any] = {"source": "staging", "target": "prod"}


def the_stage(fleet: FleetUnderTest) -> dict[str, Any]:
    (report,) = pipeline_reports(fleet.services, fleet.context)
    (stage,) = report["stages"]
    assert isinstance(stage, dict)
    return stage


def asked(fleet: FleetUnderTest, status: str = "pending", **values: Any) -> None:
    """A promotion to prod of that status."""
    def add(work: Any) -> None:
        now, promotion_id = fleet.clock.now(), fleet.services.new_id()
        work.promotions.add(**{
            "id": promotion_id, "kind": "promotion", "source_environment_id": fleet["staging"].row.id,
            "target_environment_id": fleet["prod"].row.id, "requested_by": "local:ada", "requested_at": now,
            "changed_at": now, **values})
        for step in {"pending": [], "approved": ["approved"], "running": ["approved", "running"],
                     "failed": ["approved", "running", "failed"]}[status]:
            work.promotions.change(promotion_id, now=now, status=step)
    fleet.writing(add)


def test_a_stage_shows_all_that_it_asks_for(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"), pipelines=[{"name": "standard", "stages": [{
        **STAGE, "approvers": 1, "soakHours": 24, "gates": {"requireCleanDrift": False},
        "verification": {"webhooks": True}}]}])
    (report,) = pipeline_reports(fleet.services, fleet.context, "standard")
    assert (report["tenant"], report["pipeline"], report["atomic"]) == ("acme", "standard", True)
    stage = report["stages"][0]
    assert (stage["source"], stage["target"], stage["approvers"], stage["soak_hours"]) == ("staging", "prod", 1, 24)
    assert stage["gates"] == {"requireCleanDrift": False, "allowOverwritingHotfixes": False,
                              "allowForcePromotionOnConflicts": False, "allowPlaceholderCredentials": False}
    assert stage["verification"]["webhooks"] is True
    assert (stage["now"]["open"], stage["running"], stage["waiting"]) == (True, None, [])


def test_a_frozen_stage_says_until_when_and_by_what(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"), pipelines=[{"name": "standard", "stages": [{**STAGE, "freezeWindows": [MIDDAY]}]}])
    now = the_stage(fleet)["now"]
    assert (now["open"], now["windows"], now["opens_at"]) == (False, ["lunch"], "2026-03-01T13:00:00+00:00")
    fleet.clock.pass_time(hours=1)
    assert the_stage(fleet)["now"]["open"]


def test_what_runs_to_the_target_and_what_waits_is_shown_and_nothing_else(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"), pipelines=[{"name": "standard", "stages": [STAGE]}])
    for status in ("failed", "running", "pending", "approved"):
        asked(fleet, status)
    stage = the_stage(fleet)
    assert (stage["running"]["promotion"], stage["running"]["status"]) == ("acme/p2", "running")
    assert [(each["promotion"], each["status"]) for each in stage["waiting"]] == [("acme/p3", "pending"), ("acme/p4", "approved")]
    assert stage["waiting"][0]["source"] == "staging" and stage["waiting"][0]["requested_by"] == "local:ada"


def test_a_pipeline_that_is_not_there_is_said_with_those_there_are(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"))
    assert pipeline_reports(fleet.services, fleet.context) == []
    with pytest.raises(UsageError, match="no pipeline 'fast'") as refused:
        pipeline_reports(fleet.services, fleet.context, "fast")
    assert "fleet.yaml" in str(refused.value.fix)
    fleet.tenant["pipelines"] = [{"name": "standard", "stages": [STAGE]}]
    fleet.apply()
    with pytest.raises(UsageError) as refused:
        pipeline_reports(fleet.services, fleet.context, "fast")
    assert refused.value.fix == "pipelines: standard"
