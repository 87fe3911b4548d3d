"""Reading bodies of strangers: so many bytes, for so long, and no more in memory for all of them together, until they have
been worked on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect, Request

from wfops_pipelines.domain.errors import WfopsError

SMALL_BODY_BYTES = 2**20
"""A body that says it is no larger has room of its own: nearly every delivery is."""
SMALL_BODIES_TOGETHER_BYTES = 32 * 2**20


class BodyRefused(WfopsError):
    """A body that was not read to its end: ``status`` is the answer's."""

    kind = "body_refused"

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.word = kind


@dataclass(frozen=True, slots=True)
class Body:
    """A body that was read. Its bytes count as held until they are given back, once, from whichever thread."""

    content: bytes = field(repr=False)
    give_back: Callable[[], None]


class BodyReader:
    """Reads bodies of at most ``largest`` bytes within ``seconds``; together they hold at most ``together`` bytes.

    Those that say they have at most ``small`` bytes hold at most ``small_together`` besides. Nobody knows yet who sends one:
    a few large ones that never end would keep everybody's deliveries out otherwise.
    """

    def __init__(self, *, largest: int, seconds: float, together: int, small: int = SMALL_BODY_BYTES,
                 small_together: int = SMALL_BODIES_TOGETHER_BYTES) -> None:
        self._largest, self._seconds, self._small = largest, seconds, small
        self._for_small, self._for_others = _Room(small_together), _Room(together)

    async def read(self, request: Request) -> Body:
        """The whole body; :class:`BodyRefused` for one that is too large, too slow, cut off, or one too many."""
        declared = request.headers.get("content-length", "")
        most, room = self._largest, self._for_others
        if declared.isdigit():
            if int(declared) > self._largest:
                raise self._too_large()
            if int(declared) <= self._small:
                most, room = min(most, self._small), self._for_small
        chunks: list[bytes] = []
        size = 0
        whole: Body | None = None
        try:
            async with asyncio.timeout(self._seconds):
                async for chunk in request.stream():
                    size += len(chunk)
                    fits = room.hold(len(chunk))
                    if size > most:
                        raise self._too_large()
                    if not fits:
                        raise BodyRefused(503, "busy", "too many bodies at once: send it again later")
                    chunks.append(chunk)
        except TimeoutError:
            raise BodyRefused(408, "too_slow", f"the body did not arrive within {self._seconds:.0f} s") from None
        except ClientDisconnect:
            raise BodyRefused(400, "cut_off", "the body was cut off") from None
        else:
            whole = Body(b"".join(chunks), lambda: room.give_back(size))
            return whole
        finally:
            if whole is None:
                room.give_back(size)

    def _too_large(self) -> BodyRefused:
        return BodyRefused(413, "too_large", f"the body is larger than {self._largest // 2**20} MB")


class _Room:
    """What bodies may hold together, counted from whichever thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._lock = threading.Lock()

    def hold(self, size: int) -> bool:
        """So many bytes more are held now, until they are given back; whether there is room for them."""
        with self._lock:
            self._held += size
            return self._held <= self._most

    def give_back(self, size: int) -> None:
        """They are held no more."""
        with self._lock:
            self._held -= size
