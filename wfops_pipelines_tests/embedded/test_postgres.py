"""The embedded PostgreSQL: one server, shared by processes."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from wfops_pipelines.postgres import locks
from wfops_pipelines.postgres.locks import LockFile
from wfops_pipelines.postgres.place import find_place
from wfops_pipelines_tests.embedded.homes import (
    Spawn,
    ask,
    embedded,
    pid_said_by,
    run,
)
from wfops_pipelines_tests.servers.postgres import reachable_base


def test_holders_share_one_server_and_the_last_one_stops_it(home: Path) -> None:
    first, second = embedded(home).acquire(), embedded(home).acquire()
    assert first.pid == second.pid is not None
    first.close()
    assert ask(second, "SELECT 1") == 1
    second.close()
    assert not embedded(home).status().lives


def test_somebody_who_looks_does_not_keep_the_last_holder_from_stopping_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To look whether anybody holds it is to lock it for a moment."""
    holder = embedded(home).acquire()
    looks = LockFile(find_place(home, reachable_base()).locks / "holders.lock")
    monkeypatch.setattr(LockFile, "release", lambda lock: (lock.close(), looks.try_exclusive()))
    monkeypatch.setattr(locks, "time", SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: looks.close()))
    holder.close()
    assert not embedded(home).status().lives


def test_a_home_that_is_made_anew_in_the_place_of_another_is_not_the_one_that_is_held(home: Path, tmp_path: Path) -> None:
    holder = embedded(home).acquire()
    aside = home.rename(tmp_path / "aside")
    assert not holder.stands()
    assert not embedded(home).status().held
    assert not holder.stands()
    shutil.rmtree(home)
    aside.rename(home)
    assert holder.stands()
    holder.close()
    assert not embedded(home).status().lives


def test_where_there_is_no_server_none_is_stopped_and_nothing_made(home: Path) -> None:
    assert embedded(home).stop_if_unheld()
    assert not home.exists()


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
