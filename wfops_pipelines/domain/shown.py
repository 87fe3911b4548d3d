"""Text of any origin as it may be shown to people outside: in a mail, a chat, a pager (§16).

What nobody sees (control characters, marks that turn the direction of text, lone surrogates) is removed, first, so that
it cannot hide a secret from the mask; then what looks like a secret is masked (§8).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from wfops_pipelines.domain.masking import mask_text

_UNSEEN: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164"
    r"\ud800-\udfff\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f]")
_NEW_LINE: Final = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_SPACES: Final = re.compile(r"\s+")
_SHORT: Final = 40  # characters


class Ours(str):
    """Text that we wrote ourselves, with nothing in it that came from outside (ids, times, commands): shown as it is."""

    __slots__ = ()


def plain_text(text: str) -> str:
    """``text`` masked and without what nobody sees; its lines stay lines, ended by ``\\n``."""
    return mask_text(_UNSEEN.sub("", _NEW_LINE.sub("\n", text)))


def one_line(text: str, limit: int | None = None) -> str:
    """``text`` masked, on one line, cut to ``limit`` characters with ``…`` as the last of them."""
    line = _short_line(text) if len(text) <= _SHORT else _line(text)
    return line if limit is None else cut(line, limit)


def cut(line: str, limit: int) -> str:
    """A line that is masked already, with ``…`` as the last of ``limit`` characters where it is longer."""
    return line if len(line) <= limit else line[:max(limit - 1, 0)].rstrip() + "…"


def _line(text: str) -> str:
    return _SPACES.sub(" ", plain_text(text)).strip()


_short_line = lru_cache(maxsize=4096)(_line)  # labels, places, words, times: the same in one message after another


def moment(at: datetime) -> str:
    """An aware time to the minute: ``2026-01-01 10:00 UTC``."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def iso(at: datetime | None) -> str | None:
    """A moment as JSON has it, or none."""
    return None if at is None else at.isoformat()
