"""``GET /metrics``: the figures for Prometheus. Where a token is set, only who has it may read them."""

from __future__ import annotations

import asyncio
import hmac

from fastapi import Request, Response

from wfops_pipelines.api.envelopes import failure
from wfops_pipelines.services.metrics import Exposition

PATH = "/metrics"


class MetricsRoute:
    """Answers scrapes. They take turns: the reading is shared, and the database is asked once."""

    def __init__(self, figures: Exposition, token: str | None = None) -> None:
        self._figures = figures
        self._token = token
        self._turn = asyncio.Lock()

    async def answer(self, request: Request) -> Response:
        """The figures, in the format that the scrape accepts."""
        if self._token is not None and not self._is_allowed(request):
            refused = failure(401, "refused", "the figures are for who has their token")
            refused.headers["WWW-Authenticate"] = "Bearer"
            return refused
        async with self._turn:
            body, content_type = await asyncio.to_thread(self._figures.text, request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})

    def _is_allowed(self, request: Request) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), str(self._token).encode())
