"""A fleet from its declaration to a drift that comes and goes, by the command line alone (§2.6, §6–9).

The commands run once, in the order of the story; each test looks at what one of them said.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from wfops_pipelines_tests.cli.fleet import Done, Fleet, workflow

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("cli-story")]


@dataclass
class Story:
    """What each command of the story did."""

    plan: Done
    applied: Done
    applied_again: Done
    first_sync: Done
    export_shown: Done
    exported: Done
    exported_again: Done
    synced: Done
    synced_text: Done
    in_sync: Done
    modified: Done
    modified_text: Done
    reverted: Done
    added_and_missing: Done


@pytest.fixture(scope="module")
def story(fleet: Fleet) -> Story:
    wfops = fleet.wfops
    document = str(fleet.document)
    plan, applied = wfops("apply", "-f", document, "--dry-run"), wfops("apply", "-f", document)
    applied_again = wfops("apply", "-f", document, "--json")
    first_sync = wfops("sync", "acme", "--json")
    export_shown = wfops("export", "acme", "prod", "--dry-run")
    exported, exported_again = wfops("export", "acme", "prod", "--json"), wfops("export", "acme", "prod", "--json")
    for environment in ("dev", "staging"):
        assert wfops("export", "acme", environment).code == 0
    synced, synced_text = wfops("sync", "acme", "--json"), wfops("sync", "acme", "prod")
    in_sync = wfops("drift", "acme", "--json")
    fleet.edit("prod", "Orders", node=("Call", {"url": "https://elsewhere.example"}))
    fleet.edit("prod", "Reports", node=("Call", {"url": "https://draft.example"}), publish=False)
    modified, modified_text = wfops("drift", "acme", "--json"), wfops("drift", "acme", "prod")
    fleet.edit("prod", "Orders", node=("Call", {"url": "https://example.com"}))
    reverted = wfops("drift", "acme", "prod", "--json")
    fleet.delete("prod", "Invoices")
    fleet.sandboxes["prod"].state.seed_workflows([workflow("Intruder")])
    return Story(plan, applied, applied_again, first_sync, export_shown, exported, exported_again, synced, synced_text,
                 in_sync, modified, modified_text, reverted, wfops("drift", "acme", "prod", "--json"))


def test_everything_said_is_the_result(story: Story) -> None:
    """Dagster, Alembic and the libraries log nothing on the screen."""
    assert {name: done.err for name, done in vars(story).items() if not done.quiet} == {}


class TestApply:
    def test_a_dry_run_prints_the_plan_and_applies_nothing(self, story: Story) -> None:
        assert story.plan.code == 0
        assert "+ tenant acme\n" in story.plan.out and "+ environment acme/prod\n" in story.plan.out
        assert story.applied.out == story.plan.out + "applied 9 changes\n"

    def test_a_second_time_there_is_nothing_to_change(self, story: Story) -> None:
        assert (story.applied_again.code, story.applied_again.json) == (0, {"changes": [], "applied": True})

    def test_no_key_is_shown(self, story: Story, fleet: Fleet) -> None:
        said = "".join(done.out + done.err for done in vars(story).values())
        assert not any(f"key-{slug}" in said for slug in fleet.sandboxes)


class TestSync:
    def test_each_environment_is_counted(self, story: Story) -> None:
        rows = story.first_sync.json
        assert story.first_sync.code == 0
        assert [(r["tenant"], r["environment"]) for r in rows] == [("acme", "dev"), ("acme", "staging"), ("acme", "prod")]
        assert all((r["seen"], r["created"], r["linked"], r["untracked"], r["errors"]) == (3, 3, 0, 3, 0) for r in rows)
        assert all(r["repository"]["reason"] == "branch_missing" for r in rows)
        assert len({r["run_id"] for r in rows}) == 1

    def test_what_was_exported_is_linked(self, story: Story) -> None:
        assert [(r["unchanged"], r["linked"], r["untracked"], r["missing"]) for r in story.synced.json] == [(3, 3, 0, 0)] * 3
        assert story.synced.json[2]["diff"]["stages"] == {"staging": {"unchanged": 3}}

    def test_as_text_it_is_a_table(self, story: Story) -> None:
        header, row = story.synced_text.out.splitlines()[:2]
        assert header.split()[:3] == ["environment", "seen", "created"]
        assert row.split()[:6] == ["acme/prod", "3", "0", "0", "3", "3"]
        assert "from staging: 3 unchanged" in story.synced_text.out


class TestExport:
    def test_a_dry_run_shows_the_files_and_writes_none(self, story: Story) -> None:
        assert story.export_shown.code == 0
        assert "A prod/workflows/orders.json  Orders" in story.export_shown.out
        assert "would write 3 files" in story.export_shown.out

    def test_it_makes_one_commit(self, story: Story, fleet: Fleet) -> None:
        result = story.exported.json
        assert fleet.repository.text("cat-file", "-t", result["commit"]) == "commit"
        assert {(file["path"], file["change"]) for file in result["files"]} == {
            (f"prod/workflows/{name}.json", "added") for name in ("orders", "invoices", "reports")}

    def test_a_second_one_makes_none(self, story: Story) -> None:
        assert (story.exported_again.json["commit"], story.exported_again.json["files"]) == (None, [])


class TestDrift:
    def test_without_a_name_dev_is_left_out(self, story: Story) -> None:
        assert story.in_sync.code == 0
        assert [(r["environment"], r["status"]) for r in story.in_sync.json] == [("staging", "IN_SYNC"), ("prod", "IN_SYNC")]

    def test_an_edit_is_named_with_its_diff(self, story: Story, fleet: Fleet) -> None:
        staging, prod = story.modified.json
        assert (story.modified.code, staging["status"], prod["status"]) == (3, "IN_SYNC", "DRIFT_DETECTED")
        found = {w["name"]: w for w in prod["workflows"]}
        assert {name: w["kind"] for name, w in found.items()} == {"Orders": "modified", "Reports": "unpublished_changes"}
        assert found["Orders"]["workflow_id"] == fleet.workflow_id("prod", "Orders")
        assert found["Orders"]["diff"]["changes"] == [{
            "kind": "node_changed", "node": "Call", "path": "parameters.url", "before": "https://example.com",
            "after": "https://elsewhere.example"}]

    def test_as_text_the_diff_is_readable(self, story: Story) -> None:
        assert story.modified_text.code == 3
        assert '~   parameters.url: "https://example.com" → "https://elsewhere.example"' in story.modified_text.out
        assert "\x1b" not in story.modified_text.out

    def test_a_draft_alone_is_no_drift(self, story: Story) -> None:
        row, = story.reverted.json
        assert (story.reverted.code, row["status"]) == (0, "IN_SYNC")
        assert [(w["name"], w["kind"]) for w in row["workflows"]] == [("Reports", "unpublished_changes")]

    def test_what_was_created_and_what_was_deleted_are_drift(self, story: Story) -> None:
        row, = story.added_and_missing.json
        assert story.added_and_missing.code == 3
        assert {w["name"]: w["kind"] for w in row["workflows"]} == {
            "Intruder": "added_in_runtime", "Invoices": "missing_in_runtime", "Reports": "unpublished_changes"}


@pytest.mark.usefixtures("story")
class TestReading:
    def test_tenants_and_environments_are_listed_with_their_drift(self, fleet: Fleet) -> None:
        tenant, = fleet.wfops("tenants", "--json").json
        assert (tenant["tenant"], [e["environment"] for e in tenant["environments"]]) == ("acme", ["dev", "staging", "prod"])
        assert "DRIFT_DETECTED" in fleet.wfops("environments", "acme").out

    def test_the_matrix_has_a_row_per_workflow(self, fleet: Fleet) -> None:
        rows = {row["name"]: row for row in fleet.wfops("matrix", "acme", "--json").json}
        assert set(rows) == {"Orders", "Invoices", "Reports", "Intruder"}
        assert rows["Intruder"]["canonical_id"] is None
        assert rows["Invoices"]["environments"]["prod"]["status"] == "missing"
        assert rows["Orders"]["environments"]["prod"].keys() >= {"status", "hash", "drift"}

    def test_the_matrix_is_shown_by_pages_too(self, fleet: Fleet) -> None:
        whole = {row["name"]: row for row in fleet.wfops("matrix", "acme", "--json").json}
        first = fleet.wfops("matrix", "acme", "--limit", "3", "--json").json
        assert [row["name"] for row in first["rows"]] == ["Intruder", "Invoices", "Orders"]
        last = fleet.wfops("matrix", "acme", "--limit", "3", "--after", first["next_cursor"], "--json").json
        assert last == {"rows": [whole["Reports"]], "next_cursor": None}
        assert all(row == whole[row["name"]] for row in first["rows"])
        shown = fleet.wfops("matrix", "acme", "--limit", "3")
        assert "Reports" not in shown.out
        assert f"more: wfops matrix acme --limit 3 --after {first['next_cursor']}" in shown.err
        assert fleet.wfops("matrix", "acme", "--after", "nowhere").code == 2

    def test_an_operation_tells_its_steps_and_events(self, story: Story, fleet: Fleet) -> None:
        operation_id = story.modified.json[1]["operation_id"]
        listed = fleet.wfops("operation", "list", "acme", "-e", "prod", "--limit", "100", "--json").json
        assert operation_id in {row["operation_id"] for row in listed}
        shown = fleet.wfops("operation", "show", "acme", operation_id, "--json").json
        assert [step["name"] for step in shown["steps"]] == ["repository", "environment", "comparison"]
        assert "drift.changed" in {event["action"] for event in shown["events"]}
        assert shown["run_id"] == story.modified.json[1]["run_id"]

    def test_the_same_workflow_of_two_environments_is_compared(self, fleet: Fleet) -> None:
        same = fleet.wfops("diff", "acme/staging", "acme/prod", "--workflow", "Orders", "--json")
        assert (same.code, same.json["equal"]) == (0, True)
        gone = fleet.wfops("diff", "acme/prod@git", "acme/prod", "-w", "Invoices", "--json")
        assert (gone.code, [c["kind"] for c in gone.json["changes"]]) == (3, ["workflow_removed"])
        nowhere = fleet.wfops("diff", "acme/dev", "acme/prod", "-w", "Nothing")
        assert nowhere.code == 2 and "error: neither acme/dev nor acme/prod has a workflow 'Nothing'" in nowhere.err

    def test_the_audit_chain_is_proved_and_anchored(self, fleet: Fleet) -> None:
        anchors = fleet.document.parent / "anchors.json"
        assert fleet.wfops("audit", "anchor", "-o", anchors).code == 0
        proved = fleet.wfops("audit", "verify", "--anchor", anchors, "--json")
        assert proved.code == 0 and proved.json["ok"]
        assert {"tenant": "acme", "anchored": True, "ok": True}.items() <= proved.json["tenants"][0].items()
        newest = fleet.wfops("audit", "list", "acme", "--action", "git.exported", "--json").json
        assert [event["environment"] for event in newest] == ["staging", "dev", "prod"]
        assert newest[0]["actor"].startswith("local:")

    def test_doctor_finds_everything_well(self, fleet: Fleet) -> None:
        done = fleet.wfops("doctor", "--json")
        assert (done.code, [finding for finding in done.json if not finding["ok"]]) == (0, [])
        checks = {finding["check"] for finding in done.json}
        assert checks >= {"settings", "home", "disk", "git", "secret key", "database", "schema", "roles", "secrets", "dagster",
                          "environment acme/prod"}
        assert any(check.startswith("repository acme") for check in checks)


@pytest.mark.usefixtures("story")
@pytest.mark.parametrize("command", ["tenants", "drift acme staging", "export acme staging --dry-run", "incident list"])
def test_a_command_says_the_same_in_a_fresh_interpreter(fleet: Fleet, command: str) -> None:
    assert fleet.wfops.fresh(*command.split()) == fleet.wfops(*command.split())
