"""The HTTP core: one pooled client per environment, bounded, with retries where repeating is safe (§3).

Redirects are never followed: the API key goes to the one host it was given for. A client belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import httpx

from wfops_pipelines import __version__, calls
from wfops_pipelines.answer_bodies import BrokenBody, TooLarge
from wfops_pipelines.domain.errors import IncompleteRead, NotN8n, OutsideError, Unreachable, UsageError
from wfops_pipelines.failpoints import reach
from wfops_pipelines.n8n.answers import Answer, Asked, broken_body, dump_json, error_of, new_body, too_large
from wfops_pipelines.n8n.provider import Connection
from wfops_pipelines.n8n.retry import TRANSIENT_STATUSES, Backoff, retry_after
from wfops_pipelines.n8n.tls import shared_context

log = logging.getLogger(__name__)

#: n8n (Node) closes an idle connection after 5 s; ours go well before, so that a POST never meets a closing one.
_KEEPALIVE = 2.0
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(eq=False)
class _AttemptError(Exception):
    """A failed attempt: as which error, whether another may help, and whether n8n may have seen the request."""

    error: OutsideError
    again: bool
    seen: bool = True
    wait: float | None = None


class Digested(Enum):
    """Whether the bytes of an answer are digested as they come, and whether they are kept."""

    NOT = auto()
    BESIDE = auto()
    ONLY = auto()  # of a success: the body is empty then, and was never in memory as a whole


@dataclass(frozen=True, slots=True)
class Outside:
    """How a request differs that is not for n8n's API, and goes without the key: ``patience`` in seconds between two
    bytes, none for that of the environment."""

    headers: Mapping[str, str]
    content: bytes | None = None
    patience: float | None = None


def api_root(base_url: str) -> str:
    """``https://host/prefix/`` → ``https://host/prefix`` ; a trailing ``/api/v1`` is taken off too.

    :class:`UsageError` for anything that is no plain http(s) address; credentials in it are not echoed.
    """
    fix = "an environment's URL looks like https://n8n.example.com or https://example.com/n8n"
    try:
        parts = urlsplit(base_url.strip())
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        httpx.URL(base_url.strip())
    except (ValueError, httpx.InvalidURL) as error:
        raise UsageError("the environment's URL cannot be read", fix=fix) from error
    if "@" in parts.netloc:
        raise UsageError("the environment's URL holds a user name or password", fix=fix)
    if not usable or parts.query or parts.fragment:
        raise UsageError(f"{base_url!r} is no URL of an n8n server", fix=fix)
    path = parts.path.rstrip("/").removesuffix("/api/v1").rstrip("/")
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def header_key(api_key: str) -> str:
    """The key as a header value, without the line end that a file leaves; :class:`UsageError` without echoing it."""
    key = api_key.strip()
    if not key or not key.isascii() or not key.isprintable():
        raise UsageError("the API key is empty or holds characters that no key has",
                         fix="copy the key from n8n's Settings > n8n API once more")
    return key


class N8nClient:
    """Sends requests to one n8n and gives whole answers or raises the ``OutsideError`` tree.

    ``random`` (numbers in [0, 1)), ``sleep`` and ``now`` come in from outside, so that retries can be tested.
    """

    def __init__(self, connection: Connection, *, random: Callable[[], float] = random.random,
                 sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
                 now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.base_url = api_root(connection.base_url)
        self._key = header_key(connection.api_key)
        self._attempts = max(1, connection.attempts)
        self._answer_timeout = connection.answer_timeout
        self._backoff = Backoff(random)
        self._sleep = sleep
        self._now = now
        self._slots = asyncio.Semaphore(connection.max_concurrency)
        parts = urlsplit(self.base_url)
        # Between two processes of one machine, inflating costs more than it saves.
        encoding = "identity" if parts.hostname in _LOOPBACK else "gzip"
        self._http = httpx.AsyncClient(
            verify=shared_context(connection.verify_tls, tls=parts.scheme == "https"),
            trust_env=False,  # neither a .netrc nor a proxy of the environment gets to see the key
            follow_redirects=False,
            timeout=httpx.Timeout(connection.read_timeout, connect=connection.connect_timeout),
            limits=httpx.Limits(max_connections=connection.max_concurrency,
                                max_keepalive_connections=connection.max_concurrency, keepalive_expiry=_KEEPALIVE),
            headers={"accept": "application/json", "accept-encoding": encoding,
                     "user-agent": f"wfops/{__version__}", "x-n8n-api-key": self._key},
        )

    def __repr__(self) -> str:
        return f"N8nClient({self.base_url})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Give back the connections."""
        await self._http.aclose()

    def asked(self, method: str, path: str) -> Asked:
        """A request by name, as errors show it."""
        return Asked(self.base_url, method, f"{self.base_url}{path}", self._key)

    async def call(self, operation: str, method: str, path: str, *, params: Mapping[str, Any] | None = None,
                   body: Any = None, repeatable: bool | None = None, attempts: int | None = None,
                   outside: Outside | None = None, digested: Digested = Digested.NOT) -> Answer:
        """One call, retried while that is safe and helps; the answer is whole and 2xx, or an error is raised.

        ``operation`` names the failpoints ``n8n.OPERATION.before`` and ``.after``. ``path`` starts with a slash, below
        the base URL. Only ``repeatable`` calls (GET, PUT and DELETE by themselves) are sent again after n8n may have
        seen them; a connection that never opened is tried again for all. A DELETE that finds nothing on a later
        attempt is done. ``outside`` is for what is not n8n's API, and does not get to see the key.
        """
        asked = self.asked(method, path)
        content = None if body is None else dump_json(body)
        repeat = method in _IDEMPOTENT if repeatable is None else repeatable
        last = attempts or self._attempts
        reach(f"n8n.{operation}.before")
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = await self._attempt(asked, params, content, outside, digested)
            except _AttemptError as failure:
                calls.count("n8n", failure.error.kind)
                if method == "DELETE" and attempt > 1 and failure.error.kind == "not_found":
                    answer = Answer(404, {}, b"", 0)
                    break
                if attempt >= last or not failure.again or (failure.seen and not repeat):
                    raise failure.error from failure.__cause__
                delay = self._backoff.delay(attempt, failure.wait)
                log.info("%s %s: attempt %d of %d failed (%s), next in %.1f s", asked.target, asked.what, attempt, last,
                         failure.error.kind, delay)
            else:
                calls.count("n8n")
                break
            await self._sleep(delay)
        reach(f"n8n.{operation}.after")
        return replace(answer, attempts=attempt)

    async def _attempt(self, asked: Asked, params: Mapping[str, Any] | None, content: bytes | None,
                       outside: Outside | None, digested: Digested) -> Answer:
        answering = False
        request = self._request(asked, params, content, outside)
        try:
            async with self._slots, asyncio.timeout(self._answer_timeout):
                response = await self._http.send(request, stream=True)
                try:
                    answering = True
                    answer = await _read(response, asked, digested)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            slow = Unreachable(f"{asked.what} took longer than {self._answer_timeout:.0f} s", target=asked.target,
                               fix="is n8n running, and not overloaded?")
            raise _AttemptError(slow, again=False) from error
        except httpx.HTTPError as error:
            raise _broken_off(error, asked, answering=answering) from error
        except IncompleteRead as error:
            raise _AttemptError(error, again=True) from error
        if 200 <= answer.status < 300:
            return answer
        raise _AttemptError(error_of(answer, asked), again=answer.status in TRANSIENT_STATUSES,
                       wait=retry_after(answer.headers, self._now()))

    def _request(self, asked: Asked, params: Mapping[str, Any] | None, content: bytes | None,
                 outside: Outside | None) -> httpx.Request:
        if outside is None:
            headers = {} if content is None else {"content-type": "application/json"}
            return self._http.build_request(asked.method, asked.url, params=params, content=content, headers=headers)
        timeout = self._http.timeout
        if outside.patience is not None:
            timeout = httpx.Timeout(outside.patience, connect=min(outside.patience, timeout.connect or outside.patience))
        request = self._http.build_request(asked.method, asked.url, content=outside.content, headers=outside.headers,
                                           timeout=timeout)
        for name in ("x-n8n-api-key", "cookie"):
            request.headers.pop(name, None)
        return request


async def _read(response: httpx.Response, asked: Asked, digested: Digested) -> Answer:
    encoding = response.headers.get("content-encoding", "")
    hashed = None if digested is Digested.NOT else hashlib.sha256(encoding.encode())
    taken = new_body(encoding, asked, kept=digested is not Digested.ONLY or not response.is_success)
    try:
        async for chunk in response.aiter_raw():
            taken.add(chunk)
            if hashed is not None:
                hashed.update(chunk)
        body = taken.whole()
    except TooLarge:
        raise too_large(asked) from None
    except BrokenBody as error:
        raise broken_body(error, encoding, asked) from error
    return Answer(response.status_code, response.headers, body, taken.received,
                  digest=hashed.hexdigest() if hashed else "")


def _broken_off(error: httpx.HTTPError, asked: Asked, *, answering: bool) -> _AttemptError:
    """The failure that an exception of the transport stands for."""
    target = asked.target
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return _no_connection(error, asked)
    detail = asked.clean(str(error)) or type(error).__name__
    if answering:
        cut_off = IncompleteRead(f"the answer to {asked.what} was cut off: {detail}", target=target)
        return _AttemptError(cut_off, again=True)
    if isinstance(error, httpx.RemoteProtocolError) and "disconnected" not in detail:
        no_http = NotN8n(f"{asked.what} was answered with something that is no HTTP: {detail}", target=target,
                         fix="check the host, the port and whether it is http or https")
        return _AttemptError(no_http, again=False)
    if isinstance(error, httpx.TimeoutException):
        detail = "no answer in time"
    fix = "is n8n running, and not overloaded?"
    if isinstance(error, httpx.RemoteProtocolError) and target.startswith("http:"):  # what a TLS port does with plain HTTP
        fix += " If this port speaks https, the environment's URL starts with https://"
    lost = Unreachable(f"{asked.what}: {detail}", target=target, fix=fix)
    return _AttemptError(lost, again=True)


def _no_connection(error: httpx.HTTPError, asked: Asked) -> _AttemptError:
    target = asked.target
    host = urlsplit(target).hostname
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _AttemptError(Unreachable(
                f"the TLS certificate is not trusted: {cause.verify_message}", target=target,
                fix="name the file of the CA that signed it as ca_bundle of the environment, or have the server send a "
                    "certificate for this name with its whole chain; verify_tls: false checks nothing"),
                again=False, seen=False)
        if isinstance(cause, ssl.SSLError):
            return _AttemptError(Unreachable(
                f"the TLS handshake failed: {cause.reason or cause}", target=target,
                fix="does this port speak https? If not, the environment's URL starts with http://"),
                again=False, seen=False)
        if isinstance(cause, socket.gaierror):
            return _AttemptError(Unreachable(
                f"the host name {host} does not resolve", target=target,
                fix="check the spelling of the environment's URL, and the DNS"), again=True, seen=False)
    if isinstance(error, httpx.TimeoutException):
        message = "no connection in time"
    else:
        message = "no connection: " + (asked.clean(str(error)) or "refused")
    closed = Unreachable(message, target=target, fix="is n8n running, and does a firewall let us through?")
    return _AttemptError(closed, again=True, seen=False)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    pending = [error]
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        pending += [current.__cause__, current.__context__]
        if isinstance(current, BaseExceptionGroup):
            pending += current.exceptions
