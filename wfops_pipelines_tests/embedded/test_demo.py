"""``wfops demo``: all of it, afresh each time, and never near the user's own data."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.embedded.demo import MARKER, _afresh
from wfops_pipelines.postgres.embedded import EmbeddedPostgres
from wfops_pipelines_tests.servers.system import clean_environment, processes_of, temporary_home

SECONDS = 400.0  # with the other core busy
_DEMO = """
import sys
from wfops_pipelines.embedded.demo import run_demo
from wfops_pipelines.settings import read_settings
sys.exit(run_demo(read_settings(), once=True, port=0))
"""


@pytest.fixture
def users_home(tmp_path: Path) -> Iterator[Path]:
    """The home of somebody who has data of his own, and an earlier demo in it."""
    with temporary_home(tmp_path) as home:
        demo = home / "demo"
        (demo / "git").mkdir(parents=True)
        (demo / "git" / "left-over").write_text("from an earlier demo")
        (demo / MARKER).touch()
        (home / "mine").write_text("untouched")
        yield home
        EmbeddedPostgres(demo).destroy()


@pytest.mark.system
def test_the_demo_shows_the_drift_checks_what_it_says_and_stops(users_home: Path) -> None:
    environment = clean_environment(users_home, WFOPS_DATABASE_URL="postgresql://nobody@127.0.0.1:1/mine",
                                    WFOPS_SECRET_KEY="not a key", DAGSTER_HOME=str(users_home / "my-dagster"))
    done = subprocess.run([sys.executable, "-c", _DEMO], env=environment, capture_output=True, text=True, timeout=SECONDS,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    screen = done.stdout
    assert "\x1b" not in screen
    assert re.search(r"acme/prod DRIFT_INCIDENT_ACTIVE\n  activation  Invoice reminders\n  modified  Order intake\n", screen)
    assert '~   parameters.channelId.value: "#orders" → "#orders-night"' in screen
    assert "globex/prod DRIFT_INCIDENT_ACTIVE\n  added_in_runtime  QUICK FIX retry orders\n" in screen
    assert "acme/staging and globex/staging: IN_SYNC" in screen
    assert re.search(r"✓ reverted: n8n is what Git says again .* wfops incident reconcile globex#\d", screen)
    assert "acme/p1: Returns updated in n8n, read back, and one commit " in screen
    assert "acme#1 waits for you, globex#1 is settled" in screen
    assert re.search(r"drift of acme/prod +http://127.0.0.1:\d+/assets/drift_report\?", screen)
    assert f"export WFOPS_HOME={users_home / 'demo'}" in screen

    assert {path.name for path in users_home.iterdir()} == {"mine", "demo"}
    assert not (users_home / "demo" / "git" / "left-over").exists()
    assert processes_of(users_home / "demo") == []
    assert not EmbeddedPostgres(users_home / "demo").status().lives


def test_a_directory_that_is_no_demo_is_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("untouched")
    with pytest.raises(UsageError, match="no demo"):
        _afresh(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
