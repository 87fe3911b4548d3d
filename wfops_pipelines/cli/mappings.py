"""``wfops link``, ``unlink``, ``ignore``, ``unignore``: which workflow is which, said by hand (§5.3)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.options import DryRun, Environment, Json, Tenant
from wfops_pipelines.cli.session import Session, open_session
from wfops_pipelines.domain.diff_text import visible

if TYPE_CHECKING:
    from wfops_pipelines.services.mapping_commands import MappingChange

Workflow = Annotated[str, typer.Argument(metavar="WORKFLOW", help="n8n id, or name where only one has it.")]
Canonical = Annotated[str, typer.Argument(metavar="CANONICAL", help="Canonical id, or name where only one has it.")]


def link(tenant: Tenant, environment: Environment, workflow: Workflow, canonical: Canonical, dry_run: DryRun = False,
         as_json: Json = False) -> None:
    """Say which canonical workflow an n8n workflow is.

    Exit codes: 0 done, 2 no such workflow, 4 a conflict: the workflow, the canonical workflow or the n8n id is taken
    otherwise.

    Examples:

        wfops link acme prod WvY2dXkq0aBcDeF1 "Order intake"
    """
    def act(session: Session) -> Awaitable[MappingChange]:
        from wfops_pipelines.services import mapping_commands

        return mapping_commands.link(session.services, session.context(tenant), environment, workflow, canonical,
                                     dry_run=dry_run)

    _run(act, "linked", as_json=as_json)


def unlink(tenant: Tenant, environment: Environment, workflow: Workflow, dry_run: DryRun = False,
           as_json: Json = False) -> None:
    """Say that an n8n workflow is no canonical one.

    It stays untracked until it is linked by hand again. Drift is not hidden by it: its file in Git is still compared.

    Examples:

        wfops unlink acme prod "Order intake (copy)"
    """
    def act(session: Session) -> Awaitable[MappingChange]:
        from wfops_pipelines.services import mapping_commands

        return mapping_commands.unlink(session.services, session.context(tenant), environment, workflow, dry_run=dry_run)

    _run(act, "unlinked", as_json=as_json)


def ignore(tenant: Tenant, environment: Environment, workflow: Workflow, dry_run: DryRun = False,
           as_json: Json = False) -> None:
    """Leave an n8n workflow out of drift, plans and exports; it is still counted.

    Examples:

        wfops ignore acme staging "Scratch pad"
    """
    def act(session: Session) -> Awaitable[MappingChange]:
        from wfops_pipelines.services import mapping_commands

        return mapping_commands.ignore(session.services, session.context(tenant), environment, workflow, dry_run=dry_run)

    _run(act, "ignored", as_json=as_json)


def unignore(tenant: Tenant, environment: Environment, workflow: Workflow, dry_run: DryRun = False,
             as_json: Json = False) -> None:
    """Take an ignored n8n workflow back into drift, plans and exports.

    Examples:

        wfops unignore acme staging "Scratch pad"
    """
    def act(session: Session) -> Awaitable[MappingChange]:
        from wfops_pipelines.services import mapping_commands

        return mapping_commands.unignore(session.services, session.context(tenant), environment, workflow, dry_run=dry_run)

    _run(act, "taken back", as_json=as_json)


def _run(act: Callable[[Session], Awaitable[MappingChange]], done: str, *, as_json: bool) -> None:
    import asyncio

    async def awaited(session: Session) -> MappingChange:
        return await act(session)

    with open_session() as session:
        change = asyncio.run(awaited(session))
    if as_json:
        terminal.write(terminal.json_text(change.as_json()))
        return
    what = visible(f"{change.name or '(no name)'} ({change.workflow_id}) in {change.tenant}/{change.environment}")
    status = change.after["status"] + (f" to {change.after['canonical_id']}" if change.after["status"] == "linked" else "")
    if not change.changed:
        terminal.write(f"nothing to change: {what} is {status}\n")
    else:
        terminal.write(f"{'would be ' if change.dry_run else ''}{done}: {what}, {change.before['status']} before, now "
                       f"{status}\n")
