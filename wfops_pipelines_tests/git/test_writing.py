"""Commits (§7, export), the same for every kind of remote."""

from __future__ import annotations

import threading
from datetime import datetime
from pathlib import Path

import pytest

from wfops_pipelines.domain.errors import HeadMoved, OutsideError, Rejected, UsageError
from wfops_pipelines_tests.git.conftest import BY, Remote
from wfops_pipelines_tests.git.test_reading import ODD


def test_a_commit_sets_and_deletes_files_on_top_of_the_head(remote: Remote) -> None:
    head = remote.bare.commit({"dev/a.json": b"1", "dev/b.json": b"2", "keep/c.json": b"3"})
    made = remote.open().commit("main", expected_head=head, message="Export ✓\n\nTwo files", changes={
        "dev/a.json": b"new", "dev/b.json": None, "dev/never.json": None, "deep/er/d.json": b"4"}, **BY)
    assert remote.bare.head() == made
    assert remote.bare.files() == {"dev/a.json": b"new", "keep/c.json": b"3", "deep/er/d.json": b"4"}
    shown = remote.bare.text("log", "-1", "--format=%P|%an|%ae|%at|%cn|%ct|%B", made).strip()
    assert shown == f"{head}|Ada Lovelace|ada@example.com|1767323045|Ada Lovelace|1767323045|Export ✓\n\nTwo files"


def test_odd_paths_and_bytes_are_written_as_they_are(remote: Remote) -> None:
    head = remote.bare.commit({"a.json": b"1"})
    files = {f"dev/{name}": name.encode() for name in ODD} | {"crlf.json": b"{\r\n}\r\n", "binary": b"\x00\xff\xfe"}
    remote.open().commit("main", expected_head=head, changes=files, message="odd", **BY)
    assert remote.bare.files() == files | {"a.json": b"1"}


def test_the_first_commit_of_an_empty_repository(remote: Remote) -> None:
    made = remote.open().commit("main", expected_head=None, changes={"a.json": b"1", "b/c.json": b"2"}, message="one", **BY)
    assert remote.bare.head() == made
    assert remote.bare.text("rev-list", "--count", made) == "1"
    assert remote.bare.files() == {"a.json": b"1", "b/c.json": b"2"}


def test_a_new_branch_starts_afresh(remote: Remote) -> None:
    head = remote.bare.commit({"a.json": b"1"})
    made = remote.open().commit("team/x", expected_head=None, changes={"b.json": b"2"}, message="one", **BY)
    assert (remote.bare.head(), remote.bare.head("team/x")) == (head, made)
    assert remote.bare.files(made) == {"b.json": b"2"}


def test_a_branch_that_is_there_already_is_not_started_afresh(remote: Remote) -> None:
    head = remote.bare.commit({"a.json": b"1"})
    with pytest.raises(HeadMoved):
        remote.open().commit("main", expected_head=None, changes={"b.json": b"2"}, message="one", **BY)
    assert remote.bare.head() == head


def test_when_nothing_differs_nothing_is_written(remote: Remote) -> None:
    head = remote.bare.commit({"a.json": b"1"})
    assert remote.open().commit("main", expected_head=head, changes={"a.json": b"1", "gone.json": None}, message="no",
                                **BY) == head
    assert remote.bare.head() == head


def test_a_head_that_moved_is_never_overwritten(remote: Remote) -> None:
    head = remote.bare.commit({"a.json": b"1"})
    repository = remote.open()
    repository.tree(head, "")
    theirs = remote.bare.commit({"a.json": b"theirs"})
    with pytest.raises(HeadMoved) as caught:
        repository.commit("main", expected_head=head, changes={"a.json": b"ours"}, message="x", **BY)
    assert caught.value.transient
    assert remote.bare.head() == theirs


def test_a_branch_that_was_set_back_or_deleted_is_not_revived(remote: Remote) -> None:
    first = remote.bare.commit({"a.json": b"1"})
    second = remote.bare.commit({"a.json": b"2"})
    repository = remote.open()
    repository.tree(second, "")
    remote.bare.git("update-ref", "refs/heads/main", first)
    with pytest.raises(HeadMoved):
        repository.commit("main", expected_head=second, changes={"a.json": b"3"}, message="x", **BY)
    assert remote.bare.head() == first
    remote.bare.git("update-ref", "refs/heads/other", first)
    remote.bare.git("update-ref", "-d", "refs/heads/main")
    with pytest.raises(HeadMoved):
        repository.commit("main", expected_head=second, changes={"a.json": b"3"}, message="x", **BY)
    assert remote.bare.head() is None


def test_of_two_writers_one_wins_and_the_other_hears_that_the_head_moved(remote: Remote, tmp_path: Path) -> None:
    head = remote.bare.commit({"a.json": b"1"})
    together = threading.Barrier(4)
    outcomes: list[str] = []

    def write(number: int) -> None:
        cache = remote.cache if number % 2 else tmp_path / f"cache{number}"
        repository = remote.open(cache=cache)
        repository.tree(head, "")
        together.wait()
        try:
            outcomes.append(repository.commit("main", expected_head=head, changes={"a.json": b"%d" % (number + 10)},
                                              message=f"from {number}", **BY))
        except HeadMoved:
            outcomes.append("moved")

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(outcomes).count("moved") == 3
    assert remote.bare.head() in outcomes
    assert remote.bare.text("rev-list", "--count", "main") == "2"


def test_a_remote_whose_hook_declines_leaves_the_branch_and_says_why(remote: Remote) -> None:
    if remote.kind == "github":
        pytest.skip("GitHub has rules in place of hooks: test_github.py")
    head = remote.bare.commit({"a.json": b"1"})
    remote.bare.hook("pre-receive", "echo 'no pushes on Fridays' >&2; exit 1")
    with pytest.raises(Rejected) as caught:
        remote.open().commit("main", expected_head=head, changes={"a.json": b"2"}, message="x", **BY)
    assert "hook declined" in str(caught.value)
    assert "no pushes on Fridays" in str(caught.value)
    assert remote.bare.head() == head


@pytest.mark.parametrize("path", ["../a.json", "/a.json", "a//b.json", "a/./b", ".git/config", "x/.GIT/hooks/y", "", "a\0b"])
def test_a_path_that_leaves_the_repository_is_refused(remote: Remote, path: str) -> None:
    head = remote.bare.commit({"a.json": b"1"})
    with pytest.raises(UsageError):
        remote.open().commit("main", expected_head=head, changes={path: b"2"}, message="x", **BY)
    assert remote.bare.head() == head


@pytest.mark.parametrize("branch", ["", "-x", "a..b", "a b", "x.lock", "refs/", "a\nb", "@{u}", "a//b", ".a"])
def test_a_name_that_git_allows_no_branch_is_refused(file_remote: Remote, branch: str) -> None:
    with pytest.raises(UsageError):
        file_remote.open().head(branch)
    with pytest.raises(UsageError):
        file_remote.open().commit(branch, expected_head=None, changes={"a": b""}, message="x", **BY)


def test_an_author_cannot_smuggle_lines_into_a_commit(file_remote: Remote) -> None:
    made = file_remote.open().commit("main", expected_head=None, changes={"a.json": b"1"}, message="data 5\n\nM x",
                                     author="Eve <e@x> 1 +0000\ncommitter Root", email="e\n<>@x", when=BY["when"])
    assert file_remote.bare.text("log", "-1", "--format=%an|%ae|%cn|%B", made).strip() == (
        "Eve e@x 1 +0000 committer Root|e @x|Eve e@x 1 +0000 committer Root|data 5\n\nM x")


def test_a_time_without_a_zone_is_refused(remote: Remote) -> None:
    with pytest.raises(UsageError):
        remote.open().commit("main", expected_head=None, changes={"a.json": b"1"}, message="x", author="A", email="a@b",
                             when=datetime(2026, 1, 1))


def test_no_rejected_write_leaves_references_behind(http_remote: Remote) -> None:
    head = http_remote.bare.commit({"a.json": b"1"})
    http_remote.bare.hook("pre-receive", "exit 1")
    with pytest.raises(OutsideError):
        http_remote.open().commit("main", expected_head=head, changes={"a.json": b"2"}, message="x", **BY)
    clone = next(http_remote.cache.glob("*/clone.git"))
    assert not list((clone / "refs" / "wfops" / "writing").glob("*"))


def test_thousands_of_files_make_one_commit(remote: Remote) -> None:
    head = remote.bare.commit({"a.json": b"1"})
    files: dict[str, bytes | None] = {f"dev/{number}.json": b"%d" % number for number in range(700)}
    remote.open().commit("main", expected_head=head, changes=files, message="many", **BY)
    assert len(remote.bare.files()) == 701 if remote.kind != "github" else len(
        remote.bare.text("ls-tree", "-r", "main").splitlines()) == 701
    assert remote.bare.text("rev-list", "--count", "main") == "2"
