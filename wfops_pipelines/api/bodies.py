"""Reading bodies of strangers: so many bytes, for so long, and no more in memory for all of them together."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

from wfops_pipelines.domain.errors import WfopsError


class BodyRefused(WfopsError):
    """A body that was not read to its end: ``status`` is the answer's."""

    kind = "body_refused"

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.word = kind


class BodyReader:
    """Reads bodies of at most ``largest`` bytes within ``seconds``; together they hold at most ``together`` bytes."""

    def __init__(self, *, largest: int, seconds: float, together: int) -> None:
        self._largest, self._seconds, self._together = largest, seconds, together
        self._held = 0

    async def read(self, request: Request) -> bytes:
        """The whole body; :class:`BodyRefused` for one that is too large, too slow, cut off, or one too many."""
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._largest:
            raise self._too_large()
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._seconds):
                async for chunk in request.stream():
                    size += len(chunk)
                    self._held += len(chunk)
                    if size > self._largest:
                        raise self._too_large()
                    if self._held > self._together:
                        raise BodyRefused(503, "busy", "too many bodies at once: send it again later")
                    chunks.append(chunk)
        except TimeoutError:
            raise BodyRefused(408, "too_slow", f"the body did not arrive within {self._seconds:.0f} s") from None
        except ClientDisconnect:
            raise BodyRefused(400, "cut_off", "the body was cut off") from None
        finally:
            self._held -= size
        return b"".join(chunks)

    def _too_large(self) -> BodyRefused:
        return BodyRefused(413, "too_large", f"the body is larger than {self._largest // 2**20} MB")
