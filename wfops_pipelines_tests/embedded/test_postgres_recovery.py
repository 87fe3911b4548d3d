"""The embedded PostgreSQL is recovered from whatever ended it, and says so where it cannot be."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import psycopg
import pytest

from wfops_pipelines.domain.errors import InvalidSetting, StoreNotReady, StoreUnavailable
from wfops_pipelines.postgres import binaries as postgres_binaries
from wfops_pipelines.postgres import server as postgres_server
from wfops_pipelines.postgres.embedded import EmbeddedPostgres, Holder
from wfops_pipelines_tests.embedded.homes import (
    ROOT,
    ask,
    embedded,
    kill_postmaster,
    run,
)
from wfops_pipelines_tests.servers.postgres import FAST, reachable_base
from wfops_pipelines_tests.servers.processes import eventually


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
    if not sockets.is_dir():  # a short one in /tmp goes when the server is stopped
        sockets.mkdir(mode=0o700)
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
