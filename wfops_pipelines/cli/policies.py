"""``wfops policy``: what happens when an environment drifts (§10.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.options import DryRun, Json, Tenant
from wfops_pipelines.cli.session import open_session
from wfops_pipelines.domain.diff_text import visible
from wfops_pipelines.domain.errors import UsageError

if TYPE_CHECKING:
    from wfops_pipelines.services.policy_commands import PolicyChange

policy = typer.Typer(no_args_is_help=True, help="What happens when an environment drifts.")

InEnvironment = Annotated[str | None, typer.Option("--environment", "-e", metavar="ENV",
                                                   help="What this environment says; without, the tenant.")]


@policy.command("show")
def show(
    tenant: Tenant,
    environment: Annotated[str | None, typer.Argument(metavar="[ENV]", help="This one alone; all without.")] = None,
    as_json: Json = False,
) -> None:
    """Show the drift policy that holds in each environment, and who said each field of it.

    Examples:

        wfops policy show acme

        wfops policy show acme prod --json | jq '.[0].policy.severity_ttls'
    """
    with open_session() as session:
        from wfops_pipelines.services.policy_commands import show_policies

        shown = show_policies(session.services, session.context(tenant), environment)
    if as_json:
        terminal.write(terminal.json_text(shown))
        return
    names = list(shown[0]["origins"]) if shown else []
    fixed = [["environment_class", *(row["policy"]["environment_class"] for row in shown)],
             ["drift_handling_mode", *(row["policy"]["drift_handling_mode"] for row in shown)]]
    terminal.write(terminal.table(["field", *(f"{row['tenant']}/{row['environment']}" for row in shown)], [
        *fixed, *([name, *(_cell(row, name) for row in shown)] for name in names)]))


@policy.command("set")
def set_(
    tenant: Tenant,
    fields: Annotated[list[str], typer.Argument(metavar="FIELD=VALUE", help="As enforce_ttl=true, severity_ttls.high=24, "
                                                "require_approval_for=close,reconcile.")],
    environment: InEnvironment = None, dry_run: DryRun = False, as_json: Json = False,
) -> None:
    """Say fields of the tenant's drift policy, or of an environment's, which overrides it field by field.

    A drift_policy in fleet.yaml is set again by the next `wfops apply`: then change it there.

    Exit codes: 0 done, 2 a field does not fit; each is named.

    Examples:

        wfops policy set acme auto_create_incidents=true severity_ttls.critical=4

        wfops policy set acme -e prod require_approval_for=close,reconcile
    """
    said = dict(_field(text) for text in fields)
    with open_session() as session:
        from wfops_pipelines.services.policy_commands import set_fields

        change = set_fields(session.services, session.context(tenant), said, environment=environment, dry_run=dry_run)
    _tell(change, as_json=as_json)


@policy.command("unset")
def unset(
    tenant: Tenant,
    fields: Annotated[list[str], typer.Argument(metavar="FIELD", help="As enforce_ttl, severity_ttls.high, severity_ttls.")],
    environment: InEnvironment = None, dry_run: DryRun = False, as_json: Json = False,
) -> None:
    """Take back what was said of fields: the tenant's policy holds again, or the default.

    Examples:

        wfops policy unset acme -e prod require_approval_for
    """
    with open_session() as session:
        from wfops_pipelines.services.policy_commands import unset_fields

        change = unset_fields(session.services, session.context(tenant), fields, environment=environment, dry_run=dry_run)
    _tell(change, as_json=as_json)


def _field(text: str) -> tuple[str, Any]:
    """``name=value``, the value as in fleet.yaml; a list may be written with commas."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"{text!r} sets no field", fix="write FIELD=VALUE, as enforce_ttl=true")
    name = name.strip()
    if name == "require_approval_for" and not value.lstrip().startswith("["):
        return name, [part.strip() for part in value.split(",") if part.strip()]
    import yaml

    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError:
        return name, value


def _tell(change: PolicyChange, *, as_json: bool) -> None:
    if as_json:
        terminal.write(terminal.json_text(change.as_json()))
        return
    whose = f"{change.tenant}/{change.environment}" if change.environment else change.tenant
    if not change.changed:
        terminal.write(f"nothing to change: the drift policy of {whose} says so already\n")
        return
    before, after = _flat(change.before), _flat(change.after)
    terminal.write(f"{'would change' if change.dry_run else 'changed'}: drift policy of {whose}\n")
    for name in [*before, *(name for name in after if name not in before)]:
        if before.get(name) != after.get(name):
            terminal.write(visible(f"  {name}: {before.get(name, 'not said')} → {after.get(name, 'not said')}") + "\n")


def _flat(said: dict[str, Any]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in said.items():
        for key, one in ({f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}).items():
            flat[key] = _value(one)
    return flat


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(map(str, value)) or "nothing" if isinstance(value, list | tuple) else str(value)


def _cell(row: dict[str, Any], name: str) -> str:
    whole, _, key = name.partition(".")
    value = row["policy"][whole][key] if key else row["policy"][whole]
    unit = " h" if key else " d" if name.endswith("_days") else ""
    origin = row["origins"][name]
    return f"{_value(value)}{unit}" + ("" if origin == "default" else f" ({origin})")
