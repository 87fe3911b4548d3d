"""Which random choices a run of the tests makes: the same each time, or with ``WFOPS_FRESH_SEED=1`` others each time.

A failure under a fresh seed prints it: ``WFOPS_SEED=that`` makes the same choices again.
"""

from __future__ import annotations

import functools
import os
import random

FIXED = 20261121


@functools.cache
def seed() -> int:
    """The seed of this process, told on its output where it is not the usual one."""
    chosen = os.environ.get("WFOPS_SEED")
    if chosen:
        return int(chosen)
    return random.SystemRandom().randrange(2**32) if os.environ.get("WFOPS_FRESH_SEED") else FIXED


def choices(name: str) -> random.Random:
    """Choices for one test, told in its output."""
    print(f"choices of {name}: WFOPS_SEED={seed()}", flush=True)
    return random.Random(f"{seed()} {name}")
