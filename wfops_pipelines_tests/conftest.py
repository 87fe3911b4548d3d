"""Servers that several rooms of tests start, and what makes a long run of many small tests cheap."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from pathlib import Path

import pytest

pytest_plugins = ["wfops_pipelines_tests.servers.n8n", "wfops_pipelines_tests.servers.postgres"]

MEMORY = Path("/dev/shm")  # a file system in memory, where there is one
ROOM = 6 * 1024**3  # bytes: more than all tests at once have ever had, several times


def pytest_configure() -> None:
    """Databases and repositories of tests live for a second: they need no disk. Children, xdist's workers among them, put
    their files there too. Whoever sets TMPDIR decides."""
    if "TMPDIR" not in os.environ and _holds_files():
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


def _holds_files() -> bool:
    if not (MEMORY.is_dir() and os.access(MEMORY, os.W_OK | os.X_OK)) or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return False
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(free, shutil.disk_usage(MEMORY).free) > ROOM


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Thousands of tests, and all that was imported for them, are there to stay: no collection looks through them again."""
    gc.collect()
    gc.freeze()
