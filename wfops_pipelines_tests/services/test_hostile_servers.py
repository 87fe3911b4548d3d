"""n8n and Git servers that hold on to whoever asks them: sweeps, looks and processes end, and the others are served (§9)."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from wfops_pipelines.domain.errors import TimedOut
from wfops_pipelines.git import ls_refs
from wfops_pipelines.n8n.provider import Connection
from wfops_pipelines_tests.servers.hostile import HostileServer, Request, Script, drop_by_drop, http, refs_without_end
from wfops_pipelines_tests.servers.processes import eventually, processes_with
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet, workflow
from wfops_pipelines_tests.services.test_sweeps import circuit, settle, swept

UPLOAD_PACK = {"content_type": "application/x-git-upload-pack-result"}
HEAD = http(200, b"003da" + b"a" * 39 + b" refs/heads/main\n0000", **UPLOAD_PACK)


def beside_a_good_one(new_fleet: NewFleet) -> FleetUnderTest:
    """eu is in sync; what prod's servers do is up to the test. A sweep has patience enough for eu on a busy machine."""
    fleet = new_fleet(("prod", "eu"))
    fleet["eu"].in_sync(workflow("A"))
    fleet.with_limits(sweep_patience=3.0, heartbeat=0.1, request_attempts=1)
    return fleet


def swept_with_n8n(fleet: FleetUnderTest, script: Script) -> Any:
    with HostileServer(script) as server:
        fleet.declared("prod")["url"] = server.url
        fleet.apply()
        return swept(fleet)


def told_of_prod(fleet: FleetUnderTest) -> tuple[str, str]:
    row = fleet["prod"].row
    return row.drift_status, row.drift_reason


def test_an_n8n_that_lists_drop_by_drop_ends_a_sweep_as_unreachable(new_fleet: NewFleet) -> None:
    def script(request: Request) -> bytes | Iterator[bytes]:
        if request.query.get("limit") == "1":
            return http(200, {"data": [], "nextCursor": None})
        return drop_by_drop(http(200, b" " * 100_000))

    fleet = beside_a_good_one(new_fleet)
    fleet.with_limits(answer_timeout=2.0)
    report = swept_with_n8n(fleet, script)
    assert report.counts["failed"] == 1 and told_of_prod(fleet) == ("ERROR", "unreachable")
    assert fleet["eu"].row.drift_status == "IN_SYNC"


def test_an_n8n_that_lists_pages_without_end_ends_a_sweep_as_unreachable(new_fleet: NewFleet) -> None:
    numbers = itertools.count()

    def script(_: Request) -> bytes:
        number = next(numbers)
        return http(200, {"data": [{**workflow(f"W{number}"), "id": f"w{number}"}], "nextCursor": f"c{number}"})

    fleet = beside_a_good_one(new_fleet)
    fleet.with_limits(longest_run=3.0)
    report = swept_with_n8n(fleet, script)
    assert report.counts["failed"] == 1 and told_of_prod(fleet) == ("ERROR", "unreachable")
    assert TimedOut.kind in {operation.error_kind for operation in fleet.operations()}
    assert fleet["eu"].row.drift_status == "IN_SYNC"


def test_an_n8n_that_lists_without_end_is_left_alone_and_probed_for_a_shorter_time_until_a_check_is_whole(
        new_fleet: NewFleet) -> None:
    fleet = beside_a_good_one(new_fleet)
    fleet["prod"].in_sync(workflow("B"))
    settle(fleet)
    fleet.with_limits(longest_run=20.0)
    fleet["prod"].sandbox.faults.add("latency", ms=500)
    fleet["prod"].sandbox.faults.add("endless", method="GET", path="/workflows$")
    assert swept(fleet).counts == {"unchanged": 1, "failed": 1}
    opened = circuit(fleet["prod"])
    assert (opened.state, opened.reason, told_of_prod(fleet)) == ("open", "timed_out", ("ERROR", "unreachable"))
    assert "ran for longer than 20 s" in opened.message
    assert swept(fleet, minutes=20).counts == {"unchanged": 1, "failed": 1}
    probed = circuit(fleet["prod"])
    assert (probed.state, probed.openings) == ("open", 2)
    assert "ran for longer than 4 s" in probed.message
    fleet["prod"].sandbox.faults.clear()
    fleet["prod"].sandbox.faults.add("refuse")
    assert swept(fleet, minutes=40).counts == {"unchanged": 1, "failed": 1}
    refused = circuit(fleet["prod"])
    assert (refused.reason, refused.openings, told_of_prod(fleet)) == ("timed_out", 3, ("ERROR", "refused")), "it stays slow"
    fleet["prod"].sandbox.faults.clear()
    assert swept(fleet, minutes=80).counts == {"unchanged": 1, "checked": 1}
    assert circuit(fleet["prod"]) is None and told_of_prod(fleet)[0] == "IN_SYNC"


def test_nothing_is_kept_of_a_page_with_more_than_was_asked_for(new_fleet: NewFleet) -> None:
    def script(request: Request) -> bytes:
        if request.query.get("limit") == "1":
            return http(200, {"data": [], "nextCursor": None})
        return http(200, {"data": [{**workflow(f"W{number}"), "id": f"w{number}"} for number in range(251)], "nextCursor": None})

    fleet = beside_a_good_one(new_fleet)
    report = swept_with_n8n(fleet, script)
    assert report.counts["failed"] == 1 and told_of_prod(fleet) == ("ERROR", "not_n8n")
    assert fleet["prod"].mappings() == {}
    assert fleet["eu"].row.drift_status == "IN_SYNC"


def test_a_git_server_that_answers_drop_by_drop_ends_a_sweep_as_unreachable(
        new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ls_refs, "WHOLE_SECONDS", 0.5)
    asked = itertools.count()
    fleet = beside_a_good_one(new_fleet)
    with HostileServer(lambda _: HEAD if next(asked) == 0 else drop_by_drop(HEAD + b"0" * 100_000)) as server:
        fleet.declared("prod")["repository"] = {"url": f"{server.url}/acme.git", "branch": "main"}
        fleet.apply()
        report = swept(fleet)
    assert report.counts["failed"] == 1 and told_of_prod(fleet) == ("ERROR", "unreachable")
    assert fleet["eu"].row.drift_status == "IN_SYNC"


def test_a_git_server_that_names_branches_without_end_ends_a_sweep_and_no_process_is_left(new_fleet: NewFleet) -> None:
    fleet = beside_a_good_one(new_fleet)
    with HostileServer(refs_without_end) as server:
        fleet.declared("prod")["repository"] = {"url": f"{server.url}/acme.git", "branch": "main"}
        fleet.apply()
        report = swept(fleet)
        eventually(lambda: not processes_with(server.url))
    assert report.counts["failed"] == 1 and told_of_prod(fleet) == ("ERROR", "unreachable")
    assert fleet["eu"].row.drift_status == "IN_SYNC"


def test_an_error_of_ours_is_no_status_of_before(new_fleet: NewFleet) -> None:
    fleet = beside_a_good_one(new_fleet)
    fleet["prod"].in_sync(workflow("B"))
    real, url = fleet.services.open_provider, fleet["prod"].row.base_url

    def opened(connection: Connection) -> Any:
        if connection.base_url == url:
            raise RuntimeError("nobody thought of this")
        return real(connection)

    fleet.services = replace(fleet.services, open_provider=opened)
    report = swept(fleet)
    assert report.counts["broken"] == 1 and told_of_prod(fleet) == ("ERROR", "broken")
    assert fleet["eu"].row.drift_status == "IN_SYNC"


def test_a_process_ends_though_a_call_of_it_hangs() -> None:
    ended = subprocess.run([sys.executable, "-c", "import threading\n"
                            "from wfops_pipelines.unwaited import call_unwaited\n"
                            "print(call_unwaited(len, 'abc').result(), call_unwaited(threading.Event().wait).done())"],
                           capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.split() == ["3", "False"]
