"""``wfops promotion``: promotions that were asked for: listed, shown, watched, carried out (§11)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.confirming import confirm
from wfops_pipelines.cli.failures import BLOCKED
from wfops_pipelines.cli.options import DryRun, Environment, Json, Limit, Promotion, Tenant, Yes
from wfops_pipelines.cli.promotion_flow import exit_code_of
from wfops_pipelines.cli.promotion_runs import PromotionRuns
from wfops_pipelines.cli.promotion_screen import (
    approved_text,
    outcome_text,
    promotion_text,
    promotions_table,
    waiting_text,
    waits_since,
)
from wfops_pipelines.cli.session import open_session
from wfops_pipelines.cli.watching import follow
from wfops_pipelines.domain.diff_text import visible
from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.domain.promotion import PromotionStatus

promotion = typer.Typer(no_args_is_help=True, help="Promotions that were asked for: listed, shown, watched, carried out.")


_GOES_ON = frozenset({"pending", "pending_approval", "approved", "running"})


@promotion.command("list")
def list_(
    tenant: Tenant,
    to: Annotated[str | None, typer.Option("--to", metavar="ENV", help="To this environment alone.")] = None,
    status: Annotated[list[PromotionStatus] | None, typer.Option("--status",
                                                                help="In this status; can be repeated.")] = None,
    limit: Limit = 50,
    before: Annotated[str | None, typer.Option("--before", metavar="NAME",
                                               help="The page after this one, the last of a page.")] = None,
    as_json: Json = False,
) -> None:
    """List a tenant's promotions, the newest first.

    Examples:

        wfops promotion list acme

        wfops promotion list acme --to prod --status pending_approval --json | jq -r '.[].name'
    """
    with open_session() as session:
        from wfops_pipelines.services.promotion_names import named_promotion
        from wfops_pipelines.services.promotion_reports import list_promotions

        context = session.context(tenant)
        cursor = named_promotion(session.services, before).number if before is not None else None
        rows, further = list_promotions(session.services, context, target=to, statuses=[str(each) for each in status or ()],
                                        before=cursor, limit=limit)
        session.tell_pause(tenant)
    if as_json:
        terminal.write(terminal.json_text(rows))
    elif rows:
        terminal.write(promotions_table(rows))
    else:
        terminal.write(f"no promotions of {tenant}\n")
    if further is not None:
        options = [*([f"--to {to}"] if to else []), *(f"--status {each}" for each in status or ()), f"--limit {limit}"]
        terminal.note(f"more: wfops promotion list {tenant} {' '.join(options)} --before {tenant}/p{further}")


@promotion.command("show")
def show(
    name: Promotion,
    svg: Annotated[Path | None, typer.Option(
        "--svg", metavar="FILE", help="Also draw its plan as SVG into this file; - prints the picture alone.")] = None,
    as_json: Json = False,
) -> None:
    """Show one promotion: its plan with the diffs, every gate, who decided, what became of each workflow, and its timeline.

    The timeline is the audit trail's: who did what when, the hash of each workflow before and after, and the Dagster run.
    Values that look like secrets are masked; the picture holds names alone.

    Examples:

        wfops promotion show acme/p12

        wfops promotion show acme/p12 --svg plan.svg

        wfops promotion show 3f2a9c01 --json | jq -r '.workflows[] | "\\(.name) \\(.status)"'
    """
    with open_session() as session:
        from wfops_pipelines.services.promotion_names import named_promotion
        from wfops_pipelines.services.promotion_reports import show_promotion

        named = named_promotion(session.services, name)
        found = show_promotion(session.services, session.context(named.tenant), named.number)
        session.tell_pause(named.tenant)
    if svg is not None and _draw(svg, found):
        return
    terminal.write(terminal.json_text(found) if as_json else promotion_text(found, colour=terminal.colours()))


@promotion.command("watch")
def watch(name: Promotion, as_json: Json = False) -> None:
    """Follow a promotion until it has ended, also through the wait for an approval or for its time.

    Exit codes: those of `wfops promote`; Ctrl-C ends the watching, never the promotion.

    Examples:

        wfops promotion watch acme/p12
    """
    with open_session() as session:
        from wfops_pipelines.services.promotion_names import named_promotion
        from wfops_pipelines.services.promotion_reports import promotion_status
        from wfops_pipelines.services.promotion_request import report_of

        named = named_promotion(session.services, name)
        context = session.context(named.tenant)
        follow(lambda: promotion_status(session.services, context, named.number), _now,
               goes_on=lambda now: now["status"] in _GOES_ON or now["git_status"] == "pending")
        result = report_of(session.services, context, named.number).as_json()
    _end(result, as_json=as_json)


@promotion.command("execute")
def execute(name: Promotion, dry_run: DryRun = False, yes: Yes = False, as_json: Json = False) -> None:
    """Carry out a promotion that is approved: one asked for with --manual, or before its turn has come by itself.

    Its plan is computed again, and must be the one that was approved. Where it writes to a production environment, that plan
    is shown and you are asked.

    Exit codes: those of `wfops promote`; with --dry-run, which shows what was approved, 4 when it is not approved or waits.

    Examples:

        wfops promotion execute acme/p12

        wfops promotion execute acme/p12 --yes --json | jq -r .status
    """
    with open_session() as session:
        from wfops_pipelines.domain.fleet_fields import EnvironmentClass
        from wfops_pipelines.services.promotion_names import named_promotion
        from wfops_pipelines.services.promotion_reports import show_promotion

        named = named_promotion(session.services, name)
        found = show_promotion(session.services, session.context(named.tenant), named.number)
        if dry_run:
            terminal.write(terminal.json_text(found) if as_json else approved_text(found, colour=terminal.colours()))
            raise typer.Exit(0 if found["status"] == "approved" and not found["waiting"]["for"] else BLOCKED)
        (place,) = session.environments(named.tenant, [named.target])
        if place._mapping["class"] == EnvironmentClass.PRODUCTION and found["status"] == "approved" and not yes:
            terminal.note(approved_text(found, colour=terminal.colours(sys.stderr)))
            confirm(f"Write this to n8n {named.tenant}/{named.target}?", yes=False)
        runs = PromotionRuns(session, named.tenant, named.target, source=named.source, promotion=str(named))
        result = runs.run("promote", f"Carrying out {named}", {
            "promotion": str(named), "checksum": found["checksum"], "dry_run": False})
    _end(result, as_json=as_json, runs=runs)


@promotion.command("recover")
def recover(tenant: Tenant, environment: Environment, as_json: Json = False) -> None:
    """Finish what was left in an environment: writes of a process that died, commits that Git refused.

    `wfops up` does it by itself, and so does every command that looks at the environment; this one does nothing else.

    Exit codes: 0 nothing is left, 1 something is, 2 no such environment, 4 something is at work there, 5 unreachable.

    Examples:

        wfops promotion recover acme prod
    """
    with open_session() as session:
        session.environments(tenant, [environment])
        result = PromotionRuns(session, tenant, environment).run("recover", f"Looking at {tenant}/{environment}", {
            "tenant": tenant, "environment": environment})
    terminal.write(terminal.json_text(result) if as_json else _recovered(result))
    raise typer.Exit(0 if result["nothing_left"] else 1)


def _recovered(result: dict[str, Any]) -> str:
    place, lines = f"{result['tenant']}/{result['environment']}", []
    for what, now in result["after"].items():
        before = result["before"][what]
        if before and not now:
            lines.append(f"{terminal.paint('done', 'green')}  {what}: {_left(before)}")
        elif now:
            lines.append(f"{terminal.paint('left', 'red')}  {what}: {_left(now)}")
    drift = f"; it is {terminal.word(result['drift_status'])}" if result["drift_status"] else ""
    return "".join(f"{line}\n" for line in lines) + (
        f"{place}: nothing is left{drift}\n" if result["nothing_left"] else f"{place}: something is left{drift}\n")


def _left(left: Any) -> str:
    return visible(", ".join(left) if isinstance(left, list) else str(left))


def _now(now: dict[str, Any]) -> str:
    running = next((step["name"] for step in reversed(now["steps"]) if step["state"] == "running"), None)
    words = f"{now['name']} {now['status'].replace('_', ' ')}"
    if now["writes"]:
        words += f", {now['done']} of {terminal.plural(now['writes'], 'workflow')} written"
        words += f", {now['undone']} undone" if now["undone"] else ""
    if now["waiting"]:
        words += f", {waits_since(now['waiting'], ago=False)}"
    return words + (f", {running}" if running else "")


def _end(result: dict[str, Any], *, as_json: bool, runs: PromotionRuns | None = None) -> None:
    if as_json:
        terminal.write(terminal.json_text(result))
    elif result["workflows"]:
        terminal.write(outcome_text(result))
    elif result["status"] in ("pending_approval", "approved"):
        terminal.write(waiting_text(result))
    else:
        reason = f": {visible(result['reason'])}" if result["reason"] else ""
        terminal.write(f"{result['name']} is {terminal.word(result['status'])}{reason}\n")
    if runs is not None and runs.error is not None:
        raise runs.error
    raise typer.Exit(exit_code_of(result))


def _draw(file: Path, found: dict[str, Any]) -> bool:
    """Draw the plan; whether that was all that was asked for."""
    from wfops_pipelines.domain.promotion_picture import plan_svg

    if not found["plan"].get("changes"):
        raise UsageError(f"{found['name']} has no plan to draw", fix="without --svg it is shown all the same")
    picture = plan_svg({**found["plan"], "problems": found["problems"]})
    if str(file) == "-":
        terminal.write(picture)
        return True
    try:
        file.write_text(picture, encoding="utf-8", newline="\n")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{visible(str(file))}: cannot be written: {why}", fix="name a file that can") from None
    terminal.note(f"picture: {visible(str(file))}")
    return False
