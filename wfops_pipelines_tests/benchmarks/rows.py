"""What a benchmark answers, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table

Row = dict[str, Any]


class Skipped(Exception):
    """A benchmark cannot run here; the message says what is missing and how to get it."""


def row(name: str, value: float, unit: str, goal: str = "", *, ok: bool = True) -> Row:
    """One figure. Without a goal it is there to explain another one."""
    return {"name": name, "value": round(value, 3), "unit": unit, "goal": goal, "ok": ok}


def show(rows: Iterable[Row], title: str) -> None:
    """Print figures as a table."""
    table = Table("", "figure", "value", "unit", "goal", title=title, title_justify="left", box=None)
    table.columns[2].justify = "right"
    for found in rows:
        has_goal = found["goal"] not in ("", None)
        mark = "[red]MISSED" if not found["ok"] else "[green]ok" if has_goal else ""
        table.add_row(mark, found["name"], f"{found['value']:g}", found["unit"], str(found["goal"]) if has_goal else "")
    Console().print(table)
