"""``wfops pipeline``: the ways of workflows from environment to environment, and what is on them (§11.1)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.options import Json, Tenant
from wfops_pipelines.cli.session import open_session
from wfops_pipelines.domain.diff_text import visible
from wfops_pipelines.domain.shown import moment

pipeline = typer.Typer(no_args_is_help=True, help="The ways of workflows from environment to environment.")


@pipeline.command("list")
def list_(tenant: Tenant, as_json: Json = False) -> None:
    """List the stages of a tenant's pipelines: who has to approve, whether it is open now, and what runs or waits there.

    Pipelines are declared in fleet.yaml.

    Examples:

        wfops pipeline list acme

        wfops pipeline list acme --json | jq '.[].stages[] | select(.now.open | not) | .target'
    """
    rows = _reports(tenant, None)
    if as_json:
        terminal.write(terminal.json_text(rows))
    elif not rows:
        terminal.write(_none(tenant))
    else:
        terminal.write(terminal.table(["pipeline", "stage", "approvers", "soak", "now", "promotions"], [
            [row["pipeline"], _way(stage), stage["approvers"] or "-", _hours(stage["soak_hours"]), _now(stage["now"]),
             ", ".join(_short(each) for each in _promotions(stage)) or "-"]
            for row in rows for stage in row["stages"]]))


@pipeline.command("show")
def show(
    tenant: Tenant,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="This pipeline alone; all without.")] = None,
    as_json: Json = False,
) -> None:
    """Show what each stage asks for: gates, approvers, freeze windows, soak time, verification; and what is on its way.

    Exit codes: 0 done, 2 no such tenant or pipeline.

    Examples:

        wfops pipeline show acme

        wfops pipeline show acme standard --json | jq '.[0].stages[] | {target, now, waiting}'
    """
    rows = _reports(tenant, name)
    if as_json:
        terminal.write(terminal.json_text(rows))
        return
    terminal.write("\n".join(line for row in rows for line in _lines(row)) + "\n" if rows else _none(tenant))


def _reports(tenant: str, name: str | None) -> list[dict[str, Any]]:
    with open_session() as session:
        from wfops_pipelines.services.pipeline_reports import pipeline_reports

        return pipeline_reports(session.services, session.context(tenant), name)


def _none(tenant: str) -> str:
    return (f"{tenant} has no pipelines: a promotion from any environment to any other passes the default gates, without "
            "approval\n")


def _way(stage: dict[str, Any]) -> str:
    return f"{stage['source']} → {stage['target']}"


def _lines(row: dict[str, Any]) -> Iterator[str]:
    how = "all or nothing" if row["atomic"] else "what fails is left out"
    yield f"{terminal.paint(visible(row['pipeline']), 'bold')} ({how})"
    for stage in row["stages"]:
        yield f"  {terminal.paint(_way(stage), 'bold')}"
        yield from (f"    {name + ':':<14}{visible(text)}" for name, text in _facts(stage))


def _facts(stage: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "now", _now(stage["now"])
    said = [f"{name} {'yes' if value else 'no'}" for name, value in stage["gates"].items()]
    yield "gates", ", ".join(said)
    yield "activation", f"{stage['activation']} (that of {stage['source' if stage['activation'] == 'source' else 'target']})"
    yield "approvers", str(stage["approvers"] or "none")
    yield "soak", "none" if not stage["soak_hours"] else f"{_hours(stage['soak_hours'])} in {stage['source']}"
    for window in stage["freeze_windows"]:
        yield "window", _window(window)
    yield "verification", _verification(stage["verification"])
    for each in _promotions(stage):
        source = each["source"] or "a snapshot"
        yield each["status"].replace("_", " "), (
            f"{each['promotion']} from {source}, asked for by {each['requested_by']} {terminal.ago(each['requested_at'])}")


def _now(now: dict[str, Any]) -> str:
    if now["open"]:
        return "open"
    until = f" until {moment(datetime.fromisoformat(now['opens_at']))}" if now["opens_at"] else ", and does not open"
    return f"frozen{until} ({', '.join(now['windows'])})"


def _hours(hours: int) -> str:
    return "-" if not hours else f"{hours} h" if hours % 24 else terminal.plural(hours // 24, "day")


def _window(window: dict[str, Any]) -> str:
    when = (f"{window['from']} to {window['to']}" if "from" in window else
            f"{', '.join(window.get('days') or ['every day'])} {window['start']} to {window['end']}")
    return f"{window['kind']} {when} {window['zone']}, '{window['name']}'"


def _verification(verification: dict[str, Any] | None) -> str:
    if verification is None:
        return "none"
    what = [name for name in ("webhooks", "triggers") if verification[name]]
    if verification["smoke_workflow"]:
        what.append(f"smoke workflow '{verification['smoke_workflow']}'")
    after = ", rolls back where it fails" if verification["rollback_on_failure"] else ""
    return f"{', '.join(what)}, within {verification['timeout_seconds']} s{after}"


def _promotions(stage: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in (stage["running"], *stage["waiting"]) if each is not None]


def _short(promotion: dict[str, Any]) -> str:
    return f"{promotion['promotion']} {promotion['status'].replace('_', ' ')}"
