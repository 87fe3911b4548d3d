"""What goes wrong with plain remotes: each failure has its class, a way out, and gives no secret away (§2.5, §25)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest

from wfops_pipelines.domain.errors import (
    IncompleteRead,
    NotFound,
    OutsideError,
    Refused,
    Rejected,
    Unreachable,
    UsageError,
)
from wfops_pipelines.git.open import open_repository
from wfops_pipelines.git.repository import RepositorySource
from wfops_pipelines_tests.git.conftest import BY, TOKEN, Remote
from wfops_pipelines_tests.git.test_reading import read_all
from wfops_pipelines_tests.servers.bare import make_bare
from wfops_pipelines_tests.servers.git_http import GitHttpServer


def with_secret(remote: Remote, secret: str | None) -> Remote:
    """The same remote, entered with another secret."""
    return replace(remote, source=replace(remote.source, secret=secret))


@pytest.mark.parametrize("secret", [None, "wrong-t0ken"])
def test_a_token_that_is_refused(http_remote: Remote, secret: str | None) -> None:
    head = http_remote.bare.commit({"a.json": b"1"})
    repository = with_secret(http_remote, secret).open()
    for act in (lambda: repository.head("main"), lambda: repository.tree(head, "")):
        with pytest.raises(Refused) as caught:
            act()
        assert caught.value.fix
        assert "wrong-t0ken" not in str(caught.value)


def test_a_token_that_may_only_read(http_remote: Remote) -> None:
    head = http_remote.bare.commit({"a.json": b"1"})
    repository = with_secret(http_remote, "read-only").open()
    assert read_all(repository, head) == {"a.json": b"1"}
    with pytest.raises(Refused):
        repository.commit("main", expected_head=head, changes={"a.json": b"2"}, message="x", **BY)
    assert http_remote.bare.head() == head


def test_a_user_name_and_a_password_are_sent_as_they_are(http_remote: Remote, git_server: GitHttpServer) -> None:
    head = http_remote.bare.commit({"a.json": b"1"})
    repository = with_secret(http_remote, f"ada:{TOKEN}").open()
    assert repository.head("main") == head
    assert git_server.requests[-1].authorization == "Basic " + b64encode(f"ada:{TOKEN}".encode()).decode()


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_server_that_cannot_answer_now(http_remote: Remote, git_server: GitHttpServer, status: int) -> None:
    head = http_remote.bare.commit({"a.json": b"1"})
    git_server.faults.status = status
    repository = http_remote.open()
    for act in (lambda: repository.head("main"), lambda: repository.tree(head, "")):
        with pytest.raises(Unreachable) as caught:
            act()
        assert caught.value.transient
        assert caught.value.status == status


def test_a_server_that_is_not_there(http_remote: Remote) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/acme.git"
        repository = open_repository(RepositorySource(url, secret=TOKEN), cache=http_remote.cache)
        with pytest.raises(Unreachable):
            repository.head("main")
        with pytest.raises(Unreachable):
            repository.tree("a" * 40, "")


def test_a_server_that_never_answers_is_given_up_and_no_process_is_left(
        http_remote: Remote, git_server: GitHttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    git_server.faults.silent_until = threading.Event()
    monkeypatch.setattr("wfops_pipelines.git.command.NETWORK_SECONDS", 0.5)
    monkeypatch.setattr("wfops_pipelines.git.ls_refs.WHOLE_SECONDS", 0.5)
    repository = http_remote.open()
    try:
        with pytest.raises(Unreachable, match="did not finish"):
            repository.tree("a" * 40, "")
        with pytest.raises(Unreachable):
            repository.head("main")
    finally:
        git_server.faults.silent_until.set()
    left = []
    for process in Path("/proc").glob("[0-9]*/environ"):
        try:
            left += [process] if str(http_remote.cache).encode() in process.read_bytes() else []
        except OSError:
            continue
    assert left == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a repository to somebody else")
def test_a_repository_of_another_user_of_this_machine_is_read_and_written(file_remote: Remote) -> None:
    head = file_remote.bare.commit({"a.json": b"1"})
    for path in (file_remote.bare.path, *file_remote.bare.path.rglob("*")):
        os.chown(path, 65534, 65534)
    repository = file_remote.open()
    assert read_all(repository, head) == {"a.json": b"1"}
    made = repository.commit("main", expected_head=head, changes={"a.json": b"2"}, message="x", **BY)
    os.chown(file_remote.bare.path, 0, 0)
    assert file_remote.bare.head() == made


def test_a_host_that_has_no_address(tmp_path: Path) -> None:
    for url in ("http://no-such-host.invalid/acme.git", "https://no-such-host.invalid/acme.git"):
        with pytest.raises(Unreachable):
            open_repository(RepositorySource(url), cache=tmp_path).head("main")


def test_a_server_that_speaks_no_tls(git_server: GitHttpServer, tmp_path: Path) -> None:
    url = git_server.url("acme.git").replace("http:", "https:")
    repository = open_repository(RepositorySource(url), cache=tmp_path)
    with pytest.raises(Unreachable):
        repository.head("main")
    with pytest.raises(Unreachable):
        repository.tree("a" * 40, "")


def test_a_server_that_dies_in_the_middle_of_a_fetch_leaves_nothing_half_done(http_remote: Remote,
                                                                             git_server: GitHttpServer) -> None:
    head = http_remote.bare.commit({f"{number}.json": os.urandom(2000) for number in range(50)})
    repository = http_remote.open()
    git_server.faults.cut_after_bytes = 800
    with pytest.raises(IncompleteRead) as caught:
        repository.tree(head, "")
    assert caught.value.transient
    git_server.faults.cut_after_bytes = None
    blobs = [entry.blob for entry in repository.tree(head, "")]
    git_server.faults.cut_after_bytes = 5000
    with pytest.raises(IncompleteRead):
        list(repository.read_blobs(head, blobs))
    git_server.faults.cut_after_bytes = None
    assert read_all(repository, head) == http_remote.bare.files()


def test_an_answer_about_the_head_that_is_cut_off(http_remote: Remote, git_server: GitHttpServer) -> None:
    http_remote.bare.commit({"a.json": b"1"})
    git_server.faults.cut_after_bytes = 20
    with pytest.raises(IncompleteRead):
        http_remote.open().head("main")


@pytest.mark.parametrize("point", ["git.fetch.before", "git.fetch.after", "git.fetch_blobs.before", "git.fetch_blobs.after"])
def test_a_process_killed_in_the_middle_of_a_fetch_does_no_harm(http_remote: Remote, point: str) -> None:
    head = http_remote.bare.commit({"a.json": b"1"})
    program = """
import os, pathlib, sys
from wfops_pipelines import failpoints
from wfops_pipelines.git.open import open_repository
from wfops_pipelines.git.repository import RepositorySource
point, url, cache, head = sys.argv[1:]
failpoints.arm(f"{point}=kill")
repository = open_repository(RepositorySource(url, secret=os.environ["SECRET"]), cache=pathlib.Path(cache))
dict(repository.read_blobs(head, [entry.blob for entry in repository.tree(head, "")]))
"""
    killed = subprocess.run([sys.executable, "-c", program, point, http_remote.source.url, str(http_remote.cache), head],
                            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "SECRET": TOKEN}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert read_all(http_remote.open(), head) == {"a.json": b"1"}


def test_what_a_killed_fetch_left_is_removed_by_the_next(http_remote: Remote) -> None:
    head = http_remote.bare.commit({"a.json": b"1"})
    assert read_all(http_remote.open(), head) == {"a.json": b"1"}
    (pack,) = http_remote.cache.rglob("objects/pack")
    (pack / "tmp_pack_abc").write_bytes(b"half a pack")
    newer = http_remote.bare.commit({"a.json": b"2"})
    assert read_all(http_remote.open(), newer) == {"a.json": b"2"}
    assert list(pack.glob("tmp_*")) == []


@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_token_never_follows_a_redirect(http_remote: Remote, git_server: GitHttpServer, tmp_path: Path,
                                          status: int) -> None:
    head = http_remote.bare.commit({"a.json": b"1"})
    with GitHttpServer(tmp_path / "served") as elsewhere:
        git_server.faults.status = status
        git_server.faults.location = elsewhere.url("acme.git/info/refs?service=git-upload-pack")
        repository = http_remote.open()
        for act in (lambda: repository.head("main"), lambda: repository.tree(head, "")):
            with pytest.raises(Rejected, match="moved"):
                act()
        assert elsewhere.requests == []


def test_servers_that_know_no_protocol_version_2_are_read_too(http_remote: Remote, git_server: GitHttpServer) -> None:
    git_server.faults.only_version_0 = True
    repository = http_remote.open()
    assert repository.head("main") is None
    first = http_remote.bare.commit({"a.json": b"1"})
    assert repository.head("main") == first
    second = http_remote.bare.commit({"b.json": b"2"})
    assert read_all(repository, first) == {"a.json": b"1"}  # no tip any more
    assert repository.head("main") == second
    assert read_all(repository, second) == {"a.json": b"1", "b.json": b"2"}


def test_servers_that_refuse_a_direct_question_are_asked_by_git(http_remote: Remote, git_server: GitHttpServer) -> None:
    git_server.faults.refuse_direct_posts = True
    first = http_remote.bare.commit({"a.json": b"1"})
    with pytest.raises(Rejected):  # git asks the same thing, and this server refuses that as well
        http_remote.open().head("main")
    git_server.faults.only_version_0 = True
    assert http_remote.open().head("main") == first


def test_servers_without_partial_clones_are_read_too(git_server: GitHttpServer, tmp_path: Path) -> None:
    bare = make_bare(git_server.root / "whole.git", partial=False)
    source = RepositorySource(git_server.url("whole.git"), secret=TOKEN)
    repository = open_repository(source, cache=tmp_path / "cache")
    head = bare.commit({"a.json": b"1"})
    assert read_all(repository, head) == {"a.json": b"1"}
    later = bare.commit({"b.json": b"2"})
    assert read_all(repository, later) == {"a.json": b"1", "b.json": b"2"}
    made = repository.commit("main", expected_head=later, changes={"c.json": b"3"}, message="x", **BY)
    assert bare.head() == made


def test_a_push_whose_answer_was_lost_is_found_again(http_remote: Remote, git_server: GitHttpServer) -> None:
    head = http_remote.bare.commit({"a.json": b"1"})
    repository = http_remote.open()
    repository.tree(head, "")
    git_server.faults.cut_after_bytes = 3
    with pytest.raises(OutsideError):
        repository.commit("main", expected_head=head, changes={"a.json": b"2"}, message="x", **BY)
    git_server.faults.cut_after_bytes = None
    made = http_remote.bare.head()
    assert made != head
    assert repository.commit("main", expected_head=head, changes={"a.json": b"2"}, message="x", **BY) == made
    assert http_remote.bare.text("rev-list", "--count", "main") == "2"


def test_a_directory_that_is_no_repository(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(NotFound):
        open_repository(RepositorySource((tmp_path / "plain").as_uri()), cache=tmp_path / "cache").head("main")


def test_a_work_tree_is_read_and_a_push_to_its_branch_declined(tmp_path: Path) -> None:
    bare = make_bare(tmp_path / "work" / ".git")
    bare.git("config", "core.bare", "false")
    head = bare.commit({"a.json": b"1"})
    repository = open_repository(RepositorySource(str(tmp_path / "work")), cache=tmp_path / "cache")
    assert read_all(repository, head) == {"a.json": b"1"}
    with pytest.raises(Rejected, match="bare"):
        repository.commit("main", expected_head=head, changes={"a.json": b"2"}, message="x", **BY)


def test_a_plain_remote_knows_no_pull_requests(file_remote: Remote) -> None:
    with pytest.raises(UsageError, match="pull requests"):
        file_remote.open().open_pull_request("main", expected_head="a" * 40, branch="x", changes={}, title="t", body="b",
                                             message="m", **BY)


def test_the_users_own_git_configuration_is_not_read(http_remote: Remote, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text('[url "file:///nowhere/"]\n\tinsteadOf = http://\n[core]\n\thooksPath = /nowhere\n')
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "url.file:///nowhere/.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "http://")
    head = http_remote.bare.commit({"a.json": b"1"})
    assert read_all(http_remote.open(), head) == {"a.json": b"1"}


def test_a_token_is_in_no_argument_of_any_process_in_no_file_and_in_no_error(
        http_remote: Remote, git_server: GitHttpServer, tmp_path: Path) -> None:
    head = http_remote.bare.commit({f"{number}.json": os.urandom(20_000) for number in range(30)})
    repository = http_remote.open()
    seen: set[bytes] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(process.read_bytes())
                except OSError:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        read_all(repository, head)
        repository.commit("main", expected_head=head, changes={"a.json": b"2"}, message="x", **BY)
        git_server.faults.status = 500
        with pytest.raises(OutsideError) as caught:
            repository.tree("a" * 40, "")
    finally:
        done.set()
        watcher.join()
    assert any(b"fetch" in line and b"git" in line for line in seen), "the watcher saw no git process"
    forbidden = [form.encode() for form in (TOKEN, b64encode(f"x-access-token:{TOKEN}".encode()).decode())]
    told = "".join(traceback.format_exception(caught.value)) + repr(repository) + repr(vars(caught.value))
    kept = b"".join(file.read_bytes() for file in http_remote.cache.rglob("*") if file.is_file())
    for secret in forbidden:
        assert not any(secret in line for line in seen)
        assert secret not in told.encode()
        assert secret not in kept


def test_ssh_runs_with_the_key_without_prompts_and_with_known_hosts_of_the_cache(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No SSH server here: a program called ``ssh`` writes its arguments down and runs the command on this machine."""
    bare = make_bare(tmp_path / "acme.git")
    head = bare.commit({"a.json": b"1"})
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {tmp_path}/arguments\neval "exec $(eval echo \\"\\${{$#}}\\")"\n')
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    cache = tmp_path / "cache dir"
    source = RepositorySource(f"ssh://git@git.example.com{bare.path}", secret="/keys/my key")
    repository = open_repository(source, cache=cache)
    assert repository.head("main") == head
    assert read_all(repository, head) == {"a.json": b"1"}
    made = repository.commit("main", expected_head=head, changes={"b.json": b"2"}, message="x", **BY)
    assert bare.head() == made
    arguments = (tmp_path / "arguments").read_text().splitlines()
    for wanted in ("BatchMode=yes", "StrictHostKeyChecking=accept-new", f'UserKnownHostsFile="{cache}/known_hosts"',
                   "IdentitiesOnly=yes", "/keys/my key", "git@git.example.com"):
        assert wanted in arguments


@pytest.mark.parametrize(("words", "error"), [
    ("git@git.example.com: Permission denied (publickey).", Refused), ("Host key verification failed.", Refused),
    ("ssh: Could not resolve hostname git.example.com: Name or service not known", Unreachable),
    ("ssh: connect to host git.example.com port 22: Connection timed out", Unreachable),
    ("ERROR: Repository not found.", NotFound),
])
def test_what_ssh_says_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str,
                                     error: type[OutsideError]) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 255\n")
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with pytest.raises(error):
        open_repository(RepositorySource("git@git.example.com:acme.git"), cache=tmp_path / "cache").head("main")


def test_without_git_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="install git"):
        open_repository(RepositorySource("file:///srv/acme.git"), cache=tmp_path / "cache").head("main")
