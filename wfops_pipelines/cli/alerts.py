"""``wfops alerts``: rules that tell when a figure is out of bounds for long enough (§16)."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.options import DryRun, Json, Limit, Tenant
from wfops_pipelines.cli.session import open_session
from wfops_pipelines.domain.diff_text import visible
from wfops_pipelines.domain.errors import UsageError

alerts = typer.Typer(no_args_is_help=True, help="Rules that tell when a figure is out of bounds for long enough.")

Rule = Annotated[str, typer.Argument(metavar="RULE", help="The rule's name.")]
SomeRule = Annotated[str | None, typer.Argument(metavar="RULE", help="A rule's name; all without one.")]


@alerts.command("metrics")
def metrics(as_json: Json = False) -> None:
    """List the figures that rules can look at.

    Examples:

        wfops alerts metrics
    """
    from wfops_pipelines.domain.alerts import Metric

    rows = [{"metric": metric.value, "unit": metric.unit, "description": metric.description} for metric in Metric]
    terminal.write(terminal.json_text(rows) if as_json else terminal.table(
        ["metric", "unit", "what it is"], [[row["metric"], row["unit"], row["description"]] for row in rows]))


@alerts.command("list")
def list_(tenant: Tenant, as_json: Json = False) -> None:
    """List a tenant's rules with what they saw last.

    Examples:

        wfops alerts list acme

        wfops alerts list acme --json | jq -r '.[] | select(.firing) | .name'
    """
    with open_session() as session:
        from wfops_pipelines.services.alert_rules import list_rules

        rows = list_rules(session.services, session.context(tenant))
    terminal.write(terminal.json_text(rows) if as_json else terminal.table(
        ["name", "state", "value", "rule", "severity", "environment", "evaluated"],
        [[row["name"], _state(row), _figure(row), row["rule"], row["severity"], row["environment"] or "-",
          terminal.ago(row["evaluated_at"])] for row in rows]))


@alerts.command("set")
def set_(
    tenant: Tenant, rule: Rule,
    metric: Annotated[str | None, typer.Option("--metric", help="The figure: `wfops alerts metrics` lists them.")] = None,
    above: Annotated[float | None, typer.Option("--above", help="It breaches when it is above this.")] = None,
    at_least: Annotated[float | None, typer.Option("--at-least", help="… when it is this or more.")] = None,
    below: Annotated[float | None, typer.Option("--below", help="… when it is below this.")] = None,
    at_most: Annotated[float | None, typer.Option("--at-most", help="… when it is this or less.")] = None,
    clear_at: Annotated[float | None, typer.Option("--clear-at", help="It is clear only at this (hysteresis).")] = None,
    window: Annotated[float | None, typer.Option("--for", metavar="MINUTES", help="It has to last so long.")] = None,
    evaluations: Annotated[int | None, typer.Option("--evaluations", help="… and for so many looks in a row.")] = None,
    clear_evaluations: Annotated[int | None, typer.Option(
        "--clear-evaluations", help="It is clear after so many looks in a row.")] = None,
    cooldown: Annotated[float | None, typer.Option(
        "--cooldown", metavar="MINUTES", help="Fire at most once in this time; default 60.")] = None,
    repeat: Annotated[bool | None, typer.Option("--repeat/--once", help="Tell again after each cooldown.")] = None,
    severity: Annotated[str | None, typer.Option("--severity", help="low, medium (default), high or critical.")] = None,
    on_missing: Annotated[str | None, typer.Option(
        "--on-missing", help="Without a figure: keep (default), clear or breach.")] = None,
    environment: Annotated[str | None, typer.Option("--environment", metavar="ENV", help="Of this one alone.")] = None,
    whole_tenant: Annotated[bool, typer.Option("--whole-tenant", help="Of all environments (the default).")] = False,
    enabled: Annotated[bool | None, typer.Option("--on/--off", help="Whether it is looked at.")] = None,
    dry_run: DryRun = False, as_json: Json = False,
) -> None:
    """Make a rule, or change one: what is not given stays as it is.

    Rules are looked at every five minutes (WFOPS_ALERT_RULES_EVALUATION_INTERVAL_SECONDS). What fires and what clears
    goes to the notification targets, as `alert.fired` and `alert.cleared`.

    Exit codes: 0 done, 2 a field does not fit, no such environment.

    Examples:

        wfops alerts set acme many-drifts --metric drifted_environments --above 3 --for 15 --severity high

        wfops alerts set acme prod-stale --metric sync_age --at-least 2 --environment prod --on-missing breach

        wfops alerts set acme many-drifts --above 5 --dry-run
    """
    given = {"metric": metric, "clear_threshold": clear_at, "window_minutes": window, "evaluations": evaluations,
             "clear_evaluations": clear_evaluations, "cooldown_minutes": cooldown, "repeat": repeat, "severity": severity,
             "on_missing": on_missing} | _comparison(above, at_least, below, at_most)
    if environment and whole_tenant:
        raise UsageError("--environment and --whole-tenant exclude each other")
    with open_session() as session:
        from wfops_pipelines.services.alert_rules import set_rule

        change = set_rule(session.services, session.context(tenant), rule,
                          {key: value for key, value in given.items() if value is not None},
                          environment="" if whole_tenant else environment, enabled=enabled, dry_run=dry_run)
    if as_json:
        terminal.write(terminal.json_text(change.as_json()))
        return
    if not change.changed:
        terminal.write(f"nothing to change: {visible(rule)} is as given\n")
        return
    verb = "made" if change.before is None else "changed"
    terminal.write(f"{'would be ' if dry_run else ''}{verb}: {visible(rule)}\n")
    before, after = change.before or {}, change.after or {}
    for key, value in after.items():
        if key != "name" and before.get(key) != value and (change.before is not None or value is not None):
            was = f" (was {_plain(before[key])})" if change.before is not None else ""
            terminal.write(f"  {key}: {_plain(value)}{was}\n")


@alerts.command("remove")
def remove(tenant: Tenant, rule: Rule, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Remove a rule with its history. `wfops alerts set TENANT RULE --off` only switches it off.

    Exit codes: 0 done, 2 no such rule.

    Examples:

        wfops alerts remove acme many-drifts
    """
    with open_session() as session:
        from wfops_pipelines.services.alert_rules import remove_rule

        change = remove_rule(session.services, session.context(tenant), rule, dry_run=dry_run)
    terminal.write(terminal.json_text(change.as_json()) if as_json
                   else f"{'would be ' if dry_run else ''}removed: {visible(rule)}\n")


@alerts.command("test")
def test(tenant: Tenant, rule: SomeRule = None, as_json: Json = False) -> None:
    """Show what rules see now, and what a look now would make of it. Nothing is stored, nobody is told.

    Exit codes: 0 done, 2 no such rule.

    Examples:

        wfops alerts test acme

        wfops alerts test acme many-drifts --json
    """
    with open_session() as session:
        from wfops_pipelines.services.alert_rules import try_rules

        rows = try_rules(session.services, session.context(tenant), rule)
    terminal.write(terminal.json_text(rows) if as_json else terminal.table(
        ["name", "value", "verdict", "rule", "environment"],
        [[row["name"], _figure(row), row["verdict"] + (f" ({row['missing']})" if row["missing"] else ""), row["rule"],
          row["environment"] or "-"] for row in rows]))


@alerts.command("history")
def history(tenant: Tenant, rule: SomeRule = None, limit: Limit = 50, as_json: Json = False) -> None:
    """List when rules fired and cleared, the newest first.

    Examples:

        wfops alerts history acme many-drifts
    """
    with open_session() as session:
        from wfops_pipelines.services.alert_rules import rule_history

        rows = rule_history(session.services, session.context(tenant), rule, limit=limit)
    terminal.write(terminal.json_text(rows) if as_json else terminal.table(
        ["at", "what", "rule", "value", "severity"],
        [[row["at"][:19].replace("T", " "), row["kind"], row["name"], _figure(row), row["severity"]] for row in rows]))


def _comparison(above: float | None, at_least: float | None, below: float | None, at_most: float | None) -> dict[str, Any]:
    found = {word: value for word, value in ((">", above), (">=", at_least), ("<", below), ("<=", at_most))
             if value is not None}
    if len(found) > 1:
        raise UsageError("give one of --above, --at-least, --below and --at-most")
    return next(({"comparison": word, "threshold": value} for word, value in found.items()), {})


def _state(row: dict[str, Any]) -> str:
    if not row["enabled"]:
        return "off"
    return "firing" if row["firing"] else "quiet"


def _figure(row: dict[str, Any]) -> str:
    return "-" if row["value"] is None else f"{row['value']:.6g} {row['unit']}"


def _plain(value: Any) -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else visible(str(value))
