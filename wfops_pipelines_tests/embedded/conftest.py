"""Fixtures of this room."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wfops_pipelines_tests.embedded.homes import (
    HOLD,
    Spawn,
    embedded,
)
from wfops_pipelines_tests.servers.postgres import reachable_base
from wfops_pipelines_tests.servers.processes import child_environment


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home whose server is gone after the test."""
    home = tmp_path / "home"
    yield home
    if home.is_dir():
        embedded(home).destroy()


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
