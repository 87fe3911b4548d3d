"""``wfops pause`` and ``wfops resume``: a tenant, or everything, at rest (§20)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.options import DryRun, Json, Reason
from wfops_pipelines.cli.session import open_session
from wfops_pipelines.domain.diff_text import visible

if TYPE_CHECKING:
    from wfops_pipelines.services.pausing import PauseChange

OneTenant = Annotated[str | None, typer.Argument(metavar="TENANT", help="The tenant's slug; without it, everything.")]


def pause(tenant: OneTenant = None, reason: Reason = None, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Let no new work begin for a tenant, or with no TENANT for anybody.

    Sweeps, polls, webhooks' runs, scheduled deployments, snapshots, exports, approved promotions and retention leave it
    out; a command that would begin work is refused (exit 4), unless it is given as `wfops --even-paused COMMAND`. Reading
    stays allowed. What runs goes on to its end, and what a process that died left half-written in n8n is finished or undone
    all the same. Messages are sent, and the clocks of incidents go on.

    Exit codes: 0 done (also when it is paused already), 2 no such tenant.

    Examples:

        wfops pause acme --reason "n8n is moved to another host"

        wfops pause --reason "maintenance of the database"
    """
    with open_session() as session:
        from wfops_pipelines.services.pausing import pause as act

        done = act(session.services, tenant, actor=session.actor, reason=reason, dry_run=dry_run)
    if as_json:
        terminal.write(terminal.json_text(done.as_json()))
    else:
        _tell(done, "is paused" if not dry_run else "would be paused", "is paused already")


def resume(tenant: OneTenant = None, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Let work begin again: what became due during the pause is due now, once.

    A pause of everything and that of a tenant are two: each is resumed by itself.

    Exit codes: 0 done (also when nothing is paused), 2 no such tenant.

    Examples:

        wfops resume acme

        wfops resume
    """
    with open_session() as session:
        from wfops_pipelines.services.pausing import resume as act

        done = act(session.services, tenant, actor=session.actor, dry_run=dry_run)
    if as_json:
        terminal.write(terminal.json_text(done.as_json()))
        return
    _tell(done, "is resumed" if not dry_run else "would be resumed", "is not paused")
    if done.still is not None:
        terminal.note(f"nothing begins still: {visible(str(done.still))}: wfops resume")


def _tell(done: PauseChange, changed: str, unchanged: str) -> None:
    if done.changed:
        terminal.write(f"{done.scope} {changed}\n")
        return
    by = f", by {visible(done.pause.paused_by)}" if done.pause is not None and not done.pause.over else ""
    terminal.write(f"nothing to change: {done.scope} {unchanged}{by}\n")
