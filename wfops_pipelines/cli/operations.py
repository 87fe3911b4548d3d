"""``wfops operation``: what was done, step by step, and going on with what failed (§19.2, §20)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.audit import events_table
from wfops_pipelines.cli.cancelling import WAIT, Wait, stop_operation, tell
from wfops_pipelines.cli.options import DryRun, Json, Limit, Reason, Tenant
from wfops_pipelines.cli.session import open_session, result_of
from wfops_pipelines.domain.diff_text import visible

operation = typer.Typer(no_args_is_help=True, help="What was done, step by step.")


@operation.command("list")
def list_(
    tenant: Tenant,
    environment: Annotated[str | None, typer.Option("--environment", "-e", metavar="ENV", help="Of this one alone.")] = None,
    limit: Limit = 20, as_json: Json = False,
) -> None:
    """List a tenant's operations, the newest first.

    Examples:

        wfops operation list acme -e prod

        wfops operation list acme --json | jq '.[] | select(.state == "failed")'
    """
    with open_session() as session:
        from wfops_pipelines.services.operation_reports import list_operations

        rows = list_operations(session.services, session.context(tenant), environment=environment, limit=limit)
    if as_json:
        terminal.write(terminal.json_text(rows))
        return
    terminal.write(terminal.table(["operation", "kind", "environment", "state", "started", "took", "actor", "error"], [
        [row["operation_id"], row["kind"], row["environment"] or "-", row["state"],
         terminal.ago(row["started_at"] or row["created_at"]), _took(row), row["actor"],
         row["error"]["kind"] if row["error"] else "-"] for row in rows]))


@operation.command("show")
def show(
    tenant: Tenant,
    operation_id: Annotated[UUID, typer.Argument(metavar="ID", help="The operation's id.")],
    as_json: Json = False,
) -> None:
    """Show one operation: its steps and its audit events, in order.

    Examples:

        wfops operation show acme 0a5f0c1e-5d4b-4f0e-9f38-1d6c0d9f6a11
    """
    with open_session() as session:
        from wfops_pipelines.services.operation_reports import show_operation

        found = show_operation(session.services, session.context(tenant), operation_id)
    terminal.write(terminal.json_text(found) if as_json else _text(found))


@operation.command("cancel")
def cancel(
    tenant: Tenant,
    operation_id: Annotated[UUID, typer.Argument(metavar="ID", help="The operation's id.")],
    reason: Reason = None, wait: Wait = WAIT, dry_run: DryRun = False, as_json: Json = False,
) -> None:
    """Stop an operation at its next safe point; the same as `wfops cancel ID`.

    Exit codes: 0 it is cancelled, 2 no such operation, 4 it has ended, or it ended before it could stop, 8 not stopped yet.

    Examples:

        wfops operation cancel acme 0a5f0c1e-5d4b-4f0e-9f38-1d6c0d9f6a11 --reason "wrong n8n"
    """
    with open_session() as session:
        report = stop_operation(session, tenant, operation_id, reason, dry_run=dry_run)
        if not dry_run and wait:
            from wfops_pipelines.services.operation_control import await_end

            with terminal.progress("Waiting until it has stopped"):
                report = await_end(session.services, report, seconds=wait)
    tell(report, as_json=as_json)


@operation.command("resume")
def resume(
    tenant: Tenant,
    operation_id: Annotated[UUID, typer.Argument(metavar="ID", help="The operation's id.")],
    afresh: Annotated[bool, typer.Option("--afresh", help="Begin from the beginning where its checkpoint is gone.")] = False,
    as_json: Json = False,
) -> None:
    """Go on with an operation that failed, under its id: from the last finished batch of a sync, from the journal of writes.

    Exit codes: 0 done, 1 it failed again, 2 no such operation, 4 it runs, has ended for good, or its checkpoint is gone
    (--afresh), 5 unreachable, 7 it was cancelled, 8 it ran for too long.

    Examples:

        wfops operation resume acme 0a5f0c1e-5d4b-4f0e-9f38-1d6c0d9f6a11
    """
    with open_session() as session:
        with terminal.progress(f"Going on with {operation_id}"):
            launched = session.run("resume_operation", {"go_on": {
                "tenant": tenant, "operation": str(operation_id), "afresh": afresh}}, tenant=tenant)
        done = result_of(launched)
    if as_json:
        terminal.write(terminal.json_text(done))
        return
    terminal.write(f"{done['kind']} of {done['tenant']}/{done['environment']}: {terminal.word(done['state'])}, "
                   f"attempt {done['attempts']}\n")


def _text(found: dict[str, Any]) -> str:
    place = f"{found['tenant']}/{found['environment']}" if found["environment"] else found["tenant"]
    text = f"{terminal.paint(found['kind'], 'bold')} of {place}: {terminal.word(found['state'])}\n"
    text += f"by {visible(found['actor'])}, {terminal.ago(found['created_at'])}, took {_took(found)}"
    text += f", attempt {found['attempts']}\n" if found["attempts"] > 1 else "\n"
    text += f"run {found['run_id']}\n" if found["run_id"] else ""
    if found["error"]:
        text += f"error: {visible(found['error']['message'] or found['error']['kind'])}\n"
    if found["steps"]:
        text += "\n" + terminal.table(["step", "state", "attempts", "took"], [
            [step["name"], step["state"], step["attempts"], _took(step)] for step in found["steps"]])
    if found["events"]:
        text += "\n" + events_table(found["events"])
    return text


def _took(row: dict[str, Any]) -> str:
    if row["started_at"] is None or row["ended_at"] is None:
        return "-"
    seconds = (datetime.fromisoformat(row["ended_at"]) - datetime.fromisoformat(row["started_at"])).total_seconds()
    return f"{seconds:.1f} s"
