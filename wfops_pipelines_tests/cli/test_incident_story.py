"""A drift incident from found to closed, by the command line alone (§10, §22).

The commands run once, in the order of the story; each test looks at what one of them said.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from wfops_pipelines_tests.cli.fleet import Done, Fleet

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("cli-incidents")]


@dataclass
class Story:
    """What each command of the story did."""

    policy: Done
    policy_shown: Done
    none_yet: Done
    drift: Done
    matrix: Done
    listed: Done
    listed_json: Done
    shown: Done
    shown_json: Done
    too_early: Done
    looked_early: Done
    acknowledged: Done
    acknowledged_again: Done
    asked_to_close: Done
    own_approval: Done
    planned: Done
    not_asked: Done
    drawn: Done
    reverted: Done
    closed_drift: Done
    closed: Done
    promoted: Done
    history: Done
    pages: Done
    ignored: Done
    rules: Done
    after_rule: Done
    removed: Done
    picture: str


@pytest.fixture(scope="module")
def story(fleet: Fleet) -> Story:
    wfops = fleet.wfops
    document = fleet.document.read_text().replace("class: production,", "class: production, allow_production: true,")
    fleet.document.write_text(document)
    assert wfops("apply", "-f", fleet.document).code == 0
    assert wfops("export", "acme", "prod").code == 0
    policy = wfops("policy", "set", "acme", "auto_create_incidents=true", "severity_ttls.medium=10")
    assert wfops("policy", "set", "acme", "-e", "prod", "require_approval_for=close").code == 0
    policy_shown, none_yet = wfops("policy", "show", "acme", "prod"), wfops("incident", "list", "acme")
    for name in ("Orders", "Reports"):
        fleet.edit("prod", name, node=("Call", {"url": f"https://{name.lower()}.example"}))
    drift, matrix = wfops("drift", "acme", "prod"), wfops("matrix", "acme")
    listed, listed_json = wfops("incident", "list"), wfops("incident", "list", "acme", "--json")
    identity = listed_json.json[0]["id"]
    shown, shown_json = wfops("incident", "show", "acme#1"), wfops("incident", "show", identity[:8], "--json")
    too_early = wfops("incident", "reconcile", "acme#1", "--resolution", "revert", "--yes")
    looked_early = wfops("incident", "reconcile", "acme#1", "--resolution", "revert", "--dry-run")
    acknowledged = wfops("incident", "ack", identity, "--reason", "hotfix", "--owner", "ada", "--ticket", "OPS-12")
    acknowledged_again = wfops("incident", "ack", "acme#1", "--json")
    asked_to_close = wfops("incident", "close", "acme#1", "--reason", "fine")
    own_approval = wfops("incident", "approve", "acme#1")
    planned = wfops("incident", "reconcile", "acme#1", "--resolution", "promote", "--dry-run")
    not_asked = wfops("incident", "reconcile", "acme#1", "--resolution", "revert")
    drawn = wfops("incident", "show", "acme#1", "--svg", "drift.svg")
    picture = (wfops.cwd / "drift.svg").read_text() + (wfops.cwd / "drift-2.svg").read_text()
    reverted = wfops("incident", "reconcile", "acme#1", "--resolution", "revert", "--yes", "--json")
    closed_drift, closed = wfops("drift", "acme", "prod"), wfops("incident", "show", "acme#1")
    fleet.edit("prod", "Orders", node=("Call", {"url": "https://wanted.example"}))
    assert wfops("drift", "acme", "prod").code == 3
    assert wfops("incident", "ack", "acme#2").code == 0
    promoted = wfops("incident", "reconcile", "acme#2", "--resolution", "promote", "--yes")
    history, pages = wfops("incident", "history", "acme#2"), wfops("incident", "list", "--all", "--limit", "1")
    fleet.edit("prod", "Reports", node=("Call", {"url": "https://hidden.example"}))
    ignored = wfops("ignore-rule", "add", "acme", "-e", "prod", "-w", "Rep*", "--owner", "ada", "--reason", "known", "--days",
                    "3", "--json")
    after_rule, rules = wfops("drift", "acme", "prod"), wfops("ignore-rule", "list", "acme")
    removed = wfops("ignore-rule", "remove", "acme", ignored.json["id"][:8])
    return Story(policy, policy_shown, none_yet, drift, matrix, listed, listed_json, shown, shown_json, too_early,
                 looked_early, acknowledged, acknowledged_again, asked_to_close, own_approval, planned, not_asked, drawn,
                 reverted, closed_drift, closed, promoted, history, pages, ignored, rules, after_rule, removed, picture)


def test_a_policy_is_set_and_shown_with_who_said_what(story: Story) -> None:
    assert story.policy.code == 0 and "auto_create_incidents: not said → true" in story.policy.out
    assert "severity_ttls.medium                    10 h (tenant)" in story.policy_shown.out
    assert "require_approval_for                    close (environment)" in story.policy_shown.out


def test_drift_and_matrix_name_the_incident(story: Story) -> None:
    assert story.none_yet.out == "no open incidents (--all lists those that ended, too)\n"
    assert story.drift.code == 3 and "incident acme#1 (opened now): wfops incident show acme#1\n" in story.drift.out
    assert "prod: open incident acme#1: wfops incident show acme#1\n" in story.matrix.out


def test_the_list_says_what_how_bad_and_until_when(story: Story) -> None:
    header, row = story.listed.out.splitlines()
    assert header.split() == ["incident", "environment", "status", "severity", "escalation", "found", "ends", "what"]
    assert row.split()[:5] == ["acme#1", "acme/prod", "detected", "medium", "-"] and "in 9 h" in row
    assert row.endswith("2 workflows changed in acme/prod: Orders, Reports")
    (found,) = story.listed_json.json
    assert {"id", "tenant", "environment", "status", "severity", "escalation", "title", "detected_at", "expires_at",
            "workflows"} <= set(found)
    assert [w["name"] for w in found["workflows"]] == ["Orders", "Reports"]


def test_show_tells_what_why_how_far_what_happened_and_what_to_do(story: Story) -> None:
    out = story.shown.out
    order = [out.index(f"\n{title}\n") for title in ("Cause", "Reach", "What drifted", "Timeline", "Next steps")]
    assert order == sorted(order)
    assert '~   parameters.url: "https://example.com" → "https://orders.example"' in out
    assert "answers GET /webhook/orders (Orders)" in out
    assert 'wfops incident ack acme#1 --reason "…"' in out and "(somebody else approves it)" in out
    assert story.shown_json.json["name"] == "acme#1"
    assert {w["now"] for w in story.shown_json.json["workflows"]} == {"same"}


def test_before_it_is_acknowledged_one_may_look_and_not_write(story: Story) -> None:
    assert story.too_early.code == 4 and "detected cannot become reconciled" in story.too_early.err
    assert story.looked_early.code == 0
    assert "acme#1: would write 2 workflows to n8n acme/prod\n" in story.looked_early.out
    assert "acknowledge it first: wfops incident ack acme#1" in story.looked_early.out
    assert '~   parameters.url: "https://orders.example" → "https://example.com"' in story.looked_early.out


def test_it_is_acknowledged_once(story: Story) -> None:
    assert story.acknowledged.out == "acknowledged: acme#1 of acme/prod, detected before, now acknowledged\n"
    assert story.acknowledged_again.code == 4 and '"kind": "forbidden_transition"' in story.acknowledged_again.err


def test_what_needs_an_approval_waits_for_somebody_else(story: Story) -> None:
    assert story.asked_to_close.code == 4
    assert story.asked_to_close.out == ("acme#1: close waits for an approval\n"
                                        "somebody else: wfops incident approve acme#1\n")
    assert story.own_approval.code == 6 and "asked for this step" in story.own_approval.err


def test_a_dry_run_shows_the_files_and_commits_nothing(story: Story) -> None:
    assert story.planned.code == 0
    assert "M prod/workflows/orders.json  Orders\n" in story.planned.out
    assert story.planned.out.endswith("acme#1: would write 2 files to Git\n")


def test_without_yes_the_plan_is_shown_and_nothing_written_where_nobody_can_be_asked(story: Story) -> None:
    assert story.not_asked.code == 2 and story.not_asked.out == ""
    assert "would write 2 workflows" in story.not_asked.err and "--yes" in story.not_asked.err


def test_the_pictures_show_names_and_no_values(story: Story) -> None:
    assert story.picture.count("</svg>") == 2 and "Orders" in story.picture and "orders.example" not in story.picture
    assert "picture: drift-2.svg (Reports)" in story.drawn.err


def test_a_revert_is_read_back_and_the_incident_closes_itself(story: Story, fleet: Fleet) -> None:
    result = story.reverted.json
    assert story.reverted.code == 0
    assert [(w["name"], w["action"], w["state"]) for w in result["writes"]] == [
        ("Orders", "update", "done"), ("Reports", "update", "done")]
    assert (result["status"], result["drift_status"]) == ("closed", "IN_SYNC")
    assert story.closed_drift.code == 0
    assert story.closed.out.startswith("acme#1  closed  medium  (revert)\n")
    assert "closed itself: a check found no drift (revert)" in story.closed.out
    assert "written and read back: update 'Orders'" in story.closed.out


def test_a_promotion_is_a_commit(story: Story, fleet: Fleet) -> None:
    assert story.promoted.code == 0
    assert "the incident is closed" in story.promoted.out
    commit = fleet.repository.head()
    assert f"promote done, commit {commit}, acme/prod is IN_SYNC" in story.promoted.out
    assert f"commit {commit}: 1 file" in story.history.out and "reconciled (promote)" in story.history.out


def test_where_there_are_more_the_next_page_is_told_beside_the_list(story: Story) -> None:
    assert story.pages.out.splitlines()[1].startswith("acme#2")
    assert story.pages.err.startswith("more: wfops incident list --all --limit 1 --cursor ")


def test_a_rule_hides_drift_until_it_is_removed(story: Story) -> None:
    assert story.after_rule.code == 0 and "1 change hidden by ignore rules" in story.after_rule.out
    assert story.rules.out.splitlines()[1].split()[:6] == [story.ignored.json["id"][:8], "prod", "workflow", "Rep*", "1",
                                                          "active"]
    assert story.removed.out == "removed: workflow Rep* is no longer ignored; it hid 1 change in the last check\n"


@pytest.mark.parametrize(("arguments", "code", "said"), [
    (("show", "acme#99"), 2, "tenant acme has no incident #99"), (("show", "deadbeef"), 2, "there is no incident 'deadbeef'"),
    (("show", "12"), 2, "names no incident"), (("ack", "nobody#1"), 2, "there is no tenant 'nobody'"),
    (("stabilize", "acme#1"), 2, "needs a reason"), (("cancel", "acme#1"), 4, "is closed, which is final"),
    (("reconcile", "acme#1", "--resolution", "replace", "--yes"), 2, "--version COMMIT"),
])
def test_what_cannot_be_is_said_with_its_exit_code(story: Story, fleet: Fleet, arguments: tuple[str, ...], code: int,
                                                   said: str) -> None:
    done = fleet.wfops("incident", *arguments)
    assert done.code == code and said in done.err and done.out == ""
