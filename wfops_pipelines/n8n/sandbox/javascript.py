"""JSON as Node.js reads and writes it: every number is a double, lone surrogates survive, text is not escaped."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

import orjson

_SAFE = 2**53
_SURROGATE = re.compile("[\ud800-\udfff]")


def _integer(text: str) -> Any:
    value = int(text) if len(text) < 400 else float("inf")
    return value if -_SAFE <= value <= _SAFE else number(float(text))


def _real(text: str) -> Any:
    return number(float(text))


def number(value: float) -> Any:
    """A double as ``JSON.stringify`` shows it: ``1.0`` is 1, 2⁵³+1 is 2⁵³, infinity is null."""
    if not math.isfinite(value):
        return None
    if value == int(value) and abs(value) < 1e21:
        return int(Decimal(repr(value)))
    return value


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def parse(body: bytes) -> Any:
    """The value of a JSON text; :class:`ValueError` for anything else."""
    return json.loads(body, parse_int=_integer, parse_float=_real, parse_constant=_refuse)


def dump(value: Any) -> bytes:
    """Compact JSON. Integers beyond 64 bits and lone surrogates take the slow way."""
    try:
        return orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError):
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return _SURROGATE.sub(lambda match: f"\\u{ord(match.group()):04x}", text).encode()
