"""``wfops retention``: what has been kept long enough goes (§18)."""

from __future__ import annotations

from typing import Annotated

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.failures import BLOCKED, FAILED
from wfops_pipelines.cli.options import DryRun, Json
from wfops_pipelines.cli.session import open_session
from wfops_pipelines.domain.diff_text import visible

retention = typer.Typer(no_args_is_help=True, help="What has been kept long enough goes.")

Tenants = Annotated[list[str] | None, typer.Argument(metavar="TENANT", help="Tenants, by slug; all without any.")]


@retention.command("run")
def run(tenants: Tenants = None, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Remove what is old enough, as Dagster does daily.

    Payloads of ended incidents, the journal of writes, and snapshots that nobody took by hand go by the drift policy
    (`closed_incident_retention_days`, `reconciliation_artifact_retention_days`, `snapshot_retention_days`), the history of
    drift checks, operations and messages by settings (`WFOPS_DRIFT_CHECK_RETENTION_DAYS`, `WFOPS_OPERATION_RETENTION_DAYS`,
    `WFOPS_MESSAGE_RETENTION_DAYS`, `WFOPS_DEAD_MESSAGE_RETENTION_DAYS`). What belongs to deleted environments goes by
    `WFOPS_DELETED_RETENTION_DAYS`: secrets, what was known of n8n and Git; without TENANT, deleted tenants' too. Contents go
    when nothing refers to them any more. Open incidents and audit events stay, and of snapshots each environment's newest
    and those that a promotion may be rolled back to. What was cut off goes on with the next run.

    Exit codes: 0 done, 1 a tenant failed (the others are done), 2 no such tenant, 4 one that was named is paused,
    5 database unreachable.

    Examples:

        wfops retention run --dry-run

        wfops retention run acme --json | jq .total
    """
    with open_session() as session, terminal.progress("Looking for what is old enough"):
        from wfops_pipelines.services.retention import run_retention

        done = run_retention(session.services, tenants or (), actor=session.actor,
                             keep=session.installation.settings.keep_days, dry_run=dry_run,
                             even_paused=session.even_paused)
    if as_json:
        terminal.write(terminal.json_text(done.as_json()))
    elif done.removed:
        terminal.write(terminal.table(["tenant", "environment", "what", "older than", "would go" if dry_run else "gone"], [
            [one.tenant, one.environment or "-", one.what.replace("_", " "), one.before.date() if one.before else "-",
             one.count] for one in done.removed]))
    elif not done.failed and not done.waiting and not done.paused:
        terminal.write("nothing is old enough\n")
    for tenant, count in sorted(done.waiting.items()):
        terminal.note(f"{visible(tenant)}: {terminal.plural(count, 'content')} that nothing refers to will go with the next "
                      "run: operations were running")
    for tenant in done.paused:
        terminal.note(f"{visible(tenant)}: paused, and left alone (wfops resume)")
    for tenant, error in sorted(done.failed.items()):
        terminal.note(f"{visible(tenant)}: {visible(str(error))}")
    raise typer.Exit(FAILED if done.failed else BLOCKED if done.paused and tenants else 0)
