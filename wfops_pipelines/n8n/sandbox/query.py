"""Query parameters and cursors, as each generation reads them (facts §3, §4)."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wfops_pipelines.n8n.sandbox.errors import ApiError
from wfops_pipelines.n8n.sandbox.javascript import dump
from wfops_pipelines.n8n.sandbox.schema import repr_js

Spec = Mapping[str, str | tuple[str, ...]]
MAX_LIMIT = 250
_AJV_KINDS = {"limit": "number", "flag": "boolean"}
_BAD_CURSOR = "An invalid cursor was provided"


def read_query(pairs: Sequence[tuple[str, str]], spec: Spec, generation: int) -> dict[str, Any]:
    """The parameters that ``spec`` (name → ``text``, ``limit``, ``flag``, or the words it may be) knows, converted. One
    that is given twice, or as ``name[]``, is an array, which none may be."""
    given = {name.removesuffix("[]"): value for name, value in pairs}
    times = Counter(name.removesuffix("[]") for name, _ in pairs)
    arrays = {name for name, value in times.items() if value > 1} | {
        name.removesuffix("[]") for name, _ in pairs if name.endswith("[]")}
    if generation < 2:
        for name in given:
            if name not in spec:
                raise ApiError(400, f"Unknown query parameter '{name}'")
        for name, value in given.items():
            if value == "" and name not in arrays:
                raise ApiError(400, f"Empty value found for query parameter '{name}'")
    for name, kind in spec.items():
        if name in arrays:
            raise ApiError(400, f"request/query/{name} {_no_array(kind, generation)}")
    return {name: _value(name, given[name], kind, generation) for name, kind in spec.items() if name in given}


def _no_array(kind: str | tuple[str, ...], generation: int) -> str:
    if generation < 2:
        return f"must be {_AJV_KINDS.get(kind, 'string') if isinstance(kind, str) else 'string'}"
    words = ("true", "false") if kind == "flag" else kind
    expected = "string" if isinstance(words, str) else " | ".join(map(repr_js, words))
    return f"Expected {expected}, received array"


def _value(name: str, text: str, kind: str | tuple[str, ...], generation: int) -> Any:
    if isinstance(kind, tuple):
        if text not in kind:
            said = f"must be equal to one of the allowed values: {', '.join(kind)}"
            said = said if generation < 2 else _not_one_of(kind, text)
            raise ApiError(400, f"request/query/{name} {said}")
        return text
    if kind == "flag":
        if text not in {"true", "false"}:
            said = "must be boolean" if generation < 2 else _not_one_of(("true", "false"), text)
            raise ApiError(400, f"request/query/{name} {said}")
        return text == "true"
    if kind == "limit":
        return _limit_1(name, text) if generation < 2 else _limit_2(name, text)
    return text


def _not_one_of(words: tuple[str, ...], text: str) -> str:
    return f"Invalid enum value. Expected {' | '.join(map(repr_js, words))}, received '{text}'"


def _limit_1(name: str, text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        raise ApiError(400, f"request/query/{name} must be number") from None
    if value > MAX_LIMIT:
        raise ApiError(400, f"request/query/{name} must be <= {MAX_LIMIT}")
    if value != int(value):
        raise ApiError(400, "SQLITE_MISMATCH: datatype mismatch")
    return int(value)


def _limit_2(name: str, text: str) -> int | None:
    if text == "":
        return None
    whole = re.match(r"\s*(-?\d+)", text)
    if whole is None:
        raise ApiError(400, f"request/query/{name} Param `{name}` must be a valid integer")
    if int(whole.group(1)) < 0:
        raise ApiError(400, f"request/query/{name} Param `{name}` must be a non-negative integer")
    return min(int(whole.group(1)), MAX_LIMIT)


def decode_cursor(cursor: str) -> dict[str, Any]:
    """What a cursor says; the 400 for one that is none."""
    try:
        text = re.sub(r"[^A-Za-z0-9+/_-]", "", cursor).replace("-", "+").replace("_", "/")
        value = json.loads(base64.b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, binascii.Error):
        raise ApiError(400, _BAD_CURSOR) from None
    if not isinstance(value, dict):
        raise ApiError(400, _BAD_CURSOR)
    return value


def encode_cursor(**value: Any) -> str:
    """``{"limit": 2, "offset": 4}`` in base64."""
    return base64.b64encode(dump(value)).decode()


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a listing that was asked for. A limit of 0 or below is none, as SQLite has it."""

    offset: int
    limit: int

    @classmethod
    def of(cls, query: Mapping[str, Any]) -> Window:
        """From ``cursor``, whose own limit wins and is not clamped, or from ``limit`` and ``offset``."""
        limit, offset = query.get("limit"), query.get("offset") or 0
        if query.get("cursor"):
            said = decode_cursor(query["cursor"])
            offset = said["offset"] if isinstance(said.get("offset"), int) else 0
            limit = said["limit"] if isinstance(said.get("limit"), int) else limit
        return cls(max(offset, 0), 100 if limit is None else limit)

    @property
    def part(self) -> slice:
        return slice(self.offset, self.offset + self.limit if self.limit > 0 else None)

    def next_cursor(self, total: int) -> str | None:
        """The cursor of the next page, if there is one."""
        if total <= self.offset + self.limit:
            return None
        return encode_cursor(limit=self.limit, offset=self.offset + self.limit)
