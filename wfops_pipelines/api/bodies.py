"""Reading bodies of strangers: so many bytes, for so long, and no more in memory for all of them together, until they have
been worked on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect, Request

from wfops_pipelines.domain.errors import WfopsError


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
    """Reads bodies of at most ``largest`` bytes within ``seconds``; together they hold at most ``together`` bytes."""

    def __init__(self, *, largest: int, seconds: float, together: int) -> None:
        self._largest, self._seconds, self._together = largest, seconds, together
        self._held = 0
        self._lock = threading.Lock()

    async def read(self, request: Request) -> Body:
        """The whole body; :class:`BodyRefused` for one that is too large, too slow, cut off, or one too many."""
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._largest:
            raise self._too_large()
        chunks: list[bytes] = []
        size = 0
        whole: Body | None = None
        try:
            async with asyncio.timeout(self._seconds):
                async for chunk in request.stream():
                    size += len(chunk)
                    held = self._hold(len(chunk))
                    if size > self._largest:
                        raise self._too_large()
                    if held > self._together:
                        raise BodyRefused(503, "busy", "too many bodies at once: send it again later")
                    chunks.append(chunk)
        except TimeoutError:
            raise BodyRefused(408, "too_slow", f"the body did not arrive within {self._seconds:.0f} s") from None
        except ClientDisconnect:
            raise BodyRefused(400, "cut_off", "the body was cut off") from None
        else:
            whole = Body(b"".join(chunks), lambda: self._give_back(size))
            return whole
        finally:
            if whole is None:
                self._give_back(size)

    def _hold(self, size: int) -> int:
        with self._lock:
            self._held += size
            return self._held

    def _give_back(self, size: int) -> None:
        with self._lock:
            self._held -= size

    def _too_large(self) -> BodyRefused:
        return BodyRefused(413, "too_large", f"the body is larger than {self._largest // 2**20} MB")
