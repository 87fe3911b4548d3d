"""``wfops promote``: workflows from one environment to the next (§11). It runs as a Dagster run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from wfops_pipelines.cli.options import (
    AllowIrreversible,
    AllowLarge,
    Detach,
    DryRun,
    Json,
    Override,
    Prune,
    Reason,
    RunsAs,
    Tenant,
    Workflows,
    Yes,
)
from wfops_pipelines.cli.promotion_flow import Flow, follow
from wfops_pipelines.cli.promotion_runs import PromotionRuns
from wfops_pipelines.cli.session import open_session


def promote(
    tenant: Tenant,
    source: Annotated[str, typer.Option("--from", metavar="ENV", help="The environment that it comes from.")],
    target: Annotated[str, typer.Option("--to", metavar="ENV", help="The environment that is written.")],
    workflow: Workflows = None,
    needs: Annotated[bool, typer.Option("--needs/--no-needs", help="With --workflow: also the sub-workflows and error "
                                                                   "workflows that it needs.")] = True,
    prune: Prune = False, activation: RunsAs = None, allow_large: AllowLarge = None,
    allow_irreversible: AllowIrreversible = False, override: Override = None, reason: Reason = None,
    manual: Annotated[bool, typer.Option(
        "--manual", help="Once it is approved or its time has come, wait for `wfops promotion execute`.")] = False,
    dry_run: DryRun = False, yes: Yes = False, detach: Detach = False, as_json: Json = False,
) -> None:
    """Promote workflows from one environment to another: what runs in the one, adapted to the other.

    Both are read first. The plan is shown, with a diff of each workflow and what every gate says, and you are asked; what is
    carried out is exactly that plan. Each workflow is written, read back and compared; the first that cannot be is undone
    with all before it. Then the target's folder in Git follows, in one commit or pull request.

    Where the stage wants approvals it waits for them (`wfops approve`), and is carried out by itself then, as it is when a
    freeze window opens or a soak time is over, while `wfops up` runs.

    Exit codes: 0 done, or nothing to write; 1 failed and rolled back; 2 no such tenant, environment, workflow or stage;
    3 done, and the target has drift; 4 blocked by a gate, waits for an approval or a time, or something else is at work
    there; 5 unreachable; 6 refused; 7 not confirmed: nothing was begun; or Ctrl-C: it says what became of it.

    Examples:

        wfops promote acme --from dev --to staging --dry-run

        wfops promote acme --from dev --to staging --workflow "Order intake" --reason "OPS-12"

        wfops promote acme --from staging --to prod --yes --json | jq -r .commit
    """
    chosen = {
        "tenant": tenant, "source": source, "target": target, "workflows": workflow or None, "with_needs": needs,
        "prune": prune, "activation": activation, "allow_large": allow_large, "allow_irreversible": allow_irreversible,
        "override_reason": override, "reason": reason, "manual": manual}
    way = f"{source} → {target} of {tenant}"
    flow = Flow("promote", f"Planning {way}", f"Promoting {way}",
                f"Leave {way} to the queue, without looking at what it writes?", _question)
    with open_session() as session:
        session.environments(tenant, [source, target])
        follow(flow, PromotionRuns(session, tenant, target, source=source), chosen, dry_run=dry_run, yes=yes, detach=detach,
               as_json=as_json)


def _question(plan: Mapping[str, Any]) -> str:
    place = f"n8n {plan['tenant']}/{plan['target']}"
    return "Ask for the approval of this?" if plan["status"] == "pending_approval" else f"Write this to {place}?"
