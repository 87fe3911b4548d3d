"""Taking away what was allowed for a time: ignore rules and waivers are told alike."""

from __future__ import annotations

from typing import Any

from wfops_pipelines.cli import terminal
from wfops_pipelines.domain.diff_text import visible


def tell_removed(removed: dict[str, Any], what: str, now: str, *, dry_run: bool, as_json: bool) -> None:
    """Say that a ``what`` (a rule, a waiver) is gone, and what is so ``now``; or since when it had been gone already."""
    if as_json:
        terminal.write(terminal.json_text(removed))
    elif not removed["changed"]:
        terminal.write(f"nothing to change: {what} {removed['id']} was removed {terminal.ago(removed['removed_at'])}\n")
    else:
        terminal.write(visible(f"{'would be ' if dry_run else ''}removed: {now}") + "\n")
