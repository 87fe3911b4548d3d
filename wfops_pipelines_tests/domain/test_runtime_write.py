"""What has to be called next (§11.6): from every state a short way leads to every other one, also after an interruption."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.runtime_write import (
    Call,
    RuntimeState,
    content_to_write,
    differs_by_kept_settings,
    explained,
    kept_settings,
    next_call,
    unclearable_settings,
)

State = RuntimeState | None


@st.composite
def states(draw: st.DrawFn) -> RuntimeState:
    """A state that n8n 2.x can be in: what is inactive has no published version beside its draft."""
    live, active = draw(st.sampled_from("abc")), draw(st.booleans())
    draft = draw(st.sampled_from("abc")) if active else live
    return RuntimeState(live, draft, active, archived=not active and draw(st.booleans()))


def called(state: State, call: Call, wanted: State) -> State:
    """What n8n 2.x makes of a call (facts §6, §7)."""
    if call is Call.CREATE:
        assert wanted is not None
        return RuntimeState(wanted.live_hash, wanted.live_hash, active=False)
    assert state is not None
    if call is Call.DELETE:
        return None
    if call is Call.UNARCHIVE:
        return replace(state, archived=False)
    assert not state.archived, "n8n refuses to change what is archived"
    if call is Call.ARCHIVE:
        return RuntimeState(state.draft_hash, state.draft_hash, active=False, archived=True)
    if call is Call.DEACTIVATE:
        return RuntimeState(state.draft_hash, state.draft_hash, active=False)
    if call is Call.PUBLISH:
        return RuntimeState(state.draft_hash, state.draft_hash, active=True)
    assert wanted is not None
    if call is Call.PUT:
        content = wanted.live_hash if wanted.active else wanted.draft_hash
        return RuntimeState(content, content, state.active)
    return replace(state, draft_hash=wanted.draft_hash)


def reached(state: State, wanted: State) -> bool:
    """Whether n8n holds what is wanted. What is archived runs in no version."""
    if state is None or wanted is None:
        return state is wanted
    if wanted.archived:
        return state.archived
    return state == wanted


@given(states() | st.none(), states() | st.none())
def test_few_calls_lead_from_every_state_to_every_other_one(before: State, wanted: State) -> None:
    if wanted is not None and wanted.archived and before is None:
        return  # nothing is made to be archived
    state, calls = before, 0
    while (call := next_call(state, wanted)) is not None:
        state = called(state, call, wanted)
        calls += 1
        assert calls <= 5
    assert reached(state, wanted)
    assert calls == 0 or not reached(before, wanted)


@given(states(), states())
def test_what_nobody_wants_never_runs(before: RuntimeState, wanted: RuntimeState) -> None:
    state: State = before
    runs = {before.live_hash if before.active else None, wanted.live_hash if wanted.active else None, None}
    while (call := next_call(state, wanted)) is not None:
        state = called(state, call, wanted)
        assert state is not None
        assert (state.live_hash if state.active else None) in runs, call


@given(states(), states(), st.integers(0, 5))
def test_an_interrupted_write_explains_itself_and_a_foreign_edit_does_not(
        before: RuntimeState, wanted: RuntimeState, steps: int) -> None:
    state: State = before
    for _ in range(steps):
        call = next_call(state, wanted)
        if call is None:
            break
        state = called(state, call, wanted)
    assert explained(state, before, wanted)
    assert state is not None
    assert not explained(replace(state, draft_hash="somebody's", live_hash="somebody's"), before, wanted)


def node(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "n8n-nodes-base.webhook", "parameters": {}, **more}


def test_ids_that_the_wanted_content_does_not_say_are_carried_over_by_name() -> None:
    there = {"nodes": [node("Hook", id="1", webhookId="w"), node("Other", id="2", type="x")], "settings": {}}
    wanted = {"name": "W", "nodes": [node("Hook", parameters={"path": "p"}), node("Other"), node("New", id="9")],
              "connections": {}, "settings": {}}
    body = content_to_write(wanted, there, generation=2)
    assert [(n["name"], n.get("id"), n.get("webhookId")) for n in body["nodes"]] == [
        ("Hook", "1", "w"), ("Other", None, None), ("New", "9", None)]
    assert "id" not in wanted["nodes"][0]


@pytest.mark.parametrize(("generation", "cleared"), [(1, None), (2, "DEFAULT")])
def test_settings_are_cleared_as_far_as_n8n_can(generation: int, cleared: str | None) -> None:
    there = {"nodes": [], "settings": {"timezone": "Europe/Berlin", "errorWorkflow": "abc", "saveManualExecutions": True}}
    wanted = {"name": "W", "nodes": [], "connections": {}, "settings": {"executionOrder": "v1"}}
    body = content_to_write(wanted, there, generation=generation)
    assert (body["settings"]["timezone"], body["settings"].get("errorWorkflow")) == ("DEFAULT", cleared)
    assert "saveManualExecutions" not in body["settings"]
    assert kept_settings(wanted, {**wanted, "settings": {"saveManualExecutions": True}}) == ["saveManualExecutions"]


def test_a_write_that_n8n_took_but_for_a_setting_is_known_as_ours() -> None:
    before = {"name": "W", "nodes": [], "connections": {}, "settings": {"timezone": "Asia/Tokyo", "saveManualExecutions": True}}
    wanted = {**before, "settings": {"executionOrder": "v1"}}
    kept = {**before, "settings": {"executionOrder": "v1", "saveManualExecutions": True}}
    assert differs_by_kept_settings(kept, wanted, before)
    assert not differs_by_kept_settings({**kept, "name": "Somebody's"}, wanted, before)
    assert not differs_by_kept_settings(kept, wanted, wanted), "nobody had that setting before: somebody else set it"
    assert not differs_by_kept_settings(wanted, wanted, before)
    assert unclearable_settings(wanted, before, generation=2) == ["saveManualExecutions"]
