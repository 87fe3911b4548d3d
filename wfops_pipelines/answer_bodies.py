"""The body of an answer from outside, kept within bounds while it comes: what a server sends must not cost memory out of
proportion, neither by its bytes, nor by what they inflate to, nor by the values that they hold once they are read.
"""

from __future__ import annotations

import zlib

#: What :class:`Body` undoes; what else a server may name, it was not asked for.
ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})


class TooLarge(Exception):
    """The body is larger than it may be."""


class BrokenBody(Exception):
    """Compressed data that are none, or that break off."""


class Body:
    """A body that is taken in piece by piece. Neither what came nor what it inflates to is ever more than ``most`` bytes and
    a piece; more raises :class:`TooLarge`. ``encoding`` is one of :data:`ENCODINGS`, with ``kept=False`` nothing is kept."""

    def __init__(self, encoding: str, most: int, *, kept: bool = True) -> None:
        self.received = 0
        self._most = most
        self._kept = kept
        self._deflated = encoding == "deflate"
        self._plain = encoding in {"", "identity"}
        self._inflater: zlib._Decompress | None = None
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, piece: bytes) -> None:
        """The next bytes as they came over the wire."""
        self.received += len(piece)
        if self.received > self._most:
            raise TooLarge
        if self._kept and piece:
            self._keep(piece if self._plain else self._inflated(piece))

    def whole(self) -> bytes:
        """All of it, when all has come."""
        if self._inflater is not None and not self._inflater.eof:
            raise BrokenBody("cut off")
        return b"".join(self._pieces)

    def _inflated(self, piece: bytes) -> bytes:
        if self._inflater is None:  # some send "deflate" without the header that belongs to it
            bare = self._deflated and piece[:1] != b"\x78"
            self._inflater = zlib.decompressobj(-15 if bare else 47)
        if self._inflater.eof:
            return b""
        try:
            inflated = self._inflater.decompress(piece, self._most - self._size + 1)
        except zlib.error as error:
            raise BrokenBody(str(error)) from error
        return inflated

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._most:
            raise TooLarge
        self._pieces.append(piece)


def values_at_most(body: bytes) -> int:
    """How many values JSON can hold at the most: each stands after a bracket or a comma. Some 130 bytes of memory each once
    it is read, though ``{},`` are three. (Those inside of texts are counted, too: that costs a tenth of the time.)"""
    return body.count(b"{") + body.count(b"[") + body.count(b",") + 1
