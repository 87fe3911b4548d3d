"""Text in a picture: made safe for XML, and cut to a width without asking for the reader's fonts."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from wfops_pipelines.domain.diff_text import visible
from wfops_pipelines.domain.masking import mask_text

ELLIPSIS: Final = "…"

_FORBIDDEN: Final = re.compile("[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # by XML 1.0; tabs and breaks are gone
_MAX_READ: Final = 20_000  # characters of a name that are looked at: masking reads them all
_NARROW: Final = frozenset("iljtfrI.,:;'`|!()[]{} -/\\\"")
_BROAD: Final = frozenset("mwMW@%&")
_JOINERS: Final = frozenset("\u200c\u200d\ufe0e\ufe0f")


def readable(value: Any, limit: int = 300) -> str:
    """Any value as text that may be shown: secrets masked, invisible characters as escapes, on one line, at most
    ``limit`` characters."""
    text = mask_text(str(value)[:_MAX_READ]) if value is not None else ""
    text = _FORBIDDEN.sub("\ufffd", visible(text.replace("\t", " ")))
    return text if len(text) <= limit else _tidy_end(text[:limit - 1]) + ELLIPSIS


def xml(text: str) -> str:
    """``text`` of :func:`readable` as XML character data or an attribute's value."""
    return escape(text, quote=True)


@dataclass(frozen=True, slots=True)
class Font:
    """A size in pixels, and how much wider than plain sans-serif: bold, or of one width (``mono``)."""

    size: float
    stretch: float = 1.0
    mono: bool = False

    def width(self, text: str) -> float:
        """About how wide ``text`` is on common systems; rather too much than too little."""
        return sum(map(self.advance, text))

    def advance(self, character: str) -> float:
        """The width of one character."""
        em = _em(character)
        if self.mono and em:
            em = max(0.61, em) if character > "\x7f" else 0.61
        return self.size * em * self.stretch


PLAIN: Final = Font(11)
BOLD: Final = Font(13, 1.15)
MONO: Final = Font(10.5, mono=True)


def cut(text: str, room: float, font: Font) -> str:
    """``text``, or as much of its beginning as fits into ``room`` pixels, and an ellipsis."""
    if font.width(text) <= room:
        return text
    left = room - font.width(ELLIPSIS)
    for end, character in enumerate(text):
        left -= font.advance(character)
        if left < 0:
            return _tidy_end(text[:end]) + ELLIPSIS
    return text


def cut_front(text: str, room: float, font: Font) -> str:
    """Like :func:`cut`, but the end is what stays: of a path, the last part says most."""
    if font.width(text) <= room:
        return text
    kept = cut(text[::-1], room, font)[:-1][::-1]
    while kept and (kept[0] in _JOINERS or unicodedata.combining(kept[0])):
        kept = kept[1:]
    return ELLIPSIS + kept


def _tidy_end(text: str) -> str:
    """Without a joiner that now joins nothing."""
    return text.rstrip("\u200d").rstrip()


def _em(character: str) -> float:
    if character in _NARROW:
        return 0.36
    if character in _BROAD:
        return 0.95
    if character < "\x7f":
        return 0.7 if character.isupper() else 0.6
    if character in _JOINERS or unicodedata.combining(character):
        return 0.0
    if character > "\uffff":
        return 1.35
    return 1.05 if unicodedata.east_asian_width(character) in "WF" else 0.75
