"""Line diffs of longer texts with secrets masked, and the shortening of values around what differs."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Final

from wfops_pipelines.domain.masking import mask_text

_CONTEXT: Final = 2
_LINE_WIDTH: Final = 160
_MAX_SHOWN: Final = 80  # lines of one text's diff
_MAX_COMPARED: Final = 3000  # lines; the matcher takes quadratic time


def diff_lines(before: str, after: str) -> Iterator[tuple[str, str]]:
    """A unified diff as (sign, line): ``@`` for the place of a hunk, ``-``, ``+``, or a space for context.

    Lines are compared as they are and shown masked, so that a change within a secret still shows as a changed line.
    """
    old, new = before.split("\n"), after.split("\n")
    shown_old, shown_new = _masked_lines(before, len(old)), _masked_lines(after, len(new))
    if max(len(old), len(new)) > _MAX_COMPARED:
        yield "@", f"{len(old)} lines became {len(new)}; too long to be compared line by line"
        return
    shown = 0
    for hunk in SequenceMatcher(None, old, new, autojunk=len(old) > 500).get_grouped_opcodes(_CONTEXT):
        yield "@", f"-{_range(hunk[0][1], hunk[-1][2])} +{_range(hunk[0][3], hunk[-1][4])}"
        for line in _hunk(hunk, shown_old, shown_new):
            if shown == _MAX_SHOWN:
                yield "@", "more lines are not shown"
                return
            shown += 1
            yield line


def shorten(text: str, width: int) -> str:
    """At most ``width`` characters of ``text``, with an ellipsis for the rest."""
    return text if len(text) <= width else text[:width - 1] + "…"


def shorten_pair(before: str, after: str, width: int) -> tuple[str, str]:
    """Both texts in at most ``width`` characters each, around the first place where they differ."""
    if len(before) <= width and len(after) <= width:
        return before, after
    shorter = min(len(before), len(after))
    same = next((index for index in range(shorter) if before[index] != after[index]), shorter)
    start = max(0, same - width // 3)
    if start == 0:
        return shorten(before, width), shorten(after, width)
    return "…" + shorten(before[start:], width - 1), "…" + shorten(after[start:], width - 1)


def _hunk(hunk: list[tuple[str, int, int, int, int]], old: list[str], new: list[str]) -> Iterator[tuple[str, str]]:
    for tag, start_old, end_old, start_new, end_new in hunk:
        removed, added = old[start_old:end_old], new[start_new:end_new]
        if tag == "equal":
            for line in removed:
                yield " ", shorten(line, _LINE_WIDTH)
            continue
        if len(removed) == len(added):
            pairs = [shorten_pair(was, is_now, _LINE_WIDTH) for was, is_now in zip(removed, added, strict=True)]
            removed, added = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        for line in removed:
            yield "-", shorten(line, _LINE_WIDTH)
        for line in added:
            yield "+", shorten(line, _LINE_WIDTH)


def _masked_lines(text: str, count: int) -> list[str]:
    lines = mask_text(text).split("\n")
    return lines if len(lines) == count else [mask_text(line) for line in text.split("\n")]


def _range(start: int, end: int) -> str:
    """As ``diff -u`` counts: from 1, the length left out where it is 1."""
    length = end - start
    return str(start + 1) if length == 1 else f"{start + 1 if length else start},{length}"
