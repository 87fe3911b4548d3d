"""GitHub for tests: its REST API over real bare repositories, and Git over HTTP on the same loopback port.

``with GitHubServer(root, tokens={"t": "rw"}) as github:`` serves ``root/OWNER/NAME.git`` as OWNER/NAME. Like GitHub it
answers unchanged content with 304 for an ETag (free of the rate limit), moves references only forward unless forced,
refuses unknown tokens, and can run into its limits. Every exchange is written down, so that a test can count requests and
hold the answers against GitHub's own description (``github_description``).
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from wfops_pipelines.git import github
from wfops_pipelines_tests.servers import github_answers as answers
from wfops_pipelines_tests.servers.bare import BareRepository, make_bare
from wfops_pipelines_tests.servers.git_http import GitHttpServer, LoopbackServer, read_body, serve_git, token_of
from wfops_pipelines_tests.servers.github_routes import Answer, Call, State, find_route

API = "/api/v3"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One API call: what was asked and what was answered."""

    method: str
    path: str  # below the API's root, decoded
    query: Mapping[str, str]
    sent: Any
    status: int
    answer: Any


@dataclass(slots=True)
class ApiFaults:
    """What the API does wrong from the next call on."""

    secondary_limits: int = 0  # so many calls are answered 403 with Retry-After
    retry_after: int = 1
    statuses: list[int] = field(default_factory=list)  # the next calls get these instead of an answer
    drop_after_writing: int = 0  # so many writing calls are done, but their answers never arrive
    html: bool = False


@dataclass(slots=True)
class GitHubServer:
    """The server; ``tokens`` maps a token to ``rw`` or ``ro``, and ``apps`` an installation id to the token it gets."""

    root: Path
    tokens: dict[str, str] = field(default_factory=dict)
    apps: dict[int, str] = field(default_factory=dict)
    faults: ApiFaults = field(default_factory=ApiFaults)
    limit: int = 5000
    used: int = 0
    state: State = field(default_factory=State)
    exchanges: list[Exchange] = field(default_factory=list)
    git: GitHttpServer = field(init=False)
    _server: LoopbackServer | None = None
    _thread: threading.Thread | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.git = GitHttpServer(self.root, tokens=self.tokens)

    def __enter__(self) -> GitHubServer:
        owner = self
        github.SECONDS_BETWEEN_WRITES = 0.0  # GitHub's pace is for GitHub: no test in this process writes to that

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                if self.path.startswith(API + "/"):
                    owner._answer(self)
                else:
                    serve_git(self, owner.git)

            do_POST = do_PATCH = do_PUT = do_DELETE = do_GET  # noqa: N815 - the standard library's names

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
    def url(self) -> str:
        """What stands for ``https://github.com``."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def api_url(self) -> str:
        """What stands for ``https://api.github.com``."""
        return self.url + API

    def make(self, full_name: str) -> BareRepository:
        """A new, empty repository."""
        return make_bare(self.root / f"{full_name}.git")

    def calls(self) -> list[tuple[str, str, int]]:
        """``(method, path, status)`` of every API call so far."""
        return [(exchange.method, exchange.path, exchange.status) for exchange in self.exchanges]

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        path = unquote(parts.path[len(API):])
        query = dict(parse_qsl(parts.query))
        raw = read_body(handler)
        sent = json.loads(raw) if raw else None
        token = token_of(handler.headers.get("Authorization"))
        with self._lock:
            answer = self._limited() or self._unauthorised(handler.command, path, token) or self._route(
                handler.command, path, query, sent)
            body = b"" if answer.body is None else json.dumps(answer.body).encode()
            etag = f'"{hashlib.sha256(body + (token or "").encode()).hexdigest()}"'
            status = answer.status
            if status == 200 and handler.command == "GET" and handler.headers.get("If-None-Match") == etag:
                status, body = 304, b""
            else:
                self.used += 1
            self.exchanges.append(Exchange(handler.command, path, query, sent, status,
                                           None if status == 304 else answer.body))
        if handler.command != "GET" and self.faults.drop_after_writing > 0:
            self.faults.drop_after_writing -= 1
            handler.close_connection = True
            return
        self._send(handler, status, body, dict(answer.headers) | ({"ETag": etag} if handler.command == "GET" else {}))

    def _send(self, handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        if self.faults.html:
            status, body, headers = 200, b"<html>Welcome</html>", {"Content-Type": "text/html"}
        handler.send_response(status)
        standing = {"X-RateLimit-Limit": self.limit, "X-RateLimit-Remaining": max(0, self.limit - self.used),
                    "X-RateLimit-Used": self.used, "X-RateLimit-Reset": int(time.time()) + 3600,
                    "Content-Type": "application/json; charset=utf-8"}
        for name, value in (standing | dict(headers)).items():
            handler.send_header(name, str(value))
        if status not in {204, 304}:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _limited(self) -> Answer | None:
        if self.faults.secondary_limits > 0:
            self.faults.secondary_limits -= 1
            message = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
            return Answer(403, answers.error(message), {"Retry-After": str(self.faults.retry_after)})
        if self.faults.statuses:
            return Answer(self.faults.statuses.pop(0), answers.error("Server Error"))
        if self.used >= self.limit:
            return Answer(403, answers.error("API rate limit exceeded for user ID 1."))
        return None

    def _unauthorised(self, method: str, path: str, token: str | None) -> Answer | None:
        if path.startswith("/app/"):
            return None  # signed by the app's key, which PyGithub does and we take on trust
        right = self.tokens.get(token or "") if self.tokens else "rw"
        if token is not None and right is None:
            return Answer(401, answers.error("Bad credentials"))
        if right is None:
            return Answer(404, answers.error("Not Found"))
        if right == "ro" and method != "GET":
            return Answer(403, answers.error("Resource not accessible by personal access token"))
        return None

    def _route(self, method: str, path: str, query: Mapping[str, str], sent: Any) -> Answer:
        if path == "/rate_limit":
            return Answer(200, answers.rate_limit(self.limit, self.used, int(time.time()) + 3600))
        if path == "/user":
            return Answer(200, answers.whole_user("octocat", self.api_url))
        if path.startswith("/app/installations/") and method == "POST":
            token = self.apps.get(int(path.split("/")[3]))
            if token is None:
                return Answer(404, answers.error("Not Found"))
            expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
            return Answer(201, {"token": token, "expires_at": expires, "permissions": {"contents": "write"}})
        parts = path.split("/", 4)
        if len(parts) < 4 or parts[1] != "repos":
            return Answer(404, answers.error("Not Found"))
        full_name = f"{parts[2]}/{parts[3]}"
        repository = BareRepository(self.root / f"{full_name}.git")
        if not repository.path.is_dir():
            return Answer(404, answers.error("Not Found"))
        rest = parts[4] if len(parts) > 4 else ""
        route: Callable[[Call], Answer] | None = find_route(method, rest)
        place = answers.Place(repository, full_name, self.api_url, self.url)
        call = Call(place, method, rest, query, sent, self.state)
        return route(call) if route else Answer(404, answers.error("Not Found"))
