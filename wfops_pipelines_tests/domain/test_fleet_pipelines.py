"""Pipelines in fleet.yaml (§11.1): soak time, freeze windows, verification, atomicity, and tables that promotions could not
read back (§11.4)."""

from __future__ import annotations

import re
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from wfops_pipelines.domain.fleet import PipelineSpec, fleet_json_schema
from wfops_pipelines.domain.verification import Verification
from wfops_pipelines_tests.domain.fleet_example import (
    ACME,
    DEV,
    PROD,
    STAGING,
    changed,
    edited,
    load,
    problems,
    the_problem,
)

PIPELINE = [*ACME, "pipelines", 0]
STAGE = [*PIPELINE, "stages", 1]
FIELD = "tenants[0].pipelines[0].stages[1]"
WEEKEND = {"name": "weekend", "days": ["fri"], "start": "16:00", "end": "08:00", "zone": "Europe/Berlin"}


def pipeline(text: str) -> PipelineSpec:
    return load(text).tenants[0].pipelines[0]


def test_a_pipeline_that_says_nothing_is_atomic_and_waits_for_nothing() -> None:
    standard = pipeline(edited())
    stage = standard.stages[0]
    assert (standard.atomic, stage.soak_hours, stage.freeze_windows) == (True, 0, [])
    assert stage.verification.verification() == Verification()
    assert not Verification().asks_for_something


def test_a_stage_says_how_long_it_soaks_when_it_is_frozen_and_what_is_verified() -> None:
    def edit(tenant: dict[str, Any]) -> None:
        tenant["pipelines"][0]["atomic"] = False
        tenant["pipelines"][0]["stages"][1] |= {
            "soakHours": 24, "freezeWindows": [WEEKEND],
            "verification": {"webhooks": True, "smoke_workflow": "Smoke", "rollback_on_failure": True}}
    standard = pipeline(edited(edit))
    stage = standard.stages[1]
    assert (standard.atomic, stage.soak_hours, [window.name for window in stage.freeze_windows]) == (False, 24, ["weekend"])
    assert stage.verification.verification() == Verification(
        webhooks=True, smoke_workflow="Smoke", timeout_seconds=60, rollback_on_failure=True)


@pytest.mark.parametrize("day", ["2026-12-24", date(2026, 12, 24), datetime(2026, 12, 24, 0, 0)])
def test_a_freeze_window_takes_dates_as_yaml_reads_them(day: Any) -> None:
    window = pipeline(changed([*STAGE, "freezeWindows"], [{"name": "xmas", "from": day, "to": "2026-12-27"}])).stages[1]
    assert window.freeze_windows[0].begins == datetime(2026, 12, 24)


@pytest.mark.parametrize(("field", "value", "where", "message"), [
    ("soakHours", -1, "soakHours", "greater than or equal to 0"),
    ("soakHours", 8761, "soakHours", "less than or equal to 8760"),
    ("soakHours", "24", "soakHours", "whole number"),
    ("soak_hours", 24, "soak_hours", "did you mean soakHours?"),
    ("freezeWindows", WEEKEND, "freezeWindows", "should be a list"),
    ("freezeWindows", [{**WEEKEND, "zone": "Berlin"}], "freezeWindows[0].zone", "IANA name"),
    ("freezeWindows", [{**WEEKEND, "until": "x"}], "freezeWindows[0].until", "is no field here"),
    ("freezeWindows", [{"name": "x"}], "freezeWindows[0]", "either weekly (days, start, end) or once (from, to)"),
    ("freezeWindows", [{"name": "x", "from": "2026-12-20"}], "freezeWindows[0].to", "is required"),
    ("freezeWindows", [{"name": "x", "from": "2026-12-20", "to": "2026-12-04"}], "freezeWindows[0].to", "after from"),
    ("freezeWindows", [WEEKEND, WEEKEND], "freezeWindows[1].name", "'weekend' is a freeze window already"),
    ("verification", {"webhook": True}, "verification.webhook", "did you mean webhooks?"),
    ("verification", {"webhooks": True, "timeout_seconds": 0}, "verification.timeout_seconds", "greater than or equal to 1"),
    ("verification", {"rollback_on_failure": True}, "verification.rollback_on_failure", "nothing is verified"),
])
def test_a_mistake_in_a_stage_is_named_with_its_field(field: str, value: Any, where: str, message: str) -> None:
    found, said = the_problem(changed([*STAGE, field], value))
    assert found == f"{FIELD}.{where}"
    assert message in said


def test_two_pipelines_may_not_lead_from_one_environment_to_the_same_one() -> None:
    field, message = the_problem(edited(lambda t: t["pipelines"].append(
        {"name": "hotfix", "stages": [{"source": "dev", "target": "prod"}, {"source": "staging", "target": "prod"}]})))
    assert field == "tenants[0].pipelines[1].stages[1]"
    assert "is a stage of 'standard' already" in message


@pytest.mark.parametrize(("field", "value", "message"), [
    ("snapshot_hours", 8761, "less than or equal to 8760"), ("snapshot_hours", True, "whole number"),
    ("new_node_ids", "perhaps", "true or false"),
])
def test_a_mistake_about_snapshots_and_node_ids_is_named(field: str, value: Any, message: str) -> None:
    assert (where := the_problem(changed([*PROD, field], value)))[0] == f"tenants[0].environments[2].{field}"
    assert message in where[1]


def test_what_is_stored_of_a_verification_is_read_again_and_later_fields_are_left_out() -> None:
    verification = Verification(triggers=True, smoke_workflow="Smoke", timeout_seconds=5)
    assert Verification.from_json(verification.as_json()) == verification
    assert Verification.from_json({}) == Verification()
    assert Verification.from_json({"webhooks": True, "of_a_later_version": 1}) == Verification(webhooks=True)


def test_the_schema_describes_every_field_of_a_stage_with_an_example() -> None:
    parts = fleet_json_schema()["$defs"]
    for part in ("StageSpec", "PipelineSpec", "VerificationSpec", "FreezeWindow", "GateSpec"):
        for name, field in parts[part]["properties"].items():
            assert field.get("description") and field.get("examples"), f"{part}.{name}"
    patterns = {name: re.compile(parts["FreezeWindow"]["properties"][name]["anyOf"][0]["pattern"]) for name in ("from", "to")}
    for text in ("2026-12-20", "2026-12-20T18:00", "2026-12-20T18:00:00Z", "2026-12-20T18:00+01:00"):
        assert all(pattern.fullmatch(text) for pattern in patterns.values())
        assert pipeline(changed([*STAGE, "freezeWindows"], [{"name": "x", "from": text, "to": "2027-01-01T00:00Z"}]))
    assert {"soakHours", "freezeWindows", "verification"} <= parts["StageSpec"]["properties"].keys()


def test_the_example_of_the_page_about_pipelines_is_a_fleet() -> None:
    page = (Path(__file__).parents[2] / "docs" / "pipelines.md").read_text(encoding="utf-8")
    stage = load(page.split("```yaml\n")[1].split("```")[0]).tenants[0].pipelines[0].stages[1]
    assert [window.name for window in stage.freeze_windows] == ["weekend", "year end"]
    assert stage.soak_hours == 24 and stage.verification.smoke_workflow == "Smoke test"


# -- tables by which what is promoted could not be read back (§11.4) -----------------------------------------------------------

def credential(key: str, **names: str) -> dict[str, Any]:
    return {"key": key, "type": "httpBasicAuth", "environments": {slug: {"name": name} for slug, name in names.items()}}


@pytest.mark.parametrize("rows", [
    [credential("a", dev="one", prod="two"), credential("b", dev="two", prod="one")],  # they change places
    [credential("a", dev="one", staging="two"), credential("b", staging="three", prod="two")],  # one follows the other
])
def test_names_that_change_places_or_follow_each_other_are_refused_by_row(rows: list[dict[str, Any]]) -> None:
    found = problems(changed([*ACME, "credentials"], rows))
    assert {str(field).split(".environments")[0] for field, _ in found} <= {
        "tenants[0].credentials[0]", "tenants[0].credentials[1]"}
    assert all("may not change places" in message for _, message in found)


def test_a_variable_that_could_not_be_found_again_is_refused_without_its_value() -> None:
    field, message = the_problem(changed([*STAGING, "variables"], {"API_BASE": "=s3cr3t"}))
    assert field == "tenants[0].environments[1].variables.API_BASE"
    assert "makes an expression" in message
    assert "s3cr3t" not in message


def test_an_address_below_another_is_refused() -> None:
    field, message = the_problem(changed([*DEV, "url"], "http://127.0.0.1:5702/n8n"))
    assert field == "tenants[0].environments[0].url"
    assert "is below that of staging" in message
