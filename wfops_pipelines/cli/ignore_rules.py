"""``wfops ignore-rule``: drift that may be, with an owner, a reason and an end (§9)."""

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

rules = typer.Typer(no_args_is_help=True, help="Drift that may be, with an owner, a reason and an end.")

InEnvironment = Annotated[str | None, typer.Option("--environment", "-e", metavar="ENV",
                                                   help="In this one alone; in all of the tenant's without.")]


@rules.command("add")
def add(
    tenant: Tenant,
    owner: Annotated[str, typer.Option("--owner", help="Who answers for it.")],
    reason: Annotated[str, typer.Option("--reason", help="Why this drift may be.")],
    environment: InEnvironment = None,
    workflow: Annotated[str | None, typer.Option("--workflow", "-w", metavar="NAME|ID", help="n8n id, canonical id, or a "
                                                 "pattern of the name (* for any characters).")] = None,
    node_type: Annotated[str | None, typer.Option("--node-type", metavar="TYPE", help="Changes in nodes of this type (* for "
                                                  "any characters).")] = None,
    path: Annotated[str | None, typer.Option("--path", metavar="PATH", help="Changes there and below: parameters.url, "
                                             "settings.timezone, active …")] = None,
    days: Annotated[int | None, typer.Option("--days", min=1, max=3650, help="It ends after so many days.")] = None,
    until: Annotated[datetime | None, typer.Option("--until", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"],
                                                   help="It ends then, UTC.")] = None,
    dry_run: DryRun = False, as_json: Json = False,
) -> None:
    """Ignore drift of a workflow, of a node type, at a path, or where several of them hold together.

    It holds from the next check on. What it hides is counted, and is drift again when the rule ends.

    Exit codes: 0 done, 2 a field does not fit; each is named.

    Examples:

        wfops ignore-rule add acme -e prod --workflow "Order*" --path settings.timezone --owner ada --reason "DST" --days 30

        wfops ignore-rule add acme --node-type "*.stickyNote" --owner ada --reason "notes differ" --until 2027-01-31
    """
    if (days is None) == (until is None):
        raise UsageError("a rule needs an end", fix="say either --days N or --until DATE")
    with open_session() as session:
        from wfops_pipelines.services.ignore_rule_commands import add_rule

        end = until.replace(tzinfo=UTC) if until is not None else session.services.now() + timedelta(days=days or 0)
        rule = add_rule(session.services, session.context(tenant), environment=environment, expires_at=end, owner=owner,
                        reason=reason, workflow=workflow, node_type=node_type, parameter_path=path, dry_run=dry_run)
    if as_json:
        terminal.write(terminal.json_text(rule))
        return
    where = f"{tenant}/{environment}" if environment else f"all environments of {tenant}"
    terminal.write(visible(f"{'would be ' if dry_run else ''}added: ignore {_what(rule)} in {where}, "
                           f"until {rule['expires_at'][:16].replace('T', ' ')} UTC") + "\n")
    if not dry_run:
        check = f"wfops drift {tenant}{f' {environment}' if environment else ''}"
        terminal.write(f"id {rule['id']}; it holds from the next check on: {check}\n")


@rules.command("list")
def list_(
    tenant: Tenant, environment: InEnvironment = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that were removed.")] = False, as_json: Json = False,
) -> None:
    """List a tenant's ignore rules, the oldest first: who answers for each, until when, and how many changes it hides.

    Examples:

        wfops ignore-rule list acme

        wfops ignore-rule list acme --json | jq '.[] | select(.state == "expired") | .id'
    """
    with open_session() as session:
        from wfops_pipelines.services.ignore_rule_commands import list_rules

        rows = list_rules(session.services, session.context(tenant), environment=environment, removed=everything)
    if as_json:
        terminal.write(terminal.json_text(rows))
    elif not rows:
        terminal.write("no ignore rules\n")
    else:
        terminal.write(terminal.table(["id", "environment", "ignores", "hides", "state", "ends", "owner", "reason"], [
            [row["id"][:8], row["environment"] or "all", _what(row), row["hides"], row["state"], row["expires_at"][:10],
             row["owner"], row["reason"]] for row in rows]))


@rules.command("remove")
def remove(
    tenant: Tenant,
    rule_id: Annotated[str, typer.Argument(metavar="ID", help="The rule's id, or the beginning of it.")],
    dry_run: DryRun = False, as_json: Json = False,
) -> None:
    """Take an ignore rule away: what it hid is drift again at the next check.

    Examples:

        wfops ignore-rule remove acme 3f2a9c01
    """
    with open_session() as session:
        from wfops_pipelines.services.ignore_rule_commands import remove_rule

        rule = remove_rule(session.services, session.context(tenant), rule_id, dry_run=dry_run)
    hid = terminal.plural(rule["hides"], "change") if rule["changed"] else ""
    tell_removed(rule, "rule", f"{_what(rule)} is no longer ignored; it hid {hid} in the last check", dry_run=dry_run,
                 as_json=as_json)


def _what(rule: dict[str, Any]) -> str:
    said = [("workflow", rule["workflow"]), ("node type", rule["node_type"]), ("path", rule["parameter_path"])]
    return ", ".join(f"{what} {text}" for what, text in said if text)
