"""The embedded PostgreSQL: shared by processes, and recovered from everything that can end a server."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import psycopg
import pytest

from wfops_pipelines.domain.errors import InvalidSetting, StoreNotReady, StoreUnavailable
from wfops_pipelines.embedded import postgres_binaries, postgres_server
from wfops_pipelines.embedded.postgres import EmbeddedPostgres, Holder
from wfops_pipelines_tests.servers.postgres import FAST, reachable_base
from wfops_pipelines_tests.servers.processes import child_environment, eventually

ROOT = os.geteuid() == 0
SETTINGS = {**FAST, "synchronous_commit": "on"}  # what was committed outlives a killed server

HOLD = """
import sys
from pathlib import Path
from wfops_pipelines.embedded.postgres import EmbeddedPostgres
from wfops_pipelines_tests.servers.postgres import FAST
home, base, keep = sys.argv[1:]
holder = EmbeddedPostgres(Path(home), base=Path(base), settings=FAST).acquire(keep_running=keep == "keep")
print(holder.pid, flush=True)
sys.stdin.read()
holder.close()
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home whose server is gone after the test."""
    home = tmp_path / "home"
    yield home
    if home.is_dir():
        embedded(home).destroy()


def embedded(home: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(home, base=reachable_base(), settings=SETTINGS)


def ask(holder: Holder, query: str) -> object:
    with psycopg.connect(holder.admin_url(), autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def run(holder: Holder, statement: str) -> None:
    with psycopg.connect(holder.admin_url(), autocommit=True) as connection:
        connection.execute(statement.encode())


def kill_postmaster(holder: Holder) -> int:
    """kill -9; returns its pid. As root in a container whose pid 1 does not reap, it stays a zombie, which is the harder case."""
    assert holder.pid is not None
    pid = holder.pid
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    return pid


Spawn = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def spawn_holder(home: Path) -> Iterator[Spawn]:
    """Starts another process that holds the server: its first line of output is the server's pid; it closes when its input ends."""
    children: list[subprocess.Popen[str]] = []

    def spawn(keep: str = "no") -> subprocess.Popen[str]:
        children.append(subprocess.Popen(
            [sys.executable, "-c", HOLD, str(home), str(reachable_base()), keep], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, start_new_session=True, env=child_environment()))
        return children[-1]

    yield spawn
    for child in children:
        child.kill()
        child.communicate()


def pid_said_by(child: subprocess.Popen[str]) -> int:
    assert child.stdout is not None
    return int(child.stdout.readline())


# -- sharing


def test_holders_share_one_server_and_the_last_one_stops_it(home: Path) -> None:
    first, second = embedded(home).acquire(), embedded(home).acquire()
    assert first.pid == second.pid is not None
    first.close()
    assert ask(second, "SELECT 1") == 1
    second.close()
    assert not embedded(home).status().lives


def test_what_was_written_is_there_after_the_next_start(home: Path) -> None:
    with embedded(home).acquire() as holder:
        run(holder, "CREATE TABLE kept AS SELECT 42 AS answer")
    with embedded(home).acquire() as holder:
        assert ask(holder, "SELECT answer FROM kept") == 42


def test_closing_twice_is_harmless_and_keep_running_keeps_it_running(home: Path) -> None:
    holder = embedded(home).acquire(keep_running=True)
    holder.close()
    holder.close()
    assert embedded(home).status().serves
    assert not embedded(home).status().held
    embedded(home).stop()
    assert not embedded(home).status().lives


def test_processes_that_start_it_at_once_get_one_server(home: Path, spawn_holder: Spawn) -> None:
    children = [spawn_holder() for _ in range(3)]
    assert len({pid_said_by(child) for child in children}) == 1


def test_a_killed_holder_leaves_nothing_stale(home: Path, spawn_holder: Spawn) -> None:
    child = spawn_holder()
    pid = pid_said_by(child)
    holder = embedded(home).acquire()
    child.kill()
    child.wait()
    assert holder.pid == pid
    holder.close()
    assert not embedded(home).status().lives


def test_killing_the_process_group_of_its_starter_spares_the_server(home: Path, spawn_holder: Spawn) -> None:
    child = spawn_holder()
    pid = pid_said_by(child)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    with embedded(home).acquire() as holder:
        assert holder.pid == pid


def test_the_server_does_not_keep_its_starters_output_open(home: Path, spawn_holder: Spawn) -> None:
    child = spawn_holder("keep")
    output, _ = child.communicate()  # returns at the end of the pipe, which a server that inherited it would prevent
    assert int(output) == embedded(home).status().pid


def test_a_fork_of_the_holder_does_not_give_back_the_hold(home: Path) -> None:
    with embedded(home).acquire() as holder:
        child = os.fork()
        if child == 0:
            holder.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert embedded(home).status().held


def test_only_the_password_gets_one_in(home: Path) -> None:
    with embedded(home).acquire() as holder:
        url = holder.admin_url()
        password = psycopg.conninfo.conninfo_to_dict(url)["password"]
        assert isinstance(password, str)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(url.replace(password, "guess"))
        assert (home / "postgres" / "password").stat().st_mode & 0o777 == 0o600
        assert ask(holder, "SELECT setting FROM pg_settings WHERE name = 'listen_addresses'") == ""


# -- recovery


def test_a_server_that_was_killed_is_started_again_with_what_was_committed(home: Path) -> None:
    with embedded(home).acquire() as holder:
        run(holder, "CREATE TABLE kept AS SELECT 42 AS answer")
        killed = kill_postmaster(holder)
        with embedded(home).acquire() as again:
            assert again.pid != killed
            assert ask(again, "SELECT answer FROM kept") == 42
        assert ask(holder, "SELECT 1") == 1  # the first holder still holds it, by the same URL


def test_backends_that_outlive_their_server_are_ended_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_server, "LEFTOVER_SECONDS", 0.1)
    with embedded(home).acquire() as holder, closing(psycopg.connect(holder.admin_url(), autocommit=True)) as busy:
        busy.pgconn.send_query(b"DO $$ BEGIN LOOP END LOOP; END $$")  # never looks whether its server lives
        kill_postmaster(holder)
        with embedded(home).acquire() as again:
            assert ask(again, "SELECT 1") == 1


def account() -> dict[str, int]:
    """The account that a server of ours runs as, for `subprocess`: a pid of another one would not stop PostgreSQL."""
    return {"user": 65534} if ROOT else {}


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the server's account that has nothing to do with it."""
    process = subprocess.Popen(["sleep", "600"], **account())  # type: ignore[call-overload]
    yield process
    process.kill()
    process.wait()


def sockets_of(holder: Holder) -> Path:
    return Path(str(psycopg.conninfo.conninfo_to_dict(holder.admin_url())["host"]))


def claim(holder_data: Path, sockets: Path, pid: int) -> None:
    """What a crash leaves behind, with the pid of a process that lives."""
    for path in (holder_data / "postmaster.pid", sockets / ".s.PGSQL.5432.lock"):
        path.write_text(f"{pid}\n{holder_data}\n1700000000\n5432\n{sockets}\n\n  5432001    123456\nready   \n")
        if ROOT:
            os.chown(path, 65534, 65534)


def test_a_pid_file_whose_pid_is_somebody_elses_by_now_is_not_believed(
        home: Path, stranger: subprocess.Popen[bytes]) -> None:
    with embedded(home).acquire() as holder:
        data = holder.data
        sockets = sockets_of(holder)
    claim(data, sockets, stranger.pid)
    assert not embedded(home).status().lives
    with embedded(home).acquire() as holder:
        assert ask(holder, "SELECT 1") == 1
    assert stranger.poll() is None, "stopping the server must not have hit the stranger"


def test_stopping_a_dead_server_does_not_end_the_process_that_has_its_pid_now(
        home: Path, stranger: subprocess.Popen[bytes]) -> None:
    holder = embedded(home).acquire()
    kill_postmaster(holder)
    claim(holder.data, sockets_of(holder), stranger.pid)
    holder.close()
    assert stranger.poll() is None


def test_a_pid_file_that_names_a_zombie_is_not_believed(home: Path, stranger: subprocess.Popen[bytes]) -> None:
    with embedded(home).acquire() as holder:
        data = holder.data
        sockets = sockets_of(holder)
    stranger.kill()
    eventually(lambda: psutil.Process(stranger.pid).status() == psutil.STATUS_ZOMBIE)
    claim(data, sockets, stranger.pid)
    with embedded(home).acquire() as holder:
        assert ask(holder, "SELECT 1") == 1


def test_an_interrupted_initdb_is_done_again(home: Path) -> None:
    with embedded(home).acquire() as holder:
        data = holder.data
    shutil.rmtree(data)
    draft = data.parent / "initdb.cut-off"
    (draft / "data" / "base").mkdir(parents=True)
    with embedded(home).acquire() as holder:
        assert ask(holder, "SELECT 1") == 1
    assert not draft.exists()


def test_a_half_made_data_directory_is_set_aside_not_deleted(home: Path) -> None:
    with embedded(home).acquire() as holder:
        data = holder.data
    (data / "global" / "pg_control").unlink()
    with embedded(home).acquire() as holder:
        assert ask(holder, "SELECT 1") == 1
    [aside] = data.parent.glob("data.incomplete.*")
    assert (aside / "PG_VERSION").is_file()


# -- what cannot be recovered says so


def test_data_of_another_major_version_is_refused(home: Path) -> None:
    with embedded(home).acquire() as holder:
        data = holder.data
    (data / "PG_VERSION").write_text("9\n")
    with pytest.raises(StoreNotReady, match="PostgreSQL 9"):
        embedded(home).acquire()
    assert not embedded(home).status().held


def test_a_data_directory_with_wrong_permissions_is_named_with_the_servers_own_words(home: Path) -> None:
    with embedded(home).acquire() as holder:
        data = holder.data
    data.chmod(0o777)
    with pytest.raises(StoreUnavailable, match="invalid permissions") as caught:
        embedded(home).acquire()
    assert str(data) in str(caught.value)
    data.chmod(0o700)
    with embedded(home).acquire() as holder:
        assert ask(holder, "SELECT 1") == 1


def test_a_full_disk_is_named_with_its_way_out(home: Path, tmp_path: Path) -> None:
    disk = Path(tempfile.mkdtemp(dir=reachable_base() if ROOT else tmp_path))
    if not ROOT or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m,mode=0755", "wfops", disk], check=False,
                                  capture_output=True).returncode != 0:
        disk.rmdir()
        pytest.skip("needs the right to mount a small file system")
    try:
        with pytest.raises(StoreUnavailable) as caught:
            EmbeddedPostgres(home, base=disk, settings=FAST).acquire()
        assert "No space left on device" in str(caught.value)
        assert "free some space" in str(caught.value.fix)
    finally:
        subprocess.run(["umount", disk], check=True)
        disk.rmdir()


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="file"):
        embedded(tmp_path / "file" / "home").acquire()


def test_without_the_binaries_it_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_binaries, "PACKAGE", "no_such_package")
    with pytest.raises(InvalidSetting, match=r"wfops\[embedded\]"):
        embedded(home).acquire()


def test_a_lost_password_is_named(home: Path) -> None:
    embedded(home).acquire().close()
    (home / "postgres" / "password").unlink()
    with pytest.raises(StoreUnavailable, match="password"):
        embedded(home).acquire()


# -- homes


@pytest.mark.parametrize("name", ["with space", "quo'te\"", "$(touch pwned)", "ünïcode", "back\\slash", "a" * 120, "per%cent"])
def test_any_name_of_a_home_will_do(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    try:
        with embedded(home).acquire() as holder:
            assert ask(holder, "SELECT 1") == 1
    finally:
        embedded(home).destroy()
    assert not list(tmp_path.rglob("pwned"))


def test_a_home_that_was_moved_keeps_its_data(home: Path, tmp_path: Path) -> None:
    with embedded(home).acquire() as holder:
        run(holder, "CREATE TABLE kept AS SELECT 42 AS answer")
    moved = home.rename(tmp_path / "moved")
    try:
        with embedded(moved).acquire() as holder:
            assert ask(holder, "SELECT answer FROM kept") == 42
    finally:
        embedded(moved).destroy()


@pytest.mark.skipif(not ROOT, reason="the data of an ordinary user lies in the home itself")
def test_a_copy_of_a_home_does_not_share_its_database(home: Path, tmp_path: Path) -> None:
    embedded(home).acquire().close()
    copy = shutil.copytree(home, tmp_path / "copy")
    with pytest.raises(StoreNotReady, match="is a copy of"):
        embedded(copy).acquire()


@pytest.mark.skipif(not ROOT, reason="needs two accounts")
def test_another_users_home_is_refused(home: Path) -> None:
    (home / "postgres").mkdir(parents=True)
    os.chown(home / "postgres", 65534, 65534)
    with pytest.raises(StoreUnavailable, match="another user"):
        embedded(home).acquire()
    os.chown(home / "postgres", 0, 0)


@pytest.mark.skipif(not ROOT, reason="is about what root does")
def test_modes_of_directories_that_are_not_ours_stay_as_they_are(tmp_path: Path) -> None:
    home = tmp_path / "private" / "home"
    home.parent.mkdir(mode=0o700)
    tmp_path.chmod(0o700)
    with embedded(home).acquire(ephemeral=True) as holder:
        assert psutil.Process(holder.pid).uids().effective != 0
        assert home.parent.stat().st_mode & 0o777 == tmp_path.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not ROOT or shutil.which("setpriv") is None, reason="needs root and setpriv")
def test_root_in_a_container_who_may_not_look_into_other_users_processes_can_stop_it(home: Path) -> None:
    done = subprocess.run(
        ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace", sys.executable, "-c", HOLD, str(home),
         str(reachable_base()), "no"],
        env=child_environment(), input="", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().isdigit()
    assert not embedded(home).status().lives


@pytest.mark.skipif(not ROOT, reason="every other test here is this one when run as an ordinary user")
def test_it_works_twice_in_a_row_as_an_ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    base = Path(tempfile.mkdtemp(prefix="wfops-home-"))
    os.chown(base, 65534, 65534)
    try:
        monkeypatch.setattr(postgres_binaries, "of_wheel", reachable_binaries())
        for _ in range(2):
            said = as_nobody(lambda: use_and_describe(base / "home"))
            assert said == f"65534 {base / 'home' / 'postgres' / 'data'}"
    finally:
        shutil.rmtree(base)


def use_and_describe(home: Path) -> str:
    with embedded(home).acquire() as holder, embedded(home).acquire() as other:
        assert holder.pid == other.pid
        assert ask(other, "SELECT 1") == 1
        return f"{psutil.Process(holder.pid).uids().real} {holder.data}"


def reachable_binaries() -> Callable[[], postgres_binaries.Binaries]:
    """The wheel's, or a copy where the virtual environment lies under a directory that only root can enter."""
    wheel = postgres_binaries.of_wheel()
    if all(folder.stat().st_mode & 0o001 for folder in wheel.directory.parents):
        return lambda: wheel
    (reachable_base() / "bin").mkdir(exist_ok=True)
    copy = postgres_binaries.copied_to(reachable_base() / "bin", wheel)
    return lambda: copy


def as_nobody(work: Callable[[], str]) -> str:
    """What ``work`` says in a fork that belongs to another account (whose interpreter may be out of its reach: no exec)."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            answer = work()
        except BaseException:
            answer = traceback.format_exc()
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer
