"""What an n8n answered: decoding, and which error a refusal is.

Pure: bytes and headers in, JSON or an :class:`OutsideError` out. n8n's errors are ``{"message": …}``, but a client must
survive HTML pages from n8n itself (413, 500) and from whatever proxy stands before it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import orjson

from wfops_pipelines.answer_bodies import ENCODINGS, Body, BrokenBody, values_at_most
from wfops_pipelines.domain.canonical_json import parse_json
from wfops_pipelines.domain.errors import (
    Conflict,
    IncompleteRead,
    MalformedWorkflow,
    NotFound,
    NotN8n,
    OutsideError,
    Refused,
    Rejected,
    Unreachable,
)
from wfops_pipelines.n8n.retry import TRANSIENT_STATUSES

#: The most that one answer may be, and inflate to: a guard against one made to eat our memory. n8n takes workflows of up to
#: 16 MiB, and shows a published one twice. Real ones are 10 kB in the mean and 160 kB at the most: a page of 250 of those is
#: 40 MB, of mean ones 2.5 MB. (A text with one wide character takes four bytes for each once it is read.)
MAX_ANSWER_BYTES = 64 * 1024 * 1024
#: The most values in one: they take some 130 bytes of memory each, however few were sent. A page of 250 real ones has 0.25
#: million, one of 250 published ones as large as the largest of 281 real ones (3,800 values) has 1.9 million.
MAX_VALUES = 2_000_000
_TOO_MUCH_FIX = ("ask for smaller pages, if this is a listing of large workflows: WFOPS_PAGE_SIZE says how many are in one, "
                 "250 unless it is set")
_SHOWN = 400
_VALUES_OF_AN_ERROR = 10_000  # more is not worth its reading for one message


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: ``body`` decoded, ``received_bytes`` as they came over the wire, ``attempts`` it took; ``digest`` of
    those bytes, where it was asked for."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_bytes: int
    attempts: int = 1
    digest: str = ""

    @property
    def is_html(self) -> bool:
        return "html" in self.headers.get("content-type", "") or self.body[:256].lstrip()[:1] == b"<"


@dataclass(frozen=True, slots=True)
class Asked:
    """The request an answer belongs to. ``secret`` is taken out of every text before it is shown."""

    target: str
    method: str
    url: str
    secret: str = ""

    def __repr__(self) -> str:
        return f"Asked({self.method} {self.url})"

    @property
    def what(self) -> str:
        return f"{self.method} {urlsplit(self.url).path}"

    def clean(self, text: str) -> str:
        """One line of bounded length without the secret."""
        if self.secret:
            text = text.replace(self.secret, "***")
        text = " ".join(text.split())
        return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def new_body(encoding: str, asked: Asked, *, kept: bool = True) -> Body:
    """Takes in what is answered, with its ``Content-Encoding`` undone while it comes."""
    encoding = encoding.strip().lower()
    if encoding not in ENCODINGS:
        raise NotN8n(f"{asked.what} answered with the encoding {encoding!r} that was not asked for",
                     target=asked.target, fix="let the proxy in front of n8n send gzip or nothing")
    return Body(encoding, MAX_ANSWER_BYTES, kept=kept)


def too_large(asked: Asked) -> OutsideError:
    """For an answer of more than :data:`MAX_ANSWER_BYTES`."""
    return Rejected(f"the answer to {asked.what} is larger than {MAX_ANSWER_BYTES >> 20} MiB", target=asked.target,
                    fix=_TOO_MUCH_FIX)


def broken_body(error: BrokenBody, encoding: str, asked: Asked) -> OutsideError:
    """For an answer whose compressed data are none, or are cut off."""
    return IncompleteRead(f"{asked.what} answered with broken {encoding} data ({error})", target=asked.target)


def dump_json(value: Any) -> bytes:
    """JSON to send; what orjson refuses (lone surrogates, integers beyond 64 bits) the standard library writes."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, ensure_ascii=True, allow_nan=False).encode()


def json_of(answer: Answer, asked: Asked) -> Any:
    """The JSON of a successful answer; :class:`NotN8n` for HTML, :class:`IncompleteRead` for JSON that breaks off."""
    if not answer.body:
        return None
    if answer.is_html:
        raise NotN8n(f"{asked.what} answered with a web page instead of JSON", target=asked.target,
                     status=answer.status, fix=_NOT_N8N_FIX)
    if values_at_most(answer.body) > MAX_VALUES:
        raise Rejected(f"the answer to {asked.what} holds more than {MAX_VALUES:,} values", target=asked.target,
                       status=answer.status, fix=_TOO_MUCH_FIX)
    try:
        return parse_json(answer.body)
    except MalformedWorkflow as error:
        if answer.body.lstrip()[:1] not in {b"{", b"["}:
            raise NotN8n(f"{asked.what} answered with something that is no JSON", target=asked.target,
                         status=answer.status, fix=_NOT_N8N_FIX) from error
        raise IncompleteRead(f"the answer to {asked.what} is broken: {asked.clean(str(error))}",
                             target=asked.target, status=answer.status) from error


def object_of(answer: Answer, asked: Asked) -> dict[str, Any]:
    """As :func:`json_of`, and a JSON object at that."""
    value = json_of(answer, asked)
    if not isinstance(value, dict):
        raise _wrong_shape(answer, asked, "an object")
    return value


def list_of(answer: Answer, asked: Asked) -> list[Any]:
    """As :func:`json_of`, and a JSON array at that."""
    value = json_of(answer, asked)
    if not isinstance(value, list):
        raise _wrong_shape(answer, asked, "a list")
    return value


def _wrong_shape(answer: Answer, asked: Asked, wanted: str) -> OutsideError:
    return NotN8n(f"{asked.what} answered with JSON that is not {wanted}", target=asked.target, status=answer.status,
                  fix=_NOT_N8N_FIX)


_NOT_N8N_FIX = ("check the URL and its path: it must be the address under which n8n's /api/v1 answers, with the public "
                "API switched on and no login page before it")


def error_of(answer: Answer, asked: Asked) -> OutsideError:  # noqa: PLR0911 - a table
    """The error that an answer other than 2xx stands for."""
    status, message = answer.status, _message(answer, asked)
    if 300 <= status < 400:
        return _redirect(answer, asked)
    if status in {401, 403}:
        return _refused(answer, asked, message)
    if status == 404:
        return _not_found(answer, asked, message)
    if status == 409:
        return Conflict(f"{asked.what}: {message or 'conflict'}", target=asked.target, status=status)
    if status in TRANSIENT_STATUSES:
        fix = ("n8n, or the proxy before it, limits the rate of requests: ask less often" if status == 429
               else "is n8n running? A proxy or n8n itself says that it is not ready")
        return Unreachable(f"{asked.what} answered {status} {message}".rstrip(), target=asked.target, status=status,
                           fix=fix)
    if status == 413:
        return Rejected(f"{asked.what}: larger than n8n takes (413)", target=asked.target, status=status,
                        fix="raise N8N_PAYLOAD_SIZE_MAX (MiB) on that n8n, and the limit of the proxy before it")
    if status >= 500:
        return Rejected(f"{asked.what}: n8n failed with {status}: {message or 'no message'}", target=asked.target,
                        status=status, fix="the log of that n8n says why")
    return Rejected(f"{asked.what}: {message or f'answered {status}'}", target=asked.target, status=status)


def _message(answer: Answer, asked: Asked) -> str:
    """The words of an error answer: n8n's ``message``, or the text of an HTML page."""
    if answer.is_html:
        text = answer.body[:65536].decode("utf-8", "replace")
        shown = re.search(r"<(?:pre|title)[^>]*>(.*?)</(?:pre|title)>", text, re.DOTALL | re.IGNORECASE)
        return asked.clean(re.sub(r"<[^>]+>|&nbsp;", " ", shown.group(1) if shown else text))
    try:
        value = parse_json(answer.body) if values_at_most(answer.body) < _VALUES_OF_AN_ERROR else None
    except MalformedWorkflow:
        value = None
    if value is None:
        return asked.clean(answer.body[:4096].decode("utf-8", "replace"))
    message = value.get("message") if isinstance(value, dict) else None
    return asked.clean(message if isinstance(message, str) else str(value))


def _redirect(answer: Answer, asked: Asked) -> OutsideError:
    here = urlsplit(asked.url)
    try:
        location = urlsplit(urljoin(asked.url, answer.headers.get("location", "")))
    except ValueError:
        location = urlsplit("nowhere:")
    address = location.netloc.rpartition("@")[2]
    there = asked.clean(f"{location.scheme}://{address}{location.path}")
    if (location.scheme, address, location.path) == (here.scheme, here.netloc, here.path):
        message, fix = "redirects to itself", _NOT_N8N_FIX
    elif location.hostname == here.hostname and (here.scheme, location.scheme) == ("http", "https"):
        message = f"redirects to {there}"
        fix = "set the environment's URL to https://, so that the key never travels in clear"
    else:
        message = f"redirects to {there}"
        fix = ("redirects are not followed, so that the API key goes nowhere else: set the environment's URL to where "
               "n8n's API answers, or let /api/v1 past the login page")
    return NotN8n(f"{asked.what} {message}", target=asked.target, status=answer.status, fix=fix)


def _refused(answer: Answer, asked: Asked, message: str) -> OutsideError:
    if answer.is_html:
        text = f"{asked.what}: something before n8n refuses the request ({answer.status})"
        fix = "let /api/v1 past the proxy or firewall in front of n8n"
    elif "licen" in message.lower():
        text = f"{asked.what}: the licence of that n8n does not include this: {message}"
        fix = "leave it out, or licence that n8n"
    elif answer.status == 401:
        text = f"the API key was refused: {message}"
        fix = "make a new key in n8n under Settings > n8n API: this one is wrong, expired, or another instance's"
    else:
        text = f"the API key does not allow {asked.what}: {message}"
        fix = "give the key all scopes of workflows, tags, credentials and executions in n8n, Settings > n8n API"
    return Refused(text, target=asked.target, status=answer.status, fix=fix)


def _not_found(answer: Answer, asked: Asked, message: str) -> OutsideError:
    if answer.is_html:
        return NotN8n(f"{asked.what} is not there (404, a web page)", target=asked.target, status=404, fix=_NOT_N8N_FIX)
    fix = None
    if "permission" in message.lower():  # 2.x says so of an unknown id, too
        fix = "it is gone, or belongs to a user whose workflows this API key may not change"
    return NotFound(f"{asked.what}: {message or 'not found'}", target=asked.target, status=404, fix=fix)
