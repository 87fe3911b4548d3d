"""``wfops up``, ``demo`` and ``env``: the system's processes."""

from __future__ import annotations

import shlex
from enum import StrEnum
from typing import Annotated

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.options import Json
from wfops_pipelines.cli.session import identity, open_session, silence_libraries

Port = Annotated[int | None, typer.Option("--port", min=0, max=65535, metavar="PORT",
                                          help="Of the Dagster UI; 0 takes any that is free. Default: WFOPS_UI_PORT.")]


class Engine(StrEnum):
    """Which n8n the demo runs on."""

    SANDBOX = "sandbox"
    REAL = "real"


def up(port: Port = None) -> None:
    """Run the system: database, code server, Dagster's daemon and UI, the API for webhooks, until Ctrl-C.

    Exit codes: 0 stopped, 1 a process keeps dying, 2 the port is taken, 4 it runs already.

    Examples:

        wfops up

        wfops up --port 3100
    """
    from wfops_pipelines.settings import process_settings

    settings = process_settings()
    identity(settings)
    silence_libraries()
    from wfops_pipelines.embedded.up import run_up

    raise typer.Exit(run_up(settings, port=port))


def demo(
    once: Annotated[bool, typer.Option("--once", help="Stop when everything has been shown.")] = False,
    n8n: Annotated[Engine, typer.Option("--n8n", help="A sandbox in memory, or real n8n servers (installed once).")] =
    Engine.SANDBOX,
    port: Port = None,
) -> None:
    """Show a whole system at work: two tenants with three n8n each, a Git repository, a drift.

    Examples:

        wfops demo

        wfops demo --once --n8n real
    """
    from wfops_pipelines.settings import process_settings

    settings = process_settings()
    identity(settings)
    silence_libraries()
    from wfops_pipelines.embedded.demo import run_demo

    raise typer.Exit(run_demo(settings, once=once, n8n=n8n.value, port=port))


def env(as_json: Json = False) -> None:
    """Print the variables that Dagster's own commands need, as export lines.

    They hold the password of Dagster's database. An embedded database is left running, so that what you start can reach
    it; it stops when the last process that uses it through wfops ends.

    Examples:

        eval "$(wfops env)" && dagster definitions validate -m wfops_pipelines.definitions
    """
    with open_session(keep_running=True) as session:
        from wfops_pipelines.defs.launch import dagster_environment

        variables = dagster_environment(session.installation)
    if as_json:
        terminal.write(terminal.json_text(variables))
    else:
        terminal.write("".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()))
