"""Asking before something is written that nobody takes back lightly."""

from __future__ import annotations

import sys

from wfops_pipelines.cli import terminal
from wfops_pipelines.domain.errors import Cancelled, UsageError


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless ``yes``. :class:`UsageError` where nobody can be asked, :class:`Cancelled` for any answer but ``y``."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("this has to be confirmed, and nobody can be asked",
                         fix="--yes answers yes; --dry-run shows what would change")
    try:
        confirmed = terminal.ask(f"{question} [y/N]", expected="y")
    except KeyboardInterrupt:
        terminal.note("")
        confirmed = False
    if not confirmed:
        raise Cancelled("not confirmed: nothing was changed")
