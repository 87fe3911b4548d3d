"""``wfops``: the command line (§22). Every command is registered here; each noun has its own file.

Importing this loads no Dagster, no store and no HTTP client: ``--help``, ``hash``, ``diff`` of files and ``schema`` are
called by editors and hooks, and answer in a fraction of a second.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from wfops_pipelines import __version__
from wfops_pipelines.cli import (
    alerts,
    approvals,
    audit,
    cancelling,
    credentials,
    deletion,
    deployments,
    doctor,
    drift,
    export,
    files,
    fleet,
    ignore_rules,
    incidents,
    listings,
    mappings,
    notify,
    operations,
    options,
    pausing,
    pipelines,
    policies,
    promotions,
    resolving,
    retention,
    secrets,
    snapshots,
    sync,
    system,
    unblocking,
    waivers,
)
from wfops_pipelines.cli.compare import diff
from wfops_pipelines.cli.failures import Commands
from wfops_pipelines.cli.promote import promote

OFFLINE, FLEET, DAILY, PROMOTE, FOLLOW, RECORD, SYSTEM = (
    "Files", "Fleet", "Environments", "Promotions", "Drift incidents", "Record", "Installation")

app = typer.Typer(
    name="wfops", cls=Commands, no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 drift or difference found, 4 blocked, 5 unreachable, 6 denied, "
           "7 cancelled, 8 timed out. WFOPS_DEBUG=1 shows tracebacks.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wfops {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True,
                                          help="Print the version.")] = False,
    even_paused: Annotated[bool, typer.Option("--even-paused", callback=options.begin_even_paused, is_eager=True,
                                              help="Begin this command's work although the tenant is paused.")] = False,
) -> None:
    """WorkflowOps: n8n environments, a Git repository and one database in step, for many tenants.

    Start with `wfops demo`, or with `wfops apply -f fleet.yaml`, `wfops sync TENANT` and `wfops drift TENANT`.
    """


app.command("hash", rich_help_panel=OFFLINE)(files.hash_files)
app.command("diff", rich_help_panel=OFFLINE)(diff)
app.add_typer(fleet.schema, name="schema", rich_help_panel=OFFLINE)

app.command("apply", rich_help_panel=FLEET)(fleet.apply)
app.command("tenants", rich_help_panel=FLEET)(listings.tenants)
app.command("environments", rich_help_panel=FLEET)(listings.environments)

app.command("sync", rich_help_panel=DAILY)(sync.sync)
app.command("drift", rich_help_panel=DAILY)(drift.drift)
app.command("export", rich_help_panel=DAILY)(export.export)
app.command("matrix", rich_help_panel=DAILY)(listings.matrix)
app.command("link", rich_help_panel=DAILY)(mappings.link)
app.command("unlink", rich_help_panel=DAILY)(mappings.unlink)
app.command("ignore", rich_help_panel=DAILY)(mappings.ignore)
app.command("unignore", rich_help_panel=DAILY)(mappings.unignore)
app.command("conflicts", rich_help_panel=DAILY)(resolving.conflicts)
app.command("resolve", rich_help_panel=DAILY)(resolving.resolve)
app.command("delete", rich_help_panel=DAILY)(deletion.delete)
app.command("undelete", rich_help_panel=DAILY)(deletion.undelete)
app.command("unblock", rich_help_panel=DAILY)(unblocking.unblock)

app.command("promote", rich_help_panel=PROMOTE)(promote)
app.command("approve", rich_help_panel=PROMOTE)(approvals.approve)
app.command("reject", rich_help_panel=PROMOTE)(approvals.reject)
app.command("cancel", rich_help_panel=PROMOTE)(cancelling.cancel)
app.command("rollback", rich_help_panel=PROMOTE)(approvals.rollback)
app.add_typer(promotions.promotion, name="promotion", rich_help_panel=PROMOTE)
app.add_typer(deployments.deploy, name="deploy", rich_help_panel=PROMOTE)
app.add_typer(snapshots.snapshot, name="snapshot", rich_help_panel=PROMOTE)
app.add_typer(pipelines.pipeline, name="pipeline", rich_help_panel=PROMOTE)
app.add_typer(credentials.credentials, name="credentials", rich_help_panel=PROMOTE)
app.add_typer(waivers.waivers, name="waiver", rich_help_panel=PROMOTE)

app.add_typer(incidents.incident, name="incident", rich_help_panel=FOLLOW)
app.add_typer(ignore_rules.rules, name="ignore-rule", rich_help_panel=FOLLOW)
app.add_typer(policies.policy, name="policy", rich_help_panel=FOLLOW)
app.add_typer(alerts.alerts, name="alerts", rich_help_panel=FOLLOW)
app.add_typer(notify.notify, name="notify", rich_help_panel=FOLLOW)

app.add_typer(operations.operation, name="operation", rich_help_panel=RECORD)
app.add_typer(audit.audit, name="audit", rich_help_panel=RECORD)

app.command("pause", rich_help_panel=SYSTEM)(pausing.pause)
app.command("resume", rich_help_panel=SYSTEM)(pausing.resume)
app.command("doctor", rich_help_panel=SYSTEM)(doctor.doctor)
app.command("up", rich_help_panel=SYSTEM)(system.up)
app.command("demo", rich_help_panel=SYSTEM)(system.demo)
app.command("env", rich_help_panel=SYSTEM)(system.env)
app.add_typer(retention.retention, name="retention", rich_help_panel=SYSTEM)
app.add_typer(secrets.secrets, name="secrets", rich_help_panel=SYSTEM)


COMMAND: Final = typer.main.get_command(app)
"""All commands, put together once."""


def main() -> None:
    """The entry point of the ``wfops`` command."""
    COMMAND(prog_name="wfops")


if __name__ == "__main__":
    main()
