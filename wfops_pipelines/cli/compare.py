"""``wfops diff``: of two files, or of one workflow in two environments (§8)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from wfops_pipelines.cli import files, terminal
from wfops_pipelines.cli.failures import DIFFERENT
from wfops_pipelines.cli.options import Json
from wfops_pipelines.cli.session import open_session
from wfops_pipelines.domain.diff import WorkflowDiff
from wfops_pipelines.domain.diff import as_json as diff_json
from wfops_pipelines.domain.diff import diff as compare_contents
from wfops_pipelines.domain.diff_text import render_text, visible
from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.domain.workflow import Content


def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="A workflow file, or with --workflow TENANT/ENV.")],
    after: Annotated[str, typer.Argument(metavar="B", help="A workflow file, or with --workflow TENANT/ENV.")],
    workflow: Annotated[str | None, typer.Option("--workflow", "-w", metavar="NAME|ID",
                                                 help="Compare this workflow in two environments.")] = None,
    as_json: Json = False,
    svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Also draw the node graph, coloured, as SVG into"
                                             " this file (- prints the picture alone).")] = None,
) -> None:
    """Semantic diff of two workflow files, or of a workflow in two environments: nodes, parameters, connections,
    settings, credentials.

    What means nothing when the workflow runs (moves, sticky notes, ids) is counted, not listed. Values that look like
    secrets are masked. TENANT/ENV is what runs there and TENANT/ENV@git what Git says, both as last synced; the
    workflow is named by its name, n8n id or canonical id. The picture of --svg holds names and paths, never values.

    Exit codes: 0 equal, 1 a file is no workflow or cannot be read, 2 a file, environment or workflow is not there,
    3 different.

    Examples:

        wfops diff dev/order-intake.json prod/order-intake.json

        wfops diff <(git show HEAD~1:order-intake.json) order-intake.json

        wfops diff acme/staging acme/prod --workflow "Order intake"

        wfops diff acme/prod@git acme/prod --workflow "Order intake" --json

        wfops diff acme/prod@git acme/prod --workflow "Order intake" --svg drift.svg
    """
    if svg is not None and as_json and str(svg) == "-":
        raise UsageError("--json and --svg - both print to the standard output", fix="write the picture to a file")
    if workflow is None:
        old, new = _read_files(before, after)
        found_in_files = compare_contents(old, new)
        picture = None if svg is None else _Picture(svg, old, new, (before, after))
        _show(found_in_files, {}, (before, after), as_json=as_json, picture=picture)
    with open_session() as session:
        from wfops_pipelines.services.compare import Side, compare_workflow

        sides = Side.parse(before), Side.parse(after)
        found = compare_workflow(session.services, *sides, workflow, actor=session.actor)
    places = {"name": found.name, "canonical_id": found.canonical_id,
              "before": {"place": before, "as_of": found.as_of[0]}, "after": {"place": after, "as_of": found.as_of[1]}}
    _show(found.diff, places, (f"{before} (read {terminal.ago(found.as_of[0])})",
                               f"{after} (read {terminal.ago(found.as_of[1])})"), as_json=as_json,
          picture=None if svg is None else _Picture(svg, *found.contents, (before, after)))


@dataclass(frozen=True, slots=True)
class _Picture:
    file: Path
    before: Content | None
    after: Content | None
    labels: tuple[str, str]

    def draw(self, found: WorkflowDiff) -> None:
        from wfops_pipelines.domain.diff_picture import diff_picture

        svg = diff_picture(self.before, self.after, found, labels=self.labels)
        if str(self.file) == "-":
            terminal.write(svg)
            return
        try:
            self.file.write_text(svg, encoding="utf-8", newline="\n")
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise UsageError(f"{visible(str(self.file))}: cannot be written: {why}", fix="name a file that can") from None
        terminal.note(f"picture: {visible(str(self.file))}")


def _read_files(before: str, after: str) -> tuple[Content, Content]:
    try:
        return files.read_path(Path(before)).content, files.read_path(Path(after)).content
    except UsageError as error:
        raise UsageError(error.message, fix=error.fix or "to compare environments, add --workflow NAME") from None


def _show(found: WorkflowDiff, more: dict[str, Any], labels: tuple[str, str], *, as_json: bool,
          picture: _Picture | None) -> NoReturn:
    if picture is not None:
        picture.draw(found)
    if picture is not None and str(picture.file) == "-":
        pass
    elif as_json:
        terminal.write(terminal.json_text({**diff_json(found), **more}))
    else:
        terminal.write(render_text(found, before_label=labels[0], after_label=labels[1], colour=terminal.colours()))
    raise typer.Exit(0 if found.equal else DIFFERENT)
