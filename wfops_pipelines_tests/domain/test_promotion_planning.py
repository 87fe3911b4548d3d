"""Plans (§11.3): what is done to each workflow, in which order, and what is said about it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from wfops_pipelines.domain.errors import UnknownWorkflow
from wfops_pipelines.domain.lift import hash_portable, lift
from wfops_pipelines.domain.promotion_plan import BothSides, MissingReference, Plan, PortableWorkflow
from wfops_pipelines.domain.reach import EnvironmentWorkflow
from wfops_pipelines.domain.transform_tables import CredentialRow, EnvironmentTables
from wfops_pipelines.domain.transform_terms import workflow_term
from wfops_pipelines_tests.domain.plan_example import (
    EXECUTE,
    SUB,
    actions,
    change_of,
    changed,
    content,
    extra,
    held,
    new,
    planned,
    same,
)

# -- what is done ----------------------------------------------------------------------------------------------------------

def test_new_changed_unchanged_and_what_the_target_alone_has_are_told_apart() -> None:
    plan = planned(new("a"), changed("b"), same("c"), extra("d"))
    assert actions(plan) == {"a": "create", "b": "update", "c": "unchanged", "d": "keep"}
    assert {change.key: str(change.status) for change in plan.changes} == {
        "a": "added", "b": "modified", "c": "unchanged", "d": "target_only"}
    assert plan.counts() == {"create": 1, "update": 1, "archive": 0, "delete": 0, "unchanged": 1, "keep": 1}


def test_before_and_after_are_portable_hashes() -> None:
    plan = planned(new("a"), changed("b"), extra("d"), prune=True)
    created, updated, removed = (change_of(plan, key) for key in "abd")
    assert created.before is None
    assert created.after is not None
    assert created.after.portable_hash == hash_portable(content("A"))
    assert updated.before is not None
    assert updated.after is not None
    assert (updated.before.portable_hash, updated.after.portable_hash) == (
        hash_portable(content("B")), hash_portable(content("B", value=2)))
    assert removed.after is not None
    assert removed.after.archived
    assert [change.kind for change in updated.diff.changes] == ["node_changed"]


def test_hotfixes_and_conflicts_are_updates_that_overwrite() -> None:
    base = content("A")
    hotfix = BothSides("a", held(base), held(content("A", value=9)), base_hash=hash_portable(base))
    conflict = BothSides("b", held(content("B", value=2)), held(content("B", value=3)), base_hash=hash_portable(base))
    git_went_on = replace(hotfix, key="c", seen_in_sync=True)
    plan = planned(hotfix, conflict, git_went_on, changed("d"))
    assert {change.key: (str(change.status), change.overwrites) for change in plan.changes} == {
        "a": ("target_hotfix", True), "b": ("conflict", True), "c": ("modified", False), "d": ("modified", False)}
    assert set(actions(plan).values()) == {"update"}


@pytest.mark.parametrize(("generation", "action"), [(1, "delete"), (2, "archive")])
def test_nothing_is_removed_without_prune(generation: int, action: str) -> None:
    assert actions(planned(extra("a"), generation=generation)) == {"a": "keep"}
    assert actions(planned(extra("a"), generation=generation, prune=True)) == {"a": action}


def test_an_archived_source_is_as_good_as_absent() -> None:
    sides = BothSides("a", held(content("A"), archived=True), held(content("A")))
    assert actions(planned(sides)) == {"a": "keep"}
    assert planned(BothSides("a", held(content("A"), archived=True), None)).changes == ()


def test_an_archived_target_comes_back_under_its_own_id() -> None:
    archived = held(content("A"), archived=True, active=False, workflow_id="id-a")
    change = change_of(planned(BothSides("a", held(content("A")), archived)), "a")
    assert (change.action, change.workflow_id, change.content) == ("update", "id-a", None)  # its content is right already
    assert change.after is not None
    assert change.after.active
    assert not change.after.archived
    assert "archive" in change.notes[0]
    other = change_of(planned(BothSides("a", held(content("A", value=2)), archived)), "a")
    assert other.content is not None
    assert not other.diff.equal


def test_an_update_leaves_what_runs_running_and_what_is_off_off_unless_told() -> None:
    off = replace(changed("a"), target=held(content("A"), active=False))
    after = change_of(planned(off), "a").after
    assert after is not None
    assert not after.active
    after = change_of(planned(replace(off, wants_active=True)), "a").after
    assert after is not None
    assert after.active


def test_a_new_workflow_runs_when_its_source_does_unless_told() -> None:
    def runs(**more: Any) -> bool:
        change = change_of(planned(BothSides("a", held(content("A"), active=more.pop("active", True)), None, **more)), "a")
        return change.after is not None and change.after.active

    assert runs()
    assert not runs(active=False)
    assert not runs(wants_active=False)


def test_activation_and_tags_alone_are_an_update_without_content() -> None:
    for wish in ({"wants_active": False}, {"wants_tags": ("billing",)}):
        change = change_of(planned(replace(same("a"), **wish)), "a")
        assert (change.action, change.content, change.digest, change.diff.equal) == ("update", None, None, True)
    tagged = BothSides("a", held(content("A")), held(content("A"), tags=("b", "a")), wants_tags=("a", "b"))
    assert actions(planned(tagged)) == {"a": "unchanged"}


def test_a_second_promotion_of_the_same_writes_nothing() -> None:
    plan = planned(same("a", calls=("b",)), same("b"), extra("c"))
    assert plan.is_empty
    assert plan.writes == ()
    assert (plan.missing, plan.credentials, plan.cycles) == ((), (), ())


def test_drafts_on_either_side_are_reported() -> None:
    sides = changed("a")
    assert sides.source is not None
    assert sides.target is not None
    drafts = replace(sides, source=replace(sides.source, has_draft=True), target=replace(sides.target, has_draft=True))
    notes = change_of(planned(drafts), "a").notes
    assert "not promoted" in notes[0]
    assert "lost" in notes[1]


# -- what is chosen --------------------------------------------------------------------------------------------------------

def test_chosen_workflows_bring_along_what_they_need_and_nothing_else() -> None:
    plan = planned(new("a", calls=("b",)), new("b", calls=("c",)), changed("c"), new("d"), extra("e"), chosen=["a"])
    assert actions(plan) == {"c": "update", "b": "create", "a": "create"}
    assert [change.needed_by for change in plan.changes] == [("a",), ("a",), ()]


def test_without_what_they_need_the_missing_ones_are_reported() -> None:
    plan = planned(new("a", calls=("b", "c", "unknown")), new("b"), changed("c"), chosen=["a"], with_needs=False)
    assert actions(plan) == {"a": "create"}
    assert plan.missing == (MissingReference("a", "b", True, in_source=True, name="B"),
                            MissingReference("a", "unknown", True, in_source=False))


def test_what_only_the_target_has_is_only_pruned_when_chosen() -> None:
    sides = (new("a"), extra("b"), extra("c"))
    assert actions(planned(*sides, chosen=["a", "b"], prune=True)) == {"a": "create", "b": "archive"}


def test_a_chosen_workflow_that_nobody_has_is_refused() -> None:
    with pytest.raises(UnknownWorkflow, match="nothing-of-it"):
        planned(new("a"), chosen=["nothing-of-it"])


# -- how they hang together ------------------------------------------------------------------------------------------------

def test_sub_workflows_come_before_callers_and_removals_last_with_callers_first() -> None:
    plan = planned(new("a", calls=("b",)), new("b"), extra("c", calls=("d",)), extra("d"), same("e"), prune=True)
    assert list(actions(plan)) == ["b", "a", "c", "d", "e"]


def test_a_cycle_of_new_workflows_is_named_and_its_first_one_is_written_without_the_call() -> None:
    plan = planned(new("a", calls=("b",)), new("b", calls=("a",)))
    assert plan.cycles == (("b", "a"),)
    assert {change.key: change.late for change in plan.changes} == {"b": ("a",), "a": ()}
    assert not planned(changed("a", calls=("b",)), changed("b", calls=("a",))).cycles  # both are there: nothing is open


def test_a_new_workflow_that_calls_itself_learns_its_id_late() -> None:
    assert change_of(planned(new("a", calls=("self",))), "a").late == ("a",)
    assert change_of(planned(changed("a", calls=("self",))), "a").late == ()


def test_allowed_callers_do_not_turn_the_order_and_are_late() -> None:
    plan = planned(new("sub", callerIds="top"), new("top", calls=("sub",)))
    assert list(actions(plan)) == ["sub", "top"]
    assert change_of(plan, "sub").late == ("top",)
    lonely = planned(new("sub", callerIds="gone"))
    assert lonely.missing == (MissingReference("sub", "gone", needed=False, in_source=False),)


def test_a_sub_workflow_that_the_target_has_is_not_missing_managed_or_not() -> None:
    other = EnvironmentWorkflow("by-hand", "By hand", True, content("By hand"))
    plan = planned(new("a", calls=("b", "by-hand")), extra("b"), unmanaged=[other])
    assert plan.missing == ()
    assert plan.target_holds == 2


def test_a_sub_workflow_that_the_same_plan_removes_is_missing() -> None:
    plan = planned(changed("a", calls=("b",)), extra("b"), prune=True)
    assert [missing.reference for missing in plan.missing] == ["b"]
    assert "still called by A" in change_of(plan, "b").notes


def test_the_reach_is_that_of_the_target_as_it_will_be() -> None:
    hook = {"name": "Hook", "type": "n8n-nodes-base.webhook", "typeVersion": 1, "webhookId": "w1",
            "parameters": {"path": "orders"}}
    sides = changed("a")
    assert sides.source is not None
    serving = replace(sides, source=held({**sides.source.content, "nodes": [*sides.source.content["nodes"], hook]}))
    stranger = EnvironmentWorkflow("x", "Stranger", True, content("Stranger", calls=("a",)))
    plan = planned(serving, same("caller", calls=("a",)), unmanaged=[stranger])
    assert [caller.workflow.name for caller in plan.reach.callers] == ["CALLER", "Stranger"]
    assert [served.entry.path for served in plan.reach.entry_points] == ["/webhook/orders"]


def test_credentials_of_what_is_written_are_listed_once() -> None:
    def using(key: str, sides: BothSides) -> BothSides:
        node = {"name": "Pay", "type": "x.pay", "typeVersion": 1, "parameters": {},
                "credentials": {"httpBasicAuth": {"name": "key:stripe"}}}
        assert sides.source is not None
        return replace(sides, source=held({**sides.source.content, "nodes": [node]}))

    plan = planned(using("a", new("a")), using("b", changed("b")), same("c"))
    assert [(used.type, used.name, used.used_by) for used in plan.credentials] == [
        ("httpBasicAuth", "key:stripe", ("a", "b"))]


def test_the_plan_as_json_shows_no_secret_and_no_content() -> None:
    plan = planned(changed("a", value={"password": "hunter2-is-secret"}), new("b"), transformations=[{"token": "sk-12345"}])
    shown = json.dumps(plan.as_json())
    assert "hunter2" not in shown
    assert "sk-12345" not in shown
    assert json.loads(shown)["checksum"] == plan.checksum
    assert [change["action"] for change in json.loads(shown)["changes"]] == ["update", "create"]


def test_the_key_of_a_transformation_is_shown_and_what_looks_like_a_secret_is_not() -> None:
    key = "f0a1b2c3-0000-4000-8000-aabbccddeeff"
    secret = "ghp_" + "aB3dE5fG7hI9jK1lM2nO4pQ6rS8tU0vW2xYz"
    (shown,) = planned(changed("a"), transformations=[{
        "key": key, "node": "Get", "path": "parameters.url", "kind": "base_url", "from": "https://x", "to": secret,
        "password": "hunter2"}]).as_json()["transformations"]
    assert (shown["key"], shown["from"], shown["node"]) == (key, "https://x", "Get")
    assert secret not in str(shown) and "hunter2" not in str(shown)


def test_what_was_lifted_from_two_environments_is_compared_by_what_it_means() -> None:
    dev = EnvironmentTables("dev", workflow_ids={"sub": "d1", "top": "d2"}, credentials=[CredentialRow("k", "t", "pay-dev")])
    staging = EnvironmentTables("staging", workflow_ids={"sub": "s1", "top": "s2"},
                                credentials=[CredentialRow("k", "t", "pay-staging")])

    def top(environment: EnvironmentTables, called: Any, credential: str) -> PortableWorkflow:
        node = {"name": "Call", "type": EXECUTE, "parameters": {"workflowId": called},
                "credentials": {"t": {"id": environment.environment, "name": credential}}}
        raw = {"name": "Top", "nodes": [node], "connections": {}, "settings": {"callerIds": environment.workflow_ids["sub"]}}
        return held(lift(raw, environment, self_id=environment.workflow_ids["top"]).content)

    picked = {"__rl": True, "mode": "list", "value": "s1", "cachedResultName": "Sub"}
    same_top = BothSides("top", top(dev, "d1", "pay-dev"), top(staging, picked, "pay-staging"))
    assert planned(same_top, same("sub")).is_empty
    plan = planned(replace(same_top, target=None), new("sub"))
    assert list(actions(plan)) == ["sub", "top"]
    assert plan.missing == ()
    assert [(used.name, used.used_by) for used in plan.credentials] == [("key:k", ("top",))]
    assert [caller.workflow.name for caller in plan.reach.callers] == ["Top"]


def off(sides: BothSides) -> BothSides:
    """The same, and the source's does not run."""
    assert sides.source is not None
    return replace(sides, source=replace(sides.source, active=False))


def states(plan: Plan) -> dict[str, bool]:
    return {change.key: change.after is not None and change.after.active for change in plan.changes}


def test_on_n8n_2_a_new_workflow_that_a_running_one_calls_is_published_and_on_1_it_is_not() -> None:
    sides = (new("a", calls=("b",)), off(new("b", calls=("c",))), off(new("c")), off(new("d")))
    assert states(planned(*sides)) == {"c": True, "b": True, "a": True, "d": False}
    assert "it is published" in change_of(planned(*sides), "c").notes[0]
    assert states(planned(*sides, generation=1)) == {"c": False, "b": False, "a": True, "d": False}


def test_what_somebody_switched_off_in_the_target_stays_off_and_its_new_caller_is_named() -> None:
    stopped = BothSides("b", held(content("B")), held(content("B"), active=False))
    plan = planned(new("a", calls=("b",)), stopped)
    assert (states(plan), change_of(plan, "a").unpublished) == ({"a": True, "b": False}, ("B",))
    assert change_of(planned(new("a", calls=("b",)), stopped, generation=1), "a").unpublished == ()
    unwanted = replace(new("b"), wants_active=False)
    assert change_of(planned(new("a", calls=("b",)), unwanted), "a").unpublished == ("B",)
    assert change_of(planned(off(new("a", calls=("b",))), unwanted), "a").unpublished == ()


def test_on_n8n_2_workflows_that_call_each_other_are_late_until_both_are_published() -> None:
    def stopped(key: str, called: str) -> BothSides:
        sides = changed(key, calls=(called,))
        assert sides.target is not None
        return replace(sides, target=replace(sides.target, active=False), wants_active=True)

    plan = planned(stopped("a", "b"), stopped("b", "a"))
    assert plan.cycles == (("b", "a"),)
    assert {change.key: change.late for change in plan.changes} == {"b": ("a",), "a": ()}
    assert planned(stopped("a", "b"), stopped("b", "a"), generation=1).cycles == ()


def switched_off(key: str, *, updated: bool = True, **more: Any) -> BothSides:
    """The target has it and it does not run there."""
    sides = changed(key, **more) if updated else same(key, **more)
    assert sides.target is not None
    return replace(sides, target=replace(sides.target, active=False))


def test_a_sub_workflow_of_the_target_that_is_updated_and_that_only_workflows_start_is_published_along() -> None:
    sides = (new("a", calls=("b",)), switched_off("b", start=SUB, calls=("c",)), switched_off("c", start=SUB))
    plan = planned(*sides)
    assert states(plan) == {"c": True, "b": True, "a": True}
    assert "though the target's is not active" in change_of(plan, "c").notes[0]
    assert [change.unpublished for change in plan.changes] == [(), (), ()]
    assert states(planned(*sides, generation=1)) == {"c": False, "b": False, "a": True}


def test_one_that_is_not_written_or_that_somebody_switched_off_is_not_published_along() -> None:
    for stopped in (switched_off("b", start=SUB, updated=False), switched_off("b"),
                    replace(switched_off("b", start=SUB), wants_active=False)):
        plan = planned(new("a", calls=("b",)), stopped)
        assert (states(plan)["b"], change_of(plan, "a").unpublished) == (False, ("B",))


def test_a_new_one_without_any_trigger_cannot_be_published_along() -> None:
    plan = planned(new("a", calls=("b",)), off(new("b", start="n8n-nodes-base.manualTrigger")))
    assert (states(plan)["b"], change_of(plan, "a").unpublished) == (False, ("B",))


def test_triggers_that_start_because_a_caller_runs_are_told() -> None:
    plan = planned(new("a", calls=("b", "c")), off(new("b")), off(new("c", start=SUB)))
    assert "its own triggers start it" in change_of(plan, "b").notes[0]
    assert "its own triggers start it" not in change_of(plan, "c").notes[0]


@pytest.mark.parametrize("start", [SUB, "n8n-nodes-base.errorTrigger"])
def test_on_n8n_1_what_only_workflows_start_is_not_active(start: str) -> None:
    plan = planned(new("a", start=start), new("b"), off(new("c", start=start)), generation=1)
    assert states(plan) == {"a": False, "b": True, "c": False}
    assert [len(change_of(plan, key).notes) for key in "abc"] == [1, 0, 0]
    assert states(planned(new("a", start=start))) == {"a": True}
    off_there = BothSides("a", held(content("A", start=start)), held(content("A", start=start), active=False))
    assert planned(off_there, generation=1).is_empty


def test_on_n8n_1_an_update_that_takes_the_triggers_away_switches_off() -> None:
    sides = BothSides("a", held(content("A", start=SUB)), held(content("A")))
    plan = planned(sides, generation=1)
    assert (states(plan), len(change_of(plan, "a").notes)) == ({"a": False}, 1)
    assert states(planned(replace(sides, wants_active=True), generation=1)) == {"a": True}  # the lint says no


def naming(key: str, named: str, kind: str, **more: Any) -> BothSides:
    """One that names another in a way that n8n does not look at when it publishes."""
    settings: dict[str, Any] = {"errorWorkflow": workflow_term(named)} if kind == "handler" else {}
    inner = content(key.upper(), **settings)
    if kind == "tool":
        inner["nodes"].append({"name": "Tool", "type": "@n8n/n8n-nodes-langchain.toolWorkflow",
                               "parameters": {"workflowId": workflow_term(named)}})
    elif kind == "disabled":
        inner["nodes"].append({"name": "Call", "type": EXECUTE, "disabled": True,
                               "parameters": {"workflowId": workflow_term(named)}})
    return BothSides(key, held(inner), None, **more)


@pytest.mark.parametrize("kind", ["tool", "disabled", "handler"])
def test_what_is_named_and_not_called_needs_no_publication(kind: str) -> None:
    plan = planned(naming("a", "b", kind), off(new("b", start=SUB)))
    assert states(plan) == {"b": False, "a": True}
    assert change_of(plan, "a").unpublished == ()
    again = planned(replace(naming("a", "b", kind), target=held(content("A"))), switched_off("b", start=SUB, calls=("a",)))
    assert (again.cycles, change_of(again, "a").late) == ((), ())  # both are there
    alone = planned(naming("a", "b", kind), chosen=["a"], with_needs=False)
    assert [missing.needed for missing in alone.missing] == [True]


@pytest.mark.parametrize(("one", "other"), ["ab", "ba"])
def test_of_two_new_ones_the_one_that_only_names_the_other_comes_first(one: str, other: str) -> None:
    plan = planned(naming(one, other, "handler"), new(other, calls=(one,)))
    assert list(actions(plan)) == [one, other]
    assert (plan.cycles, change_of(plan, one).late) == (((one, other),), (other,))
    assert change_of(plan, other).late == ()


def test_a_caller_that_does_not_run_may_be_written_before_what_it_calls_is_published() -> None:
    def stopped(key: str, called: str) -> BothSides:
        return replace(switched_off(key, calls=(called,)), wants_active=key == "a")

    plan = planned(stopped("a", "b"), stopped("b", "a"))
    assert [change.late for change in plan.changes] == [(), ()]
    assert change_of(plan, "a").unpublished == ("B",)
