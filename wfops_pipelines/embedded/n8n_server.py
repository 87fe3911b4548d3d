"""A real n8n on loopback, with its owner and an API key: for tests and for the demo on real servers.

A folder with owner and key is prepared once for each version and copied at each start, which saves the migrations.

    python -m wfops_pipelines.embedded.n8n_server install 2.41.1 [--cache DIR]
    python -m wfops_pipelines.embedded.n8n_server start 2.41.1 [--folder DIR] [--port N] [--cache DIR]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.embedded.n8n_install import N8nInstall, default_cache, find_install, install, locked

__all__ = ["N8nInstall", "N8nServer", "default_cache", "find_install", "install", "main"]

_ENVIRONMENT = {
    "N8N_LISTEN_ADDRESS": "127.0.0.1", "N8N_HOST": "127.0.0.1", "N8N_PROTOCOL": "http", "N8N_SECURE_COOKIE": "false",
    "N8N_DIAGNOSTICS_ENABLED": "false", "N8N_VERSION_NOTIFICATIONS_ENABLED": "false", "N8N_TEMPLATES_ENABLED": "false",
    "N8N_PERSONALIZATION_ENABLED": "false", "N8N_DISABLE_UI": "true", "N8N_COMMUNITY_PACKAGES_ENABLED": "false",
    "N8N_LICENSE_AUTO_RENEW_ENABLED": "false", "N8N_PUBLIC_API_SWAGGERUI_DISABLED": "true",
    "N8N_EXPRESSION_ENGINE": "legacy",  # needs no isolated-vm
    "N8N_RUNNERS_ENABLED": "false",  # 1.x; 2.x always has the broker, so its runner is left out:
    "N8N_RUNNERS_MODE": "external", "N8N_RUNNERS_AUTH_TOKEN": "unused",  # saves 116 MB; Code nodes do not run
    "N8N_BLOCK_ENV_ACCESS_IN_NODE": "true", "N8N_ENFORCE_SETTINGS_FILE_PERMISSIONS": "true",
    "DB_TYPE": "sqlite", "DB_SQLITE_POOL_SIZE": "4",
    "DB_PING_TIMEOUT_MS": "60000",  # on a busy machine five seconds are soon over, and then 2.x answers 503 to all calls
    "EXECUTIONS_MODE": "regular", "N8N_LOG_LEVEL": "info", "NO_COLOR": "1",
}
_STATE = "wfops-server.json"
_OWNER = {"email": "owner@example.com", "firstName": "Olive", "lastName": "Owner", "password": "Passw0rd123"}
_POLL = 0.1  # seconds between two looks whether it is ready, which it tells nobody


@dataclass(slots=True)
class N8nServer:
    """A running n8n. Stop it by :meth:`stop`, or use it as a context manager."""

    install: N8nInstall
    folder: Path
    url: str
    api_key: str
    process: subprocess.Popen[bytes]

    def __repr__(self) -> str:
        return f"N8nServer({self.install.version}, {self.url})"

    @property
    def generation(self) -> int:
        return self.install.generation

    @property
    def version(self) -> str:
        return self.install.version

    @classmethod
    def start(cls, n8n: N8nInstall, folder: Path, *, port: int = 0, env: Mapping[str, str] | None = None,
              timeout: float = 180.0) -> Self:
        """Start on loopback and wait until the public API answers with the key.

        ``folder`` is the server's own: empty or not there, it becomes a copy of the prepared one; else its data are
        used again. ``port`` 0 takes a free one. ``env`` adds to n8n's environment. Raises :class:`UsageError` with the
        last lines of its log when it does not come up in ``timeout`` seconds.
        """
        if not (folder / _STATE).is_file():
            shutil.copytree(_template(n8n, timeout), folder, dirs_exist_ok=True)
        state = json.loads((folder / _STATE).read_text())
        for tries_left in (2, 1, 0):
            server = cls._launch(n8n, folder, state, port, env or {})
            try:
                server._wait_until(server._api_answers, timeout)
            except BaseException as error:
                server.stop()
                if not (tries_left and port == 0 and isinstance(error, UsageError) and "already in use" in str(error)):
                    raise  # else somebody took the port between our look and n8n's
            else:
                break
        return server

    def stop(self, patience: float = 15.0) -> None:
        """Ask it to end, and after ``patience`` seconds end its process group."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.stop()

    @classmethod
    def _launch(cls, n8n: N8nInstall, folder: Path, state: Mapping[str, str], port: int,
                env: Mapping[str, str]) -> Self:
        chosen, broker = (port, *_free_ports(1)) if port else _free_ports(2)
        environment = {
            **_ENVIRONMENT, "HOME": str(folder), "PATH": f"{n8n.node.parent}:/usr/local/bin:/usr/bin:/bin",
            "N8N_PORT": str(chosen), "N8N_USER_FOLDER": str(folder), "N8N_ENCRYPTION_KEY": state["encryption_key"],
            "N8N_RUNNERS_BROKER_PORT": str(broker), **env,
        }
        with (folder / "n8n.log").open("wb") as log:
            process = subprocess.Popen([n8n.node, n8n.entry, "start"], env=environment, cwd=folder,
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        return cls(n8n, folder, f"http://127.0.0.1:{chosen}", state.get("api_key", ""), process)

    def _is_ready(self, http: httpx.Client) -> bool:
        return http.get("/healthz/readiness").status_code == 200

    def _api_answers(self, http: httpx.Client) -> bool:
        """The public API is mounted some seconds after readiness, and GET before POST: an empty workflow is refused."""
        key = {"x-n8n-api-key": self.api_key}
        return (http.post("/api/v1/workflows", json={}, headers=key).status_code == 400
                and http.get("/api/v1/workflows?limit=1", headers=key).status_code == 200)

    def _wait_until(self, holds: Callable[[httpx.Client], bool], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        with _browser(self.url, patience=2.0) as http:
            while self.process.poll() is None and time.monotonic() < deadline:
                with contextlib.suppress(httpx.HTTPError):
                    if holds(http):
                        return
                time.sleep(_POLL)
        ended = self.process.poll()
        how = f"not ready in {timeout:.0f} s" if ended is None else f"ended with {ended}"
        last = (self.folder / "n8n.log").read_text(errors="replace").strip().splitlines()[-5:]
        raise UsageError(f"n8n {self.version} {how}: {' / '.join(last)}", fix=f"read {self.folder / 'n8n.log'}")


def _free_ports(count: int) -> tuple[int, ...]:
    """Ports that nobody listens on, all different: held together before any is let go."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return tuple(one.getsockname()[1] for one in sockets)
    finally:
        for one in sockets:
            one.close()


def _template(n8n: N8nInstall, timeout: float) -> Path:
    """The prepared folder of a version: migrated, with an owner and an API key of all scopes. Made once."""
    template = n8n.folder / "template"
    with locked(n8n.folder.with_suffix(f"{n8n.folder.suffix}.template.lock")):
        if (template / _STATE).is_file():
            return template
        shutil.rmtree(template, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=n8n.folder, prefix="template-") as temporary:
            folder = Path(temporary) / "folder"
            folder.mkdir()
            state = {"encryption_key": secrets.token_hex(16)}
            server = N8nServer._launch(n8n, folder, state, 0, {})
            try:
                server._wait_until(server._is_ready, timeout)
                state["api_key"] = _owner_and_key(server.url, timeout)
            finally:
                server.stop()
            (folder / "n8n.log").unlink()
            (folder / _STATE).touch(mode=0o600)
            (folder / _STATE).write_text(json.dumps(state))
            folder.rename(template)
    return template


def _owner_and_key(url: str, timeout: float) -> str:
    """Set up the owner and make an API key with every scope; ``/rest`` may be 404 for seconds after readiness (1.x)."""
    deadline = time.monotonic() + timeout
    with _browser(url) as http:
        while (answer := http.post("/rest/owner/setup", json=_OWNER)).status_code in {404, 503}:
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL)
        _expect_200(answer, "the set-up of its owner")
        scopes = _expect_200(http.get("/rest/api-keys/scopes"), "the list of scopes")["data"]
        label = f"wfops-{secrets.token_hex(4)}"
        key = _expect_200(http.post("/rest/api-keys", json={"label": label, "scopes": scopes, "expiresAt": None}),
                          "the making of an API key")
        return str(key["data"]["rawApiKey"])


def _expect_200(answer: httpx.Response, what: str) -> Any:
    if answer.status_code != 200:
        raise UsageError(f"n8n refused {what}: {answer.status_code}", fix="remove its folder and try again")
    return answer.json()


def _browser(url: str, patience: float = 30.0) -> httpx.Client:
    """A client that keeps cookies, as n8n's own pages use; the cookie may be bound to the browser id."""
    return httpx.Client(base_url=url, trust_env=False, timeout=patience, headers={"browser-id": "wfops"})


def main(arguments: list[str]) -> int:
    """``install VERSION``, or ``start VERSION`` until interrupted, its URL and key as a line of JSON on stdout."""
    parser = argparse.ArgumentParser(prog="n8n_server", description="Install and start a real n8n")
    parser.add_argument("act", choices=["install", "start"])
    parser.add_argument("version")
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--folder", type=Path, help="the server's data; default a temporary folder")
    parser.add_argument("--port", type=int, default=0, help="default a free one")
    asked = parser.parse_args(arguments)
    try:
        n8n = install(asked.version, asked.cache, lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201
        if asked.act == "install":
            print(n8n.folder)  # noqa: T201 - the answer
            return 0
        with tempfile.TemporaryDirectory(prefix="wfops-n8n-") as temporary:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            with N8nServer.start(n8n, asked.folder or Path(temporary) / "n8n", port=asked.port) as server:
                print(json.dumps({"url": server.url, "api_key": server.api_key, "pid": server.process.pid}),  # noqa: T201
                      flush=True)
                server.process.wait()
                return 1
    except UsageError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
