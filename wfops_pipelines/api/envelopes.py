"""The shapes of answers (§21): ``{data, message, timestamp}`` and ``{error: {type, message, details}, timestamp}``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi.responses import JSONResponse


def answer(data: Mapping[str, Any], message: str, *, status: int = 200) -> JSONResponse:
    """Something that was done, or is being done."""
    return JSONResponse({"data": dict(data), "message": message, "timestamp": _now()}, status)


def failure(status: int, kind: str, message: str, *, details: Mapping[str, Any] | None = None, close: bool = False,
            retry_after: int | None = None) -> JSONResponse:
    """Something that was not done. ``close`` ends the connection: what is left of a body will not be read."""
    headers = {"Connection": "close"} if close else {}
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return JSONResponse({"error": {"type": kind, "message": message, "details": dict(details or {})}, "timestamp": _now()},
                        status, headers)


def _now() -> str:
    return datetime.now(UTC).isoformat()
