"""Pushes and the running system: seen by the webhook, by what the poll finds left behind, and by the poll alone."""

from __future__ import annotations

from pathlib import Path

from wfops_pipelines_tests.end_to_end.pushed_system import launched, pushed_system
from wfops_pipelines_tests.servers.processes import eventually
from wfops_pipelines_tests.servers.system import program


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


def test_a_receiver_that_is_killed_after_it_kept_a_delivery_launches_it_when_it_is_back(tmp_path: Path) -> None:
    with pushed_system(tmp_path, {"WFOPS_FAILPOINTS": "push.received.after_commit=kill"}) as system:
        before, after, path = system.push("changed in Git")
        try:
            system.deliver(before, after, path)
        except OSError:
            pass
        except Exception as error:
            assert "disconnected" in str(error) or "closed" in str(error), error
        eventually(lambda: system.read_at(after), within=120)
        launched(system)
        assert len(system.deliveries()) == 1


def test_without_any_webhook_the_poll_sees_a_push_and_picks_up_what_a_receiver_left(tmp_path: Path) -> None:
    with pushed_system(tmp_path, {"WFOPS_GIT_POLL_INTERVAL_SECONDS": "10"}) as system:
        _, after, _ = system.push("changed in Git")
        eventually(lambda: system.read_at(after) and system.environment("dev").git_commit == after, within=180)
        assert program(system.child.home, "wfops_pipelines.api").is_running()
