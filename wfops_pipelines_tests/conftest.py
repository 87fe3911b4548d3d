"""Servers that several rooms of tests start, and what makes a long run of many small tests cheap."""

from __future__ import annotations

import functools
import gc
import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ["wfops_pipelines_tests.servers.n8n", "wfops_pipelines_tests.servers.postgres"]

MEMORY = Path("/dev/shm")  # a file system in memory, where there is one
APART = ("n8n", "system")  # marks of the tests that run by themselves
ROOM = 6 * 1024**3  # bytes: more than all tests at once have ever had, several times
# No example is timed: a machine with other work is no fault. In CI, hypothesis's own profile chooses the same each time.
settings.register_profile(settings.get_current_profile_name(), settings(), deadline=None)


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


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Who asks for tests of a mark (``-m n8n``) need not import the files in which nothing carries it."""
    asked = [each.strip() for each in config.getoption("markexpr").split(" and ")]
    is_test = re.fullmatch(r"test_\w+\.py", collection_path.name)
    return True if is_test and any(mark in APART and not _may_carry(mark, collection_path) for mark in asked) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A mark stands where it is looked for, or its tests would be left out."""
    hidden = {(mark, item.path) for item in items for mark in APART if item.get_closest_marker(mark) and not _may_carry(mark, item.path)}
    if hidden:
        raise pytest.UsageError("; ".join(f"{path.name} carries the mark {mark}, which neither it nor the conftest.py of its folder names"
                                          for mark, path in sorted(hidden)))


@functools.cache
def _may_carry(mark: str, path: Path) -> bool:
    return any(f"mark.{mark}" in each.read_text() for each in (path, path.with_name("conftest.py")) if each.is_file())


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Thousands of tests, and all that was imported for them, are there to stay: no collection looks through them again."""
    gc.collect()
    gc.freeze()
