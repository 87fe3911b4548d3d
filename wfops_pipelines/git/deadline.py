"""The end of an HTTP call: whatever the server does, its connection is closed when the time is over."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any


class Deadline:
    """Hangs up on a server when its time, in seconds, is over, however busy it keeps the connection.

    For one call over one connection of httpx, which tells :meth:`note` (its extension ``trace``) what it does.
    """

    def __init__(self, seconds: float) -> None:
        self.over = False
        self._timer = threading.Timer(seconds, self._hang_up)
        self._timer.daemon = True
        self._connection: socket.socket | None = None
        self._alone = threading.Lock()

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._alone:
            if self._connection is not None:
                self._connection.close()

    def note(self, event: str, info: Mapping[str, Any]) -> None:
        """A step of the connection, as httpcore tells it. TLS takes the socket over: what is kept is a second handle."""
        if event.endswith("connect_tcp.complete"):
            with self._alone:
                self._connection = info["return_value"].get_extra_info("socket").dup()
            if self.over:
                self._hang_up()

    def _hang_up(self) -> None:
        self.over = True
        with self._alone, suppress(OSError):
            if self._connection is not None:
                self._connection.shutdown(socket.SHUT_RDWR)
