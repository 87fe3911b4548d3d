"""Places inside a workflow as the semantic diff writes them, and patterns of such places.

A place is a sequence of steps: ``parameters.assignments[2].value``, ``parameters["odd key"]``. A pattern reads the
same, with

* ``*`` in a key for any characters of it, alone for any one step (``parameters.*.url``);
* ``[*]`` for any index of a list;
* ``**`` for any number of steps, none too (``parameters.**.timeout``).

A key in quotes is taken as it is. A pattern covers the places that it matches **and everything below them**.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

Place = tuple[str | int, ...]
_PlaceStep = str | int


@dataclass(frozen=True, slots=True)
class Glob:
    """A text where ``*`` stands for any characters, none too; everything else for itself. Matches in time in proportion to
    both texts multiplied, whatever they are (a regular expression would not)."""

    text: str

    def matches(self, text: str) -> bool:
        """Whether all of ``text`` is what the pattern says."""
        first, *middle = self.text.split("*")
        if not middle:
            return text == first
        last = middle.pop()
        if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
            return False
        at, end = len(first), len(text) - len(last)
        for part in middle:
            found = text.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True


class _Wild(Enum):
    STEPS = "**"  # any number of steps
    STEP = "*"  # any one
    INDEX = "[*]"  # any index of a list


_PatternStep = int | Glob | str | _Wild

_STEP: Final = re.compile(r"""(?P<dot>\.?)(?P<key>[\w$-]+)|\[(?P<index>\d+)\]|\[(?P<quoted>"(?:[^"\\]|\\.)*")\]""")
_PATTERN_STEP: Final = re.compile(
    r"""(?P<dot>\.?)(?P<key>[\w$*-]+)|\[(?P<index>\d+|\*)\]|\[(?P<quoted>"(?:[^"\\]|\\.)*")\]""")


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A pattern of places; made by :meth:`parse`."""

    steps: tuple[_PatternStep, ...]

    @classmethod
    def parse(cls, text: str) -> PathPattern:
        """Read a pattern; :class:`ValueError` says what is wrong with it."""
        steps = tuple(_pattern_step(found) for found in _tokens(text, _PATTERN_STEP))
        if not steps:
            raise ValueError("must be a path such as parameters.url or parameters.assignments[*].value")
        return cls(steps)

    def covers(self, place: Place) -> bool:
        """Whether it matches the place, or one above it. Takes time in proportion to both lengths multiplied."""
        here = self._open({0})
        for step in place:
            if len(self.steps) in here:
                return True
            here = self._open({at if self.steps[at] is _Wild.STEPS else at + 1
                               for at in here if _matches(self.steps[at], step)})
        return len(self.steps) in here

    def covers_all(self, place: Place, value: Any) -> bool:
        """Whether it covers everything that a JSON value at ``place`` holds: the place itself, or each of its leaves."""
        return self.covers(place) or (_holds(value) and all(map(self.covers, leaves(place, value))))

    def _open(self, here: set[int]) -> set[int]:
        """The positions, and those behind every ``**`` that matches nothing."""
        for at, step in enumerate(self.steps):
            if at in here and step is _Wild.STEPS:
                here.add(at + 1)
        return here


def parse_place(text: str) -> Place | None:
    """The steps of a path that a diff wrote; none for a text that is none (what it names was masked, say)."""
    try:
        return tuple(_place_step(found) for found in _tokens(text, _STEP))
    except ValueError:
        return None


def leaves(place: Place, value: Any) -> Iterator[Place]:
    """The places of everything in a JSON value that holds nothing more; an empty list or object is one. In a loop: no
    nesting can break it."""
    waiting: list[tuple[Place, Any]] = [(place, value)]
    while waiting:
        at, here = waiting.pop()
        if not _holds(here):
            yield at
        elif isinstance(here, dict):
            waiting.extend(((*at, key), item) for key, item in here.items())
        else:
            waiting.extend(((*at, index), item) for index, item in enumerate(here))


def _holds(value: Any) -> bool:
    return isinstance(value, dict | list) and bool(value)


def _tokens(text: str, grammar: re.Pattern[str]) -> Iterator[re.Match[str]]:
    at = 0
    while at < len(text):
        found = grammar.match(text, at)
        # Keys are divided by dots; the first one stands without.
        if found is None or (found["key"] is not None and bool(found["dot"]) is (at == 0)):
            raise ValueError(f"is no path from character {at + 1} on (such as parameters.assignments[*].value)")
        yield found
        at = found.end()


def _unquoted(quoted: str, at: int) -> str:
    try:
        return str(json.loads(quoted, strict=False))
    except ValueError:
        raise ValueError(f"has a key from character {at + 1} on that is no JSON text") from None


def _place_step(found: re.Match[str]) -> _PlaceStep:
    if found["key"] is not None:
        return found["key"]
    return int(found["index"]) if found["index"] is not None else _unquoted(found["quoted"], found.start())


def _pattern_step(found: re.Match[str]) -> _PatternStep:
    if found["index"] is not None:
        return _Wild.INDEX if found["index"] == "*" else int(found["index"])
    if found["key"] is None:
        return _unquoted(found["quoted"], found.start())
    match found["key"]:
        case "**":
            return _Wild.STEPS
        case "*":
            return _Wild.STEP
        case key:
            return Glob(key)


def _matches(pattern: _PatternStep, step: _PlaceStep) -> bool:
    match pattern:
        case _Wild.STEPS | _Wild.STEP:
            return True
        case _Wild.INDEX:
            return isinstance(step, int)
        case Glob():
            return isinstance(step, str) and pattern.matches(step)
        case _:
            return step == pattern
