"""Addresses and values inside texts, and the placeholders for them (§11.4).

- ``{{wfops.base_url}}`` stands for the instance's base URL. It is matched where a URL may begin, and up to where its
  host or path ends: ``https://n8n.example.com`` is not in ``https://n8n.example.com.evil.net`` or ``…com:8443``;
- ``{{env.NAME}}`` stands for a variable's value. A value is never looked for in general: ``10`` or ``eu`` may mean
  anything. It is lifted where the promoted version is known to have had it, by that version's text.

A ``$`` before the braces makes it something else (``${{env.X}}`` is GitHub's).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Final

from wfops_pipelines.domain.transform_tables import EnvironmentTables

BASE_URL: Final = "{{wfops.base_url}}"

_PLACEHOLDER: Final = re.compile(r"(?<!\$)\{\{(?P<term>(?:env|wfops)\.[^{}\s]+)\}\}")
_BEFORE_URL: Final = r"(?<![A-Za-z0-9+._$-])"
_AFTER_URL: Final = r"""(?=\Z|[/?#&\s"'`<>(){}\[\],;|\\^]|\.(?:\s|\Z))"""
_BEFORE_VALUE: Final = r"(?<![\w.$-])"
_AFTER_VALUE: Final = r"(?![\w-]|\.\w)"
_LONG_VALUE: Final = 5


class TextKind(StrEnum):
    """What a piece of a text is."""

    BASE_URL = "base_url"
    VARIABLE = "variable"


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece that was replaced: ``value`` in an environment, ``placeholder`` in portable form; the variable's name."""

    kind: TextKind
    value: str = field(repr=False)
    placeholder: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class LiftedText:
    """A text in portable form. ``lost`` are variables that the promoted version had here and this text has not."""

    text: str
    pieces: tuple[Piece, ...] = ()
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoweredText:
    """A text as the environment has it; ``missing`` are placeholders that it has nothing for, left as they are."""

    text: str
    pieces: tuple[Piece, ...] = ()
    missing: tuple[str, ...] = ()


def lift_text(text: str, tables: EnvironmentTables, promoted: Sequence[str] = ()) -> LiftedText:
    """``text`` with placeholders; ``promoted`` are the texts that the promoted version has at this place.

    One of them that means just this text here is what it is lifted to, so that lift undoes lower. Of a text that was
    edited since, the values of the variables that these texts name are replaced, at the boundaries of words or URLs.
    """
    for portable in promoted:
        if portable == text:
            return LiftedText(text)
        lowered = lower_text(portable, tables)
        if lowered.text == text and not lowered.missing:
            return LiftedText(portable, lowered.pieces)
    pieces: list[Piece] = []
    lost: list[str] = []
    if names := sorted({name for portable in promoted for name in variables_in(portable)}):
        text = _with_variables(text, names, tables, pieces, lost)
    if tables.address and tables.address in text:
        def replaced(found: re.Match[str]) -> str:
            pieces.append(Piece(TextKind.BASE_URL, found[0], BASE_URL))
            return BASE_URL
        text = _url(tables.address).sub(replaced, text)
    return LiftedText(text, tuple(pieces), tuple(lost))


def lower_text(text: str, tables: EnvironmentTables) -> LoweredText:
    """``text`` with what its placeholders mean in the environment. Each is looked at once: values hold none."""
    if "{{" not in text:
        return LoweredText(text)
    pieces: list[Piece] = []
    missing: list[str] = []

    def meant(found: re.Match[str]) -> str:
        name = found["term"].removeprefix("env.")
        value: str | None
        if found[0] == BASE_URL:
            value, piece = tables.address or None, TextKind.BASE_URL
        else:
            value, piece = tables.variables.get(name) if name != found["term"] else None, TextKind.VARIABLE
        if not value:
            missing.append(found[0])
            return found[0]
        pieces.append(Piece(piece, value, found[0], name if piece is TextKind.VARIABLE else None))
        return value

    lowered = _PLACEHOLDER.sub(meant, text)
    return LoweredText(lowered, tuple(pieces), tuple(missing))


def values_in(text: str, values: Mapping[str, str]) -> list[str]:
    """The names of the variables whose values stand in a text as they are: at the boundaries of words or URLs, the longest
    where one stands in another; one of fewer than five characters, which may mean anything, only as the whole text."""
    if not any(value in text for value in values.values()):
        return []
    whole = text.removeprefix("=").strip()
    names: dict[str, str] = {}
    for name, value in values.items():
        names.setdefault(value, name)
    if whole in names:
        return [names[whole]]
    long = sorted((value for value in names if len(value) >= _LONG_VALUE), key=lambda value: (-len(value), value))
    if not long:
        return []
    return list(dict.fromkeys(names[found[0]] for found in re.finditer("|".join(map(_value, long)), text)))


def variables_in(text: str) -> Iterator[str]:
    """The names in ``{{env.NAME}}`` of a text."""
    for found in _PLACEHOLDER.finditer(text):
        if found["term"].startswith("env."):
            yield found["term"].removeprefix("env.")


def names_address(text: str, tables: EnvironmentTables) -> bool:
    """Whether a text names the instance; a lifted one still may: without the scheme, with escaped slashes, …"""
    bare = tables.address.partition("://")[2]
    return bool(bare) and bare in text and _bare(bare).search(text) is not None


def _with_variables(text: str, names: Sequence[str], tables: EnvironmentTables, pieces: list[Piece], lost: list[str]) -> str:
    """Values become placeholders, the longest first; a value that two of the names have is neither's."""
    by_value: dict[str, list[str]] = {}
    for name in names:
        if value := tables.variables.get(name):
            by_value.setdefault(value, []).append(name)
    found_names: set[str] = {name for name in names if f"{{{{env.{name}}}}}" in text}

    def replaced(found: re.Match[str]) -> str:
        name = single[found[0]]
        found_names.add(name)
        pieces.append(Piece(TextKind.VARIABLE, found[0], f"{{{{env.{name}}}}}", name))
        return pieces[-1].placeholder

    single = {value: names[0] for value, names in by_value.items() if len(names) == 1}
    if single:
        text = re.compile("|".join(map(_value, sorted(single, key=len, reverse=True)))).sub(replaced, text)
    lost.extend(name for name in names if name not in found_names)
    return text


def _value(value: str) -> str:
    before, after = (_BEFORE_URL, _AFTER_URL) if "://" in value else (_BEFORE_VALUE, _AFTER_VALUE)
    return f"{before}{re.escape(value)}{after}"


@lru_cache(maxsize=256)
def _url(address: str) -> re.Pattern[str]:
    return re.compile(f"{_BEFORE_URL}{re.escape(address)}{_AFTER_URL}")


@lru_cache(maxsize=256)
def _bare(address: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.@-]){re.escape(address)}(?![\w-]|\.\w)")
