"""Sandboxes on real loopback sockets: in a thread with an event loop of its own, or one process for the command line."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import uvicorn

from wfops_pipelines.n8n.sandbox import Sandbox

_START_LIMIT = 30.0  # seconds
_START_POLL = 0.002  # seconds between two looks: the server tells nobody that it has started


def listening_socket(host: str, port: int) -> socket.socket:
    """A bound and listening socket; :class:`OSError` when the port is taken."""
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(256)
    except OSError:
        listener.close()
        raise
    return listener


def server_of(sandbox: Sandbox) -> uvicorn.Server:
    """A quiet uvicorn for a sandbox. Idle connections close after 5 s, as n8n's do."""
    return uvicorn.Server(uvicorn.Config(sandbox.app, log_level="critical", access_log=False, lifespan="off",
                                         timeout_keep_alive=5, timeout_graceful_shutdown=2))


@contextmanager
def serve(sandbox: Sandbox, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """The URL under which the sandbox answers until the block is left (``port=0``: a free one)."""
    with listening_socket(host, port) as listener:
        server = server_of(sandbox)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="sandbox", daemon=True)
        thread.start()
        try:
            _wait_until_started(server, thread)
            yield f"http://{host}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def serve_many(sandboxes: Sequence[Sandbox], host: str = "127.0.0.1", ports: Sequence[int] = ()) -> Iterator[list[str]]:
    """The URLs of several sandboxes of this process, in their order; ``ports`` for the first ones, else free ones."""
    with ExitStack() as stack:
        wanted = [*ports, *[0] * (len(sandboxes) - len(ports))]
        yield [stack.enter_context(serve(sandbox, host, port)) for sandbox, port in zip(sandboxes, wanted, strict=True)]


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    limit = time.monotonic() + _START_LIMIT
    while not server.started:
        if not thread.is_alive() or time.monotonic() > limit:
            raise RuntimeError("the sandbox's server did not start")
        time.sleep(_START_POLL)
