"""The receiver as senders meet it: a real server on loopback, answers to the good, the bad and the slow."""

from __future__ import annotations

import json
import socket
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any
from urllib.parse import quote_plus, urlsplit

import httpx
import pytest
import uvicorn

from wfops_pipelines import failpoints
from wfops_pipelines.api import github, server
from wfops_pipelines.api.app import create_app
from wfops_pipelines.api.bodies import BodyReader
from wfops_pipelines.api.dispatcher import Dispatcher
from wfops_pipelines.domain.errors import StoreUnavailable
from wfops_pipelines.domain.pushes import signature_of
from wfops_pipelines.services.pausing import pause, resume
from wfops_pipelines.services.push_delivery import receive
from wfops_pipelines_tests.servers.processes import eventually
from wfops_pipelines_tests.services.fleet import FleetUnderTest, NewFleet
from wfops_pipelines_tests.services.pushing import (
    RECORDED,
    SECRET,
    NotedQueue,
    delivered,
    deliveries,
    push_document,
    signing_fleet,
)

LARGEST = 200_000


@dataclass
class Receiver:
    """The server, what it serves, and where it queues."""

    url: str
    fleet: FleetUnderTest
    queue: NotedQueue

    def send(self, document: Any, *, event: str = "push", secret: str = SECRET, form: bool = False,
             **headers: str | None) -> httpx.Response:
        """Send a delivery as GitHub does; a header that is none is left out."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        if form:
            body = b"payload=" + quote_plus(body).encode()
        sent: dict[str, str | None] = {
            "Content-Type": "application/x-www-form-urlencoded" if form else "application/json", "X-GitHub-Event": event,
            "X-GitHub-Delivery": str(uuid.uuid4()), "X-GitHub-Hook-ID": "1",
            "X-Hub-Signature-256": signature_of(secret, body)}
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        return httpx.post(f"{self.url}/api/v1/webhooks/github", content=body, timeout=60,
                          headers={k: v for k, v in sent.items() if v is not None})

    def connect(self) -> socket.socket:
        """A connection of its own, to send what no client would."""
        parts = urlsplit(self.url)
        return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60)


@contextmanager
def serving(fleet: FleetUnderTest, queue: NotedQueue, **limits: Any) -> Iterator[str]:
    @contextmanager
    def opened() -> Iterator[NotedQueue]:
        if queue.error is not None:
            raise queue.error
        yield queue

    bodies = BodyReader(**{"largest": LARGEST, "seconds": 20.0, "together": 10 * LARGEST, "small": 2000, **limits})
    app = create_app(fleet.services, Dispatcher(fleet.services, opened), bodies=bodies)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        running = uvicorn.Server(server.config_of(app, host="127.0.0.1", port=0))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        eventually(lambda: running.started)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            running.should_exit = True
            thread.join()


@pytest.fixture
def receiver(new_fleet: NewFleet) -> Iterator[Receiver]:
    fleet, queue = signing_fleet(new_fleet), NotedQueue()
    with serving(fleet, queue) as url:
        yield Receiver(url, fleet, queue)


def error_of(response: httpx.Response) -> str:
    """The type of an error, after a look at its envelope."""
    document = response.json()
    assert set(document) == {"error", "timestamp"} and set(document["error"]) == {"type", "message", "details"}
    return str(document["error"]["type"])


# -- the good ------------------------------------------------------------------------------------------------------------


def test_a_recorded_push_is_accepted_and_launched(receiver: Receiver) -> None:
    response = receiver.send(RECORDED["new_branch"])
    assert response.status_code == 202
    assert set(response.json()) == {"data", "message", "timestamp"}
    assert response.json()["data"]["environments"] == 2
    eventually(lambda: receiver.queue.submitted == [{("acme", "dev"), ("acme", "prod")}])
    eventually(lambda: [row.status for row in deliveries(receiver.fleet)] == ["launched"])


def test_a_form_is_as_good_as_json(receiver: Receiver) -> None:
    assert receiver.send(push_document("prod/a b+c&d.json"), form=True).status_code == 202
    eventually(lambda: receiver.queue.submitted == [{("acme", "prod")}])


def test_a_ping_and_other_events_are_answered_kindly(receiver: Receiver) -> None:
    repository = RECORDED["new_branch"]["repository"]
    ping = receiver.send({**RECORDED["ping"], "repository": repository}, event="ping")
    assert (ping.status_code, ping.json()["message"]) == (200, "pong")
    issues = receiver.send({**RECORDED["issues"], "repository": repository}, event="issues")
    assert (issues.status_code, issues.json()["message"]) == (200, "nothing to do: event issues")


def test_a_tag_is_nothing_to_do(receiver: Receiver) -> None:
    response = receiver.send(RECORDED["deleted_tag"])
    assert (response.status_code, response.json()["data"]["status"]) == (200, "ignored")


def test_a_redelivery_is_told_that_it_is_one_and_launches_nothing(receiver: Receiver) -> None:
    name = str(uuid.uuid4())
    assert receiver.send(RECORDED["new_branch"], X_GitHub_Delivery=name).status_code == 202
    eventually(lambda: len(receiver.queue.submitted) == 1)
    again = receiver.send(RECORDED["new_branch"], X_GitHub_Delivery=name)
    assert (again.status_code, again.json()["message"]) == (200, "already received")
    assert len(receiver.queue.submitted) == 1


def test_a_hundred_deliveries_at_once_are_all_kept_and_make_few_runs(
        receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github, "STORE_SECONDS", 60.0)  # however slow this machine is now
    documents = [push_document("prod/a.json", after=f"{n + 1:040x}") for n in range(100)]
    with ThreadPoolExecutor(100) as pool:
        statuses = [response.status_code for response in pool.map(receiver.send, documents)]
    assert statuses == [202] * 100
    eventually(lambda: {row.status for row in receiver.fleet.reading(lambda w: w.pushes.deliveries(limit=200))} == {"launched"})
    assert len(receiver.fleet.reading(lambda w: w.pushes.deliveries(limit=200))) == 100
    assert len(receiver.queue.submitted) == 1
    assert receiver.fleet.chain_verifies()


def test_a_push_to_a_tenant_that_is_paused_is_not_said_to_be_launched(
        receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github, "LAUNCH_SECONDS", 60.0)  # however slow this machine is now
    services = receiver.fleet.services
    pause(services, "acme", actor="local:ada")
    response = receiver.send(push_document("prod/a.json"))
    assert (response.status_code, response.json()["data"]) == (202, {"status": "received", "environments": 1})
    assert "is launched once nothing is paused" in response.json()["message"]
    assert [row.status for row in deliveries(receiver.fleet)] == ["received"]
    resume(services, "acme", actor="local:ada")
    assert receiver.send(push_document("dev/a.json")).json()["data"]["status"] == "launched"
    assert receiver.queue.submitted == [{("acme", "dev"), ("acme", "prod")}]


# -- the bad -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [
    {"secret": "another"}, {"X_Hub_Signature_256": None}, {"X_Hub_Signature_256": "sha256=00"},
    {"X_Hub_Signature_256": None, "X_Hub_Signature": "sha1=" + "0" * 40}])
def test_who_is_not_believed_gets_401_and_no_hint(receiver: Receiver, headers: dict[str, Any]) -> None:
    response = receiver.send(RECORDED["new_branch"], **headers)
    unknown = receiver.send(push_document("a", url="https://github.com/no/such"))
    assert (response.status_code, unknown.status_code, error_of(response)) == (401, 401, "denied")
    assert response.json()["error"] == unknown.json()["error"]
    assert deliveries(receiver.fleet) == []


@pytest.mark.parametrize("body", [b"", b"{}", b"[1", b"\xff\xfe", b"null", b"[" * 100_000])
def test_a_body_that_names_no_repository_is_nobodys(receiver: Receiver, body: bytes) -> None:
    assert receiver.send(body).status_code == 401


def test_a_form_without_a_payload_is_nobodys(receiver: Receiver) -> None:
    assert receiver.send(b"load=%7B%7D", Content_Type="application/x-www-form-urlencoded").status_code == 401


def test_a_signed_body_that_is_no_json_is_a_bad_request(receiver: Receiver) -> None:
    body = json.dumps(push_document("prod/a.json")).encode()[:-1]
    response = receiver.send(body)
    assert (response.status_code, error_of(response)) == (400, "malformed_delivery")


@pytest.mark.parametrize("headers", [
    {"X_GitHub_Event": None}, {"X_GitHub_Delivery": None}, {"X_GitHub_Delivery": "x" * 101}, {"X_GitHub_Event": "Push!"},
    {"X_GitHub_Hook_ID": "one"}])
def test_headers_that_github_never_sends_are_a_bad_request(receiver: Receiver, headers: dict[str, Any]) -> None:
    response = receiver.send(RECORDED["new_branch"], **headers)
    assert (response.status_code, error_of(response)) == (400, "malformed_delivery")


@pytest.mark.parametrize("headers", [{"Content_Type": "text/plain"}, {"Content_Type": None}, {"Content_Encoding": "gzip"}])
def test_other_content_types_are_refused(receiver: Receiver, headers: dict[str, Any]) -> None:
    response = receiver.send(RECORDED["new_branch"], **headers)
    assert (response.status_code, error_of(response)) == (415, "unsupported_media_type")


def test_errors_of_the_way_to_it_have_the_same_envelope(receiver: Receiver) -> None:
    wrong_method = httpx.get(f"{receiver.url}/api/v1/webhooks/github")
    nowhere = httpx.get(f"{receiver.url}/api/v1/nowhere")
    assert (wrong_method.status_code, error_of(wrong_method)) == (405, "method_not_allowed")
    assert wrong_method.headers["allow"] == "POST"
    assert (nowhere.status_code, error_of(nowhere)) == (404, "not_found")


def test_an_unexpected_error_says_its_type_and_an_id_and_nothing_more(receiver: Receiver) -> None:
    failpoints.arm("push.received.before_commit=raise")
    response = receiver.send(RECORDED["new_branch"])
    assert (response.status_code, error_of(response)) == (500, "FailpointReached")
    assert uuid.UUID(response.json()["error"]["details"]["id"])
    assert "push.received" not in response.text


def test_the_health_check_is_public_and_the_description_names_the_webhook(receiver: Receiver) -> None:
    assert httpx.get(f"{receiver.url}/api/v1/health").json()["data"]["status"] == "ok"
    described = httpx.get(f"{receiver.url}/api/v1/openapi.json").json()
    assert set(described["paths"]) == {"/api/v1/health", "/api/v1/webhooks/github"}


# -- the large and the slow ----------------------------------------------------------------------------------------------


def test_a_body_that_says_it_is_too_large_is_refused_unread(receiver: Receiver) -> None:
    with receiver.connect() as connection:
        connection.sendall(request_head(LARGEST + 1))
        assert b" 413 " in answer_of(connection)


def test_a_body_that_turns_out_to_be_too_large_is_refused(receiver: Receiver) -> None:
    with receiver.connect() as connection:
        connection.sendall(request_head(None))
        chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
        for _ in range(LARGEST // 0x4000 + 1):
            connection.sendall(chunk)
        assert b" 413 " in answer_of(connection)


def test_a_body_that_is_cut_off_leaves_nothing(receiver: Receiver) -> None:
    with receiver.connect() as connection:
        connection.sendall(request_head(1000) + b"{")
    assert receiver.send(push_document("prod/a.json")).status_code == 202
    assert len(deliveries(receiver.fleet)) == 1


def test_a_body_that_comes_too_slowly_is_given_up_and_others_are_served_meanwhile(new_fleet: NewFleet) -> None:
    fleet, queue = signing_fleet(new_fleet), NotedQueue()
    with serving(fleet, queue, seconds=3.0) as url:
        receiver = Receiver(url, fleet, queue)
        slow = [receiver.connect() for _ in range(30)]
        for connection in slow:
            connection.sendall(request_head(1000) + b"{")
        assert receiver.send(push_document("prod/a.json")).status_code == 202
        for connection in slow:
            with connection:
                assert b" 408 " in answer_of(connection)


def test_who_never_gets_to_the_end_of_its_headers_is_hung_up_on(
        receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver.connect() as second:
        second.sendall(b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert first_answer_of(second).status == 200
        monkeypatch.setattr(server, "HEADER_SECONDS", 0.3)
        with receiver.connect() as silent, receiver.connect() as slow:
            slow.sendall(b"POST /api/v1/webhooks/github HTTP/1.1\r\nHost: x\r\nX-A: ")
            second.sendall(b"GET /api/v1/heal")
            for connection in (silent, slow, second):
                assert answer_of(connection) == b""


def request_head(length: int | None) -> bytes:
    lines = ["POST /api/v1/webhooks/github HTTP/1.1", "Host: x", "Content-Type: application/json", "X-GitHub-Event: push",
             "X-GitHub-Delivery: a", "X-Hub-Signature-256: sha256=" + "0" * 64,
             "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def first_answer_of(connection: socket.socket) -> HTTPResponse:
    """One whole answer, in however many pieces it comes; the connection stays open."""
    answer = HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer


def answer_of(connection: socket.socket) -> bytes:
    """All that comes until the server hangs up."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


# -- when something is away ----------------------------------------------------------------------------------------------


def test_without_the_queue_it_is_kept_and_answered_503_and_launched_when_the_queue_is_back(new_fleet: NewFleet) -> None:
    fleet, queue = signing_fleet(new_fleet), NotedQueue()
    with serving(fleet, queue) as url:
        receiver = Receiver(url, fleet, queue)
        assert receiver.send(push_document("dev/a.json")).status_code == 202
        queue.queued, queue.error = [], StoreUnavailable("away")
        response = receiver.send(push_document("prod/a.json"))
        assert (response.status_code, error_of(response)) == (503, "queue_unavailable")
        assert deliveries(fleet)[0].status == "received"
        queue.error = None
        eventually(lambda: [row.status for row in deliveries(fleet)] == ["launched", "launched"])


def test_without_the_database_it_is_answered_503(new_fleet: NewFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet, queue = signing_fleet(new_fleet), NotedQueue()
    with serving(fleet, queue) as url:
        receiver = Receiver(url, fleet, queue)
        with monkeypatch.context() as away:
            def gone() -> Any:
                raise StoreUnavailable("the database does not answer")
            away.setattr(fleet.services.store, "system", gone)
            response = receiver.send(push_document("prod/a.json"))
        assert (response.status_code, error_of(response)) == (503, "store_unavailable")
        assert receiver.send(push_document("prod/a.json")).status_code == 202


def test_what_an_earlier_receiver_left_is_launched_when_the_next_one_starts(new_fleet: NewFleet) -> None:
    fleet, queue = signing_fleet(new_fleet), NotedQueue()
    receive(fleet.services, delivered(push_document("prod/a.json")))
    with serving(fleet, queue):
        eventually(lambda: queue.submitted == [{("acme", "prod")}])
