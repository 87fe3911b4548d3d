"""``wfops secrets``: the keys that secrets are encrypted with (§2.5)."""

from __future__ import annotations

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.options import DryRun, Json
from wfops_pipelines.cli.session import open_session

secrets = typer.Typer(no_args_is_help=True, help="The keys that secrets are encrypted with.")


@secrets.command("generate")
def generate() -> None:
    """Print a new key for WFOPS_SECRET_KEY.

    Examples:

        export WFOPS_SECRET_KEY=$(wfops secrets generate)
    """
    from wfops_pipelines.store.secrets import generate_key

    terminal.write(generate_key() + "\n")


@secrets.command("rotate")
def rotate(dry_run: DryRun = False, as_json: Json = False) -> None:
    """Encrypt every stored secret anew with the first key.

    Put the new key first in WFOPS_SECRET_KEY (or in the file secret.key of WFOPS_HOME), a comma after it, then the old
    one; rotate; then drop the old one when every process has the new key.

    Exit codes: 0 done, 1 a secret cannot be read (the key that is missing is named), 5 database unreachable.

    Examples:

        WFOPS_SECRET_KEY="$NEW,$OLD" wfops secrets rotate
    """
    with open_session() as session:
        from wfops_pipelines.services.rotate_secrets import rotate_secrets

        rotation = rotate_secrets(session.services, session.installation.rotate_secrets, actor=session.actor,
                                  dry_run=dry_run)
    if as_json:
        terminal.write(terminal.json_text(rotation.as_json()))
        return
    for tenant, count in rotation.tenants.items():
        terminal.write(f"{tenant}: {terminal.plural(count, 'secret')}\n")
    if rotation.installation:
        terminal.write(f"installation: {terminal.plural(rotation.installation, 'secret')}\n")
    verb = "would encrypt" if dry_run else "encrypted"
    terminal.write(f"{verb} {terminal.plural(rotation.total, 'secret')} anew with the key {rotation.key_id}\n"
                   if rotation.total else f"nothing to do: all secrets are under the key {rotation.key_id}\n")
