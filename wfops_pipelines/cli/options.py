"""Arguments and options that mean the same wherever they stand."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Annotated

import typer

from wfops_pipelines.cli.failures import JSON


def _remember(context: typer.Context, value: bool) -> bool:
    context.meta[JSON] = value  # errors speak JSON too then
    return value


_even_paused: ContextVar[bool] = ContextVar("what this command begins, begins over a pause", default=False)


def begin_even_paused(value: bool) -> bool:
    """Remember it for :func:`even_paused`."""
    _even_paused.set(value)
    return value


def even_paused() -> bool:
    """Whether ``wfops --even-paused`` was said."""
    return _even_paused.get()


Json = Annotated[bool, typer.Option("--json", help="Print JSON.", callback=_remember, is_eager=True)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")]
Detach = Annotated[bool, typer.Option("--detach", help="Leave it to the daemon's queue, and print the run's id.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many, the newest first.")]

Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's slug.")]
Environment = Annotated[str, typer.Argument(metavar="ENV", help="The environment's slug.")]
Environments = Annotated[list[str] | None, typer.Argument(metavar="ENV", help="Environments, by slug.")]

Incident = Annotated[str, typer.Argument(
    metavar="ID", help="TENANT#NUMBER as acme#12, the incident's id, or at least the first 8 characters of it.")]
Promotion = Annotated[str, typer.Argument(
    metavar="NAME", help="TENANT/pNUMBER as acme/p12, the promotion's id, or at least the first 8 characters of it.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
Workflows = Annotated[list[str] | None, typer.Option(
    "--workflow", "-w", metavar="NAME|ID", help="This one alone, by name, n8n id in the source, or canonical id; with what "
                                                "it needs. Can be repeated.")]
Prune = Annotated[bool, typer.Option("--prune", help="Also remove what only the target has (n8n 2.x archives it).")]
AllowLarge = Annotated[str | None, typer.Option(
    "--allow-large", metavar="REASON", help="Change or remove more than 30 % of an environment of ten workflows or more.")]
RunsAs = Annotated[str | None, typer.Option(
    "--activation", metavar="keep|source", help="Whether what both have runs as it does in the target, or as in the source; "
                                                "without it, what the stage says.")]
AllowIrreversible = Annotated[bool, typer.Option("--allow-irreversible", help="Do what n8n's API could not undo.")]
Override = Annotated[str | None, typer.Option(
    "--override", metavar="REASON", help="Go past drift of the environment that is written, where its policy has "
                                         "manual_override; for admins.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Why, in a few words.")]
Force = Annotated[bool, typer.Option("--force", help="Although its status does not allow it; for admins.")]
