"""The embedded PostgreSQL in homes of any name, of any account."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from wfops_pipelines.domain.errors import StoreNotReady, StoreUnavailable
from wfops_pipelines.postgres import binaries as postgres_binaries
from wfops_pipelines_tests.embedded.homes import (
    HOLD,
    ROOT,
    ask,
    embedded,
    run,
)
from wfops_pipelines_tests.servers.postgres import reachable_base
from wfops_pipelines_tests.servers.processes import child_environment


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
