"""Thousands of n8n in one process of its own, which answers from bytes that were prepared: its cost is not ours.

Each n8n has an address of its own (127.x.y.z, loopback all of it) at one port. They list one and the same 50 workflows, in one
of two states; some answer late, some take connections and never answer, some are not there. The same process says the head of
every Git repository (``http://127.0.0.1:PORT/TENANT.git``).
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import psutil


class Mood(StrEnum):
    """How an n8n is."""

    WELL = "well"
    CHANGED = "changed"  # somebody edited a workflow
    HANGS = "hangs"
    REFUSES = "refuses"


def address(number: int) -> str:
    """The host of the so-many-th n8n."""
    return f"127.{1 + number // 62_500}.{1 + number // 250 % 250}.{1 + number % 250}"


@dataclass
class Prepared:
    """What is answered: whole listings by mood, the shortest one, and a branch's head."""

    listings: dict[str, bytes]
    smallest: bytes
    head: str
    latency: float


@dataclass
class N8nFleet:
    """The fleet, seen from the test: URLs, moods, and what its process has used of the CPU."""

    port: int
    size: int
    _orders: Any = field(repr=False)
    _process: Any = field(repr=False)

    def url(self, number: int) -> str:
        """Of an n8n."""
        return f"http://{address(number)}:{self.port}"

    def repository(self, tenant: str) -> str:
        """Of a tenant."""
        return f"http://127.0.0.1:{self.port}/{tenant}.git"

    def set_moods(self, moods: Mapping[int, Mood]) -> None:
        """All others are well."""
        self._orders.send({number: str(mood) for number, mood in moods.items()})
        self._orders.recv()

    @property
    def cpu_seconds(self) -> float:
        """So far."""
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)


@contextmanager
def n8n_fleet(size: int, prepared: Prepared) -> Iterator[N8nFleet]:
    """A fleet, until the block is left."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(size, prepared, theirs), daemon=True)
    process.start()
    try:
        yield N8nFleet(ours.recv(), size, ours, process)
    finally:
        process.terminate()
        process.join(10)


def _serve(size: int, prepared: Prepared, orders: Any) -> None:
    asyncio.run(_Server(size, prepared, orders).run())


class _Server:
    def __init__(self, size: int, prepared: Prepared, orders: Any) -> None:
        self.prepared, self._size, self._orders = prepared, size, orders
        self.moods: dict[str, str] = {}
        self._answers = {mood: _answer(body) for mood, body in prepared.listings.items()}
        self._smallest = _answer(prepared.smallest)
        self._head = _answer(_packets(prepared.head), "application/x-git-upload-pack-result")
        self._listeners: dict[int, asyncio.Server] = {}
        self._port = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        git = await loop.create_server(lambda: _Conversation(self), "127.0.0.1", 0)
        self._port = git.sockets[0].getsockname()[1]
        for number in range(self._size):
            await self._listen(number)
        told = asyncio.Event()
        loop.add_reader(self._orders.fileno(), told.set)
        self._orders.send(self._port)
        while True:
            await told.wait()
            told.clear()
            if self._orders.poll():
                await self._obey(self._orders.recv())

    async def _listen(self, number: int) -> None:
        if number not in self._listeners:
            self._listeners[number] = await asyncio.get_running_loop().create_server(
                lambda: _Conversation(self), address(number), self._port, backlog=16)

    async def _obey(self, moods: dict[int, str]) -> None:
        self.moods = {address(number): mood for number, mood in moods.items()}
        for number in range(self._size):
            if moods.get(number) == Mood.REFUSES:
                if number in self._listeners:
                    self._listeners.pop(number).close()
            else:
                await self._listen(number)
        self._orders.send(time.time())

    def answer(self, host: str, request: bytes) -> bytes | None:
        """The bytes that answer a request; none for one that is left waiting."""
        if request.startswith(b"POST "):
            return self._head
        mood = self.moods.get(host, "well")
        if mood == Mood.HANGS:
            return None
        if b"limit=1&" in request[:200]:
            return self._smallest
        return self._answers[mood]


class _Conversation(asyncio.Protocol):
    def __init__(self, server: _Server) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if b"\r\n\r\n" not in self._received:
            return
        head, _, body = self._received.partition(b"\r\n\r\n")
        if head.startswith(b"POST ") and not body.endswith(b"0000"):
            return
        request, self._received = head, b""
        assert self._transport is not None
        host = self._transport.get_extra_info("sockname")[0]
        answer = self._server.answer(host, request)
        if answer is not None:
            asyncio.get_running_loop().call_later(self._server.prepared.latency, self._write, answer)

    def _write(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)


def _answer(body: bytes, kind: str = "application/json") -> bytes:
    return (f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n").encode() + body


def _packets(head: str) -> bytes:
    line = f"{head} refs/heads/main\n".encode()
    return f"{len(line) + 4:04x}".encode() + line + b"0000"
