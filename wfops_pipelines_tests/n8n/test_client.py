"""The HTTP core against servers that misbehave, on real sockets (§3, §25)."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import (
    NotFound,
    Unreachable,
    UsageError,
)
from wfops_pipelines.n8n.client import N8nClient, api_root, header_key
from wfops_pipelines.n8n.tls import shared_context
from wfops_pipelines_tests.n8n.caller import KEY, OK, Caller, in_turn
from wfops_pipelines_tests.servers.hostile import HostileServer, Request, Reset, closed_port, drop_by_drop, http, self_signed


def test_a_call_carries_the_key_and_says_who_asks() -> None:
    with HostileServer(in_turn(OK)) as server:
        assert Caller(server.url).call() == {"ok": True}
    headers = server.requests[0].headers
    assert headers["x-n8n-api-key"] == KEY
    assert headers["user-agent"].startswith("wfops/")
    assert headers["accept-encoding"] == "identity"  # loopback: inflating costs more than it saves


def test_one_connection_serves_many_calls() -> None:
    async def five(client: N8nClient) -> None:
        for _ in range(5):
            await client.call("test", "GET", "/x")

    with HostileServer(in_turn(OK)) as server:
        Caller(server.url).run(five)
        assert len(server.requests) == 5
        assert server.connections == 1


def test_requests_in_flight_are_bounded() -> None:
    full, release = threading.Event(), threading.Event()

    def script(_: Request) -> bytes:
        if server.most_at_once >= 3:
            full.set()
        assert release.wait(30)
        return OK

    async def ten(client: N8nClient) -> None:
        calls = [asyncio.create_task(client.call("test", "GET", "/x")) for _ in range(10)]
        assert await asyncio.to_thread(full.wait, 30)
        release.set()
        await asyncio.gather(*calls)

    with HostileServer(script) as server:
        Caller(server.url, max_concurrency=3).run(ten)
    assert server.most_at_once == 3
    assert len(server.requests) == 10


# Retries


@pytest.mark.parametrize("failure", [http(502), http(503), http(504), http(429), http(520), Reset, b"", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{"])
def test_a_read_is_tried_again_after_what_may_pass(failure: Any) -> None:
    with HostileServer(in_turn(failure, failure, OK)) as server:
        caller = Caller(server.url)
        assert caller.call() == {"ok": True}
    assert len(server.requests) == 3
    assert caller.waits == [0.25, 0.5]  # half of 0.5 and of 1 second: full jitter at 0.5


def test_after_the_last_attempt_the_error_stands() -> None:
    with HostileServer(in_turn(http(503, "<title>Maintenance</title>"))) as server:
        error = Caller(server.url, attempts=3).error()
    assert isinstance(error, Unreachable)
    assert error.status == 503
    assert "Maintenance" in str(error)
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 415, 500])
def test_what_will_not_pass_is_not_tried_again(status: int) -> None:
    with HostileServer(in_turn(http(status, {"message": "no"}))) as server:
        caller = Caller(server.url)
        assert caller.error().status == status
    assert len(server.requests) == 1
    assert caller.waits == []


@pytest.mark.parametrize("failure", [http(503), http(429), Reset, b""])
def test_a_create_is_never_sent_twice(failure: Any) -> None:
    with HostileServer(in_turn(failure, OK)) as server:
        error = Caller(server.url).error("POST", body={})
    assert isinstance(error, Unreachable)
    assert len(server.requests) == 1


def test_a_create_is_tried_again_while_no_connection_opens() -> None:
    with closed_port() as port:
        caller = Caller(f"http://127.0.0.1:{port}", attempts=3)
        error = caller.error("POST", body={})
    assert isinstance(error, Unreachable)
    assert "no connection" in str(error)
    assert len(caller.waits) == 2


def test_an_activation_is_sent_again() -> None:
    with HostileServer(in_turn(Reset, OK)) as server:
        Caller(server.url).call("POST", repeatable=True)
    assert len(server.requests) == 2


def test_a_put_is_sent_again_with_the_same_body() -> None:
    with HostileServer(in_turn(http(502), OK)) as server:
        Caller(server.url).call("PUT", body={"name": "x"})
    assert [json.loads(request.body) for request in server.requests] == [{"name": "x"}] * 2


def test_a_delete_that_finds_nothing_the_second_time_is_done() -> None:
    with HostileServer(in_turn(http(504), http(404, {"message": "Not Found"}))) as server:
        assert Caller(server.url).call("DELETE") is None
    assert len(server.requests) == 2


def test_a_delete_that_finds_nothing_the_first_time_says_so() -> None:
    with HostileServer(in_turn(http(404, {"message": "Not Found"}))) as server:
        assert isinstance(Caller(server.url).error("DELETE"), NotFound)


@pytest.mark.parametrize(("headers", "least", "most"), [
    ({"retry_after": "7"}, 7, 8),
    ({"retry_after": "Sat, 21 Nov 2026 10:00:12 GMT", "date": "Sat, 21 Nov 2026 10:00:00 GMT"}, 12, 13),
    ({"retry_after": "Sat, 21 Nov 2020 10:00:12 GMT"}, 0, 1),
    ({"retry_after": "86400"}, 30, 31),
    ({"retry_after": "soon"}, 0, 1),
    ({}, 0, 1),
])
def test_retry_after_is_honoured_up_to_a_bound(headers: dict[str, Any], least: float, most: float) -> None:
    with HostileServer(in_turn(http(429, {"message": "slow down"}, **headers), OK)) as server:
        caller = Caller(server.url)
        caller.call()
    assert least <= caller.waits[0] <= most


def test_a_rate_limit_that_stays_is_unreachable() -> None:
    with HostileServer(in_turn(http(429, {"message": "Too many requests"}))) as server:
        error = Caller(server.url).error()
    assert isinstance(error, Unreachable)
    assert error.transient
    assert "Too many requests" in str(error)


# No connection, no answer


def test_a_server_that_does_not_answer_in_time_is_unreachable() -> None:
    release = threading.Event()

    def script(_: Request) -> bytes:
        release.wait(30)
        return OK

    with HostileServer(script) as server:
        error = Caller(server.url, read_timeout=0.05, attempts=2).error()
        release.set()
    assert isinstance(error, Unreachable)
    assert "no answer in time" in str(error)
    assert len(server.requests) == 2


def test_a_server_that_drips_for_ever_is_left() -> None:
    with HostileServer(lambda _: drop_by_drop(http(200, b"x" * 100_000))) as server:
        error = Caller(server.url, answer_timeout=0.5).error()
    assert isinstance(error, Unreachable)
    assert "took longer" in str(error)


def test_a_reset_connection_is_unreachable() -> None:
    with HostileServer(in_turn(Reset)) as server:
        assert isinstance(Caller(server.url, attempts=1).error(), Unreachable)


def test_a_host_name_that_does_not_resolve_says_so() -> None:
    error = Caller("http://nowhere.invalid", attempts=1).error()
    assert isinstance(error, Unreachable)
    assert "nowhere.invalid does not resolve" in str(error)


@pytest.mark.parametrize(("point", "sent"), [("before", 0), ("after", 1)])
def test_a_failpoint_lies_on_either_side_of_a_call(point: str, sent: int) -> None:
    failpoints.arm(f"n8n.test.{point}=raise")
    try:
        with HostileServer(in_turn(OK)) as server, pytest.raises(failpoints.FailpointReached):
            Caller(server.url).call()
    finally:
        failpoints.disarm()
    assert len(server.requests) == sent


def test_a_certificate_that_nobody_vouches_for_is_refused_with_a_way_out(tmp_path: Path) -> None:
    context, _ = self_signed(tmp_path)
    with HostileServer(in_turn(OK), tls=context) as server:
        caller = Caller(server.url)
        error = caller.error()
    assert isinstance(error, Unreachable)
    assert "certificate is not trusted" in error.message
    assert all(field in (error.fix or "") for field in ("ca_bundle", "verify_tls"))
    assert server.requests == []
    assert caller.waits == []


def test_a_ca_bundle_of_ones_own_is_trusted(tmp_path: Path) -> None:
    context, pem = self_signed(tmp_path)
    with HostileServer(in_turn(OK), tls=context) as server:
        assert Caller(server.url, verify_tls=str(pem)).call() == {"ok": True}
        assert Caller(server.url, verify_tls=False).call() == {"ok": True}


def test_https_to_a_port_that_speaks_http_says_so() -> None:
    with HostileServer(in_turn(http(400))) as server:
        error = Caller(server.url.replace("http://", "https://")).error()
    assert isinstance(error, Unreachable)
    assert "http://" in (error.fix or "")


def test_a_bundle_that_is_not_there_is_an_error_of_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read") as refused:
        shared_context(str(tmp_path / "none.pem"))
    assert "ca_bundle of the environment" in (refused.value.fix or "")


def test_contexts_are_shared() -> None:
    assert shared_context(True) is shared_context(True)
    assert shared_context(True) is not shared_context(False)


# The key


def test_the_key_shows_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with HostileServer(in_turn(http(503, {"message": f"your key is {KEY}"}), http(400, {"message": f"and {KEY}"}))) as server:
        caller = Caller(server.url)
        error = caller.error()

        async def shown(client: N8nClient) -> str:
            return f"{client!r} {client.asked('GET', '/x')!r}"

        assert KEY not in caller.run(shown)
    assert KEY not in f"{error} {error!r} {caller.connection!r}"
    assert KEY not in caplog.text
    assert "attempt 1 of 4" in caplog.text


@pytest.mark.parametrize("key", ["", "  ", "two\nlines", "clé", "nul\x00"])
def test_a_key_that_no_header_can_carry_is_refused_without_echo(key: str) -> None:
    with pytest.raises(UsageError) as raised:
        header_key(key)
    assert not key.strip() or key not in str(raised.value)


def test_a_key_from_a_file_loses_its_line_end() -> None:
    assert header_key("key\n") == "key"


# The URL


@pytest.mark.parametrize(("given", "root"), [
    ("http://n8n.example.com", "http://n8n.example.com"),
    ("https://n8n.example.com/", "https://n8n.example.com"),
    ("https://example.com:8443/n8n/", "https://example.com:8443/n8n"),
    ("https://example.com/n8n/api/v1/", "https://example.com/n8n"),
    ("  http://127.0.0.1:5678  ", "http://127.0.0.1:5678"),
])
def test_a_base_url_may_have_a_prefix_and_a_trailing_slash(given: str, root: str) -> None:
    assert api_root(given) == root


@pytest.mark.parametrize("url", ["", "n8n.example.com", "ftp://example.com", "http://", "http://[", "http://a:b", "http://x:99999",
                                 "http://example.com?x=1", "http://example.com/#x"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        api_root(url)


def test_a_password_in_the_url_is_refused_without_echo() -> None:
    with pytest.raises(UsageError) as raised:
        api_root("https://user:pass-word@example.com")
    assert "pass-word" not in str(raised.value)


def test_a_path_prefix_is_kept() -> None:
    with HostileServer(in_turn(OK)) as server:
        Caller(f"{server.url}/team/n8n/").call()
    assert server.requests[0].path == "/team/n8n/api/v1/workflows"
