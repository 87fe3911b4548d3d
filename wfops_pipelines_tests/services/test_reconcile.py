"""Reconciliation (§8): what each stage would carry over, and the matrix of it all (§15)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wfops_pipelines.services.matrix import workflow_matrix
from wfops_pipelines_tests.services.fleet import (
    Environment,
    FleetUnderTest,
    NewFleet,
    calling,
    file_bytes,
    with_credential,
    workflow,
)

PIPELINE = [{"name": "standard", "stages": [{"source": "staging", "target": "prod"}]}]


@pytest.fixture
def stages(new_fleet: NewFleet) -> FleetUnderTest:
    """staging → prod."""
    return new_fleet(("staging", "prod"), pipelines=PIPELINE)


def promoted(fleet: FleetUnderTest, *workflows: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The same workflows in staging and in prod, linked, each in its own folder; ids there and here."""
    ids = []
    for slug in ("staging", "prod"):
        ids.append(fleet[slug].create_in_n8n(*workflows))
        fleet[slug].push_files({f"{w['name'].lower()}.json": file_bytes(w) for w in workflows})
        assert fleet[slug].check().status == "IN_SYNC"
    assert {row.canonical_id for row in fleet["staging"].mappings().values()} == {
        row.canonical_id for row in fleet["prod"].mappings().values()}
    return ids[0], ids[1]


def statuses(fleet: FleetUnderTest) -> dict[str, str]:
    """Diff status by name of staging → prod, after reading both n8n and reconciling."""
    fleet["staging"].sync()
    fleet["prod"].sync()
    fleet["prod"].reconcile()
    return {row.name: row.status for row in diffs(fleet)}


def diffs(fleet: FleetUnderTest) -> list[Any]:
    source, target = fleet["staging"].row.id, fleet["prod"].row.id
    return list(fleet.reading(lambda work: work.diffs.of_stage(source, target)).values())


def the_text_in_git(environment: Environment, text: str) -> None:
    """What the only file says is changed in Git."""
    ((path, data),) = environment.files().items()
    document = json.loads(data)
    document["nodes"][1]["parameters"]["text"] = text
    environment.push_files({path: json.dumps(document).encode()})
    environment.read_git()


def test_equal_on_both_sides_is_unchanged_and_has_no_diff(stages: FleetUnderTest) -> None:
    promoted(stages, workflow("A"))
    assert statuses(stages) == {"A": "unchanged"}
    assert diffs(stages)[0].diff is None


def test_only_in_the_source_is_added(stages: FleetUnderTest) -> None:
    stages["staging"].in_sync(workflow("A"))
    assert statuses(stages) == {"A": "added"}
    assert diffs(stages)[0].diff["changes"][0]["kind"] == "workflow_added"


def test_only_in_the_target_is_target_only(stages: FleetUnderTest) -> None:
    stages["prod"].in_sync(workflow("A"))
    assert statuses(stages) == {"A": "target_only"}


def test_a_source_that_went_on_is_modified_with_a_diff_from_target_to_source(stages: FleetUnderTest) -> None:
    there, _ = promoted(stages, workflow("A", text="old"))
    stages["staging"].edit_in_n8n(there[0], "new")
    assert statuses(stages) == {"A": "modified"}
    (change,) = diffs(stages)[0].diff["changes"]
    assert (change["before"], change["after"]) == ("old", "new")


def test_a_target_that_somebody_edited_is_a_hotfix(stages: FleetUnderTest) -> None:
    _, here = promoted(stages, workflow("A"))
    stages["prod"].edit_in_n8n(here[0])
    assert statuses(stages) == {"A": "target_hotfix"}


def test_a_target_that_holds_what_was_right_before_git_moved_on_is_modified(stages: FleetUnderTest) -> None:
    there, _ = promoted(stages, workflow("A"))
    stages["staging"].edit_in_n8n(there[0], "next")
    the_text_in_git(stages["prod"], "next")
    assert statuses(stages) == {"A": "modified"}


def test_that_was_seen_without_a_drift_check_too(stages: FleetUnderTest) -> None:
    """`wfops sync` alone: what a reconciliation saw in sync counts."""
    for slug in ("staging", "prod"):
        stages[slug].create_in_n8n(workflow("A", id="same"))
        stages[slug].export()
    assert statuses(stages) == {"A": "unchanged"}
    stages["staging"].edit_in_n8n("same", "next")
    the_text_in_git(stages["prod"], "next")
    assert statuses(stages) == {"A": "modified"}


def test_both_edited_is_a_conflict(stages: FleetUnderTest) -> None:
    there, here = promoted(stages, workflow("A"))
    stages["staging"].edit_in_n8n(there[0], "one way")
    stages["prod"].edit_in_n8n(here[0], "the other")
    assert statuses(stages) == {"A": "conflict"}


def test_without_a_base_a_difference_is_a_conflict(stages: FleetUnderTest) -> None:
    there, _ = promoted(stages, workflow("A"))
    ((path, _),) = stages["prod"].files().items()
    stages["prod"].push_files({path: None})
    stages["prod"].read_git()
    stages["staging"].edit_in_n8n(there[0])
    assert statuses(stages) == {"A": "conflict"}


def test_ids_and_credentials_that_only_say_the_same_differently_are_no_difference(new_fleet: NewFleet) -> None:
    fleet = new_fleet(("staging", "prod"), pipelines=PIPELINE, credentials=[{
        "key": "stripe", "type": "httpBasicAuth",
        "environments": {"staging": {"name": "stripe-stg"}, "prod": {"name": "stripe-live"}}}])
    fleet["staging"].in_sync(workflow("Callee", id="c-stg"), calling("Caller", "c-stg"), with_credential("Pay", "stripe-stg", "1"))
    fleet["prod"].in_sync(workflow("Callee", id="c-prd"), calling("Caller", "c-prd"), with_credential("Pay", "stripe-live", "2"))
    assert statuses(fleet) == {"Callee": "unchanged", "Caller": "unchanged", "Pay": "unchanged"}
    fleet["staging"].edit_in_n8n(next(i for i, row in fleet["staging"].mappings().items() if row.name == "Caller"))
    fleet["staging"].edit_in_n8n(next(i for i, row in fleet["staging"].mappings().items() if row.name == "Pay"))
    assert statuses(fleet) == {"Callee": "unchanged", "Caller": "modified", "Pay": "modified"}
    for row in diffs(fleet):
        assert [c["path"] for c in (row.diff or {"changes": []})["changes"]] in ([], ["parameters.text"])


def test_a_row_whose_workflow_is_on_neither_side_goes_and_only_changes_are_events(stages: FleetUnderTest) -> None:
    there, here = promoted(stages, workflow("A"))
    assert statuses(stages) == {"A": "unchanged"}
    events = len(stages.events("reconciliation.changed"))
    assert stages["prod"].reconcile().changed == 0
    assert len(stages.events("reconciliation.changed")) == events
    stages["staging"].delete_in_n8n(there[0])
    stages["prod"].delete_in_n8n(here[0])
    assert statuses(stages) == {}
    assert len(stages.events("reconciliation.gone")) == 1


def test_a_stage_that_is_declared_no_more_leaves_no_rows(stages: FleetUnderTest) -> None:
    promoted(stages, workflow("A"))
    assert statuses(stages) == {"A": "unchanged"}
    stages.tenant["pipelines"] = []
    stages.apply(prune=True)
    result = stages["prod"].reconcile()
    assert (result.stages, result.changed, diffs(stages)) == ({}, 1, [])


def test_both_sides_are_hashed_anew_after_a_change_of_the_credential_table(stages: FleetUnderTest) -> None:
    promoted(stages, with_credential("A", "same-name"))
    stages.tenant["credentials"] = [{"key": "k", "type": "httpBasicAuth", "environments": {
        "staging": {"name": "same-name"}, "prod": {"name": "same-name"}}}]
    stages.apply()
    stages["prod"].reconcile()
    assert [row.status for row in diffs(stages)] == ["unchanged"]
    assert {row.normalizer_version for slug in ("staging", "prod") for row in stages[slug].mappings().values()} != {0}


def test_an_environment_without_stages_into_it_has_nothing_to_reconcile(stages: FleetUnderTest) -> None:
    assert stages["staging"].reconcile().stages == {}


def test_diffs_are_stored_with_secrets_masked(stages: FleetUnderTest) -> None:
    there, _ = promoted(stages, workflow("A"))
    stages["staging"].edit_in_n8n(there[0], node=("Say", {"text": "x", "password": "correct horse battery staple"}))
    statuses(stages)
    assert "correct horse" not in json.dumps(diffs(stages)[0].diff)


# -- the matrix --------------------------------------------------------------------------------------------------------


def matrix(fleet: FleetUnderTest) -> dict[str, dict[str, dict[str, Any]]]:
    return {row.name: row.environments for row in workflow_matrix(fleet.services, fleet.context)}


def test_the_matrix_shows_each_workflow_in_each_environment(stages: FleetUnderTest) -> None:
    _, here = promoted(stages, workflow("Both"), workflow("Gone"))
    stages["staging"].create_in_n8n(workflow("Loose"))
    stages["prod"].edit_in_n8n(here[0])
    stages["prod"].delete_in_n8n(here[1])
    for slug in ("staging", "prod"):
        stages[slug].check()
    shown = matrix(stages)
    assert list(shown) == ["Both", "Gone", "Loose"]
    assert {slug: (cell["status"], cell["drift"]) for slug, cell in shown["Both"].items()} == {
        "staging": ("linked", None), "prod": ("linked", "modified")}
    assert shown["Both"]["prod"]["hash"] == stages["prod"].mapping(here[0]).live_hash
    assert shown["Both"]["prod"]["path"] == "prod/both.json"
    assert (shown["Gone"]["prod"]["status"], shown["Gone"]["prod"]["drift"]) == ("missing", "missing_in_runtime")
    assert shown["Loose"] == {"staging": shown["Loose"]["staging"]}
    assert (shown["Loose"]["staging"]["status"], shown["Loose"]["staging"]["drift"]) == ("untracked", "added_in_runtime")


def test_a_workflow_that_is_only_in_git_is_in_the_matrix(stages: FleetUnderTest) -> None:
    stages["prod"].push_workflow("a.json", workflow("A"))
    stages["prod"].check()
    cell = matrix(stages)["A"]["prod"]
    assert (cell["status"], cell["drift"], cell["path"]) == ("git_only", "missing_in_runtime", "prod/a.json")
