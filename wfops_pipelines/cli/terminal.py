"""What goes to the terminal: results to the standard output, everything else to the error stream.

The output stays clean for pipes: colours and progress are for people alone (``NO_COLOR``, ``TERM`` and whether it is a
terminal are looked at here and nowhere else). Nothing heavy is imported.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from wfops_pipelines.domain.diff_text import visible

DEBUG: Final = "WFOPS_DEBUG"  # read here and not in the settings: it must work when those cannot be read

_NO_COLUMN: Final[Mapping[str, int]] = {}
_UNSEEN: Final = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_STYLES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_STYLE_OF_WORD: Final = {
    "IN_SYNC": "green", "DRIFT_DETECTED": "red", "DRIFT_INCIDENT_ACTIVE": "red", "DRIFT_INCIDENT_ACKNOWLEDGED": "yellow",
    "ERROR": "red", "UNTRACKED": "yellow", "UNKNOWN": "dim",
    "linked": "green", "untracked": "yellow", "missing": "red", "ignored": "dim", "git_only": "yellow",
    "modified": "yellow", "added_in_runtime": "green", "missing_in_runtime": "red", "activation": "yellow",
    "unpublished_changes": "dim",
    "added": "green", "removed": "red", "create": "green", "update": "yellow", "delete": "red", "unmanaged": "dim",
    "completed": "green", "running": "cyan", "queued": "cyan", "failed": "red", "cancelled": "yellow",
    "compensated": "yellow", "ok": "green", "broken": "red", "FAIL": "red",
    "sent": "green", "dead": "red", "dropped": "dim", "firing": "red", "fired": "red", "cleared": "green",
    "detected": "red", "expired": "red", "acknowledged": "yellow", "stabilized": "yellow", "reconciled": "green",
    "closed": "green", "critical": "red", "high": "red", "medium": "yellow", "low": "dim", "escalated": "yellow",
    "critical_overdue": "red", "overdue": "red", "pending": "yellow", "approved": "green", "rejected": "red",
    "executed": "green", "active": "green",
    "done": "green", "undone": "yellow",
}


def debugging() -> bool:
    """Whether tracebacks, warnings and library logs are wanted."""
    return os.environ.get(DEBUG, "") not in {"", "0"}


def colours(stream: TextIO | None = None) -> bool:
    """Colours for people alone (https://no-color.org)."""
    stream = stream or sys.stdout
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def write(text: str) -> None:
    """Print a result. Characters that the terminal's encoding lacks become escapes; a reader who left early, such as
    ``head``, is no error."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def note(text: str) -> None:
    """A line for people, beside the result."""
    encoding = sys.stderr.encoding or "utf-8"
    try:
        sys.stderr.write((text + "\n").encode(encoding, "backslashreplace").decode(encoding))
        sys.stderr.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def json_text(value: Any) -> str:
    """JSON that survives any encoding of the terminal, and turns no text around on it."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(value, ensure_ascii=not unicode, indent=2, default=str)
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"


def paint(text: str, style: str | None, *, stream: TextIO | None = None) -> str:
    """The text in a style, where colours are wanted."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if style and text and colours(stream) else text


def word(text: str) -> str:
    """A status or kind in the colour that it always has."""
    return paint(text, _STYLE_OF_WORD.get(text))


def table(header: Sequence[str], rows: Sequence[Sequence[object]], *, wrap: Mapping[str, int] = _NO_COLUMN) -> str:
    """Aligned columns, as wide as their contents: pipes and narrow terminals cut nothing off. Columns named in ``wrap`` take
    so many places and more lines. Known status words are coloured, other text is made visible."""
    from rich.cells import cell_len  # wide characters take two places

    lines = [line for row in rows for line in _wrapped([visible(str(cell)) for cell in row],
                                                       [wrap.get(title) for title in header])]
    widths = [max([cell_len(title), *(cell_len(row[column]) for row in lines)]) for column, title in enumerate(header)]

    def line(cells: Sequence[str], style: str | None) -> str:
        padded = [(paint(cell, style) if style else word(cell)) + " " * (width - cell_len(cell))
                  for cell, width in zip(cells, widths, strict=True)]
        return "  ".join(padded).rstrip() + "\n"

    return line(header, "bold") + "".join(line(row, None) for row in lines)


def _wrapped(cells: Sequence[str], widths: Sequence[int | None]) -> Iterator[list[str]]:
    """A row as lines of the table: as many as its longest wrapped cell needs."""
    columns = [[cell] if width is None else wrapped(cell, width) for cell, width in zip(cells, widths, strict=True)]
    for line in range(max(map(len, columns))):
        yield [column[line] if line < len(column) else "" for column in columns]


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most ``width`` places, between words where it can be; one line at least."""
    from rich.cells import cell_len, chop_cells

    lines = [""]
    for each in text.split(" "):
        if cell_len(lines[-1]) + cell_len(each) < width or (not lines[-1] and cell_len(each) <= width):
            lines[-1] += f" {each}" if lines[-1] else each
        else:
            pieces = chop_cells(each, width) or [""]
            lines[-1:] = [*filter(None, [lines[-1]]), *pieces]
    return lines


def ago(moment: datetime | str | None) -> str:
    """How long ago, roughly: ``4 min ago``; ``never`` for none."""
    if moment is None:
        return "never"
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    seconds = max(0, int((datetime.now(UTC) - moment).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def plural(number: int, noun: str) -> str:
    """``1 workflow``, ``2 workflows``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@contextmanager
def progress(text: str) -> Iterator[None]:
    """What goes on, with a spinner on the error stream, where a person is looking."""
    if not colours(sys.stderr):
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(visible(text).replace("[", "\\[")):
        yield


def ask(question: str, *, expected: str) -> bool:
    """Ask on the error stream; true when the answer is ``expected``. The end of the input is a no."""
    sys.stderr.write(f"{question} ")
    sys.stderr.flush()
    try:
        return input().strip() == expected
    except EOFError:
        sys.stderr.write("\n")
        return False
