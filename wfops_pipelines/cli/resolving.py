"""``wfops conflicts`` and ``wfops resolve``: two claims to one canonical workflow, and which of them holds (§5.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from wfops_pipelines.cli import terminal
from wfops_pipelines.cli.confirming import confirm
from wfops_pipelines.cli.mappings import Workflow
from wfops_pipelines.cli.options import DryRun, Environment, Json, Tenant, Yes
from wfops_pipelines.cli.session import open_session
from wfops_pipelines.domain.conflicts import Keep
from wfops_pipelines.domain.diff_text import visible

if TYPE_CHECKING:
    from wfops_pipelines.services.resolving import Resolution

OneEnvironment = Annotated[str | None, typer.Argument(metavar="[ENV]", help="The environment's slug; all without it.")]


def conflicts(tenant: Tenant, environment: OneEnvironment = None, as_json: Json = False) -> None:
    """List workflows that two claims contradict each other about, and how to end that.

    It is what the last sync stored; nothing is read from n8n or Git.

    Examples:

        wfops conflicts acme

        wfops conflicts acme prod --json | jq -r '.[].fix'
    """
    with open_session() as session:
        from wfops_pipelines.services.standing_conflicts import conflicts_of_tenant

        rows = conflicts_of_tenant(session.services, session.context(tenant), environment)
    if as_json:
        terminal.write(terminal.json_text(rows))
    elif not rows:
        terminal.write("no conflicts\n")
    for row in rows if not as_json else ():
        terminal.write(f"{terminal.paint(row['tenant'] + '/' + row['environment'], 'bold')}  {visible(row['message'])}\n"
                       f"    {visible(row['fix'])}\n")


def resolve(
    tenant: Tenant, environment: Environment, workflow: Workflow,
    keep: Annotated[Keep, typer.Option("--keep", help="In favour of what: the file, the named workflow, or both, as two.")],
    file: Annotated[str | None, typer.Option("--file", metavar="PATH", help="Which file counts, with --keep git, where "
                                             "several name the workflow; its path in the repository.")] = None,
    dry_run: DryRun = False, yes: Yes = False, as_json: Json = False,
) -> None:
    """End a conflict: two claims to one canonical workflow in one environment.

    With `--keep git` the workflow is what its file says, and the one that was it before becomes untracked. With
    `--keep runtime` the named workflow is it, whatever files say. With `--keep split` the named one becomes a canonical
    workflow of its own. It lasts: a claim that was overruled is not heard again while the file says the same, and the next
    export writes the right key. n8n and Git are not written.

    Exit codes: 0 done, 2 no such workflow or no conflict, 4 it would not last or nothing speaks for it, 7 not confirmed.

    Examples:

        wfops conflicts acme prod

        wfops resolve acme prod "Order intake" --keep git --dry-run

        wfops resolve acme prod WvY2dXkq0aBcDeF1 --keep split --yes
    """
    import asyncio

    with open_session() as session:
        from wfops_pipelines.services.resolving import resolve as resolving

        def act(*, dry: bool) -> Resolution:
            return asyncio.run(resolving(session.services, session.context(tenant), environment, workflow, keep,
                                         path=file, dry_run=dry))

        resolution = act(dry=True)
        if not dry_run:
            if resolution.changed and not yes:
                terminal.note(_text(resolution).rstrip("\n"))
                confirm("Resolve it so?", yes=yes)
            resolution = act(dry=False)
    terminal.write(terminal.json_text(resolution.as_json()) if as_json else _text(resolution))


def _text(resolution: Resolution) -> str:
    what = visible(f"{resolution.name or '(no name)'} ({resolution.workflow_id}) in "
                   f"{resolution.tenant}/{resolution.environment}")
    if not resolution.changed:
        return f"nothing to change: {what} was resolved in favour of {resolution.keep}\n"
    lines = [f"{'would be ' if resolution.dry_run else ''}resolved ({resolution.keep}): {what}"]
    lines += [visible(f"  {change['name'] or '(no name)'} ({change['workflow_id']}): {_standing(change['before'])} before, "
                      f"now {_standing(change['after'])}") for change in resolution.workflows]
    lines += [visible(f"  {change['path']}: {_claim(change['before'])} before, now {_claim(change['after'])}")
              for change in resolution.files]
    return "\n".join(lines) + "\n"


def _standing(side: dict[str, Any]) -> str:
    return f"{side['status']} to {side['canonical_id']}" if side["status"] == "linked" else str(side["status"])


def _claim(side: dict[str, Any]) -> str:
    return f"{side['canonical_id']}, n8n id {side['workflow_id'] or 'none that counts'}"
