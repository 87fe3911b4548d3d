"""Words with an order: severities, levels of escalation."""

from __future__ import annotations

from enum import StrEnum
from functools import cache


class Ranked(StrEnum):
    """Words that compare in the order of their definition, lowest first: ``max`` and ``sorted`` do as one means, and a
    plain word of the same kind (a column's) compares as its member. A word of another kind is a :class:`ValueError`."""

    @property
    def rank(self) -> int:
        """Its place, from 0: what to sort by where words cannot be compared (SQL)."""
        return _ranks(type(self))[self]

    def __lt__(self, other: str) -> bool:
        return self.rank < type(self)(other).rank

    def __le__(self, other: str) -> bool:
        return self.rank <= type(self)(other).rank

    def __gt__(self, other: str) -> bool:
        return self.rank > type(self)(other).rank

    def __ge__(self, other: str) -> bool:
        return self.rank >= type(self)(other).rank


@cache
def _ranks(words: type[Ranked]) -> dict[Ranked, int]:
    return {word: rank for rank, word in enumerate(words)}
