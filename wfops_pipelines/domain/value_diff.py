"""Where two JSON values differ, place by place."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

from wfops_pipelines.domain.canonical_json import encode
from wfops_pipelines.domain.masking import hides


class _Absent:
    """Stands where there is no value: JSON's null is one."""

    def __repr__(self) -> str:
        return "ABSENT"

    def __bool__(self) -> bool:
        return False


ABSENT: Final = _Absent()


@dataclass(frozen=True, slots=True)
class Leaf:
    """One place where two JSON values differ: ``ABSENT`` on the side that has nothing there. ``secret`` when the keys
    on the way say that the value is one."""

    path: str
    before: Any = field(repr=False)
    after: Any = field(repr=False)
    secret: bool


_Place = tuple[Any, Any, str, bool]


def compare_values(before: Any, after: Any) -> list[Leaf]:
    """Where two JSON values with canonical numbers differ, each place once, as deep as both sides have something.

    Walks in a loop: no nesting can break it.
    """
    leaves: list[Leaf] = []
    waiting: list[_Place] = [(before, after, "", False)]
    while waiting:
        one, other, path, secret = waiting.pop()
        if one.__class__ is dict and other.__class__ is dict:
            waiting.extend(reversed(_fields(one, other, path, secret)))
        elif one.__class__ is list and other.__class__ is list:
            waiting.extend(reversed(_items(one, other, path, secret)))
        elif one.__class__ is not other.__class__ or one != other:
            leaves.append(Leaf(path, one, other, secret))
    return leaves


def _fields(before: dict[str, Any], after: dict[str, Any], path: str, secret: bool) -> list[_Place]:
    return [(before.get(key, ABSENT), after.get(key, ABSENT), _below(path, key),
             hides(before, key, secret=secret) or hides(after, key, secret=secret))
            for key in sorted({*before, *after})]


def _items(before: list[Any], after: list[Any], path: str, secret: bool) -> list[_Place]:
    """Lists of one length item by item; else without what both start and end with, so that one item put in or taken
    out is one change."""
    start, end_before, end_after = 0, len(before), len(after)
    if end_before != end_after:
        shorter = min(end_before, end_after)
        while start < shorter and same_value(before[start], after[start]):
            start += 1
        while min(end_before, end_after) > start and same_value(before[end_before - 1], after[end_after - 1]):
            end_before, end_after = end_before - 1, end_after - 1
    both = min(end_before, end_after)
    return [
        *((before[index], after[index], f"{path}[{index}]", secret) for index in range(start, both)),
        *((before[index], ABSENT, f"{path}[{index}]", secret) for index in range(both, end_before)),
        *((ABSENT, after[index], f"{path}[{index}]", secret) for index in range(both, end_after)),
    ]


def same_value(one: Any, other: Any) -> bool:
    """Equality of JSON values with canonical numbers; unlike Python's, ``True`` is not 1."""
    if one.__class__ is not other.__class__ or one != other:
        return False
    return encode(one) == encode(other) if one.__class__ is dict or one.__class__ is list else True


_PLAIN_KEY: Final = re.compile(r"[A-Za-z_$][\w$-]*")


def _below(path: str, key: str) -> str:
    if not _PLAIN_KEY.fullmatch(key):
        return f"{path}[{json.dumps(key, ensure_ascii=False)}]"
    return f"{path}.{key}" if path else key
