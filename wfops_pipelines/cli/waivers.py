"""``wfops waiver``: findings of the lint that may be, with an owner, a reason and an end (§11.5)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.options import DryRun, Json, Tenant
from wfops_pipelines.cli.removal import tell_removed
from wfops_pipelines.cli.session import open_session
from wfops_pipelines.domain.diff_text import visible
from wfops_pipelines.domain.errors import UsageError

waivers = typer.Typer(no_args_is_help=True, help="Findings about workflows that may be, with an owner, a reason and an end.")


@waivers.command("add")
def add(
    tenant: Tenant,
    rule: Annotated[str, typer.Argument(metavar="RULE", help="The rule's id, as the finding names it in brackets: "
                                        "hard-coded-secret, no-trigger, webhook-path-taken …")],
    workflow: Annotated[str, typer.Option("--workflow", "-w", metavar="NAME", help="The workflow's name, or a pattern of "
                                          "names (* for any characters).")],
    owner: Annotated[str, typer.Option("--owner", help="Who answers for it.")],
    reason: Annotated[str, typer.Option("--reason", help="Why it may be.")],
    node: Annotated[str | None, typer.Option("--node", metavar="NAME", help="In this node alone, or in nodes of such names "
                                             "(* for any characters).")] = None,
    days: Annotated[int | None, typer.Option("--days", min=1, max=3650, help="It ends after so many days.")] = None,
    until: Annotated[datetime | None, typer.Option("--until", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"],
                                                   help="It ends then, UTC.")] = None,
    dry_run: DryRun = False, as_json: Json = False,
) -> None:
    """Waive what a rule finds in a workflow: until the waiver ends, it stops no promotion.

    It holds from the next plan on. An expired one does nothing, and is named where it would have done something.

    Exit codes: 0 done, 2 a field does not fit; each is named.

    Examples:

        wfops waiver add acme hard-coded-secret -w "Orders" --node "Sign" --owner ada --reason "a public test key" --days 30

        wfops waiver add acme no-trigger -w "Library *" --owner ada --reason "called by others" --until 2027-01-31
    """
    if (days is None) == (until is None):
        raise UsageError("a waiver needs an end", fix="say either --days N or --until DATE")
    with open_session() as session:
        from wfops_pipelines.services.lint_waiver_commands import add_waiver

        end = until.replace(tzinfo=UTC) if until is not None else session.services.now() + timedelta(days=days or 0)
        waiver = add_waiver(session.services, session.context(tenant), expires_at=end, rule=rule, workflow=workflow,
                            node=node, owner=owner, reason=reason, dry_run=dry_run)
    if as_json:
        terminal.write(terminal.json_text(waiver))
        return
    terminal.write(visible(f"{'would be ' if dry_run else ''}added: {waiver['rule']} is waived in {_where(waiver)}, "
                           f"until {waiver['expires_at'][:16].replace('T', ' ')} UTC") + "\n")
    if not dry_run:
        terminal.write(f"id {waiver['id']}; it holds from the next plan on\n")


@waivers.command("list")
def list_(
    tenant: Tenant,
    everything: Annotated[bool, typer.Option("--all", help="Also those that were removed.")] = False, as_json: Json = False,
) -> None:
    """List a tenant's waivers, the oldest first: who answers for each, why, and until when.

    Examples:

        wfops waiver list acme

        wfops waiver list acme --json | jq '.[] | select(.state == "expired") | .id'
    """
    with open_session() as session:
        from wfops_pipelines.services.lint_waiver_commands import list_waivers

        rows = list_waivers(session.services, session.context(tenant), removed=everything)
    if as_json:
        terminal.write(terminal.json_text(rows))
    elif not rows:
        terminal.write("no waivers\n")
    else:
        terminal.write(terminal.table(["id", "rule", "where", "state", "ends", "owner", "reason"], [
            [row["id"][:8], row["rule"], _where(row), row["state"], row["expires_at"][:10], row["owner"], row["reason"]]
            for row in rows]))


@waivers.command("remove")
def remove(
    tenant: Tenant,
    waiver_id: Annotated[str, typer.Argument(metavar="ID", help="The waiver's id, or the beginning of it.")],
    dry_run: DryRun = False, as_json: Json = False,
) -> None:
    """Take a waiver away: what it covered counts again from the next plan on.

    Examples:

        wfops waiver remove acme 3f2a9c01
    """
    with open_session() as session:
        from wfops_pipelines.services.lint_waiver_commands import remove_waiver

        waiver = remove_waiver(session.services, session.context(tenant), waiver_id, dry_run=dry_run)
    tell_removed(waiver, "waiver", f"{waiver['rule']} is no longer waived in {_where(waiver)}", dry_run=dry_run,
                 as_json=as_json)


def _where(waiver: dict[str, Any]) -> str:
    return str(waiver["workflow"]) + (f", node {waiver['node']}" if waiver["node"] else "")
