"""``wfops delete`` and ``wfops undelete``: soft deletion of canonical workflows (§5.3, §5.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.confirming import confirm
from wfops_pipelines.cli.options import DryRun, Json, Tenant, Yes
from wfops_pipelines.cli.session import open_session
from wfops_pipelines.domain.diff_text import visible

if TYPE_CHECKING:
    from wfops_pipelines.services.canonical_deletion import CanonicalChange

Canonical = Annotated[str, typer.Argument(metavar="WORKFLOW", help="Canonical id, or name where only one has it.")]


def delete(tenant: Tenant, workflow: Canonical, yes: Yes = False, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Soft-delete a canonical workflow, with its mappings in every environment.

    It is left out of matrix, drift, plans and exports, and no sync brings it back until `wfops undelete` does. n8n and Git
    stay as they are.

    Exit codes: 0 done, 2 no such canonical workflow, 4 an environment is held by another operation, 7 not confirmed.

    Examples:

        wfops delete acme "Order intake" --dry-run

        wfops delete acme 6f1c9f0e-5b0c-4f7e-9a39-0d4f6f1f8a11 --yes
    """
    import asyncio

    with open_session() as session:
        from wfops_pipelines.services.canonical_deletion import delete_canonical

        def act(*, dry: bool) -> CanonicalChange:
            return asyncio.run(delete_canonical(session.services, session.context(tenant), workflow, dry_run=dry))

        change = act(dry=True)
        if not dry_run:
            if change.changed and not yes:
                terminal.note(_text(change).rstrip("\n"))
                confirm(f"Delete {visible(change.name) or '(no name)'} from WorkflowOps?", yes=yes)
            change = act(dry=False)
    terminal.write(terminal.json_text(change.as_json()) if as_json else _text(change))


def undelete(tenant: Tenant, workflow: Canonical, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Take back a canonical workflow that was deleted; its mappings return to what they were.

    Examples:

        wfops undelete acme "Order intake"
    """
    import asyncio

    with open_session() as session:
        from wfops_pipelines.services.canonical_deletion import undelete_canonical

        change = asyncio.run(undelete_canonical(session.services, session.context(tenant), workflow, dry_run=dry_run))
    terminal.write(terminal.json_text(change.as_json()) if as_json else _text(change))


def _text(change: CanonicalChange) -> str:
    what = visible(f"{change.name or '(no name)'} ({change.canonical_id}) of {change.tenant}")
    done = "deleted" if change.deleted else "taken back"
    if not change.changed:
        return f"nothing to change: {what} is {'deleted' if change.deleted else 'not deleted'}\n"
    lines = [f"{'would be ' if change.dry_run else ''}{done}: {what}"]
    lines += [visible(f"  {m['environment']}: {m['name'] or '(no name)'} ({m['workflow_id']}), {m['before']} before, "
                      f"now {m['after']}") for m in change.mappings]
    lines += [visible(f"  {file['environment']}: the file {file['path']} stays in Git") for file in change.files]
    lines.append("n8n and Git stay as they are; `wfops undelete` takes it back" if change.deleted
                 else "what changed in n8n and Git meanwhile, the next `wfops sync` finds")
    return "\n".join(lines) + "\n"
