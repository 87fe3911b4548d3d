"""Git over HTTP for tests: ``git http-backend`` on a loopback port, in front of real bare repositories.

With tokens it asks for basic authentication (any user name, the token as password; ``ro`` tokens cannot push). Every
request is written down, and faults can be switched on: a status instead of an answer, an answer cut off in the middle,
a server that knows no protocol version 2.
"""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came, and what it was answered."""

    method: str
    path: str
    query: str
    status: int
    authorization: str | None
    sent: int


@dataclass(slots=True)
class Faults:
    """What the server does wrong, from the next request on."""

    status: int | None = None
    retry_after: int | None = None
    location: str | None = None
    cut_after_bytes: int | None = None
    only_version_0: bool = False
    refuse_direct_posts: bool = False
    silent_until: threading.Event | None = None  # no answer before this is set


class LoopbackServer(ThreadingHTTPServer):
    """A server whose threads end with the test."""

    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


@dataclass(slots=True)
class GitHttpServer:
    """Serve the bare repositories below ``root``: ``with GitHttpServer(root) as server: … server.url("acme.git")``."""

    root: Path
    tokens: Mapping[str, str] = field(default_factory=dict)  # token -> "rw" | "ro"; none: everybody may do everything
    faults: Faults = field(default_factory=Faults)
    requests: list[Request] = field(default_factory=list)
    _server: LoopbackServer | None = None
    _thread: threading.Thread | None = None

    def __enter__(self) -> GitHttpServer:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                serve_git(self, owner)

            do_POST = do_GET  # noqa: N815 - the standard library's names

            def log_message(self, *_: object) -> None:
                pass

        self._server = LoopbackServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._server is not None and self._thread is not None
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        """The loopback port."""
        assert self._server is not None
        return int(self._server.server_address[1])

    def url(self, repository: str) -> str:
        """The URL of a repository below the root."""
        return f"http://127.0.0.1:{self.port}/{repository}"

    @contextlib.contextmanager
    def counting(self) -> Iterator[list[Request]]:
        """The requests that came while the block ran (filled when it ends)."""
        seen: list[Request] = []
        before = len(self.requests)
        yield seen
        seen += self.requests[before:]


def serve_git(handler: BaseHTTPRequestHandler, server: GitHttpServer) -> None:
    """Answer one smart HTTP request by ``git http-backend``."""
    parts = urlsplit(handler.path)
    body = read_body(handler)
    header = handler.headers.get("Authorization")

    def note(status: int, sent: int = 0) -> None:
        server.requests.append(Request(handler.command, parts.path, parts.query, status, header, sent))

    if server.faults.silent_until is not None:
        server.faults.silent_until.wait()
    refused = _refusal(server, parts.path + "?" + parts.query, header)
    if refused is not None:
        note(refused)
        _refuse(handler, refused, server.faults)
        return
    if server.faults.refuse_direct_posts and handler.command == "POST" and b"command=ls-refs" in body:
        note(400)
        _refuse(handler, 400, server.faults)
        return
    status, headers, content = _backend(handler, server, parts.path, parts.query, body)
    cut = server.faults.cut_after_bytes
    send = content if cut is None or handler.command == "GET" else content[:cut]
    note(status, len(send))
    handler.send_response(status)
    for name, value in headers:
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(send)
    if len(send) < len(content):
        handler.close_connection = True


def read_body(handler: BaseHTTPRequestHandler) -> bytes:
    """The body, chunked or not."""
    if handler.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    chunks = []
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        chunks.append(handler.rfile.read(size))
        handler.rfile.readline()
    handler.rfile.readline()
    return b"".join(chunks)


def token_of(header: str | None) -> str | None:
    """The token in an Authorization header: a bearer token, or the password of basic authentication."""
    scheme, _, rest = (header or "").partition(" ")
    if scheme.lower() in {"token", "bearer"}:
        return rest
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(rest).decode().partition(":")[2]
    except ValueError:
        return None


def _refusal(server: GitHttpServer, target: str, header: str | None) -> int | None:
    if server.faults.status is not None:
        return server.faults.status
    if not server.tokens:
        return None
    right = server.tokens.get(token_of(header) or "")
    if right is None:
        return 401
    return 403 if right == "ro" and "git-receive-pack" in target else None


def _refuse(handler: BaseHTTPRequestHandler, status: int, faults: Faults) -> None:
    handler.send_response(status)
    if status == 401:
        handler.send_header("WWW-Authenticate", 'Basic realm="test"')
    if faults.retry_after is not None:
        handler.send_header("Retry-After", str(faults.retry_after))
    if faults.location is not None:
        handler.send_header("Location", faults.location)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def _backend(handler: BaseHTTPRequestHandler, server: GitHttpServer, path: str, query: str,
             body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    environment = {
        "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(server.root), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path,
        "QUERY_STRING": query, "REQUEST_METHOD": handler.command, "REMOTE_ADDR": "127.0.0.1", "REMOTE_USER": "test",
        "CONTENT_TYPE": handler.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
        "HTTP_CONTENT_ENCODING": handler.headers.get("Content-Encoding", ""), "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*", "GIT_CONFIG_KEY_1": "http.receivepack", "GIT_CONFIG_VALUE_1": "true",
    }
    if not server.faults.only_version_0:
        environment["GIT_PROTOCOL"] = handler.headers.get("Git-Protocol", "")
    done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=False)
    head, _, content = done.stdout.partition(b"\r\n\r\n")
    status, headers = 200, []
    for line in head.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(": ")
        if name == "Status":
            status = int(value.split()[0])
        elif name:
            headers.append((name, value))
    return status, headers, content
