"""Files that are no workflows, names of every kind, and what stays of a file that breaks (§7, §25)."""

from __future__ import annotations

import json
import uuid

import pytest

from wfops_pipelines_tests.services.fleet import FleetUnderTest, file_bytes, workflow


def test_each_odd_file_is_recorded_with_path_and_reason_and_the_rest_goes_on(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.push_files({
        "good.json": file_bytes(workflow("Good")), "broken.json": b'{"name": ', "latin.json": '{"name": "Grün"}'.encode("latin-1"),
        "list.json": b"[1, 2]", "text.json": b'"hello"', "no-nodes.json": b'{"name": "x"}', "empty.json": b"",
        "key.json": json.dumps({**workflow("K"), "wfops": {"canonical_id": "no uuid"}}).encode(),
        "link.json": ("120000", b"good.json"), "module": ("160000", b"a" * 40),
        "conflict.json": b"<<<<<<< ours\n{}\n=======\n{}\n>>>>>>> theirs\n",
        "lfs.json": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n",
    })
    result = prod.read_git()
    assert (result.files, result.added, result.errors) == (1, 1, 11)
    assert prod.problems() == {
        "broken.json": "invalid_json", "latin.json": "not_utf8", "list.json": "not_a_workflow", "text.json": "not_a_workflow",
        "no-nodes.json": "not_a_workflow", "empty.json": "invalid_json", "key.json": "invalid_key", "link.json": "symlink",
        "module": "submodule", "conflict.json": "invalid_json", "lfs.json": "invalid_json"}
    for problem in result.problems:
        assert problem["path"] in problem["message"]
    events = len(fleet.events("git.file_unreadable"))
    assert events == 11
    prod.push_files({"another.json": file_bytes(workflow("Another"))})
    assert prod.read_git().errors == 11
    assert len(fleet.events("git.file_unreadable")) == events  # what stays unreadable is told once


def test_a_file_larger_than_n8n_takes_is_refused_by_its_size(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.push_files({"big.json": file_bytes(workflow("Big", text="x" * (17 * 1024 * 1024))), "a.json": file_bytes(workflow("A"))})
    result = prod.read_git()
    assert (result.files, prod.problems()) == (1, {"big.json": "too_large"})


def test_a_broken_file_keeps_its_last_good_state_until_it_is_mended(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A"))
    (path,) = prod.files()
    good, before = prod.files()[path], prod.git_states()[path]
    prod.push_files({path: b"{"})
    result = prod.read_git()
    assert (result.errors, result.removed, result.files) == (1, 0, 1)
    assert prod.git_states()[path] == before
    assert prod.check().status == "IN_SYNC"
    prod.push_files({path: good})
    assert prod.read_git().errors == 0
    prod.push_files({path: file_bytes(workflow("A", text="mended", id=one), key=before.canonical_id)})
    prod.read_git()
    assert prod.git_states()[path].canonical_id == before.canonical_id


def test_a_file_that_claims_the_workflow_of_a_broken_one_is_a_copy(fleet: FleetUnderTest) -> None:
    prod, key = fleet["prod"], uuid.uuid4()
    prod.push_workflow("a.json", workflow("A"), key=key)
    prod.read_git()
    prod.push_files({"a.json": b"{", "b.json": file_bytes(workflow("A"), key=key)})
    result = prod.read_git()
    assert prod.problems() == {"a.json": "invalid_json", "b.json": "duplicate_id"}
    assert (prod.canonical("a.json"), result.files) == (key, 2)
    prod.push_files({"a.json": None})
    assert prod.read_git().errors == 0
    assert prod.canonical("b.json") == key


@pytest.mark.parametrize("name", [
    "with space.json", "ünïcödé.json", "日本語/🚀.json", "quote\"'.json", "tab\there.json", "back\\slash.json", "-dash.json",
    "a" * 200 + ".json", "UPPER.JSON", "semi;colon&.json", "new\nline.json"])
def test_any_path_is_read(fleet: FleetUnderTest, name: str) -> None:
    fleet["prod"].push_workflow(name, workflow("A"))
    result = fleet["prod"].read_git()
    assert (result.files, result.errors) == (1, 0)
    assert list(fleet["prod"].git_states()) == [name]


def test_a_file_name_that_is_not_utf8_is_an_error_that_shows_it(fleet: FleetUnderTest) -> None:
    fleet.repository.commit({b"prod/gr\xfcn.json": file_bytes(workflow("A")), "prod/b.json": file_bytes(workflow("B"))})
    result = fleet["prod"].read_git()
    assert (result.files, result.errors) == (1, 1)
    assert "gr" in result.problems[0]["path"] and result.problems[0]["reason"] == "not_utf8"


def test_a_byte_order_mark_and_carriage_returns_are_read(fleet: FleetUnderTest) -> None:
    text = json.dumps(workflow("A"), indent=2).replace("\n", "\r\n").encode()
    fleet["prod"].push_files({"a.json": b"\xef\xbb\xbf" + text})
    assert fleet["prod"].read_git().added == 1


# -- two files that name one n8n workflow ----------------------------------------------------------------------------------


def test_of_two_files_that_name_one_workflow_the_second_is_an_error_that_names_both(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.push_files({"b.json": file_bytes(workflow("B", id="w1")), "a.json": file_bytes(workflow("A", id="w1"))})
    (problem,) = prod.read_git().problems
    assert (problem["path"], problem["reason"]) == ("prod/b.json", "duplicate_workflow_id")
    for told in ("prod/a.json", "prod/b.json", "w1", "wfops resolve acme prod w1 --keep git --file prod/a.json"):
        assert told in problem["message"]
    assert prod.canonical("a.json") != prod.canonical("b.json")  # each is known by its path
    prod.push_workflow("c.json", workflow("C"))
    assert prod.read_git().problems == [problem]
    assert len(fleet.events("git.file_unreadable")) == 1


def test_the_file_of_what_the_workflow_is_linked_to_is_no_error(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("Z"))
    prod.push_workflow("a.json", workflow("A", id=one))
    prod.read_git()
    assert prod.problems() == {"a.json": "duplicate_workflow_id"}
    assert prod.mapping(one).status == "linked"


def test_the_error_ends_when_the_copy_names_another_workflow_or_is_gone(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.push_files({name: file_bytes(workflow(name, id="w1")) for name in ("a.json", "b.json", "c.json")})
    prod.read_git()
    assert set(prod.problems()) == {"b.json", "c.json"}
    prod.push_files({"b.json": file_bytes(workflow("b.json", id="w2")), "c.json": b"{"})
    prod.read_git()
    assert prod.problems() == {"c.json": "invalid_json"}
    prod.push_files({"c.json": None})
    prod.read_git()
    assert prod.problems() == {}


def test_a_workflow_that_two_files_name_is_left_out_of_an_export_until_one_counts(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.push_files({"a.json": file_bytes(workflow("A", id="w1")), "b.json": file_bytes(workflow("B", id="w1"))})
    prod.create_in_n8n(workflow("C", id="w1"))
    export = prod.export(prune=True)
    (left,) = export.ambiguous
    assert (export.files, left["workflow_id"], left["reason"]) == ([], "w1", "ambiguous")
    assert "prod/a.json, prod/b.json" in left["message"] and "--keep git --file prod/a.json" in left["fix"]
    assert {c["canonical_id"] for c in left["candidates"]} == {str(prod.canonical("a.json")), str(prod.canonical("b.json"))}
