"""Promotions from end to end on sandboxes and a real repository (§11)."""

from __future__ import annotations

import psycopg
import pytest

from wfops_pipelines.domain.errors import Blocked, Denied, ForbiddenTransition
from wfops_pipelines.services.mapping_commands import ignore
from wfops_pipelines_tests.services.fleet import NewFleet, calling, run, workflow
from wfops_pipelines_tests.services.promotions import (
    by_name,
    decide,
    dev_to_prod,
    execute,
    held,
    promote,
    promoting_fleet,
    request,
    roll_back,
    told,
)


def test_new_workflows_go_from_dev_to_staging_to_prod_and_git_follows(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(promoting_fleet)
    (called,) = fleet["dev"].create_in_n8n(workflow("Called", text="deep"))
    fleet["dev"].activate_in_n8n(called)
    (caller,) = fleet["dev"].create_in_n8n(calling("Caller", called))
    fleet["dev"].activate_in_n8n(caller)
    first = promote(fleet, "dev", "staging")
    assert first.status == "completed", first
    assert {w["name"]: w["action"] for w in first.workflows} == {"Called": "create", "Caller": "create"}
    assert first.drift_status == "IN_SYNC" and first.commit
    ids = by_name(fleet["staging"])
    record = fleet["staging"].raw(ids["Caller"])
    assert record.active_id is not None
    assert record.draft.node_list[2]["parameters"]["workflowId"]["value"] == ids["Called"]
    second = promote(fleet, "staging", "prod")
    assert second.status == "completed" and second.drift_status == "IN_SYNC"
    assert len(fleet["prod"].files()) == 2
    again = request(fleet, "staging", "prod")
    assert again.status == "unchanged" and again.number is None
    assert fleet.chain_verifies()


def test_a_second_promotion_keeps_ids_and_writes_only_what_changed(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(dev_to_prod)
    one, two = fleet["dev"].create_in_n8n(workflow("One"), workflow("Two"))
    promote(fleet)
    ids = by_name(fleet["prod"])
    fleet["dev"].edit_in_n8n(one, "better")
    done = promote(fleet)
    assert by_name(fleet["prod"]) == ids
    assert [w["name"] for w in done.workflows if w["status"] == "success"] == ["One"]
    assert fleet["prod"].raw(ids["One"]).draft.node_list[1]["parameters"]["text"] == "better"
    assert two


def test_a_rollback_by_hand_restores_everything_and_git(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(dev_to_prod)
    (one,) = fleet["dev"].create_in_n8n(workflow("One"))
    promote(fleet)
    before, files = held(fleet["prod"]), fleet["prod"].files()
    fleet["dev"].edit_in_n8n(one, "worse")
    fleet["dev"].create_in_n8n(workflow("New"))
    done = promote(fleet)
    assert held(fleet["prod"]) != before
    back = roll_back(fleet, done.number or 0)
    assert back.status == "rolled_back" and back.drift_status == "IN_SYNC"
    assert held(fleet["prod"]) == before
    assert fleet["prod"].files() == files
    with pytest.raises(ForbiddenTransition):
        roll_back(fleet, done.number or 0)
    assert promote(fleet).status == "completed"


def test_what_n8n_refuses_is_rolled_back_and_told(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(dev_to_prod)
    one, two = fleet["dev"].create_in_n8n(workflow("One"), workflow("Two"))
    promote(fleet)
    before = held(fleet["prod"])
    fleet["dev"].edit_in_n8n(one, "x")
    fleet["dev"].edit_in_n8n(two, "y")
    target = by_name(fleet["prod"])["Two"]
    asked = request(fleet)
    fleet["prod"].sandbox.faults.add("status", method="PUT", path=f"/workflows/{target}$", status=400)
    with pytest.raises(Exception, match="400"):
        execute(fleet, asked.number)
    fleet["prod"].sandbox.faults.clear()
    assert held(fleet["prod"]) == before
    report = told(fleet, asked.number or 0)
    assert report.status == "rolled_back" and not report.rollback_incomplete
    assert fleet["prod"].check().status == "IN_SYNC"


def test_a_plan_that_changed_after_its_approval_is_refused(new_fleet: NewFleet) -> None:
    fleet = promoting_fleet(new_fleet, ("dev", "prod"), stage={"approvers": 1})
    (one,) = fleet["dev"].create_in_n8n(workflow("One"))
    asked = request(fleet)
    assert asked.status == "pending_approval"
    with pytest.raises(ForbiddenTransition):
        execute(fleet, asked.number)
    with pytest.raises(Denied):
        decide(fleet, asked.number or 0, actor="local:ada")
    assert decide(fleet, asked.number or 0).status == "approved"
    fleet["dev"].edit_in_n8n(one, "slipped in")
    with pytest.raises(Blocked, match="not the one that was approved"):
        execute(fleet, asked.number)
    assert told(fleet, asked.number or 0).status == "blocked"
    assert not fleet["prod"].sandbox.state.workflows


def test_a_hotfix_in_the_target_is_not_overwritten(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(dev_to_prod)
    (one,) = fleet["dev"].create_in_n8n(workflow("One"))
    promote(fleet)
    fleet["prod"].edit_in_n8n(by_name(fleet["prod"])["One"], "hotfix")
    asked = request(fleet)
    assert asked.status == "blocked" and "hotfix" in (asked.reason or "")
    fleet["dev"].edit_in_n8n(one, "other")
    asked = request(fleet)
    assert asked.status == "blocked" and "conflict" in (asked.reason or "")


def test_a_commit_that_git_refuses_leaves_the_promotion_completed_and_is_made_later(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(dev_to_prod)
    one, _ = fleet["dev"].create_in_n8n(workflow("One"), workflow("Two"))
    promote(fleet)
    fleet["dev"].edit_in_n8n(one, "better")
    fleet["dev"].create_in_n8n(workflow("Three"))
    asked = request(fleet)
    hook = fleet.repository.path / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho no; exit 1\n")
    hook.chmod(0o755)
    done = execute(fleet, asked.number)
    assert done.status == "completed" and done.git_status == "failed"
    assert "not in Git yet" in done.notes[0]
    assert done.drift_status == "IN_SYNC"
    assert fleet["prod"].check().status == "IN_SYNC"
    assert request(fleet).status == "unchanged"
    hook.unlink()
    assert fleet["prod"].check().status == "IN_SYNC"
    assert told(fleet, asked.number or 0).git_status == "committed"
    assert len(fleet["prod"].files()) == 3
    fleet["prod"].edit_in_n8n(by_name(fleet["prod"])["Three"], "by hand")
    assert fleet["prod"].check().status == "DRIFT_DETECTED"


def test_what_both_ends_have_already_is_one_workflow_from_the_first_request_on(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(dev_to_prod)
    (one,) = fleet["dev"].create_in_n8n(workflow("One"))
    (same,) = fleet["prod"].create_in_n8n(workflow("One"))
    assert request(fleet).status == "unchanged"
    fleet["dev"].edit_in_n8n(one, "better")
    done = request(fleet)
    assert done.plan["counts"]["create"] == 0 and done.plan["counts"]["update"] == 1
    assert by_name(fleet["prod"]) == {"One": same}


def test_nothing_is_created_beside_a_workflow_of_its_name_that_nobody_linked(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(dev_to_prod)
    fleet["dev"].create_in_n8n(workflow("One", text="theirs"))
    (other,) = fleet["prod"].create_in_n8n(workflow("One", text="ours"))
    asked = request(fleet)
    assert asked.status == "blocked" and "of this name" in (asked.reason or "")
    (problem,) = [each for each in asked.problems if each["kind"] == "namesake"]
    assert f"wfops link acme prod {other} " in problem["fix"]
    run(ignore(fleet.services, fleet.context, "prod", other))
    assert promote(fleet).status == "completed"


def test_production_that_nobody_allowed_blocks_when_it_is_asked_for(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(dev_to_prod)
    fleet.declared("prod")["allow_production"] = False
    fleet.apply()
    fleet["dev"].create_in_n8n(workflow("One"))
    asked = request(fleet)
    assert asked.status == "blocked" and "production environment" in (asked.reason or "")


def test_a_rollback_without_the_journal_is_refused_and_says_what_to_do(new_fleet: NewFleet) -> None:
    fleet = new_fleet.as_left_by(dev_to_prod)
    fleet["dev"].create_in_n8n(workflow("One"))
    done = promote(fleet)
    with psycopg.connect(fleet.urls.owner) as owner:
        owner.execute("DELETE FROM runtime_journal")
    with pytest.raises(Blocked, match="journal is gone") as refused:
        roll_back(fleet, done.number or 0)
    assert refused.value.fix == "restore a snapshot: wfops snapshot list acme prod"
    assert told(fleet, done.number or 0).status == "completed"
