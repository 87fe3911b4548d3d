"""The HTTP core against servers that misbehave, on real sockets (§3, §25)."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import threading
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from wfops_pipelines.domain.errors import (
    Conflict,
    IncompleteRead,
    NotFound,
    NotN8n,
    OutsideError,
    Refused,
    Rejected,
    Unreachable,
    UsageError,
)
from wfops_pipelines.n8n import client as client_module
from wfops_pipelines.n8n.answers import json_of
from wfops_pipelines.n8n.client import N8nClient, api_root, header_key
from wfops_pipelines.n8n.provider import Connection
from wfops_pipelines.n8n.tls import shared_context
from wfops_pipelines_tests.servers.hostile import HostileServer, Request, Reset, Script, closed_port, http, self_signed

KEY = "a-secret-key-that-nobody-may-see"
OK = http(200, {"ok": True})


class Caller:
    """A client whose waits between attempts take no time, and are remembered."""

    def __init__(self, url: str, **options: Any) -> None:
        self.connection = Connection(url, KEY, **options)
        self.waits: list[float] = []

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    def run(self, act: Callable[[N8nClient], Awaitable[Any]]) -> Any:
        async def within() -> Any:
            async with N8nClient(self.connection, random=lambda: 0.5, sleep=self._sleep) as client:
                return await act(client)

        return asyncio.run(within())

    def call(self, method: str = "GET", path: str = "/api/v1/workflows", **options: Any) -> Any:
        async def act(client: N8nClient) -> Any:
            return json_of(await client.call("test", method, path, **options), client.asked(method, path))

        return self.run(act)

    def error(self, *arguments: Any, **options: Any) -> OutsideError:
        with pytest.raises(OutsideError) as raised:
            self.call(*arguments, **options)
        assert KEY not in str(raised.value)
        return raised.value


def in_turn(*answers: bytes | type[Exception]) -> Script:
    """One answer after the other, the last one again and again."""
    left = list(answers)
    lock = threading.Lock()

    def script(_: Request) -> bytes:
        with lock:
            answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, bytes):
            return answer
        raise answer

    return script


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


def test_a_server_that_drips_for_ever_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "ATTEMPT_LIMIT", 0.2)
    release = threading.Event()

    def script(_: Request) -> bytes:
        release.wait(30)
        return OK

    with HostileServer(script) as server:
        error = Caller(server.url).error()
        release.set()
    assert isinstance(error, Unreachable)
    assert "took longer" in str(error)


def test_a_reset_connection_is_unreachable() -> None:
    with HostileServer(in_turn(Reset)) as server:
        assert isinstance(Caller(server.url, attempts=1).error(), Unreachable)


def test_a_certificate_that_nobody_vouches_for_is_refused_with_a_way_out(tmp_path: Path) -> None:
    context, _ = self_signed(tmp_path)
    with HostileServer(in_turn(OK), tls=context) as server:
        caller = Caller(server.url)
        error = caller.error()
    assert isinstance(error, Unreachable)
    assert "certificate is not trusted" in error.message
    assert "verify_tls" in (error.fix or "")
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
    with pytest.raises(UsageError, match="cannot be read"):
        shared_context(str(tmp_path / "none.pem"))


def test_contexts_are_shared() -> None:
    assert shared_context(True) is shared_context(True)
    assert shared_context(True) is not shared_context(False)


# Answers that no n8n gives


def test_a_web_page_with_200_is_no_n8n() -> None:
    with HostileServer(in_turn(http(200, "<!DOCTYPE html><title>Welcome</title>"))) as server:
        error = Caller(server.url).error()
    assert isinstance(error, NotN8n)
    assert "web page" in str(error)
    assert len(server.requests) == 1


def test_a_redirect_loop_ends_at_the_first_turn() -> None:
    with HostileServer(lambda request: http(302, location=request.target)) as server:
        error = Caller(server.url).error()
    assert isinstance(error, NotN8n)
    assert "redirects to itself" in str(error)
    assert len(server.requests) == 1


def test_the_key_never_follows_a_redirect_to_another_host() -> None:
    with HostileServer(in_turn(OK)) as other, HostileServer(in_turn(http(307, location=f"{other.url}/api/v1/workflows"))) as server:
        error = Caller(server.url).error()
        assert isinstance(error, NotN8n)
        assert other.url in str(error)
        assert other.connections == 0


def test_a_redirect_to_https_says_to_change_the_url() -> None:
    with HostileServer(lambda request: http(301, location=f"https://127.0.0.1{request.target}")) as server:
        error = Caller(server.url).error()
    assert isinstance(error, NotN8n)
    assert "https://" in (error.fix or "")


@pytest.mark.parametrize("location", ["", "http://[", "//", "/%"])
def test_a_broken_redirect_is_no_n8n(location: str) -> None:
    with HostileServer(in_turn(http(302, location=location))) as server:
        assert isinstance(Caller(server.url).error(), NotN8n)


@pytest.mark.parametrize("banner", [b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x50", b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000])
def test_what_is_no_http_is_no_n8n(banner: bytes) -> None:
    with HostileServer(in_turn(banner)) as server:
        error = Caller(server.url).error()
    assert isinstance(error, NotN8n)
    assert "no HTTP" in str(error)


# Cut off


def _chunked(*chunks: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n" + b'{"data": [',
    _chunked(b'{"data": [', b"1,"),
    http(200, gzip.compress(b'{"data": []}' * 1000)[:-20], content_encoding="gzip", close=True),
    http(200, b"no gzip at all", content_encoding="gzip", close=True),
    http(200, b'{"data": [1, 2', close=True),
], ids=["content-length", "chunked", "gzip cut", "no gzip", "json cut"])
def test_a_cut_off_answer_is_an_incomplete_read(answer: bytes) -> None:
    with HostileServer(in_turn(answer)) as server:
        error = Caller(server.url, attempts=2).error()
    assert isinstance(error, IncompleteRead)
    assert error.transient


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress),
                                                   ("identity", lambda data: data)])
def test_encodings_are_undone(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    with HostileServer(in_turn(http(200, compress(b'{"a": 1}'), content_encoding=encoding))) as server:
        assert Caller(server.url).call() == {"a": 1}


def test_an_encoding_that_was_not_asked_for_is_refused() -> None:
    with HostileServer(in_turn(http(200, b"x", content_encoding="br"))) as server:
        assert isinstance(Caller(server.url).error(), NotN8n)


def test_an_answer_made_to_fill_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfops_pipelines.n8n.answers.MAX_ANSWER_BYTES", 1024)
    with HostileServer(in_turn(http(200, gzip.compress(b"x" * 100_000), content_encoding="gzip"))) as server:
        error = Caller(server.url).error()
    assert isinstance(error, Rejected)
    assert "smaller pages" in (error.fix or "")


def test_lone_surrogates_nul_and_large_numbers_pass_both_ways() -> None:
    value = {"a": "\ud800", "b": "x\x00y", "c": 2**70}
    with HostileServer(lambda request: http(200, request.body)) as server:
        assert Caller(server.url).call("PUT", body=value) == value


# Refusals


@pytest.mark.parametrize(("status", "body", "kind", "words"), [
    (401, {"message": "unauthorized"}, Refused, "wrong, expired, or another instance's"),
    (403, {"message": "Forbidden"}, Refused, "scopes"),
    (403, {"message": "Your license does not allow for feat:variables."}, Refused, "licence"),
    (401, {"status": "Error", "message": "Source Control feature is not licensed"}, Refused, "licence"),
    (403, "<title>Access denied</title>", Refused, "proxy or firewall"),
    (404, {"message": "Not Found"}, NotFound, "Not Found"),
    (404, {"message": "You do not have permission to update this workflow. Ask the owner to share it with you."}, NotFound,
     "it is gone, or belongs to"),
    (404, "<pre>Cannot GET /api/v1/workflows</pre>", NotN8n, "public API"),
    (409, {"message": "There is a conflict with one of the webhooks."}, Conflict, "webhooks"),
    (400, {"message": "request/body/active is read-only"}, Rejected, "request/body/active is read-only"),
    (413, "<pre>PayloadTooLargeError: request entity too large</pre>", Rejected, "N8N_PAYLOAD_SIZE_MAX"),
    (415, {"message": "unsupported media type text/plain"}, Rejected, "text/plain"),
    (500, "<pre>ResponseError: Failed to parse request body</pre>", Rejected, "Failed to parse request body"),
    (400, b"\xff\xfe", Rejected, "400"),
    (418, ["a", "list"], Rejected, "list"),
])
def test_refusals_are_told_apart(status: int, body: Any, kind: type[OutsideError], words: str) -> None:
    with HostileServer(in_turn(http(status, body))) as server:
        error = Caller(server.url).error()
        assert error.target == server.url
    assert type(error) is kind
    assert error.status == status
    assert words in str(error) or body == b"\xff\xfe"


def test_a_message_without_end_is_shortened() -> None:
    with HostileServer(in_turn(http(400, {"message": "x" * 1_000_000}))) as server:
        assert len(str(Caller(server.url).error())) < 1000


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
