"""Pipelines as they are stored, and what a promotion between two environments has to pass (§11.1)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from wfops_pipelines.domain.errors import InvalidFields, UsageError
from wfops_pipelines.domain.fleet_fields import Activation
from wfops_pipelines.domain.freeze_windows import FreezeWindow
from wfops_pipelines.domain.gate_facts import StageRules
from wfops_pipelines.domain.transform_tables import CredentialRow
from wfops_pipelines.domain.verification import Verification
from wfops_pipelines.services.apply_fleet import FleetPlan
from wfops_pipelines.services.environment_tables import environment_tables
from wfops_pipelines.services.pipeline_reports import pipeline_reports
from wfops_pipelines.services.stage_rules import Stage, stage_between
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, workflow

WEEKEND = {"name": "weekend", "days": ["fri"], "start": "16:00", "end": "08:00", "zone": "Europe/Berlin"}
WHOLE_STAGE: dict[str, Any] = {
    "source": "staging", "target": "prod", "approvers": 2, "soakHours": 24,
    "gates": {"requireCleanDrift": False, "allowPlaceholderCredentials": True},
    "freezeWindows": [WEEKEND, {"name": "xmas", "from": "2026-12-24", "to": "2026-12-27", "kind": "deny"}],
    "verification": {"webhooks": True, "timeout_seconds": 5, "rollback_on_failure": True}}


def between(fleet: FleetUnderTest, source: str = "staging", target: str = "prod") -> Stage:
    return fleet.reading(lambda work: stage_between(work, fleet[source].row, fleet[target].row))


def changes(plan: FleetPlan) -> list[tuple[str, str, str]]:
    return [(change.action, change.kind, change.name) for change in plan.changes]


def test_what_a_stage_asks_for_comes_back_as_it_was_declared(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"), pipelines=[{"name": "standard", "atomic": False, "stages": [WHOLE_STAGE]}])
    stage = between(fleet)
    assert (stage.pipeline, stage.atomic) == ("standard", False)
    assert stage.rules == StageRules(require_clean_drift=False, allow_placeholder_credentials=True, approvers=2,
                                     soak=timedelta(hours=24))
    assert [window.name for window in stage.freeze_windows] == ["weekend", "xmas"]
    assert stage.freeze_windows[0] == FreezeWindow.model_validate(WEEKEND)
    assert stage.verification == Verification(webhooks=True, timeout_seconds=5, rollback_on_failure=True)
    assert stage.activation is Activation.KEEP
    assert changes(fleet.apply()) == []


def test_a_stage_that_takes_the_sources_activation_is_stored_beside_its_gates(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"), pipelines=[{"name": "standard", "stages": [{**WHOLE_STAGE, "activation": "source"}]}])
    stage = between(fleet)
    assert stage.activation is Activation.SOURCE and not stage.rules.require_clean_drift
    assert pipeline_reports(fleet.services, fleet.context)[0]["stages"][0]["activation"] == "source"
    assert changes(fleet.apply()) == []
    fleet.tenant["pipelines"][0]["stages"][0]["activation"] = "keep"
    assert changes(fleet.apply()) == [("update", "pipeline", "standard")]
    assert between(fleet).activation is Activation.KEEP


@pytest.mark.parametrize("change", [
    {"soakHours": 1}, {"freezeWindows": [WEEKEND]}, {"verification": {"triggers": True}}, {"approvers": 1},
    {"activation": "source"}],
    ids=lambda change: next(iter(change)))
def test_each_change_of_a_stage_is_one_update_of_its_pipeline(new_fleet: NewFleet, change: dict[str, Any]) -> None:
    fleet = new_fleet(("staging", "prod"), pipelines=[{"name": "standard", "stages": [WHOLE_STAGE]}])
    fleet.tenant["pipelines"][0]["stages"][0].update(change)
    assert changes(fleet.apply()) == [("update", "pipeline", "standard")]
    assert changes(fleet.apply()) == []


def test_node_ids_snapshots_and_atomicity_are_stored(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"), pipelines=[{"name": "standard", "stages": [WHOLE_STAGE]}])
    assert (fleet["prod"].row.new_node_ids, fleet["prod"].row.snapshot_hours, between(fleet).atomic) == (False, 0, True)
    fleet.declared("prod").update(new_node_ids=True, snapshot_hours=24)
    fleet.tenant["pipelines"][0]["atomic"] = False
    plan = fleet.apply()
    assert changes(plan) == [("update", "environment", "prod"), ("update", "pipeline", "standard")]
    assert plan.changes[0].fields == {"new_node_ids": True, "snapshot_hours": 24}
    assert (fleet["prod"].row.new_node_ids, fleet["prod"].row.snapshot_hours, between(fleet).atomic) == (True, 24, False)
    assert changes(fleet.apply()) == []


def test_a_tenant_without_pipelines_has_the_default_rules_everywhere(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"))
    assert between(fleet, "prod", "staging") == Stage(None, StageRules(), (), Verification(), atomic=True)


def test_where_no_pipeline_leads_nothing_is_promoted(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"), pipelines=[{"name": "standard", "stages": [WHOLE_STAGE]}])
    with pytest.raises(UsageError, match="no pipeline of acme leads from prod to staging") as refused:
        between(fleet, "prod", "staging")
    assert "{source: prod, target: staging}" in str(refused.value.fix)


def test_a_pipeline_that_is_declared_no_more_makes_it_unclear_until_it_is_pruned(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"), pipelines=[{"name": "standard", "stages": [WHOLE_STAGE]}])
    fleet.tenant["pipelines"] = [{"name": "other", "stages": [{"source": "staging", "target": "prod"}]}]
    assert changes(fleet.apply()) == [("create", "pipeline", "other"), ("unmanaged", "pipeline", "standard")]
    with pytest.raises(UsageError, match=r"more than one pipeline .*'other', 'standard'") as refused:
        between(fleet)
    assert "--prune" in str(refused.value.fix)
    assert changes(fleet.apply(prune=True)) == [("delete", "pipeline", "standard")]
    assert between(fleet).pipeline == "other"


# -- transformation tables (§11.4) ---------------------------------------------------------------------------------------------

def credential(key: str, **names: str) -> dict[str, Any]:
    return {"key": key, "type": "httpBasicAuth", "environments": {slug: {"name": name} for slug, name in names.items()}}


def test_the_tables_of_an_environment_hold_what_is_linked_and_declared_there(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"), credentials=[credential("stripe", staging="s", prod="p")])
    fleet.declared("prod")["variables"] = {"API": "https://api.example.com"}
    fleet.apply()
    prod = fleet["prod"]
    linked, archived, gone = prod.in_sync(workflow("Linked"), workflow("Archived"), workflow("Gone"))
    prod.create_in_n8n(workflow("Untracked"))
    prod.archive_in_n8n(archived)
    prod.delete_in_n8n(gone)
    prod.check()
    tables = fleet.reading(lambda work: environment_tables(work, prod.row))
    mappings = prod.mappings()
    assert tables.workflow_ids == {str(mappings[each].canonical_id): each for each in (linked, archived)}
    assert (tables.environment, tables.base_url) == ("prod", prod.url)
    assert list(tables.credentials) == [CredentialRow("stripe", "httpBasicAuth", "p")]
    assert tables.variables == {"API": "https://api.example.com"}


def test_a_fleet_with_a_table_that_could_not_be_read_back_is_refused_together_with_rows_that_stay(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"), credentials=[credential("a", staging="one", prod="two")])
    fleet.tenant["credentials"] = [credential("b", prod="one")]  # by itself that is fine
    fleet.tenant["name"] = "Acme Limited"
    for dry_run in (True, False):
        with pytest.raises(InvalidFields, match=r"transformation tables of acme: credentials\.[ab]\.\w+: the name 'one'") as refused:
            fleet.apply(dry_run=dry_run)
        assert "--prune" in str(refused.value.fix)
    with fleet.services.store.system() as system:
        row = system.tenant("acme")
    assert row is not None and row.name == "Acme Corp"
    assert fleet.events("credentials.updated") == []
    fleet.apply(prune=True)
    assert [row.key for row in fleet.reading(lambda work: work.fleet.credentials())] == ["b"]


def test_nothing_of_any_tenant_is_applied_where_one_has_such_a_table(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"), credentials=[credential("a", staging="one", prod="two")])
    fleet.tenant["credentials"] = [credential("b", prod="one")]
    fleet.document["tenants"].insert(0, {"slug": "aaa", "name": "Applied before acme"})
    with pytest.raises(InvalidFields):
        fleet.apply()
    with fleet.services.store.system() as system:
        assert system.tenant("aaa") is None
