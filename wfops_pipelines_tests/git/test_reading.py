"""Reading repositories (§7), the same for every kind of remote."""

from __future__ import annotations

import shutil
import tracemalloc
from pathlib import Path

import pytest

from wfops_pipelines.domain.errors import MalformedFile, NotFound, UsageError
from wfops_pipelines.git.repository import EntryKind, Repository
from wfops_pipelines_tests.git.conftest import Remote

ODD = ["with space.json", "umlaut-äöü.json", "rtl-سلام.json", "emoji-🚀.json", 'quote".json', "back\\slash.json",
       "new\nline.json", "tab\t.json", "-dash.json", ":(glob)*.json", "deep/er/file.json"]


def read_all(repository: Repository, commit: str, folder: str = "") -> dict[str, bytes | None]:
    """Every file below a folder by its path."""
    entries = [entry for entry in repository.tree(commit, folder) if entry.kind is EntryKind.FILE]
    contents = dict(repository.read_blobs(commit, {entry.blob for entry in entries}))
    return {entry.path: contents[entry.blob] for entry in entries}


def test_an_empty_repository_has_no_head(remote: Remote) -> None:
    assert remote.open().head("main") is None


def test_a_missing_branch_has_no_head(remote: Remote) -> None:
    remote.bare.commit({"a.json": b"{}"})
    remote.bare.commit({"a.json": b"{}"}, branch="main2")
    repository = remote.open()
    assert repository.head("mai") is None
    assert repository.head("feature/x") is None
    assert repository.head("main") == remote.bare.head()


def test_a_head_follows_its_branch_even_when_it_is_forced_or_deleted(remote: Remote) -> None:
    repository = remote.open()
    assert repository.head("main") is None
    first = remote.bare.commit({"a.json": b"1"})
    assert repository.head("main") == first
    second = remote.bare.commit({"a.json": b"2"})
    assert repository.head("main") == second
    forced = remote.bare.commit({"b.json": b"3"}, orphan=True)
    assert repository.head("main") == forced
    assert (repository.contains(second, first), repository.contains(forced, second)) == (True, False)
    remote.bare.git("update-ref", "-d", "refs/heads/main")
    assert repository.head("main") is None


def test_a_repository_that_is_not_there_is_said_to_be_missing(remote: Remote) -> None:
    remote.bare.commit({"a.json": b"1"})
    shutil.rmtree(remote.bare.path)
    with pytest.raises(NotFound) as caught:
        remote.open().head("main")
    assert caught.value.fix


def test_files_are_read_whatever_their_names_and_bytes(remote: Remote) -> None:
    files = {name: name.encode() for name in ODD} | {"crlf.json": b"\xef\xbb\xbf{\r\n}\r\n", "binary.json": b"\x00\xff",
                                                     "empty.json": b""}
    head = remote.bare.commit({f"dev/{name}": content for name, content in files.items()})
    assert read_all(remote.open(), head, "dev") == {f"dev/{name}": content for name, content in files.items()}


def test_a_path_that_is_no_utf8_can_be_named(remote: Remote) -> None:
    head = remote.bare.commit({b"dev/latin-\xe4.json": b"{}"})
    assert read_all(remote.open(), head) == {"dev/latin-\udce4.json": b"{}"}


def test_symlinks_and_submodules_are_marked_and_executables_are_files(remote: Remote) -> None:
    head = remote.bare.commit({"dev/link.json": ("120000", b"/etc/passwd"), "dev/run.json": ("100755", b"{}"),
                               "dev/module": ("160000", b"1" * 40)})
    kinds = {entry.path: entry.kind for entry in remote.open().tree(head, "dev")}
    assert kinds == {"dev/link.json": EntryKind.SYMLINK, "dev/run.json": EntryKind.FILE,
                     "dev/module": EntryKind.SUBMODULE}


def test_only_what_is_below_the_folder_is_listed(remote: Remote) -> None:
    head = remote.bare.commit({"dev/a.json": b"1", "dev-2/b.json": b"2", "c.json": b"3", "my flows/d.json": b"4"})
    repository = remote.open()
    assert [entry.path for entry in repository.tree(head, "/dev/")] == ["dev/a.json"]
    assert [entry.path for entry in repository.tree(head, "my flows")] == ["my flows/d.json"]
    assert len(repository.tree(head, "")) == 4
    assert repository.tree(head, "absent") == []
    assert repository.tree(head, "dev/absent/deep") == []


@pytest.mark.parametrize("entry", [("100644", b"{}"), ("120000", b"elsewhere"), ("160000", b"1" * 40)])
def test_a_folder_that_is_none_is_an_error_and_not_empty(remote: Remote, entry: tuple[str, bytes]) -> None:
    head = remote.bare.commit({"dev": entry})
    with pytest.raises(MalformedFile) as caught:
        remote.open().tree(head, "dev")
    assert caught.value.reason == "not_a_folder"


def test_a_file_too_large_is_reported_and_not_read(remote: Remote) -> None:
    head = remote.bare.commit({"big.json": b"x" * 3000, "small.json": b"{}", "edge.json": b"y" * 1000})
    repository = remote.open()
    blobs = {entry.path: entry.blob for entry in repository.tree(head, "")}
    read = dict(repository.read_blobs(head, blobs.values(), max_bytes=1000))
    assert {path: read[blob] for path, blob in blobs.items()} == {"big.json": None, "small.json": b"{}",
                                                                  "edge.json": b"y" * 1000}


def test_a_file_of_100_mb_never_gets_into_memory(remote: Remote) -> None:
    head = remote.bare.commit({"a.json": b"{}"})
    repository = remote.open()
    read_all(repository, head)
    later = remote.bare.commit({"huge.json": bytes(100_000_000), "b.json": b"[]"})
    tracemalloc.start()
    try:
        assert read_all(repository, later) == {"a.json": b"{}", "b.json": b"[]", "huge.json": None}
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_sizes_are_known_once_contents_are_here(remote: Remote) -> None:
    head = remote.bare.commit({"a.json": b"12345"})
    repository = remote.open()
    read_all(repository, head)
    assert [entry.size for entry in repository.tree(head, "")] == [5]


def test_each_blob_comes_once(remote: Remote) -> None:
    head = remote.bare.commit({"a.json": b"same", "b.json": b"same"})
    repository = remote.open()
    blobs = [entry.blob for entry in repository.tree(head, "")]
    assert len(blobs) == 2
    assert list(repository.read_blobs(head, blobs)) == [(blobs[0], b"same")]
    assert list(repository.read_blobs(head, [])) == []


def test_the_last_commit_of_a_path_is_found(remote: Remote) -> None:
    first = remote.bare.commit({"a b.json": b"1"}, message="Subject ✓\n\nBody")
    second = remote.bare.commit({"other.json": b"1"}, message="other")
    found = remote.open().last_commit(second, "a b.json")
    assert found is not None
    assert (found.sha, found.author, found.email, found.message) == (first, "Ada", "ada@example.com", "Subject ✓\n\nBody")
    assert found.time.timestamp() == 1700000000
    assert remote.open().last_commit(second, "never.json") is None


def test_a_commit_that_is_not_there_is_not_found(remote: Remote) -> None:
    remote.bare.commit({"a.json": b"1"})
    with pytest.raises(NotFound):
        remote.open().tree("f" * 40, "")
    with pytest.raises(UsageError):
        remote.open().tree("main", "")


def test_a_broken_clone_is_made_anew(remote: Remote) -> None:
    head = remote.bare.commit({f"{number}.json": b"%d" % number for number in range(20)})
    assert len(read_all(remote.open(), head)) == 20
    clone = next(remote.cache.glob("*/clone.git"))
    for pack in clone.glob("objects/pack/*.pack"):
        pack.chmod(0o644)
        pack.write_bytes(pack.read_bytes()[:40])
    for loose in clone.glob("objects/??/*"):
        loose.chmod(0o644)
        loose.write_bytes(b"")
    assert len(read_all(remote.open(), head)) == 20
    later = remote.bare.commit({"later.json": b"later"})
    assert read_all(remote.open(), later)["later.json"] == b"later"


@pytest.mark.parametrize("damage", ["config", "HEAD", "wfops-format", "packs", "everything"])
def test_a_half_made_clone_is_made_anew(remote: Remote, damage: str) -> None:
    head = remote.bare.commit({"a.json": b"a"})
    read_all(remote.open(), head)
    clone = next(remote.cache.glob("*/clone.git"))
    if damage == "packs":
        shutil.rmtree(clone / "objects")
    elif damage == "everything":
        shutil.rmtree(clone)
    else:
        (clone / damage).unlink()
    assert read_all(remote.open(), head) == {"a.json": b"a"}


def test_a_repository_object_survives_the_loss_of_its_cache(remote: Remote) -> None:
    head = remote.bare.commit({"a.json": b"a"})
    repository = remote.open()
    read_all(repository, head)
    shutil.rmtree(remote.cache)
    assert read_all(repository, head) == {"a.json": b"a"}


def test_nothing_outside_the_cache_is_written(remote: Remote, tmp_path: Path) -> None:
    head = remote.bare.commit({"a.json": b"a"})
    before = {path for path in tmp_path.rglob("*") if remote.cache not in path.parents and path != remote.cache}
    read_all(remote.open(), head)
    assert {path for path in tmp_path.rglob("*") if remote.cache not in path.parents and path != remote.cache} == before
