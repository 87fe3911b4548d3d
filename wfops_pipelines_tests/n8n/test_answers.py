"""Answers that are none, are cut off, or say no (§3, §25)."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Callable, Iterator
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
)
from wfops_pipelines.n8n.answers import MAX_VALUES
from wfops_pipelines_tests.n8n.caller import OK, Caller, in_turn
from wfops_pipelines_tests.servers.hostile import HostileServer, Request, drop_by_drop, http


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


def bare_deflate(data: bytes) -> bytes:
    """What some servers take "deflate" for."""
    return zlib.compress(data, wbits=-15)


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress),
                                                   ("deflate", bare_deflate), ("identity", lambda data: data)])
def test_encodings_are_undone(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    answer = http(200, compress(b'{"a": 1}'), content_encoding=encoding)
    with HostileServer(in_turn(answer)) as server:
        assert Caller(server.url).call() == {"a": 1}
    with HostileServer(lambda _: drop_by_drop(answer, every=0.001)) as server:
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


def test_an_answer_is_inflated_no_further_than_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfops_pipelines.n8n.answers.MAX_ANSWER_BYTES", 1_000_000)
    over = threading.Event()
    body = gzip.compress(b"x" * 100_000_000)

    def script(_: Request) -> Iterator[bytes]:
        yield http(200, body, content_encoding="gzip")[:-10]
        over.wait(60)  # the end of it is still to come

    with HostileServer(script) as server:
        error = Caller(server.url, read_timeout=30.0).error()
        over.set()
    assert len(body) < 1_000_000
    assert isinstance(error, Rejected)


@pytest.mark.parametrize("values", [b"{},", b"[],", b"0,", b'{"a":['])
def test_an_answer_of_more_values_than_any_of_n8ns_is_refused_unread(monkeypatch: pytest.MonkeyPatch, values: bytes) -> None:
    monkeypatch.setattr("wfops_pipelines.n8n.answers.parse_json", forbidden)
    body = b'{"data":[' + values * MAX_VALUES + b"0]}"
    with HostileServer(in_turn(http(200, gzip.compress(body), content_encoding="gzip"))) as server:
        error = Caller(server.url).error()
    assert isinstance(error, Rejected)
    assert "2,000,000 values" in str(error) and "WFOPS_PAGE_SIZE" in (error.fix or "")


def test_the_words_of_an_error_are_not_looked_for_in_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfops_pipelines.n8n.answers.parse_json", forbidden)
    with HostileServer(in_turn(http(400, b'{"message":"no such thing","more":[' + b"{}," * 100_000 + b"{}]}"))) as server:
        assert "no such thing" in str(Caller(server.url).error())


def forbidden(_: bytes) -> Any:
    raise AssertionError("it was read")


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
