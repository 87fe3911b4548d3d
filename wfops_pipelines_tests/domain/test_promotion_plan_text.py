"""A plan as text and as Markdown: what a person reads before saying yes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.promotion_limits import plan_problems
from wfops_pipelines.domain.promotion_plan import BothSides, Plan
from wfops_pipelines.domain.promotion_plan_text import (
    plan_document,
    plan_markdown,
    plan_summary,
    render_plan,
    render_plan_json,
)
from wfops_pipelines_tests.domain.plan_example import changed, content, extra, held, new, planned, same
from wfops_pipelines_tests.domain.plan_strategies import environments, options
from wfops_pipelines_tests.domain.workflow_strategies import brief_law, hostile_contents, law


def test_one_line_says_what_would_happen() -> None:
    plan = planned(new("a"), changed("b"), same("c"), extra("d"))
    assert plan_summary(plan) == ("acme/dev → acme/staging: 1 created, 1 updated, 1 unchanged, 1 kept, though only in the target "
                                  f"(plan {plan.checksum[:12]})")


def test_the_text_lists_writes_in_order_with_their_differences() -> None:
    text = render_plan(planned(new("a", calls=("b",)), changed("b"), same("c")), colour=False)
    assert re.findall(r"^. \d+\. .*$", text, re.MULTILINE) == ["~ 1. update B", "+ 2. create A"]
    assert "parameters.value: 1 → 2" in text
    assert "runs as soon as it is there" in text
    assert "C" not in re.findall(r"\b[A-Z]\b", text.partition("reach")[0])
    assert "parameters.value" not in render_plan(planned(changed("b")), colour=False, diffs=False)


def test_a_plan_without_writes_says_so() -> None:
    assert "Nothing would be written." in render_plan(planned(same("a")), colour=False)


def test_the_text_names_cycles_missing_callers_credentials_transformations_and_reach() -> None:
    pay = {"name": "Pay", "type": "x.pay", "parameters": {}, "credentials": {"httpBasicAuth": {"name": "key:stripe"}}}
    paying = BothSides("c", held({**content("C", callerIds="gone"), "nodes": [pay]}), None)
    plan = planned(new("a", calls=("b",)), new("b", calls=("a",)), paying, same("d", calls=("c",)),
                   transformations=[{"workflow": "A", "node": "Get", "path": "parameters.url", "kind": "base_url", "from": "a", "to": "b"},
                                    {"other": 1}])
    text = render_plan(plan, colour=False)
    for part in ("workflows that need each other\n  B → A → B", "written first without its reference to A",
                 "allowed callers that the target will not have\n  gone (of C)", "key:stripe (httpBasicAuth): C",
                 "A, Get, parameters.url: a → b", '{"other":1}', "called by (3)"):
        assert part in text


def test_what_stands_out_stands_out() -> None:
    hotfix = replace(changed("a"), seen_in_sync=False, base_hash=None)
    off = replace(changed("b"), wants_active=False)
    tags = replace(same("c"), wants_tags=("billing",))
    gone = extra("d")
    text = render_plan(planned(hotfix, off, tags, gone, prune=True, generation=1), colour=False)
    for part in ("update A [conflict: both sides went on]", "is switched off", "tags: billing", "- 4. delete D",
                 "cannot be undone: it is deleted", "! 'D' could not be undone", "--allow-irreversible"):
        assert part in text


def test_what_was_brought_along_says_for_whom() -> None:
    assert "needed by A" in render_plan(planned(new("a", calls=("b",)), new("b"), chosen=["a"]), colour=False)


def test_colours_are_only_there_when_asked_for() -> None:
    plan = planned(new("a"), changed("b"), extra("c"), prune=True, generation=1)
    plain, coloured = render_plan(plan, colour=False), render_plan(plan, colour=True)
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain
    assert coloured.count("\x1b[0m") == len(re.findall(r"\x1b\[[1-9]\d*m", coloured))


def test_the_markdown_shows_values_only_when_asked_for_and_keeps_to_its_length() -> None:
    plan = planned(changed("a", value="a-value-of-it"), new("b"))
    assert "a-value-of-it" not in plan_markdown(plan_document(plan))
    assert "a-value-of-it" in plan_markdown(plan_document(plan), values=True)
    assert "| 1 | update | A |" in plan_markdown(plan_document(plan))
    short = plan_markdown(plan_document(planned(*(changed(f"w{i}") for i in range(50)))), max_rows=3, max_chars=700)
    assert len(short) < 800
    assert "and 47 more" in short
    assert "the rest of the plan is left out here" in short.splitlines()[-1]


def test_names_cannot_break_out_of_a_line_or_a_table() -> None:
    nasty = BothSides("a", held(content("a|b\n**c**\x1b[31m<script>")), None)
    row = next(line for line in plan_markdown(plan_document(planned(nasty))).splitlines() if line.startswith("| 1"))
    assert "<script>" not in row
    assert len(re.findall(r"(?<!\\)\|", row)) == 6
    assert "\x1b" not in render_plan(planned(nasty), colour=False)


def stored(plan: Plan) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps({**plan.as_json(), "problems": [p.as_json() for p in plan_problems(plan)]}))
    return document


@law
@given(environments(), options, st.booleans(), st.booleans())
def test_a_stored_plan_reads_as_it_did(sides: list[BothSides], given_options: dict[str, Any], colour: bool, diffs: bool) -> None:
    plan = planned(*sides, **given_options)
    assert render_plan_json(stored(plan), colour=colour, diffs=diffs) == render_plan(plan, colour=colour, diffs=diffs)
    assert stored(planned(*reversed(sides), **given_options)) == stored(plan)


def test_a_stored_plan_says_of_each_thing_what_the_plan_said() -> None:
    hook = {"name": "Hook", "type": "n8n-nodes-base.webhook", "typeVersion": 1, "webhookId": "w1", "parameters": {"path": "orders"}}
    every_hour = {"name": "Hourly", "type": "n8n-nodes-base.scheduleTrigger", "parameters": {"rule": {"interval": [{"field": "hours"}]}}}
    pay = {"name": "Pay", "type": "x.pay", "parameters": {"code": "one\ntwo"}, "credentials": {"httpBasicAuth": {"name": "key:stripe"}}}
    maybe = {"name": "Maybe", "type": "n8n-nodes-base.executeWorkflow", "parameters": {"workflowId": "={{ $json.id }}"}}
    old = content("A", value="one\ntwo\nthree")
    full = {**content("A", value="one\n2\nthree", errorWorkflow="{{wfops.workflow.c}}"),
            "nodes": [*content("A", value="one\n2\nthree")["nodes"], hook, every_hour, pay, maybe]}
    plan = planned(BothSides("a", held(full), held(old)), same("b", calls=("a",)), new("c", calls=("a", "gone")), extra("d"), prune=True,
                   generation=1, transformations=[{"workflow": "A", "path": "x", "kind": "base_url", "from": "a", "to": "b"}])
    text = render_plan_json(stored(plan), colour=False)
    assert text == render_plan(plan, colour=False)
    for part in ("called by", "serves", "/webhook/orders", "every hour", "uses credentials", "not known before it runs",
                 "handles errors of", "@@", "! 'D' could not be undone", "needs the workflow gone", "A, x: a → b"):
        assert part in text


def test_a_changed_secret_in_a_long_text_still_shows_as_a_change() -> None:
    plan = planned(changed("a", value=f"x\n{'ghp_' + 'aB3dE5fG7hI9jK1lM2nO4pQ6rS8tU0vW2xYz'}\n"))
    assert "parameters.value" in render_plan(plan, colour=False)
    sides = BothSides("a", held(content("A", value="x\nghp_" + "aB3dE5fG7hI9jK1lM2nO4pQ6rS8tU0vW2xYz")),
                      held(content("A", value="x\nghp_" + "bB3dE5fG7hI9jK1lM2nO4pQ6rS8tU0vW2xYz")))
    text = render_plan(planned(sides), colour=False)
    assert re.search(r"parameters\.value: .*\(changed\)", text)
    assert "dE5fG7" not in text


def test_the_json_is_small_where_nothing_is_written() -> None:
    document = json.dumps(planned(*(same(f"{n:04}", calls=(f"{n + 1:04}",)) for n in range(300)), same("0300")).as_json())
    assert len(document) < 301 * 200
    huge = json.dumps(planned(changed("a", value="x" * 1_000_000)).as_json())
    assert len(huge) < 50_000


@brief_law
@given(hostile_contents(), hostile_contents())
def test_whatever_n8n_lets_pass_can_be_planned_and_shown(one: dict[str, Any], other: dict[str, Any]) -> None:
    plan = planned(BothSides("a", held(one), held(other)), BothSides("b", held(other), None), BothSides("c", None, held(one)),
                   prune=True)
    for text in (render_plan(plan, colour=False), plan_markdown(plan_document(plan), values=True)):
        assert text.encode()
    assert plan.as_json()["checksum"] == plan.checksum
    assert render_plan_json(stored(plan), colour=True) == render_plan(plan, colour=True)
