"""The connections that PyGithub asks GitHub over: they read so many bytes and no more, and end when their time is over.

PyGithub's own read whole bodies, of any size, and limit the wait for a byte and not for all of them. These go by
:func:`~wfops_pipelines.calls.seconds_left`. None is kept for a second request: looking at a head is one, a commit five.
"""

from __future__ import annotations

from collections.abc import ItemsView, Mapping
from typing import Any

import httpx
from github.Requester import HTTPRequestsConnectionClass, HTTPSRequestsConnectionClass, Requester, RequestsResponse

from wfops_pipelines import calls
from wfops_pipelines.answer_bodies import ENCODINGS, Body, BrokenBody, TooLarge, values_at_most
from wfops_pipelines.git.deadline import Deadline
from wfops_pipelines.git.tls import shared_context

WHOLE_SECONDS = 300.0  # for one call
#: The largest answers that are asked for list a folder's files, at most 100,000 of them (7 MB by GitHub's own limit), or
#: pull requests. Files themselves come by git.
MAX_ANSWER_BYTES = 16 * 1024 * 1024
MAX_VALUES = 1_000_000  # some 130 bytes of memory each, once they are read; a file in a list has eight
_MOVED_WRITES = frozenset({307, 308})
_FINE, _ELSEWHERE, _MOVED, _NOT_MODIFIED, _REFUSED = 200, 300, 301, 304, 400


class OutOfTime(Exception):
    """The time that a call may take is over."""


class NotGitHub(Exception):
    """What came is nothing that GitHub answers to such a request. A page to log in at is not "as before", and nothing is not
    "there is no such branch"."""


class _Response(RequestsResponse):
    """A whole answer, as PyGithub reads one."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers  # type: ignore[assignment]
        self._body = body

    def getheaders(self) -> ItemsView[str, str]:
        return self.headers.items()

    @property
    def first_byte(self) -> bytes:
        """That is no blank; empty where there is none."""
        return self._body.lstrip()[:1]

    def read(self) -> str:
        return self._body.decode("utf-8", "replace")


def _ask(verb: str, url: str, content: str | None, headers: Mapping[str, str], patience: float | None) -> _Response:
    """One request, and what was answered to it. Follows no redirects, so that a token goes nowhere else.

    Raises :class:`OutOfTime`, :class:`TooLarge`, :class:`BrokenBody` and httpx's own errors.
    """
    seconds = calls.seconds_left(WHOLE_SECONDS)
    if seconds <= 0:
        raise OutOfTime
    deadline = Deadline(seconds)
    timeout = min(patience or seconds, seconds)
    try:
        with (deadline, httpx.Client(verify=shared_context(as_python=True), timeout=timeout) as client,
              client.stream(verb, url, content=content, headers={**headers, "Accept-Encoding": "gzip"},
                            extensions={"trace": deadline.note}) as response):
            return _Response(response.status_code, response.headers, _whole(response))
    except httpx.TransportError:
        if deadline.over:
            raise OutOfTime from None
        raise


def _whole(response: httpx.Response) -> bytes:
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in ENCODINGS:
        raise BrokenBody(f"the encoding {encoding!r} was not asked for")
    taken = Body(encoding, MAX_ANSWER_BYTES)
    for piece in response.iter_raw():
        taken.add(piece)
    body = taken.whole()
    if values_at_most(body) > MAX_VALUES:
        raise TooLarge
    return body


def _check(response: _Response, *, reading: bool, conditional: bool) -> None:
    """Raise :class:`NotGitHub` for what nobody may take for an answer; refusals are PyGithub's to tell apart."""
    status = response.status
    if status >= _REFUSED or status == _MOVED or (status == _NOT_MODIFIED and conditional):
        return  # PyGithub follows those who moved, on the same host
    if status in _MOVED_WRITES:
        raise NotGitHub(f"HTTP {status}: the repository has moved; write its new address")
    if not _FINE <= status < _ELSEWHERE:
        raise NotGitHub(f"HTTP {status}, which GitHub does not answer to this")
    if reading and response.first_byte not in {b"{", b"["}:
        raise NotGitHub(f"HTTP {status} with a body that is no JSON of GitHub's")


class _Asking:
    """What both kinds of connection do."""

    protocol: str
    host: str
    port: int
    timeout: int | None

    def request(self, verb: str, url: str, input: Any, headers: dict[str, str], stream: bool = False) -> None:  # noqa: A002 - PyGithub's name
        """Say what :meth:`getresponse` is to ask."""
        self._asked = (verb, url, input, headers)

    def getresponse(self) -> RequestsResponse:
        """Ask, and give the whole answer."""
        verb, url, content, headers = self._asked
        response = _ask(verb, f"{self.protocol}://{self.host}:{self.port}{url}", content, headers, self.timeout)
        _check(response, reading=verb == "GET", conditional="If-None-Match" in headers)
        return response

    def close(self) -> None:
        """Nothing is kept open."""


class _Http(_Asking, HTTPRequestsConnectionClass):
    def __init__(self, host: str, port: int | None = None, timeout: int | None = None, **_: Any) -> None:
        self.host, self.port, self.timeout, self.protocol = host, port or 80, timeout, "http"


class _Https(_Asking, HTTPSRequestsConnectionClass):
    def __init__(self, host: str, port: int | None = None, timeout: int | None = None, **_: Any) -> None:
        self.host, self.port, self.timeout, self.protocol = host, port or 443, timeout, "https"


def use() -> None:
    """From here on, PyGithub's requests in this process go over these connections."""
    Requester.injectConnectionClasses(_Http, _Https)
