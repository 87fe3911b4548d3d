"""``wfops snapshot restore``: an environment as it was (§13). It runs as a Dagster run."""

from __future__ import annotations

from typing import Annotated

import typer

from wfops_pipelines.cli.options import (
    AllowIrreversible,
    AllowLarge,
    Detach,
    DryRun,
    Environment,
    Json,
    Override,
    Reason,
    Tenant,
    Yes,
)
from wfops_pipelines.cli.promotion_flow import Flow, follow
from wfops_pipelines.cli.promotion_runs import PromotionRuns
from wfops_pipelines.cli.session import open_session
from wfops_pipelines.domain.errors import UsageError


def restore(
    tenant: Tenant, environment: Environment,
    name: Annotated[str | None, typer.Argument(
        metavar="SNAPSHOT", help="Its id, at least the first 8 characters of it, or `latest`.")] = None,
    at: Annotated[str | None, typer.Option(
        "--at", metavar="TIME", help="In place of SNAPSHOT: the newest one that is not newer than this time, as "
                                     "2026-11-20T18:00 (UTC).")] = None,
    workflow: Annotated[list[str] | None, typer.Option(
        "--workflow", "-w", metavar="NAME|ID", help="This one alone, by name, n8n id (then or now), or canonical id. What "
                                                    "it needs and is gone comes along. Can be repeated.")] = None,
    needs: Annotated[bool, typer.Option(
        "--needs/--no-needs", help="With --workflow: also everything that it needs, as the snapshot holds it.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Also remove what the snapshot does not have, or has archived (n8n "
                                                        "2.x archives it).")] = False,
    allow_large: AllowLarge = None, allow_irreversible: AllowIrreversible = False, override: Override = None,
    reason: Reason = None, dry_run: DryRun = False, yes: Yes = False, detach: Detach = False, as_json: Json = False,
) -> None:
    """Restore an environment from a snapshot, as of its id or of a time, whole or chosen workflows.

    What ran then runs again: contents, activation, tags. A workflow that was deleted since is created anew, under a new n8n
    id that its callers follow. What came since stays, unless you --prune. The environment is read first, the plan is shown
    with a diff of each workflow, and you are asked; then each workflow is written, read back and compared, and the first
    that cannot be is undone with all before it. Git follows in one commit. It is listed with the promotions, and
    `wfops rollback` takes it back.

    Changes that were not published are not restored, nor are credentials: n8n gives their secrets to nobody.

    Exit codes: 0 done, or nothing to write; 1 failed and rolled back; 2 no such tenant, environment, snapshot or workflow;
    3 done, and there is drift; 4 blocked, or something else is at work there; 5 unreachable; 6 refused; 7 not confirmed:
    nothing was begun; or Ctrl-C: it says what became of it.

    Examples:

        wfops snapshot restore acme prod latest --dry-run

        wfops snapshot restore acme prod 1f0c9a3e --workflow "Order intake" --reason "OPS-12"

        wfops snapshot restore acme prod --at 2026-11-20T18:00 --prune --yes --json | jq -r .commit
    """
    if name is None and at is None:
        raise UsageError("which snapshot is restored was not said", fix="name it by its id or as `latest`, or give a time "
                                                                        "with --at; `wfops snapshot list` shows them")
    chosen = {
        "tenant": tenant, "environment": environment, "snapshot": name, "at": at, "workflows": workflow or None,
        "with_needs": needs, "prune": prune, "allow_large": allow_large, "allow_irreversible": allow_irreversible,
        "override_reason": override, "reason": reason}
    place = f"{tenant}/{environment}"
    flow = Flow("restore", f"Planning the restore of {place}", f"Restoring {place}",
                f"Leave the restore of {place} to the queue, without looking at what it writes?",
                lambda _: f"Write this to n8n {place}?",
                pinned=lambda plan: {"snapshot": plan["source"].removeprefix("snapshot "), "at": None})
    with open_session() as session:
        session.environments(tenant, [environment])
        follow(flow, PromotionRuns(session, tenant, environment), chosen, dry_run=dry_run, yes=yes, detach=detach,
               as_json=as_json)
