"""Chance without randomness: what spreads times out, the same in every process and on every machine."""

from __future__ import annotations

import hashlib


def chance_of(name: str) -> float:
    """A number in [0, 1) that is always the same for a name."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=7).digest()
    return int.from_bytes(digest, "big") / 2.0 ** 56
