"""Remotes that say, send or name things without end: each is ended, and costs neither memory nor disk (§25)."""

from __future__ import annotations

import contextlib
import itertools
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wfops_pipelines.domain.errors import IncompleteRead, Rejected, Unreachable
from wfops_pipelines.git import command, objects, output
from wfops_pipelines.git.address import parse_address
from wfops_pipelines.git.clone import Clone
from wfops_pipelines.git.open import open_repository
from wfops_pipelines.git.repository import RepositorySource
from wfops_pipelines_tests.git.conftest import Remote, within
from wfops_pipelines_tests.servers.hostile import HostileServer, Request, http
from wfops_pipelines_tests.servers.processes import eventually, processes_with

HEAD = "a" * 40
MUCH = 256 * 1024 ** 2  # bytes, of which nobody may take more than a few


def line(content: bytes) -> bytes:
    """A line of Git's protocol."""
    return b"%04x" % (len(content) + 4) + content


@contextlib.contextmanager
def flooding(pieces: Callable[[], Iterator[bytes]]) -> Iterator[tuple[HostileServer, list[int]]]:
    """A Git server that has one branch, and answers whoever fetches it with these lines; and how many bytes it has sent."""
    sent: list[int] = []

    def script(request: Request) -> bytes | Iterator[bytes]:
        if request.method == "GET":
            lines = (b"version 2\n", b"ls-refs\n", b"fetch=shallow filter\n", b"object-format=sha1\n")
            return http(200, line(b"# service=git-upload-pack\n") + b"0000" + b"".join(map(line, lines)) + b"0000",
                        content_type="application/x-git-upload-pack-advertisement")
        if b"command=ls-refs" in request.body:
            return http(200, line(f"{HEAD} refs/heads/main\n".encode()) + b"0000",
                        content_type="application/x-git-upload-pack-result")
        return flood()

    def flood() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\ncontent-type: application/x-git-upload-pack-result\r\nconnection: close\r\n\r\n"
        yield line(b"packfile\n")
        for piece in pieces():
            sent.append(len(piece))
            yield line(piece)

    with HostileServer(script) as server:
        yield server, sent


def messages() -> Iterator[bytes]:
    """Progress that is made without end."""
    for _ in range(MUCH // 60_000):
        yield b"\x02" + (b"x" * 99 + b"\n") * 600


def test_one_that_tells_of_its_progress_without_end_is_hung_up_on(tmp_path: Path) -> None:
    with flooding(messages) as (server, sent):
        with pytest.raises(Rejected, match="more than 4 MiB to say"):
            open_repository(RepositorySource(f"{server.url}/acme.git"), cache=tmp_path).tree(HEAD, "")
        eventually(lambda: not processes_with(server.url))
    assert sum(sent) < MUCH, "it was not read to its end"


def test_a_local_command_that_prints_more_than_is_asked_for_is_ended(file_remote: Remote) -> None:
    head = file_remote.bare.commit({"a.json": b"x" * 3_000_000})
    clone = cloned(file_remote, head)
    assert len(clone.git.run("cat-file", "blob", f"{head}:a.json").stdout) == 3_000_000
    with pytest.raises(Rejected, match="git cat-file was ended: it had more than 2 MiB to say"):
        clone.git.run("cat-file", "blob", f"{head}:a.json", most=2 * 1024 ** 2)


def test_much_is_asked_and_answered_at_the_same_time(file_remote: Remote) -> None:
    clone = cloned(file_remote, file_remote.bare.commit({"a.json": b"1"}))
    names = [f"{number:040x}" for number in range(100_000)]
    assert clone.sizes(names) == dict.fromkeys(names)


def test_a_local_command_ends_when_the_time_for_calls_is_over(file_remote: Remote) -> None:
    head = file_remote.bare.commit({"a.json": b"1"})
    clone = cloned(file_remote, head)
    with pytest.raises(Unreachable, match="git rev-parse did not finish"):
        within(0, lambda: clone.git.run("rev-parse", head))


def test_who_leaves_a_helper_with_its_output_is_not_waited_for(
        file_remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = cloned(file_remote, file_remote.bare.commit({"a.json": b"1"}))
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "git").write_text(f"#!/bin/sh\necho said\n/bin/sh -c 'read -r never < {tmp_path}/fifo' &\nexit 0\n")
    (programs / "git").chmod(0o755)
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    assert clone.git.run("rev-parse").stdout == b"said\n"
    eventually(lambda: not processes_with(f"{tmp_path}/fifo"))


def pack() -> Iterator[bytes]:
    """A pack of one object without end, which cannot be made any smaller."""
    yield b"\x01PACK" + (2).to_bytes(4, "big") + (1).to_bytes(4, "big") + b"\xb0\x80\x80\x80\x80\x80\x01"
    stored = zlib.compressobj(0)
    for _ in range(MUCH // 30_000):
        yield b"\x01" + stored.compress(os.urandom(30_000)) + stored.flush(zlib.Z_SYNC_FLUSH)


def test_a_pack_without_end_is_given_up_and_nothing_of_it_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "MOST_WRITTEN_BYTES", 8 * 1024 ** 2)
    with flooding(pack) as (server, sent), pytest.raises(Rejected, match=r"more would be written .*\(name a repository"):
        open_repository(RepositorySource(f"{server.url}/acme.git"), cache=tmp_path).tree(HEAD, "")
    assert 8 * 1024 ** 2 < sum(sent) < MUCH, "it was not read to its end"
    assert largest(tmp_path) < 1024 ** 2


def test_nothing_stays_of_a_pack_that_breaks_off(tmp_path: Path) -> None:
    def begun() -> Iterator[bytes]:
        yield from itertools.islice(pack(), 100)
        eventually(lambda: largest(tmp_path) > 1024 ** 2)

    with flooding(begun) as (server, _), pytest.raises(IncompleteRead):
        open_repository(RepositorySource(f"{server.url}/acme.git"), cache=tmp_path).tree(HEAD, "")
    assert largest(tmp_path) < 1024 ** 2


def test_what_was_killed_while_it_wrote_a_pack_is_removed_by_the_next_fetch(http_remote: Remote) -> None:
    clone = cloned(http_remote, http_remote.bare.commit({"a.json": b"1"}))
    packs = clone.directory / "objects" / "pack"
    left = [packs / "tmp_pack_abc", packs / ".tmp-12-pack-abc.pack"]
    for file in left:
        file.touch()
    clone.fetch_commit(http_remote.bare.commit({"a.json": b"2"}))
    assert not any(file.exists() for file in left)
    assert [file for file in packs.iterdir() if file.suffix == ".pack"]


def largest(folder: Path) -> int:
    """The size of the largest file below a folder, in bytes, while files come and go."""
    sizes = [0]
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            sizes.append(file.stat().st_size)
    return max(sizes)


def bomb(remote: Remote, levels: int, *, name: str = "d") -> str:
    """A commit of a dozen small objects that names ten to the power of ``levels`` files (a "git bomb")."""
    bare = remote.bare
    made, entry = bare.text("hash-object", "-w", "--stdin", data=b"boom"), "100644 blob"
    for _ in range(levels):
        made = bare.text("mktree", data="".join(f"{entry} {made}\t{name}{number}\n" for number in range(10)).encode())
        entry = "040000 tree"
    commit = bare.text("-c", "user.name=a", "-c", "user.email=a@b", "commit-tree", made, "-m", "x")
    bare.git("update-ref", "refs/heads/main", commit)
    return commit


def test_a_repository_that_names_files_without_end_is_refused(http_remote: Remote) -> None:
    head = bomb(http_remote, 30)
    repository = http_remote.open()
    with pytest.raises(Rejected, match="the repository holds more than 100,000 files"):
        repository.tree(head, "")
    with pytest.raises(Rejected, match=r"the folder 'd1/d2' holds more than 100,000 files \(name the folder"):
        repository.tree(head, "d1/d2")
    eventually(lambda: not processes_with(f"ls-tree -z --full-tree -r -l {head}"))
    assert [entry.path for entry in repository.tree(head, "/".join(["d0"] * 29))][:2] == [f"{'d0/' * 29}d{n}" for n in (0, 1)]


def test_a_repository_whose_paths_have_no_end_is_refused(file_remote: Remote) -> None:
    head = bomb(file_remote, 30, name="x" * 200)
    with pytest.raises(Rejected, match="the repository holds files whose paths are more than 64 MiB long together"):
        file_remote.open().tree(head, "")


def test_as_many_files_as_may_be_are_read_and_not_one_more(file_remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    head = file_remote.bare.commit({f"flows/{number}.json": b"1" for number in range(20)} | {"a.json": b"1"})
    monkeypatch.setattr(objects, "MAX_ENTRIES", 20)
    assert len(file_remote.open().tree(head, "flows")) == 20
    with pytest.raises(Rejected, match="more than 20 files"):
        file_remote.open().tree(head, "")


@pytest.mark.parametrize("size", [0, 1000, output.KEPT_MESSAGE_BYTES, 2 * output.KEPT_MESSAGE_BYTES])
@pytest.mark.parametrize("piece", [7, 65536])
def test_messages_are_kept_whole_as_long_as_they_are_short(size: int, piece: int) -> None:
    said = bytes(97 + number % 26 for number in range(size))
    messages = output.Messages()
    for start in range(0, size, piece):
        messages.add(said[start:start + piece])
    assert messages.text() == said.decode()


@pytest.mark.parametrize("piece", [1000, 65536])
def test_of_long_messages_the_beginning_and_the_end_are_kept_by_whole_lines(piece: int) -> None:
    said = b"error: first\n" + b"remote: s3cr3t\n" * 10_000 + b"fatal: last\n"
    messages = output.Messages()
    for start in range(0, len(said), piece):
        messages.add(said[start:start + piece])
    lines = messages.text().splitlines()
    assert (lines[0], lines[-1]) == ("error: first", "fatal: last")
    assert len(messages.text()) <= 2 * output.KEPT_MESSAGE_BYTES + 100
    assert {text for text in lines[1:-1] if "bytes left out" not in text} == {"remote: s3cr3t"}


def cloned(remote: Remote, head: str) -> Clone:
    """A clone that has the commit."""
    clone = Clone(parse_address(remote.source.url), secret=lambda: remote.source.secret, cache=remote.cache)
    clone.fetch_commit(head)
    return clone
