"""Reading YAML with the line of everything in it, and nothing that YAML should not do (§2.6, §25)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.errors import InvalidDocument
from wfops_pipelines.domain.yaml_lines import MAX_CHARACTERS, read_yaml


def problem(text: str) -> InvalidDocument:
    with pytest.raises(InvalidDocument) as refused:
        read_yaml(text, file="f.yaml")
    assert refused.value.file == "f.yaml"
    return refused.value


def test_scalars_are_what_they_look_like() -> None:
    text = ("[yes, no, on, off, 0777, 2020-01-01, 12:30, 1_000, 0x1F, 1e3, '1', true, False, null, ~, 7, -7, 1.5, "
            "99999999999999999999]")
    assert read_yaml(text, file="f").value == [
        "yes", "no", "on", "off", "0777", "2020-01-01", "12:30", "1_000", "0x1F", "1e3", "1", True, False, None, None, 7,
        -7, 1.5, "99999999999999999999"]


def test_an_empty_value_is_null_and_keys_are_text() -> None:
    assert read_yaml("a:\n1: x\ntrue: y\n", file="f").value == {"a": None, "1": "x", "true": "y"}


def test_every_part_has_its_line() -> None:
    document = read_yaml("a: 1\nb:\n  - x\n  - c: 2\n    d:\n      e: 3\n", file="f")
    lines = {(): 1, ("a",): 1, ("b",): 2, ("b", 0): 3, ("b", 1): 4, ("b", 1, "c"): 4, ("b", 1, "d", "e"): 6}
    assert {path: document.line_of(path) for path in lines} == lines


def test_what_is_not_there_has_the_line_of_what_is_around_it() -> None:
    document = read_yaml("a: 1\nb:\n  - x\n  - c: 2\n", file="f")
    assert [document.line_of(path) for path in (("b", 1, "gone"), ("b", 9), ("a", "x"), ("z",))] == [4, 2, 1, 1]


def test_merge_keys_give_way_to_what_the_mapping_says_itself() -> None:
    document = read_yaml("base: &base {a: 1, b: 2}\nmore: &more {b: 3, c: 4}\n"
                         "it:\n  <<: [*base, *more]\n  a: 9\n", file="f")
    assert document.value == {"base": {"a": 1, "b": 2}, "more": {"b": 3, "c": 4}, "it": {"a": 9, "b": 2, "c": 4}}
    assert [document.line_of(["it", key]) for key in "abc"] == [5, 1, 2]


def test_a_byte_order_mark_and_crlf_are_read() -> None:
    document = read_yaml("\ufeffa: 1\r\nb: 2\r\n", file="f")
    assert document.value == {"a": 1, "b": 2}
    assert document.line_of(["b"]) == 2


def test_json_is_read_too() -> None:
    assert read_yaml(json.dumps({"a": [1, {"b": None}]}), file="f").value == {"a": [1, {"b": None}]}


@pytest.mark.parametrize(("text", "line", "words"), [
    ("", 1, "empty"),
    ("# only a comment\n", 1, "empty"),
    ("a: 1\nb: [1,\n", 3, "no YAML"),
    ("a: b: c", 1, "no YAML"),
    ("a: 1\n\tb: 2", 2, "no YAML"),
    ("a: 1\n--- \nb: 2", 2, "no YAML"),
    ("a: 1\nb: *nowhere", 2, "no YAML"),
    ("a: 1\nb: \x00", 2, "character"),
    ("a: 1\nb: \ud800", 2, "character"),
    ("a: 1\nb: !!python/object/apply:os.system [ls]", 2, "tag"),
    ("a: !!str 1", 1, "tag"),
    ("a: !secret x", 1, "tag"),
    ("a: 1\n? [x]\n: 2", 2, "key must be text"),
    ("a: 1\n<<: 3", 2, "mapping"),
    ("a: &a\n  b: *a", 1, "part of"),
    ("a: &a {<<: *a}", 1, "part of"),
])
def test_what_cannot_be_read_is_refused_with_its_line(text: str, line: int, words: str) -> None:
    refused = problem(text)
    assert words in str(refused)
    assert refused.line == line


def test_every_duplicate_key_is_reported() -> None:
    refused = problem("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n")
    assert [(p.line, p.message) for p in refused.problems] == [
        (4, "the key 'c' stands here and on line 3"), (5, "the key 'a' stands here and on line 1")]
    assert str(refused).splitlines() == [
        "f.yaml:4: the key 'c' stands here and on line 3", "f.yaml:5: the key 'a' stands here and on line 1"]


@pytest.mark.parametrize("text", ["a: hunter2: x", "a: [hunter2", "a: 'hunter2", "hunter2\x00", "a: !hunter2 x",
                                  "? [hunter2]\n: 1", "a: \"hunter2\\q\"", "a: {hunter2: 1, hunter2"])
def test_no_message_shows_the_line_it_is_about(text: str) -> None:
    assert "hunter2" not in str(problem(text))


def test_a_billion_laughs_are_refused_before_they_are_expanded() -> None:
    levels = "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 10)}]\n" for n in range(12))
    assert "too large" in str(problem(f"a: &a [{','.join('1' * 10)}]\n{levels}"))


def test_a_chain_of_aliases_is_refused_before_it_is_too_deep_to_walk() -> None:
    links = "".join(f"a{n + 1}: &a{n + 1} [*a{n}]\n" for n in range(5000))
    assert "too deep" in str(problem(f"a0: &a0 [1]\n{links}"))


def test_brackets_without_end_are_refused_and_do_not_end_the_process() -> None:
    assert "nested deeper" in str(problem("[" * 300_000))


def test_a_document_of_any_size_is_not_read() -> None:
    assert "larger than" in str(problem("a" * (MAX_CHARACTERS + 1)))


printable = st.text(st.characters(min_codepoint=32, max_codepoint=0xD7FF, exclude_characters="\x7f\x85"), max_size=12)


@given(st.recursive(st.none() | st.booleans() | st.integers(-10**15, 10**15) | printable,
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(printable, inner, max_size=4),
                    max_leaves=15))
def test_any_json_comes_back_as_it_was(value: object) -> None:
    text = json.dumps(value, ensure_ascii=True)
    assert read_yaml(text, file="f").value == value


@given(st.text(max_size=60) | st.text(alphabet="ab:-[]{}&*!|>'\"%@`,? \n\t<#~0", max_size=40))
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    try:
        document = read_yaml(text, file="f")
    except InvalidDocument:
        return
    assert document.line_of(["a", 0]) >= 1
