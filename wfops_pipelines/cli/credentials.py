"""``wfops credentials``: what each logical credential is called in which environment, and whether it is there (§11.4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.failures import DIFFERENT, error_json, exit_code_of
from wfops_pipelines.cli.options import DryRun, Environments, Json, Tenant
from wfops_pipelines.cli.session import open_session
from wfops_pipelines.domain.diff_text import visible
from wfops_pipelines.domain.errors import UsageError

if TYPE_CHECKING:
    from wfops_pipelines.services.credential_checks import CheckedCredential, CredentialCheck
    from wfops_pipelines.services.credential_commands import CredentialChange, CredentialName

credentials = typer.Typer(no_args_is_help=True, help="Logical credentials: what they are called in each environment.")


@credentials.command("list")
def list_(tenant: Tenant, as_json: Json = False) -> None:
    """List the credential table: a row for each key, a column for each environment, with the name (and id) there.

    Examples:

        wfops credentials list acme

        wfops credentials list acme --json | jq -r '.[] | select(.environments.prod == null) | .key'
    """
    with open_session() as session:
        from wfops_pipelines.services.credential_commands import list_credentials

        context = session.context(tenant)
        slugs = [row.slug for row in session.services.environments(context)]
        rows = list_credentials(session.services, context)
    if as_json:
        terminal.write(terminal.json_text(rows))
    elif not rows:
        terminal.write(f"no credentials: `wfops credentials map {tenant} KEY TYPE ENV=NAME` makes a row, or credentials in "
                       "fleet.yaml\n")
    else:
        terminal.write(terminal.table(["key", "type", *slugs], [
            [row["key"], row["type"], *(_cell(row["environments"][slug]) for slug in slugs)] for row in rows]))


@credentials.command("check")
def check(tenant: Tenant, environments: Environments = None, as_json: Json = False) -> None:
    """Ask each environment's n8n whether the credentials of the table are there, and find what workflows use beside.

    Where a stage of a pipeline leads to an environment, keys that workflows use in its source need a name there, too.

    n8n 1.x does not list credentials: whether they are there cannot be told, and is not counted. What workflows use is
    what the last sync saw.

    Exit codes: 0 everything is there, 3 something is missing, ambiguous, without a key or without a name, 2 no such tenant
    or environment, 5 unreachable, 6 refused. An environment that could not be asked counts more than what is missing in
    another.

    Examples:

        wfops credentials check acme

        wfops credentials check acme prod --json | jq -r '.[].unmapped[].name'
    """
    import asyncio

    with open_session() as session:
        from wfops_pipelines.services.credential_checks import check_credentials

        rows = session.environments(tenant, environments)
        with terminal.progress("Asking n8n"):
            found = asyncio.run(check_credentials(session.services, session.context(tenant), rows))
    if as_json:
        terminal.write(terminal.json_text([
            {**each.as_json(), "error": None if each.error is None else error_json(each.error)} for each in found]))
    else:
        terminal.write("\n\n".join("\n".join(_lines(each)) for each in found) + "\n")
    errors = [each.error for each in found if each.error is not None]
    raise typer.Exit(exit_code_of(errors) or (DIFFERENT if any(each.missing for each in found) else 0))


@credentials.command("map")
def map_(
    tenant: Tenant,
    key: Annotated[str, typer.Argument(metavar="KEY", help="What it is called across environments.")],
    credential_type: Annotated[str, typer.Argument(metavar="TYPE", help="n8n's credential type, as httpBasicAuth.")],
    names: Annotated[list[str], typer.Argument(
        metavar="ENV=NAME[:ID]", help="Its name in an environment, and its id where the name alone will not do (on n8n 1.x, "
        "always). What follows the last colon is the id: a name with a colon and without an id ends with one. Nothing after "
        "the = takes the name away.")],
    dry_run: DryRun = False, as_json: Json = False,
) -> None:
    """Say what a credential is called in environments. Other environments of the key stay as they are.

    Rows by which what is promoted could not be read back (one name for two keys, names that change places) are refused.

    fleet.yaml stays the declared truth: the next `wfops apply` sets again what it declares.

    Exit codes: 0 done, 2 a field or a row does not fit; each is named.

    Examples:

        wfops credentials map acme stripe httpBasicAuth dev=stripe prod=stripe-live:abc123

        wfops credentials map acme stripe httpBasicAuth "prod=Acme: live:" --dry-run

        wfops credentials map acme stripe httpBasicAuth staging=
    """
    with open_session() as session:
        from wfops_pipelines.services.credential_commands import CredentialName, map_credential

        said = {}
        for text in names:
            slug, name, credential_id = _parts(text)
            if slug in said:
                raise UsageError(f"{slug} is named twice", fix="write ENV=NAME once for each environment")
            said[slug] = CredentialName(name, credential_id) if name is not None else None
        change = map_credential(session.services, session.context(tenant), key, credential_type, said, dry_run=dry_run)
    if as_json:
        terminal.write(terminal.json_text(change.as_json()))
    else:
        _tell(change)


def _parts(text: str) -> tuple[str, str | None, str | None]:
    """Environment, name (none: to be taken away) and id."""
    slug, equals, rest = text.partition("=")
    if not equals or not slug.strip():
        raise UsageError(f"{text!r} names no environment", fix="write ENV=NAME or ENV=NAME:ID, as prod=stripe-live:abc123")
    name, colon, credential_id = rest.rpartition(":")
    if not colon:
        name, credential_id = rest, ""
    return slug.strip(), name.strip() or None, credential_id.strip() or None


def _tell(change: CredentialChange) -> None:
    if not change.changed:
        terminal.write(f"nothing to change: {change.key} is called so already\n")
        return
    would = "would be " if change.dry_run else ""
    for slug in dict.fromkeys([*change.before, *change.after]):
        before, after = change.before.get(slug), change.after.get(slug)
        if before != after:
            terminal.write(visible(f"{would}mapped: {change.key} ({change.type}) in {change.tenant}/{slug}: {_name(before)} "
                                   f"→ {_name(after)}") + "\n")
    if change.before == change.after:
        terminal.write(visible(f"{would}mapped: {change.key} is of type {change.type}") + "\n")
    terminal.note("what fleet.yaml declares of this key, the next `wfops apply` sets again: change it there too")


def _name(name: CredentialName | None) -> str:
    return "none" if name is None else f"'{name.name}'" + (f" ({name.id})" if name.id else "")


def _cell(name: dict[str, Any] | None) -> str:
    return "-" if name is None else name["name"] + (f" ({name['id']})" if name["id"] else "")


def _lines(found: CredentialCheck) -> Iterator[str]:
    yield terminal.paint(f"{found.tenant}/{found.environment}", "bold")
    if found.error is not None:
        yield f"  could not be asked: {visible(found.error.message)}"
        if found.error.fix:
            yield f"  fix: {visible(found.error.fix)}"
    if found.not_listed is not None:
        yield f"  whether credentials are there cannot be told: {visible(found.not_listed)}"
    for each in found.credentials:
        yield f"  {_presence(each)} {visible(_what(each))}"
    for use in found.unmapped:
        yield visible(f"  no key   {use.type} '{use.name}'{_by(use.used_by)}: wfops credentials map {found.tenant} KEY "
                      f"{use.type} '{found.environment}={use.name}'")
    for use in found.expected:
        yield visible(f"  no name  {use.key}: {use.type}{_by(use.used_by)}: wfops credentials map {found.tenant} {use.key} "
                      f"{use.type} {found.environment}=NAME")
    if found.synced_at is None:
        yield f"  never synced: what its workflows use is not known: wfops sync {found.tenant} {found.environment}"
    if not (found.credentials or found.unmapped or found.expected):
        yield "  no credentials"


def _presence(each: CheckedCredential) -> str:
    text = "unknown" if each.presence is None else str(each.presence)
    style = {"present": "green", "absent": "red", "ambiguous": "red"}.get(text)
    return terminal.paint(f"{text:<9}", style)


def _what(each: CheckedCredential) -> str:
    use = each.use
    at = f" ({use.id})" if use.id else ""
    hint = ": several have this type and name; map it with the id of the right one" if each.presence == "ambiguous" else ""
    return f"{use.key}: {use.type} '{use.name}'{at}{_by(use.used_by)}{hint}"


def _by(names: tuple[str, ...]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f", used by {', '.join(names[:3])}{more}"
