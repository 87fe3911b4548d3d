"""The diff as a picture: one SVG that says what the diff says, whatever the workflow holds (§8)."""

from __future__ import annotations

import copy
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.diff import as_json, diff, from_json
from wfops_pipelines.domain.diff_picture import diff_picture
from wfops_pipelines.domain.errors import MalformedWorkflow
from wfops_pipelines.domain.normalize import STICKY_NOTE
from wfops_pipelines.domain.picture_layout import Box, arrange, complete_places
from wfops_pipelines.domain.picture_model import Status, build_model
from wfops_pipelines.domain.picture_text import BOLD, MONO, cut, cut_front, readable
from wfops_pipelines.domain.workflow import parse_json, read_content
from wfops_pipelines_tests.domain.workflow_strategies import JsonObject, any_text, contents, hostile_contents, law

SVG = "{http://www.w3.org/2000/svg}"
CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
odd_positions = st.one_of(
    st.none(), st.text(max_size=3), st.lists(st.floats() | st.integers() | st.none() | st.text(max_size=2), max_size=3),
    st.sampled_from([[1e9, -1e9], [10**400, 0], [float("nan"), 0], [float("inf"), 1], ["0", "0"], [True, False], {"x": 1}]))


def node(name: str, x: Any = 0, y: Any = 0, **parameters: Any) -> JsonObject:
    return {"id": f"id-{name}", "name": name, "type": "n8n-nodes-base.code", "parameters": parameters, "position": [x, y]}


def to(*targets: str) -> JsonObject:
    return {"main": [[{"node": target, "type": "main", "index": 0} for target in targets]]}


def workflow(*nodes: JsonObject, **connections: JsonObject) -> JsonObject:
    return {"name": "Orders", "nodes": list(nodes), "connections": connections, "settings": {}}


def draw(before: JsonObject | None, after: JsonObject | None) -> ElementTree.Element:
    return parse(diff_picture(before, after, diff(before, after)))


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg.encode())


def nodes_of(picture: ElementTree.Element) -> list[tuple[str, str]]:
    """Status and full name of each node drawn."""
    return [(group.attrib["class"].split()[1], (group.findtext(f"{SVG}title") or "").split("\n")[0])
            for group in picture.iter(f"{SVG}g") if group.attrib.get("class", "").startswith("node ")]


def edges_of(picture: ElementTree.Element) -> list[str]:
    return sorted((*path.attrib["class"].replace(" sub", "").split(), "unchanged")[1] for path in picture.iter(f"{SVG}path")
                  if path.attrib.get("class", "").startswith("edge"))


def words(picture: ElementTree.Element) -> list[str]:
    """What is written in the picture, without titles."""
    return ["".join([text.text or "", *((part.text or "") * (part.tag == f"{SVG}tspan") + (part.tail or "") for part in text)])
            for text in picture.iter(f"{SVG}text")]


BEFORE = workflow(node("Start"), node("HTTP", 220, url="https://a"), node("Code", 440), node("Gone", 660),
                  Start=to("HTTP"), HTTP=to("Code"), Code=to("Gone"))
AFTER = workflow(node("Start"), node("HTTP", 220, url="https://b", retry=True), {**node("Code", 440), "name": "Tidy up"},
                 node("Mail", 660, subject="Hi"), Start=to("HTTP"), HTTP=to("Tidy up"), **{"Tidy up": to("Mail")})


def test_each_node_stands_once_with_what_happened_to_it() -> None:
    assert sorted(nodes_of(draw(BEFORE, AFTER))) == [
        ("added", "Mail"), ("changed", "HTTP"), ("removed", "Gone"), ("renamed", "Tidy up"), ("unchanged", "Start")]


def test_connections_of_a_renamed_node_are_the_same_connections() -> None:
    assert edges_of(draw(BEFORE, AFTER)) == ["added", "removed", "unchanged", "unchanged"]


def test_no_status_is_told_by_colour_alone() -> None:
    said = words(draw(BEFORE, AFTER))
    assert {"+", "−", "~", "→"} <= set(said) and {"added", "removed", "changed", "renamed"} <= set(said)


def test_a_changed_node_lists_its_paths_and_never_a_value() -> None:
    picture = diff_picture(BEFORE, AFTER, diff(BEFORE, AFTER), labels=("acme/dev", "acme/prod"))
    said = words(parse(picture))
    assert "+ retry" in said and "~ url" in said and "was Code" in said and "acme/dev → acme/prod" in said
    assert "https://a" not in picture and "https://b" not in picture


def test_many_changes_of_a_node_are_counted() -> None:
    after = workflow(node("HTTP", **{f"key{number}": number for number in range(9)}))
    assert "… 7 more changes" in words(draw(workflow(node("HTTP")), after))


def test_a_workflow_on_one_side_alone_is_added_or_removed() -> None:
    assert {status for status, _ in nodes_of(draw(None, AFTER))} == {"added"}
    assert {status for status, _ in nodes_of(draw(BEFORE, None))} == {"removed"}
    assert nodes_of(draw(None, None)) == []


def test_a_diff_that_was_stored_gives_the_same_picture() -> None:
    found = diff(BEFORE, AFTER)
    assert diff_picture(BEFORE, AFTER, from_json(json.loads(json.dumps(as_json(found))))) == diff_picture(BEFORE, AFTER, found)


def test_what_changed_beside_nodes_is_told_in_the_heading() -> None:
    after = {**copy.deepcopy(BEFORE), "name": "Orders 2", "settings": {"timezone": "Europe/Paris"}}
    said = words(draw(BEFORE, after))
    assert "Orders → Orders 2" in said and "+ settings.timezone" in said


def test_it_is_told_to_those_who_do_not_see_it() -> None:
    picture = draw(BEFORE, AFTER)
    assert picture.attrib["role"] == "img" and picture.attrib["aria-labelledby"] == "wf-title wf-desc"
    assert "removed: Gone" in (picture.findtext(f"{SVG}desc") or "")


def test_a_removed_node_stands_where_it_would_stand_on_a_canvas_that_was_moved() -> None:
    moved = copy.deepcopy(BEFORE)
    for entry in moved["nodes"]:
        entry["position"] = [entry["position"][0] + 5000, 3000]
    moved["nodes"] = [entry for entry in moved["nodes"] if entry["name"] != "Gone"]
    model = build_model(BEFORE, moved, diff(BEFORE, moved))
    assert {entry.name: entry.place for entry in model.nodes}["Gone"] == (5660.0, 3000.0)


@pytest.mark.parametrize("name", ["<b>&\"'", "\x00\x08\ufffe\uffff", "\ud800 lone", "مرحبا بالعالم", "\u202eevil", "👩‍👩‍👧‍👦" * 40, "]]>", "a\nb\tc"])
def test_any_name_gives_well_formed_xml(name: str) -> None:
    before, after = workflow(node(name)), workflow(node(name, url=1), **{name: to(name)})
    (shown,) = nodes_of(draw({**before, "name": name}, {**after, "name": name}))
    assert shown == ("changed", readable(name))


def test_a_long_name_is_cut_and_stands_in_full_in_the_title() -> None:
    name = "Send the weekly report to everybody who asked for it"
    picture = draw(None, workflow(node(name)))
    assert nodes_of(picture) == [("added", name)]
    assert any(text.endswith("…") and name.startswith(text[:-1]) for text in words(picture))


def test_secrets_are_masked_wherever_they_stand() -> None:
    secret = "ghp_" + "a1B2c3D4e5" * 4
    note = {"name": "Note", "type": STICKY_NOTE, "position": [-40, -40], "parameters": {"content": secret, "width": 400}}
    before = {**workflow(node("A"), node(secret, 300), note), "name": f"Key {secret}"}
    after = {**workflow(node("A", **{secret: 1}), note, A=to(secret)), "settings": {secret: 1}}
    assert secret not in diff_picture(before, after, diff(before, after), labels=(secret, secret))


def test_connections_into_nothing_are_counted() -> None:
    content = workflow(node("A"), A=to("Nobody"), Ghost=to("A"))
    assert any("2 connections to or from nodes that do not exist" in text for text in words(draw(content, content)))


def test_in_a_large_workflow_what_is_far_from_changes_is_small() -> None:
    names = [f"Step {number}" for number in range(100)]
    before = workflow(*(node(name, 220 * number) for number, name in enumerate(names)),
                      **{name: to(follower) for name, follower in pairwise(names)})
    after = copy.deepcopy(before)
    after["nodes"][50]["parameters"] = {"url": "x"}
    svg = diff_picture(before, after, diff(before, after))
    assert "97 nodes far from changes drawn small" in words(parse(svg))
    assert len(nodes_of(parse(svg))) == 100


def test_it_can_be_told_how_wide_it_may_show_itself() -> None:
    picture = parse(diff_picture(BEFORE, AFTER, diff(BEFORE, AFTER), max_width=500))
    _, _, wide, high = map(float, picture.attrib["viewBox"].split())
    assert picture.attrib["width"] == "500" and wide > 500
    assert float(picture.attrib["height"]) == pytest.approx(high * 500 / wide, abs=1)


def test_the_size_is_bounded() -> None:
    def many(count: int) -> JsonObject:
        return workflow(*(node(f"A rather long name of a node {n}", 220 * (n % 20), 200 * (n // 20)) for n in range(count)),
                        **{f"A rather long name of a node {n}": to(f"A rather long name of a node {n + 1}") for n in range(count)})
    changed = many(100)
    for entry in changed["nodes"]:
        entry["parameters"] = {f"some.long.path.of.{n}": {"deep": n} for n in range(20)}
    assert len(diff_picture(many(100), changed, diff(many(100), changed))) < 200_000
    assert len(diff_picture(None, many(100), diff(None, many(100)))) < 100_000
    assert len(diff_picture(None, many(3000), diff(None, many(3000)))) < 700_000


@law
@given(hostile_contents(), hostile_contents())
def test_whatever_a_workflow_holds_the_picture_is_well_formed(before: JsonObject, after: JsonObject) -> None:
    svg = diff_picture(before, after, diff(before, after))
    count = sum(entry.get("type") != STICKY_NOTE for entry in after["nodes"])
    assert len([1 for status, _ in nodes_of(parse(svg)) if status != "removed"]) == count
    assert not re.search(r"nan|inf\b", "".join(re.findall(r'(?: d|transform|viewBox|[xy])="[^"]*"', svg)))


@law
@given(contents(), contents())
def test_every_node_of_the_diff_is_in_the_picture_once(before: JsonObject, after: JsonObject) -> None:
    found = diff(before, after)
    listed = sorted((change.kind.removeprefix("node_"), readable(change.node)) for change in found.changes
                    if change.kind in ("node_added", "node_removed"))
    drawn = nodes_of(draw(before, after))
    assert sorted(pair for pair in drawn if pair[0] in ("added", "removed")) == listed
    within = {readable(change.node) for change in found.changes if change.kind in ("node_changed", "credentials_changed")}
    assert {name for status, name in drawn if status == "changed"} == within


@law
@given(contents())
def test_nothing_is_coloured_where_nothing_changed(content: JsonObject) -> None:
    moved = copy.deepcopy(content)
    for entry in moved["nodes"]:
        entry["id"] = entry["id"][::-1]
    picture = draw(content, moved)
    assert {status for status, _ in nodes_of(picture)} <= {"unchanged"} and set(edges_of(picture)) <= {"unchanged"}


@law
@given(contents(), contents(), st.randoms(use_true_random=False))
def test_the_same_workflows_give_the_same_bytes(before: JsonObject, after: JsonObject, random: Any) -> None:
    once = diff_picture(before, after, diff(before, after))
    again = copy.deepcopy(after)
    assert diff_picture(copy.deepcopy(before), again, diff(before, again)) == once
    once.encode()


@law
@given(st.lists(st.tuples(odd_positions, st.booleans()), max_size=30), st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29))))
def test_odd_positions_neither_break_nor_blow_up_the_picture(odd: list[tuple[Any, bool]], links: list[tuple[int, int]]) -> None:
    entries = [{**node(f"N{number}"), "position": position} for number, (position, _) in enumerate(odd)]
    connections: JsonObject = {}
    for source, target in links:
        connections.setdefault(f"N{source}", to())["main"][0].append({"node": f"N{target}", "type": "main", "index": 0})
    content = workflow(*entries, **connections)
    before = workflow(*(entry for entry, (_, kept) in zip(entries, odd, strict=True) if kept))
    picture = draw(before, content)
    assert len(nodes_of(picture)) == len(odd)
    _, _, wide, high = map(float, picture.attrib["viewBox"].split())
    assert wide < 12_000 and high < 12_000


@law
@given(st.lists(st.tuples(st.integers(-900, 900), st.integers(-900, 900), st.sampled_from([18, 128, 184]),
                          st.sampled_from([18, 28, 46, 106])), max_size=40))
def test_no_box_lies_upon_another(given_boxes: list[tuple[int, int, int, int]]) -> None:
    boxes = [Box(float(wide), float(high), small=wide == 18) for _, _, wide, high in given_boxes]
    arrange(boxes, complete_places([(float(x), float(y)) for x, y, _, _ in given_boxes], []))
    for number, one in enumerate(boxes):
        for other in boxes[number + 1:]:
            assert one.right <= other.x or other.right <= one.x or one.bottom <= other.y or other.bottom <= one.y


def test_nodes_without_positions_follow_their_connections() -> None:
    places = complete_places([None] * 4, [(0, 1), (1, 2), (1, 3)])
    assert [x for x, _ in places] == [0, 220, 440, 440] and places[2] != places[3]


@law
@given(any_text, st.integers(20, 200))
def test_a_cut_text_fits(text: str, room: int) -> None:
    shown = readable(text * 20)
    assert BOLD.width(cut(shown, room, BOLD)) <= max(room, BOLD.width("…"))
    assert MONO.width(cut_front(shown, room, MONO)) <= max(room, MONO.width("…"))


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of real workflows is not here")
def test_real_workflows_can_be_drawn() -> None:
    drawn = 0
    for path in sorted(CORPUS.rglob("*.json"))[::6]:
        try:
            content = read_content(parse_json(path.read_bytes()))
        except MalformedWorkflow:
            continue
        after = copy.deepcopy(content)
        after["nodes"] = after["nodes"][1:]
        picture = draw(content, after)
        gone = content["nodes"][0]["type"] != STICKY_NOTE
        assert len([1 for status, _ in nodes_of(picture) if status == Status.REMOVED]) == gone
        drawn += 1
    assert drawn > 20
