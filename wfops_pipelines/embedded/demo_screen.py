"""What the demo shows: steps with their time, tables, the drift with its diff in colour. Plain lines where nobody looks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wfops_pipelines.domain.diff import from_json
from wfops_pipelines.domain.diff_text import render_text, visible
from wfops_pipelines.services.matrix import MatrixRow

_WIDTH = 110  # where there is no terminal to ask
_CELLS = {"linked": "[green]●[/]", "untracked": "[yellow]untracked[/]", "missing": "[red]missing[/]",
          "git_only": "[yellow]in Git only[/]"}
_KINDS = {"modified": "yellow", "added_in_runtime": "green", "missing_in_runtime": "red", "activation": "magenta"}


class Screen:
    """Everything that the demo prints goes through here."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, emoji=False)
        if not self._console.is_terminal:
            self._console.width = max(self._console.width, _WIDTH)

    def title(self, text: str, below: str) -> None:
        """The head of everything."""
        self._console.print(f"\n[bold]{text}[/]\n[dim]{below}[/]\n", soft_wrap=True)

    @contextmanager
    def step(self, text: str, command: str | None = None) -> Iterator[None]:
        """One step: who looks sees it going on; then that it is done, and how long that took. ``command`` is the one
        that does it outside of the demo."""
        started = time.monotonic()
        if self._console.is_terminal:
            with self._console.status(text):
                yield
        else:
            yield
        line = Text.assemble(("✓ ", "green"), text)
        line.append(" " * max(1, 72 - line.cell_len) + f"{time.monotonic() - started:5.1f} s", "dim")
        if command:
            line.append(f"   {command}", "cyan")
        self._console.print(line, soft_wrap=True)

    def note(self, text: str) -> None:
        """A line of detail under a step."""
        self._console.print(Text(f"  {text}", "dim"), soft_wrap=True)

    def heading(self, text: str) -> None:
        """The head of a section."""
        self._console.print(f"\n[bold]{text}[/]", soft_wrap=True)

    def lines(self, rows: Sequence[tuple[str, str]]) -> None:
        """Labels and values below each other; nothing is cut off, so that addresses and commands can be copied."""
        width = max(len(label) for label, _ in rows)
        for label, value in rows:
            self._console.print(Text.assemble((f"  {label:<{width}}  ", "dim"), value), soft_wrap=True)

    def matrix(self, tenant: str, environments: Sequence[str], rows: Sequence[MatrixRow]) -> None:
        """Workflow by environment."""
        table = Table(title=f"{tenant}: what is where", title_justify="left", title_style="bold", box=None, pad_edge=True)
        table.add_column("workflow", no_wrap=True)
        for slug in environments:
            table.add_column(slug, justify="center")
        for row in rows:
            table.add_row(Text(visible(row.name)), *(_cell(row.environments.get(slug)) for slug in environments))
        self._console.print()
        self._console.print(table)

    def drift(self, report: Mapping[str, Any]) -> None:
        """One environment's drift report: its status, and each workflow with its diff."""
        found = report["workflows"]
        style = "red" if found else "green"
        environment = f"{report['tenant']}/{report['environment']} "
        self._console.print(Text.assemble("\n", (environment, "bold"), (report["status"], f"bold {style}")), soft_wrap=True)
        for workflow in found:
            kind = (workflow["kind"], _KINDS.get(workflow["kind"], ""))
            self._console.print(Text.assemble("  ", kind, f"  {visible(workflow['name'])}"), soft_wrap=True)
            if workflow["diff"]:
                text = render_text(from_json(workflow["diff"]), before_label="Git", after_label="n8n",
                                   colour=self._console.color_system is not None)
                for line in text.rstrip().splitlines():
                    self._console.print(Text("      ") + Text.from_ansi(line), soft_wrap=True)


def _cell(cell: Mapping[str, Any] | None) -> Text:
    if cell is None:
        return Text("·", "dim")
    text = Text.from_markup(_CELLS.get(cell["status"], cell["status"]))
    return Text.assemble(text, (f" {cell['drift']}", "red")) if cell.get("drift") else text
