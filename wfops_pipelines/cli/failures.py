"""From errors to exit codes (§22): one line that names the thing, one with the way out, and never a traceback.

===  =========================================    ===  ====================================
0    done                                         5    n8n, Git or the database unreachable
1    failed                                       6    denied: credentials, rights
2    usage: what was asked for cannot be          7    cancelled
3    drift or a difference was found              8    timed out
4    blocked by a gate, a policy or a lock
===  =========================================    ===  ====================================
"""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Iterable
from typing import Any

import typer
from typer.core import TyperGroup

from wfops_pipelines.cli import terminal
from wfops_pipelines.domain.diff_text import visible
from wfops_pipelines.domain.errors import Cancelled, InvalidDocument, WfopsError

FAILED, DIFFERENT, BLOCKED = 1, 3, 4
JSON = "wfops.json"  # in the context's meta: the command was told to speak JSON


class Commands(TyperGroup):
    """The root of all commands: where errors end."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; its errors become lines and an exit code."""
        try:
            return super().invoke(ctx)
        except WfopsError as error:
            report(error, as_json=bool(ctx.meta.get(JSON)))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # on the way out
            cancelled = Cancelled("interrupted")
            report(cancelled, as_json=bool(ctx.meta.get(JSON)))
            raise typer.Exit(cancelled.exit_code) from None
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if hasattr(error, "format_message"):  # typer's own, about options and arguments
                raise
            report(named(error), as_json=bool(ctx.meta.get(JSON)))
            raise typer.Exit(FAILED) from None


def report(error: WfopsError, *, as_json: bool = False) -> None:
    """``error: …`` and ``fix: …`` on the error stream, or both as JSON."""
    if terminal.debugging() and sys.exc_info()[0] is not None:
        terminal.note(traceback.format_exc().rstrip())  # of the error that is being handled
    if as_json:
        terminal.note(terminal.json_text({"error": error_json(error)}).rstrip())
        return
    for line in error.message.splitlines() or [type(error).__name__]:
        terminal.note(f"{_label('error', 'red')} {visible(line)}")
    if error.fix:
        terminal.note(f"{_label('fix', 'green')} {visible(error.fix)}")


def error_json(error: WfopsError) -> dict[str, Any]:
    """An error as ``--json`` shows it: ``{kind, message, fix}``, and the problems of a document."""
    shown: dict[str, Any] = {"kind": error.kind, "message": error.message, "fix": error.fix}
    if isinstance(error, InvalidDocument):
        shown["problems"] = [
            {"file": error.file, "line": p.line, "field": p.field, "message": p.message} for p in error.problems]
    return shown


def exit_code_of(errors: Iterable[WfopsError]) -> int:
    """The exit code of several environments: 0 without errors, the code they share, else 1."""
    codes = {error.exit_code for error in errors}
    if not codes:
        return 0
    return codes.pop() if len(codes) == 1 else FAILED


def named(error: Exception) -> WfopsError:
    """An error that nobody expected, as one of ours: a file that the system refuses is named, anything else by its type."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return WfopsError(f"{error.filename}: {error.strerror}",
                          fix="is WFOPS_HOME right and writable for this user, and is there room on the disk?")
    text = next(iter(str(error).strip().splitlines()), "")
    return WfopsError(f"unexpected {type(error).__name__}{': ' + text if text else ''}",
                      fix=f"{terminal.DEBUG}=1 shows where; please report it")


def _label(text: str, style: str) -> str:
    return terminal.paint(f"{text}:", style, stream=sys.stderr)
