"""Exports (§7) while others write too, or say no; and what a crash leaves."""

from __future__ import annotations

import json
import signal

import pytest

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import Blocked, HeadMoved, Rejected, Unreachable, UsageError
from wfops_pipelines_tests.services.child import run_in_child
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, commits, file_bytes, workflow


def test_a_head_that_moved_is_read_again_and_the_write_retried(fleet: FleetUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    prod = fleet["prod"]
    fleet.repository.commit({"README.md": b"hello"})
    prod.create_in_n8n(workflow("A"))
    fleet.push_meanwhile(monkeypatch, 2)
    export = prod.export()
    assert export.commit == fleet.repository.head()
    assert commits(fleet) == 4
    assert set(fleet.repository.files()) == {"README.md", "other-0.txt", "other-1.txt", "prod/workflows/a.json"}
    assert len(fleet.events("git.exported")) == 1


def test_a_head_that_never_stands_still_is_an_error_in_the_end_and_nothing_is_lost(
        fleet: FleetUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    prod = fleet["prod"]
    fleet.repository.commit({"README.md": b"hello"})
    prod.create_in_n8n(workflow("A"))
    fleet.push_meanwhile(monkeypatch, 100)
    with pytest.raises(HeadMoved):
        prod.export()
    assert prod.files() == {} and fleet.events("git.exported") == []


def test_a_change_that_came_meanwhile_to_the_same_file_is_seen(fleet: FleetUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    prod = fleet["prod"]
    (one,) = prod.in_sync(workflow("A"))
    prod.edit_in_n8n(one, "mine")
    left = [1]

    def reach(name: str) -> None:
        if name == "export.before_write" and left[0]:
            left[0] = 0
            prod.push_files({"workflows/a.json": prod.files()["workflows/a.json"].replace(b"hello", b"theirs")})
    monkeypatch.setattr(failpoints, "reach", reach)
    (file,) = prod.export().files
    assert "theirs" in json.dumps(file["diff"])
    assert b"mine" in prod.files()["workflows/a.json"]


def test_a_remote_that_refuses_is_an_error_that_says_so_and_stores_nothing(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    fleet.repository.hook("pre-receive", "echo 'changes need a review' >&2; exit 1")
    (one,) = prod.create_in_n8n(workflow("A"))
    with pytest.raises(Rejected, match="review"):
        prod.export()
    assert (fleet.repository.head(), prod.git_states(), fleet.events("git.exported")) == (None, {}, [])
    assert prod.mapping(one).canonical_id is None


def test_n8n_that_cannot_be_read_writes_nothing(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.in_sync(workflow("A"))
    prod.sandbox.faults.add("reset")
    with pytest.raises(Unreachable):
        prod.export(prune=True)
    assert list(prod.files()) == ["workflows/a.json"]


def test_a_folder_of_n8ns_own_source_control_is_read_only(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.push_files({"workflows/x.json": file_bytes({**workflow("A", id="x"), "versionId": "v", "owner": {"type": "personal"}})})
    prod.create_in_n8n(workflow("A", id="x"))
    with pytest.raises(Blocked, match="Source Control"):
        prod.export()
    assert commits(fleet) == 1


def test_without_a_repository_there_is_nowhere_to_export_to(new_fleet: NewFleet) -> None:
    with pytest.raises(UsageError, match="no repository"):
        new_fleet(git=False)["prod"].export()


def test_a_crash_after_the_push_loses_nothing_and_repeats_nothing(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    (one,) = prod.create_in_n8n(workflow("A"))
    assert run_in_child(prod, "export", "export.after_write=kill").returncode == -signal.SIGKILL
    assert commits(fleet) == 1 and prod.git_states() == {}
    export = prod.export()
    assert (export.files, commits(fleet)) == ([], 1)
    assert prod.mapping(one).status == "linked"
    assert prod.check().status == "IN_SYNC"
    (operation,) = [row for row in fleet.operations() if row.kind == "export"]
    assert (operation.state, operation.attempts) == ("completed", 2)


def test_a_crash_before_the_push_writes_once(fleet: FleetUnderTest) -> None:
    prod = fleet["prod"]
    prod.create_in_n8n(workflow("A"))
    assert run_in_child(prod, "export", "export.before_write=kill").returncode == -signal.SIGKILL
    assert fleet.repository.head() is None
    assert prod.export().commit == fleet.repository.head()
    assert commits(fleet) == 1
