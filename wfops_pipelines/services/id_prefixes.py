"""Ids as people write them: whole, or their beginning."""

from __future__ import annotations

import re
from typing import Final
from uuid import UUID

from wfops_pipelines.domain.errors import UsageError

SHORTEST: Final = 8
"""Hexadecimal digits of an id that are enough to look it up."""

_HEX: Final = re.compile(rf"[0-9a-f]{{{SHORTEST},32}}")


def ids_that_begin(name: str, *, what: str, ways: str) -> tuple[UUID, UUID]:
    """The first and the last id that ``name`` may stand for; they are equal for a whole id. With or without hyphens, braces
    and capitals.

    :class:`UsageError` when it can be the beginning of none: it names no ``what`` then, and ``ways`` tells how to write one.
    """
    digits = name.strip().lower().removeprefix("{").removesuffix("}").replace("-", "")
    if not _HEX.fullmatch(digits):
        raise UsageError(f"{name!r} names no {what}", fix=f"write {ways}")
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
