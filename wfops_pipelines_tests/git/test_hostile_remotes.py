"""Git servers that answer in ways that no Git server does: asking one for a head ends, whatever it sends (§7, §25)."""

from __future__ import annotations

import contextlib
import contextvars
import gzip
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wfops_pipelines import calls
from wfops_pipelines.domain.errors import IncompleteRead, OutsideError, Rejected, Unreachable
from wfops_pipelines.git import github, github_calls, github_connection, ls_refs
from wfops_pipelines.git.address import parse_address
from wfops_pipelines.git.clone import Clone
from wfops_pipelines.git.open import open_repository
from wfops_pipelines.git.plain import PlainRepository
from wfops_pipelines.git.repository import Repository, RepositorySource
from wfops_pipelines.git.tls import shared_context
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


@contextlib.contextmanager
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ssl.SSLContext]:
    """What a server shows itself with, trusted within the block."""
    context, pem = self_signed(tmp_path)
    with monkeypatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(pem))
        shared_context.cache_clear()
        try:
            yield context
        finally:
            shared_context.cache_clear()


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
    with (trusted(tmp_path, monkeypatch) as context,
          HostileServer(lambda _: drop_by_drop(http(200, b"x" * 100_000, **RESULT)), tls=context) as server,
          pytest.raises(Unreachable, match="no whole answer")):
        open_repository(RepositorySource(f"{server.url}/acme.git"), cache=tmp_path).head("main")


def open_github(url: str, tmp_path: Path) -> Repository:
    return open_repository(RepositorySource(f"{url}/acme/flows", provider="github", secret="t", api_url=url), cache=tmp_path)


def calls_end() -> bool:
    """Whether every thread that asked somebody has come to its end."""
    asking = [thread for thread in threading.enumerate() if thread.name == "unwaited"]
    for thread in asking:
        thread.join(30)
    return not any(thread.is_alive() for thread in asking)


@pytest.mark.parametrize("first", [0, 10, 200], ids=["nothing", "a part of the head", "a part of the body"])
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_a_github_that_answers_drop_by_drop_is_hung_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int,
                                                          tls: bool) -> None:
    monkeypatch.setattr(github_connection, "WHOLE_SECONDS", 0.5)
    answer = http(200, b" " * 100_000)

    def script(_: Request) -> Iterator[bytes]:
        yield answer[:first]
        yield from drop_by_drop(answer[first:])

    with (trusted(tmp_path, monkeypatch) as context, HostileServer(script, tls=context if tls else None) as server,
          pytest.raises(Unreachable, match="no whole answer")):
        try:
            open_github(server.url, tmp_path).head("main")
        finally:
            assert calls_end(), "nobody reads on"


def test_a_github_that_puts_off_its_answer_for_ever_is_asked_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github_connection, "WHOLE_SECONDS", 0.5)  # PyGithub asks again every two seconds
    with HostileServer(lambda _: http(202, {})) as server:
        with pytest.raises(Unreachable, match="no whole answer"):
            open_github(server.url, tmp_path).head("main")
        assert calls_end() and len(server.requests) == 1


@pytest.mark.parametrize("provider", ["git", "github"])
def test_where_no_time_was_left_nobody_is_said_not_to_have_answered_in_it(tmp_path: Path, provider: str) -> None:
    def ask() -> None:
        calls.end_by(time.monotonic())
        with HostileServer(lambda _: http(200, b"", **RESULT)) as server, pytest.raises(Unreachable, match="no time was left"):
            if provider == "git":
                open_repository(RepositorySource(f"{server.url}/acme.git"), cache=tmp_path).head("main")
            else:
                open_github(server.url, tmp_path).head("main")

    contextvars.copy_context().run(ask)


PORTAL = http(302, b"", location="http://127.0.0.1:9/login")


@pytest.mark.parametrize("answer", [
    pytest.param(PORTAL, id="a page to log in at"), pytest.param(http(307, b"", location="/elsewhere"), id="another place"),
    pytest.param(http(301, b"", location="http://localhost:9/elsewhere"), id="another host"),
    pytest.param(http(200, b""), id="nothing"), pytest.param(http(200, b"null"), id="null"), pytest.param(http(204, b""), id="no content"),
    pytest.param(http(304, b""), id="as before, though nobody asked"), pytest.param(http(200, b"<html></html>"), id="a web page"),
    pytest.param(http(200, b"[" * 50_000), id="nested"), pytest.param(http(200, {"object": None}), id="another shape"),
    pytest.param(http(422, {"message": {"a": 1}, "errors": 5}), id="an odd refusal"),
    pytest.param(http(200, {}, x_ratelimit_remaining="1", x_ratelimit_limit="1", x_ratelimit_reset="9" * 400), id="an odd limit"),
    pytest.param(http(403, {"message": "no"}, x_ratelimit_remaining="0", x_ratelimit_reset="9" * 4000), id="an absurd limit")])
@pytest.mark.parametrize("known", [False, True], ids=["not read before", "read before"])
def test_a_github_that_answers_what_github_does_not_is_an_error_and_neither_unchanged_nor_gone(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes, known: bool) -> None:
    monkeypatch.setattr(github_calls, "ATTEMPTS", 1)
    answers = [http(200, {"object": {"sha": HEAD}}, etag='"1"')] if known else []
    with HostileServer(lambda request: answers.pop() if answers else answer) as server:
        repository = open_github(server.url, tmp_path)
        if known:
            assert repository.head("main") == HEAD
        if known and answer.startswith(b"HTTP/1.1 304"):
            assert repository.head("main") == HEAD
        else:
            with pytest.raises(OutsideError):
                repository.head("main")


def test_a_branch_is_gone_only_where_its_repository_is_seen_to_be_there(tmp_path: Path) -> None:
    def answered(repository: bytes) -> str | None:
        with HostileServer(lambda asked: http(404, {"message": "Not Found"}) if "/git/ref/" in asked.path else repository) as server:
            return open_github(server.url, tmp_path).head("main")

    assert answered(http(200, {"full_name": "acme/flows"})) is None
    for odd in (PORTAL, http(200, b""), http(200, b"null"), http(200, {}), http(204, b"")):
        with pytest.raises(Rejected):
            answered(odd)


@pytest.mark.parametrize("limit", ["MAX_ANSWER_BYTES", "MAX_VALUES"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_github_whose_answer_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str,
                                                       compress: Callable[[bytes], bytes]) -> None:
    monkeypatch.setattr(github_connection, limit, 100_000)
    body = compress(b'{"object":{"sha":"%s"},"more":[%s0]}' % (HEAD.encode(), b"0," * 100_000))
    encoding = "identity" if compress is bytes else "gzip"
    with (HostileServer(lambda _: http(200, body, content_encoding=encoding)) as server,
          pytest.raises(Rejected, match="larger than any of GitHub's")):
        open_github(server.url, tmp_path).head("main")
    assert len(server.requests) == 1, "it is not asked for again"


def test_a_github_that_answers_without_end_is_hung_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github_connection, "MAX_ANSWER_BYTES", 100_000)
    sent = []

    def script(_: Request) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n\""
        while sum(sent) < 64 * 1024 ** 2:
            sent.append(65536)
            yield b"0" * 65536

    with HostileServer(script) as server, pytest.raises(Rejected, match="larger than any of GitHub's"):
        open_github(server.url, tmp_path).head("main")
    assert sum(sent) < 64 * 1024 ** 2, "it was not read to its end"


def test_a_github_that_waits_for_longer_than_there_is_time_is_not_waited_for(tmp_path: Path) -> None:
    waits: list[float] = []
    with HostileServer(lambda _: http(429, {"message": "later"}, retry_after="45")) as server:
        source = RepositorySource(f"{server.url}/acme/flows", provider="github", api_url=server.url)
        repository = github.open_github(source, cache=tmp_path, sleep=waits.append)

        def look() -> None:
            calls.end_by(time.monotonic() + 30)
            repository.head("main")

        with pytest.raises(Unreachable, match="later"):
            contextvars.copy_context().run(look)
    assert waits == []


def test_a_github_over_tls_is_asked_once_unless_somebody_vouches_for_it(tmp_path: Path,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    def script(_: Request) -> bytes:
        return http(200, {"object": {"sha": HEAD}})

    with trusted(tmp_path, monkeypatch) as context, HostileServer(script, tls=context) as server:
        assert open_github(server.url, tmp_path / "trusting").head("main") == HEAD
    shared_context.cache_clear()
    with HostileServer(script, tls=self_signed(tmp_path)[0]) as server:
        with pytest.raises(Unreachable, match="GitHub cannot be reached"):
            open_github(server.url, tmp_path / "doubting").head("main")
        assert server.connections == 1


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
