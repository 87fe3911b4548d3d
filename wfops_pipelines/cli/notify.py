"""``wfops notify``: a test message, what waits to be sent, and dead letters again (§16)."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.failures import exit_code_of
from wfops_pipelines.cli.options import DryRun, Json, Limit, Tenant
from wfops_pipelines.cli.session import open_session
from wfops_pipelines.domain.diff_text import visible

notify = typer.Typer(no_args_is_help=True, help="Notifications: a test message, what waits, dead letters again.")

Target = Annotated[str | None, typer.Argument(metavar="TARGET", help="A notification target; all without one.")]
MessageId = Annotated[UUID | None, typer.Argument(metavar="ID", help="A message's id; all dead ones without one.")]


@notify.command("test")
def test(tenant: Tenant, target: Target = None, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Send a test message now, and say for each target whether it arrived.

    It goes past the outbox and past quiet hours; what a target chose to hear of does not matter.

    Exit codes: 0 arrived everywhere, 1 not taken, or several reasons, 2 no such target, 5 unreachable, 6 refused.

    Examples:

        wfops notify test acme

        wfops notify test acme on-call --json
    """
    with open_session() as session, terminal.progress("Sending"):
        from wfops_pipelines.services.notification_commands import send_test

        done = send_test(session.services, session.context(tenant), target, dry_run=dry_run)
    if as_json:
        terminal.write(terminal.json_text([tested.as_json() for tested in done]))
    for tested in () if as_json else done:
        where = visible(f"{tested.target} ({tested.address})")
        if tested.error is not None:
            terminal.write(f"{terminal.paint('failed', 'red')}  {where}: {visible(tested.error.message)}\n")
            if tested.error.fix:
                terminal.note(f"{terminal.paint('fix:', 'green')} {visible(tested.error.fix)}")
        else:
            terminal.write(f"would send to {where}\n" if dry_run else f"{terminal.paint('sent', 'green')}    {where}\n")
    raise typer.Exit(exit_code_of(tested.error for tested in done if tested.error is not None))


@notify.command("outbox")
def outbox(
    tenant: Tenant,
    status: Annotated[str | None, typer.Option("--status", help="pending, sent, dead or dropped alone.")] = None,
    limit: Limit = 50, as_json: Json = False,
) -> None:
    """List notifications, the newest first.

    `pending` waits (for quiet hours, a digest, or another attempt), `sent` was taken by its receiver, `dead` was given up,
    `dropped` was for a target that is in fleet.yaml no more.

    Examples:

        wfops notify outbox acme --status dead

        wfops notify outbox acme --json | jq '.counts'
    """
    with open_session() as session:
        from wfops_pipelines.services.notification_commands import list_outbox

        found = list_outbox(session.services, session.context(tenant), status=status, limit=limit)
    if as_json:
        terminal.write(terminal.json_text(found))
        return
    terminal.write(_table(found["messages"]))
    terminal.note(", ".join(f"{count} {name}" for name, count in found["counts"].items()))


@notify.command("send")
def send(tenant: Tenant, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Send now what waits and is due, without waiting for the daemon's next round.

    Quiet hours, digests and pauses after a failure hold as they do there.

    Exit codes: 0 done; what was not taken is tried again later, and listed by `wfops notify outbox`.

    Examples:

        wfops notify send acme

        wfops notify send acme --dry-run
    """
    with open_session() as session, terminal.progress("Sending"):
        from wfops_pipelines.services.notification_commands import list_due
        from wfops_pipelines.services.send_notifications import send_waiting

        context = session.context(tenant)  # so that a tenant that is not there is said
        if dry_run:
            rows = list_due(session.services, context)
            terminal.write(terminal.json_text({"tenant": tenant, "messages": rows, "dry_run": True}) if as_json
                           else _table(rows) if rows else "nothing is due\n")
            return
        done = send_waiting(session.services, actor=session.actor, tenant=tenant)
    if as_json:
        terminal.write(terminal.json_text({"tenant": tenant, **done.as_json()}))
        return
    terminal.write(f"{done.words() or 'nothing is due'}\n")


@notify.command("retry")
def retry(tenant: Tenant, message: MessageId = None, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Send dead letters again, with the next round of the outbox.

    Each goes out in its old place and under its old key, so that a receiver that had it after all can tell.

    Exit codes: 0 done (also when there are none), 2 no such message, or it is not dead.

    Examples:

        wfops notify retry acme --dry-run

        wfops notify retry acme 5f0c2f9e-6f0e-4a5e-9f55-0a8b8d8f7d11
    """
    with open_session() as session:
        from wfops_pipelines.services.notification_commands import retry_dead

        rows = retry_dead(session.services, session.context(tenant), message, dry_run=dry_run)
    if as_json:
        terminal.write(terminal.json_text({"tenant": tenant, "messages": rows, "dry_run": dry_run}))
        return
    if rows:
        terminal.write(_table(rows))
    verb = "would be sent again" if dry_run else "will be sent again"
    terminal.note(f"{terminal.plural(len(rows), 'message')} {verb}" if rows else "there are no dead letters")


def _table(rows: list[dict[str, Any]]) -> str:
    return terminal.table(["created", "status", "target", "tries", "event", "title", "error", "id"], [
        [row["created_at"][:16].replace("T", " "), row["status"], row["target"], row["attempts"], row["event"],
         row["title"] or "-", row["error"] or "-", row["id"]] for row in rows])
