"""Homes with an embedded PostgreSQL, for the tests of this room."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg

from wfops_pipelines.postgres.embedded import EmbeddedPostgres, Holder
from wfops_pipelines_tests.servers.postgres import FAST, reachable_base
from wfops_pipelines_tests.servers.processes import eventually

ROOT = os.geteuid() == 0
SETTINGS = {**FAST, "synchronous_commit": "on"}  # what was committed outlives a killed server

HOLD = """
import sys
from pathlib import Path
from wfops_pipelines.postgres.embedded import EmbeddedPostgres
from wfops_pipelines_tests.servers.postgres import FAST
home, base, keep = sys.argv[1:]
holder = EmbeddedPostgres(Path(home), base=Path(base), settings=FAST).acquire(keep_running=keep == "keep")
print(holder.pid, flush=True)
sys.stdin.read()
holder.close()
"""


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


def pid_said_by(child: subprocess.Popen[str]) -> int:
    assert child.stdout is not None
    return int(child.stdout.readline())
