"""The ASGI application: the door (key, body, query), dispatch, and how answers travel (ETag, gzip, HEAD)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, unquote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from wfops_pipelines.n8n.sandbox import webhooks
from wfops_pipelines.n8n.sandbox.activation import settle
from wfops_pipelines.n8n.sandbox.errors import ApiError, HtmlError
from wfops_pipelines.n8n.sandbox.faults import Fault, Faults, answer_with, cut, drip, reset
from wfops_pipelines.n8n.sandbox.javascript import dump, parse
from wfops_pipelines.n8n.sandbox.query import read_query
from wfops_pipelines.n8n.sandbox.routes import ROUTES, Call, Route
from wfops_pipelines.n8n.sandbox.seeding import SandboxState

MAX_BODY = 16 * 1024 * 1024
_ROOT = "/api/v1"
_CONTROL = "/_sandbox/"
_HALF_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class SandboxApp:
    """One n8n as an ASGI application. ``on_change`` is called after a request that changed something."""

    def __init__(self, state: SandboxState, faults: Faults, api_key: str, *, control: bool,
                 on_change: Callable[[], None]) -> None:
        self._state, self._faults, self._key, self._control = state, faults, api_key.encode(), control
        self._on_change = on_change
        self._routes = [route for route in ROUTES if state.generation in route.generations]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        request = Request(scope, receive)
        if self._control and scope["path"].startswith(_CONTROL):
            await (await self._controlled(request))(scope, receive, send)
            return
        faults = self._faults.meeting(scope["method"], scope["path"])
        kinds = {fault.kind for fault in faults}
        instead = await answer_with(faults, request, self._state.generation)
        try:
            if "reset" in kinds:
                await request.body()  # whole, so that the client is reading when it happens
                await reset(receive, send)
                return
            response = instead or await self._answer(request)
        except ClientDisconnect:
            return
        if "late_reset" in kinds:
            await reset(receive, send)
        elif "cut" in kinds:
            await cut(response, scope, receive, send, chunked=_chunked(faults))
        elif "drip" in kinds:
            await drip(response, scope, receive, send, seconds=_seconds_between_drops(faults))
        else:
            await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        headers: Mapping[str, str] = {}
        try:
            body = await _read(request)
            with self._state.lock:
                settle(self._state)
                before = self._state.changes
                if request.scope["path"].startswith(webhooks.PREFIXES):
                    said = webhooks.answer(self._state, request.method, request.scope["path"], request.headers)
                    status, content, kind, headers = said.status, said.content, said.kind, said.headers
                else:
                    status, content, kind = self._dispatch(request, body)
                if self._state.changes != before:
                    self._on_change()
        except ApiError as error:
            self._on_change()  # a PUT that is refused may have saved its draft
            status, content, kind = error.status, dump(error.body), "application/json"
        except HtmlError as error:
            return HTMLResponse(error.page, error.status, headers={"content-security-policy": "default-src 'none'"})
        return Response(status_code=204, headers=headers) if status == 204 else _travelling(request, status, content, kind)

    def _dispatch(self, request: Request, body: bytes) -> tuple[int, bytes, str]:
        path: str = request.scope["path"]
        if path in {"/healthz", "/healthz/readiness"}:
            return 200, b'{"status":"ok"}', "application/json"
        if not path.startswith(f"{_ROOT}/"):
            raise HtmlError(404, f"Cannot {request.method} {path}")
        value = _json_body(request, body)
        route, variables = self._find(request.method, _raw_path(request).removeprefix(_ROOT))
        variables = {name: self._decoded(value) for name, value in variables.items()}
        self._check_key(request)
        query = read_query(request.query_params.multi_items(), route.query, self._state.generation)
        _check_media_type(request, needed=route.body or (self._state.generation >= 2 and bool(body)))
        answer = route.handle(Call(self._state, variables, query, value))
        return route.status, answer if isinstance(answer, bytes) else dump(answer), "application/json"

    def _find(self, asked: str, path: str) -> tuple[Route, dict[str, str]]:
        method = "GET" if asked == "HEAD" and self._state.generation >= 2 else asked
        known = False
        for route in self._routes:
            match = route.pattern.fullmatch(path)
            if match is not None:
                if route.method == method:
                    return route, match.groupdict()
                known = True
        raise ApiError(405, f"{asked} method not allowed") if known else ApiError(404, "not found")

    def _decoded(self, part: str) -> str:
        """A part of the path: what stands for a slash in it is none between parts."""
        if _HALF_ESCAPE.search(part):
            raise ApiError(400, "malformed uri'") if self._state.generation < 2 else ApiError(500, "Internal server error")
        return unquote(part)

    def _check_key(self, request: Request) -> None:
        given = request.headers.get("x-n8n-api-key")
        if given is not None and hmac.compare_digest(given.encode(), self._key):
            return
        if self._state.generation >= 2:
            raise ApiError(401, "Unauthorized")
        raise ApiError(401, "unauthorized" if given else "'X-N8N-API-KEY' header required")

    async def _controlled(self, request: Request) -> Response:
        what = request.scope["path"].removeprefix(_CONTROL)
        try:
            body: Any = parse(await request.body() or b"null")
        except ValueError:
            body = None
        if what == "faults":
            status, value = self._faults.control(request.method, body)
        elif what == "seed" and request.method == "POST" and isinstance(body, list):
            status, value = 200, {"ids": self._state.seed_workflows(body)}
            self._on_change()
        else:
            status, value = 404, {"message": "there are /_sandbox/faults and /_sandbox/seed"}
        return Response(dump(value), status, media_type="application/json")


def _chunked(faults: list[Fault]) -> bool:
    return any(fault.chunked for fault in faults if fault.kind == "cut")


def _seconds_between_drops(faults: list[Fault]) -> float:
    return next(fault.ms or 100 for fault in faults if fault.kind == "drip") / 1000


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _read(request: Request) -> bytes:
    """The body; one that is too large is read to its end, so that the client gets to see the answer."""
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size <= MAX_BODY:
            pieces.append(piece)
    if size > MAX_BODY:
        raise HtmlError(413, "PayloadTooLargeError: request entity too large<br> &nbsp; &nbsp;at readStream")
    return b"".join(pieces)


def _raw_path(request: Request) -> str:
    """The path as it was sent, escapes and all."""
    sent: bytes = request.scope.get("raw_path") or quote(request.scope["path"]).encode()
    return sent.partition(b"?")[0].decode("latin-1")


def _is_json(request: Request) -> bool:
    return request.headers.get("content-type", "").split(";")[0].strip().lower() == "application/json"


def _json_body(request: Request, body: bytes) -> Any:
    """The body as JSON, where it says that it is some: read before anything else is looked at."""
    if not body or not _is_json(request):
        return None
    try:
        return parse(body)
    except (ValueError, RecursionError):
        raise HtmlError(500, "ResponseError: Failed to parse request body<br> &nbsp; &nbsp;at parseBody") from None


def _check_media_type(request: Request, *, needed: bool) -> None:
    if needed and not _is_json(request):
        raise ApiError(415, f"unsupported media type {request.headers.get('content-type', 'undefined')}")


def _travelling(request: Request, status: int, content: bytes, kind: str) -> Response:
    """With a weak ETag as Express makes it, and compressed where the client takes that."""
    digest = base64.b64encode(hashlib.sha1(content, usedforsecurity=False).digest()).decode()[:27]
    etag = f'W/"{len(content):x}-{digest}"'
    headers = {"etag": etag, "vary": "Accept-Encoding"}
    if status == 200 and request.method in {"GET", "HEAD"} and request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    if len(content) >= 1024 and "gzip" in request.headers.get("accept-encoding", ""):
        packer = zlib.compressobj(6, wbits=31)
        content = packer.compress(content) + packer.flush()
        headers["content-encoding"] = "gzip"
    if request.method == "HEAD":
        return Response(status_code=status, headers={**headers, "content-length": str(len(content))}, media_type=kind)
    return Response(content, status, headers=headers, media_type=f"{kind}; charset=utf-8")
