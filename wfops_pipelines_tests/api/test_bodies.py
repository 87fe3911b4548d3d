"""What bodies of strangers hold in memory together, and who is kept out by whom (§21)."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from wfops_pipelines.api import github
from wfops_pipelines.services.push_delivery import receive
from wfops_pipelines_tests.api.test_github_webhook import LARGEST, Receiver, error_of, request_head, serving
from wfops_pipelines_tests.servers.processes import eventually
from wfops_pipelines_tests.services.fleet import NewFleet
from wfops_pipelines_tests.services.pushing import NotedQueue, push_document, signing_fleet


def test_bodies_hold_no_more_memory_together_than_they_may(new_fleet: NewFleet) -> None:
    fleet, queue = signing_fleet(new_fleet), NotedQueue()
    with serving(fleet, queue, together=LARGEST) as url:
        receiver = Receiver(url, fleet, queue)
        with receiver.connect() as first, receiver.connect() as second:
            first.sendall(request_head(LARGEST) + b"x" * (LARGEST - 10))
            second.sendall(request_head(LARGEST) + b"x" * (LARGEST - 10))
            assert sum(answered(connection) for connection in (first, second)) == 1  # whichever came second
        eventually(lambda: receiver.send(large_push("prod/a.json")).status_code == 202)


def test_large_bodies_that_never_end_keep_no_small_one_out(new_fleet: NewFleet) -> None:
    fleet, queue = signing_fleet(new_fleet), NotedQueue()
    with serving(fleet, queue, together=LARGEST) as url:
        receiver = Receiver(url, fleet, queue)
        with receiver.connect() as endless:
            endless.sendall(request_head(LARGEST) + b"x" * (LARGEST - 1))
            eventually(lambda: receiver.send(b"x" * 3000).status_code == 503)
            assert receiver.send(push_document("prod/a.json")).status_code == 202


def test_small_bodies_hold_no_more_memory_together_than_they_may(new_fleet: NewFleet) -> None:
    fleet, queue = signing_fleet(new_fleet), NotedQueue()
    with serving(fleet, queue, small_together=2000) as url:
        receiver = Receiver(url, fleet, queue)
        with receiver.connect() as endless:
            endless.sendall(request_head(2000) + b"x" * 1999)
            eventually(lambda: receiver.send(b"xx").status_code == 503)
            assert receiver.send(large_push("prod/a.json")).status_code == 202
        eventually(lambda: receiver.send(b"xx").status_code == 401)


def large_push(path: str) -> dict[str, Any]:
    """A push that is larger than a small body, and no larger than a body may be."""
    return push_document(path, padding="x" * (LARGEST - 1000))


def test_a_body_is_held_until_it_was_worked_on_also_when_it_was_answered_before(
        new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet, queue, go_on = signing_fleet(new_fleet), NotedQueue(), threading.Event()

    def slowly(services: Any, delivery: Any, **options: Any) -> Any:
        go_on.wait(60)
        return receive(services, delivery, **options)

    monkeypatch.setattr(github, "receive", slowly)
    monkeypatch.setattr(github, "STORE_SECONDS", 0.1)
    with serving(fleet, queue, together=LARGEST) as url:
        receiver = Receiver(url, fleet, queue)
        large = large_push("prod/a.json")
        assert error_of(receiver.send(large)) == "store_unavailable"
        assert error_of(receiver.send(large)) == "busy"
        monkeypatch.setattr(github, "STORE_SECONDS", 60.0)
        go_on.set()
        eventually(lambda: receiver.send(large).status_code in {200, 202})


def answered(connection: socket.socket) -> bool:
    connection.settimeout(3)
    try:
        return b" 503 " in connection.recv(65536)
    except TimeoutError:
        return False
