"""What goes wrong between a client and n8n, switched on and off while the sandbox runs.

============== ============================================================================================
``latency``    answer ``ms`` later
``status``     answer ``status`` (502, 503, 504, 500, 429, …) with ``{"message": …}``, or a page with ``html``
``rate_limit`` 429 with ``Retry-After: retry_after``
``html``       a web page with ``status`` (200 unless told)
``cut``        announce more bytes than are sent, then close (``chunked``: no length, close in the middle)
``drip``       send the answer byte by byte, ``ms`` apart (100 unless told)
``reset``      reset the connection without an answer
``late_reset`` do what was asked, then reset the connection instead of answering
``refuse``     the API key is refused (401)
``forbid``     the key lacks the scope (403)
``wrong_json`` JSON that is none of n8n's
``redirect``   redirect to the same address, for ever
``empty``      an empty page of a listing
``endless``    a page of one workflow that is none, and a cursor to the next: for ever
============== ============================================================================================

``cut`` and the resets need a real connection (``serve``); in-process they raise :class:`ConnectionResetError`.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import Message, Receive, Scope, Send

KINDS = frozenset({"latency", "status", "rate_limit", "html", "cut", "drip", "reset", "late_reset", "refuse", "forbid",
                   "wrong_json", "redirect", "empty", "endless"})
_STATUS = {"status": 503, "rate_limit": 429, "refuse": 401, "forbid": 403}
_NO_WORKFLOW = {"name": "Endless", "active": False, "nodes": [], "connections": {}, "settings": {}, "tags": []}
_PAGE = "<!DOCTYPE html><html><head><title>{status} Bad Gateway</title></head><body><h1>nginx</h1></body></html>"


@dataclass
class Fault:
    """One thing that goes wrong: for requests whose method and path (a regular expression, searched) match.

    The first ``after`` matching requests are spared, the next ``times`` (all, if none) are hit. Of several, the one that was
    added first hits a request, until its ``times`` are over; latencies come on top.
    """

    kind: str
    method: str | None = None
    path: str = ""
    after: int = 0
    times: int | None = None
    ms: float = 0
    status: int | None = None
    retry_after: float | str | None = None
    html: bool = False
    chunked: bool = False
    seen: int = 0  # matching requests so far
    hits: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no fault {self.kind!r}; there are {', '.join(sorted(KINDS))}")
        re.compile(self.path)

    def meets(self, method: str, path: str) -> bool:
        """Whether this request is hit; counts it."""
        if (self.method is not None and self.method != method) or not re.search(self.path, path):
            return False
        self.seen += 1
        if self.seen <= self.after or (self.times is not None and self.hits >= self.times):
            return False
        self.hits += 1
        return True


class Faults:
    """The faults of a sandbox; safe to change from any thread while it serves."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, kind: str, **options: Any) -> Fault:
        """Switch a fault on; the options are those of :class:`Fault`. Gives it, with its counters."""
        fault = Fault(kind, **options)
        with self._lock:
            self._faults.append(fault)
        return fault

    def cut_listing(self, after_page: int, **options: Any) -> Fault:
        """Break a listing of workflows off after so many pages."""
        return self.add("cut", method="GET", path="/workflows$", after=after_page, **options)

    def clear(self) -> None:
        """Switch all faults off."""
        with self._lock:
            self._faults.clear()

    def active(self) -> list[Fault]:
        """The faults that are on."""
        with self._lock:
            return list(self._faults)

    def meeting(self, method: str, path: str) -> list[Fault]:
        """The faults that hit this request: latencies, and the first of the others. The rest do not get to see it."""
        if not self._faults:
            return []
        met: list[Fault] = []
        with self._lock:
            for fault in self._faults:
                hit_already = any(other.kind != "latency" for other in met)
                if (fault.kind == "latency" or not hit_already) and fault.meets(method, path):
                    met.append(fault)
        return met

    # --- the control path -----------------------------------------------------------------------------------------

    def control(self, method: str, body: Any) -> tuple[int, Any]:
        """``/_sandbox/faults``: POST adds one (a JSON object), GET lists, DELETE clears."""
        if method == "DELETE":
            self.clear()
        elif method == "POST":
            try:
                self.add(**_options(body))
            except (TypeError, ValueError, re.error) as error:
                return 400, {"message": str(error)}
        return 200, {"faults": [asdict(fault) for fault in self.active()]}


def _options(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, dict) or not body.keys() <= {field.name for field in fields(Fault)}:
        raise ValueError("a fault is an object with " + ", ".join(field.name for field in fields(Fault)))
    return body


async def answer_with(faults: list[Fault], request: Request, generation: int) -> Response | None:
    """The answer that a fault gives instead of n8n, if one does; waits out latencies."""
    chosen: Response | None = None
    for fault in faults:
        if fault.kind == "latency":
            await asyncio.sleep(fault.ms / 1000)
        elif chosen is None:
            chosen = _response(fault, request, generation)
    return chosen


def _response(fault: Fault, request: Request, generation: int) -> Response | None:
    headers = {} if fault.retry_after is None else {"retry-after": str(fault.retry_after)}
    status = fault.status or _STATUS.get(fault.kind, 200)
    if fault.html or fault.kind == "html":
        return HTMLResponse(_PAGE.format(status=status), status, headers=headers)
    if fault.kind == "redirect":
        return RedirectResponse(str(request.url), 302)
    refused = "Unauthorized" if generation >= 2 else "unauthorized"
    bodies = {
        "status": {"message": str(status)}, "rate_limit": {"message": "Too many requests"}, "refuse": {"message": refused},
        "forbid": {"message": "Forbidden"}, "wrong_json": {"hello": "world"}, "empty": {"data": [], "nextCursor": None},
        "endless": {"data": [{**_NO_WORKFLOW, "id": f"endless{fault.hits}"}], "nextCursor": f"endless{fault.hits}"}}
    body = bodies.get(fault.kind)
    return None if body is None else JSONResponse(body, status, headers=headers)


# --- broken connections -----------------------------------------------------------------------------------------------


async def reset(receive: Receive, send: Send) -> None:
    """Reset the connection under an ASGI server; :class:`ConnectionResetError` where there is none."""
    transport = _transport(send)
    if transport is None:
        raise ConnectionResetError("the sandbox resets the connection")
    connected = transport.get_extra_info("socket")
    if connected is not None:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close sends RST
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass  # until it is gone: the server would answer 500 to an application that returns without an answer


async def cut(response: Response, scope: Scope, receive: Receive, send: Send, *, chunked: bool) -> None:
    """Send the first half of an answer and close; uvicorn closes a connection whose answer is not completed."""

    async def half(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [(name, value) for name, value in message["headers"] if name != b"content-length"]
            if not chunked:
                headers.append((b"content-length", str(len(response.body) + 1000).encode()))
            await send({**message, "headers": headers})
        elif message["type"] == "http.response.body":
            body = bytes(message.get("body", b""))
            await send({"type": "http.response.body", "body": body[: max(1, len(body) // 2)], "more_body": True})

    await response(scope, receive, half)
    transport = _transport(send)
    if transport is None:
        raise ConnectionResetError("the sandbox cuts the answer off")
    transport.close()


async def drip(response: Response, scope: Scope, receive: Receive, send: Send, *, seconds: float) -> None:
    """Send an answer byte by byte, so far apart, until it is whole or the client is gone."""
    gone = asyncio.ensure_future(receive())

    async def drops(message: Message) -> None:
        body = bytes(message.get("body", b""))
        if message["type"] != "http.response.body":
            await send(message)
        for at in range(len(body)):
            if gone.done():
                return
            await send({"type": "http.response.body", "body": body[at: at + 1], "more_body": at + 1 < len(body)})
            await asyncio.wait({gone}, timeout=seconds)

    try:
        await response(scope, receive, drops)
    finally:
        gone.cancel()


def _transport(send: Send) -> Any:
    """The connection under uvicorn (asyncio's or uvloop's transport): ``send`` is a method of its request cycle."""
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    return transport if hasattr(transport, "abort") else None
