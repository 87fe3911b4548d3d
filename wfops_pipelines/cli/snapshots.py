"""``wfops snapshot``: what an environment held at a time (§13)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final
from uuid import UUID

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.diffs import render_stored
from wfops_pipelines.cli.failures import DIFFERENT
from wfops_pipelines.cli.options import Detach, Environment, Json, Limit, Tenant
from wfops_pipelines.cli.session import open_session, result_of
from wfops_pipelines.cli.snapshot_restore import restore
from wfops_pipelines.cli.sync import ENVIRONMENT, first_error, problem_text, refresh, tell_submitted
from wfops_pipelines.domain.diff_text import visible
from wfops_pipelines.domain.errors import UsageError

snapshot = typer.Typer(no_args_is_help=True, help="What an environment held at a time, to compare with and to restore.")

_SHORT: Final = 8  # characters of an id that name it
_MARKS: Final = {"added": ("A", "green"), "removed": ("D", "red")}

Name = Annotated[str | None, typer.Argument(
    metavar="SNAPSHOT", help="Its id, at least the first 8 characters of it, or `latest`; without, the newest.")]
At = Annotated[str | None, typer.Option(
    "--at", metavar="TIME", help="The newest one that is not newer than this time, as 2026-11-20T18:00 (UTC).")]


snapshot.command("restore")(restore)


class Kind(StrEnum):
    """Why a snapshot was taken, as ``--kind`` names it."""

    PRE_PROMOTION = "pre_promotion"
    POST_PROMOTION = "post_promotion"
    MANUAL_BACKUP = "manual_backup"
    SCHEDULED = "scheduled"


@snapshot.command("create")
def create(
    tenant: Tenant, environment: Environment,
    name: Annotated[str | None, typer.Option("--name", help="What to call it, for people.")] = None,
    as_json: Json = False, detach: Detach = False,
) -> None:
    """Read an environment from n8n and keep what it holds: contents, drafts, activation, tags, archived workflows.

    Contents are stored once, however many snapshots hold them. Credentials' secrets are not in it: n8n gives them to nobody.
    What was taken by hand is kept; snapshot_hours in fleet.yaml takes snapshots on schedule, which go by age.

    Exit codes: 0 done, 1 failed, 2 no such tenant or environment, 4 another operation holds the environment, 5 unreachable,
    6 credentials refused.

    Examples:

        wfops snapshot create acme prod --name "before the move to n8n 2"

        wfops snapshot create acme prod --json | jq -r .snapshot_id
    """
    with open_session() as session:
        session.environments(tenant, [environment])
        config = {"partitions": [f"{environment}|{tenant}"], "name": name}
        with terminal.progress(f"Taking a snapshot of {tenant}/{environment}"):
            launched = session.run("snapshot", {"take_snapshots": config}, tenant=tenant, environment=environment,
                                   detach=detach)
        if detach:
            tell_submitted(session, launched.run_id, as_json=as_json)
            return
    result = result_of(launched)
    terminal.write(terminal.json_text(result) if as_json else _created(result))


def _created(result: dict[str, Any]) -> str:
    counts = [terminal.plural(result["workflows"], "workflow"), f"{result['active']} active"]
    if result["archived"]:
        counts.append(f"{result['archived']} archived")
    text = f"snapshot {result['snapshot_id']} of {result['tenant']}/{result['environment']}: {', '.join(counts)}\n"
    if result["same_as"] is not None:
        text += f"it holds the same as snapshot {result['same_as'][:_SHORT]}\n"
    for problem in result["problems"]:
        text += visible(f"not in it as it is now, for it cannot be read: {problem_text(problem)}") + "\n"
    return text


@snapshot.command("list")
def list_(
    tenant: Tenant,
    environment: Annotated[str | None, typer.Argument(metavar="ENV", help="This one alone; all without.")] = None,
    kind: Annotated[Kind | None, typer.Option("--kind", help="Of this kind alone.")] = None,
    before: Annotated[UUID | None, typer.Option("--before", metavar="ID", help="Those after this one in the list.")] = None,
    limit: Limit = 50, as_json: Json = False,
) -> None:
    """List the snapshots of a tenant or of one environment, the newest first.

    Two of one address hold the same.

    Examples:

        wfops snapshot list acme prod

        wfops snapshot list acme --kind scheduled --json | jq -r '.[].snapshot_id'
    """
    with open_session() as session:
        from wfops_pipelines.domain.snapshot import SnapshotKind
        from wfops_pipelines.services.snapshot_reports import list_snapshots

        rows = list_snapshots(session.services, session.context(tenant), environment,
                              kind=SnapshotKind(kind) if kind is not None else None, before=before, limit=limit)
    if as_json:
        terminal.write(terminal.json_text(rows))
    elif not rows:
        where = tenant if environment is None else f"{tenant}/{environment}"
        terminal.write(f"there is no {'' if kind is None else kind.replace('_', ' ') + ' '}snapshot of {where}\n")
    else:
        header = ["snapshot", "environment", "taken", "by", "kind", "workflows", "address", "name"]
        terminal.write(terminal.table(header, [_cells(row) for row in rows]))


def _cells(row: dict[str, Any]) -> list[object]:
    return [row["snapshot_id"][:_SHORT], row["environment"], _moment(row["taken_at"]), row["taken_by"],
            row["kind"].replace("_", " "), row["workflows"], row["address"][:_SHORT], row["name"] or "-"]


@snapshot.command("show")
def show(
    tenant: Tenant, environment: Environment, name: Name = None, at: At = None,
    workflow: Annotated[str | None, typer.Option(
        "--workflow", "-w", metavar="NAME|ID", help="Print this workflow's content as JSON, as n8n imports it.")] = None,
    draft: Annotated[bool, typer.Option("--draft", help="With --workflow: its draft, in place of what ran.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a snapshot holds: each workflow with its activation, its tags and the hash of its content.

    With --workflow the content of one is printed as it was, unmasked: what stands in its parameters stands there too.
    Looking into a snapshot is in the audit trail.

    Exit codes: 0 done, 2 no such tenant, environment, snapshot or workflow.

    Examples:

        wfops snapshot show acme prod

        wfops snapshot show acme prod 1f0c9a3e --workflow "Order intake" > order-intake.json

        wfops snapshot show acme prod --at 2026-11-20T18:00 --json | jq -r '.workflows[] | select(.active) | .name'
    """
    if draft and workflow is None:
        raise UsageError("--draft is about one workflow", fix="name it with --workflow")
    with open_session() as session:
        from wfops_pipelines.services.snapshot_reports import content_of, read_time, show_snapshot

        context, moment = session.context(tenant), None if at is None else read_time(at)
        if workflow is not None:
            content = content_of(session.services, context, environment, workflow, name, at=moment, draft=draft)
            terminal.write(terminal.json_text(content))
            return
        shown = show_snapshot(session.services, context, environment, name, at=moment)
    terminal.write(terminal.json_text(shown) if as_json else _shown(shown))


def _shown(shown: dict[str, Any]) -> str:
    head = f"snapshot {shown['snapshot_id']} of {shown['tenant']}/{shown['environment']}, {shown['kind'].replace('_', ' ')}"
    text = f"{head}{': ' + visible(shown['name']) if shown['name'] else ''}\n"
    text += f"taken {_moment(shown['taken_at'])} by {visible(shown['taken_by'])}, address {shown['address'][:16]}\n\n"
    return text + terminal.table(["workflow", "n8n id", "state", "hash", "tags"], [
        [each["name"] or "(no name)", each["workflow_id"], _state(each), each["content_hash"][:12],
         ", ".join(each["tags"]) or "-"] for each in shown["workflows"]])


def _state(workflow: dict[str, Any]) -> str:
    state = "archived" if workflow["archived"] else "active" if workflow["active"] else "inactive"
    return f"{state}, draft differs" if workflow["has_draft"] else state


@snapshot.command("diff")
def diff(
    tenant: Tenant, environment: Environment,
    before: Annotated[str | None, typer.Argument(
        metavar="A", help="A snapshot: its id, at least the first 8 characters of it, or `latest`, as without.")] = None,
    after: Annotated[str, typer.Argument(metavar="B", help="Another snapshot, or `now`.")] = "now",
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="In place of A: the newest one that is not newer "
                                           "than this time, as 2026-11-20T18:00 (UTC).")] = None,
    stored: Annotated[bool, typer.Option("--stored", help="Compare with what was last read, and ask n8n nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Show what changed between two snapshots of an environment, or between one and now.

    Workflows that were added or removed, and what differs in the others: content (as a semantic diff, secrets masked), name,
    activation, archived or not, tags, draft. `now` is read from n8n first.

    Exit codes: 0 equal, 2 no such tenant, environment or snapshot, 3 different, 4 another operation holds the environment,
    5 unreachable.

    Examples:

        wfops snapshot diff acme prod

        wfops snapshot diff acme prod 1f0c9a3e latest --json | jq -r '.workflows[].name'

        wfops snapshot diff acme prod --at 2026-11-20T18:00
    """
    with open_session() as session:
        from wfops_pipelines.services.snapshot_reports import NOW, compare_snapshots, read_time

        moment, name = None if at is None else read_time(at), before
        session.environments(tenant, [environment])
        if after == NOW and not stored:
            _, outcomes = refresh(session, tenant, [environment], [ENVIRONMENT], "Reading")
            if (error := first_error(outcomes[environment])) is not None:
                raise error
        found = compare_snapshots(session.services, session.context(tenant), environment, name, after, at=moment)
    shown = found.as_json()
    terminal.write(terminal.json_text(shown) if as_json else _compared(shown, str(found.before), str(found.after)))
    raise typer.Exit(0 if found.equal else DIFFERENT)


def _compared(shown: dict[str, Any], before: str, after: str) -> str:
    labels = [f"{label} ({_moment(side['taken_at']) if side['taken_at'] else 'never read'})"
              for label, side in ((before, shown["before"]), (after, shown["after"]))]
    if shown["equal"]:
        return f"nothing differs between {labels[0]} and {labels[1]}\n"
    text = f"{shown['tenant']}/{shown['environment']}: from {labels[0]} to {labels[1]}\n\n"
    for each in shown["workflows"]:
        mark, style = _MARKS.get(each["changes"][0], ("M", "yellow"))
        words = ", ".join(change.replace("_", " ") for change in each["changes"])
        text += f"{terminal.paint(mark, style)} {visible(each['name'] or '(no name)')}  {words}\n"
        text += "".join(f"    {line}\n" for line in _fields(each))
        for name, side in (("diff", ""), ("draft_diff", " draft")):
            if each.get(name, {}).get("changes"):
                text += render_stored(each[name], before=before + side, after=after + side, indent="    ")
    return f"{text}\n{terminal.plural(len(shown['workflows']), 'workflow')} changed\n"


def _fields(each: dict[str, Any]) -> list[str]:
    """What differs outside the content."""
    if "before" not in each or "after" not in each:
        return []
    named = {"active": "active", "archived": "archived", "tags": "tags", "replaced": "workflow_id", "link": "canonical_id"}
    return [visible(f"{field.replace('_', ' ')}: {_value(each['before'][field])} → {_value(each['after'][field])}")
            for change in each["changes"] if (field := named.get(change)) is not None]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) or "none" if isinstance(value, list) else str(value or "none")


def _moment(iso: str) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromisoformat(iso).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
