"""The keeper of ``wfops up`` starts a PostgreSQL that died, and lets go of it at the end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from wfops_pipelines_tests.embedded.homes import ROOT, Spawn, ask, embedded, kill_postmaster, pid_said_by
from wfops_pipelines_tests.servers.processes import eventually

KEEP = """
import sys
from pathlib import Path
from wfops_pipelines.embedded import keeper
from wfops_pipelines.postgres.embedded import Holder
from wfops_pipelines_tests.embedded.homes import embedded
keeper.WATCH_SECONDS, keeper.PATIENCE_SECONDS = 0.2, 600.0

def watched(home):
    postgres = embedded(home)
    stop = postgres.stop_if_unheld
    postgres.stop_if_unheld = lambda: [stop(), print("asked", flush=True)][0]
    return postgres

stands, lives = Holder.stands, Holder.lives
Holder.lives = lambda holder: print("looked", flush=True) or lives(holder)
Holder.stands = lambda holder: stands(holder) or bool(print("gone", flush=True))
keeper.EmbeddedPostgres = watched
sys.exit(keeper.main(sys.argv[1:]))
"""


@pytest.fixture
def keeper(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A keeper of the home's server."""
    process = subprocess.Popen([sys.executable, "-c", KEEP, str(home)], stdout=subprocess.PIPE)
    yield process
    process.terminate()
    process.communicate(timeout=60)


def test_a_server_that_was_killed_is_started_again_without_anybody_asking(home: Path, keeper: subprocess.Popen[bytes]) -> None:
    eventually(lambda: embedded(home).status().serves)
    with embedded(home).acquire() as holder:
        killed = kill_postmaster(holder)
        eventually(lambda: embedded(home).status().pid not in (None, killed) and embedded(home).status().serves)
        assert ask(holder, "SELECT 1") == 1
    assert keeper.poll() is None
    assert embedded(home).status().serves  # the keeper holds it
    keeper.terminate()
    assert keeper.wait(60) == 0
    assert not embedded(home).status().lives


def test_without_a_supervisor_it_stays_until_nobody_holds_the_server(
        home: Path, keeper: subprocess.Popen[bytes], spawn_holder: Spawn) -> None:
    """A supervisor that was killed may be seen as running for a moment: what counts is the signal that it is gone."""
    eventually(lambda: embedded(home).status().serves)
    other = spawn_holder()
    pid_said_by(other)
    keeper.send_signal(signal.SIGHUP)
    said = keeper.stdout
    assert said is not None
    for _ in range(3):
        eventually(lambda: said.readline() == b"asked\n")
    assert embedded(home).status().serves
    other.kill()
    assert keeper.wait(60) == 0
    assert not embedded(home).status().lives


def test_while_it_stays_it_can_be_told_to_end(home: Path, keeper: subprocess.Popen[bytes], spawn_holder: Spawn) -> None:
    eventually(lambda: embedded(home).status().serves)
    pid_said_by(spawn_holder())
    keeper.send_signal(signal.SIGHUP)
    said = keeper.stdout
    assert said is not None
    eventually(lambda: said.readline() == b"asked\n")
    keeper.terminate()
    assert keeper.wait(60) == 0
    assert embedded(home).status().serves


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_home_that_was_deleted_is_not_made_again(home: Path, keeper: subprocess.Popen[bytes], number: signal.Signals) -> None:
    eventually(lambda: embedded(home).status().serves)
    pid = embedded(home).status().pid
    assert pid is not None
    said = keeper.stdout
    assert said is not None and said.readline() == b"looked\n"
    shutil.rmtree(home)
    for _ in range(3):
        eventually(lambda: said.readline() == b"gone\n")
    assert not home.exists()
    keeper.send_signal(number)
    assert keeper.wait(60) == 0
    assert not home.exists()
    if not ROOT:  # what names the server's process went with the home; PostgreSQL sees within a minute that it is gone
        os.kill(pid, signal.SIGINT)
    eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_with_a_supervisor_it_leaves_the_server_to_whoever_holds_it(
        home: Path, keeper: subprocess.Popen[bytes], spawn_holder: Spawn) -> None:
    eventually(lambda: embedded(home).status().serves)
    other = spawn_holder()
    pid_said_by(other)
    keeper.terminate()
    assert keeper.wait(60) == 0
    assert embedded(home).status().serves
    other.communicate()
    assert not embedded(home).status().lives


def test_a_server_that_lives_and_does_not_answer_is_left_alone(home: Path, keeper: subprocess.Popen[bytes]) -> None:
    """It may be at recovery, or at work for as many connections as it takes."""
    eventually(lambda: embedded(home).status().serves)
    with embedded(home).acquire() as holder:
        connections, pid = [], holder.pid
        try:
            with pytest.raises(psycopg.OperationalError):
                while len(connections) < 500:
                    connections.append(psycopg.connect(holder.admin_url(), autocommit=True))
            assert keeper.stdout is not None
            for _ in range(5):
                assert keeper.stdout.readline() == b"looked\n"
            assert holder.pid == pid
            assert connections[0].execute("SELECT 1").fetchone() == (1,)
        finally:
            for connection in connections:
                connection.close()
