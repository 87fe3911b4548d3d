"""Git servers that answer in ways that no Git server does: asking one for a head ends, whatever it sends (§7, §25)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from wfops_pipelines.domain.errors import IncompleteRead, OutsideError, Unreachable
from wfops_pipelines.git import github_calls, ls_refs
from wfops_pipelines.git.open import open_repository
from wfops_pipelines.git.plain import PlainRepository
from wfops_pipelines.git.repository import RepositorySource
from wfops_pipelines_tests.git.conftest import Remote
from wfops_pipelines_tests.servers.hostile import HostileServer, Request, Script, drop_by_drop, http, self_signed

HEAD = "a" * 40
RESULT = {"content_type": "application/x-git-upload-pack-result"}


def named(line: bytes) -> bytes:
    """The answer that names one reference."""
    return f"{len(line) + 4:04x}".encode() + line + b"0000"


def head_of(script: Script, tmp_path: Path) -> str | None:
    """What is asked of a server, and what is made of its answer."""
    with HostileServer(script) as server:
        return open_repository(RepositorySource(f"{server.url}/acme.git"), cache=tmp_path).head("main")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ls_refs, "WHOLE_SECONDS", 0.5)


def test_an_answer_in_one_piece_or_many_is_the_head(tmp_path: Path) -> None:
    answer = http(200, named(f"{HEAD} refs/heads/main\n".encode()), close=True, **RESULT)
    assert head_of(lambda _: answer, tmp_path) == HEAD
    assert head_of(lambda _: drop_by_drop(answer, every=0), tmp_path) == HEAD


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("first", [0, 10, 200], ids=["nothing", "a part of the head", "a part of the body"])
def test_one_that_answers_drop_by_drop_is_given_up(tmp_path: Path, first: int) -> None:
    answer = http(200, b"x" * 100_000, **RESULT)

    def script(_: Request) -> Iterator[bytes]:
        yield answer[:first]
        yield from drop_by_drop(answer[first:])

    with pytest.raises(Unreachable, match="no whole answer"):
        head_of(script, tmp_path)


@pytest.mark.usefixtures("impatient")
def test_one_that_answers_drop_by_drop_over_tls_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, pem = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    ls_refs._tls.cache_clear()
    try:
        with HostileServer(lambda _: drop_by_drop(http(200, b"x" * 100_000, **RESULT)), tls=context) as server, \
                pytest.raises(Unreachable, match="no whole answer"):
            open_repository(RepositorySource(f"{server.url}/acme.git"), cache=tmp_path).head("main")
    finally:
        ls_refs._tls.cache_clear()


def test_a_github_that_answers_drop_by_drop_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github_calls, "WHOLE_SECONDS", 0.5)
    with HostileServer(lambda _: drop_by_drop(http(200, b" " * 100_000))) as server, \
            pytest.raises(Unreachable, match="no whole answer"):
        open_repository(RepositorySource(f"{server.url}/acme/flows", provider="github", secret="t", api_url=server.url),
                        cache=tmp_path).head("main")


def test_one_that_names_branches_without_end_is_hung_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ls_refs, "MAX_ANSWER_BYTES", 100_000)
    sent = []

    def script(_: Request) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\ncontent-type: application/x-git-upload-pack-result\r\n\r\n"
        while True:
            sent.append(65536)
            yield b"0" * 65536

    with pytest.raises(IncompleteRead, match="of branches"):
        head_of(script, tmp_path)
    assert sum(sent) < 64 * 1024 ** 2, "it was not read to its end"


@pytest.mark.parametrize("name", [b"abc\0def", b"main", b"", b"A" * 40, b"\xff" * 40])
def test_a_head_that_is_no_commit_is_an_error_of_the_server(tmp_path: Path, name: bytes) -> None:
    answer = http(200, named(name + b" refs/heads/main\n"), close=True, **RESULT)
    with pytest.raises(OutsideError):
        head_of(lambda _: answer, tmp_path)


@pytest.mark.parametrize("other", [b"refs/heads/\xff/refs/heads/main", b"refs/heads/x/refs/heads/main"])
def test_a_branch_whose_name_ends_like_the_one_that_is_asked_for_is_another(file_remote: Remote, other: bytes) -> None:
    head = file_remote.bare.commit({"a.json": b"1"})
    subprocess.run([b"git", b"-C", str(file_remote.bare.path).encode(), b"update-ref", other, head.encode()], check=True)
    repository = file_remote.open()
    assert isinstance(repository, PlainRepository) and repository.head("main") == head
