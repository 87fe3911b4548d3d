"""Promotions by the command line alone, from an edit in dev to a rollback in production (§11, §22).

The commands run once, in the order of the story; each test looks at what one of them said.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import pytest

from wfops_pipelines_tests.cli.fleet import Done, Fleet

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("cli-promotions")]


FAIR = "freezeWindows: [{name: fair, from: '2020-01-01T00:00', to: '2099-01-01T00:00'}]"


@dataclass
class Story:
    """What each command of the story did."""

    nothing: Done
    planned: Done
    not_asked: Done
    declined: Done
    promoted: Done
    again: Done
    frozen: Done
    frozen_shown: Done
    not_asked_again: Done
    approved: Done
    declined_again: Done
    refused: Done
    to_prod: Done
    hotfix: Done
    hotfix_json: Done
    broken: Done
    broken_json: Done
    stopped: Done
    waits: Done
    waits_shown: Done
    own_approval: Done
    cancelled: Done
    cancelled_again: Done
    rejected_late: Done
    listed: Done
    listed_json: Done
    shown: Done
    shown_json: Done
    drawn: Done
    watched: Done
    rollback_planned: Done
    rollback_stopped: Done
    rolled_back: Done
    rolled_back_again: Done
    recovered: Done
    unknown: Done


def url(fleet: Fleet, environment: str, name: str) -> str:
    """What the second node of a workflow calls there."""
    record = fleet.sandboxes[environment].state.workflows[fleet.workflow_id(environment, name)]
    return str(record.draft.node_list[1]["parameters"]["url"])


def interrupted(fleet: Fleet, *arguments: str) -> Done:
    """The command, and Ctrl-C when it has written its one workflow to staging, and looks at what n8n made of it."""
    fault = fleet.sandboxes["staging"].faults.add("latency", method="GET", path=r"/workflows/[^/?]+$", ms=60_000, after=1,
                                                  times=1)
    try:
        return fleet.wfops.interrupted(*arguments, when=lambda: fault.hits > 0)
    finally:
        fleet.sandboxes["staging"].faults.clear()


def redeclare(fleet: Fleet, *changes: tuple[str, str]) -> None:
    """Change fleet.yaml, and apply it."""
    text = fleet.document.read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    fleet.document.write_text(text)
    assert fleet.wfops("apply", "-f", fleet.document).code == 0


@pytest.fixture(scope="module")
def story(fleet: Fleet) -> Story:
    wfops = fleet.wfops
    assert wfops("apply", "-f", fleet.document).code == 0
    for environment in ("dev", "staging", "prod"):
        assert wfops("export", "acme", environment).code == 0
    assert wfops("sync", "acme").code == 0
    way = ("promote", "acme", "--from", "dev", "--to", "staging")
    nothing = wfops(*way)
    fleet.edit("dev", "Orders", node=("Call", {"url": "https://better.example"}))
    planned, not_asked, declined = wfops(*way, "--dry-run"), wfops(*way), wfops.at_a_terminal(*way, answers=["n"])
    promoted = wfops.at_a_terminal(
        *way, "--workflow", "Orders", "--reason", "OPS-12", answers=["y"])
    assert url(fleet, "staging", "Orders") == "https://better.example"
    again = wfops(*way, "--yes", "--json")
    on = ("promote", "acme", "--from", "staging", "--to", "prod")
    refused = wfops(*on, "--dry-run")
    redeclare(fleet, ("class: production,", "class: production, allow_production: true,"),
              ("target: prod}", f"target: prod, {FAIR}}}"))
    frozen, frozen_shown = wfops(*on, "--yes"), wfops("promotion", "show", "acme/p2")
    redeclare(fleet, (f", {FAIR}", ""))
    execute = ("promotion", "execute", "acme/p2")
    not_asked_again, approved, declined_again = (
        wfops(*execute), wfops(*execute, "--dry-run"), wfops.at_a_terminal(*execute, answers=["n"]))
    assert url(fleet, "prod", "Orders") == "https://example.com"
    to_prod = wfops(*execute, "--yes", "--json")
    assert url(fleet, "prod", "Orders") == "https://better.example"
    fleet.edit("prod", "Reports", node=("Call", {"url": "https://hotfix.example"}))
    fleet.edit("dev", "Reports", node=("Call", {"url": "https://wanted.example"}))
    assert wfops(*way, "--yes").code == 0
    hotfix, hotfix_json = wfops(*on), wfops(*on, "--yes", "--json")
    assert url(fleet, "prod", "Reports") == "https://hotfix.example"
    fleet.edit("dev", "Invoices", node=("Call", {"url": "https://third.example"}))
    fleet.sandboxes["staging"].faults.add("status", method="PUT", status=400)
    broken = wfops(*way, "--yes")
    fleet.sandboxes["staging"].faults.clear()
    broken_json = wfops("promotion", "show", "acme/p5", "--json")
    stopped = interrupted(fleet, *way, "--yes")
    assert url(fleet, "staging", "Invoices") == "https://example.com"
    redeclare(fleet, ("target: staging}", "target: staging, approvers: 1}"))
    waits = wfops(*way, "--yes")
    waits_shown, own_approval = wfops("promotion", "show", "acme/p7"), wfops("approve", "acme/p7")
    cancelled, cancelled_again = wfops("cancel", "acme/p7", "--reason", "not now"), wfops("cancel", "acme/p7")
    rejected_late = wfops("reject", "acme/p1", "--reason", "no")
    listed, listed_json = wfops("promotion", "list", "acme"), wfops("promotion", "list", "acme", "--to", "prod", "--limit", "1",
                                                                  "--json")
    shown, shown_json = wfops("promotion", "show", "acme/p2"), wfops(
        "promotion", "show", to_prod.json["promotion_id"][:8], "--json")
    drawn = wfops("promotion", "show", "acme/p2", "--svg", "-")
    watched = wfops("promotion", "watch", "acme/p1")
    rollback = ("rollback", "acme/p3", "--reason", "orders are doubled")
    rollback_planned, rollback_stopped, rolled_back, rolled_back_again = (
        wfops(*rollback, "--dry-run"), interrupted(fleet, *rollback, "--yes"), wfops(*rollback, "--yes"),
        wfops(*rollback, "--yes"))
    assert url(fleet, "staging", "Reports") == "https://example.com"
    recovered, unknown = wfops("promotion", "recover", "acme", "staging"), wfops("promotion", "show", "acme/p99")
    said = locals()
    return Story(**{each.name: said[each.name] for each in fields(Story)})


def test_nothing_to_write_is_said_and_begins_nothing(story: Story) -> None:
    assert story.nothing.code == 0 and "staging holds already what would be promoted: nothing is written\n" in story.nothing.out
    assert story.again.code == 0 and story.again.json["status"] == "unchanged" and story.again.json["promotion_id"] is None


def test_a_dry_run_shows_the_plan_with_diffs_and_every_gate(story: Story) -> None:
    assert story.planned.code == 0 and story.planned.quiet
    assert "~ 1. update Orders" in story.planned.out
    assert '~   parameters.url: "https://example.com" → "https://better.example"' in story.planned.out
    assert "✓ drift clean" in story.planned.out and "not asked for: " in story.planned.out
    assert story.planned.out.endswith("dev → staging could be carried out now\n")


def test_without_a_terminal_somebody_has_to_say_yes(story: Story) -> None:
    assert story.not_asked.code == 2 and "--yes" in story.not_asked.err


def test_a_no_at_the_question_begins_nothing(story: Story) -> None:
    assert story.declined.code == 7 and "Write this to n8n acme/staging? [y/N]" in story.declined.err
    assert "~ 1. update Orders" in story.declined.err and story.declined.out == ""


def test_what_was_promoted_is_told_with_its_commit_and_the_way_back(story: Story) -> None:
    out = story.promoted.out
    assert story.promoted.code == 0 and "✓ update Orders (" in out
    assert "acme/p1 acme/dev → acme/staging: completed, commit " in out and "acme/staging is IN_SYNC\n" in out
    assert "wfops rollback acme/p1 --reason … takes it back" in out


def test_production_is_not_written_until_it_is_allowed(story: Story) -> None:
    assert story.refused.code == 4 and "allow_production" in story.refused.out
    assert story.to_prod.code == 0 and story.to_prod.json["status"] == "completed"
    assert {"promotion_id", "status", "plan", "gates", "workflows"} <= set(story.to_prod.json)
    assert {"checksum", "changes"} <= set(story.to_prod.json["plan"])


def test_a_hotfix_in_the_target_blocks_with_every_reason(story: Story) -> None:
    assert story.hotfix.code == 4 and "✗ conflict" in story.hotfix.out and "Reports" in story.hotfix.out
    assert story.hotfix_json.code == 4 and story.hotfix_json.json["status"] == "blocked"
    assert any(gate["outcome"] == "blocked" for gate in story.hotfix_json.json["gates"]["gates"])


def test_what_n8n_refuses_is_told_with_what_became_of_each_workflow(story: Story) -> None:
    assert story.broken.code == 1 and "- update Invoices" in story.broken.out and "acme/p5 " in story.broken.out
    assert "400" in story.broken.err
    assert story.broken_json.json["status"] == "failed" and not story.broken_json.json["rollback_incomplete"]


def test_what_waits_for_approval_says_how_it_goes_on(story: Story) -> None:
    assert story.waits.code == 4
    assert "acme/p7 waits for 1 approval of somebody else: wfops approve acme/p7 --plan " in story.waits.out
    assert "pending_approval" in story.waits_shown.out and "approvals: 0 of 1 are there\n" in story.waits_shown.out
    assert "somebody else approves it: wfops approve acme/p7 --plan " in story.waits_shown.out
    assert story.own_approval.code == 6
    assert story.cancelled.code == 0 and story.cancelled.out == "acme/p7 (dev → staging) is cancelled\n"
    assert story.cancelled_again.code == 4 and "acme/p7 is cancelled already (since 20" in story.cancelled_again.err
    assert "UTC: not now)" in story.cancelled_again.err
    assert story.rejected_late.code == 4 and "acme/p1 is completed (since 20" in story.rejected_late.err


def test_the_list_says_from_where_to_where_and_how_it_ended(story: Story) -> None:
    header, *rows = story.listed.out.splitlines()
    assert header.split() == ["promotion", "from", "to", "status", "asked", "by", "git", "reason"]
    assert [row.split()[:4] for row in rows] == [
        ["acme/p7", "dev", "staging", "cancelled"], ["acme/p6", "dev", "staging", "rolled_back"], ["acme/p5", "dev", "staging", "failed"],
        ["acme/p4", "staging", "prod", "blocked"],
        ["acme/p3", "dev", "staging", "completed"], ["acme/p2", "staging", "prod", "completed"],
        ["acme/p1", "dev", "staging", "completed"]]
    assert [row["name"] for row in story.listed_json.json] == ["acme/p4"]
    assert "more: wfops promotion list acme --to prod --limit 1 --before acme/p4\n" in story.listed_json.err


def test_show_tells_plan_gates_results_and_the_story_with_hashes(story: Story) -> None:
    out = story.shown.out
    order = [out.index(text) for text in ("acme/p2  staging → prod  completed", "1. update Orders", "gates as they stood ", "Results\n",
                                          "Timeline\n")]
    assert order == sorted(order)
    events = story.shown_json.json["timeline"]
    assert [event["action"] for event in events if event["action"].startswith("promotion.")] == [
        "promotion.requested", "promotion.approved", "promotion.running", "promotion.completed", "promotion.git_committed"]
    (written,) = [event for event in events if event["action"] == "runtime.done"]
    assert written["before_hash"] and written["after_hash"] and written["before_hash"] != written["after_hash"]
    assert story.shown_json.json["run_id"] in {event["run_id"] for event in events}
    assert story.shown_json.json["run_id"] in out[order[-1]:]


def test_its_plan_can_be_drawn_and_its_end_watched(story: Story) -> None:
    assert story.drawn.code == 0 and story.drawn.out.startswith("<svg") and "Orders" in story.drawn.out
    assert story.watched.code == 0 and "acme/p1 completed" in story.watched.err


def test_a_rollback_is_shown_then_done_once(story: Story) -> None:
    assert story.rollback_planned.code == 0 and "would write 1 workflow to n8n acme/staging" in story.rollback_planned.out
    assert story.rolled_back.code == 0 and "acme/staging: rolled back, commit " in story.rolled_back.out
    assert story.rolled_back_again.code == 4 and "acme/p3 is rolled back already" in story.rolled_back_again.err
    assert "orders are doubled)" in story.rolled_back_again.err


def test_ctrl_c_says_what_was_under_way_what_became_of_it_and_how_to_look(story: Story) -> None:
    assert [(each.code, each.out) for each in (story.stopped, story.rollback_stopped)] == [(7, "")] * 2
    assert story.stopped.err.startswith("error: interrupted while promoting dev → staging of acme: all that it had written to "
                                        "n8n acme/staging was taken back, and acme/p6 is rolled back\n")
    assert "look: wfops promotion show acme/p6, wfops operation show acme " in story.stopped.err
    assert story.rollback_stopped.err.startswith(
        "error: interrupted while rolling back acme/p3: nothing of it is left in n8n acme/staging, and acme/p3 is completed")
    assert "look: wfops promotion show acme/p3, wfops operation show acme " in story.rollback_stopped.err


def test_what_a_freeze_window_holds_says_what_it_waits_for_now(story: Story) -> None:
    assert story.frozen.code == 4 and "acme/p2 is approved and waits: denied by 'fair' (UTC)" in story.frozen.out
    assert "gates as they stood 20" in story.frozen_shown.out
    assert "denied by 'fair' (UTC); opens at 2099-01-01 00:00 UTC\n" in story.frozen_shown.out
    assert "waits since 20" in story.frozen_shown.out


def test_what_was_approved_is_asked_for_again_where_it_writes_to_production(story: Story) -> None:
    assert story.not_asked_again.code == 2 and "--yes" in story.not_asked_again.err
    assert "~ 1. update Orders" in story.not_asked_again.err
    assert story.approved.code == 0 and "~ 1. update Orders" in story.approved.out
    assert "nothing holds it now\n" in story.approved.out
    assert story.declined_again.code == 7 and "Write this to n8n acme/prod? [y/N]" in story.declined_again.err


def test_a_quiet_environment_has_nothing_left_and_an_unknown_promotion_is_named(story: Story) -> None:
    assert story.recovered.code == 0 and "acme/staging: nothing is left; it is IN_SYNC\n" in story.recovered.out
    assert story.unknown.code == 2 and "no promotion p99" in story.unknown.err
