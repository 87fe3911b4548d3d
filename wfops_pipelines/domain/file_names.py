"""Names for workflow files: readable, and the same file on every system (§7).

A name is given once, when a workflow is first written: later the file keeps its path, also when the workflow is
renamed. That is the caller's part (it knows the path); here only new names are made.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from typing import Final

_MAX_STEM: Final = 80  # with a suffix and .json far below the 255 bytes of every file system, and of Windows' paths
_RESERVED: Final = frozenset({  # by Windows, and stems a reader of the folder would pass over
    "con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10)),
    "variable-stubs", "tags", "folders", "workflow-owners", "manifest", "package", "workflow-metadata",
})
_NOT_DECOMPOSED: Final = str.maketrans({
    "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "þ": "th", "ß": "ss", "æ": "ae", "Æ": "AE",
    "œ": "oe", "Œ": "OE", "ı": "i",
})


def file_name(name: str, key: str, taken: Collection[str]) -> str:
    """A new file name, ``order-intake.json``, for a workflow called ``name`` whose canonical id is ``key``.

    Lower-case ASCII letters, digits and hyphens only, so that it means the same on every file system; a name of which
    nothing is left (another script, emoji) becomes ``workflow-1a2b3c4d.json``. ``taken`` are the names (or paths)
    already in the folder, compared without case; a name that is taken, or means something to Windows or n8n, gets the
    start of ``key`` as a suffix. No separator, no leading dot: it cannot leave the folder.
    """
    used = {entry.rpartition("/")[2].casefold() for entry in taken}
    stem = _slug(name)
    short = re.sub(r"[^a-z0-9]", "", key.lower())
    candidates = [stem] if stem and stem not in _RESERVED else []
    stem = stem or "workflow"
    candidates += [f"{stem}-{short[:length]}" for length in (8, 12, 32) if short]
    for candidate in candidates:
        if f"{candidate}.json" not in used:
            return f"{candidate}.json"
    number = 2
    while f"{stem}-{number}.json" in used:
        number += 1
    return f"{stem}-{number}.json"


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name[:1000].translate(_NOT_DECOMPOSED)).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", re.sub(r"['`]", "", plain.lower())).strip("-")
    if len(slug) <= _MAX_STEM:
        return slug
    cut = slug[:_MAX_STEM + 1]
    return cut.rpartition("-")[0] if "-" in cut[_MAX_STEM // 2:] else cut[:_MAX_STEM]
