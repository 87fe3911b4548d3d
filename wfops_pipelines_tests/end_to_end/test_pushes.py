"""Pushes and the running system: seen by the webhook, by what the poll finds left behind, and by the poll alone."""

from __future__ import annotations

import contextlib
from pathlib import Path

import httpx
import pytest

from wfops_pipelines_tests.end_to_end.pushed_system import launched, pushed_system
from wfops_pipelines_tests.servers.processes import eventually
from wfops_pipelines_tests.servers.system import program

pytestmark = pytest.mark.system


def test_a_push_is_seen_by_the_webhook_and_drift_is_found(tmp_path: Path) -> None:
    with pushed_system(tmp_path) as system:
        assert system.environment().drift_status == "IN_SYNC"
        before, after, path = system.push("changed in Git")
        response = system.deliver(before, after, path)
        assert response.status_code == 202, response.text
        eventually(lambda: system.read_at(after), within=120)
        assert system.environment().drift_status.startswith("DRIFT_")
        assert system.environment("dev").git_commit != after  # nothing in its folder changed
        launched(system)
        eventually(lambda: [run["status"] for run in system.runs()] == ["SUCCESS"], within=120)

        forged = system.deliver(before, "f" * 40, path, repository={"clone_url": "https://github.com/no/such"})
        assert forged.status_code == 401


def test_a_receiver_that_is_killed_loses_nothing_and_the_poll_needs_no_webhook(tmp_path: Path) -> None:
    settings = {"WFOPS_FAILPOINTS": "push.received.after_commit=kill", "WFOPS_GIT_POLL_INTERVAL_SECONDS": "10"}
    with pushed_system(tmp_path, settings) as system:
        before, after, path = system.push("changed in Git")
        with contextlib.suppress(httpx.TransportError):  # it dies with the delivery in its hands
            system.deliver(before, after, path)
        eventually(lambda: system.read_at(after), within=180)
        launched(system)
        assert len(system.deliveries()) == 1

        _, later, _ = system.push("changed again")
        eventually(lambda: system.read_at(later) and system.environment("dev").git_commit == later, within=240)
        assert len(system.deliveries()) == 1
        assert program(system.child.home, "wfops_pipelines.api").is_running()
