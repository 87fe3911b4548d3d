"""JSON as n8n means it: read what n8n keeps, write one form for equal values (§4.5).

n8n is JavaScript: a number is an IEEE double, a string any sequence of UTF-16 units (NUL and lone surrogates survive),
the order of keys means nothing. orjson does nearly all the work; what it refuses goes the standard library's way, and
the choice of way depends on the value alone, so that equal values always give equal bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import orjson

from wfops_pipelines.domain.errors import MalformedWorkflow

MAX_DEPTH = 400
"""Levels of nesting in a workflow that is handled: real ones have less than 30, and n8n itself takes some thousands.
Below it, code that walks one frame a level is safe from Python's own limit."""

_EXACT = 2**53
_BOM = b"\xef\xbb\xbf"
_STRICT = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
_INTEGRAL_FLOAT = re.compile(rb"\.0[,\]}]")


def parse_json(data: bytes | str) -> Any:
    """The value of a JSON document, as n8n's own parser would keep it.

    A byte order mark is skipped; of a key given twice the last one holds, as in JavaScript; numbers beyond the
    doubles become null, as they do when n8n writes them; any depth is read. Raises :class:`MalformedWorkflow` for
    anything that is no JSON: other encodings, ``NaN`` and ``Infinity``, text after the end.
    """
    if isinstance(data, str):
        data = data.removeprefix("\ufeff")
    elif data.startswith(_BOM):
        data = data[3:]
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return _parse_leniently(data)


def _parse_leniently(data: bytes | str) -> Any:
    if isinstance(data, bytes):
        try:
            data = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise MalformedWorkflow(f"not UTF-8 (byte {error.start})", fix="save the file as UTF-8") from error
    try:
        try:
            return _LENIENT.decode(data)
        except RecursionError:
            return _parse_deep_nesting(data)
    except json.JSONDecodeError as error:
        raise MalformedWorkflow(f"no valid JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error


def _refuse_constant(literal: str) -> Any:
    raise MalformedWorkflow(f"no valid JSON: {literal} is not a JSON value")


def _integer(literal: str) -> int | float | None:
    """As orjson reads it: an ``int`` as far as 64 bits go, with or without sign."""
    if len(literal) < 21 and -(2**63) <= (value := int(literal)) < 2**64:
        return value
    return _double(literal)


def _double(literal: str) -> float | None:
    value = float(literal)
    return value if value - value == 0 else None


_LENIENT = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_integer, parse_float=_double)
_scan_once: Callable[[str, int], tuple[Any, int]] = _LENIENT.scan_once  # type: ignore[attr-defined]


def _parse_deep_nesting(text: str) -> Any:
    """The value of a document at any depth, without recursion.

    n8n 1.x and 2.x keep and list workflows that nest 3,000 levels deep: one of them must not make a page of 250
    unreadable. It is refused later, on its own (``domain.workflow``).
    """
    root: list[Any] = []
    container: Any = root
    above: list[Any] = []
    key = ""
    at = _skip_space(text, 0)
    while True:
        opening = text[at : at + 1]
        if opening in _CLOSING:
            child: Any = {} if opening == "{" else []
            _put(container, key, child)
            above.append(container)
            container = child
            at = _skip_space(text, at + 1)
            if text[at : at + 1] != _CLOSING[opening]:
                key, at = _key_of_member(text, at) if opening == "{" else ("", at)
                continue
        else:
            value, at = _scalar(text, at)
            _put(container, key, value)
        while container is not root:
            at = _skip_space(text, at)
            is_object = container.__class__ is dict
            if text[at : at + 1] == ",":
                at = _skip_space(text, at + 1)
                key, at = _key_of_member(text, at) if is_object else ("", at)
                break
            if text[at : at + 1] != ("}" if is_object else "]"):
                raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
            at += 1
            container = above.pop()
        else:
            at = _skip_space(text, at)
            if at != len(text):
                raise json.JSONDecodeError("Extra data", text, at)
            return root[0]


_CLOSING = {"{": "}", "[": "]"}
_SPACE = re.compile(r"[ \t\n\r]*")


def _skip_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _scalar(text: str, at: int) -> tuple[Any, int]:
    try:
        value, end = _scan_once(text, at)
    except StopIteration as stop:
        raise json.JSONDecodeError("Expecting value", text, int(stop.value)) from None
    return value, end


def _key_of_member(text: str, at: int) -> tuple[str, int]:
    if text[at : at + 1] != '"':
        raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, at)
    key, at = _scalar(text, at)
    at = _skip_space(text, at)
    if text[at : at + 1] != ":":
        raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
    return key, _skip_space(text, at + 1)


def _put(container: Any, key: str, value: Any) -> None:
    if container.__class__ is dict:
        container[key] = value
    else:
        container.append(value)


def encode(value: Any) -> bytes:
    """Compact JSON with sorted keys of ``value`` as it is; :func:`parse_json` gives the value back.

    Lone surrogates are written as escapes: the bytes are UTF-8 whatever the value holds.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return _encode_leniently(value)


def _encode_leniently(value: Any) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError:  # an infinite number: null, as orjson and n8n write it
        return _encode_leniently(canonical_numbers(value))
    except RecursionError as error:
        raise MalformedWorkflow("nested too deeply to be written as JSON") from error
    # The only characters UTF-8 cannot hold are lone surrogates, always inside a string: the escape is JSON's own.
    return text.encode("utf-8", "backslashreplace")


def encode_if_canonical(value: Any) -> bytes | None:
    """:func:`encode`, where the bytes prove that every number is canonical already; else none.

    Walking a document costs several times writing it. So it is written first, and only walked
    (:func:`canonical_numbers`) when it holds an integral float, an integer beyond 2^53, or what orjson refuses.
    """
    try:
        encoded = orjson.dumps(value, option=_STRICT)
    except TypeError:
        return None
    return None if _INTEGRAL_FLOAT.search(encoded) else encoded


def canonical_number(value: int | float) -> int | float | None:
    """The one Python number for a JavaScript number: an ``int`` up to 2^53 where it is integral, else a ``float``.

    What overflows is null, as in ``JSON.stringify``; -0 is 0.
    """
    if isinstance(value, int) and -_EXACT <= value <= _EXACT:
        return value
    try:
        double = float(value)
    except OverflowError:
        return None
    if -_EXACT <= double <= _EXACT:
        return int(double) if double.is_integer() else double
    return double if double - double == 0 else None


def canonical_numbers(value: Any) -> Any:
    """A copy of ``value`` with every number canonical."""
    kind = value.__class__
    if kind is dict:
        result = {}
        for key, item in value.items():
            result[key] = item if item.__class__ is str else canonical_numbers(item)
        return result
    if kind is list:
        items = []
        for item in value:
            items.append(item if item.__class__ is str else canonical_numbers(item))
        return items
    if kind is int or kind is float:
        return canonical_number(value)
    return value


def depth_exceeds(value: Any, limit: int) -> bool:
    """Whether containers nest deeper than ``limit`` levels; walks in a loop, so that no nesting can break it."""
    level = [value]
    for _ in range(limit + 1):
        level = [item for container in level
                 for item in (container.values() if container.__class__ is dict else container)
                 if item.__class__ is dict or item.__class__ is list] if level else level
        if not level:
            return False
    return True
