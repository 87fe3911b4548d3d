"""A plan as a picture (§11.3): one SVG that shows what the plan says, whatever the workflows are called."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import combinations
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.promotion_graph import arrange_graph, plan_graph
from wfops_pipelines.domain.promotion_picture import plan_svg
from wfops_pipelines.domain.promotion_plan import BothSides, Plan
from wfops_pipelines.domain.promotion_plan_text import plan_document
from wfops_pipelines_tests.domain.plan_example import changed, content, extra, held, new, planned, same
from wfops_pipelines_tests.domain.plan_strategies import environments, options
from wfops_pipelines_tests.domain.workflow_strategies import any_text, law

SVG = "{http://www.w3.org/2000/svg}"


def drawn(plan: Plan) -> ElementTree.Element:
    return ElementTree.fromstring(plan_svg(json.loads(json.dumps(plan_document(plan)))).encode())


def nodes_of(picture: ElementTree.Element) -> dict[str, tuple[str, list[str]]]:
    """By full name, the class and the words of each workflow drawn."""
    found = {}
    for group in picture.iter(f"{SVG}g"):
        if group.attrib.get("class", "").startswith("node "):
            title = (group.findtext(f"{SVG}title") or "").split("\n")
            found[title[0]] = (group.attrib["class"].split()[1], title[1:])
    return found


def edges_of(picture: ElementTree.Element) -> dict[str, tuple[bool, bool]]:
    """By what it says, whether an edge is in a cycle and whether it is dashed."""
    found = {}
    for group in picture.iter(f"{SVG}g"):
        path = group.find(f"{SVG}path")
        if path is not None and path.attrib["class"].startswith("edge"):
            found[group.findtext(f"{SVG}title") or ""] = ("renamed" in path.attrib["class"], "stroke-dasharray" in path.attrib)
    return found


def words_of(picture: ElementTree.Element) -> str:
    return "\n".join(text for text in picture.itertext() if text)


def test_each_action_has_its_look_and_what_is_not_written_is_drawn_beside_what_is() -> None:
    plan = planned(new("a", calls=("b",)), changed("b", calls=("c",)), same("c"), same("alone"), extra("gone"), same("top", calls=("b",)),
                   prune=True)
    nodes = nodes_of(drawn(plan))
    assert {name: look for name, (look, _) in nodes.items()} == {
        "A": "added", "B": "changed", "C": "unchanged", "GONE": "removed", "TOP": "unchanged"}
    assert nodes["A"][1][0] == "created, runs"
    assert nodes["GONE"][1][0] == "archived"
    edges = edges_of(drawn(plan))
    assert edges == {"A needs B": (False, False), "B needs C": (False, False), "TOP needs B": (False, False)}
    assert "only in acme/staging" in words_of(drawn(plan))


def test_cycles_are_marked_and_late_references_dashed() -> None:
    picture = drawn(planned(new("a", calls=("b",)), new("b", calls=("a",))))
    assert edges_of(picture) == {"A needs B": (True, False), "B needs A, and is written first without that": (True, True)}
    assert all("in cycle 1" in " ".join(words) for _, words in nodes_of(picture).values())


def test_what_stands_out_and_what_is_missing_is_there() -> None:
    hotfix = BothSides("a", held(content("A")), held(content("A", value=2)), base_hash=None)
    stopped = BothSides("s", held(content("S")), held(content("S"), active=False))
    plan = planned(hotfix, new("b", calls=("nowhere", "s")), stopped, extra("d"), prune=True, generation=2)
    nodes = nodes_of(drawn(plan))
    assert "! overwrites a conflict" in nodes["A"][1]
    assert "! calls what is not published" in nodes["B"][1]
    assert nodes["nowhere"][0] == "missing"
    assert "'B' needs the workflow nowhere" in words_of(drawn(plan))
    assert "! cannot be undone" in nodes_of(drawn(planned(extra("d"), prune=True, generation=1)))["D"][1]
    assert "switched off" in nodes_of(drawn(planned(replace(same("x"), wants_active=False))))["X"][1][0]


def test_an_empty_plan_says_so() -> None:
    assert "Nothing would be written." in words_of(drawn(planned(same("a"))))
    assert "Nothing would be written." in words_of(drawn(planned()))


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "]]>&amp;\"'", "a\nb\x00\x1b[31m", "\ud800", "x" * 500, ""])
def test_no_name_breaks_the_picture(name: str) -> None:
    plan = planned(BothSides("a", held(content(name, calls=("b",))), None), BothSides("b", held(content(name, calls=("a",))), None))
    picture = drawn(plan)
    assert len([1 for group in picture.iter(f"{SVG}g") if group.attrib.get("class", "").startswith("node ")]) == 2
    assert {element.tag.removeprefix(SVG) for element in picture.iter()} <= {
        "svg", "title", "desc", "style", "defs", "marker", "path", "rect", "g", "text", "circle"}


def test_secrets_in_names_are_masked() -> None:
    assert "aB3dE5fG7hI9" not in plan_svg(plan_document(planned(new("ghp_aB3dE5fG7hI9jK1lM2nO4pQ6rS8tU0vW2xYz"))))


@law
@given(environments(), options, st.dictionaries(st.sampled_from("abcdef"), any_text))
def test_every_write_is_drawn_once_and_no_two_stand_in_one_place(
        sides: list[BothSides], given_options: dict[str, Any], names: dict[str, str]) -> None:
    def named(each: BothSides) -> BothSides:
        if each.source is None or each.key not in names:
            return each
        return replace(each, source=replace(each.source, content={**each.source.content, "name": names[each.key]}))

    plan = planned(*map(named, sides), **given_options)
    document = json.loads(json.dumps(plan_document(plan)))
    svg = plan_svg(document)
    assert svg == plan_svg(document)
    ElementTree.fromstring(svg.encode())
    graph = plan_graph(document)
    assert [node.key for node in graph.nodes.values() if node.number] == [change.key for change in plan.writes]
    for _, boxes, height in arrange_graph(graph, dict.fromkeys(graph.nodes, 46.0)):
        assert max(box.bottom for box in boxes.values()) <= height + 0.01
        for one, other in combinations(boxes.values(), 2):
            assert one.right <= other.x or other.right <= one.x or one.bottom <= other.y or other.bottom <= one.y


def test_a_hundred_workflows_fit_and_of_thousands_the_rest_is_counted() -> None:
    hundred = [new(f"{n:04}", calls=tuple(f"{n + step:04}" for step in (1, 7) if n % 10 and n + step < 100)) for n in range(100)]
    svg = plan_svg(plan_document(planned(*hundred)))
    size = re.search(r'width="(\d+)" height="(\d+)"', svg)
    assert size is not None
    assert int(size[1]) < 1400
    assert int(size[2]) < 8000
    assert len(svg) < 150_000
    many = plan_svg(plan_document(planned(*(new(f"{n:04}") for n in range(1_000)))))
    assert "700 more workflows are not drawn" in many


def test_long_chains_go_on_below() -> None:
    chain = planned(*(new(f"{n:02}", calls=(f"{n + 1:02}",) if n < 49 else ()) for n in range(50)))
    [(comes, boxes, _)] = arrange_graph(plan_graph(plan_document(chain)), {f"{n:02}": 46.0 for n in range(50)})
    assert comes
    assert max(box.right for box in boxes.values()) < 1300
    assert boxes["00"].y < boxes["49"].y
