"""``wfops apply`` and ``wfops schema``: the fleet as it is declared (§2.6, §2.7)."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.options import DryRun, Json
from wfops_pipelines.cli.session import Session, open_session
from wfops_pipelines.domain.diff_text import visible
from wfops_pipelines.domain.errors import Cancelled, InvalidDocument, InvalidSetting, UsageError, WfopsError

if TYPE_CHECKING:
    from wfops_pipelines.domain.fleet import Fleet, SecretReference
    from wfops_pipelines.services.apply_fleet import FleetChange, FleetPlan

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
_MARKS = {"create": ("+", "green"), "update": ("~", "yellow"), "delete": ("-", "red"), "unmanaged": ("?", "dim")}

schema = typer.Typer(no_args_is_help=True, help="JSON Schemas of the documents that wfops reads.")


@schema.command("fleet")
def schema_fleet() -> None:
    """Print the JSON Schema of fleet.yaml, for editors and checks.

    Examples:

        wfops schema fleet > fleet.schema.json
    """
    from wfops_pipelines.domain.fleet import fleet_json_schema

    terminal.write(terminal.json_text(fleet_json_schema()))


def apply(
    file: Annotated[str, typer.Option("--file", "-f", metavar="FILE", help="The fleet as YAML; - reads the input.")],
    prune: Annotated[bool, typer.Option("--prune", help="Delete what is stored and not declared.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Answer the questions before deletions with yes.")] = False,
    dry_run: DryRun = False, as_json: Json = False,
) -> None:
    """Make tenants, environments, repositories, pipelines and policies those that fleet.yaml declares.

    Prints the plan, then applies it, a tenant whole or not at all; a second time there is nothing to change. Secrets
    are references, env:NAME or file:PATH (relative to the document). Without --prune nothing is deleted; before a
    deletion you are asked twice.

    Exit codes: 0 done, 2 the document or a secret is wrong (nothing was applied), 5 database unreachable,
    7 not confirmed.

    Examples:

        wfops apply -f fleet.yaml --dry-run

        wfops apply -f fleet.yaml --prune --yes --json

        sops decrypt fleet.yaml | wfops apply -f -
    """
    name, base, text = _read(file)
    from wfops_pipelines.domain.fleet import load_fleet
    from wfops_pipelines.n8n.provider import providers

    fleet = load_fleet(text, file=name, providers=providers())
    secrets = _secrets(fleet, base)
    with open_session() as session:
        plan = _apply(session, fleet, secrets, prune=prune, dry_run=True)
        if not as_json:
            terminal.write(_planned(plan.changes))
        if not dry_run and _changes(plan):
            if prune and not yes:
                _confirm(plan.changes)
            with terminal.progress("Applying"):
                plan = _apply(session, fleet, secrets, prune=prune, dry_run=False)
                session.follow_fleet()
            if not as_json:
                terminal.write(f"applied {terminal.plural(_changes(plan), 'change')}\n")
    if as_json:
        terminal.write(terminal.json_text({**plan.as_json(), "applied": not dry_run}))


def _apply(session: Session, fleet: Fleet, secrets: dict[SecretReference, str], *, prune: bool, dry_run: bool) -> FleetPlan:
    from wfops_pipelines.services.apply_fleet import apply_fleet

    return apply_fleet(session.services, fleet, secrets.__getitem__, actor=session.actor, prune=prune, dry_run=dry_run)


def _read(file: str) -> tuple[str, Path, str]:
    """Name, directory and text of the document; :class:`UsageError` when there is none."""
    try:
        if file == "-":
            name, base, data = "<stdin>", Path.cwd(), sys.stdin.buffer.read(MAX_DOCUMENT_BYTES + 1)
        else:
            path = Path(file)
            name, base = str(path), path.absolute().parent
            with path.open("rb") as opened:
                data = opened.read(MAX_DOCUMENT_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise UsageError(f"{visible(file)}: {why}", fix="name the fleet.yaml, or - for the standard input") from None
    if len(data) > MAX_DOCUMENT_BYTES:
        raise InvalidDocument("is larger than 16 MB", file=visible(name))
    try:
        return visible(name), base, data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidDocument("is not UTF-8 text", file=visible(name), line=line, fix="save it as UTF-8") from None


def _secrets(fleet: Fleet, base: Path) -> dict[SecretReference, str]:
    """Every secret that the document refers to; all that are missing are told at once."""
    from wfops_pipelines.store.secrets import resolve_reference

    found: dict[SecretReference, str] = {}
    missing: list[WfopsError] = []
    for reference in sorted(fleet.secret_references(), key=str):
        try:
            found[reference] = resolve_reference(str(reference), os.environ, base)
        except InvalidSetting as error:
            missing.append(error)
    if missing:
        raise InvalidSetting("\n".join(error.message for error in missing),
                             fix="; ".join(dict.fromkeys(error.fix for error in missing if error.fix)) or None)
    return found


def _changes(plan: FleetPlan) -> int:
    return sum(change.action != "unmanaged" for change in plan.changes)


def _confirm(changes: Sequence[FleetChange]) -> None:
    """Ask twice before tenants or environments are deleted, once before anything else is (§2.7)."""
    deleted = [change for change in changes if change.action == "delete"]
    if not deleted:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{terminal.plural(len(deleted), 'deletion')} would have to be confirmed, and nobody can be asked",
                         fix="--yes answers yes; without --prune nothing is deleted")
    names = ", ".join(f"{change.kind} {_name(change)}" for change in deleted)
    if not terminal.ask(f"Delete {names}? [y/N]", expected="y"):
        raise Cancelled("not confirmed: nothing was changed")
    grave = [change for change in deleted if change.kind in {"tenant", "environment"}]
    if grave and not terminal.ask(f"Type {_name(grave[0])} to delete what is in it for good:", expected=_name(grave[0])):
        raise Cancelled("not confirmed: nothing was changed")


def _name(change: FleetChange) -> str:
    return change.name if change.kind == "tenant" else f"{change.tenant}/{change.name}"


def _planned(changes: Sequence[FleetChange]) -> str:
    if not changes:
        return "nothing to change\n"
    lines = []
    for change in changes:
        mark, style = _MARKS[change.action]
        what = f"{mark} {change.kind} {_name(change)}"
        extra = " (not declared; --prune deletes it)" if change.action == "unmanaged" else _fields(change)
        lines.append(terminal.paint(visible(what), style) + visible(extra))
    if all(change.action == "unmanaged" for change in changes):
        lines.append("nothing to change")
    return "\n".join(lines) + "\n"


def _fields(change: FleetChange) -> str:
    if change.action != "update" or not change.fields:
        return ""
    return ": " + ", ".join(f"{name} = {_short(value)}" for name, value in change.fields.items())


def _short(value: Any) -> str:
    text = terminal.json_text(value).strip() if not isinstance(value, str) else value
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:59] + "…"
