"""Git servers that answer in ways that no Git server does: asking one for a head ends, whatever it sends (§7, §25)."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wfops_pipelines.domain.errors import IncompleteRead, OutsideError, Unreachable
from wfops_pipelines.git import github_calls, ls_refs
from wfops_pipelines.git.address import parse_address
from wfops_pipelines.git.clone import Clone
from wfops_pipelines.git.open import open_repository
from wfops_pipelines.git.plain import PlainRepository
from wfops_pipelines.git.repository import RepositorySource
from wfops_pipelines_tests.git.conftest import TOKEN, Remote, within
from wfops_pipelines_tests.servers.hostile import (
    HostileServer,
    Request,
    Script,
    drop_by_drop,
    http,
    refs_without_end,
    self_signed,
)
from wfops_pipelines_tests.servers.processes import child_environment, eventually, processes_with

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


ASKS = """
import sys, time
from pathlib import Path
from wfops_pipelines import calls
from wfops_pipelines.git.address import parse_address
from wfops_pipelines.git.clone import Clone
from wfops_pipelines.git.open import open_repository
from wfops_pipelines.git.repository import RepositorySource
from wfops_pipelines.unwaited import call_unwaited

def ask():
    calls.end_by(time.monotonic() + float(sys.argv[3]))
    open_repository(RepositorySource(sys.argv[1]), cache=Path(sys.argv[2])).head("main")

call_unwaited(ask)
sys.stdin.read()
"""


@contextlib.contextmanager
def asking(server: HostileServer, cache: Path, *, seconds: float) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours that ends when its standard input does, and whose git is just being answered; it may take so long."""
    command = [sys.executable, "-c", ASKS, f"{server.url}/acme.git", str(cache), str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=child_environment()) as process:
        eventually(lambda: any(request.method == "GET" for request in server.requests))
        assert processes_with(f"{server.url}/acme.git")
        yield process
        process.kill()


def test_git_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    with HostileServer(refs_without_end) as server, asking(server, tmp_path, seconds=600) as process:
        process.communicate(timeout=60)
        assert process.returncode == 0
        eventually(lambda: not processes_with(server.url))


@pytest.mark.skipif(shutil.which("timeout") is None, reason="the machine has no program `timeout`")
def test_git_ends_in_time_though_the_process_that_started_it_was_killed(tmp_path: Path) -> None:
    with HostileServer(refs_without_end) as server, asking(server, tmp_path, seconds=10) as process:
        process.kill()
        process.wait()
        assert processes_with(server.url)
        eventually(lambda: not processes_with(server.url))


def test_a_machine_without_the_program_that_ends_git_reads_repositories_all_the_same(
        http_remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = http_remote.bare.commit({"a.json": b"1"})
    programs = tmp_path / "bin"
    programs.mkdir()
    git = shutil.which("git")
    assert git is not None
    (programs / "git").symlink_to(git)
    monkeypatch.setenv("PATH", str(programs))
    assert [entry.path for entry in http_remote.open().tree(head, "")] == ["a.json"]


FORKS = """
import os, signal, subprocess, threading
from pathlib import Path
from wfops_pipelines.git import processes

held = threading.Event()

def starting():
    with processes._running.alone:
        held.set()
        threading.Event().wait()

threading.Thread(target=starting, daemon=True).start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(30)
    processes.end(processes.start(["true"], cwd=Path("/"), environment=os.environ, stdin=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL))
    os._exit(0)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 255)
"""


def test_a_forked_process_starts_git_though_its_parent_was_just_starting_one() -> None:
    assert subprocess.run([sys.executable, "-c", FORKS], env=child_environment(), timeout=120, check=False).returncode == 0


def test_nobody_waits_for_a_clone_that_is_being_fetched_beyond_the_time_that_calls_have(http_remote: Remote) -> None:
    head = http_remote.bare.commit({"a.json": b"1"})
    clone = Clone(parse_address(http_remote.source.url), secret=lambda: TOKEN, cache=http_remote.cache)
    clone.ensure()
    with clone.lock(), pytest.raises(Unreachable, match="another process"):
        within(0.5, lambda: http_remote.open().tree(head, ""))
