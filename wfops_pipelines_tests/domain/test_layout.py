"""Which paths are workflow files, and how one is read and written (§5.6, §7, §25)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.errors import MalformedFile
from wfops_pipelines.domain.layout import (
    MAX_FILE_BYTES,
    file_name,
    find_duplicate_ids,
    is_workflow_path,
    read_file,
    render_file,
    select_workflow_paths,
)
from wfops_pipelines.domain.normalize import content_hash
from wfops_pipelines_tests.domain.workflow_strategies import JsonObject, any_text, contents, law

ID = UUID("5a1f0c1e-6f3c-4a58-9a55-0d5f3b1f7c11")
WORKFLOW: JsonObject = {"name": "Order intake", "nodes": [], "connections": {}, "settings": {}}
CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"


def data(document: Any = WORKFLOW, **more: Any) -> bytes:
    return json.dumps({**document, **more} if isinstance(document, dict) else document).encode()


def reason_of(content: bytes) -> str:
    with pytest.raises(MalformedFile) as caught:
        read_file("prod/x.json", content)
    assert str(caught.value).startswith("prod/x.json: ")
    return caught.value.reason


class TestPaths:
    def test_in_the_source_control_layout_workflows_and_files_beside_them_are_read(self) -> None:
        paths = ["prod/workflows/a.json", "prod/workflows/team/b.JSON", "prod/c.json", "prod/archive/d.json",
                 "prod/tags.json", "prod/folders.json", "prod/variable_stubs.json", "prod/workflow_owners.json",
                 "prod/credential_stubs/1.json", "prod/projects/1.json", "prod/datatables/1.json", "prod/README.md"]
        assert select_workflow_paths(paths, "prod") == ["prod/c.json", "prod/workflows/a.json", "prod/workflows/team/b.JSON"]

    def test_in_the_plain_layout_every_json_file_is_read_at_any_depth(self) -> None:
        paths = ["a.json", "Sales & CRM/b.json", "Sales & CRM/deep/ü 日本.json", ".github/c.json", "x/.hidden/d.json",
                 ".prettierrc.json", "tags.json", "credential_stubs/e.json", "node_modules/f.json", "notes.txt"]
        assert select_workflow_paths(paths, "") == ["Sales & CRM/b.json", "Sales & CRM/deep/ü 日本.json", "a.json"]

    @pytest.mark.parametrize("folder", ["prod", "/prod/", "./prod"])
    def test_a_folder_is_not_one_whose_name_only_starts_like_it(self, folder: str) -> None:
        assert select_workflow_paths(["prod/a.json", "production/b.json", "x/prod/c.json"], folder) == ["prod/a.json"]

    def test_the_folders_of_other_environments_inside_are_theirs(self) -> None:
        paths = ["a.json", "prod/b.json", "prod/deep/c.json", "other/d.json"]
        assert select_workflow_paths(paths, "", other_folders=["prod", ""]) == ["a.json", "other/d.json"]
        assert select_workflow_paths(paths, "prod", other_folders=["", "dev"]) == ["prod/b.json", "prod/deep/c.json"]

    def test_of_an_n8n_package_the_metadata_and_the_manifest_are_passed_over(self) -> None:
        paths = ["manifest.json", "workflows/order-1/workflow.json", "workflows/order-1/workflow-metadata.json",
                 "tags/t/tag.json"]
        assert select_workflow_paths(paths, "") == ["workflows/order-1/workflow.json"]

    @pytest.mark.parametrize(("path", "expected"), [
        ("prod/a.json", True), ("prod/workflows/.x/a.json", False), ("prod/../a.json", False), ("prod", False),
        ("prod/.json", False), ("prod/tags.json", False), ("prod/team/tags.json", True), ("dev/a.json", False),
    ])
    def test_one_path_alone(self, path: str, expected: bool) -> None:
        assert is_workflow_path(path, "prod") is expected


class TestReading:
    def test_the_wfops_key_says_what_is_wanted(self) -> None:
        file = read_file("a.json", data(id="abc", active=True, wfops={"canonical_id": str(ID), "active": False, "tags": ["b", "a"]}))
        assert (file.workflow_id, file.canonical_id, file.active, file.tags) == ("abc", ID, False, ("a", "b"))
        assert not file.read_only
        assert file.content == WORKFLOW

    def test_without_the_key_nothing_is_wanted(self) -> None:
        file = read_file("a.json", data(active=True, tags=[{"name": "x"}], isArchived=True, id=12))
        assert (file.workflow_id, file.canonical_id, file.active, file.tags, file.archived) == ("12", None, None, None, True)

    def test_a_file_of_n8n_source_control_is_read_only(self) -> None:
        theirs = data(id="abc", versionId="v", owner={"type": "personal"}, triggerCount=0)
        assert read_file("a.json", theirs).read_only
        assert not read_file("a.json", data(id="abc", versionId="v")).read_only  # an API answer somebody saved
        assert not read_file("a.json", data(versionId="v", owner={}, wfops={})).read_only

    @pytest.mark.parametrize("convert", [
        lambda text: b"\xef\xbb\xbf" + text, lambda text: text.replace(b"\n", b"\r\n"), lambda text: b"[" + text + b"]",
        lambda text: b"\xef\xbb\xbf\r\n" + text.replace(b"\n", b"\r\n") + b"\r\n\r\n",
    ])
    def test_byte_order_marks_line_ends_and_lists_of_one_make_no_difference(self, convert: Any) -> None:
        assert read_file("a.json", convert(json.dumps(WORKFLOW, indent=2).encode())).content == WORKFLOW

    @pytest.mark.parametrize(("content", "reason"), [
        (json.dumps({**WORKFLOW, "name": "é"}, ensure_ascii=False).encode("latin-1"), "not_utf8"),
        (b"\xff\xfe" + json.dumps(WORKFLOW).encode("utf-16-le"), "not_utf8"),
        (b"", "invalid_json"), (b"\xef\xbb\xbf", "invalid_json"), (b"{", "invalid_json"), (b"{} {}", "invalid_json"),
        (b'{"name": NaN, "nodes": [], "connections": {}}', "invalid_json"), (b"[" * 100_000, "invalid_json"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "invalid_json"),
        (b"null", "not_a_workflow"), (b"[]", "not_a_workflow"), (b"[1]", "not_a_workflow"), (b"{}", "not_a_workflow"),
        (data([WORKFLOW, WORKFLOW]), "not_a_workflow"), (data(nodes={}), "not_a_workflow"), (data(connections=[]), "not_a_workflow"),
        (data(name=1), "not_a_workflow"), (data(nodes=[None]), "not_a_workflow"), (b'{"version": 1}', "not_a_workflow"),
        (b" " * (MAX_FILE_BYTES + 1), "too_large"),
        (data(wfops=[]), "invalid_key"), (data(wfops=None), "invalid_key"), (data(wfops={"active": "yes"}), "invalid_key"),
        (data(wfops={"tags": "a"}), "invalid_key"), (data(wfops={"tags": [1]}), "invalid_key"),
        (data(wfops={"canonical_id": 5}), "invalid_key"), (data(wfops={"canonical_id": "x"}), "invalid_key"),
    ])
    def test_a_file_that_is_no_workflow_says_why(self, content: bytes, reason: str) -> None:
        assert reason_of(content) == reason

    def test_the_field_of_the_key_and_the_way_out_are_named(self) -> None:
        with pytest.raises(MalformedFile, match=r"wfops\.canonical_id is no UUID"):
            read_file("a.json", data(wfops={"canonical_id": "x"}))
        with pytest.raises(MalformedFile, match="Git LFS pointer"):
            read_file("a.json", b"version https://git-lfs.github.com/spec/v1\n")
        with pytest.raises(MalformedFile, match="conflict markers"):
            read_file("a.json", b'{\n<<<<<<< HEAD\n"a": 1}')

    def test_no_content_of_the_file_is_quoted(self) -> None:
        with pytest.raises(MalformedFile) as caught:
            read_file("a.json", b'{"password": hunter2}')
        assert "hunter2" not in str(caught.value)


class TestWriting:
    def test_a_file_reads_well_in_a_diff(self) -> None:
        node = {"type": "t", "name": "N", "id": "1", "position": [0, 0], "webhookId": "w", "parameters": {"é": "日\0\ud800"}}
        written = render_file({**WORKFLOW, "nodes": [node]}, workflow_id="abc", canonical_id=ID, active=True, tags=["b", "a", "b"])
        assert written == f"""\
{{
  "connections": {{}},
  "id": "abc",
  "name": "Order intake",
  "nodes": [
    {{
      "id": "1",
      "name": "N",
      "parameters": {{
        "é": "日\\u0000\\ud800"
      }},
      "position": [
        0,
        0
      ],
      "type": "t",
      "webhookId": "w"
    }}
  ],
  "settings": {{}},
  "wfops": {{
    "active": true,
    "canonical_id": "{ID}",
    "tags": [
      "a",
      "b"
    ]
  }}
}}
""".encode()

    @law
    @given(contents(), st.none() | any_text.filter(bool), st.none() | st.uuids(), st.none() | st.booleans(),
           st.none() | st.lists(any_text, max_size=3), st.booleans())
    def test_what_is_written_is_read_back(self, content: JsonObject, workflow_id: str | None, canonical_id: UUID | None,
                                          active: bool | None, tags: list[str] | None, archived: bool) -> None:
        written = render_file(content, workflow_id=workflow_id, canonical_id=canonical_id, active=active, tags=tags,
                              archived=archived)
        file = read_file("a.json", written)
        assert (file.workflow_id, file.canonical_id, file.active, file.archived) == (workflow_id, canonical_id, active, archived)
        assert file.tags == (None if tags is None else tuple(sorted(set(tags))))
        assert file.content == content
        assert content_hash(file.content) == content_hash(content)
        assert not file.read_only
        again = render_file(file.content, workflow_id=workflow_id, canonical_id=canonical_id, active=active, tags=file.tags,
                            archived=archived)
        assert again == written

    def test_nothing_of_one_instance_is_written(self) -> None:
        raw = data(id="1", pinData={"a": []}, staticData={}, shared=[], versionId="v", meta={}, updatedAt="x", active=True)
        written = render_file(read_file("a.json", raw).content, workflow_id="1", canonical_id=None, active=None, tags=None)
        assert set(json.loads(written)) == {"connections", "id", "name", "nodes", "settings", "wfops"}

    @pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of real workflows is not here")
    def test_real_workflows_survive_writing_and_reading(self) -> None:
        reasons = []
        for path in sorted(CORPUS.rglob("*.json")):
            try:
                file = read_file(path.name, path.read_bytes())
            except MalformedFile as error:
                reasons.append(error.reason)
                continue
            written = render_file(file.content, workflow_id=file.workflow_id, canonical_id=ID, active=False, tags=[])
            again = read_file(path.name, written)
            assert again.content == file.content
            assert again.workflow_id == file.workflow_id
        assert reasons == ["invalid_json"] * 3


class TestNames:
    @pytest.mark.parametrize(("name", "expected"), [
        ("Order intake", "order-intake.json"), ("  Éléonore's   Straße! ", "eleonores-strasse.json"), ("a/b\\c", "a-b-c.json"),
        ("../../etc/passwd", "etc-passwd.json"), (".hidden", "hidden.json"), ("注文 ✅", "workflow-5a1f0c1e.json"), ("", "workflow-5a1f0c1e.json"),
        ("CON", "con-5a1f0c1e.json"), ("com1", "com1-5a1f0c1e.json"), ("Tags", "tags-5a1f0c1e.json"), ("\0\ud800x", "x.json"),
    ])
    def test_a_name_is_readable_and_portable(self, name: str, expected: str) -> None:
        assert file_name(name, str(ID), []) == expected

    def test_a_name_that_is_taken_gets_the_start_of_the_id(self) -> None:
        taken = {"prod/Order-Intake.JSON"}
        assert file_name("Order intake", str(ID), taken) == "order-intake-5a1f0c1e.json"
        assert file_name("Order intake", str(ID), {*taken, "order-intake-5a1f0c1e.json"}) == "order-intake-5a1f0c1e6f3c.json"

    def test_a_long_name_is_cut_between_words(self) -> None:
        name = file_name("word " * 60, str(ID), [])
        assert name == "-".join(["word"] * 16) + ".json"
        assert len(file_name("x" * 500, str(ID), [])) == 85

    @law
    @given(st.lists(any_text | st.text("aA./ -", max_size=3) | st.sampled_from(["nul", "x" * 300]), max_size=12))
    def test_no_two_names_are_the_same_file_and_none_leaves_the_folder(self, names: list[str]) -> None:
        taken: list[str] = []
        for name in names:
            taken.append(file_name(name, str(ID), taken))
        assert len({name.casefold() for name in taken}) == len(names)
        for name in taken:
            assert is_workflow_path(f"prod/{name}", "prod")
            assert name.isascii()
            assert "/" not in name
            assert len(name) < 140


def test_ids_claimed_twice_are_found_with_all_their_files() -> None:
    other = UUID(int=7)
    files = [("b.json", ID), ("a.json", ID), ("c.json", other), ("d.json", None), ("e.json", None)]
    assert find_duplicate_ids(files) == {ID: ["a.json", "b.json"]}
