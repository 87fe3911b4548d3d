"""``wfops hash``, and what ``wfops diff`` of files reads: offline, without Dagster and without the store.

They may be called by a pre-commit hook for every commit, so nothing heavy is imported here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.failures import report
from wfops_pipelines.domain.diff_text import visible
from wfops_pipelines.domain.errors import MalformedFile, UsageError, WfopsError
from wfops_pipelines.domain.layout import MAX_FILE_BYTES, WorkflowFile, read_file, select_workflow_paths
from wfops_pipelines.domain.normalize import NORMALIZER_VERSION, content_hash


def hash_files(
    paths: Annotated[list[Path], typer.Argument(metavar="FILE", help="Workflow files, or folders of them.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print [{file, name, hash, normalizer_version}].")] = False,
) -> None:
    """Content hash of workflow files.

    Two files have one hash exactly when n8n would run the same workflow: ids, canvas positions, sticky notes, pinned
    data and the order of keys make no difference. A file that is no workflow is reported, and the rest goes on.

    Exit codes: 0 done, 1 a file is no workflow or cannot be read, 2 a file is not there.

    Examples:

        wfops hash workflows/order-intake.json

        wfops hash prod/ --json | jq -r '.[].hash'
    """
    rows: list[dict[str, Any]] = []
    worst = 0
    for path in paths:
        for file in _files(path):
            try:
                workflow = read_path(file)
            except WfopsError as error:
                reason = error.reason if isinstance(error, MalformedFile) else "missing"
                rows.append({"file": str(file), "error": str(error), "reason": reason})
                worst = max(worst, error.exit_code)
                report(error)
            else:
                rows.append({"file": str(file), "name": workflow.content["name"],
                             "hash": content_hash(workflow.content), "normalizer_version": NORMALIZER_VERSION})
    terminal.write(terminal.json_text(rows) if as_json else "".join(
        f"{row['hash']}  {visible(row['name']) or '(unnamed)'}  {visible(row['file'])}\n" for row in rows if "hash" in row))
    raise typer.Exit(worst)


def read_path(path: Path) -> WorkflowFile:
    """The workflow in a file or pipe. Raises :class:`UsageError` when there is none, :class:`MalformedFile` when it is
    no workflow or cannot be read (reason ``unreadable``)."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"{visible(str(path))}: no such file") from None
    except IsADirectoryError:
        raise UsageError(f"{visible(str(path))}: a folder, not a file", fix="name one workflow file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise MalformedFile(f"cannot be read: {why}", path=visible(str(path)), reason="unreadable") from None
    return read_file(visible(str(path)), data)


def _files(path: Path) -> Iterator[Path]:
    """The file itself, or the workflow files of a folder as the layouts of §7 read it; links are not followed."""
    if not path.is_dir():
        yield path
        return
    found = {file.relative_to(path).as_posix(): file for file in _below(path)}
    selected = select_workflow_paths(found, "")
    if not selected:
        typer.echo(f"{visible(str(path))}: no workflow files in this folder", err=True)
    for name in selected:
        yield found[name]


def _below(folder: Path) -> Iterator[Path]:
    for directory, subdirectories, names in os.walk(folder):
        subdirectories[:] = [name for name in subdirectories if not name.startswith(".") and name != "node_modules"]
        for name in names:
            file = Path(directory, name)
            if file.is_file() and not file.is_symlink():
                yield file
