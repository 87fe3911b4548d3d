"""The diff as people read it: in a terminal, in Dagster, in a pull request (§8)."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from wfops_pipelines.domain.diff import diff
from wfops_pipelines.domain.diff_text import as_markdown, render_text, summary
from wfops_pipelines.domain.line_diff import diff_lines, shorten_pair
from wfops_pipelines.domain.masking import MASKED
from wfops_pipelines_tests.domain.workflow_strategies import JsonObject


def node(name: str, **parameters: Any) -> JsonObject:
    return {"name": name, "type": "n8n-nodes-base.code", "parameters": parameters, "position": [0, 0]}


def to(target: str) -> JsonObject:
    return {"main": [[{"node": target, "type": "main", "index": 0}]]}


def workflow(*nodes: JsonObject, **connections: JsonObject) -> JsonObject:
    return {"name": "Orders", "nodes": list(nodes), "connections": connections, "settings": {}}


def text(before: JsonObject | None, after: JsonObject | None) -> str:
    return render_text(diff(before, after), before_label="dev", after_label="prod", colour=False)


def test_a_diff_is_grouped_by_workflow_node_and_connections() -> None:
    before = workflow(node("HTTP", url="https://a"), node("Code", jsCode="one();\ntwo();\nthree();\n"), node("Old"), HTTP=to("Code"))
    after = workflow(node("HTTP", url="https://b", retry=True), node("Code", jsCode="one();\n2();\nthree();\n"), HTTP=to("Mail"))
    after["nodes"].append({**node("Mail"), "type": "n8n-nodes-base.emailSend"})
    after["settings"] = {"timezone": "Europe/Berlin"}
    assert text(before, after) == """\
--- dev
+++ prod
workflow
+   settings.timezone: "Europe/Berlin"
- node "Old" (n8n-nodes-base.code)
+ node "Mail" (n8n-nodes-base.emailSend)
~ node "Code"
~   parameters.jsCode:
@@ -1,4 +1,4 @@
      one();
-     two();
+     2();
      three();

~ node "HTTP"
+   parameters.retry: true
~   parameters.url: "https://a" → "https://b"
connections
-   "HTTP" main[0] -> Code (main[0])
+   "HTTP" main[0] -> Mail (main[0])

8 changes: 1 node added, 1 node removed, 3 node fields changed, 1 connection added, 1 connection removed, 1 setting changed.
"""


def test_what_is_equal_says_so_and_counts_what_is_cosmetic() -> None:
    before = workflow(node("A"))
    after = copy.deepcopy(before)
    assert text(before, after) == "No differences.\n"
    after["nodes"][0]["position"] = [100, 0]
    assert text(before, after) == "No differences; 1 cosmetic difference not shown.\n"
    assert as_markdown(diff(before, after)) == "**No differences; 1 cosmetic difference not shown.**"


def test_a_workflow_that_appears_is_named() -> None:
    assert '+   "Orders" (2 nodes)\n' in text(None, workflow(node("A"), node("B")))
    assert '-   "Orders" (1 node)\n' in text(workflow(node("A")), None)


def test_a_change_of_something_masked_still_shows() -> None:
    shown = text(workflow(node("A", password="hunter2")), workflow(node("A", password="hunter3")))
    assert f'~   parameters.password: "{MASKED}" (changed)\n' in shown
    shown = text(workflow(node("A", jsCode="const token = 'hunter2';\ngo();")), workflow(node("A", jsCode="const token = 'hunter3';\ngo();")))
    assert f"-     const token = '{MASKED}';\n+     const token = '{MASKED}';\n" in shown
    assert "hunter" not in shown


@pytest.mark.parametrize("nasty", ["\x1b[31mred", "\u202eevil", "a\rb", "\x9b1m", "\ud800", "\x07", "adm\u200bin", "a\u2060b", "\ufeffa", "\U000e0041"])
def test_nothing_in_a_workflow_can_play_tricks_on_the_terminal(nasty: str) -> None:
    before = workflow(node(f"A{nasty}", jsCode="x\ny", a=1), node("B"))
    after = workflow(node(f"A{nasty}", jsCode=f"x\n{nasty}", **{f"k{nasty}": nasty}), node(f"B{nasty}"), B=to(nasty))
    after["name"] = nasty
    shown = render_text(diff(before, after), before_label=nasty, after_label=nasty, colour=False)
    assert nasty not in shown
    assert all(char.isprintable() or char in "\n" for char in shown)
    shown.encode()


def test_colours_are_only_there_when_asked_for() -> None:
    result = diff(workflow(node("A")), workflow(node("B", x=1)))
    plain = render_text(result, before_label="a", after_label="b", colour=False)
    coloured = render_text(result, before_label="a", after_label="b", colour=True)
    assert "\x1b" not in plain
    assert "\x1b[32m+ node" in coloured


class TestLongValues:
    def test_a_long_value_is_shortened_around_what_differs(self) -> None:
        before, after = shorten_pair("x" * 500 + "A" + "y" * 500, "x" * 500 + "B" + "y" * 500, 60)
        assert len(before) == len(after) == 60
        assert "A" in before
        assert "B" in after
        assert before.startswith("…x")

    def test_a_long_script_shows_its_changed_lines_alone(self) -> None:
        lines = [f"line {number}" for number in range(1000)]
        shown = list(diff_lines("\n".join(lines), "\n".join([*lines[:500], "new", *lines[500:]])))
        assert shown == [("@", "-499,4 +499,5"), (" ", "line 498"), (" ", "line 499"), ("+", "new"), (" ", "line 500"), (" ", "line 501")]

    def test_a_script_of_another_kind_altogether_is_cut_off(self) -> None:
        shown = list(diff_lines("\n".join("abc" * 300), "\n".join("xyz" * 300)))
        assert len(shown) < 100
        assert shown[-1] == ("@", "more lines are not shown")

    def test_what_is_too_long_to_be_compared_by_line_says_so(self) -> None:
        (line,) = diff_lines("a\n" * 5000, "b\n" * 4000)
        assert line == ("@", "5001 lines became 4001; too long to be compared line by line")


class TestMarkdown:
    def test_values_of_parameters_are_left_out_unless_wanted(self) -> None:
        result = diff(workflow(node("A", url="https://a")), workflow(node("A", url="https://b")))
        assert as_markdown(result) == "**1 change: 1 node field changed.**\n\n```diff\n~ node \"A\"\n~   parameters.url\n```"
        assert '"https://a" → "https://b"' in as_markdown(result, values=True)

    def test_no_name_can_end_the_fence(self) -> None:
        shown = as_markdown(diff(workflow(), workflow(node("```\n# Heading ````"))))
        assert shown.endswith("\n`````")
        assert "\n# Heading" not in shown

    def test_what_goes_beyond_the_limit_is_counted(self) -> None:
        shown = as_markdown(diff(workflow(), workflow(*(node(f"N{index}") for index in range(100)))), max_chars=1000)
        assert len(shown) < 1200
        assert shown.rpartition("… and ")[2].endswith(" more lines")


def test_a_summary_counts_by_kind() -> None:
    before, after = workflow(node("A"), node("B")), workflow(node("C", x=1), node("D", x=2), node("E", x=3))
    assert summary(diff(before, after)) == "5 changes: 3 nodes added, 2 nodes removed."
