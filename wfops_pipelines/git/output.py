"""What a git command says, taken in while it runs: never more of it than is asked for, and never for longer.

Much of it is a remote's own words, and a hostile one has no end of them.
"""

from __future__ import annotations

import os
import select
import selectors
import subprocess
import time
from collections.abc import Callable

from wfops_pipelines.git import processes

Take = Callable[[bytes], None]

MOST_SAID_BYTES = 4 * 1024 * 1024
"""Of messages, and of output where nothing large is asked for. Beyond that nobody tells us anything."""
KEPT_MESSAGE_BYTES = 32 * 1024
"""Kept of the beginning of messages, and as many of their end, where git says what went wrong."""

_PIECE_BYTES = 64 * 1024
_LOOK_SECONDS = 0.5  # between two looks whether a command that says nothing is still there


class TooMuch(Exception):
    """A command said more than it may: ``most`` bytes."""

    def __init__(self, most: int) -> None:
        super().__init__(f"more than {most // 2**20} MiB")
        self.most = most


class Messages:
    """The beginning and the end of what a command says, in whole lines where something is left out between them: half a
    line could hold half a secret, which nobody would recognise."""

    def __init__(self) -> None:
        self._head, self._tail = bytearray(), bytearray()
        self._size = 0

    def add(self, piece: bytes) -> None:
        """The next bytes."""
        self._size += len(piece)
        room = KEPT_MESSAGE_BYTES - len(self._head)
        self._head += piece[:room]
        self._tail += piece[room:]
        del self._tail[:-KEPT_MESSAGE_BYTES]

    def text(self) -> str:
        """What is kept."""
        head, tail = bytes(self._head), bytes(self._tail)
        if left_out := self._size - len(head) - len(tail):
            head, tail = head.rpartition(b"\n")[0], tail.partition(b"\n")[2]
            return f"{head.decode(errors='replace')}\n[{left_out} bytes left out]\n{tail.decode(errors='replace')}"
        return (head + tail).decode(errors="replace")


def exchange(process: subprocess.Popen[bytes], data: bytes | None, *, seconds: float, printed: Take, said: Take) -> None:
    """Give a command its input and take what it prints and says, until it has ended; its helpers end with it.

    :class:`TimeoutError` when that takes more than ``seconds``, :class:`TooMuch` when it has too much to say, and whatever
    ``printed`` raises: then it may still run.
    """
    deadline = time.monotonic() + seconds
    assert process.stdout is not None and process.stderr is not None  # noqa: S101 - started with pipes
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, printed)
        selector.register(process.stderr, selectors.EVENT_READ, bounded(said, MOST_SAID_BYTES))
        if process.stdin is not None:
            selector.register(process.stdin, selectors.EVENT_WRITE, _Input(data or b""))
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            ready = selector.select(min(left, _LOOK_SECONDS))
            for key, _ in ready:
                if not (key.data.send(key.fd) if isinstance(key.data, _Input) else _receive(key.fd, key.data)):
                    selector.unregister(key.fileobj)
                    key.fileobj.close()  # type: ignore[union-attr] # a pipe of the process
            if not ready and processes.has_ended(process):
                break  # what keeps a pipe open now is a helper that it left behind
    processes.wait(process, deadline - time.monotonic())


class _Input:
    """What a command reads, given to it in pieces that a pipe takes without blocking."""

    def __init__(self, data: bytes) -> None:
        self._rest = memoryview(data)

    def send(self, pipe: int) -> bool:
        """The next piece; whether there is more, and somebody who reads it."""
        try:
            sent = os.write(pipe, self._rest[:select.PIPE_BUF])
        except BrokenPipeError:
            return False
        self._rest = self._rest[sent:]
        return bool(self._rest)


def _receive(pipe: int, take: Take) -> bool:
    """Take the next piece; whether more may come."""
    piece = os.read(pipe, _PIECE_BYTES)
    take(piece)
    return bool(piece)


def bounded(take: Take, most: int) -> Take:
    """``take``, until more than ``most`` bytes have come: then :class:`TooMuch`."""
    received = 0

    def taken(piece: bytes) -> None:
        nonlocal received
        received += len(piece)
        if received > most:
            raise TooMuch(most)
        take(piece)
    return taken
