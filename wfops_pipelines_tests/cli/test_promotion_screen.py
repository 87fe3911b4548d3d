"""How promotions look on a screen: wide texts, what they wait for, and pull requests (§11, §22)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from wfops_pipelines.cli.promotion_screen import gates_text, outcome_text, promotion_text, promotions_table
from wfops_pipelines.cli.promotion_timeline import timeline_text
from wfops_pipelines.cli.terminal import table, wrapped

REFUSED = "PUT /workflows/12 answered 400: " + "Cannot publish workflow: Node \"Call\" references workflow xyz. " * 8
URL = "https://github.example/acme/flows/pull/7"
SHOWN: dict[str, Any] = {
    "name": "acme/p6", "tenant": "acme", "source": "staging", "target": "prod", "status": "approved", "interrupted": False,
    "promotion_id": "3f2a9c01-0000-4000-8000-000000000000", "requested_at": "2026-11-21T10:00:00+00:00",
    "requested_by": "local:ada", "started_at": None, "run_id": None, "reason": None, "options": {"when_ready": True},
    "checksum": "4be1cfa20c93", "plan": {}, "problems": [], "decisions": [], "workflows": [], "verification": [], "notes": [],
    "timeline": [], "gates_at": "2026-11-21T10:00:00+00:00", "dry_run": False,
    "gates": {"gates": [{"gate": "freeze_window", "outcome": "held", "reason": "denied by 'night'", "fix": None}]},
    "waiting": {"since": "2026-11-21T11:00:00+00:00", "for": ["denied by 'the fair'; opens at 2026-11-30 08:00 UTC"]},
    "git_status": "none", "pull_request": None, "commit": None, "drift_status": None, "rollback_incomplete": False}


@given(st.text(st.characters(exclude_categories=("C", "M", "Z")) | st.just(" "), max_size=200), st.integers(2, 40))
def test_wrapping_loses_nothing_and_is_never_wider(text: str, width: int) -> None:
    lines = wrapped(text, width)
    assert lines and all(cell_len(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_words_stay_whole_where_they_fit() -> None:
    assert wrapped("to be or not to be", 9) == ["to be or", "not to be"]
    assert wrapped("", 9) == [""]


def test_a_wrapped_column_keeps_the_others_in_place() -> None:
    lines = table(["who", "what", "run"], [["ada", "a long story of many words", "r1"], ["bob", "short", "r2"]],
                  wrap={"what": 12}).splitlines()
    assert [line.rstrip() for line in lines] == [
        "who  what          run", "ada  a long story  r1", "     of many", "     words", "bob  short         r2"]


def test_a_long_error_keeps_the_timeline_readable() -> None:
    event = {"at": "2026-11-21T10:00:00+00:00", "actor": "local:ada", "action": "promotion.failed", "run_id": "r1",
             "before_hash": None, "after_hash": None, "details": {"reason": REFUSED}}
    lines = timeline_text([event]).splitlines()
    assert max(map(len, lines)) < 140 and len(lines) > 4
    assert lines[1].endswith("r1") and " ".join(" ".join(lines).split()).count("Cannot publish workflow") == 8


def test_gates_of_the_past_say_so_and_what_it_waits_for_is_of_now() -> None:
    text = promotion_text(SHOWN, colour=False)
    assert "gates as they stood 2026-11-21 10:00 UTC\n" in text
    assert "waits since 2026-11-21 11:00 UTC (" in text and "denied by 'the fair'; opens at 2026-11-30 08:00 UTC\n" in text
    assert "then it is carried out by itself while `wfops up` runs, or by `wfops promotion execute acme/p6`" in text
    by_hand = promotion_text({**SHOWN, "status": "pending_approval", "options": {}}, colour=False)
    assert "somebody else approves it: wfops approve acme/p6 --plan 4be1cfa20c93; then it is carried out by `wfops" in by_hand
    assert gates_text(SHOWN["gates"], colour=False).startswith("gates\n"), "those of a plan of now need no time"


def test_a_page_says_what_each_waits_for() -> None:
    text = " ".join(promotions_table([SHOWN | {"waiting": SHOWN["waiting"] | {"for": []}}]).split())
    assert "waits since 2026-11-21 11:00 UTC" in text and "nothing holds it now" in text


@pytest.mark.parametrize(("state", "said"), [
    ("open", ""), ("merged", " (merged)"), ("closed", " (closed without being merged)"),
    ("undone", " (closed: the rollback took it back)"), ("of_rollback", " (open, of the rollback)"),
    ("without_it", " (open for others: the rollback took this promotion out of it)")])
def test_what_became_of_a_pull_request_stands_beside_its_link(state: str, said: str) -> None:
    text = outcome_text({**SHOWN, "status": "rolled_back", "pull_request": URL, "pull_request_state": state})
    assert f"rolled back, pull request {URL}{said}\n" in text


def test_a_request_that_a_rollback_closed_is_not_listed_as_if_it_were_open() -> None:
    row = {**SHOWN, "waiting": None, "pull_request": URL, "status": "rolled_back", "git_status": "committed"}
    assert f"{URL} (undone)" in promotions_table([row])
