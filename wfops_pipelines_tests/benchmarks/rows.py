"""What a benchmark answers."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]


class Skipped(Exception):  # noqa: N818 - what happened to the benchmark
    """A benchmark cannot run here; the message says what is missing and how to get it."""


def row(name: str, value: float, unit: str, goal: str = "", *, ok: bool = True) -> Row:
    """One figure. Without a goal it is there to explain another one."""
    return {"name": name, "value": round(value, 3), "unit": unit, "goal": goal, "ok": ok}
