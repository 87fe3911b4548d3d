"""A client of the HTTP core for tests: waits between attempts take no time, and are remembered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from wfops_pipelines.domain.errors import OutsideError
from wfops_pipelines.n8n.answers import json_of
from wfops_pipelines.n8n.client import N8nClient
from wfops_pipelines.n8n.provider import Connection
from wfops_pipelines_tests.servers.hostile import Request, Script, http

KEY = "a-secret-key-that-nobody-may-see"
OK = http(200, {"ok": True})


class Caller:
    """A client whose waits between attempts take no time, and are remembered."""

    def __init__(self, url: str, **options: Any) -> None:
        self.connection = Connection(url, KEY, **options)
        self.waits: list[float] = []

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    def run(self, act: Callable[[N8nClient], Awaitable[Any]]) -> Any:
        async def within() -> Any:
            async with N8nClient(self.connection, random=lambda: 0.5, sleep=self._sleep) as client:
                return await act(client)

        return asyncio.run(within())

    def call(self, method: str = "GET", path: str = "/api/v1/workflows", **options: Any) -> Any:
        async def act(client: N8nClient) -> Any:
            return json_of(await client.call("test", method, path, **options), client.asked(method, path))

        return self.run(act)

    def error(self, *arguments: Any, **options: Any) -> OutsideError:
        with pytest.raises(OutsideError) as raised:
            self.call(*arguments, **options)
        assert KEY not in str(raised.value)
        return raised.value


def in_turn(*answers: bytes | type[Exception]) -> Script:
    """One answer after the other, the last one again and again."""
    left = list(answers)
    lock = threading.Lock()

    def script(_: Request) -> bytes:
        with lock:
            answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, bytes):
            return answer
        raise answer

    return script
