"""What is started for git is gone when it is ended, with all that it started itself (§2.5, §25)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from wfops_pipelines.git import processes
from wfops_pipelines_tests.servers.processes import eventually, processes_with


def started(script: str, folder: Path, *, seconds: float | None = None) -> subprocess.Popen[bytes]:
    """A shell in the place of git."""
    return processes.start(["sh", "-c", script], cwd=folder, environment={"PATH": os.environ["PATH"]},
                           stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, seconds=seconds)


@pytest.mark.parametrize("seconds", [None, pytest.param(600.0, marks=pytest.mark.skipif(
    shutil.which("timeout") is None, reason="the machine has no program `timeout`"))])
def test_helpers_end_with_what_has_died_before_them(tmp_path: Path, seconds: float | None) -> None:
    mark = f"helper-of-{os.getpid()}-{tmp_path.name}"
    script = f"sh -c 'echo up; exec tail -f /dev/null {mark} > /dev/null' & kill -9 $$"
    process = started(script, tmp_path, seconds=seconds)
    (tmp_path / mark).touch()
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    eventually(lambda: os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None)
    eventually(lambda: bool(processes_with(mark)))
    processes.end(process)
    eventually(lambda: not processes_with(mark))
